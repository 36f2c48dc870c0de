"""How functions of tensors may be called, with data for it: what sweeps over all of them try in turn."""

from __future__ import annotations

from typing import Any

import numpy as np

RNG = np.random.default_rng(11)
X, Y, Z = (np.round(RNG.uniform(0.2, 0.9, (2, 3, 3)), 3) for _ in range(3))  # of each, two elements of a batch
PLACES = [[0, 2], [1, 0]]

# How a function is called, in the order in which it is tried with PyTorch.
PATTERNS: dict[str, Any] = {
    "f(x)": lambda f, m, x, y, z: f(x),
    "f(x, y)": lambda f, m, x, y, z: f(x, y),
    "f(x, y, z)": lambda f, m, x, y, z: f(x, y, z),
    "f(x, 1)": lambda f, m, x, y, z: f(x, 1),
    "f(x, 0, 1)": lambda f, m, x, y, z: f(x, 0, 1),
    "f([x, y])": lambda f, m, x, y, z: f([x, y]),
    "f(x0, y0)": lambda f, m, x, y, z: f(x[0], y[0]),
    "f(x, y0)": lambda f, m, x, y, z: f(x, y[0]),
    "f(x0, y, z0)": lambda f, m, x, y, z: f(x[0], y, z[0]),
    "f(x, y0, z0)": lambda f, m, x, y, z: f(x, y[0], z[0]),
    "f(x1, y1, z1)": lambda f, m, x, y, z: f(x[None], y[None], z[None]),
    "f(x1, y1)": lambda f, m, x, y, z: f(x[None], y[None]),
    "f(x, y1, z1)": lambda f, m, x, y, z: f(x, y[None], z[None]),
    "f(x, (9,))": lambda f, m, x, y, z: f(x, (9,)),
    "f(x, (3, 3))": lambda f, m, x, y, z: f(x, (3, 3)),
    "f(x, (0, 1))": lambda f, m, x, y, z: f(x, (0, 1)),
    "f(x, (1, 2))": lambda f, m, x, y, z: f(x, (1, 2)),
    "f(x, mask)": lambda f, m, x, y, z: f(x, x > 0.5, y),
    "f(x, 0, y)": lambda f, m, x, y, z: f(x, 0, y, 0),
    "f(x, y, 0)": lambda f, m, x, y, z: f(x, y[0], 0, 1),
    "f(x, 0, i)": lambda f, m, x, y, z: f(x, 0, m.tensor([0, 2, 0])),
    "f(x, 0, ij)": lambda f, m, x, y, z: f(x, 1, m.tensor(PLACES)),
    "f(x, 0, ij, y)": lambda f, m, x, y, z: f(x, 1, m.tensor(PLACES), y[:2, :2]),
    "f(x, ij)": lambda f, m, x, y, z: f(x, m.tensor(PLACES)),
    "f(x, 0, i, y)": lambda f, m, x, y, z: f(x, 0, m.tensor([0, 2, 1]), y),
    "f(x, 0, i, 2)": lambda f, m, x, y, z: f(x, 0, m.tensor([0, 2]), 2.0),
    "f(x, i, y)": lambda f, m, x, y, z: f(x, (m.tensor([0, 2, 1]),), y),
    "f(i, x)": lambda f, m, x, y, z: f(x, m.tensor([0, 2, 1]), y[0]),
    "f(c, x, y)": lambda f, m, x, y, z: f(x > 0.5, x, y),
    "f(x, 2, 0, 3)": lambda f, m, x, y, z: f(x, 2, 0, 3.0),
    "einsum": lambda f, m, x, y, z: f("ij,jk->ki", x, y),
    "f(x, 0, ij, y, sum)": lambda f, m, x, y, z: f(x, 1, m.tensor([[0, 2, 0]]), y[:1], "sum"),
    "cholesky": lambda f, m, x, y, z: f(x @ x.mT + m.eye(3, dtype=x.dtype)),
}
ONLY = {"einsum": ("einsum",), "cholesky": ("cholesky",)}
