"""A call of every public function and method of tensors: what sweeps over all of them give to it. Most are called as
one of `PATTERNS`, found by trying; the others are declared here, by the shapes of their operands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import heliostat as hs
from heliostat import tensor as room

from .compare import floats, torch
from .patterns import ONLY, PATTERNS, X, Y, Z

ROOMS = {
    "": room.FUNCTIONS,
    "linalg.": hs.linalg,
    "fft.": hs.fft,
    "special.": hs.special,
    "nn.functional.": hs.nn.functional,
}
"""Where public functions are, by the beginning of their full names."""

Call = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Sample:
    """`call(f, m, *tensors)` of a function f of the library m, with tensors of arrays of numbers between 0 and 1."""

    name: str
    call: Call
    arrays: tuple[Any, ...]
    declared: bool

    def of(self, m: Any) -> Call:
        """The function or method of heliostat or of PyTorch."""
        return of(self.name, m)


def of(name: str, m: Any) -> Call:
    """A public function by its full name, of heliostat or PyTorch; None where PyTorch has none."""
    first, _, last = name.rpartition(".")
    if first == "Tensor":
        return None if not hasattr(m.Tensor, last) else lambda x, *rest, **k: getattr(x, last)(*rest, **k)
    if m is hs and not first:
        return room.FUNCTIONS[last]
    for part in first.split(".") if first else ():
        m = getattr(m, part)
    return getattr(m, last, None)


def _conv(f: Any, m: Any, x: Any, w: Any, b: Any) -> Any:
    return f(x, w, b, padding=1)


def _pool(f: Any, m: Any, x: Any) -> Any:
    return f(x, 2)


def _unpool(f: Any, m: Any, x: Any) -> Any:
    count = x.ndim - 2
    pool = getattr(m.nn.functional, f"max_pool{count}d")
    return f(*pool(x, 2, return_indices=True), 2)


def _norm(f: Any, m: Any, x: Any, w: Any, b: Any) -> Any:
    return f(x, (4,), w, b)


def _batch(f: Any, m: Any, x: Any, w: Any, b: Any) -> Any:
    return f(x, None, None, w, b, True)


def _classes(f: Any, m: Any, x: Any) -> Any:
    return f(x, m.tensor([0, 2, 1]))


def _signs(*more: float) -> Call:
    return lambda f, m, *x: f(*x, m.tensor([1, -1, 1]), *more)


def _factored(f: Any, m: Any, x: Any, y: Any) -> Any:
    return f(*m.linalg.lu_factor(x), y)


def _symmetric(f: Any, m: Any, x: Any, *more: Any) -> Any:
    return f(x @ x.mT + m.eye(3, dtype=x.dtype), *more)


def _halves(f: Any, m: Any, x: Any) -> Any:
    return f(x[:, ::2], x[:, 1::2])


def whole(x: Any, size: int) -> Any:
    """Whole numbers up to a size; of tensors of those, what they are."""
    return x if isinstance(x, str) else (x.double() * size).round().nan_to_num().long()


DECLARED: dict[str, tuple[Any, ...]] = {
    "nn.functional.conv1d": (_conv, (2, 3, 5), (4, 3, 3), (4,)),
    "nn.functional.conv2d": (_conv, (2, 3, 4, 5), (4, 3, 3, 3), (4,)),
    "nn.functional.conv3d": (_conv, (1, 2, 3, 4, 3), (2, 2, 3, 3, 3), (2,)),
    "nn.functional.conv_tbc": (lambda f, m, x, w, b: f(x, w, b, 1), (5, 2, 3), (3, 3, 4), (4,)),
    "nn.functional.conv_transpose1d": (_conv, (2, 3, 5), (3, 4, 3), (4,)),
    "nn.functional.conv_transpose2d": (_conv, (2, 3, 4, 5), (3, 4, 3, 3), (4,)),
    "nn.functional.conv_transpose3d": (_conv, (1, 2, 3, 4, 3), (2, 2, 3, 3, 3), (2,)),
    **{
        f"nn.functional.{kind}_pool{len(shape) - 2}d": (_pool, shape)
        for kind in ("avg", "max", "adaptive_avg", "adaptive_max")
        for shape in ((2, 3, 6), (2, 3, 6, 4), (1, 2, 4, 4, 2))
    },
    "nn.functional.lp_pool1d": (lambda f, m, x: f(x, 2, 2), (2, 3, 6)),
    "nn.functional.lp_pool2d": (lambda f, m, x: f(x, 2, 2), (2, 3, 6, 4)),
    "nn.functional.lp_pool3d": (lambda f, m, x: f(x, 2, 2), (1, 2, 4, 4, 2)),
    "nn.functional.max_unpool1d": (_unpool, (2, 3, 6)), "nn.functional.max_unpool2d": (_unpool, (2, 3, 6, 4)),
    "nn.functional.max_unpool3d": (_unpool, (1, 2, 4, 4, 2)),
    "nn.functional.affine_grid": (lambda f, m, x: f(x, (2, 1, 3, 4), align_corners=False), (2, 2, 3)),
    "nn.functional.grid_sample": (lambda f, m, x, g: f(x, g * 2 - 1, align_corners=False), (2, 2, 4, 4), (2, 3, 3, 2)),
    "nn.functional.batch_norm": (_batch, (3, 4, 2), (4,), (4,)),
    "nn.functional.instance_norm": (_batch, (3, 4, 5), (4,), (4,)),
    "nn.functional.group_norm": (lambda f, m, x, w, b: f(x, 2, w, b), (3, 4, 5), (4,), (4,)),
    "nn.functional.layer_norm": (_norm, (3, 4), (4,), (4,)),
    "nn.functional.rms_norm": (lambda f, m, x, w: f(x, (4,), w), (3, 4), (4,)),
    "nn.functional.local_response_norm": (lambda f, m, x: f(x, 2), (2, 4, 3)),
    "nn.functional.bilinear": (lambda f, m, *x: f(*x), (3, 2), (3, 4), (5, 2, 4), (5,)),
    "nn.functional.linear": (lambda f, m, *x: f(*x), (3, 2), (4, 2), (4,)),
    "nn.functional.channel_shuffle": (_pool, (1, 4, 2, 2)),
    "nn.functional.pixel_shuffle": (_pool, (1, 4, 2, 3)),
    "nn.functional.pixel_unshuffle": (_pool, (1, 2, 2, 4)),
    "nn.functional.fold": (lambda f, m, x: f(x, (4, 4), 2), (1, 8, 9)),
    "nn.functional.unfold": (_pool, (1, 2, 4, 3)),
    "nn.functional.interpolate": (lambda f, m, x: f(x, scale_factor=2, mode="bilinear"), (1, 2, 3, 4)),
    "nn.functional.upsample": (lambda f, m, x: f(x, scale_factor=2), (1, 2, 3, 4)),
    "nn.functional.upsample_bilinear": (lambda f, m, x: f(x, scale_factor=2), (1, 2, 3, 4)),
    "nn.functional.upsample_nearest": (lambda f, m, x: f(x, scale_factor=2), (1, 2, 3, 4)),
    "nn.functional.pad": (lambda f, m, x: f(x, (1, 2, 0, 1)), (2, 3, 4)),
    "nn.functional.embedding": (lambda f, m, w: f(m.tensor([[0, 2], [1, 1]]), w), (3, 4)),
    "nn.functional.embedding_bag": (lambda f, m, w: f(m.tensor([[0, 2], [1, 1]]), w), (3, 4)),
    "nn.functional.one_hot": (lambda f, m, x: f(whole(x, 3), 4), (3, 2)),
    "nn.functional.glu": (lambda f, m, x: f(x), (3, 4)),
    "nn.functional.prelu": (lambda f, m, x, w: f(x - 0.5, w), (3, 4), (4,)),
    "nn.functional.threshold": (lambda f, m, x: f(x, 0.45, 2.0), (3, 4)),
    "nn.functional.cross_entropy": (_classes, (3, 4)), "nn.functional.nll_loss": (_classes, (3, 4)),
    "nn.functional.multi_margin_loss": (_classes, (3, 4)),
    "nn.functional.multilabel_margin_loss": (
        lambda f, m, x: f(x, m.tensor([[0, 2, -1, 0], [1, -1, 0, 0], [3, 0, 1, -1]])), (3, 4),
    ),
    "nn.functional.ctc_loss": (
        lambda f, m, x: f(x.log_softmax(-1), m.tensor([[1, 2], [3, 1]]), m.tensor([5, 4]), m.tensor([2, 1])), (5, 2, 4),
    ),
    "nn.functional.gaussian_nll_loss": (lambda f, m, *x: f(*x), (3, 4), (3, 4), (3, 4)),
    "nn.functional.hinge_embedding_loss": (_signs(), (3,)),
    "nn.functional.cosine_embedding_loss": (_signs(0.1), (3, 4), (3, 4)),
    "nn.functional.margin_ranking_loss": (_signs(0.1), (3,), (3,)),
    "nn.functional.triplet_margin_loss": (lambda f, m, *x: f(*x), (3, 4), (3, 4), (3, 4)),
    "nn.functional.triplet_margin_with_distance_loss": (lambda f, m, *x: f(*x), (3, 4), (3, 4), (3, 4)),
    "nn.functional.pdist": (lambda f, m, x: f(x), (4, 3)),
    "nn.functional.scaled_dot_product_attention": (lambda f, m, *x: f(*x), (2, 3, 4), (2, 5, 4), (2, 5, 4)),
    "linalg.cholesky": (_symmetric, (3, 3)), "linalg.cholesky_ex": (_symmetric, (3, 3)),
    "linalg.eigvalsh": (_symmetric, (3, 3)), "linalg.ldl_factor": (_symmetric, (3, 3)),
    "linalg.ldl_factor_ex": (_symmetric, (3, 3)), "cholesky": (_symmetric, (3, 3)),
    "cholesky_inverse": (_symmetric, (3, 3)),
    "linalg.ldl_solve": (
        lambda f, m, x, y: f(*m.linalg.ldl_factor(x @ x.mT + m.eye(3, dtype=x.dtype)), y), (3, 3), (3, 2),
    ),
    "linalg.lu_solve": (_factored, (3, 3), (3, 2)),
    "lu_solve": (lambda f, m, x, y: f(y, *m.linalg.lu_factor(x)), (3, 3), (3, 2)),
    "lu_unpack": (lambda f, m, x: f(*m.linalg.lu_factor(x)), (3, 3)),
    "linalg.solve_triangular": (lambda f, m, x, y: f(x + 2 * m.eye(3, dtype=x.dtype), y, upper=True), (3, 3), (3, 2)),
    "linalg.matrix_power": (lambda f, m, x: f(x, 3), (3, 3)),
    "linalg.multi_dot": (lambda f, m, *x: f(x), (3, 2), (2, 4), (4, 3)),
    "linalg.tensorinv": (lambda f, m, x: f(x, 1), (4, 2, 2)),
    "linalg.tensorsolve": (lambda f, m, x, y: f(x, y), (4, 2, 2), (4,)),
    "linalg.cross": (lambda f, m, *x: f(*x), (2, 3), (2, 3)),
    "linalg.lstsq": (lambda f, m, x, y: f(x, y)[0], (4, 3), (4, 2)),
    "addbmm": (lambda f, m, *x: f(*x), (3, 4), (2, 3, 2), (2, 2, 4)),
    "baddbmm": (lambda f, m, *x: f(*x), (2, 3, 4), (2, 3, 2), (2, 2, 4)),
    "bmm": (lambda f, m, *x: f(*x), (2, 3, 2), (2, 2, 4)),
    "bucketize": (lambda f, m, x: f(x, m.tensor([0.2, 0.5, 0.8], dtype=x.dtype)), (3, 4)),
    "searchsorted": (lambda f, m, x: f(m.tensor([0.2, 0.5, 0.8], dtype=x.dtype), x), (3, 4)),
    "bincount": (lambda f, m, x: f(whole(x, 5)), (6,)),
    "einsum": (lambda f, m, x, y: f("ij,jk->ki", x, y), (3, 4), (4, 2)),
    "gcd": (lambda f, m, x, y: f(whole(x, 90), whole(y, 90)), (3, 4), (3, 4)),
    "lcm": (lambda f, m, x, y: f(whole(x, 90), whole(y, 90)), (3, 4), (3, 4)),
    **{
        name: (lambda f, m, x, y: f(whole(x, 90), whole(y, 7)), (3, 4), (3, 4))
        for name in (
            "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift",
        )
    },
    "bitwise_not": (lambda f, m, x: f(whole(x, 90)), (3, 4)),
    "complex": (lambda f, m, x, y: f(x, y), (3, 4), (3, 4)),
    "polar": (lambda f, m, x, y: f(x, y), (3, 4), (3, 4)),
    "view_as_complex": (lambda f, m, x: f(x), (3, 2)),
    "view_as_real": (lambda f, m, x, y: f(m.complex(x, y)), (3, 4), (3, 4)),
    "imag": (lambda f, m, x, y: f(m.complex(x, y)), (3, 4), (3, 4)),
    "polygamma": (lambda f, m, x: f(1, x), (3, 4)), "special.polygamma": (lambda f, m, x: f(1, x), (3, 4)),
    "mvlgamma": (lambda f, m, x: f(x + 1, 2), (3, 4)), "special.multigammaln": (lambda f, m, x: f(x + 1, 2), (3, 4)),
    "repeat_interleave": (lambda f, m, x: f(x, 2, 0), (3, 4)),
    "split": (lambda f, m, x: f(x, [1, 2], 0), (3, 4)),
    "quantile": (lambda f, m, x: f(x, 0.3, 1), (3, 4)), "nanquantile": (lambda f, m, x: f(x, 0.3, 1), (3, 4)),
    "tensordot": (lambda f, m, x, y: f(x, y, 1), (3, 4), (4, 2)),
    "cross": (lambda f, m, x, y: f(x, y, -1), (2, 3), (2, 3)),
    "cartesian_prod": (lambda f, m, x, y: f(x, y), (3,), (2,)),
    "roll": (lambda f, m, x: f(x, (1, 2), (0, 1)), (3, 4)),
    "unflatten": (lambda f, m, x: f(x, 1, (2, 2)), (3, 4)),
    "stft": (lambda f, m, x: m.view_as_real(f(x, 4, 2, window=m.ones(4, dtype=x.dtype), return_complex=True)), (2, 12)),
    "narrow": (lambda f, m, x: f(x, 1, 1, 2), (3, 4)), "dsplit": (lambda f, m, x: f(x, 2), (2, 2, 4)),
    "result_type": (lambda f, m, x, y: m.ones(1, dtype=f(x, y)), (3,), (2,)),
    "from_dlpack": (lambda f, m, x: f(x.detach()), (3,)), "Tensor.tolist": (lambda f, m, x: m.tensor(f(x)), (3, 4)),
    "Tensor.numpy": (lambda f, m, x: m.tensor(f(x.detach())), (3, 4)),
    "unravel_index": (lambda f, m, x: f(whole(x, 11), (3, 4)), (5,)),
    "allclose": (lambda f, m, x, y: f(x, y), (3, 4), (3, 4)), "equal": (lambda f, m, x, y: f(x, y), (3, 4), (3, 4)),
    "masked_fill": (lambda f, m, x: f(x, x > 0.5, 2.0), (3, 4)),
    "masked_select": (lambda f, m, x: f(x, x > 0.5), (3, 4)),
    "combinations": (lambda f, m, x: f(x, 2), (4,)),
    "index_reduce": (lambda f, m, x, y: f(x, 0, m.tensor([0, 2]), y, "prod"), (3, 4), (2, 4)),
    "segment_reduce": (lambda f, m, x: f(x, "sum", lengths=m.tensor([1, 2])), (3, 4)),
    "nonzero_static": (lambda f, m, x: f(x > 0.5, size=4), (3, 4)),
    "fake_quantize_per_tensor_affine": (lambda f, m, x: f(x, 0.1, 3, 0, 9), (3, 4)),
    "fake_quantize_per_channel_affine": (
        lambda f, m, x: f(x.float(), m.tensor([0.1, 0.2, 0.1]), m.tensor([3, 2, 1], dtype=m.int32), 0, 0, 9), (3, 4),
    ),
    "as_strided": (lambda f, m, x: f(x, (2, 2), (4, 1), 1), (3, 4)),
    "as_strided_scatter": (lambda f, m, x, y: f(x, y, (2, 2), (4, 1), 1), (3, 4), (2, 2)),
    "istft": (lambda f, m, x: f(m.stft(x, 4, 2, window=m.ones(4, dtype=x.dtype), return_complex=True), 4, 2), (2, 12)),
    **{
        name: (call, *shapes)
        for name, call, *shapes in (
            ("zeros", lambda f, m: f(2, 3)), ("ones", lambda f, m: f(2, 3)), ("full", lambda f, m: f((2, 3), 0.5)),
            ("arange", lambda f, m: f(1, 2, 0.3)), ("linspace", lambda f, m: f(0, 1, 5)),
            ("logspace", lambda f, m: f(0, 1, 5)), ("eye", lambda f, m: f(2, 3)),
            ("vander", lambda f, m, x: f(x, 3), (4,)),
            ("scalar_tensor", lambda f, m: f(0.5)), ("tril_indices", lambda f, m: f(3, 4)),
            ("triu_indices", lambda f, m: f(3, 4)), ("fft.fftfreq", lambda f, m: f(5)),
            ("fft.rfftfreq", lambda f, m: f(5)),
            ("broadcast_shapes", lambda f, m: f((2, 1), (3,))), ("is_nonzero", lambda f, m, x: f(x), ()),
            ("is_same_size", lambda f, m, x, y: f(x, y), (3,), (2,)), ("Tensor.item", lambda f, m, x: f(x), ()),
            *((f"{kind}_window", lambda f, m: f(5)) for kind in ("hann", "hamming", "blackman", "bartlett", "kaiser")),
        )
    },
    "Tensor.to": (lambda f, m, x: f(x, m.float64), (3, 4)),
    "Tensor.type": (lambda f, m, x: f(x, m.float64), (3, 4)),
    "Tensor.view": (lambda f, m, x: f(x, 2, 6), (3, 4)),
    "Tensor.expand": (lambda f, m, x: f(x, 2, 3, 4), (3, 4)),
    "Tensor.unfold": (lambda f, m, x: f(x, 1, 2, 1), (3, 4)),
    "Tensor.new_tensor": (lambda f, m, x: f(x, [1, 2]), (3, 4)),
    "Tensor.new_full": (lambda f, m, x: f(x, (2, 3), 7), (3, 4)),
    "Tensor.narrow_copy": (lambda f, m, x: f(x, 1, 1, 2), (3, 4)),
    "Tensor.split_with_sizes": (lambda f, m, x: f(x, [1, 3], 1), (3, 4)),
    "Tensor.sum_to_size": (lambda f, m, x: f(x, 1, 4), (3, 4)),
}  # fmt: skip
"""By full name: the call, and the shapes of its operands."""

NOT_FUNCTIONS = {
    "random": """
        bernoulli multinomial normal poisson rand rand_like randint randint_like randn randn_like randperm
        nn.functional.alpha_dropout nn.functional.dropout nn.functional.dropout1d nn.functional.dropout2d
        nn.functional.dropout3d nn.functional.feature_alpha_dropout nn.functional.fractional_max_pool2d
        nn.functional.fractional_max_pool3d nn.functional.gumbel_softmax nn.functional.rrelu
        nn.functional.rrelu_ lobpcg pca_lowrank svd_lowrank Tensor.cauchy_ Tensor.exponential_ Tensor.geometric_
        Tensor.log_normal_ Tensor.random_ Tensor.uniform_""",
    "values that nobody wrote": """
        empty empty_like empty_strided empty_permuted Tensor.new_empty Tensor.new_empty_strided Tensor.resize_
        Tensor.resize_as_ Tensor.resize Tensor.resize_as Tensor.new""",
    "signs and orders are open: test_linalg.py": """
        svd linalg.svd linalg.eig linalg.eigh linalg.eigvals qr linalg.qr geqrf orgqr ormqr
        linalg.householder_product householder_product""",
    "PyTorch has none": """
        repeat pad silu linalg.dot linalg.inner linalg.outer Tensor.array Tensor.getitem Tensor.setitem
        Tensor.host_array Tensor.to_device nn.functional.accuracy nn.functional.apply_rotary_emb
        nn.functional.correct_count nn.functional.fused_linear_gelu nn.functional.fused_linear_relu
        nn.functional.nearest_codebook nn.functional.noisy_linear nn.functional.repeat_kv
        nn.functional.scaled_noise nn.functional.sinusoidal_embedding nn.functional.sinusoidal_embedding_2d
        nn.functional.straight_through nn.functional.symexp nn.functional.symlog nn.functional.two_hot
        nn.functional.vector_quantize""",
    "of memory that is not a tensor's: test_create.py": "from_numpy frombuffer to_dlpack",
    "of the process, not of tensors": """
        cond get_num_threads set_num_threads get_num_interop_threads set_num_interop_threads
        get_float32_matmul_precision set_float32_matmul_precision manual_seed seed initial_seed get_rng_state
        set_rng_state can_cast is_tensor is_storage""",
    "tests of their own: test_quantized.py, test_functional.py": """
        quantize_per_tensor quantize_per_channel nn.functional.flex_attention nn.functional.grouped_mm
        nn.functional.scaled_grouped_mm nn.functional.scaled_mm nn.functional.multi_head_attention_forward""",
    "of a tensor's memory, place or graph": """
        Tensor.backward Tensor.cuda Tensor.data_ptr Tensor.is_pinned Tensor.is_set_to Tensor.is_shared
        Tensor.pin_memory Tensor.record_stream Tensor.register_hook Tensor.register_post_accumulate_grad_hook
        Tensor.retain_grad Tensor.storage Tensor.storage_offset Tensor.stride Tensor.untyped_storage
        Tensor.share_memory_ Tensor.set_ Tensor.module_load Tensor.get_device Tensor.dim_order
        Tensor.is_contiguous""",
}
"""What is not called, by the reason."""


def names() -> list[str]:
    """Full names of all public functions and methods. Methods with an underscore are the functions, in place."""
    found = []
    for first, place in ROOMS.items():
        listed = place if isinstance(place, dict) else {n: getattr(place, n) for n in place.__all__}
        found += [first + n for n, f in listed.items() if callable(f) and not isinstance(f, type) and n[0] != "_"]
    methods = (n for n in dir(hs.Tensor) if n[0] != "_" and not {n, n.rstrip("_")} & {*room.FUNCTIONS})
    return [*found, *(f"Tensor.{n}" for n in methods if callable(getattr(hs.Tensor, n)))]


def tensors(x: Any) -> list[Any]:
    """The tensors of a result."""
    if isinstance(x, hs.Tensor | torch.Tensor):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [t for y in x for t in tensors(y)] if isinstance(x, list | tuple) else []


def sample(name: str) -> Sample | None:
    """The first call of a function that PyTorch takes."""
    theirs = of(name, torch)
    if theirs is None:
        return None
    tried: list[tuple[Call, tuple[Any, ...], bool]] = []
    if name in DECLARED:
        call, *shapes = DECLARED[name]
        drawn = tuple(floats(*shape, seed=n, low=0.1, high=0.9) for n, shape in enumerate(shapes))
        tried = [(call, drawn, True)]
    else:
        last = name.rpartition(".")[2]
        tried = [
            (pattern, (X[0], Y[0], Z[0]), False)
            for title, pattern in PATTERNS.items()
            if title not in ONLY or last in ONLY[title]
        ]
    for call, arrays, declared in tried:
        try:
            made = call(theirs, torch, *map(torch.tensor, arrays))
        except Exception:
            if declared:
                raise
            continue  # another way of calling it
        if made is not None:
            return Sample(name, call, arrays, declared)
    return None
