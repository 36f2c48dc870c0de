"""Collators that mix pairs of labelled images. Sources: arXiv 1710.09412 (mixup), arXiv 1905.04899 (CutMix).

Samples are (image of shape (C, H, W), number of a class); batches are images (B, C, H, W) and soft labels (B, classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensor.conversion import from_array
from ..tensor.core import Tensor
from .collate import default_collate
from .sampler import new_seed


class _Mixer:
    def __init__(self, alpha: float, num_classes: int, p: float) -> None:
        if alpha <= 0:
            raise ValueError(f"alpha must be above 0, found {alpha}")
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, found {num_classes}")
        if not 0 <= p <= 1:
            raise ValueError(f"p must be from 0 to 1, found {p}")
        self.alpha, self.num_classes, self.p = alpha, num_classes, p

    def __call__(self, batch: Sequence[Any]) -> tuple[Tensor, Tensor]:
        images, labels = default_collate(batch)
        if not images.dtype.is_float:
            raise TypeError(f"images to be mixed must be floats, found {images.dtype}")
        x, soft = images.array(), np.eye(self.num_classes, dtype=np.float32)[labels.array()]
        rng = np.random.default_rng(new_seed(None))
        if rng.random() < self.p:
            share = float(rng.beta(self.alpha, self.alpha))
            x, soft = self._mix(x, soft, share, rng.permutation(len(x)), rng)
        return from_array(x, images.dtype), from_array(soft.astype(np.float32))

    def _mix(self, x: Any, soft: Any, share: float, other: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}(alpha={self.alpha}, num_classes={self.num_classes}, p={self.p})"


class MixupCollator(_Mixer):
    """share * image + (1 - share) * another, labels alike; share from Beta(alpha, alpha), with probability p."""

    def __init__(self, *, alpha: float = 0.2, num_classes: int, p: float = 1.0) -> None:
        super().__init__(alpha, num_classes, p)

    def _mix(self, x: Any, soft: Any, share: float, other: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        return share * x + (1 - share) * x[other], share * soft + (1 - share) * soft[other]


class CutMixCollator(_Mixer):
    """A box of each image taken from another, labels by area; with probability p."""

    def __init__(self, *, alpha: float = 1.0, num_classes: int, p: float = 1.0) -> None:
        super().__init__(alpha, num_classes, p)

    def _mix(self, x: Any, soft: Any, share: float, other: Any, rng: np.random.Generator) -> tuple[Any, Any]:
        height, width = x.shape[-2:]
        tall, wide = (int(s * (1 - share) ** 0.5) for s in (height, width))
        y0, x0 = int(rng.integers(height)) - tall // 2, int(rng.integers(width)) - wide // 2
        rows = slice(max(0, y0), min(height, y0 + tall))
        columns = slice(max(0, x0), min(width, x0 + wide))
        made = x.copy()
        made[..., rows, columns] = x[other][..., rows, columns]
        kept = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
        return made, kept * soft + (1 - kept) * soft[other]


class RandomMixupCutMixCollator:
    """One of both for each batch, CutMix with probability switch_prob; neither with probability 1 - p."""

    def __init__(
        self,
        *,
        mixup_alpha: float = 0.2,
        cutmix_alpha: float = 1.0,
        num_classes: int,
        p: float = 1.0,
        switch_prob: float = 0.5,
    ) -> None:
        if not 0 <= switch_prob <= 1:
            raise ValueError(f"switch_prob must be from 0 to 1, found {switch_prob}")
        self.mixup = MixupCollator(alpha=mixup_alpha, num_classes=num_classes, p=p)
        self.cutmix = CutMixCollator(alpha=cutmix_alpha, num_classes=num_classes, p=p)
        self.switch_prob = switch_prob

    def __call__(self, batch: Sequence[Any]) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(new_seed(None))
        return self.cutmix(batch) if rng.random() < self.switch_prob else self.mixup(batch)
