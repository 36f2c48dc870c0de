"""Every public function and method of tensors by axes: dtypes, nothing, no axes, other orders in memory, broadcasting,
NaN and infinities, gradients, as methods, in place, `out=`, refusals; against PyTorch. Each axis is shown to fail on a
function with a fault that it is there to see. A new function is taken up by being there, or has to say why not."""

from __future__ import annotations

import functools
import os
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import HeliostatError

from . import calls
from .calls import Sample, tensors
from .compare import floats, ours, same, theirs, torch

EVERY = int(os.environ.get("HELIOSTAT_FUNCTION_SWEEP", "8"))
"""Of the functions, an axis takes one of so many, the next part for the next axis, so that each function has some of
its axes; HELIOSTAT_FUNCTION_SWEEP=1 takes all for all."""
TOGETHER = 100  # functions of one program

Function = Callable[..., Any]
Pairs = list[tuple[Any, Any]]
"""What was found and what PyTorch gives. Compared when a part of an axis is built, so that one program computes it."""

REFUSED = (TypeError, RuntimeError, ValueError, IndexError, NotImplementedError, AttributeError, AssertionError)
"""What PyTorch raises: it does not have that."""


def compared(s: Sample, f: Function, arrays: Sequence[Any], change: Function = lambda x: x) -> Pairs:
    """f and PyTorch's function, of the same operands. What PyTorch does not have may be there."""
    try:
        expected = s.call(s.of(torch), torch, *(change(theirs(a)) for a in arrays))
    except REFUSED:
        return []
    return [(s.call(f, hs, *(change(ours(a)) for a in arrays)), expected)]


def turn(s: Sample, choices: Sequence[Any]) -> Any:
    """One of several, by the function's name."""
    return choices[zlib.crc32(s.name.encode()) % len(choices)]


def dtypes(s: Sample, f: Function) -> Pairs:
    chosen = turn(s, ("float32", "float16", "bfloat16")), turn(s, ("int64", "bool", "uint8", "int32", "int16"))
    if not s.arrays:
        return compared(s, f, ())
    return [pair for dtype in chosen for pair in compared(s, f, [typed(a, dtype) for a in s.arrays])]


def typed(a: Any, dtype: str) -> Any:
    """The numbers in a dtype; in dtypes of whole ones, numbers from 1 to 9."""
    return torch.tensor(a if dtype[0] in "fb" else a * 9 + 1).to(getattr(torch, dtype))


def nothing(s: Sample, f: Function) -> Pairs:
    if not s.arrays or not all(a.ndim for a in s.arrays):
        return []
    some = [a[:0] for a in s.arrays], [s.arrays[0][:0], *s.arrays[1:]], [a[..., :0] for a in s.arrays]
    return [pair for arrays in some for pair in compared(s, f, arrays)]


def no_axes(s: Sample, f: Function) -> Pairs:
    return compared(s, f, [a.reshape(-1)[0] for a in s.arrays]) if s.arrays else []


def orders(s: Sample, f: Function) -> Pairs:
    """The same tensors, as every other row of what is transposed."""
    twice = [np.repeat(a.T, 2, 0) if a.ndim else a for a in s.arrays]
    return compared(s, f, twice, lambda x: x[::2].permute(*reversed(range(x.ndim))) if x.ndim else x)


def broadcasting(s: Sample, f: Function) -> Pairs:
    if len(s.arrays) < 2 or not all(a.ndim for a in s.arrays):
        return []
    first, second, *rest = s.arrays
    return [*compared(s, f, [first, second[:1], *rest]), *compared(s, f, [first[..., :1], second, *rest])]


def specials(s: Sample, f: Function) -> Pairs:
    x = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5]])
    if not s.declared:
        return compared(s, f, [np.repeat(x, 8, 0), np.repeat(x.T, 8, 1), np.repeat(x[:, ::-1], 8, 0)])
    return compared(
        s, f, [np.where(np.arange(a.size) % 5 == 3, np.nan, a.reshape(-1)).reshape(a.shape) for a in s.arrays]
    )


