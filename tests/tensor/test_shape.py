"""Functions that move elements, and views that write through, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import IndexOutOfRangeError, ShapeError

from .compare import check, floats, integers, same, torch

MOVES = {
    "reshape": lambda m, x: x.reshape(4, 6), "reshape -1": lambda m, x: m.reshape(x, (-1, 3)),
    "view": lambda m, x: x.view(24), "flatten": lambda m, x: m.flatten(x, 1), "ravel": lambda m, x: m.ravel(x),
    "permute": lambda m, x: x.permute(2, 0, 1), "transpose": lambda m, x: m.transpose(x, 0, -1),
    "movedim": lambda m, x: m.movedim(x, 0, 2), "movedim many": lambda m, x: m.movedim(x, (0, 1), (2, 0)),
    "unsqueeze": lambda m, x: [x.unsqueeze(0), x.unsqueeze(-1), m.unsqueeze(x, 2)],
    "squeeze": lambda m, x: [x.unsqueeze(1).squeeze(1), x.squeeze(), x.unsqueeze(0).squeeze(0), x.squeeze(0)],
    "unflatten": lambda m, x: x.unflatten(2, (2, -1)), "narrow": lambda m, x: m.narrow(x, 2, 1, 2),
    "select": lambda m, x: m.select(x, 1, -1), "expand": lambda m, x: x.unsqueeze(0).expand(5, -1, -1, 4),
    "broadcast_to": lambda m, x: m.broadcast_to(x, (2, 2, 3, 4)), "diagonal": lambda m, x: m.diagonal(x, 1, 1, 2),
    "unbind": lambda m, x: m.unbind(x, 1), "split": lambda m, x: m.split(x, 2, dim=2),
    "split sizes": lambda m, x: m.split(x, [1, 3], dim=-1), "chunk": lambda m, x: m.chunk(x, 3, dim=2),
    "tensor_split": lambda m, x: m.tensor_split(x, 3, dim=2), "tensor_split at": lambda m, x: x.tensor_split((1, 2), 1),
    "hsplit": lambda m, x: m.hsplit(x, 3), "vsplit": lambda m, x: m.vsplit(x, 2), "dsplit": lambda m, x: m.dsplit(x, 2),
    "cat": lambda m, x: m.cat([x, x * 2, x], dim=1), "stack": lambda m, x: m.stack([x, x + 1], dim=-1),
    "hstack": lambda m, x: m.hstack([x, x]), "vstack": lambda m, x: m.vstack([x, x]),
    "dstack": lambda m, x: m.dstack([x, x]),
    "repeat": lambda m, x: x.repeat(2, 1, 2), "repeat more": lambda m, x: x.repeat(2, 1, 1, 2),
    "tile": lambda m, x: m.tile(x, (2,)), "repeat_interleave": lambda m, x: m.repeat_interleave(x, 2, dim=1),
    "repeat_interleave all": lambda m, x: m.repeat_interleave(x, 3), "flip": lambda m, x: m.flip(x, (0, 2)),
    "fliplr": lambda m, x: m.fliplr(x), "flipud": lambda m, x: m.flipud(x), "roll": lambda m, x: m.roll(x, 2, 2),
    "roll many": lambda m, x: m.roll(x, (1, -1), (0, 2)), "roll flat": lambda m, x: m.roll(x, 5),
    "rot90": lambda m, x: [m.rot90(x, k, (1, 2)) for k in range(-1, 5)], "tril": lambda m, x: m.tril(x, -1),
    "triu": lambda m, x: m.triu(x, 1),
    "diag_embed": lambda m, x: [m.diag_embed(x), m.diag_embed(x, 1), m.diag_embed(x, -2)],
    "pad": lambda m, x: m.nn.functional.pad(x, (1, 2)) if m is torch else m.pad(x, (1, 2)),
    "T": lambda m, x: [x[0].T, x.mT, x[0].t()], "unfold": lambda m, x: x.unfold(2, 2, 1),
    "swapaxes": lambda m, x: m.swapaxes(x, 0, 1), "view_as": lambda m, x: x.view_as(m.zeros(6, 4)),
    "meshgrid": lambda m, x: m.meshgrid(x[0, 0], x[0, 1], indexing="ij"),
    "block_diag": lambda m, x: m.block_diag(x[0], x[1]),
    "atleast": lambda m, x: [m.atleast_3d(x[0, 0]), m.atleast_2d(x[0, 0])],
    "column_stack": lambda m, x: m.column_stack([x[0, 0], x[0, 1]]),
    "contiguous": lambda m, x: x.transpose(0, 1).contiguous(),
    "diag": lambda m, x: [m.diag(x[0]), m.diag(x[0, 0]), m.diagflat(x[0]), m.trace(x[0])],
    "clone": lambda m, x: m.clone(x),
    "take_along_dim": lambda m, x: m.take_along_dim(x, m.argsort(x, 2), 2),
    "sum_to_size": lambda m, x: x.sum_to_size(3, 1), "broadcast_tensors": lambda m, x: m.broadcast_tensors(x, x[0, 0]),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_moves(name: str) -> None:
    check(MOVES[name], floats(2, 3, 4), grad=True)
    if name not in ("atleast",):
        check(MOVES[name], integers(2, 3, 4))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("amount", [(1, 2), (0, 1, 2, 1), (2, 0)], ids=str)
def test_padding(mode: str, amount: tuple[int, ...]) -> None:
    x = floats(2, 3, 4, 5)
    if mode != "constant" and len(amount) == 2:
        x = x[0]
    check(lambda m, x: m.nn.functional.pad(x, amount, mode) if m is torch else m.pad(x, amount, mode), x, grad=True)


def test_negative_padding_and_values() -> None:
    for amount in ((-1, 2), (-1, -1), (1, 1, -1, 0)):
        check(
            lambda m, x, a=amount: (m.nn.functional if m is torch else m).pad(x, a, value=2.5), floats(3, 4), grad=True
        )
    pad = lambda m, x, a, mode: (m.nn.functional if m is torch else m).pad(x, a, mode)  # noqa: E731
    for amount in ((-2, 3), (3, -2), (-1, -1), (-2, 1, 2, -1)):
        for mode in ("replicate", "reflect"):
            check(lambda m, x, a=amount, o=mode: pad(m, x, a, o), floats(3, 4, 5), grad=True)
    for amount in ((-4, 5), (5, -4), (-5, 6)):
        check(lambda m, x, a=amount: pad(m, x, a, "replicate"), floats(2, 3, 4), grad=True)
    check(lambda m, x: pad(m, x, (-1, 1, -2, 1), "circular"), floats(2, 3, 4, 5))
    with pytest.raises(ShapeError, match="nothing is left"):
        hs.pad(hs.ones(2, 4), (-3, -2), "replicate")
    assert np.signbit(hs.pad(hs.ones(1), (1, 1), value=-0.0).numpy()).tolist() == [True, False, True]


def test_joining_of_dtypes() -> None:
    check(lambda m, a, b: [m.cat([a, b]), m.stack([a, a]), m.hstack([a, b])], floats(3), integers(4))
    check(lambda m, a: m.cat([a, m.zeros(0)]), floats(2, 3))


STEPS = (
    lambda x: x.transpose(0, -1), lambda x: x.reshape(-1, x.shape[0]), lambda x: x.flip((0,)), lambda x: x[-2:],
    lambda x: x.unsqueeze(1), lambda x: x * 2 + 1,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_random_chains_of_moves(seed: int) -> None:
    steps = np.random.default_rng(seed).integers(0, len(STEPS), 4)

    def chain(m: Any, x: Any) -> Any:
        for s in steps:
            x = STEPS[s](x)
        return x

    check(chain, floats(4, 3, 2, seed=seed), grad=True)


# --- views write through ----------------------------------------------------------------------------------------------
VIEWS = {
    "row": lambda x: x[1], "slice": lambda x: x[:, 1:3], "step": lambda x: x[::2],
    "step of columns": lambda x: x[:, 1::2],
    "reshape": lambda x: x.view(6, 4), "transpose": lambda x: x.transpose(0, 1),
    "permute": lambda x: x.permute(2, 0, 1),
    "unsqueeze": lambda x: x.unsqueeze(1), "select": lambda x: x.select(2, 1), "narrow": lambda x: x.narrow(1, 1, 2),
    "chunk": lambda x: x.chunk(2, 2)[1], "unbind": lambda x: x.unbind(1)[2],
    "view of view": lambda x: x[1].t()[1:, ::2],
    "flat view": lambda x: x.view(-1)[3:17], "deep": lambda x: x.permute(1, 2, 0)[1:][:, 2].unsqueeze(0),
    "ellipsis": lambda x: x[..., 0], "none": lambda x: x[:, None], "squeeze": lambda x: x[1:, :, :].squeeze(0),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_writing_to_a_view_writes_to_its_base(name: str) -> None:
    def write(m: Any, x: Any) -> Any:
        x = x.clone()
        other = VIEWS[name](x)
        v = VIEWS[name](x)
        v.mul_(2)
        v += 1
        v[0] = 7.0
        return [x, v, other]

    check(write, floats(2, 3, 4))


@pytest.mark.parametrize("name", VIEWS)
def test_writing_to_a_base_shows_in_views(name: str) -> None:
    def write(m: Any, x: Any) -> Any:
        x = x.clone()
        v = VIEWS[name](x)
        _ = v + 1
        x.add_(10)
        x[1, 1] = 0
        return [v, v * 2]

    check(write, floats(2, 3, 4))


@pytest.mark.parametrize("name", sorted(set(VIEWS) - {"chunk", "unbind"}))  # PyTorch refuses these
def test_gradients_through_writes_to_views(name: str) -> None:
    def write(m: Any, x: Any, y: Any) -> Any:
        x = x * 1
        v = VIEWS[name](x)
        v.mul_(y)
        return [x * x, VIEWS[name](x)]

    check(write, floats(2, 3, 4), np.array(1.5), grad=True)


def test_what_is_no_view_does_not_write() -> None:
    def write(m: Any, x: Any) -> Any:
        copies = [x.clone(), x[[0, 1]], x[x > 0], x.t().contiguous(), x.t().reshape(-1), x + 0, m.cat([x])]
        for c in copies:
            c.zero_()
        return x

    check(write, floats(3, 4))


def test_errors() -> None:
    x = hs.zeros(2, 3)
    for f in (
        lambda: x.reshape(4), lambda: x.reshape(-1, -1), lambda: x.view(5, -1), lambda: x.permute(0, 0),
        lambda: x.t().unsqueeze(0).t(),
        lambda: x.expand(3, 3), lambda: x.expand(3), lambda: hs.cat([x, hs.zeros(2, 2)]), lambda: hs.cat([]),
        lambda: hs.stack([x, hs.zeros(2)]), lambda: x.split([1, 1], 1), lambda: x.repeat(2), lambda: hs.pad(x, (1,)),
        lambda: x.unfold(1, 4, 1),
    ):  # fmt: skip
        with pytest.raises(ShapeError):
            f()
    for f in (lambda: x.transpose(0, 2), lambda: x.unsqueeze(4), lambda: x.narrow(1, 2, 2), lambda: x.select(1, 3)):
        with pytest.raises(IndexOutOfRangeError):
            f()


def test_attributes() -> None:
    x, y = hs.zeros(2, 3, dtype=hs.float64), torch.zeros(2, 3, dtype=torch.float64)
    assert tuple(x.shape) == tuple(y.shape) == x.size()
    assert (x.ndim, x.dim(), x.numel(), x.size(1), x.element_size(), x.nbytes) == (2, 2, 6, 3, 8, 48)
    assert x.stride() == y.stride()
    assert len(x) == 2
    assert [r.shape for r in x] == [(3,), (3,)]
    assert str(x.device) == "cpu"
    assert isinstance(x.shape, hs.Size)
    assert x.shape.numel() == 6
    same(x.T, y.T)
