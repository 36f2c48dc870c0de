"""`diagnose`: whether a function can be captured, and if not, where and why. Nothing is compiled or changed."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..diagnostics import PACKAGE
from .capture import capture
from .core import Tensor
from .stance import uncompiled
from .step import Plan
from .structure import tensors_in
from .watch import Kept, reached


@dataclass(frozen=True)
class OpInfo:
    """An op of a graph, and how many nodes have it."""

    name: str
    count: int


@dataclass(frozen=True)
class DiagnosisReport:
    """compilable: whether the capture came to its end. reason, where: the error and the line of user code, "" without.
    ops: those of the graph, the most frequent first. nodes: how many there are. reads, writes: tensors from outside.
    leaves: tensors made inside that stay alive outside, so that each call captures anew. random: whether numbers are
    drawn."""

    compilable: bool
    reason: str = ""
    where: str = ""
    ops: tuple[OpInfo, ...] = ()
    nodes: int = 0
    reads: int = 0
    writes: int = 0
    leaves: int = 0
    random: bool = False

    def __str__(self) -> str:
        if not self.compilable:
            return f"cannot be compiled: {self.reason}" + (f"\n  at {self.where}" if self.where else "")
        ops = ", ".join(f"{op.name} x{op.count}" for op in self.ops)
        text = f"can be compiled: {self.nodes} nodes ({ops})"
        text += f"; reads {self.reads} tensors from outside, writes {self.writes}"
        return text + (f"; leaves {self.leaves} outside, so that each call captures anew" if self.leaves else "")


def diagnose(function: Callable[..., Any], *args: Any, **kwargs: Any) -> DiagnosisReport:
    """What `compile(function)` would capture for these arguments. Errors of the function become a report; its Python
    besides runs once."""
    function = uncompiled(function)
    types = [t.value.type for t in tensors_in((list(args), dict(kwargs))) if type(t) is Tensor]
    kept = Kept(reached(function, (*args, *kwargs.values()))[1])
    try:
        kept.make()
        c = capture(function, args, kwargs, lambda t: type(t) is not Tensor, types)
        changed = [o.final for o in c.outside if o.final is not None]
        plan = Plan(c, [*(c.finals[id(t)] for t in tensors_in(c.result) if id(t) in c.finals), *changed], [])
        counts = Counter(v.node.op.name for v in plan.closed.order if v.node.op.name != "parameter")
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(PACKAGE)]
        where = f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""
        return DiagnosisReport(False, f"{type(error).__name__}: {error}", where)
    finally:
        kept.restore()
    return DiagnosisReport(
        True, ops=tuple(OpInfo(*row) for row in counts.most_common()), nodes=sum(counts.values()), reads=len(c.outside),
        writes=len(changed), leaves=len(c.kept), random=bool(c.fills),
    )  # fmt: skip
