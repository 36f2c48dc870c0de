"""Functions of tensors that modules are made of, with PyTorch's names. The arithmetic of `heliostat.nn` is here."""
# Written by `python -m heliostat.stubs` from the functions themselves; changes belong there.

from collections.abc import Callable
from collections.abc import Sequence
from heliostat.nn.functional.codebook import VectorQuantizerOutput
from heliostat.tensor.core import Tensor
from typing import Any

from heliostat.nn.functional.scaled import ScalingType as ScalingType
from heliostat.nn.functional.scaled import SwizzleType as SwizzleType

def accuracy(logits: Tensor, target: Tensor, *, dim: int = -1) -> Tensor:
    """The part of samples whose largest score is the target's."""
def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many parts."""
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many parts of each axis, None keeps it."""
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many parts of each axis, None keeps it."""
def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many parts."""
def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many parts of each axis, None keeps it."""
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of as many parts of each axis, None keeps it."""
def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Places of a grid under affine maps."""
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Elements become the lowest value of SELU with probability p; mean and variance stay."""
def apply_rotary_emb(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, position_ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Queries and keys with the pairs (i, i + D / 2) rotated by their position."""
def avg_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True) -> Tensor:
    """Means of windows."""
def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    """Means of windows."""
def avg_pool3d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    """Means of windows."""
def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-05) -> Tensor:
    """Each channel less its mean over its standard deviation, of the batch while training (running ones are brought nearer to them), else of the running ones."""
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[o] = input1^T weight[o] input2 + bias[o]."""
def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean') -> Tensor:
    """-(y log p + (1 - y) log(1 - p)), logarithms at least -100."""
def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean', pos_weight: Tensor | None = None) -> Tensor:
    """`binary_cross_entropy` of sigmoid(x), without overflow; pos_weight weighs the positive part."""
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, else alpha * (exp(x / alpha) - 1)."""
def celu_(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`celu`, written into input, which is returned."""
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of groups in turn."""
def conv1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Tensor:
    """Correlation."""
def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Tensor:
    """Correlation."""
def conv3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Tensor:
    """Correlation."""
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Correlation over time first."""
def conv_transpose1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Tensor:
    """The transpose of `conv1d`."""
def conv_transpose2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Tensor:
    """The transpose of `conv2d`."""
def conv_transpose3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Tensor:
    """The transpose of `conv3d`."""
def correct_count(logits: Tensor, target: Tensor, *, dim: int = -1) -> Tensor:
    """The number of samples whose largest score is the target's."""
def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean') -> Tensor:
    """1 - cos where y is 1, max(0, cos - margin) where y is -1."""
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-08) -> Tensor:
    """Products of vectors along an axis over their lengths, each at least eps."""
def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100, reduce: bool | None = None, reduction: str = 'mean', label_smoothing: float = 0.0) -> Tensor:
    """Negative log likelihood of the softmax over classes."""
def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = 'mean', zero_infinity: bool = False) -> Tensor:
    """-log likelihood of labels."""
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Elements become 0 with probability p, others 1 / (1 - p) times as large."""
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels become 0."""
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels become 0."""
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels become 0."""
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, else alpha * (exp(x) - 1)."""
def elu_(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`elu`, written into input, which is returned."""
def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    """Rows by number."""
def embedding_bag(input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2, scale_grad_by_freq: bool = False, mode: str = 'mean', sparse: bool = False, per_sample_weights: Tensor | None = None, include_last_offset: bool = False, padding_idx: int | None = None) -> Tensor:
    """Sums, means or maxima of rows."""
def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels."""
def flex_attention(query: Tensor, key: Tensor, value: Tensor, score_mod: Any = None, block_mask: Any = None, scale: float | None = None, enable_gqa: bool = False, return_lse: bool = False) -> Any:
    """Attention whose scores go through score_mod(score, batch, head, query, key), called once with all scores and with tensors of numbers that broadcast to them."""
def fold(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Columns added up where they overlap."""
def fractional_max_pool2d(input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False, _random_samples: Tensor | None = None) -> Any:
    """Maxima of windows at random steps."""
def fractional_max_pool3d(input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False, _random_samples: Tensor | None = None) -> Any:
    """Maxima of windows at random steps."""
