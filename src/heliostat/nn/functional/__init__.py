"""Functions of tensors that modules are made of, with PyTorch's names. The arithmetic of `heliostat.nn` is here."""

from __future__ import annotations

from ...tensor.outputs import takes_out
from ...tensor.register import COMPLEX, QUANTIZED, of_tensors, watching
from ...tensor.uses import noted
from .activation import (
    celu,
    celu_,
    elu,
    elu_,
    gelu,
    glu,
    gumbel_softmax,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    relu_,
    rrelu,
    rrelu_,
    selu,
    selu_,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    symexp,
    symlog,
    tanh,
    tanhshrink,
    threshold,
    threshold_,
)
from .attention import flex_attention, multi_head_attention_forward, repeat_kv, scaled_dot_product_attention
from .codebook import nearest_codebook, straight_through, two_hot, vector_quantize
from .convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_tbc,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    fold,
    unfold,
)
from .ctc import ctc_loss
from .dropout import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from .embedding import embedding, embedding_bag
from .linear import (
    bilinear,
    cosine_similarity,
    fused_linear_gelu,
    fused_linear_relu,
    grouped_mm,
    linear,
    normalize,
    one_hot,
    pairwise_distance,
    pdist,
)
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    cross_entropy,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from .metrics import accuracy, correct_count
from .noise import noisy_linear, scaled_noise
from .normalization import batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, rms_norm
from .pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    fractional_max_pool2d,
    fractional_max_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from .positional import apply_rotary_emb, sinusoidal_embedding, sinusoidal_embedding_2d
from .quantized import meanings, quantizable
from .resize import (
    affine_grid,
    channel_shuffle,
    grid_sample,
    interpolate,
    pad,
    pixel_shuffle,
    pixel_unshuffle,
    upsample,
    upsample_bilinear,
    upsample_nearest,
)
from .scaled import ScalingType, SwizzleType, scaled_grouped_mm, scaled_mm

__all__ = [
    "ScalingType", "SwizzleType", "accuracy", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "affine_grid", "alpha_dropout",
    "apply_rotary_emb", "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm", "bilinear", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "celu_", "channel_shuffle", "conv1d", "conv2d", "conv3d", "conv_tbc",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "correct_count", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "ctc_loss", "dropout", "dropout1d", "dropout2d", "dropout3d", "elu", "elu_",
    "embedding", "embedding_bag", "feature_alpha_dropout", "flex_attention", "fold", "fractional_max_pool2d",
    "fractional_max_pool3d", "fused_linear_gelu", "fused_linear_relu", "gaussian_nll_loss", "gelu", "glu",
    "grid_sample", "group_norm", "grouped_mm", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "hardtanh_", "hinge_embedding_loss", "huber_loss", "instance_norm", "interpolate", "kl_div", "l1_loss",
    "layer_norm", "leaky_relu", "leaky_relu_", "linear", "local_response_norm", "log_softmax", "logsigmoid",
    "lp_pool1d", "lp_pool2d", "lp_pool3d", "margin_ranking_loss", "max_pool1d", "max_pool2d", "max_pool3d",
    "max_unpool1d", "max_unpool2d", "max_unpool3d", "mish", "mse_loss", "multi_head_attention_forward",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nearest_codebook", "nll_loss",
    "noisy_linear", "normalize", "one_hot", "pad", "pairwise_distance", "pdist", "pixel_shuffle", "pixel_unshuffle",
    "poisson_nll_loss", "prelu", "relu", "relu6", "relu_", "repeat_kv", "rms_norm", "rrelu", "rrelu_",
    "scaled_dot_product_attention", "scaled_grouped_mm", "scaled_mm", "scaled_noise", "selu", "selu_", "sigmoid",
    "silu", "sinusoidal_embedding", "sinusoidal_embedding_2d", "smooth_l1_loss", "soft_margin_loss", "softmax",
    "softmin", "softplus", "softshrink", "softsign", "straight_through", "symexp", "symlog", "tanh", "tanhshrink",
    "threshold", "threshold_", "triplet_margin_loss", "triplet_margin_with_distance_loss", "two_hot", "unfold",
    "upsample", "upsample_bilinear", "upsample_nearest", "vector_quantize",
]  # fmt: skip

_MEANINGS = meanings(globals())
for _name in _MEANINGS:
    QUANTIZED.setdefault(_name, _MEANINGS[_name])
for _name in __all__:
    if isinstance(globals()[_name], type):
        continue
    globals()[_name] = of_tensors(_name, noted(_name, globals()[_name]))
    globals()[_name].__module__ = __name__  # where pickle finds it
    if _name in _MEANINGS and _name != "linear":  # which asks itself, since recurrent networks call it from within
        globals()[_name] = quantizable(globals()[_name])
    if _name.startswith("conv") and _name in COMPLEX:
        globals()[_name] = watching(_name, globals()[_name])
globals()["normalize"] = takes_out("normalize", globals()["normalize"])
