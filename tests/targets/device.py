"""Programs for GPUs run without one, every launch by the lock-step interpreter; or on the device where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heliostat.compiler.pipeline import Compiled, Options, compile_graph
from heliostat.compiler.tuning import TuningTable
from heliostat.diagnostics import DeviceError
from heliostat.ir.graph import Graph
from heliostat.kernel.interp import interpret
from heliostat.kernel.ir import Kernel
from heliostat.kernel.lockstep import run_lockstep
from heliostat.kernel.program import Program
from heliostat.runtime.buffer import Buffer
from heliostat.session.cuda import CudaDevice, CudaSession
from heliostat.session.executable import as_array, check_symbols
from heliostat.session.session import from_layout, prepare, shaped, to_layout
from heliostat.targets.llvm_compile import emit_assembly
from heliostat.targets.nvptx_module import Phase, print_nvptx
from heliostat.targets.target import CUDA, Target, cuda_target

AMPERE = cuda_target((8, 0))

Array = np.ndarray[Any, np.dtype[Any]]
Runner = Callable[[Graph, Mapping[str, Array], Mapping[str, int]], list[Array]]


def emit_ptx(phases: Sequence[Phase], target: Target) -> str:
    """Phases as one text of PTX."""
    return emit_assembly(print_nvptx(phases, target), target)


def assemble_for_linking(text: str, target: Target, folder: Path) -> None:
    """By ptxas as the driver's linker does, where ptxas is installed. No product by four warps may wait for the one
    before: ptxas has them all wait in a kernel with a call, and takes exact divisions for calls."""
    if "wgmma" in text:
        assert not re.search(r"\b((div|rem)\.[su]64|(div|rcp|sqrt)\.rn)", text)
    if (ptxas := shutil.which("ptxas")) is not None:
        (folder / "k.ptx").write_text(text)
        command = [ptxas, "-c", "-v", f"-arch={target.cpu}", str(folder / "k.ptx"), "-o", str(folder / "k.cubin")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "serialized" not in done.stderr


@lru_cache(maxsize=1)
def gpu() -> CudaDevice | str:
    """The first GPU, or why there is none."""
    try:
        return CudaDevice(0)
    except DeviceError as error:
        return str(error)


class Simulated:
    """A compiled graph whose launches `kernel(kernel, arrays)` runs one after the other."""

    def __init__(
        self,
        graph: Graph,
        run: Callable[[Kernel, list[Array]], None],
        target: Target = CUDA,
        options: Options = Options(),
    ) -> None:
        self.graph, self.run_kernel = graph, run
        self.compiled: Compiled = compile_graph(graph, target, options)

    def run(self, inputs: Mapping[str, Array], symbols: Mapping[str, int]) -> list[Array]:
        known = dict(symbols)
        held = {n: a.reshape(-1).view(np.uint8).copy() for n, a in prepare(self.graph, inputs, known).items()}
        for name, program in self.compiled.loads.items():
            held[name] = self._program(program, held, known)[program.outputs[0]]
        program = self.compiled.program
        buffers = self._program(program, held, known)
        arrays = []
        for n, value in enumerate(self.graph.outputs):
            plan = program.buffers[program.outputs[n]]
            buffer = Buffer.of(buffers[program.outputs[n]])
            arrays.append(shaped(as_array(buffer, plan.type, known), value, known).copy())
        for old, _ in self.graph.updates:
            number = program.by_name(old.node.attrs["name"])
            plan = program.buffers[number]
            data = as_array(Buffer.of(buffers[number]), plan.type, known)
            arrays.append(from_layout(data, plan.type) if plan.type.layout is not None else data)
        return arrays

    def _program(self, program: Program, held: Mapping[str, Array], known: dict[str, int]) -> list[Array]:
        buffers: list[Array] = []
        for plan in program.buffers:
            data = np.full(max(plan.nbytes, 64), 0xA5, np.uint8)
            if plan.kind == "constant":
                data[: len(plan.data)] = np.frombuffer(plan.data, np.uint8)
            elif plan.name in held and plan.kind != "output":
                given = held[plan.name]
                laid_out = plan.kind in ("input", "state") and plan.type.layout is not None
                given = to_layout(given, plan.type) if laid_out else given
                data[: given.size] = given
            buffers.append(data)
        number = {s.name: i for i, s in enumerate(program.symbols)}
        slots = np.zeros(len(number), np.int64)
        check_symbols(program, number, {s.name: (s.lower, s.upper) for s in program.symbols}, slots, known)
        for launch in program.launches:
            arrays = [buffers[b] for b in launch.buffers]
            self.run_kernel(
                program.kernels[launch.kernel], [*arrays, *(slots[number[s], None] for s in launch.symbols)]
            )
        return buffers


def lockstep(
    graph: Graph, inputs: Mapping[str, Array], symbols: Mapping[str, int], options: Options = Options()
) -> list[Array]:
    return Simulated(graph, run_lockstep, options=options).run(inputs, symbols)


def with_tiles(run: Runner, entries: Mapping[str, Mapping[str, Any]]) -> Runner:
    """`lockstep` or `on_gpu` with choices of a tuner."""
    options = Options(tuning=TuningTable(entries))
    return partial(run, options=options)


def lockstep_of_8(
    graph: Graph, inputs: Mapping[str, Array], symbols: Mapping[str, int], options: Options = Options()
) -> list[Array]:
    """As compute capability 8.0 runs it, which has no products by four warps together."""
    return Simulated(graph, run_lockstep, AMPERE, options).run(inputs, symbols)


def meaning(graph: Graph, inputs: Mapping[str, Array], symbols: Mapping[str, int]) -> list[Array]:
    """The kernels of compute capability 8.0 as they are meant, before they are rewritten for threads."""
    return Simulated(graph, lambda k, a: interpret(k, a, 2), AMPERE).run(inputs, symbols)


def on_gpu(
    graph: Graph, inputs: Mapping[str, Array], symbols: Mapping[str, int], options: Options = Options()
) -> list[Array]:
    place = gpu()
    if isinstance(place, str):
        pytest.skip(place)
    return CudaSession(graph, place, options).run(inputs, symbols)


def on_gpu_of_8(
    graph: Graph, inputs: Mapping[str, Array], symbols: Mapping[str, int], options: Options = Options()
) -> list[Array]:
    """With the kernels of compute capability 8.0, which later GPUs run too."""
    place = gpu()
    if isinstance(place, str):
        pytest.skip(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, "target", replace(AMPERE, machine=place.target.machine))
        return CudaSession(graph, place, options).run(inputs, symbols)


RUNNERS = [pytest.param(lockstep, id="lockstep"), pytest.param(on_gpu, id="gpu", marks=pytest.mark.cuda)]
RUNNERS_OF_8 = [
    pytest.param(lockstep_of_8, id="lockstep-8.0"),
    pytest.param(on_gpu_of_8, id="gpu-8.0", marks=pytest.mark.cuda),
]
