"""Sequences of different lengths: padded to one length, or packed without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...diagnostics import ShapeError
from ...tensor import FUNCTIONS, Tensor
from ...tensor.conversion import as_tensor, from_array

Array = np.ndarray[Any, np.dtype[Any]]


class PackedSequence(NamedTuple):
    """Sequences step by step: data (total, *), and how many sequences each step has, longest sequences first,
    on the cpu.

    sorted_indices: the order of the batch that was packed, None where it was in order; unsorted_indices goes back."""

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def _with(self, data: Tensor) -> PackedSequence:
        first, back = (None if t is None else t.to(data.device) for t in self[2:])
        return PackedSequence(data, self.batch_sizes, first, back)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with data in another dtype, or on another device; `batch_sizes` stay on the cpu."""
        return self._with(self.data.to(*args, **kwargs))

    def float(self) -> PackedSequence:
        """The same with data in float32."""
        return self._with(self.data.float())

    def double(self) -> PackedSequence:
        """The same with data in float64."""
        return self._with(self.data.double())

    def cpu(self) -> PackedSequence:
        """The same on the cpu."""
        return self._with(self.data.cpu())

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same on a GPU."""
        return self._with(self.data.cuda(*args, **kwargs))

    @property
    def is_cuda(self) -> bool:
        """Whether data lie on a GPU."""
        return bool(self.data.is_cuda)

    @property
    def lengths(self) -> Array:
        """Lengths of the sequences, longest first."""
        sizes = np.asarray(self.batch_sizes.array())
        return (sizes[:, None] > np.arange(sizes[0])).sum(0)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The order that takes a permutation back."""
    return None if permutation is None else permutation.argsort()


def _places(lengths: Array) -> tuple[Array, Array]:
    """(T, B) numbers of rows in packed data, and which of them are there. Lengths fall."""
    steps = int(lengths[0])
    there = np.arange(steps)[:, None] < lengths
    first = np.concatenate([[0], np.cumsum(there.sum(1))[:-1]])
    return np.where(there, first[:, None] + np.arange(len(lengths)), 0), there


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Padded sequences without their padding. input: (T, B, *), or (B, T, *) if `batch_first`; lengths: (B,), which are
    numbers or a tensor of the cpu."""
    sizes = np.asarray(as_tensor(lengths).array(), np.int64)
    x = input.transpose(0, 1) if batch_first else input
    if sizes.shape != (x.shape[1],):
        raise ShapeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {sizes.size} (batch_size={x.shape[1]})"
        )
    if (sizes <= 0).any():
        raise ValueError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if int(sizes.max()) > x.shape[0]:
        raise ShapeError(f"Expected sequences of at most {x.shape[0]} steps, found a length of {int(sizes.max())}")
    order: Tensor | None = None
    if enforce_sorted:
        if (np.diff(sizes) > 0).any():
            raise ValueError(
                "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
                "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement"
            )
    else:
        at = np.argsort(-sizes, kind="stable")
        sizes, order = sizes[at], from_array(at, device=str(x.device))
        x = x.index_select(1, order)
    _, there = _places(sizes)
    rows = np.flatnonzero(np.pad(there, [(0, x.shape[0] - len(there)), (0, 0)]).reshape(-1))
    data = x.reshape(-1, *x.shape[2:]).index_select(0, from_array(rows))
    return PackedSequence(data, from_array(there.sum(1), device="cpu"), order, invert_permutation(order))


def padded(sequence: PackedSequence, fill: float = 0.0) -> tuple[Tensor, Array]:
    """(T, B, *) in packed order, and the lengths."""
    lengths = sequence.lengths
    numbers, there = _places(lengths)
    rows = sequence.data.index_select(0, from_array(numbers.reshape(-1)))
    x = rows.reshape(*numbers.shape, *sequence.data.shape[1:])
    mask = from_array(there).reshape(*there.shape, *[1] * (x.ndim - 2))
    return FUNCTIONS["where"](mask, x, fill), lengths


def repacked(x: Tensor, like: PackedSequence) -> PackedSequence:
    """(T, B, *) in packed order, packed as another sequence."""
    _, there = _places(like.lengths)
    rows = from_array(np.flatnonzero(there.reshape(-1)))
    return like._replace(data=x.reshape(-1, *x.shape[2:]).index_select(0, rows))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Packed sequences padded to one length, (T, B, *) or (B, T, *), and their lengths, (B,), on the cpu."""
    x, lengths = padded(sequence, padding_value)
    if total_length is not None:
        if total_length < x.shape[0]:
            raise ValueError(
                f"Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {x.shape[0]}"
            )
        more = [0, 0] * (x.ndim - 1) + [0, total_length - x.shape[0]]
        x = FUNCTIONS["pad"](x, more, value=padding_value)
    order = sequence.unsorted_indices
    sizes = from_array(lengths.astype(np.int64), device="cpu")
    if order is not None:
        x, sizes = x.index_select(1, order), sizes.index_select(0, order.cpu())
    return (x.transpose(0, 1) if batch_first else x), sizes


def pad_sequence(
    sequences: Sequence[Tensor] | Tensor,
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (L_i, *) side by side, padded to the longest: (T, B, *), or (B, T, *) if `batch_first`."""
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side must be 'left' or 'right', not {padding_side!r}")
    found = list(sequences)
    if not found:
        raise ShapeError("pad_sequence needs at least one sequence")
    longest = max(s.shape[0] for s in found)
    wide = []
    for s in found:
        more = longest - s.shape[0]
        around = [0, more] if padding_side == "right" else [more, 0]
        wide.append(FUNCTIONS["pad"](s, [0, 0] * (s.ndim - 1) + around, value=padding_value))
    made: Tensor = FUNCTIONS["stack"](wide, 0 if batch_first else 1)
    return made


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch, without padding."""
    x = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [x[i][: int(n)] for i, n in enumerate(as_tensor(lengths).tolist())]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (L_i, *) packed."""
    lengths = [s.shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences that were packed."""
    x, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(x, lengths, batch_first=True)
