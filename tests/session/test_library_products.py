"""Products that the tuner gave to cuBLASLt: launches of the library beside kernels, in graphs too, by a stand-in; on a
GPU the library itself."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heliostat as hs
from heliostat import ops
from heliostat.cli import tune
from heliostat.compiler import split_depth
from heliostat.compiler.driver import explain
from heliostat.compiler.pipeline import KernelLibrary, Options, compile_graph
from heliostat.compiler.tuning import TuningTable
from heliostat.diagnostics import DeviceError, DeviceUnavailableError
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, bf16, bool_, dim, f16, f32, tensor
from heliostat.kernel.library import LibraryProduct
from heliostat.kernels import library_product
from heliostat.kernels.library_product import product_of, product_of_node
from heliostat.runtime.cuda import CublasLt, CublasLtError
from heliostat.runtime.cuda.libraries import candidates
from heliostat.session import cuda_tuning
from heliostat.session.cuda import CudaDevice, CudaSession
from heliostat.session.cuda_tuning import library_notes, tune_graph
from heliostat.session.devices import gpu_engine
from heliostat.session.place import CudaPlace
from heliostat.session.tuning import load_tuning
from heliostat.settings import override
from heliostat.targets.target import CUDA
from runtime.cuda.fake_cublaslt import FakeCublasLt
from targets.gpus import stand_in

SIZE = {"m": 16, "k": 24, "n": 32}


def chosen(
    m: int, k: int, n: int, kind: str = "f16", algorithm: int = 1, more: str = "", behind: str = ""
) -> TuningTable:
    key = f"product {kind} {kind} {more}{m}x{k}x{n} {behind}".rstrip()
    return TuningTable({key: {"algorithm": algorithm, "library_ns": 1, "own_ns": 2}})


def product(m: int, k: int, n: int, dtype: DType = f16, turned: bool = False) -> Graph:
    a, b = parameter("a", tensor(dtype, *((k, m) if turned else (m, k)))), parameter("b", tensor(dtype, k, n))
    y = ops.matmul(ops.transpose(a, (1, 0)) if turned else a, b)
    return Graph("product", [a, b], [y])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCublasLt]:
    """A stand-in GPU with a stand-in library, for products of any size."""
    monkeypatch.setattr(library_product, "LEAST", 0.0)
    with stand_in() as bindings:
        yield with_library(monkeypatch, bindings)


def with_library(patch: pytest.MonkeyPatch, bindings: Any) -> FakeCublasLt:
    made = FakeCublasLt(bindings)
    patch.setattr(
        CudaDevice,
        "library",
        property(lambda self: self.__dict__.setdefault("lt", CublasLt(self.gpu, self.stream, made))),
    )
    return made


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return rng.standard_normal(shape).astype(np.float16)


def test_a_blocking_launch_is_done_when_it_returns(fake: FakeCublasLt) -> None:
    with override(cuda_blocking=True):
        place = CudaDevice(0)
        buffers = [place.allocate(512) for _ in range(3)]
        assert place.library is not None
        launch = place.library.launch(LibraryProduct("f16", "f16", 16, 16, 16), "product")
        launch.arguments.words()[:] = [b.address for b in buffers]
        launch(place.stream)
        assert fake.calls == [0]


@pytest.mark.parametrize("turned", [False, True])
def test_the_library_computes_what_the_kernel_does(fake: FakeCublasLt, turned: bool) -> None:
    rng, graph = np.random.default_rng(0), product(**SIZE, turned=turned)
    held = {"a": drawn(rng, 16, 24), "b": drawn(rng, 24, 32)}
    wanted = held["a"].astype(np.float64) @ held["b"].astype(np.float64)
    if turned:
        held["a"] = np.ascontiguousarray(held["a"].T)
    table = chosen(**SIZE)
    if turned:
        table = TuningTable({f"{key} turned": entry for key, entry in table.entries.items()})
    session = CudaSession(graph, CudaDevice(0), Options(tuning=table))
    for _ in range(2):
        (found,) = session.run(held)
        np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=2e-3, atol=1e-3)
    assert fake.calls == [1, 1]
    assert "cuBLASLt computes it" in explain(session.compiled)
    assert session.executable is not None
    assert "by cuBLASLt" in str(session.executable.graph.kernels)  # type: ignore[union-attr]
    (own,) = CudaSession(graph, CudaDevice(0), Options()).run(held)
    assert len(fake.calls) == 2
    np.testing.assert_allclose(found, own, rtol=2e-3, atol=2e-3)


def test_compiled_steps_and_lazy_tensors(fake: FakeCublasLt) -> None:
    """A step with a product of the library between kernels: capture, replay, and a batch outside of it."""
    rng = np.random.default_rng(1)
    gpu_engine("cuda:0").tuning = TuningTable({**chosen(16, 24, 32).entries, **chosen(16, 24, 32, more="3x").entries})
    a, b = (hs.tensor(drawn(rng, *shape), device="cuda") for shape in ((16, 24), (24, 32)))

    @hs.compile
    def step(a: hs.Tensor, b: hs.Tensor) -> hs.Tensor:
        y = hs.matmul(a + 1, b)
        return y.sum(0) + y.sum(0)

    wanted = 2 * ((a.cpu().numpy().astype(np.float64) + 1) @ b.cpu().numpy().astype(np.float64)).sum(0)
    for n in range(4):
        np.testing.assert_allclose(step(a, b).cpu().numpy(), wanted, rtol=2e-2, atol=0.2)
        assert len(fake.calls) == n + 1
    x, y = (hs.tensor(drawn(rng, *shape), device="cuda") for shape in ((3, 16, 24), (3, 24, 32)))
    z = hs.matmul(x, y).cpu().numpy()
    np.testing.assert_allclose(z, np.matmul(x.cpu().numpy(), y.cpu().numpy(), dtype=np.float32), rtol=1e-2, atol=1e-2)
    assert len(fake.calls) == 5


def test_packed_weights_become_rows_for_the_library(fake: FakeCublasLt) -> None:
    rng = np.random.default_rng(2)
    x, w = parameter("x", tensor(f16, 16, 24)), parameter("w", tensor(f16, 32, 24), "weight")
    graph = Graph("weights", [x, w], [ops.matmul(x, ops.transpose(w))])
    held = {"x": drawn(rng, 16, 24), "w": drawn(rng, 32, 24)}
    (found,) = CudaSession(graph, CudaDevice(0), Options(tuning=chosen(**SIZE, behind="b_turned"))).run(held)
    assert fake.calls == [1]
    wanted = held["x"].astype(np.float32) @ held["w"].T.astype(np.float32)
    np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=1e-2)


@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    size=st.tuples(*[st.integers(2, 5).map(lambda n: 8 * n)] * 3),
    kind=st.sampled_from([None, f16, f32]),
    more=st.sampled_from(["", "relu", "sum", "kept"]),
    given=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
@settings(max_examples=8, deadline=None)
def test_layers_of_a_step(
    batch: list[int], size: tuple[int, int, int], kind: DType | None, more: str, given: bool, seed: int
) -> None:
    """A linear layer of matrices or batches of them, with a bias of any dtype or none, something behind it or not:
    the library adds the bias, and what is behind has a kernel of its own."""
    (m, k, n), rng = size, np.random.default_rng(seed)
    x, w = parameter("x", tensor(f16, *batch, m, k)), parameter("w", tensor(f16, n, k))
    y = product_result = ops.linear(x, w)
    held = {"x": drawn(rng, *batch, m, k), "w": drawn(rng, n, k)}
    wanted = held["x"].astype(np.float64) @ held["w"].T.astype(np.float64)
    parameters = [x, w]
    if kind is not None:
        parameters.append(parameter("bias", tensor(kind, n)))
        y = y + ops.cast(parameters[-1], f16)
        held["bias"] = rng.standard_normal(n).astype(np.float16 if kind is f16 else np.float32)
        wanted = wanted + held["bias"].astype(np.float16)
    results = [{"relu": ops.relu, "sum": lambda v: v + v}.get(more, lambda v: v)(y)]
    if more == "kept":
        results.append(product_result)
    wanted = {"relu": lambda v: np.maximum(v, 0), "sum": lambda v: 2 * v}.get(more, lambda v: v)(wanted)
    rows = m * int(np.prod(batch, dtype=int))
    how = "b_turned" + (" bias" if kind is not None and more != "kept" else "")
    table = chosen(rows, k, n, algorithm=2, behind=how) if given else TuningTable()
    with stand_in() as bindings, pytest.MonkeyPatch.context() as patch:
        patch.setattr(library_product, "LEAST", 0.0)
        made = with_library(patch, bindings)
        session = CudaSession(Graph("layer", parameters, results), CudaDevice(0), Options(tuning=table))
        found = session.run(held)[0]
    assert made.calls == [2] * given
    np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=4e-3, atol=1e-2)
    assert sum(k.library is not None for k in session.compiled.program.kernels) == given


@pytest.mark.parametrize("given", [False, True])
def test_sums_in_parts_are_whole_for_the_library(fake: FakeCublasLt, given: bool) -> None:
    """The gradient of a weight, whose long sum is cut for our kernel alone."""
    rng, key = np.random.default_rng(6), "product f16 f16 64x8192x64 turned"
    a, b = (parameter(name, tensor(f16, 8192, 64)) for name in "ab")
    graph = Graph("gradient", [a, b], [ops.cast(ops.matmul(ops.transpose(a, (1, 0)), b), f32) * 0.5])
    table = TuningTable({key: {"algorithm": 1}} if given else {"other": {"algorithm": 1}})
    library = KernelLibrary()
    made = compile_graph(graph, CUDA, Options(tuning=table), library)
    products = [k.library for k in made.program.kernels]
    assert (LibraryProduct("f16", "f16", 64, 8192, 64, turned=True, algorithm=1) in products) == given
    found = {p.key for f in library.groups.values() if not isinstance(p := cuda_tuning._product(f), str)}
    assert found == {key}  # what the tuner measures either way
    if given:
        held = {name: drawn(rng, 8192, 64) for name in "ab"}
        (y,) = CudaSession(graph, CudaDevice(0), Options(tuning=table)).run(held)
        wanted = held["a"].astype(np.float64).T @ held["b"].astype(np.float64) / 2
        np.testing.assert_allclose(y, wanted, rtol=2e-3, atol=0.05)
        assert fake.calls == [1]


@pytest.mark.parametrize("shape", [(8, 24), (4, 8, 24)], ids=str)
def test_a_layer_of_few_rows_keeps_its_panels(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]) -> None:
    """No kernel of ours reads weights as rows then, whatever the tuner has said of as many rows of one matrix."""
    monkeypatch.setattr(library_product, "LEAST", 0.0)
    x, w = parameter("x", tensor(f16, *shape)), parameter("w", tensor(f16, 32, 24))
    table = chosen(int(np.prod(shape[:-1])), 24, 32, behind="b_turned")
    made = compile_graph(Graph("layer", [x, w], [ops.linear(x, w)]), CUDA, Options(tuning=table), KernelLibrary())
    assert not any(k.library for k in made.program.kernels)


def test_without_the_library_the_kernel_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_product, "LEAST", 0.0)
    rng = np.random.default_rng(3)
    with stand_in():
        place = CudaDevice(0)
        monkeypatch.setattr("heliostat.runtime.cuda.cublaslt._library", lambda version: "nothing here")
        with pytest.raises(DeviceUnavailableError, match="nothing here"):
            CublasLt(place.gpu, place.stream)
        held = {"a": drawn(rng, 16, 16), "b": drawn(rng, 16, 16)}
        (found,) = CudaSession(product(16, 16, 16), place, Options(tuning=chosen(16, 16, 16))).run(held)
        np.testing.assert_allclose(found, held["a"].astype(np.float32) @ held["b"], rtol=1e-2, atol=1e-2)


def test_errors_name_the_call_and_what_to_do(fake: FakeCublasLt) -> None:
    session = CudaSession(product(16, 16, 16), CudaDevice(0), Options(tuning=chosen(16, 16, 16, algorithm=5)))
    held = {"a": np.ones((16, 16), np.float16), "b": np.ones((16, 16), np.float16)}
    with pytest.raises(
        CublasLtError, match="offers 3 algorithms for product f16 f16 16x16x16, not one of number 5"
    ) as caught:
        session.run(held)
    assert "heliostat tune" in str(caught.value.help)
    fake.fail = 13
    with pytest.raises(CublasLtError, match="cublasLtMatmul failed: it failed on the device") as failed:
        CudaSession(product(16, 16, 16), CudaDevice(0), Options(tuning=chosen(16, 16, 16))).run(held)
    assert failed.value.status == 13
    assert isinstance(failed.value, DeviceError)


def test_the_tuner_measures_both(fake: FakeCublasLt, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in's events count launches, so that times are equal and our kernel stays."""
    for name in ("RUNS", "ROUNDS", "MOST_TURNS"):
        monkeypatch.setattr(cuda_tuning, name, 1)
    place = CudaDevice(0)
    (found,) = tune_graph(product(16, 16, 16), place)
    assert found.key == "product f16 f16 16x16x16"
    assert found.tried == 4
    assert "algorithm" not in found.tile
    assert {0, 1, 2} == set(fake.calls)
    assert library_notes([], place) == ["cuBLASLt 130100 is a candidate for large dense products"]


