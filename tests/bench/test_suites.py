"""The benchmark suites compute what they say they time; their reports say what was measured. No test asserts a time."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
from pathlib import Path

import pytest

from heliostat.bench import formats
from heliostat.bench.compare import Seconds, time_in_turn
from heliostat.bench.formats import bench_formats, elements
from heliostat.bench.limits import measure_limits
from heliostat.bench.models import step_nbytes
from heliostat.bench.ops import WORK, bench_ops, cases
from heliostat.bench.peer import PeerError
from heliostat.bench.report import as_csv, as_json, as_table, plot
from heliostat.cli.main import main
from heliostat.llm import demo_path, load


def smallest(op: str) -> list[object]:
    """The case of an op whose numbers are smallest."""

    def size(case: object) -> float:
        text = str(case.params)  # type: ignore[attr-defined]
        digits = "".join(c if c.isdigit() else " " for c in text).split()
        return sum(int(d) for d in digits)

    return [min((c for c in cases() if c.op == op), key=size)]


@pytest.mark.parametrize("op", sorted(WORK))
def test_every_op_agrees_with_numpy(op: str) -> None:
    (row,) = bench_ops(smallest(op), 2, "numpy", 1)  # type: ignore[arg-type]
    assert row.error is not None
    assert row.error < 2e-4
    assert row.ratio is not None
    assert row.gflops > 0


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("op", ["attention", "conv2d_relu", "layer_norm_linear", "conv2d_relu_attention"])
def test_torch_computes_the_same(op: str) -> None:
    (row,) = bench_ops(smallest(op), 1, "torch", 1)  # type: ignore[arg-type]
    assert row.error is not None
    assert row.error < 2e-4


def test_all_cases_have_work() -> None:
    found = cases()
    assert len(found) == 114
    assert {c.op for c in found} == set(WORK)
    assert len({c.label for c in found}) == len(found)


def test_formats_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "COLD_BYTES", 1 << 18)  # small matrices would be packed by the thousand
    limits = measure_limits(2)
    assert min(limits.fma_gflops, limits.int8_gops, limits.read_gb_s) > 0
    rows = list(bench_formats(elements("q4_0"), limits, 8, 64, 256, "numpy", 1))
    assert [r.name for r in rows] == ["Q4_0"]
    assert rows[0].nbytes >= 64 * 256 * 18 // 32
    assert rows[0].peer is not None
    assert rows[0].read_share > 0
    if importlib.util.find_spec("torch") is not None:
        (row,) = bench_formats(elements("q4_0"), limits, 8, 64, 256, "torch", 1)
        assert row.peer is not None
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(PeerError, match="PyTorch is not installed"):
        list(bench_formats(elements("q4_0"), limits, 8, 64, 256, "torch", 1))


def test_sides_are_timed_in_turn() -> None:
    order: list[str] = []
    times = time_in_turn([lambda: order.append("a"), lambda: order.append("b")], rounds=3, each=1e-6, pause=0.0)
    assert [len(t.rounds) for t in times] == [3, 3]
    assert "".join(order[-8:]).count("ab") >= 1
    assert Seconds((2.0, 1.0, 1.5)).spread == 1.0
    assert Seconds((2.0, 1.0, 1.5)).median == 1.5


def test_reports(tmp_path: Path) -> None:
    rows = [{"case": "a, b", "us": 1.5}, {"case": "c", "us": None, "ratio": 2}]
    assert [r["case"] for r in csv.DictReader(io.StringIO(as_csv(rows)))] == ["a, b", "c"]
    assert json.loads(as_json(rows, {"threads": 2}))["rows"] == rows
    assert as_table(rows).splitlines()[2].split() == ["c", "-", "2"]
    if importlib.util.find_spec("matplotlib") is not None:
        plot([{"case": "a", "us": 1.0}], "case", {"us": "time"}, str(tmp_path / "p.svg"), "title")
        assert (tmp_path / "p.svg").read_text().count("<svg") == 1


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "COLD_BYTES", 1 << 18)
    assert main(["bench", "ops", "--only", "head_dim=16,seq=8", "--reps", "1", "--vs", "numpy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["limits"]["threads"] >= 1
    assert found["rows"][0]["ratio"] > 0
    path = tmp_path / "rows.csv"
    assert main(["bench", "formats", "--only", "q8_0", "--shape", "64x256", "--rows", "4", "--csv", str(path)]) == 0
    assert path.read_text().startswith("format,")
    (row,) = csv.DictReader(io.StringIO(path.read_text()))
    assert min(float(row["1 row spread"]), float(row["4 rows spread"])) >= 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["ops", "--only", "nothing of that name"], ["formats", "--shape", "7"], ["formats", "--shape", "0x256"],
        ["formats", "--vs", "llama.cpp"], ["ops", "--reps", "0"], ["ops", "model.gguf"],
        ["ops", "--batch", "8"], ["llm", "--batch", "1"], ["llm", "--batch", "8,"],
        ["ops", "--csv", "no/folder/rows.csv"], ["formats", "--csv", "."], ["ops", "--plot", "no/folder/p.svg"],
        ["ops", "--plot", "bars.nothing"],
    ],
)  # fmt: skip
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    assert "error: " in capsys.readouterr().err


def test_a_missing_peer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(PeerError, match="PyTorch is not installed"):
        list(bench_ops(cases("head_dim=16,seq=8"), 1, "torch", 1))


def test_batches_beside_single_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--prompt", "8", "--gen", "2", "--depth", "5", "--reps", "1", "--threads", "1", "--context", "64"]
    assert main(["bench", "llm", "--batch", "3", "--json", *sizes]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["tg2@5x3_tok_s"] > 0
    assert row["tg2@5_tok_s"] > 0
    assert min(row["read_GB_s"], row["% of read"], row["% of int8"]) > 0
    assert row["tg2@5x3_tok_s spread"] == 0


def test_bytes_of_a_step() -> None:
    """Weights once, and of each row the keys and values of its depth."""
    with contextlib.closing(load(demo_path(), threads=1, context=64)) as model:
        c = model.config
        each = 2 * 10 * c.layers * c.kv_heads * c.head_dim * 2
        assert step_nbytes(model, 3, 10) == model.report.weight_bytes + 3 * each
