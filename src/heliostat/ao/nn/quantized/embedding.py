"""Tables of codes: rows are dequantized when they are read."""

from __future__ import annotations

from typing import Any, Self

from .... import nn
from ....diagnostics import DTypeError
from ....nn import functional as F
from ....tensor import FUNCTIONS, Tensor
from ....tensor.quantized import QuantizedTensor, quantize_per_channel, quint4x2, quint8
from ..swap import copied, quantized_weight
from .codes import weight_observer


class _TableOfCodes(nn.Module):
    """A weight (num_embeddings, embedding_dim) of quint8 or quint4x2 codes with a scale and a zero point, which is a
    float, for each row."""

    FLOAT: Any

    def _take(self, module: Any, weight: Any, dtype: Any) -> None:
        self.__dict__.update(copied(type(self), module).__dict__)
        del self._parameters["weight"]
        if weight is None:
            rows = FUNCTIONS["zeros"](module.num_embeddings, module.embedding_dim)
            scales, zeros = FUNCTIONS["ones"](rows.shape[0]), FUNCTIONS["zeros"](rows.shape[0])
            weight = quantize_per_channel(rows, scales, zeros, 0, dtype)
        self.set_weight(weight)

    def set_weight(self, w: QuantizedTensor) -> None:
        """Take another table. Raises DTypeError for other codes than quint8 and quint4x2."""
        if w.dtype not in (quint8, quint4x2):
            raise DTypeError(f"{type(self).__name__}: tables are quint8 or quint4x2, not {w.dtype}")
        self._buffers["weight"] = w

    def weight(self) -> Any:
        """The table."""
        return self._buffers["weight"]

    def _get_name(self) -> str:
        return f"Quantized{type(self).__name__}"

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of a table whose qconfig has an observer of rows with float qparams, or of one that trained with rounded
        rows. Raises DTypeError for other dtypes."""
        observer = weight_observer(mod)
        if not use_precomputed_fake_quant:
            observer(mod.weight)
        made = copied(cls, mod)
        del made._parameters["weight"]
        made.set_weight(quantized_weight(mod.weight, observer))
        return made


class Embedding(_TableOfCodes, nn.Embedding):  # type: ignore[misc]
    """`nn.Embedding` over codes. input: integers, any shape; (*input.shape, embedding_dim) float32."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
                 sparse: bool = False, _weight: Any = None, dtype: Any = quint8) -> None:  # fmt: skip
        self._take(nn.Embedding(num_embeddings, embedding_dim, padding_idx), _weight, dtype)

    def forward(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.weight())


class EmbeddingBag(_TableOfCodes, nn.EmbeddingBag):  # type: ignore[misc]
    """`nn.EmbeddingBag` over codes: sums of rows by default. input: (B, n), or (N,) with offsets (B,)."""

    def __init__(self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None, norm_type: float = 2.0,
                 scale_grad_by_freq: bool = False, mode: str = "sum", sparse: bool = False, _weight: Any = None,
                 include_last_offset: bool = False, dtype: Any = quint8) -> None:  # fmt: skip
        float_ = nn.EmbeddingBag(num_embeddings, embedding_dim, mode=mode, include_last_offset=include_last_offset)
        self._take(float_, _weight, dtype)

    def forward(
        self, indices: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        return F.embedding_bag(indices, self.weight(), offsets, mode=self.mode, per_sample_weights=per_sample_weights,
                               include_last_offset=self.include_last_offset)  # fmt: skip
