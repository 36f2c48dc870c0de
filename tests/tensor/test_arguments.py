"""Arguments by every name that PyTorch takes them by, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import UnsupportedError

from .compare import check, floats, torch

Call = Callable[[Any, Any], Any]

BY_NAME: dict[str, Call] = {
    "products": lambda m, x: [
        m.addmm(x, mat1=x, mat2=x, beta=2), x[0].addmv(mat=x, vec=x[0]), m.addr(input=x, vec1=x[0], vec2=x[1]),
        m.baddbmm(x[None], batch1=x[None], batch2=x[None]), x.addbmm(batch1=x[None], batch2=x[None], alpha=3),
        m.dot(input=x[0], tensor=x[1]),
    ],
    "sizes": lambda m, x: [
        x.view(size=(9,)), x.reshape(shape=(9, 1)), x[:1].expand(size=(2, 3)), m.broadcast_to(x[:1], size=(2, 3)),
        x.sum_to_size(size=(1, 3)), x.new_zeros(size=(2,)), x.new_ones(size=(2, 1)), m.zeros(size=(2, 2)),
        m.ones(size=[1]), x.clone().resize_(size=(3,)), x[:, 0].clone().resize_as_(the_template=x[0]),
    ],
    "counts": lambda m, x: [x.repeat(repeats=(2, 1)), m.tile(x, dims=(2,)), m.tile(input=x, dims=(1, 2))],
    "orders": lambda m, x: [
        m.permute(x, dims=(1, 0)), m.permute(input=x, dims=(1, 0)), x.permute(dims=[1, 0]),
        x.swapaxes(axis0=0, axis1=1), x.roll(1, ()),
    ],
    "pieces": lambda m, x: [
        *x.split(split_size=2), *m.tensor_split(x, sections=2), *x.tensor_split(indices=(1,)),
        *m.hsplit(x, indices=[2]), *x.tensor_split(tensor_indices_or_sections=m.tensor(3)),
    ],
    "operands": lambda m, x: [
        m.max(x, other=-x), x.min(other=x * 2), m.pow(self=2, exponent=x), m.xlogy(self=2, other=x.abs()),
        m.isin(x, test_element=1), m.softmax(x, 0, m.float32), x.log_softmax(1, m.float64), m.nan_to_num(x, None),
        m.bucketize(self=0.5, boundaries=m.tensor([0.0, 1.0])),
    ],
    "makers": lambda m, x: [
        m.asarray(obj=[1, 2], dtype=m.float32), m.asarray(x, copy=True), m.scalar_tensor(s=2), m.arange(end=3),
        m.zeros(5, 2, dtype=m.float64).fill_diagonal_(3, wrap=True), m.zeros(4).random_(0, to=1),
        m.zeros(2).random_(**{"from": 3, "to": 4}), m.randint(high=1, size=(2,)), m.randint_like(x, high=1),
        x.type(m.float32, non_blocking=True), x.cpu(memory_format=m.preserve_format), m.histogram(x).hist.sum(),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
def test_arguments_have_the_names_of_pytorch(name: str) -> None:
    check(BY_NAME[name], floats(3, 3))


def test_arguments_of_complex_tensors() -> None:
    def call(m: Any, x: Any) -> Any:
        return [
            x.permute(dims=(1, 0)), m.permute(input=x, dims=(1, 0)), x.view(size=(9,)), x.sum(dim=0),
            x[:1].expand(size=(2, 3)), x.repeat(repeats=(1, 2)), x.addmm(mat1=x, mat2=x), m.addcmul(x, x.real > 0, x),
        ]  # fmt: skip

    check(call, floats(3, 3) + 1j * floats(3, 3, seed=1))


def test_dtypes_have_names() -> None:
    assert hs.promote_types(type1=hs.int8, type2=hs.uint8) == hs.int16
    assert hs.result_type(tensor=hs.ones(1), other=2) == hs.float32
    assert hs.asarray([1.0], requires_grad=True).requires_grad
    x = hs.ones(2)
    assert hs.asarray(x, copy=False) is x
    with pytest.raises(ValueError, match="copy=False"):
        hs.asarray(np.ones(2), copy=False)
    for call in (lambda: hs.randint(high=3), lambda: hs.ones(2).random_(until=3), lambda: hs.arange(step=2)):
        with pytest.raises(TypeError):
            call()


def test_numbers_in_lists_keep_their_dtypes() -> None:
    lists: list[Callable[[Any], Any]] = [
        lambda m: [np.float64(1)], lambda m: [1, np.float64(2.5)], lambda m: [[np.float32(1), 2.0]],
        lambda m: [np.float16(1), 2.0], lambda m: [np.int32(1)], lambda m: [m.tensor(1, dtype=m.int32)],
        lambda m: [m.tensor(1, dtype=m.float64), 2], lambda m: [m.tensor(1, dtype=m.float16)],
        lambda m: [np.float64(1), 1j],
    ]  # fmt: skip
    check(lambda m, x: [m.tensor(make(m)) for make in lists], np.zeros(1))


def test_flags_and_powers_of_small_dtypes() -> None:
    def call(m: Any, x: Any) -> Any:
        b = x > 1
        return [
            x.any(), m.all(x, 0), x.any(1, True), m.any(b, dim=()), x.all(()), b**True, b**False, b**2,
            m.logaddexp2(x, m.ones(3, dtype=m.float16)),
        ]  # fmt: skip

    check(call, np.array([[1, 0, 2], [1, 1, 0]], np.uint8))


def test_gradients_take_the_arguments_of_pytorch() -> None:
    def call(m: Any, x: Any) -> Any:
        y, unused = x.pow(3), m.ones(2, requires_grad=True)
        seeds = m.stack([m.ones_like(y), 2 * m.ones_like(y)])
        (rows,) = m.autograd.grad(y, x, seeds, is_grads_batched=True, retain_graph=True)
        both = m.autograd.grad(y, (x, unused), seeds, None, True, True, True, True)
        assert both[1] is None
        (again,) = m.autograd.grad(both[0].sum(), x, only_inputs=True)
        return [rows, both[0].detach(), again]

    x, y = hs.tensor(floats(2, 3), requires_grad=True), torch.tensor(floats(2, 3), requires_grad=True)
    for a, b in zip(call(hs, x), call(torch, y), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)
    with pytest.raises(UnsupportedError, match="only_inputs"):
        hs.autograd.grad(x.sum(), x, only_inputs=False)


def test_inference_mode_may_be_off() -> None:
    x = hs.ones(2, requires_grad=True)
    with hs.inference_mode(mode=False):
        assert (x * 2).requires_grad
    with hs.no_grad(), hs.inference_mode(False):  # as PyTorch's
        assert (x * 2).requires_grad
    for on in (hs.inference_mode(), hs.inference_mode(True)):
        with on:
            assert not (x * 2).requires_grad
    assert not hs.inference_mode()(lambda: x * 2)().requires_grad
    assert not hs.inference_mode(lambda: x * 2)().requires_grad
