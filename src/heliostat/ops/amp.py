"""What autocast does with the float inputs of each function, by kind of device: data, as PyTorch's lists.

Functions that are not named keep the dtypes that they are given. The functions themselves stand in `tensor` and
`nn.functional`; those named here are wrapped where they are published, and a test compares each with PyTorch.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping


class Autocast(enum.Enum):
    """A rule for the float inputs of one function."""

    LOWER = "lower"  # the dtype of the scope: products
    FLOAT32 = "float32"  # float32: losses, factorizations, and on GPUs exponentials, norms and sums
    FLOAT32_UNLESS_DTYPE = "float32 unless dtype is given"
    WIDEST = "widest"  # the widest dtype among them: several inputs that must agree
    REFUSE = "refuse"  # an error: unsafe in half precision


def _table(rows: Mapping[Autocast, str]) -> dict[str, Autocast]:
    return {name: rule for rule, names in rows.items() for name in names.split()}


_PRODUCTS = """
    addbmm addmm baddbmm bmm conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d linear
    matmul mm prelu scaled_dot_product_attention vecdot
"""
_LOSSES = """
    binary_cross_entropy_with_logits cosine_embedding_loss hinge_embedding_loss huber_loss kl_div l1_loss
    margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss nll_loss poisson_nll_loss smooth_l1_loss
    soft_margin_loss triplet_margin_loss
"""

POLICIES: Mapping[str, Mapping[str, Autocast]] = {
    "cpu": _table(
        {
            Autocast.LOWER: _PRODUCTS + "lstm",
            Autocast.FLOAT32: _LOSSES
            + """
            adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d binary_cross_entropy cdist cholesky cholesky_inverse
            cholesky_solve cross_entropy ctc_loss fractional_max_pool2d fractional_max_pool3d geqrf grid_sample inverse
            lu_solve max_pool3d max_unpool2d max_unpool3d nanquantile orgqr ormqr pinverse polar prod qr quantile stft
            svd trace triangular_solve view_as_complex
            cholesky_ex cond eig eigh eigvals eigvalsh householder_product inv inv_ex lstsq matrix_rank solve svdvals
            tensorinv tensorsolve
            fft fft2 fftn hfft ifft ifft2 ifftn ihfft irfft irfft2 irfftn rfft rfft2 rfftn
            """,
            Autocast.WIDEST: "cat index_copy stack",
        }
    ),
    "cuda": _table(
        {
            Autocast.LOWER: _PRODUCTS + "addmv addr chain_matmul einsum gru_step lstm lstm_step multi_dot mv rnn_step",
            Autocast.FLOAT32: _LOSSES
            + """
            acos asin cdist cosh cosine_similarity dist erfinv exp expm1 group_norm layer_norm log log10 log1p log2
            logsumexp norm nuclear_norm pdist pow reciprocal renorm rms_norm rsqrt sinh softplus tan upsample
            """,
            Autocast.FLOAT32_UNLESS_DTYPE: """
            cumprod cumsum log_softmax matrix_norm prod softmax sum vector_norm
            """,
            Autocast.WIDEST: """
            addcdiv addcmul atan2 bilinear cross dot grid_sample index_put scatter_add tensordot vdot
            """,
            Autocast.REFUSE: "binary_cross_entropy",
        }
    ),
}
"""The rules by device and by the function's name."""

NAMED = frozenset(name for rules in POLICIES.values() for name in rules)
"""All functions that a rule names."""