def gradients(s: Sample, f: Function) -> Pairs:
    found: list[Any] = []
    for m, g, to in ((torch, s.of(torch), theirs), (hs, f, ours)):
        x = [to(a, True) for a in s.arrays]
        try:
            made = s.call(g, m, *x)
            parts = [y for y in tensors(made) if y.requires_grad]
            if not parts and m is torch:  # there may be a gradient where PyTorch has none
                return compared(s, f, s.arrays)
            parts = [y if y.is_floating_point() else y.real + 0.5 * y.imag for y in parts]
            total = sum((y * to(floats(*y.shape, seed=5)).to(y.dtype)).sum() for y in parts)
            slopes = m.autograd.grad(total, x, allow_unused=True)
        except REFUSED:
            if m is torch:
                return compared(s, f, s.arrays)
            raise
        slopes = [m.zeros_like(a) if b is None else b for a, b in zip(x, slopes, strict=True)]
        found.append((made, slopes))
    return [(found[1], found[0])]


def methods(s: Sample, f: Function) -> Pairs:
    """The method of the name, which the function's first operand has."""
    if "." in s.name or not hasattr(torch.Tensor, s.name) or not s.arrays:
        return []
    method = calls.of("Tensor." + s.name, hs) if f is s.of(hs) else f
    try:
        expected = s.call(calls.of("Tensor." + s.name, torch), torch, *map(theirs, s.arrays))
    except REFUSED:
        return []
    return [(s.call(method, hs, *map(ours, s.arrays)), expected)]


def in_place(s: Sample, f: Function) -> Pairs:
    name = s.name + "_"
    if "." in name or not hasattr(torch.Tensor, name) or not s.arrays:
        return []
    found = []
    for m, to in ((torch, theirs), (hs, ours)):
        x = [to(a) for a in s.arrays]
        write = calls.of("Tensor." + name, m) if m is torch or f is s.of(hs) else f
        try:
            made = s.call(write, m, *x)
        except REFUSED:
            if m is torch:
                return []
            raise
        if m is hs and found[0][1]:
            assert made is x[0], "another tensor is returned"
        found.append((x, made is x[0], made))
    return [(found[1][::2], found[0][::2])]


def into(s: Sample, f: Function) -> Pairs:
    found: list[Any] = []
    for m, g, to in ((torch, s.of(torch), theirs), (hs, f, ours)):
        try:
            x = [to(a) for a in s.arrays]
            made = s.call(g, m, *x)
            out = tuple(map(m.zeros_like, made)) if isinstance(made, tuple) else m.zeros_like(made)
            s.call(lambda *given, g=g, out=out, **k: g(*given, **k, out=out), m, *x)
        except REFUSED:
            if m is torch:
                return []
            raise
        found.append(out)
    return [(found[1], found[0])]


def refusals(s: Sample, f: Function) -> Pairs:
    """What is no tensor, and operands of sizes that do not fit, which PyTorch refuses."""
    odd = floats(5, 7, low=0.1, high=0.9)
    given: list[list[Any]] = [["text", *s.arrays[1:]]] if s.arrays and not s.name.startswith("Tensor.") else []
    given += [[*s.arrays[:n], odd, *s.arrays[n + 1 :]] for n in range(1, len(s.arrays))]
    pairs: Pairs = []
    given_to = []

    def watched(*args: Any, **named: Any) -> Any:
        given_to.append(f)
        return f(*args, **named)

    for arrays in given:
        try:
            expected = s.call(s.of(torch), torch, *(a if isinstance(a, str) else theirs(a) for a in arrays))
        except REFUSED:
            given_to.clear()
            try:
                made = s.call(watched, hs, *(a if isinstance(a, str) else ours(a) for a in arrays))
                for y in tensors(made):
                    y.numpy()
            except (HeliostatError, TypeError, ValueError, IndexError):
                continue
            except AttributeError:  # of the sample, which computes what it gives
                if not given_to:
                    continue
                raise
            raise AssertionError(f"takes {'text' if arrays[0] is given[0][0] else 'sizes that do not fit'}") from None
        if not isinstance(arrays[0], str):
            pairs.append((s.call(f, hs, *map(ours, arrays)), expected))
    return pairs


AXES: dict[str, Callable[[Sample, Function], Pairs]] = {
    "dtypes": dtypes, "nothing": nothing, "no axes": no_axes, "orders": orders, "broadcasting": broadcasting,
    "specials": specials, "gradients": gradients, "methods": methods, "in place": in_place, "out": into,
    "refusals": refusals,
}  # fmt: skip