@pytest.mark.parametrize("behind", ["bias", "flags"])
def test_the_tuner_has_room_for_the_library(fake: FakeCublasLt, behind: str) -> None:
    """For a bias longer than the left operand, and for a product of which our kernel stores a byte for each element."""
    x, w, b = (parameter(n, tensor(f16, *s)) for n, s in (("x", (16, 16)), ("w", (16, 1024)), ("b", (1024,))))
    y = ops.matmul(x, w)
    graph = Graph("layer", [x, w, b], [y + b]) if behind == "bias" else Graph("layer", [x, w], [ops.lt(y, y * y)])
    library, place = KernelLibrary(), CudaDevice(0)
    compile_graph(graph, place.target, Options(), library)
    (fused,) = library.groups.values()
    bench, product = cuda_tuning._Bench(fused, place, 1), cuda_tuning._product(fused)
    assert isinstance(product, LibraryProduct)
    assert product.bias == (behind == "bias")
    (launch, *_) = bench.library(product)
    held = {b.address: b.nbytes for buffers in bench.buffers.values() for b in buffers}
    _, _, *bias, result = (held[int(word)] for word in launch.arguments.words())
    assert result >= 2 * 16 * 1024
    assert all(nbytes >= 2 * 1024 for nbytes in bias)


def test_programs_are_tuned_when_they_are_asked_for(fake: FakeCublasLt, monkeypatch: pytest.MonkeyPatch) -> None:
    """HELIOSTAT_TUNE: new products are measured once, the choice is used at once and kept for the engine."""
    measured: list[int] = []

    def measure(self: Any, candidates: Any) -> list[float]:
        measured.append(len(candidates))
        return [1.0, *(0.5 + 0.1 * n for n in range(len(candidates) - 1))]

    monkeypatch.setattr(cuda_tuning._Bench, "in_turn", measure)
    rng = np.random.default_rng(5)
    a, b = (hs.tensor(drawn(rng, *shape), device="cuda") for shape in ((16, 24), (24, 32)))
    with override(tune=True):
        for scale in (1, 2):
            y = hs.matmul(a * scale, b).cpu().numpy()
            wanted = scale * a.cpu().numpy().astype(np.float32) @ b.cpu().numpy()
            np.testing.assert_allclose(y, wanted, rtol=1e-2, atol=1e-2)
    assert measured == [1, 4]  # our kernel alone, then beside three algorithms; nothing the second time
    assert fake.calls == [0, 0]
    assert gpu_engine("cuda:0").tuning.entries["product f16 f16 16x24x32"]["algorithm"] == 0


