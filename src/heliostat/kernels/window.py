"""Schedule of `unfold` and `fold`: vectors along the last axis where windows begin at every element, or one by one."""

from __future__ import annotations

from ..ir.types import DType
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse, TensorOperand, compute_elem

ROOTS = ("unfold", "fold")


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name not in ("unfold", "fold") or len(group.nodes) != 1:
        return Refuse("not an unfold or fold by itself")
    x = group.root.inputs[0].type
    if not isinstance(x.element, DType) or x.layout is not None:
        return Refuse("operands must be plain and row-major")
    return Accept()


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """Reads x once per place of the window, writes the result once."""
    nest = _Nest(group, target, name)
    return nest.unfold() if group.root.op.name == "unfold" else nest.fold()


class _Nest:
    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name)
        node = group.root
        source, out = k.buffer("i0", "r"), k.buffer("o0", "w")
        dims = self.dims = Dims(k, group.symbols)
        self.x = TensorOperand(k, dims, source, node.inputs[0].type)
        self.y = TensorOperand(k, dims, out, node.results[0].type)
        self.kernel: tuple[int, ...] = node.attrs["kernel"]
        self.stride: tuple[int, ...] = node.attrs["stride"]
        self.padding: tuple[int, ...] = node.attrs["padding"]
        self.dilation: tuple[int, ...] = node.attrs["dilation"]
        self.rank = len(self.kernel)
        self.fill = node.attrs.get("fill", 0.0)
        wide = target.lanes_of(self.x.type.dtype.nbytes)
        self.lanes = wide if self.stride[-1] == 1 else 1
        self.padded = any(self.padding)

    def _inside(self, at: Instruction, size: Instruction) -> Instruction:
        """0 <= at < size."""
        return self.k.ult(at, size)

    def _masked(self, index: list[Instruction], ok: Instruction, size: Instruction, left: Instruction) -> Instruction:
        """Lanes from index[-1], which may lie outside 0 .. size; zero outside, and where not `ok`."""
        k, lanes = self.k, self.lanes
        if lanes == 1:
            valid = ok & self._inside(index[-1], size)
            safe = [k.select(valid, i, 0) for i in index]
            value = self.x.load(safe)
            return k.select(valid, value, k.const(0, value.elem))
        if size.op == "const" and size.value == 1:  # an axis of one element is spread by `load`
            hit = k.splat(index[-1], lanes) + k.iota("i64", lanes) == k.splat(k.const(0, "i64"), lanes)
            first = self.x.load([*(k.select(ok, i, 0) for i in index[:-1]), k.const(0, "i64")])
            return k.select(hit & k.splat(ok, lanes), k.splat(first, lanes), k.const(0, first.elem, lanes))
        mask = self._lane_mask(index[-1], size) & k.splat(ok, lanes) & self._lane_mask(k.const(0, "i64"), left)
        return self.x.load(index, lanes, mask)

    def _lane_mask(self, first: Instruction, size: Instruction) -> Instruction:
        """first + lane lies in 0 .. size."""
        k = self.k
        lane = k.iota("i32", self.lanes)
        low = k.convert(k.maximum(k.minimum(k.const(0, "i64") - first, self.lanes), 0), "i32")
        high = k.convert(k.maximum(k.minimum(size - first, self.lanes), 0), "i32")
        return (k.splat(low, self.lanes) <= lane) & (lane < k.splat(high, self.lanes))

    def unfold(self) -> Kernel:
        k, dims, r = self.k, self.dims, self.rank
        lead, last = self.y.type.shape[:-1], dims(self.y.type.shape[-1])
        sizes = [dims(d) for d in self.x.type.shape[2:]]
        for item in k.parallel(dims.product(lead)):
            index = dims.index(lead, item)
            places, counts = index[2 : 2 + r], index[2 + r :]
            ok = k.const(True, "i1")
            source = list(index[:2])
            for a in range(r - 1):
                at = counts[a] * self.stride[a] + places[a] * self.dilation[a] - self.padding[a]
                ok = ok & self._inside(at, sizes[a])
                source.append(at)
            begin = places[-1] * self.dilation[-1] - self.padding[-1]
            for c in k.loop(0, last, self.lanes):
                at = begin + c * self.stride[-1]
                if self.lanes == 1 and not self.padded:  # no window reaches outside
                    self.y.store([*index, c], self.x.load([*source, at]))
                    continue
                value = self._masked([*source, at], ok, sizes[-1], last - c)
                if self.fill:
                    value = self._filled(value, ok, at, sizes[-1])
                self.y.store(
                    [*index, c], value, None if self.lanes == 1 else self._lane_mask(k.const(0, "i64"), last - c)
                )
        return k.finish()

    def _filled(self, value: Instruction, ok: Instruction, at: Instruction, size: Instruction) -> Instruction:
        k = self.k
        fill = k.const(self.fill, value.elem, value.lanes)
        if self.lanes == 1:
            return k.select(ok & self._inside(at, size), value, fill)
        return k.select(self._lane_mask(at, size) & k.splat(ok, self.lanes), value, fill)

    def fold(self) -> Kernel:
        k, dims = self.k, self.dims
        lead, last = self.y.type.shape[:-1], dims(self.y.type.shape[-1])
        counts = [dims(d) for d in self.x.type.shape[2 + self.rank :]]
        elem = compute_elem(self.y.type.dtype)
        elem = "i32" if elem == "i1" else elem
        for item in k.parallel(dims.product(lead)):
            index = dims.index(lead, item)
            for c in k.loop(0, last, self.lanes):
                total = k.var(k.zeros(elem, self.lanes))
                self._gather([*index, c], 0, [], [], k.const(True, "i1"), counts, total, last - c)
                mask = None if self.lanes == 1 else self._lane_mask(k.const(0, "i64"), last - c)
                self.y.store([*index, c], total.get(), mask)
        return k.finish()

    def _gather(
        self,
        target: list[Instruction],
        axis: int,
        places: list[Instruction],
        found: list[Instruction],
        ok: Instruction,
        counts: list[Instruction],
        total: Variable,
        left: Instruction,
    ) -> None:
        """Adds every window that covers the target, one axis of the window after the other."""
        k = self.k
        if axis == self.rank:
            value = self._masked([*target[:2], *places, *found], ok, counts[-1], left)
            total.set(total.get() + k.convert(value, total.get().elem))
            return
        for place in k.loop(self.kernel[axis]):
            shifted = target[2 + axis] + self.padding[axis] - place * self.dilation[axis]
            step = self.stride[axis]
            here = ok
            if step > 1:
                here = ok & (shifted % step == 0)
                shifted = shifted // step  # toward zero: negative numbers that divide stay negative
            if axis < self.rank - 1:
                here = here & self._inside(shifted, counts[axis])
            self._gather(target, axis + 1, [*places, place], [*found, shifted], here, counts, total, left)
