"""Which module takes the place of which: after calibration, with inputs quantized as they come, and for training."""

from __future__ import annotations

from typing import Any

from ... import nn
from ..nn import intrinsic as fused
from ..nn import qat, quantized
from ..nn.intrinsic import qat as fused_qat
from ..nn.intrinsic import quantized as fused_quantized
from ..nn.quantized import dynamic
from ..nn.stubs import DeQuantStub, QuantStub
from .fake_quantize import (
    default_fixed_qparams_range_0to1_fake_quant,
    default_fixed_qparams_range_neg1to1_fake_quant,
)

Mapping = dict[Any, Any]

DEFAULT_STATIC_QUANT_MODULE_MAPPINGS: Mapping = {
    QuantStub: quantized.Quantize, DeQuantStub: quantized.DeQuantize, nn.BatchNorm2d: quantized.BatchNorm2d,
    nn.BatchNorm3d: quantized.BatchNorm3d, nn.Dropout: quantized.Dropout, nn.Conv1d: quantized.Conv1d,
    nn.Conv2d: quantized.Conv2d, nn.Conv3d: quantized.Conv3d, nn.ConvTranspose1d: quantized.ConvTranspose1d,
    nn.ConvTranspose2d: quantized.ConvTranspose2d, nn.ConvTranspose3d: quantized.ConvTranspose3d,
    nn.ELU: quantized.ELU, nn.Embedding: quantized.Embedding, nn.EmbeddingBag: quantized.EmbeddingBag,
    nn.GroupNorm: quantized.GroupNorm, nn.Hardswish: quantized.Hardswish,
    nn.InstanceNorm1d: quantized.InstanceNorm1d, nn.InstanceNorm2d: quantized.InstanceNorm2d,
    nn.InstanceNorm3d: quantized.InstanceNorm3d, nn.LayerNorm: quantized.LayerNorm,
    nn.LeakyReLU: quantized.LeakyReLU, nn.Linear: quantized.Linear, nn.ReLU6: quantized.ReLU6,
    nn.PReLU: quantized.PReLU, quantized.FloatFunctional: quantized.QFunctional,
    fused.BNReLU2d: fused_quantized.BNReLU2d, fused.BNReLU3d: fused_quantized.BNReLU3d,
    fused.ConvReLU1d: fused_quantized.ConvReLU1d, fused.ConvReLU2d: fused_quantized.ConvReLU2d,
    fused.ConvReLU3d: fused_quantized.ConvReLU3d, fused.ConvAdd2d: fused_quantized.ConvAdd2d,
    fused.ConvAddReLU2d: fused_quantized.ConvAddReLU2d, fused.LinearReLU: fused_quantized.LinearReLU,
    fused.LinearLeakyReLU: fused_quantized.LinearLeakyReLU, fused.LinearTanh: fused_quantized.LinearTanh,
    fused_qat.ConvBn1d: quantized.Conv1d, fused_qat.ConvBn2d: quantized.Conv2d, fused_qat.ConvBn3d: quantized.Conv3d,
    fused_qat.ConvBnReLU1d: fused_quantized.ConvReLU1d, fused_qat.ConvBnReLU2d: fused_quantized.ConvReLU2d,
    fused_qat.ConvBnReLU3d: fused_quantized.ConvReLU3d, fused_qat.ConvReLU1d: fused_quantized.ConvReLU1d,
    fused_qat.ConvReLU2d: fused_quantized.ConvReLU2d, fused_qat.ConvReLU3d: fused_quantized.ConvReLU3d,
    fused_qat.LinearReLU: fused_quantized.LinearReLU, fused_qat.LinearBn1d: quantized.Linear,
    qat.Linear: quantized.Linear, qat.Conv1d: quantized.Conv1d, qat.Conv2d: quantized.Conv2d,
    qat.Conv3d: quantized.Conv3d, qat.Embedding: quantized.Embedding, qat.EmbeddingBag: quantized.EmbeddingBag,
}  # fmt: skip
DEFAULT_QAT_MODULE_MAPPINGS: Mapping = {
    nn.Conv1d: qat.Conv1d, nn.Conv2d: qat.Conv2d, nn.Conv3d: qat.Conv3d, nn.Linear: qat.Linear,
    fused.ConvBn1d: fused_qat.ConvBn1d, fused.ConvBn2d: fused_qat.ConvBn2d, fused.ConvBn3d: fused_qat.ConvBn3d,
    fused.ConvBnReLU1d: fused_qat.ConvBnReLU1d, fused.ConvBnReLU2d: fused_qat.ConvBnReLU2d,
    fused.ConvBnReLU3d: fused_qat.ConvBnReLU3d, fused.ConvReLU1d: fused_qat.ConvReLU1d,
    fused.ConvReLU2d: fused_qat.ConvReLU2d, fused.ConvReLU3d: fused_qat.ConvReLU3d,
    fused.LinearReLU: fused_qat.LinearReLU, fused.LinearBn1d: fused_qat.LinearBn1d,
}  # fmt: skip
DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS: Mapping = {
    nn.GRUCell: dynamic.GRUCell, nn.Linear: dynamic.Linear, nn.LSTM: dynamic.LSTM, nn.GRU: dynamic.GRU,
    nn.LSTMCell: dynamic.LSTMCell, nn.RNNCell: dynamic.RNNCell, fused.LinearReLU: dynamic.LinearReLU,
    nn.EmbeddingBag: quantized.EmbeddingBag, nn.Embedding: quantized.Embedding, qat.Linear: dynamic.Linear,
}  # fmt: skip
DEFAULT_MODULE_TO_ACT_POST_PROCESS: Mapping = {
    nn.Hardsigmoid: default_fixed_qparams_range_0to1_fake_quant,
    nn.Sigmoid: default_fixed_qparams_range_0to1_fake_quant,
    nn.Softmax: default_fixed_qparams_range_0to1_fake_quant,
    nn.Tanh: default_fixed_qparams_range_neg1to1_fake_quant,
}


def get_default_static_quant_module_mappings() -> Mapping:
    """What `convert` puts where after calibration or training."""
    return dict(DEFAULT_STATIC_QUANT_MODULE_MAPPINGS)


def get_default_qat_module_mappings() -> Mapping:
    """What `prepare_qat` puts where."""
    return dict(DEFAULT_QAT_MODULE_MAPPINGS)


def get_embedding_qat_module_mappings() -> Mapping:
    """`get_default_qat_module_mappings`, and tables."""
    return {**DEFAULT_QAT_MODULE_MAPPINGS, nn.EmbeddingBag: qat.EmbeddingBag, nn.Embedding: qat.Embedding}


def get_embedding_static_quant_module_mappings() -> Mapping:
    """`get_default_static_quant_module_mappings`, which has tables that were trained."""
    return get_default_static_quant_module_mappings()


def get_default_dynamic_quant_module_mappings() -> Mapping:
    """What `quantize_dynamic` puts where."""
    return dict(DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS)


def get_default_qconfig_propagation_list() -> set[Any]:
    """Classes of modules whose outputs `prepare` observes."""
    return {
        *DEFAULT_STATIC_QUANT_MODULE_MAPPINGS, *DEFAULT_QAT_MODULE_MAPPINGS, *DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS,
        *DEFAULT_MODULE_TO_ACT_POST_PROCESS, nn.Sequential,
    }  # fmt: skip
