"""The ops suite on an NVIDIA GPU: bf16 products, attention of a prompt, and ops whose limit is the memory, each beside
PyTorch on the same device.

Both sides are timed by events on the device, in turn. Weights of products are packed, and caches arranged, before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from .. import ops
from ..compiler.pipeline import Options
from ..compiler.tuning import TuningTable
from ..diagnostics import CompileError, DeviceMemoryError
from ..ir.graph import Graph, Value, parameter
from ..ir.types import bf16, evaluate, f32, i32, numel, tensor
from ..runtime.cuda import Stream
from .compare import Call, Clock, Seconds, clocks_in_turn
from .ops import Case, Params
from .peer import torch_with_cuda

if TYPE_CHECKING:
    from ..session.cuda import CudaDevice

Array = npt.NDArray[Any]
Ways = Mapping[str, Callable[[], Any]]
"""A peer's ways to the same result, by name."""


@dataclass(frozen=True)
class Work:
    """One case. `ways(torch, tensors)`: PyTorch's calls for it. `flops`: operations that are needed; 0 where the bytes
    are what counts. `nbytes`: inputs read once and results written once."""

    graph: Graph
    arrays: dict[str, Array]
    ways: Callable[[Any, Mapping[str, Any]], Ways]
    flops: float = 0.0

    @property
    def nbytes(self) -> int:
        written = sum(evaluate(numel(v.type.shape), {}) * v.type.dtype.nbytes for v in self.graph.outputs)
        return sum(a.nbytes for a in self.arrays.values()) + written


@dataclass(frozen=True)
class CudaRow:
    """One measured case. `peers`: the peer's seconds by way. `error`: largest difference to the peer over its largest
    value. Where we could not run it, `own` is None and `note` says why; where the peer could not, `note` does too."""

    case: Case
    own: Seconds | None
    peers: Mapping[str, Seconds]
    error: float | None
    flops: float
    nbytes: int
    note: str = ""

    @property
    def way(self) -> str | None:
        """The peer's fastest way."""
        return min(self.peers, key=lambda name: self.peers[name].best, default=None)

    @property
    def ratio(self) -> float | None:
        """The peer's best time over ours."""
        return None if self.own is None or self.way is None else self.peers[self.way].best / self.own.best


class Peer(Protocol):
    """Another library on the same device."""

    def given(self, arrays: Mapping[str, Array]) -> Any:
        """The arrays on the device; uint16 arrays are bf16."""
        ...

    def ways(self, work: Work, given: Any) -> Ways: ...

    def array(self, result: Any) -> Array: ...

    def clock(self, call: Call) -> Clock: ...