DIFFERENT: dict[str, dict[str, str]] = {
    "dtypes": {
        "places of equal numbers are open": "kthvalue",
        "PyTorch's are NaN in halves": "matrix_exp linalg.matrix_exp",
        "PyTorch rounds between steps": "nn.functional.instance_norm",
        "PyTorch's mean of whole numbers is whole": "nn.functional.local_response_norm",
    },
    "nothing": {
        "indices are checked": "index_add",
        "PyTorch counts classes of nothing otherwise": "histogramdd",
        "PyTorch's keeps the shape of nothing": "nn.functional.pixel_unshuffle",
        "kernels that are longer than their input are refused": "nn.functional.conv_tbc",
    },
    "no axes": {
        "a number at the border of two classes": "histc histogram",
        "PyTorch's scale is float32": "fake_quantize_per_tensor_affine",
    },
    "orders": {
        "docs/coming-from-pytorch.md": "as_strided as_strided_scatter",
        "PyTorch's scale is float32": "fake_quantize_per_tensor_affine",
    },
    "specials": {
        "docs/coming-from-pytorch.md": "floor_divide linalg.cholesky_ex",
        "pivots and signs of NaN": "slogdet linalg.slogdet lu_unpack linalg.ldl_factor_ex",
        "codes of NaN": "fake_quantize_per_tensor_affine fake_quantize_per_channel_affine",
        "limits at infinities, where PyTorch gives NaN": """i0 special.i0 special.i1 special.airy_ai special.bessel_j0
            special.bessel_j1 special.bessel_y0 special.bessel_y1 special.modified_bessel_i0
            special.modified_bessel_i1""",
        "NaN, where PyTorch gives a number": "igamma igammac special.gammainc special.gammaincc special.zeta",
        "degrees that are no whole numbers": """special.hermite_polynomial_h special.hermite_polynomial_he
            special.laguerre_polynomial_l special.legendre_polynomial_p special.chebyshev_polynomial_t
            special.chebyshev_polynomial_u special.chebyshev_polynomial_v special.chebyshev_polynomial_w
            special.shifted_chebyshev_polynomial_t special.shifted_chebyshev_polynomial_u
            special.shifted_chebyshev_polynomial_v special.shifted_chebyshev_polynomial_w""",
        "NaN times 0, which PyTorch leaves out": "stft nn.functional.interpolate nn.functional.upsample_bilinear",
        "comparisons with NaN, which PyTorch leaves out": """nn.functional.multi_margin_loss
            nn.functional.multilabel_margin_loss""",
        "which of several NaN": "nn.functional.max_unpool2d nn.functional.max_unpool3d",
        "C does not say what these are as whole numbers": "Tensor.byte Tensor.char Tensor.int Tensor.long Tensor.short",
    },
    "gradients": {
        "docs/coming-from-pytorch.md": "as_strided_scatter",
        "PyTorch's go to the other triangle too": "cholesky_inverse cholesky_solve",
        "PyTorch's scale, or its sixth, is float32": "fake_quantize_per_tensor_affine nn.functional.hardsigmoid",
    },
    "out": {
        "PyTorch does not document it": """nn.functional.avg_pool2d nn.functional.avg_pool3d nn.functional.gelu
            nn.functional.hardshrink nn.functional.linear nn.functional.logsigmoid nn.functional.softplus
            nn.functional.softshrink""",
    },
    "refusals": {"a method": "index_put_"},
}
"""By axis and reason, functions that differ from PyTorch there."""

FAULTS: dict[str, tuple[str, Function]] = {
    "dtypes": ("add", lambda a, b: hs.add(a, b) if a.dtype.is_float else hs.add(a.double(), b)),
    "nothing": ("exp", lambda x: hs.exp(x) if x.numel() else hs.exp(x)[None]),
    "no axes": ("sin", lambda x: hs.sin(x) if x.ndim else hs.sin(x).reshape(1)),
    "orders": ("cos", lambda x: hs.cos(x) if x.is_contiguous() else hs.cos(x.flip(0))),
    "broadcasting": ("mul", lambda a, b: hs.mul(a, b) if a.shape == b.shape else hs.mul(a, b).flip(0)),
    "specials": ("tanh", lambda x: hs.tanh(x.nan_to_num())),
    "gradients": ("square", lambda x: x * x.detach()),
    "methods": ("sub", lambda a, b: hs.sub(b, a)),
    "in place": ("sqrt", lambda x: x.sqrt_().clone()),
    "out": ("exp2", lambda x, out=None: hs.exp2(x)),
    "refusals": ("mul", lambda a, b: hs.mul(a[:2, :4], b[:2, :4])),
}
"""A function of the sweep with a fault that its axis is there to see."""


