"""Operations on axes by name against NumPy written out, and their messages."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from distributions.conftest import interpreted  # nothing is compiled
from heliostat import einops
from heliostat.einops import EinopsError, asnumpy, einsum, pack, parse_shape, rearrange, reduce, repeat, unpack

__all__ = ["interpreted"]


def _a(*shape: int) -> Any:
    return np.random.default_rng([4, *shape]).integers(-9, 10, shape).astype(np.float32)


def _same(found: Any, expected: Any) -> None:
    assert tuple(found.shape) == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, 1e-6)


REARRANGED: list[tuple[str, Any, dict[str, int], Any]] = [
    ("b h w c -> b c h w", _a(2, 3, 4, 5), {}, lambda x: x.transpose(0, 3, 1, 2)),
    ("b h w -> b (h w)", _a(2, 3, 4), {}, lambda x: x.reshape(2, 12)),
    ("b h w -> b (w h)", _a(2, 3, 4), {}, lambda x: x.transpose(0, 2, 1).reshape(2, 12)),
    ("(h p) (w q) -> (h w) (p q)", _a(4, 6), {"p": 2, "q": 3},
     lambda x: x.reshape(2, 2, 2, 3).transpose(0, 2, 1, 3).reshape(4, 6)),
    ("... c -> c ...", _a(2, 3, 4), {}, lambda x: x.transpose(2, 0, 1)),
    ("b ... -> (b ...)", _a(2, 3, 4), {}, lambda x: x.reshape(24)),
    ("... -> ...", _a(2, 3), {}, lambda x: x),
    ("a 1 b -> b a", _a(2, 1, 3), {}, lambda x: x[:, 0].T),
    ("a b -> a 1 b ()", _a(2, 3), {}, lambda x: x[:, None, :, None]),
    ("() a -> a", _a(1, 3), {}, lambda x: x[0]),
    ("(a) (b 1) -> (b a)", _a(2, 3), {}, lambda x: x.T.reshape(6)),
    (" -> ", _a(), {}, lambda x: x),
    ("a b -> b a", _a(0, 3), {}, lambda x: x.T),
    ("(a b) -> a b", _a(6), {"a": 2}, lambda x: x.reshape(2, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "x", "sizes", "expected"), REARRANGED)
def test_rearrange(pattern: str, x: Any, sizes: dict[str, int], expected: Any) -> None:
    _same(rearrange(hs.tensor(x), pattern, **sizes), expected(x))


REDUCED: list[tuple[str, Any, str, dict[str, int], Any]] = [
    ("b c h w -> b c", _a(2, 3, 4, 5), "mean", {}, lambda x: x.mean((2, 3))),
    ("(h 2) (w 2) -> h w", _a(4, 6), "max", {}, lambda x: x.reshape(2, 2, 3, 2).max((1, 3))),
    ("(h p) (w p2) -> w h", _a(4, 6), "min", {"p": 2, "p2": 3}, lambda x: x.reshape(2, 2, 2, 3).min((1, 3)).T),
    ("a b c ->", _a(2, 3, 4), "sum", {}, lambda x: x.sum()),
    ("... c -> ...", _a(2, 3, 4), "sum", {}, lambda x: x.sum(-1)),
    ("a ... -> a 1", _a(2, 3, 4), "prod", {}, lambda x: x.prod((1, 2))[:, None]),
    ("a b -> b a", _a(2, 3), "sum", {}, lambda x: x.T),
]


@pytest.mark.parametrize(("pattern", "x", "how", "sizes", "expected"), REDUCED)
def test_reduce(pattern: str, x: Any, how: str, sizes: dict[str, int], expected: Any) -> None:
    _same(reduce(hs.tensor(x), pattern, how, **sizes), expected(x))


def test_more_of_reduce() -> None:
    x = _a(3, 4) > 0
    assert reduce(hs.tensor(x), "a b -> a", "any").tolist() == x.any(1).tolist()
    assert reduce(hs.tensor(x), "a b -> b", "all").tolist() == x.all(0).tolist()
    y = _a(2, 3, 4)
    spread = reduce(hs.tensor(y), "a b c -> c", lambda t, dims: t.amax(dims) - t.amin(dims))
    _same(spread, y.max((0, 1)) - y.min((0, 1)))
    _same(rearrange([hs.tensor(y), hs.tensor(-y)], "n a b c -> a (n b c)"), np.stack([y, -y], 1).reshape(2, 24))
    w = hs.tensor(y, requires_grad=True)
    reduce(w, "a (b 3) c -> a c", "mean").sum().backward()
    _same(w.grad, np.full((2, 3, 4), 1 / 3, np.float32))


REPEATED: list[tuple[str, Any, dict[str, int], Any]] = [
    ("h w -> h w c", _a(2, 3), {"c": 4}, lambda x: np.repeat(x[:, :, None], 4, 2)),
    ("h w -> (n h) w", _a(2, 3), {"n": 2}, lambda x: np.tile(x, (2, 1))),
    ("h w -> h (w n)", _a(2, 3), {"n": 2}, lambda x: np.repeat(x, 2, 1)),
    ("h w -> h 2 (w 3)", _a(2, 3), {}, lambda x: np.repeat(np.stack([x, x], 1), 3, 2)),
    ("... -> k ...", _a(2, 3), {"k": 3}, lambda x: np.stack([x] * 3)),
    ("(h h2) -> h h2 c", _a(6), {"h2": 2, "c": 2}, lambda x: np.repeat(x.reshape(3, 2, 1), 2, 2)),
    ("a -> b a", _a(3), {"b": 0}, lambda x: np.zeros((0, 3))),
]


@pytest.mark.parametrize(("pattern", "x", "sizes", "expected"), REPEATED)
def test_repeat(pattern: str, x: Any, sizes: dict[str, int], expected: Any) -> None:
    _same(repeat(hs.tensor(x), pattern, **sizes), expected(x))


@pytest.mark.parametrize("seed", range(12))
def test_random_patterns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = list("abcdef")[: rng.integers(2, 6)]
    sizes = {n: int(rng.integers(1, 4)) for n in names}

    def grouped(order: Any) -> list[list[str]]:
        groups: list[list[str]] = [[]]
        for n in order:
            groups[-1].append(str(n))
            if rng.random() < 0.6:
                groups.append([])
        return groups

    left, gone = grouped(rng.permutation(names)), {n for n in names if rng.random() < 0.3}
    right = grouped([n for n in rng.permutation(names) if n not in gone])
    text = " -> ".join(" ".join(f"({' '.join(g)})" for g in side) for side in (left, right))
    flat = [n for g in left for n in g]
    x = rng.normal(size=[sizes[n] for n in flat])
    expected = x.sum(tuple(flat.index(n) for n in gone))
    kept, wanted = [n for n in flat if n not in gone], [n for g in right for n in g]
    expected = expected.transpose([kept.index(n) for n in wanted])
    expected = expected.reshape([int(np.prod([sizes[n] for n in g])) for g in right])
    given = hs.tensor(x.reshape([int(np.prod([sizes[n] for n in g])) for g in left]))
    found = reduce(given, text, "sum", **sizes)
    np.testing.assert_allclose(found.numpy(), expected, 1e-9, 1e-12)
    if not gone:
        np.testing.assert_allclose(rearrange(given, text, **sizes).numpy(), expected)


def test_parse_shape() -> None:
    x = hs.zeros(2, 3, 5, 1)
    assert parse_shape(x, "batch _ h 1") == {"batch": 2, "h": 5}
    assert parse_shape(x, "batch ... w") == {"batch": 2, "w": 1}
    assert parse_shape(x, "_ 3 _ _") == {}
    assert rearrange(hs.zeros(30), "(b c h w) -> b c h w", **parse_shape(x, "b _ h w")).shape == (2, 3, 5, 1)
    for pattern, what in [
        ("a b", "different number"), ("a b c d e ...", "this number"), ("(a b) c d e", "composite"),
        ("1 b c d", "is not 1"), ("a 4 c d", "anonymous axis does not match"),
    ]:  # fmt: skip
        with pytest.raises(RuntimeError, match=what):
            parse_shape(x, pattern)


def test_einsum() -> None:
    x, y, z = _a(2, 3, 4), _a(4, 5), _a(3, 3)
    _same(einsum(hs.tensor(x), hs.tensor(y), "batch h w, w channel -> batch channel"), np.einsum("bhw,wc->bc", x, y))
    _same(einsum(hs.tensor(y), hs.tensor(x), "in_dim out_dim, ... in_dim -> ... out_dim"), x @ y)
    _same(einsum(hs.tensor(z), "i i ->"), np.trace(z))
    _same(einsum(hs.tensor(x), hs.tensor(x), hs.tensor(x), "a b c, a b c, a b c -> b"), (x**3).sum((0, 2)))
    for arguments, what in [
        ((hs.ones(2),), "at minimum two"), ((hs.ones(2), hs.ones(2)), "must be a string"),
        ((hs.ones(2), "a"), "must contain '->'"), ((hs.ones(2), "a -> b"), "Unknown axis b"),
    ]:  # fmt: skip
        with pytest.raises(EinopsError, match=what):
            einsum(*arguments)
    for pattern, what in [("(a b) ->", "Shape rearrangement"), ("() a ->", "Singleton"), ("2 ->", "Anonymous")]:
        with pytest.raises(NotImplementedError, match=what):
            einsum(hs.ones(2), pattern)


def test_pack_and_unpack() -> None:
    parts = [_a(2, 3, 5), _a(2, 3, 7, 5), _a(2, 3, 7, 2, 5)]
    packed, shapes = pack([hs.tensor(p) for p in parts], "i j * k")
    _same(packed, np.concatenate([p.reshape(2, 3, -1, 5) for p in parts], 2))
    assert [tuple(s) for s in shapes] == [(), (7,), (7, 2)]
    for found, p in zip(unpack(packed, shapes, "i j * k"), parts, strict=True):
        _same(found, p)
    for found, p in zip(unpack(packed, [(), (7,), (-1, 2)], "i j * k"), parts, strict=True):
        _same(found, p)
    whole, all_ = pack([hs.ones(2, 3)], "*")
    assert (whole.shape, [tuple(s) for s in all_]) == ((6,), [(2, 3)])
    empty = unpack(hs.zeros(2, 0), [(0, 3), (0,)], "a *")
    assert [tuple(t.shape) for t in empty] == [(2, 0, 3), (2, 0)]
    one, two = hs.ones(1), hs.ones(2, 3)
    for run, what in [
        (lambda: pack([one], "a a *"), "Duplicates"), (lambda: pack([one], "a"), "No [*]-axis"),
        (lambda: pack([one], "a b *"), "packed tensor #0 .* at least 2 axes"),
        (lambda: pack([one], "_a *"), "Invalid axis"), (lambda: unpack(one, [()], "a *"), "wrong dim"),
        (lambda: unpack(two, [(-1,), (-1,)], "a *"), "more than one -1"),
        (lambda: unpack(two, [(2,), (2,)], "a *"), "could not split axis of size 3"),
        (lambda: unpack(two, [(-1, 2)], "a *"), "could not split"), (lambda: pack([], "*"), "at least one"),
    ]:  # fmt: skip
        with pytest.raises(EinopsError, match=what):
            run()


@pytest.mark.parametrize(
    ("run", "pattern", "sizes", "what"),
    [
        (rearrange, "a b -> a c", {}, "on one side of expression (should be on both): {'b', 'c'}"),
        (rearrange, "a 2 -> a", {}, "Non-unitary anonymous"),
        (rearrange, "a b -> a ...", {}, "Ellipsis found in right side"),
        (rearrange, "a (...) -> a", {}, "inside parenthesis"),
        (rearrange, "a -> a", {}, "expected 1 dims. Received 2-dim"),
        (rearrange, "a b c ... -> a b c ...", {}, "expected >=3 dims"),
        (rearrange, "a a -> a", {}, 'duplicate dimension "a"'),
        (rearrange, "(a b) c -> a b c", {}, "Could not infer sizes"),
        (rearrange, "(a b) c -> a b c", {"a": 3}, "can't divide axis of length 2 in chunks of 3"),
        (rearrange, "(a b) c -> a b c", {"a": 2, "b": 2}, "Shape mismatch, 2 != 4"),
        (rearrange, "a b -> b a", {"c": 2}, "Axis c is not used"),
        (rearrange, "a b -> b a", {"a": -2}, "integer of at least 0"),
        (rearrange, "((a) b) c -> a b c", {}, "brackets inside brackets"),
        (rearrange, "a) b -> a b", {}, "not balanced"),
        (rearrange, "(a b -> a b", {}, "Imbalanced parentheses"),
        (rearrange, "a_ b -> b a_", {}, "underscore"),
        (rearrange, "a.b -> b", {}, "dots only inside ellipsis"),
        (rearrange, "... ... -> ...", {}, "only one ellipsis"),
        (rearrange, "a+b -> b", {}, "Unknown character"),
        (rearrange, "2a b -> b", {}, "not a valid python identifier"),
        (rearrange, "a b", {}, "two sides"),
        (repeat, "a b -> a", {}, "left side of repeat"),
        (repeat, "a b -> a b c", {}, "Specify sizes for new axes"),
        (repeat, "a b -> a b 0", {}, "positive length"),
        (lambda x, p, **k: reduce(x, p, "max", **k), "a b -> a c", {}, "right side of reduce max"),
        (lambda x, p, **k: reduce(x, p, "median", **k), "a b -> a", {}, "Unknown reduction median"),
    ],
)
def test_messages(run: Any, pattern: str, sizes: dict[str, int], what: str) -> None:
    with pytest.raises(EinopsError) as caught:
        run(hs.zeros(2, 3), pattern, **sizes)
    message = str(caught.value)
    assert what in message
    assert f'pattern "{pattern}"' in message
    assert "Input tensor shape: (2, 3)" in message


def test_symbols_of_compiled_functions() -> None:
    def moved(x: Any) -> Any:
        return repeat(reduce(x, "b c -> b", "sum"), "b -> b k", k=3) + rearrange(
            rearrange(x, "b c -> c b"), "c b -> b c"
        )

    compiled = hs.compile(moved, dynamic=True)
    for n in (4, 6, 8):
        x = hs.tensor(_a(n, 3))
        _same(compiled(x), moved(x).numpy())
    assert compiled.cache_info().misses == 1


def test_other_errors() -> None:
    with pytest.raises(TypeError, match="empty list"):
        rearrange([], "a -> a")
    with pytest.raises(TypeError, match="found ndarray"):
        rearrange(np.ones(2), "a -> a")
    with pytest.raises(TypeError, match="mean of i64"):
        reduce(hs.arange(3), "a ->", "mean")
    with pytest.warns(RuntimeWarning, match="keywords: for"):
        rearrange(hs.ones(2, 3), "for b -> b for")
    assert isinstance(asnumpy(hs.ones(2, requires_grad=True)), np.ndarray)


def test_the_examples_of_the_package() -> None:
    assert doctest.testmod(einops).failed == 0