def test_the_command_tunes_a_gpu(
    fake: FakeCublasLt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`heliostat tune MODEL --device cuda`: choices are kept by the GPU's name, and found by it alone."""
    for name in ("RUNS", "ROUNDS", "MOST_TURNS"):
        monkeypatch.setattr(cuda_tuning, name, 1)
    place, library = CudaPlace(0), KernelLibrary()
    several = ops.matmul(parameter("a", tensor(f16, 2, 16, 24)), parameter("b", tensor(f16, 1, 24, 40)))
    for graph in (product(16, 24, 32), Graph("several", list(several.node.inputs), [several])):
        compile_graph(graph, place.target, Options(), library)
    model = SimpleNamespace(place=place, compile_again=lambda: ([], library))
    monkeypatch.setattr(tune, "open_model", lambda args: model)
    parser = argparse.ArgumentParser()
    tune.add_arguments(parser)
    with override(cache=True, cache_dir=tmp_path):
        assert tune.run(parser.parse_args(["model.gguf"])) == 0
        text = capsys.readouterr().out
        assert "product f16 f16 16x24x32" in text
        assert "cuBLASLt 130100 is a candidate" in text
        assert "not for 1 kernel: matrices of a batch are read several times" in text
        assert place.device.gpu.name in json.loads((tmp_path / "tuning.json").read_text())["machines"]
        assert "product f16 f16 16x24x32" in load_tuning(place.target).entries
        assert not any(key.startswith("product") for key in load_tuning(CUDA).entries)


N = dim(Symbol("n", 4096, 1))


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        (tensor(bf16, 4096, 4096), tensor(bf16, 4096, 4096), LibraryProduct("bf16", "bf16", 4096, 4096, 4096)),
        (tensor(f16, 2, 3, 1024, 1024), tensor(f16, 2, 3, 1024, 512), LibraryProduct("f16", "f16", 1024, 1024, 512, 6)),
        (tensor(f32, 4096, 4096), tensor(f32, 4096, 4096), "takes f16 or bf16 here, not f32"),
        (tensor(bf16, N, 4096), tensor(bf16, 4096, 4096), "symbols"),
        (tensor(bf16, 64, 64), tensor(bf16, 64, 64), "small"),
        (tensor(bf16, 4, 2048, 2048), tensor(bf16, 1, 2048, 2048), "several times"),
        (tensor(bf16, 4096, 4100), tensor(bf16, 4100, 4096), "16 bytes"),
        (tensor(bf16, 4, 1024, 2048), tensor(bf16, 2048, 2048), LibraryProduct("bf16", "bf16", 4096, 2048, 2048)),
        (tensor(bf16, 4096), tensor(bf16, 4096, 4096), "vector"),
    ],
    ids=str,
)
def test_which_products_it_may_take(a: Any, b: Any, result: LibraryProduct | str) -> None:
    found = product_of_node(ops.matmul(parameter("a", a), parameter("b", b)).node)
    assert found == result if isinstance(result, LibraryProduct) else result in str(found)


