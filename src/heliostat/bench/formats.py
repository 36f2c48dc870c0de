"""The formats suite: one matrix in every declared format, times one row (generation) and many rows (prompts)."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ops
from ..ir.graph import Graph, parameter
from ..ir.types import Element, bf16, f16, f32, tensor
from ..kernels import dot
from ..quant import formats
from ..quant.format import BlockFormat
from ..session import Session, compile_graph
from ..session.executable import Executable
from .compare import Call, Seconds, time_in_turn
from .limits import READ_BYTES, Limits, probe
from .ops import library_of

Array = npt.NDArray[Any]
COLD_BYTES = 256 << 20  # weights of generation are taken from so much memory in turn


@dataclass(frozen=True)
class FormatRow:
    """One format. Seconds of a product; `share`s of the read limit for one row, of the arithmetic limit for many."""

    name: str
    nbytes: int
    single: Seconds
    many: Seconds
    peer: Seconds | None
    read_gb_s: float
    read_share: float
    gops: float
    arithmetic_share: float


def elements(only: str = "") -> list[Element]:
    """Formats whose kernels run, and the float dtypes, whose name contains `only`."""
    blocks: list[Element] = [
        f for f in formats.all() if dot.refusal(f) is None and f.block % 32 == 0 and f.name not in ("Q8_1", "Q8_K")
    ]
    return [e for e in (f32, f16, bf16, *blocks) if only.lower() in e.name.lower()]


def bench_formats(
    chosen: list[Element], limits: Limits, rows: int, out: int, depth: int, peer: str | None, rounds: int
) -> Iterator[FormatRow]:
    """Measure formats one by one. `peer` "numpy" or "torch": the same product of f32 matrices by it, for many rows.
    Raises PeerError."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, depth)).astype(np.float32)
    for element in chosen:
        single, nbytes, limit_gb_s = _single(element, limits.threads, out, depth, rounds)
        session, given = _product(element, limits.threads, rows, out, depth, x)
        session.run(given)
        assert session.executable is not None
        most = probe(limits.threads)  # in turn too: what a shared machine gives changes by the minute
        integers = isinstance(element, BlockFormat)
        sides: list[Call] = [session.executable.run, most.dot if integers else most.fma]
        with contextlib.ExitStack() as stack:
            if peer is not None:
                theirs = library_of(peer, limits.threads)
                stack.enter_context(theirs.set_up())
                a, b = (theirs.given(m) for m in (x, rng.standard_normal((out, depth)).astype(np.float32)))
                sides.append(partial(operator.matmul, a, theirs.t(b)))
            times = time_in_turn(sides, rounds, pause=0.0 if peer is None else 0.15)
        gops = 2 * rows * out * depth / times[0].best / 1e9
        limit = most.int8_gops(times[1].best) if integers else most.fma_gflops(times[1].best)
        read = nbytes / single.best / 1e9
        yield FormatRow(
            element.name, nbytes, single, times[0], times[2] if len(times) > 2 else None,
            read, read / limit_gb_s, gops, gops / limit,
        )  # fmt: skip


def _product(
    element: Element, threads: int, rows: int, out: int, depth: int, x: Array
) -> tuple[Session, dict[str, Array]]:
    a, w = parameter("x", tensor(f32, rows, depth)), parameter("w", tensor(element, out, depth), "weight")
    session = compile_graph(Graph("product", [a, w], [ops.matmul(a, ops.transpose(w))]), threads=threads)
    return session, {"x": x, "w": _weights(element, out, depth)}


def _weights(element: Element, out: int, depth: int) -> Array:
    """Valid blocks of any contents: bytes that are small normal numbers where they are read as floats."""
    if isinstance(element, BlockFormat):
        return np.random.default_rng(1).integers(40, 60, (out, depth // element.block * element.nbytes), np.uint8)
    if element == f32:
        return np.full((out, depth), 0.5, np.float32)
    return np.full((out, depth), 0x3800 if element == f16 else 0x3F00, np.uint16).view(
        np.float16 if element == f16 else np.uint16
    )


def _single(element: Element, threads: int, out: int, depth: int, rounds: int) -> tuple[Seconds, int, float]:
    """One row times each of several matrices, together larger than any cache; the matrix's bytes; the read limit.

    The limit is measured in turn with the product: what memory gives to one user of a shared machine changes by half.
    """
    session, given = _product(element, threads, 1, out, depth, np.ones((1, depth), np.float32))
    session.run(given)
    first = session.executable
    assert first is not None
    weight = next(n for n, b in enumerate(first.program.buffers) if b.kind == "weight")
    nbytes = first.program.buffers[weight].nbytes
    copies: list[Executable] = [first]
    while len(copies) * nbytes < COLD_BYTES:
        session.executable = None  # the next run packs the weights anew
        session.run(given)
        assert session.executable is not None
        copies.append(session.executable)

    def sweep() -> None:
        for executable in copies:
            executable.run()

    seconds, limit = time_in_turn([sweep, probe(threads).read], rounds, each=0.05, pause=0.0)
    return Seconds(tuple(s / len(copies) for s in seconds.rounds)), nbytes, READ_BYTES / limit.best / 1e9
