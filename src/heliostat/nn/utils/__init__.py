"""Functions of modules, their parameters and gradients: clipping, sequences, parametrizations, pruning, fusion."""

from __future__ import annotations

from . import fusion, rnn, stateless
from .fusion import fuse_conv_bn_eval, fuse_conv_bn_weights, fuse_linear_bn_eval, fuse_linear_bn_weights
from .gradients import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    copy_parameters_and_buffers,
    get_total_norm,
    parameters_to_vector,
    vector_to_parameters,
)
from .rnn import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)

__all__ = [
    "PackedSequence", "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_",
    "copy_parameters_and_buffers", "fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval",
    "fuse_linear_bn_weights", "fusion", "get_total_norm", "invert_permutation", "pack_padded_sequence",
    "pack_sequence", "pad_packed_sequence", "pad_sequence", "parameters_to_vector", "rnn", "stateless",
    "unpack_sequence", "unpad_sequence", "vector_to_parameters",
]  # fmt: skip
