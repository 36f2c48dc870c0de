"""`heliostat exec`: run a function of a `.lum` file on random input; its time, its rate, and how far its results are
from the reference of the ops."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heliostat.cli.model_options import check_threads
from heliostat.cli.program import load_program, pick_function
from heliostat.cli.report import UsageError
from heliostat.compiler.flops import flops
from heliostat.ir.graph import Graph
from heliostat.ir.types import DType, Symbol, TensorType
from heliostat.lang.types import did_you_mean
from heliostat.ops.evaluate import evaluate as evaluate_reference
from heliostat.quant.codec import dequantize
from heliostat.quant.format import BlockFormat
from heliostat.quant.quantize import encode
from heliostat.session import compile_graph

Array = npt.NDArray[Any]
MAX_BYTES = 16 << 30  # of all inputs together: more is a mistake in --set, or needs a machine of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="F.lum", help="the source; `-` reads standard input")
    parser.add_argument("--fn", metavar="NAME", help="the function (default: the only one of the file)")
    parser.add_argument("--random", action="store_true", help="make up the input: floats around 0, integers 0 to 7")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the random input (default: 0)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="M=17",
        help="the value of a shape parameter (default: its upper bound); may be repeated",
    )
    parser.add_argument("--repeat", type=_positive, default=10, metavar="R", help="timed runs (default: 10)")
    parser.add_argument("--threads", type=_positive, metavar="K", help="worker threads (default: all cores)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_positive.__name__ = "integer of at least 1"  # argparse says it in its message


def run(args: argparse.Namespace) -> int:
    graph = pick_function(load_program(args.file), args.fn)
    symbols = chosen_symbols(graph, args.set)
    if not args.random:
        raise UsageError("there is no input", help="--random makes one up")
    if args.seed < 0:
        raise UsageError(f"--seed must be at least 0, is {args.seed}")
    check_threads(args)
    inputs = random_inputs(graph, symbols, args.seed)
    session = compile_graph(graph, threads=args.threads)
    results = session.run(inputs, symbols)
    assert session.executable is not None  # bound by the first run: inputs are in place from now on
    seconds = _timed(session.executable.run, args.repeat)
    expected = evaluate_reference(graph, inputs, symbols)
    report = {
        "fn": graph.name,
        "symbols": symbols,
        "results": [str(v.type) for v in graph.outputs],
        "repeat": args.repeat,
        "seconds": statistics.median(seconds),
        "best_s": min(seconds),
        "flop": flops(graph, symbols),
        **difference(results, expected, [v.type for v in graph.outputs]),
    }
    report["gflop_s"] = report["flop"] / max(report["seconds"], 1e-9) / 1e9
    print(json.dumps(report) if args.json else _text(report))
    return 0


def _timed(call: Callable[[], object], repeat: int) -> list[float]:
    seconds = []
    for _ in range(repeat):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return seconds


def _text(report: Mapping[str, Any]) -> str:
    given = ", ".join(f"{k}={v}" for k, v in report["symbols"].items())
    head = f"{report['fn']}{f'<{given}>' if given else ''} -> {', '.join(report['results'])}"
    rate = f"{report['gflop_s']:.2f} GFLOP/s" if report["flop"] else "no arithmetic"
    return (
        f"{head}\n"
        f"  time       {_seconds(report['seconds'])} median of {report['repeat']}, best {_seconds(report['best_s'])}\n"
        f"  rate       {rate} ({report['flop']:.3g} operations)\n"
        f"  difference {report['max_abs_diff']:.3g} at most, {report['rel_diff']:.3g} of the norm of the reference"
    )


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


# -- input


def graph_symbols(graph: Graph) -> dict[str, Symbol]:
    """The shape parameters that the types of the graph's parameters use, by name."""
    return {s.name: s for p in graph.parameters for s in p.type.symbols}


def chosen_symbols(graph: Graph, settings: Sequence[str]) -> dict[str, int]:
    """The value of every shape parameter: what `NAME=value` says, or its upper bound. Raises UsageError."""
    known = graph_symbols(graph)
    chosen = {name: symbol.upper for name, symbol in known.items()}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in known:
            listed = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(
                f"--set {setting}: `{graph.name}` has no shape parameter `{name}`",
                help=did_you_mean(name, known) or listed,
            )
        if not text.isdecimal() or len(text) > 18:
            raise UsageError(f"--set {setting}: expected an integer behind `{name}=`")
        symbol, value = known[name], int(text)
        if not symbol.lower <= value <= symbol.upper:
            raise UsageError(f"--set {setting}: `{name}` is {symbol.lower} to {symbol.upper}")
        chosen[name] = value
    return chosen


def random_inputs(graph: Graph, symbols: Mapping[str, int], seed: int) -> dict[str, Array]:
    """An array for each parameter: floats around 0, integers 0 to 7, truth values. Floats have unit variance; those
    of blocks are scaled as weights are, by 1 / sqrt(last dimension), so that products stay of order 1.
    Blocks are passed as their bytes, (..., bytes of a row) uint8; bf16 as its bits, uint16."""
    total = sum(_nbytes(p.type, symbols) for p in graph.parameters)
    if total > MAX_BYTES:
        raise UsageError(f"the input needs {total / 1e9:.1f} GB", help="choose smaller shapes by --set")
    rng = np.random.default_rng(seed)
    return {p.name: _random(p.type, symbols, rng) for p in graph.parameters}


def _nbytes(type_: TensorType, symbols: Mapping[str, int]) -> int:
    return math.prod(type_.shape_at(symbols)) // type_.element.block * type_.element.nbytes


_NUMPY = {"bool": "bool", "f16": "float16", "f32": "float32", "f64": "float64"}


def _random(type_: TensorType, symbols: Mapping[str, int], rng: np.random.Generator) -> Array:
    shape, element = type_.shape_at(symbols), type_.element
    if isinstance(element, BlockFormat):
        return encode(rng.standard_normal(shape, dtype=np.float32) / np.float32(math.sqrt(max(shape[-1], 1))), element)
    assert isinstance(element, DType)
    if element.name == "bf16":
        return encode(rng.standard_normal((*shape, 1), dtype=np.float32), "BF16").view(np.uint16).reshape(shape)
    if element.kind == "b":
        return rng.random(shape) < 0.5
    if element.is_float:
        return rng.standard_normal(shape, dtype=np.float32).astype(_NUMPY[element.name])
    kind = "int" if element.kind == "i" else "uint"
    return rng.integers(0, 8, shape).astype(f"{kind}{element.bits}")


# -- comparison


def difference(results: Sequence[Array], expected: Sequence[Array], types: Sequence[TensorType]) -> dict[str, float]:
    """How far the results are from the reference: the largest absolute difference, and the norm of the difference
    over that of the reference. Equal infinities and NaNs on both sides count as equal."""
    largest, squares, norm = 0.0, 0.0, 0.0
    for result, reference, type_ in zip(results, expected, types, strict=True):
        a, b = _floats(result, type_), _floats(reference, type_)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            off = np.where(same, 0.0, np.abs(a - b))
        largest = max(largest, float(off.max(initial=0.0)))
        squares += float(np.square(off).sum())
        norm += float(np.square(np.where(np.isfinite(b), b, 0.0)).sum())
    relative = math.sqrt(squares / norm) if norm else math.sqrt(squares)
    return {"max_abs_diff": largest, "rel_diff": relative}


def _floats(array: Array, type_: TensorType) -> npt.NDArray[np.float64]:
    if isinstance(type_.element, BlockFormat) and array.dtype == np.uint8:
        return dequantize(array, type_.element).astype(np.float64)
    if type_.element.name == "bf16" and array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)
