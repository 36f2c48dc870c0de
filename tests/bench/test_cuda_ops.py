"""The ops suite for GPUs: both sides compute the same; rows of what cannot run say why. No test asserts a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from heliostat.bench.compare import Call, Clock, host_clock
from heliostat.bench.cuda_limits import measure_cuda_limits
from heliostat.bench.cuda_ops import WORK, TorchOnCuda, Work, bench_cuda_ops, widened
from heliostat.bench.ops import Case, cases
from heliostat.bench.peer import PeerError
from heliostat.cli.main import main
from heliostat.diagnostics import CompileError
from heliostat.ops.evaluate import evaluate
from heliostat.session.cuda import CudaDevice
from targets.fake_gpu import fake_gpu

SMALL = {
    "matmul": {"m": 48, "n": 64, "k": 128},
    "attention": {"seq": 64, "heads": 4, "kv_heads": 2, "head_dim": 32},
    **{op: {"shape": [3, 256]} for op in ("add", "gelu", "rms_norm", "layer_norm", "softmax")},
}


def case(op: str) -> Case:
    return Case(op, op, ("cuda",), SMALL[op])


class OnCpu(TorchOnCuda):
    """The peer's calls on the CPU, by the host's clock."""

    def __init__(self) -> None:
        self.torch, self.device = pytest.importorskip("torch"), "cpu"

    def clock(self, call: Call) -> Clock:
        return host_clock(call)


def test_all_cases_have_work() -> None:
    found = cases(device="cuda")
    assert {c.op for c in found} == set(WORK) == set(SMALL)
    assert len({c.label for c in found}) == len(found)
    assert [c.params["m"] for c in cases("matmul", "cuda")] == [4096, 8192]
    for c in found:
        if "shape" in c.params:
            assert 2 * int(np.prod(c.params["shape"])) == 256 << 20


@pytest.mark.parametrize("op", sorted(SMALL))
def test_torch_does_the_same_work(op: str) -> None:
    peer, work = OnCpu(), WORK[op](SMALL[op])
    ways = peer.ways(work, peer.given(work.arrays))
    assert ways
    expected = evaluate(work.graph, work.arrays)[0]
    for call in ways.values():
        found = peer.array(call())
        assert found.shape == expected.shape
        bound = 2e-2 * np.abs(widened(expected)).max()  # bf16 has 8 bits, and attention rounds queries too
        np.testing.assert_allclose(found, widened(expected), rtol=0, atol=bound)


@pytest.mark.parametrize("op", ["matmul", "attention", "rms_norm"])
def test_a_row_compares_both_sides(op: str) -> None:
    peer = OnCpu()
    with fake_gpu():
        place = CudaDevice(0)
        assert measure_cuda_limits(place).copy_gb_s > 0
        (row,) = bench_cuda_ops([case(op)], place, peer, 1, each=1e-6)
    assert row.error is not None
    assert row.error < 2e-2
    assert row.own is not None
    assert row.ratio is not None
    assert row.note == ""


def test_bytes_and_operations() -> None:
    assert WORK["add"](SMALL["add"]).nbytes == 3 * 3 * 256 * 2
    assert WORK["layer_norm"](SMALL["layer_norm"]).nbytes == 2 * (2 * 3 * 256 + 2 * 256)
    assert WORK["matmul"](SMALL["matmul"]).flops == 2 * 48 * 64 * 128
    p = SMALL["attention"]
    pairs = sum(i + 1 for i in range(p["seq"]))  # each: a product for the score, and one for the value
    assert WORK["attention"](p).flops == 4 * pairs * p["head_dim"] * p["heads"]


def test_what_cannot_run_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing(OnCpu):
        def ways(self, work: Work, given: Mapping[str, Any]) -> Mapping[str, Callable[[], Any]]:
            return {}

    def refuse(*args: object) -> None:
        raise CompileError("no schedule takes it")

    with fake_gpu():
        place = CudaDevice(0)
        (row,) = bench_cuda_ops([case("add")], place, Nothing(), 1, each=1e-6)
        assert row.own is not None
        assert row.ratio is None
        assert "no way" in row.note
        monkeypatch.setattr("heliostat.session.cuda.CudaSession", refuse)
        (row,) = bench_cuda_ops([case("add")], place, OnCpu(), 1, each=1e-6)
        assert row.own is None
        assert row.ratio is None
        assert row.note == "no schedule takes it"


def test_ways_that_are_not_there_are_left_out() -> None:
    def fail() -> None:
        raise RuntimeError("No available kernel")

    work = WORK["add"](SMALL["add"])
    both = Work(work.graph, work.arrays, lambda torch, t: {"a": fail, "b": lambda: t["x0"] + t["x1"]})
    peer = OnCpu()
    assert list(peer.ways(both, peer.given(work.arrays))) == ["b"]


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliostat.bench.ops.cases", lambda only, device: [case("add"), case("matmul")])
    monkeypatch.setattr("heliostat.bench.cuda_ops.TorchOnCuda", lambda number: OnCpu())
    with fake_gpu():
        assert main(["bench", "ops", "--device", "cuda", "--vs", "torch", "--reps", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["limits"]["device"] == "Fake GPU"
    add, product = found["rows"]
    assert {"% of copy", "torch % of copy", "ratio", "spread", "error"} <= set(add)
    assert {"TFLOP/s", "ratio", "torch by"} <= set(product)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["formats", "--device", "cuda"], "runs on the CPU alone"),
        (["train", "--device", "cuda", "--threads", "2"], "bench train on cuda has no --threads"),
        (["ops", "--device", "cuda", "--vs", "numpy"], "no --vs numpy"),
        (["ops", "--device", "cuda", "--threads", "2"], "no --threads"),
        (["ops", "--device", "cuda", "--only", "nothing of that name"], "no case"),
        (["ops", "--device", "tpu"], "there is no device 'tpu'"),
    ],
)
def test_bad_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_peer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(PeerError, match="PyTorch is not installed"):
        TorchOnCuda(0)