def fused_linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """gelu(linear(x, weight, bias)); the compiler makes one kernel of it either way."""
def fused_linear_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(linear(x, weight, bias)); the compiler makes one kernel of it either way."""
def gaussian_nll_loss(input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-06, reduction: str = 'mean') -> Tensor:
    """(log var + (x - y)^2 / var) / 2 of a variance that is at least eps (without a gradient of that bound)."""
def gelu(input: Tensor, approximate: str = 'none') -> Tensor:
    """x * Phi(x), Phi of the normal distribution; with approximate='tanh' the formula of arXiv 1606.08415."""
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b) of the halves a and b of an axis, which becomes half as long."""
def grid_sample(input: Tensor, grid: Tensor, mode: str = 'bilinear', padding_mode: str = 'zeros', align_corners: bool | None = None) -> Tensor:
    """input at places."""
def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-05) -> Tensor:
    """Values less their mean over their standard deviation, of groups of channels."""
def grouped_mm(mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Tensor | None = None, out_dtype: Any = None) -> Tensor:
    """Products of groups of rows: (M, K) by (G, K, N) where group g ends before row offs[g], (M, N); or (G, M, K) by (G, K, N)."""
def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A random draw of a category as a soft vector; with `hard` one-hot, with the soft vector's gradient."""
def hardshrink(input: Tensor, lambd: float = 0.5, *, out: Tensor | None = None) -> Tensor:
    """x where |x| is above lambd, else 0."""
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6."""
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x, but not below min_val and not above max_val; no gradient at the bounds."""
def hardtanh_(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`hardtanh`, written into input, which is returned."""
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean') -> Tensor:
    """x where y is 1, max(0, margin - x) where y is -1."""
def huber_loss(input: Tensor, target: Tensor, reduction: str = 'mean', delta: float = 1.0, weight: Tensor | None = None) -> Tensor:
    """d^2 / 2 below delta, else delta (d - delta / 2), of d = |x - y|."""
def instance_norm(input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-05) -> Tensor:
    """Each channel of each sample less its mean over its standard deviation."""
def interpolate(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = 'nearest', align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False) -> Tensor:
    """input at another size, or so many times as large."""
def kl_div(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean', log_target: bool = False) -> Tensor:
    """target * (log target - input) of log probabilities input; 'batchmean' divides the sum by the first axis."""
def l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean', weight: Tensor | None = None) -> Tensor:
    """|x - y|."""
def layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-05) -> Tensor:
    """Values less their mean over their standard deviation, along the last axes, which have `normalized_shape`."""
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x above 0, else negative_slope * x."""
def leaky_relu_(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`leaky_relu`, written into input, which is returned."""
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight^T + bias."""
def local_response_norm(input: Tensor, size: int, alpha: float = 0.0001, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha * mean of squares of `size` neighbouring channels)^beta."""
def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """Logarithm of the softmax along an axis."""
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x^p)^(1/p) of windows."""
def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x^p)^(1/p) of windows."""
def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x^p)^(1/p) of windows."""
def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean') -> Tensor:
    """max(0, -y (x1 - x2) + margin)."""
def max_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """Maxima of windows; with `return_indices` also where they stand."""
def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """Maxima of windows; with `return_indices` also where they stand."""
def max_pool3d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """Maxima of windows; with `return_indices` also where they stand."""
def max_unpool1d(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None) -> Tensor:
    """Maxima put back where they stood, 0 elsewhere."""
def max_unpool2d(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None) -> Tensor:
    """Maxima put back where they stood, 0 elsewhere."""
def max_unpool3d(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None) -> Tensor:
    """Maxima put back where they stood, 0 elsewhere."""
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
def mse_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean', weight: Tensor | None = None) -> Tensor:
    """(x - y)^2."""
def multi_head_attention_forward(query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Tensor | None, in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor, out_proj_bias: Tensor | None, training: bool = True, key_padding_mask: Tensor | None = None, need_weights: bool = True, attn_mask: Tensor | None = None, use_separate_proj_weight: bool = False, q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None, v_proj_weight: Tensor | None = None, static_k: Tensor | None = None, static_v: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads."""
def multi_margin_loss(input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean') -> Tensor:
    """sum over other classes of max(0, margin - x[y] + x[i])^p over C."""
def multilabel_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean') -> Tensor:
    """sum of max(0, 1 - x[y] + x[i]) over labels y and other classes i, over C."""
def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean') -> Tensor:
    """Mean over classes of the binary cross entropy of sigmoid(x)."""
def nearest_codebook(input: Tensor, codebook: Tensor) -> Tensor:
    """The number of the row of the codebook that is nearest to each vector, the first of equal ones."""
def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100, reduce: bool | None = None, reduction: str = 'mean') -> Tensor:
    """-input[class] of log probabilities."""
def noisy_linear(input: Tensor, weight_mu: Tensor, weight_sigma: Tensor, weight_epsilon: Tensor, bias_mu: Tensor | None = None, bias_sigma: Tensor | None = None, bias_epsilon: Tensor | None = None) -> Tensor:
    """`linear` by weight_mu + weight_sigma * weight_epsilon, (out, in) each, and a bias of the same kind, (out,) each, where it is given: all three of it, or ValueError."""
def normalize(input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12, *, out: Tensor | None = None) -> Tensor:
    """input over its norm along an axis, which is at least eps."""
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 where a class stands, 0 elsewhere."""
def pad(input: Tensor, pad: Sequence[int], mode: str = 'constant', value: complex | None = None) -> Tensor:
    """Elements added before and after axes, from the last on."""
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-06, keepdim: bool = False) -> Tensor:
    """Norm of x1 - x2 + eps over the last axis."""
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Distances of all pairs of rows."""
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) to (..., C, H r, W r)."""
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) to (..., C r^2, H, W)."""
def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: bool | None = None, eps: float = 1e-08, reduce: bool | None = None, reduction: str = 'mean') -> Tensor:
    """exp(x) - y x, or x - y log(x + eps) where x is no logarithm; `full` adds Stirling's approximation."""
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x above 0, else weight * x."""
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
def relu_(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`relu`, written into input, which is returned."""
def repeat_kv(x: Tensor, n_rep: int, dim: int = -3) -> Tensor:
    """Each head of keys or values so many times, next to each other."""