def test_a_damaged_choice_is_passed_over() -> None:
    graph = product(4096, 4096, 4096, bf16)
    (node,) = (n for n in graph.nodes() if n.op.name == "matmul")
    key = "product bf16 bf16 4096x4096x4096"
    wrong: list[Mapping[str, Any]] = [{}, {"algorithm": "1"}, {"algorithm": -1}, {"algorithm": True}, {"algorithm": 64}]
    for entry in wrong:
        assert TuningTable({key: entry}).library(graph) == {}
    made = LibraryProduct("bf16", "bf16", 4096, 4096, 4096, algorithm=2)
    assert TuningTable({key: {"algorithm": 2}}).library(graph) == {id(node): made}


def test_where_it_is_looked_for(tmp_path: Any) -> None:
    for inside in ("cu13", "cublas"):
        (tmp_path / "nvidia" / inside / "lib").mkdir(parents=True)
    (tmp_path / "nvidia" / "cu13" / "lib" / "libcublasLt.so.13").touch()
    (tmp_path / "nvidia" / "cublas" / "lib" / "libcublasLt.so.12").touch()
    names = candidates("cublasLt", 13000, [str(tmp_path)])
    assert [n.rpartition("/")[2] for n in names] == ["libcublasLt.so.13"] * 2 + ["libcublasLt.so.12"] * 2
    assert names[0].startswith(str(tmp_path))
    assert all(
        n.endswith("12") for n in candidates("cublasLt", 12040, [str(tmp_path)])
    )  # an older driver runs no newer library