FOUND = {
    "dtypes": "nn.functional.bilinear nn.functional.threshold",
    "nothing": """linalg.tensorsolve nn.functional.adaptive_max_pool2d nn.functional.bilinear nn.functional.conv3d
        nn.functional.fold nn.functional.glu nn.functional.grid_sample nn.functional.max_unpool1d
        nn.functional.scaled_dot_product_attention""",
    "no axes": "adjoint",
    "specials": "gradient ldexp matrix_power nn.functional.ctc_loss nn.functional.triplet_margin_loss",
    "out": "chain_matmul hardshrink lu nonzero_static",
    "refusals": """cartesian_prod chain_matmul conj diagonal_scatter fft.fft full_like is_complex is_inference
        linalg.vander
        nn.functional.relu special.ndtr stack zeros_like""",
}
"""By axis, functions that it has found wrong once: it takes these always."""


@functools.cache
def samples() -> dict[str, Sample]:
    """A sample of every function that is called, by its full name."""
    apart = set(" ".join(calls.NOT_FUNCTIONS.values()).split())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = {name: calls.sample(name) for name in calls.names() if name not in apart}
    return {name: s for name, s in made.items() if s is not None}


def faults(axis: str, functions: Iterable[tuple[Sample, Function]]) -> list[str]:
    """The names of functions that an axis finds wrong, with what is wrong."""
    wrong, built = [], []
    for s, f in functions:
        try:
            built += [(s.name, *pair) for pair in AXES[axis](s, f)]
        except Exception as error:
            wrong.append(f"{s.name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    for name, found, expected in built:
        try:
            same(found, expected, what=name)
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return wrong


def test_every_public_function_is_called_or_says_why_not() -> None:
    apart = " ".join(calls.NOT_FUNCTIONS.values()).split()
    assert sorted(set(calls.names()) - set(apart) - set(samples())) == []
    assert sorted({*apart, *calls.DECLARED} - set(calls.names())) == []
    listed = " ".join([*FOUND.values(), *(names for reasons in DIFFERENT.values() for names in reasons.values())])
    assert sorted(set(listed.split()) - set(samples())) == []


def test_limits_of_incomplete_gamma_functions() -> None:
    a, x = hs.tensor([np.inf, 2.0, np.inf]), hs.tensor([3.0, np.inf, np.inf])
    np.testing.assert_array_equal(hs.igamma(a, x).numpy(), [0, 1, np.nan])
    np.testing.assert_array_equal(hs.igammac(a, x).numpy(), [1, 0, np.nan])
    np.testing.assert_array_equal(hs.mvlgamma(hs.tensor([np.inf]), 2).numpy(), [np.inf])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("axis", AXES)
def test_functions_equal_pytorch(axis: str) -> None:
    apart = set(" ".join(DIFFERENT.get(axis, {}).values()).split())
    turn_of = [*AXES].index(axis)
    always = FOUND.get(axis, "").split()
    chosen = [s for s in samples().values() if s.name in always or (zlib.crc32(s.name.encode()) + turn_of) % EVERY == 0]
    part = [(s, s.of(hs)) for s in chosen if s.name not in apart]
    wrong = [text for n in range(0, len(part), TOGETHER) for text in faults(axis, part[n : n + TOGETHER])]
    assert not wrong, "\n".join(wrong)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("axis", AXES)
def test_each_axis_sees_its_fault(axis: str) -> None:
    name, broken = FAULTS[axis]
    assert faults(axis, [(samples()[name], samples()[name].of(hs))]) == []
    assert [w.partition(":")[0] for w in faults(axis, [(samples()[name], broken)])][:1] == [name]