def rms_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """Values over the root of the mean of their squares, along the last axes."""
def rrelu(input: Tensor, lower: float = 0.125, upper: float = 0.3333333333333333, training: bool = False, inplace: bool = False) -> Tensor:
    """x above 0, else x times a random slope from lower to upper; their mean unless training."""
def rrelu_(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`rrelu`, written into input, which is returned."""
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False) -> Tensor:
    """softmax(q k^T * scale + mask) v."""
def scaled_grouped_mm(mat_a: Tensor, mat_b: Tensor, scale_a: Any, scale_recipe_a: Any, scale_b: Any, scale_recipe_b: Any, swizzle_a: Any = None, swizzle_b: Any = None, bias: Tensor | None = None, offs: Tensor | None = None, output_dtype: Any = ..., contraction_dim: Any = (), use_fast_accum: bool = False) -> Tensor:
    """`grouped_mm` of matrices times their scales: of A (M, K) scales (M,), of B (G, K, N) scales (G, N), or one for all."""
def scaled_mm(mat_a: Tensor, mat_b: Tensor, scale_a: Any, scale_recipe_a: Any, scale_b: Any, scale_recipe_b: Any, swizzle_a: Any = None, swizzle_b: Any = None, bias: Tensor | None = None, output_dtype: Any = ..., contraction_dim: Any = (), use_fast_accum: bool = False) -> Tensor:
    """The product of matrices (M, K) and (K, N) of any floats, those of eight bits too, times their scales, plus bias (N,), computed in float32."""
def scaled_noise(*size: int, dtype: Any = None, device: Any = None) -> Tensor:
    """sign(e) sqrt(|e|) of normally distributed e: the factors of a noise whose products keep their size."""
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * elu(x, alpha) with the constants of arXiv 1706.02515."""
def selu_(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`selu`, written into input, which is returned."""
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
def sinusoidal_embedding(num_positions: int, embedding_dim: int, *, base: float = 10000.0, device: Any = None) -> Tensor:
    """(num_positions, embedding_dim): sines and cosines of p * base^(-2 i / D) in turn."""
def sinusoidal_embedding_2d(height: int, width: int, embedding_dim: int, *, base: float = 10000.0, device: Any = None) -> Tensor:
    """(height * width, embedding_dim), row by row: the column's sines, then the row's."""
def smooth_l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean', beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) below beta, else d - beta / 2, of d = |x - y|."""
def soft_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean') -> Tensor:
    """log(1 + exp(-y x)) of y in -1, 1."""
def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(x) over its sum along an axis."""
def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """exp(-x) over its sum along an axis."""
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x brought nearer to 0 by lambd; 0 within lambd."""
def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The values of hard with the gradient of soft, of one shape."""
def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp(|x|) - 1), the inverse of `symlog`."""
def symlog(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|)."""
def tanh(input: Tensor) -> Tensor:
    """tanh(x)."""
def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x above the threshold, else value."""
def threshold_(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`threshold`, written into input, which is returned."""
def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-06, swap: bool = False, size_average: bool | None = None, reduce: bool | None = None, reduction: str = 'mean') -> Tensor:
    """max(0, margin + d(a, p) - d(a, n)) of p-norms; with `swap` the smaller of d(a, n) and d(p, n)."""
def triplet_margin_with_distance_loss(anchor: Tensor, positive: Tensor, negative: Tensor, *, distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False, reduction: str = 'mean') -> Tensor:
    """max(0, margin + d(a, p) - d(a, n)) of any distance."""
def two_hot(input: Tensor, bins: Tensor) -> Tensor:
    """Weights of the two bins that a number lies between, whose mean is the number."""
def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """All windows as columns."""
def upsample(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = 'nearest', align_corners: bool | None = None) -> Tensor:
    """`interpolate`, by its former name."""
def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` of straight lines, corners on corners."""
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` of nearest neighbours."""
def vector_quantize(input: Tensor, codebook: Tensor, commitment_cost: float = 0.25) -> VectorQuantizerOutput:
    """Vectors replaced by the nearest rows of a codebook, with the gradient of what they replace."""

__all__ = ['ScalingType', 'SwizzleType', 'accuracy', 'adaptive_avg_pool1d', 'adaptive_avg_pool2d', 'adaptive_avg_pool3d', 'adaptive_max_pool1d', 'adaptive_max_pool2d', 'adaptive_max_pool3d', 'affine_grid', 'alpha_dropout', 'apply_rotary_emb', 'avg_pool1d', 'avg_pool2d', 'avg_pool3d', 'batch_norm', 'bilinear', 'binary_cross_entropy', 'binary_cross_entropy_with_logits', 'celu', 'celu_', 'channel_shuffle', 'conv1d', 'conv2d', 'conv3d', 'conv_tbc', 'conv_transpose1d', 'conv_transpose2d', 'conv_transpose3d', 'correct_count', 'cosine_embedding_loss', 'cosine_similarity', 'cross_entropy', 'ctc_loss', 'dropout', 'dropout1d', 'dropout2d', 'dropout3d', 'elu', 'elu_', 'embedding', 'embedding_bag', 'feature_alpha_dropout', 'flex_attention', 'fold', 'fractional_max_pool2d', 'fractional_max_pool3d', 'fused_linear_gelu', 'fused_linear_relu', 'gaussian_nll_loss', 'gelu', 'glu', 'grid_sample', 'group_norm', 'grouped_mm', 'gumbel_softmax', 'hardshrink', 'hardsigmoid', 'hardswish', 'hardtanh', 'hardtanh_', 'hinge_embedding_loss', 'huber_loss', 'instance_norm', 'interpolate', 'kl_div', 'l1_loss', 'layer_norm', 'leaky_relu', 'leaky_relu_', 'linear', 'local_response_norm', 'log_softmax', 'logsigmoid', 'lp_pool1d', 'lp_pool2d', 'lp_pool3d', 'margin_ranking_loss', 'max_pool1d', 'max_pool2d', 'max_pool3d', 'max_unpool1d', 'max_unpool2d', 'max_unpool3d', 'mish', 'mse_loss', 'multi_head_attention_forward', 'multi_margin_loss', 'multilabel_margin_loss', 'multilabel_soft_margin_loss', 'nearest_codebook', 'nll_loss', 'noisy_linear', 'normalize', 'one_hot', 'pad', 'pairwise_distance', 'pdist', 'pixel_shuffle', 'pixel_unshuffle', 'poisson_nll_loss', 'prelu', 'relu', 'relu6', 'relu_', 'repeat_kv', 'rms_norm', 'rrelu', 'rrelu_', 'scaled_dot_product_attention', 'scaled_grouped_mm', 'scaled_mm', 'scaled_noise', 'selu', 'selu_', 'sigmoid', 'silu', 'sinusoidal_embedding', 'sinusoidal_embedding_2d', 'smooth_l1_loss', 'soft_margin_loss', 'softmax', 'softmin', 'softplus', 'softshrink', 'softsign', 'straight_through', 'symexp', 'symlog', 'tanh', 'tanhshrink', 'threshold', 'threshold_', 'triplet_margin_loss', 'triplet_margin_with_distance_loss', 'two_hot', 'unfold', 'upsample', 'upsample_bilinear', 'upsample_nearest', 'vector_quantize']