class TorchOnCuda:
    """PyTorch on a CUDA device."""

    def __init__(self, number: int) -> None:
        """Raises PeerError where PyTorch or its CUDA is missing."""
        torch = torch_with_cuda()
        self.torch, self.device = torch, f"cuda:{number}"

    def given(self, arrays: Mapping[str, Array]) -> dict[str, Any]:
        return {n: self._tensor(a).to(self.device) for n, a in arrays.items()}

    def _tensor(self, array: Array) -> Any:
        if array.dtype == np.uint16:
            return self.torch.from_numpy(array.view(np.int16)).view(self.torch.bfloat16)
        return self.torch.from_numpy(np.asarray(array))

    def ways(self, work: Work, given: Mapping[str, Any]) -> Ways:
        """Those that run here. A way that this build or device lacks raises RuntimeError at its first call."""
        found: dict[str, Callable[[], Any]] = {}
        for name, call in work.ways(self.torch, given).items():
            quiet = self._quiet(call)
            try:
                quiet()
            except RuntimeError:
                continue
            found[name] = quiet
        return found

    def _quiet(self, call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with self.torch.no_grad():
                return call()

        return run

    def array(self, result: Any) -> Array:
        return np.asarray(result.float().cpu().numpy())

    def clock(self, call: Call) -> Clock:
        event: Any = self.torch.cuda.Event
        device = self.device

        def seconds(count: int) -> float:
            with self.torch.cuda.device(device):
                start, end = event(enable_timing=True), event(enable_timing=True)
                start.record()
                for _ in range(count):
                    call()
                end.record()
                end.synchronize()
                return float(start.elapsed_time(end)) / 1e3

        return seconds


def event_clock(call: Call, stream: Stream) -> Clock:
    """Times `call`, which gives work to a stream of ours, by events on the device."""

    def seconds(count: int) -> float:
        start = stream.record()
        for _ in range(count):
            call()
        return stream.record().elapsed_ms(start) / 1e3

    return seconds


def bench_cuda_ops(
    chosen: list[Case], place: CudaDevice, peer: Peer | None, rounds: int, each: float = 0.02, tune: bool = False
) -> Iterator[CudaRow]:
    """Measure cases one by one, `peer` in turn with us, in rounds of about `each` seconds. `tune`: choose tiles and
    libraries for their products by measuring before, and keep the choices.

    Raises KernelFaultError: then the device is lost.
    """
    for case in chosen:
        yield _row(case, WORK[case.op](case.params), place, peer, rounds, each, tune)


def _row(case: Case, work: Work, place: CudaDevice, peer: Peer | None, rounds: int, each: float, tune: bool) -> CudaRow:
    from ..session.cuda import CudaSession
    from ..session.cuda_tuning import entries, tune_graph
    from ..session.tuning import load_tuning
    from ..session.tuning_file import save_tuning

    result: Array | None = None
    note = ""
    clocks: list[Clock] = []
    try:
        table = load_tuning(place.target)
        if tune:
            found = entries(tune_graph(work.graph, place))
            save_tuning(place.target, found)
            table = TuningTable({**table.entries, **found})
        session = CudaSession(work.graph, place, Options(tuning=table))
        note = "; ".join(n for row in session.compiled.program.report for n in row["notes"] if "cuBLASLt" in n)
        result = widened(session.run(work.arrays)[0])
        assert session.executable is not None
        clocks.append(event_clock(session.executable.run, place.stream))
    except (CompileError, DeviceMemoryError) as error:
        note = error.message
    ways: Ways = {} if peer is None else peer.ways(work, peer.given(work.arrays))
    if peer is not None:
        clocks += [peer.clock(call) for call in ways.values()]
        note = note if ways else "; ".join(n for n in (note, "the peer has no way to run it here") if n)
    times = clocks_in_turn(clocks, rounds, each, pause=0.0)
    own = None if result is None else times.pop(0)
    measured = dict(zip(ways, times, strict=True))
    row = CudaRow(case, own, measured, None, work.flops, work.nbytes, note)
    if peer is None or result is None or row.way is None:
        return row
    expected = peer.array(ways[row.way]())
    apart = float(np.abs(result.reshape(expected.shape) - expected).max())
    return replace(row, error=apart / max(1e-30, float(np.abs(expected).max())))


def widened(array: Array) -> Array:
    """bf16, held as uint16, as f32; other arrays as they are."""
    return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array


# --- the cases --------------------------------------------------------------------------------------------------------
def _bf16(seed: int, *shape: int) -> Array:
    """Values around 0 as bf16 in uint16: the upper halves of f32."""
    drawn = np.random.default_rng(seed).random(shape, np.float32)
    drawn -= np.float32(0.5)
    return (drawn.view(np.uint32) >> 16).astype(np.uint16)


def _matmul(p: Params) -> Work:
    """x @ w^T. w is a weight, packed before it is timed."""
    m, n, k = p["m"], p["n"], p["k"]
    x, w = parameter("x", tensor(bf16, m, k)), parameter("w", tensor(bf16, n, k), "weight")
    graph = Graph("matmul", [x, w], [ops.matmul(x, ops.transpose(w))])

    def ways(torch: Any, t: Mapping[str, Any]) -> Ways:
        return {"cuBLAS": lambda: torch.nn.functional.linear(t["x"], t["w"])}

    return Work(graph, {"x": _bf16(0, m, k), "w": _bf16(1, n, k)}, ways, 2.0 * m * n * k)


def _attention(p: Params) -> Work:
    """Causal attention of a prompt over a cache that holds nothing but it. Queries and results are f32 on our side."""
    s, heads, kv, size = p["seq"], p["heads"], p["kv_heads"], p["head_dim"]
    q, start = parameter("q", tensor(f32, s, heads, size)), parameter("start", tensor(i32))
    keys, values = (parameter(n, tensor(bf16, kv, s, size), "state") for n in ("keys", "values"))
    graph = Graph("attention", [q, keys, values, start], [ops.attention(q, keys, values, start, size**-0.5)])
    arrays = {"keys": _bf16(1, kv, s, size), "values": _bf16(2, kv, s, size), "start": np.zeros((), np.int32)}

    def ways(torch: Any, t: Mapping[str, Any]) -> Ways:
        call, kinds = torch.nn.functional.scaled_dot_product_attention, torch.nn.attention.SDPBackend
        given = [x[None].contiguous() for x in (t["q"].bfloat16().transpose(0, 1), t["keys"], t["values"])]

        def way(kind: Any) -> Callable[[], Any]:
            def run() -> Any:
                with torch.nn.attention.sdpa_kernel(kind):
                    return call(*given, is_causal=True, enable_gqa=heads != kv)[0].transpose(0, 1)

            return run

        names = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")
        return {n.removesuffix("_ATTENTION").lower(): way(getattr(kinds, n)) for n in names if hasattr(kinds, n)}

    return Work(graph, {"q": widened(_bf16(0, s, heads, size)), **arrays}, ways, 2.0 * s * (s + 1) * size * heads)


def _rows(
    build: Callable[..., Value], call: Callable[..., Any], vectors: int = 0, inputs: int = 1
) -> Callable[[Params], Work]:
    """An op on `inputs` tensors of one shape, and `vectors` of the length of its last axis. call(torch, *tensors)."""

    def work(p: Params) -> Work:
        shape = tuple(p["shape"])
        shapes = {f"x{i}": shape for i in range(inputs)} | {f"v{i}": shape[-1:] for i in range(vectors)}
        values = [parameter(name, tensor(bf16, *dims)) for name, dims in shapes.items()]
        arrays = {name: _bf16(n, *dims) for n, (name, dims) in enumerate(shapes.items())}

        def ways(torch: Any, t: Mapping[str, Any]) -> Ways:
            return {"eager": lambda: call(torch, *(t[name] for name in shapes))}

        return Work(Graph("rows", values, [build(*values)]), arrays, ways)

    return work


_EPS = 1e-5

WORK: dict[str, Callable[[Params], Work]] = {
    "matmul": _matmul,
    "attention": _attention,
    "add": _rows(ops.add, lambda torch, x, y: x + y, inputs=2),
    "gelu": _rows(ops.gelu, lambda torch, x: torch.nn.functional.gelu(x)),
    "rms_norm": _rows(
        lambda x, w: ops.rms_norm(x, w, eps=_EPS),
        lambda torch, x, w: torch.nn.functional.rms_norm(x, x.shape[-1:], w, _EPS),
        vectors=1,
    ),
    "layer_norm": _rows(
        lambda x, w, b: ops.layer_norm(x, w, b, eps=_EPS),
        lambda torch, x, w, b: torch.nn.functional.layer_norm(x, x.shape[-1:], w, b, _EPS),
        vectors=2,
    ),
    "softmax": _rows(lambda x: ops.softmax(x, -1), lambda torch, x: torch.softmax(x, -1)),
}