def test_what_the_tuner_adds_for_what_stands_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias costs nothing apart, anything else a pass over what it reads and writes; a whole sum saves the addition of
    its parts."""
    monkeypatch.setattr(library_product, "LEAST", 0.0)
    x, w, bias = (
        parameter("x", tensor(bf16, 64, 128)),
        parameter("w", tensor(bf16, 32, 128)),
        parameter("b", tensor(bf16, 32)),
    )
    other, long = parameter("other", tensor(f32, 64, 32)), parameter("long", tensor(bf16, 8192, 64))
    y, nbytes = ops.linear(x, w), 64 * 32 * 2
    results = [
        y,
        y + bias,
        ops.relu(y + bias),
        ops.cast(y, f32) * other,
        ops.matmul(ops.transpose(long, (1, 0)), long + 1),
    ]
    found = []
    for result in results:
        library = KernelLibrary()
        compile_graph(Graph("step", [x, w, bias, other, long], [result]), CUDA, Options(), library)
        for fused in library.groups.values():
            if fused.schedule in (cuda_tuning.warpgroup_linear, cuda_tuning.warpgroup_matmul):
                product = cuda_tuning._product(fused)
                assert isinstance(product, LibraryProduct)
                found.append((product.bias, round(cuda_tuning._apart(fused.group, product) * cuda_tuning.BYTES)))
    parts = split_depth.parts(64, 8192, 64)
    assert parts > 1
    saved = (2 - 4 * parts) * 64 * 64
    assert found == [(False, 0), (True, 0), (True, 2 * nbytes), (False, 5 * nbytes), (False, saved)]


def device_with_library() -> CudaDevice:
    """The first GPU; skips where there is none, or no cuBLASLt."""
    try:
        place = CudaDevice(0)
    except DeviceError as error:
        pytest.skip(str(error))
    if place.library is None:
        pytest.skip("cuBLASLt is not installed")
    return place


@pytest.mark.cuda
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", [bf16, f16], ids=str)
def test_the_library_itself(dtype: DType, turned: bool) -> None:
    rng = np.random.default_rng(4)
    place = device_with_library()
    m, k, n = 2056, 1032, 2080
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), (k, n)))
    raw = [x.astype(np.float16) if dtype is f16 else (x.view(np.uint32) >> 16).astype(np.uint16) for x in (a, b)]
    values = [
        x.astype(np.float64) if dtype is f16 else (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        for x in raw
    ]
    held = {"a": np.ascontiguousarray(raw[0].T) if turned else raw[0], "b": raw[1]}
    key = f"product {dtype.name} {dtype.name} {m}x{k}x{n}{' turned' if turned else ''}"
    for algorithm in range(place.library.algorithms(LibraryProduct(dtype.name, dtype.name, m, k, n, turned=turned))):
        table = TuningTable({key: {"algorithm": algorithm}})
        session = CudaSession(product(m, k, n, dtype, turned), place, Options(tuning=table))
        (found,) = session.run(held)
        assert any(p.library is not None for p in session.compiled.program.kernels)
        value = found.astype(np.float64) if dtype is f16 else (found.astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_allclose(value, values[0] @ values[1], rtol=2.0**-8, atol=2e-2)


@pytest.mark.cuda
@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize("dtype", [bf16, f16], ids=str)
def test_layers_by_the_library_itself(dtype: DType, batch: tuple[int, ...]) -> None:
    """Every algorithm for x @ w^T + bias, with a function behind it."""
    rng, (m, k, n) = np.random.default_rng(5), (1032, 1032, 2080)
    place = device_with_library()
    x, w, bias = (parameter(name, tensor(dtype, *s)) for name, s in
                  (("x", (*batch, m, k)), ("w", (n, k)), ("bias", (n,))))  # fmt: skip
    graph = Graph("layer", [x, w, bias], [ops.relu(ops.linear(x, w) + bias)])
    held, exact = {}, {}
    for p in graph.parameters:
        name = str(p.node.attrs["name"])
        values = rng.standard_normal(p.type.shape).astype(np.float32)  # type: ignore[arg-type]
        held[name] = values.astype(np.float16) if dtype is f16 else (values.view(np.uint32) >> 16).astype(np.uint16)
        exact[name] = _floats(held[name])
    wanted = np.maximum(exact["x"] @ exact["w"].T + exact["bias"], 0)
    rows = m * int(np.prod(batch, dtype=int))
    made = LibraryProduct(dtype.name, dtype.name, rows, k, n, b_turned=True, bias=True)
    count = place.library.algorithms(made)
    assert count
    for algorithm in range(count):
        session = CudaSession(graph, place, Options(tuning=TuningTable({made.key: {"algorithm": algorithm}})))
        (found,) = session.run(held)
        assert [p.library is not None for p in session.compiled.program.kernels] == [True, False]
        np.testing.assert_allclose(_floats(found), wanted, rtol=2.0**-7, atol=4e-2)


def _floats(raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if raw.dtype == np.float16:
        return raw.astype(np.float64)
    return (raw.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def test_an_op_of_more_operands_than_its_group_has_inputs_is_no_product() -> None:
    c, x = parameter("c", tensor(bool_, 4)), parameter("x", tensor(f32, 4))
    node = ops.where(c, x, x).node
    assert product_of(SimpleNamespace(nodes=[node], inputs=[c, x], root=node)) == "both operands are one"  # type: ignore[arg-type]
