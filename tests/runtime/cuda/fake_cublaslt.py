"""A stand-in for cuBLASLt's library that computes on host memory, in the order of the stand-in GPU's streams."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np

from runtime.cuda.fake_bindings import FakeBindings, Kernel, Node

KINDS = {0: np.float32, 2: np.float16}


class _Version:
    restype: Any = None

    def __call__(self) -> int:
        return 130100


class FakeCublasLt:
    """`offered` algorithms of each product; `calls`: the number of each product that ran."""

    def __init__(self, fake: FakeBindings, offered: int = 3) -> None:
        self.fake, self.offered = fake, offered
        self.things: dict[int, SimpleNamespace] = {}
        self.calls: list[int] = []
        self.fail = 0
        self.cublasLtGetVersion = _Version()

    def _made(self, pointer: Any, **values: Any) -> int:
        number = 1000 + len(self.things)
        pointer._obj.value = number
        self.things[number] = SimpleNamespace(attributes={}, alive=True, **values)
        return 0

    def cublasLtCreate(self, pointer: Any) -> int:
        return self._made(pointer)

    def cublasLtMatmulPreferenceCreate(self, pointer: Any) -> int:
        return self._made(pointer)

    def cublasLtMatmulDescCreate(self, pointer: Any, compute: Any, scale: Any) -> int:
        assert (compute.value, scale.value) == (68, 0)
        return self._made(pointer)

    def cublasLtMatrixLayoutCreate(self, pointer: Any, kind: Any, rows: Any, columns: Any, step: Any) -> int:
        return self._made(pointer, kind=KINDS[kind.value], rows=rows.value, columns=columns.value, step=step.value)

    def _set(self, thing: Any, attribute: Any, value: Any, nbytes: Any) -> int:
        assert ctypes.sizeof(value._obj) == nbytes.value
        self.things[thing.value].attributes[attribute.value] = value._obj.value
        return 0

    cublasLtMatmulDescSetAttribute = cublasLtMatrixLayoutSetAttribute = _set
    cublasLtMatmulPreferenceSetAttribute = _set

    def _destroy(self, thing: Any) -> int:
        assert self.things[thing.value].alive
        self.things[thing.value].alive = False
        return 0

    cublasLtMatmulDescDestroy = cublasLtMatrixLayoutDestroy = cublasLtMatmulPreferenceDestroy = _destroy

    def cublasLtMatmulAlgoGetHeuristic(self, *args: Any) -> int:
        *_, preference, most, results, count = args
        assert self.things[preference.value].attributes[1] == 32 << 20
        for n in range(min(most.value, self.offered)):
            results[n].algorithm.data[0] = 7 + n
        count._obj.value = min(most.value, self.offered)
        return 0

    def cublasLtMatmul(
        self, handle: Any, product: Any, one: Any, a: Any, of_a: Any, b: Any, of_b: Any, zero: Any, *rest: Any
    ) -> int:
        c, _, y, of_y, algorithm, workspace, nbytes, stream = rest
        if self.fail:
            return self.fail
        assert (one._obj.value, zero._obj.value, c.value, nbytes.value) == (1.0, 0.0, y.value, 32 << 20)
        assert workspace.value % 256 == 0
        attributes = self.things[product.value].attributes
        turned = [attributes[n] for n in (3, 4)]
        bias = attributes[8] if attributes.get(7) == 4 else None
        places = [(p.value, self.things[layout.value]) for p, layout in ((a, of_a), (b, of_b), (y, of_y))]
        number = algorithm._obj.data[0] - 7

        def run(*_: Any) -> None:
            left, right, out = (_array(*place) for place in places)
            left, right = (m.swapaxes(-1, -2) if t else m for m, t in zip((left, right), turned, strict=True))
            sums = left.astype(np.float64) @ right.astype(np.float64)
            if bias is not None:
                row = (ctypes.c_uint8 * (out.shape[-2] * out.itemsize)).from_address(bias)
                sums += np.ctypeslib.as_array(row).view(out.dtype)[:, None]
            out[:] = sums.astype(out.dtype)
            self.calls.append(number)

        self.fake.enqueue(stream.value, Node(Kernel(run), (), (), []))
        return 0


def _array(address: int, layout: SimpleNamespace) -> np.ndarray[Any, Any]:
    """Matrices whose columns lie one behind the other."""
    batch = layout.attributes.get(5, 1)
    size = layout.step * layout.columns
    assert batch == 1 or layout.attributes[6] == size
    count = batch * size * np.dtype(layout.kind).itemsize
    flat = np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address)).view(layout.kind)
    return flat.reshape(batch, layout.columns, layout.step)[:, :, : layout.rows].swapaxes(-1, -2)
