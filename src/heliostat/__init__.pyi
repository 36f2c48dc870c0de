"""Heliostat: a tensor compiler in Python with lazy tensors and a local LLM engine on top of it."""
# Written by `python -m heliostat.stubs` from the functions themselves; changes belong there.

from builtins import bool as _bool
from builtins import complex as _complex
from builtins import float as _float
from builtins import int as _int
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from heliostat.ir.types import DType
from heliostat.profiler.profile import Profiler
from heliostat.serialization import Place
from heliostat.session.artifacts import CacheArtifacts
from heliostat.tensor.buckets import Histogram
from heliostat.tensor.compile import Compiled
from heliostat.tensor.compile import CompiledModule as _CompiledModule
from heliostat.tensor.devices import Device
from heliostat.tensor.diagnose import DiagnosisReport as _DiagnosisReport
from heliostat.tensor.diagnose import OpInfo as _OpInfo
from heliostat.tensor.factor import QR
from heliostat.tensor.factor import SVD
from heliostat.tensor.factor import SignLog
from heliostat.tensor.parts import Frexp
from heliostat.tensor.pointwise import Numeric
from heliostat.tensor.reduce import Dims
from heliostat.tensor.reduce import MinMax
from heliostat.tensor.reduce import ValuesIndices
from heliostat.tensor.stance import set_stance as _set_stance
from heliostat.tensor.triangles import LU
from heliostat.tensor.triangles import Reflections
from heliostat.tensor.triangles import TriangularSolution
import os
from typing import Any
from typing import Literal
from typing import overload

from heliostat.tensor.function import Function as Function
from heliostat.tensor.random import Generator as Generator
from heliostat.runtime.memory import MemoryStats as MemoryStats
from heliostat.diagnostics import DeviceMemoryError as OutOfMemoryError
from heliostat.tensor.quantized import QDtype as QDtype
from heliostat.tensor.quantized import QScheme as QScheme
from heliostat.tensor.dims import Size as Size
from heliostat.tensor.core import Tensor as Tensor
from heliostat import amp as amp
from heliostat import ao as ao
from heliostat import array_api as array_api
from heliostat.tensor.autocast import autocast as autocast
from heliostat import autograd as autograd
from heliostat import cuda as cuda
from heliostat.tensor.devices import Device as device
from heliostat import distributions as distributions
from heliostat.ir.types import DType as dtype
from heliostat import einops as einops
from heliostat import export as export
from heliostat import fft as fft
from heliostat.tensor.dtypes import finfo as finfo
from heliostat import func as func
from heliostat.tensor.dtypes import iinfo as iinfo
from heliostat.tensor.memory_formats import layout as layout
from heliostat import linalg as linalg
from heliostat.tensor.memory_formats import memory_format as memory_format
from heliostat import nn as nn
from heliostat import optim as optim
from heliostat.tensor.quantized import QScheme as qscheme
from heliostat import random as random
from heliostat.tensor.autograd import set_grad_enabled as set_grad_enabled
from heliostat import signal as signal
from heliostat import special as special
from heliostat import utils as utils

def abs(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`abs` of every element, as torch.abs."""
def absolute(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`abs` of every element, as torch.abs."""
def acos(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`acos` of every element, as torch.acos."""
def acosh(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`acosh` of every element, as torch.acosh."""
def add(input: Numeric, other: Numeric, *, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
    """input + alpha * other."""
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: _float = 1, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2).sum(0)."""
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: _float = 1, out: Tensor | None = None) -> Tensor:
    """input + value * tensor1 / tensor2."""
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: _float = 1, out: Tensor | None = None) -> Tensor:
    """input + value * tensor1 * tensor2."""
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: _float = 1, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
    """beta * input + alpha * mm(mat1, mat2)."""
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: _float = 1, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
    """beta * input + alpha * mv(mat, vec)."""
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: _float = 1, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
def adjoint(input: Tensor) -> Tensor:
    """Matrices transposed: the last two axes change places."""
def all(input: Tensor, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Whether all elements are true (not 0); of uint8 as uint8, as PyTorch has it."""
def allclose(input: Tensor, other: Tensor, rtol: _float = 1e-05, atol: _float = 1e-08, equal_nan: _bool = False) -> _bool:
    """Whether `isclose` holds for all elements."""
def amax(input: Tensor, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Largest elements over axes; equal ones share the gradient."""
def amin(input: Tensor, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Smallest elements over axes; equal ones share the gradient."""
def aminmax(input: Tensor, *, dim: _int | None = None, keepdim: _bool = False, axis: _int | None = None, keepdims: _bool = False, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> MinMax:
    """Smallest and largest elements."""
def angle(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """pi for negative elements, 0 for others, NaN for NaN; as floats."""
def any(input: Tensor, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Whether an element is true (not 0); of uint8 as uint8, as PyTorch has it."""
def arange(start: Any = None, end: Any = None, step: Any = 1, *, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, out: Tensor | None = None) -> Tensor:
    """start, start + step .."""
def arccos(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`acos` of every element, as torch.acos."""
def arccosh(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`acosh` of every element, as torch.acosh."""
def arcsin(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`asin` of every element, as torch.asin."""
def arcsinh(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`asinh` of every element, as torch.asinh."""
def arctan(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`atan` of every element, as torch.atan."""
def arctan2(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The angle of the point (other, input), -pi .."""
def arctanh(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`atanh` of every element, as torch.atanh."""
def are_deterministic_algorithms_enabled() -> _bool:
    """Whether ops that are not deterministic are an error or a warning."""
def argmax(input: Tensor, dim: _int | None = None, keepdim: _bool = False, *, axis: _int | None = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Where the first largest element stands, along an axis or among all elements in order."""
def argmin(input: Tensor, dim: _int | None = None, keepdim: _bool = False, *, axis: _int | None = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Where the first smallest element stands."""
def argsort(input: Tensor, dim: _int = -1, descending: _bool = False, stable: _bool = False, *, axis: _int = -1, out: Tensor | None = None) -> Tensor:
    """Places of the elements of an axis in order."""
def argwhere(input: Tensor) -> Tensor:
    """Where elements are not 0: (n, rank)."""
def as_strided(input: Tensor, size: Sequence[_int], stride: Sequence[_int], storage_offset: _int | None = None) -> Tensor:
    """Element i, j, ..."""
def as_strided_scatter(input: Tensor, src: Tensor, size: Sequence[_int], stride: Sequence[_int], storage_offset: _int | None = None) -> Tensor:
    """input with src written to what `as_strided` gives."""
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of data; the tensor itself where it is one of that dtype, on that device."""
def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: _bool | None = None, requires_grad: _bool = False) -> Tensor:
    """`as_tensor` of data; with `copy` a tensor of its own, with copy=False obj itself."""
def asin(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`asin` of every element, as torch.asin."""
def asinh(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`asinh` of every element, as torch.asinh."""
def atan(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`atan` of every element, as torch.atan."""
def atan2(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The angle of the point (other, input), -pi .."""
def atanh(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`atanh` of every element, as torch.atanh."""
def atleast_1d(*tensors: Any) -> Any:
    """With at least one axis."""
def atleast_2d(*tensors: Any) -> Any:
    """With at least two axes."""
def atleast_3d(*tensors: Any) -> Any:
    """With at least three axes."""
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: _float = 1, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2)."""
def bartlett_window(window_length: _int, periodic: _bool = True, *args: _float, dtype: Any = None, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
    """The bartlett window, one period of it or symmetric."""
def bernoulli(input: Tensor, p: _float | None = None, *, generator: Generator | None = None, out: Tensor | None = None) -> Tensor:
    """1 with a probability, that of each element or p; else 0."""
bfloat16: DType
def bincount(input: Tensor, weights: Tensor | None = None, minlength: _int = 0) -> Tensor:
    """How often each number from 0 on occurs, or the sum of its weights."""
def bitwise_and(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`bitwise_and` of each pair of integers or bools."""
def bitwise_left_shift(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`bitwise_left_shift` of each pair of integers or bools."""
def bitwise_not(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """All bits turned round; of bools the other."""
def bitwise_or(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`bitwise_or` of each pair of integers or bools."""
def bitwise_right_shift(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`bitwise_right_shift` of each pair of integers or bools."""
def bitwise_xor(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`bitwise_xor` of each pair of integers or bools."""
def blackman_window(window_length: _int, periodic: _bool = True, *args: _float, dtype: Any = None, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
    """The blackman window, one period of it or symmetric."""
def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal, zeros elsewhere."""
def bmm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Products of two stacks of matrices of one length."""
bool: DType
bool_: DType
def broadcast_shapes(*shapes: Any) -> Size:
    """The common shape."""
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All expanded to their common shape."""
def broadcast_to(input: Tensor, size: Sequence[_int]) -> Tensor:
    """Expanded to a shape."""
def bucketize(input: Any, boundaries: Tensor, *, out_int32: _bool = False, right: _bool = False, out: Tensor | None = None) -> Tensor:
    """The number of the bucket of each element, between boundaries (N,) in order; see `searchsorted`."""
def can_cast(from_: DType, to: DType) -> _bool:
    """Whether values of one dtype may be written into a tensor of another."""
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of elements of vectors, as rows."""
def cat(tensors: Sequence[Tensor], dim: _int = 0, *, axis: _int = 0, out: Tensor | None = None) -> Tensor:
    """Tensors end to end along an axis, in their common dtype."""
def cdist(x1: Tensor, x2: Tensor, p: _float = 2.0, compute_mode: str = 'use_mm_for_euclid_dist_if_necessary') -> Tensor:
    """p-norm distances between all pairs of rows."""
cdouble: DType
def ceil(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`ceil` of every element, as torch.ceil."""
cfloat: DType
def chain_matmul(*matrices: Tensor, out: Tensor | None = None) -> Tensor:
    """The product of matrices in order."""
channels_last: memory_format
channels_last_3d: memory_format
def cholesky(input: Tensor, upper: _bool = False, *, out: Tensor | None = None) -> Tensor:
    """L with L L^T = x, lower triangular, of symmetric positive matrices (..., N, N); L^T if `upper`."""
def cholesky_inverse(input: Tensor, upper: _bool = False, *, out: Tensor | None = None) -> Tensor:
    """The inverse of x of its triangle L of `cholesky`, or L^T if `upper`: (..., N, N)."""
def cholesky_solve(input: Tensor, input2: Tensor, upper: _bool = False, *, out: Tensor | None = None) -> Tensor:
    """The y with x y = input (..., N, K), of x's triangle input2 (..., N, N) of `cholesky`."""
def chunk(input: Tensor, chunks: _int, dim: _int = 0, *, axis: _int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of an axis, all of one size but for the last."""
def clamp(input: Tensor, min: Any = None, max: Any = None, *, out: Tensor | None = None) -> Tensor:
    """input, but not below min and not above max; NaN where a bound is."""
def clamp_max(input: Tensor, max: Any, *, out: Tensor | None = None) -> Tensor:
    """input, but not above max."""
def clamp_min(input: Tensor, min: Any, *, out: Tensor | None = None) -> Tensor:
    """input, but not below min."""
def clip(input: Tensor, min: Any = None, max: Any = None, *, out: Tensor | None = None) -> Tensor:
    """input, but not below min and not above max; NaN where a bound is."""
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A tensor of its own with the same values."""
def column_stack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Vectors as columns."""
def combinations(input: Tensor, r: _int = 2, with_replacement: _bool = False) -> Tensor:
    """All choices of r elements of a vector, as rows."""
class _Compile:
    def __call__(self, function: Callable[..., Any] | None = None, *, dynamic: _bool | None = None, keep_grads: _bool = False) -> Any:
        """A function, a module or a training step that runs as one native program for each signature of its arguments."""
    CompiledModule: type[_CompiledModule]
    DiagnosisReport: type[_DiagnosisReport]
    OpInfo: type[_OpInfo]
    @staticmethod
    def allow_in_graph(function: Any) -> Any:
        """The function, which is in the graph already: a capture runs all Python and takes whatever it does with tensors."""
    @staticmethod
    def assume_constant_result(function: Any) -> Any:
        """The function, whose Python results are constants of a capture already: it runs once for each signature."""
    @staticmethod
    def compile_optimizer(optimizer: Any, **options: Any) -> Compiled:
        """`optimizer.step` compiled: one program for all updates of its parameters."""
    @staticmethod
    def diagnose(function: Callable[..., Any], *args: Any, **kwargs: Any) -> _DiagnosisReport:
        """What `compile(function)` would capture for these arguments."""
    @staticmethod
    def disable(function: Any = None, recursive: _bool = True, *, reason: str | None = None) -> Any:
        """The function as Python: `compile` leaves it as it is, and a capture that comes to it raises CaptureError with the reason, since a program has no way back to Python in its middle."""
    @staticmethod
    def is_compiling() -> _bool:
        """Whether the code that asks runs inside of a capture, where values are not there yet."""
    @staticmethod
    def is_exporting() -> _bool:
        """Whether the code that asks runs inside of `heliostat.export.export`."""
    @staticmethod
    def list_backends() -> list[str]:
        """The devices that steps are compiled for on this machine: 'cpu', and 'cuda' where there is a GPU."""
    @staticmethod
    def load_cache_artifacts(artifacts: bytes) -> CacheArtifacts:
        """Put what `save_cache_artifacts` gave into this user's cache on disk, where what is compiled from now on finds it."""
    @staticmethod
    def make_step(model: Any, loss: Callable[..., Any], optimizer: Any, **options: Any) -> Compiled:
        """A compiled training step: `step(input, *targets)` is the loss(model(input), *targets) before the update, which it makes, with gradients from zero on."""
    @staticmethod
    def mark_dynamic(tensor: Tensor, index: Any) -> None:
        """Make an axis of an argument a symbol from the first capture on, so that other sizes need no compilation."""
    @staticmethod
    def reset() -> None:
        """Forget the programs of all compiled functions, as `clear_cache` of each."""
    @staticmethod
    def save_cache_artifacts() -> tuple[bytes, CacheArtifacts] | None:
        """Everything that this process has compiled, or found compiled, as bytes, and what is in there; None where that is nothing, or the cache on disk is off."""
    set_stance: type[_set_stance]
    @staticmethod
    def wrap_numpy(function: Any) -> Any:
        """A function of tensors from one of NumPy arrays: it reads its arguments, runs on the host and has no gradients; inside of a capture it raises CaptureError."""
compile: _Compile
def complex(real: Tensor, imag: Tensor, *, out: Tensor | None = None) -> Tensor:
    """real + i imag, which are broadcast."""
complex128: DType
complex64: DType
def concat(tensors: Sequence[Tensor], dim: _int = 0, *, axis: _int = 0, out: Tensor | None = None) -> Tensor:
    """Tensors end to end along an axis, in their common dtype."""
def concatenate(tensors: Sequence[Tensor], dim: _int = 0, *, axis: _int = 0, out: Tensor | None = None) -> Tensor:
    """Tensors end to end along an axis, in their common dtype."""
def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Sequence[Any] = ()) -> Any:
    """true_fn(*operands) if pred holds, else false_fn(*operands); a tensor's value is read, so that a step that is compiled needs a Python bool."""
def conj(input: Tensor) -> Tensor:
    """input: it has no imaginary part."""
def conj_physical(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """input: it has no imaginary part."""
contiguous_format: memory_format
def copysign(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """The size of input with the sign of other."""
def corrcoef(input: Tensor) -> Tensor:
    """Correlation of variables (rows) over observations (columns)."""
def cos(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`cos` of every element, as torch.cos."""
def cosh(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`cosh` of every element, as torch.cosh."""
def count_nonzero(input: Tensor, dim: Dims = None, *, axis: Dims = None) -> Tensor:
    """How many elements are not 0."""
def cov(input: Tensor, *, correction: _int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None) -> Tensor:
    """Covariance of variables (rows) over observations (columns), which count `fweights` times and have the weights `aweights`, both (N,)."""
def cross(input: Tensor, other: Tensor, dim: _int | None = None, *, axis: _int | None = None, out: Tensor | None = None) -> Tensor:
    """Cross product of vectors of 3 elements along an axis, the first of that size where none is named."""
@overload
def cummax(input: Tensor, dim: _int, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
    """Largest elements so far along an axis, and where the last of them stands."""
@overload
def cummax(input: Tensor, axis: _int, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
@overload
def cummin(input: Tensor, dim: _int, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
    """Smallest elements so far along an axis, and where the last of them stands."""
@overload
def cummin(input: Tensor, axis: _int, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
@overload
def cumprod(input: Tensor, dim: _int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor:
    """Running products along an axis; integers in int64."""
@overload
def cumprod(input: Tensor, axis: _int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor: ...
@overload
def cumsum(input: Tensor, dim: _int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor:
    """Running sums along an axis; integers in int64."""
@overload
def cumsum(input: Tensor, axis: _int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor: ...
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: _float = 1, dim: _int = -1, axis: _int = -1) -> Tensor:
    """Running area under y along an axis by trapezoids."""
default_generator: Generator
def deg2rad(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`deg2rad` of every element, as torch.deg2rad."""
def dequantize(tensor: Any) -> Any:
    """The values of a quantized tensor in float32, or of each of a list; other tensors in float32."""
def det(input: Tensor) -> Tensor:
    """Determinants of square matrices (..., N, N)."""
def detach(input: Tensor) -> Tensor:
    """The same values, through which no gradient flows."""
def diag(input: Tensor, diagonal: _int = 0, *, out: Tensor | None = None) -> Tensor:
    """The matrix with a vector on its diagonal, or the diagonal of a matrix."""
def diag_embed(input: Tensor, offset: _int = 0, dim1: _int = -2, dim2: _int = -1) -> Tensor:
    """Matrices with the last axis on a diagonal, in two new axes."""
def diagflat(input: Tensor, offset: _int = 0) -> Tensor:
    """The matrix with all elements on its diagonal."""
def diagonal(input: Tensor, offset: _int = 0, dim1: _int = 0, dim2: _int = 1) -> Tensor:
    """Elements (i, i + offset) of two axes, along a new last axis: a view."""
def diagonal_scatter(input: Tensor, src: Tensor, offset: _int = 0, dim1: _int = 0, dim2: _int = 1) -> Tensor:
    """input with a diagonal replaced."""
def diff(input: Tensor, n: _int = 1, dim: _int = -1, prepend: Tensor | None = None, append: Tensor | None = None, *, axis: _int = -1, out: Tensor | None = None) -> Tensor:
    """Differences of neighbours along an axis, n times, of input between prepend and append."""
def digamma(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Derivative of the logarithm of the gamma function."""
def dist(input: Tensor, other: Tensor, p: _float = 2) -> Tensor:
    """Norm of input - other."""
def div(input: Numeric, other: Numeric, *, rounding_mode: str | None = None, out: Tensor | None = None) -> Tensor:
    """input / other, as floats; with `rounding_mode` 'floor' or 'trunc' a whole number of the common dtype."""
def divide(input: Numeric, other: Numeric, *, rounding_mode: str | None = None, out: Tensor | None = None) -> Tensor:
    """input / other, as floats; with `rounding_mode` 'floor' or 'trunc' a whole number of the common dtype."""
def dot(input: Tensor, tensor: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Product of two vectors."""
double: DType
def dsplit(input: Tensor, sections: Any) -> tuple[Tensor, ...]:
    """Pieces of the third axis."""
def dstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Along the third axis."""
e: _float
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products by letters: 'bij,bjk->bik'."""
def empty(*size: Any, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, out: Tensor | None = None) -> Tensor:
    """0 everywhere."""
def empty_cache() -> None:
    """Give back the memory that is held for the next run."""
def empty_like(input: Tensor, *, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
    """0 everywhere, in the shape and dtype of input."""
def empty_permuted(size: Sequence[_int], physical_layout: Sequence[_int], *, out: Tensor | None = None, **rest: Any) -> Tensor:
    """Zeros of a shape."""
def empty_strided(size: Sequence[_int], stride: Sequence[_int], *, out: Tensor | None = None, **rest: Any) -> Tensor:
    """Zeros of a shape."""
def enable_grad(function: Any = None) -> Any:
    """Recording what gradients need: a context manager and a decorator."""
def eq(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`eq` of each pair of elements, as bool."""
def equal(input: Tensor, other: Tensor) -> _bool:
    """Whether both have one shape and equal elements."""
def erf(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`erf` of every element, as torch.erf."""
def erfc(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """1 - erf(x); small values keep their digits."""
def erfinv(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The x whose erf is given."""
def exp(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`exp` of every element, as torch.exp."""
def exp2(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`exp2` of every element, as torch.exp2."""
def expm1(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`expm1` of every element, as torch.expm1."""
def eye(n: _int, m: _int | None = None, *, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, out: Tensor | None = None) -> Tensor:
    """1 on the diagonal, 0 elsewhere."""
def fake_quantize_per_channel_affine(input: Tensor, scale: Tensor, zero_point: Tensor, axis: _int, quant_min: _int, quant_max: _int) -> Tensor:
    """`fake_quantize_per_tensor_affine` with a scale and a zero point for each index of an axis, (C,) both."""
def fake_quantize_per_tensor_affine(input: Tensor, scale: Any, zero_point: Any, quant_min: _int, quant_max: _int) -> Tensor:
    """(clamp(round(input / scale) + zero_point, quant_min, quant_max) - zero_point) * scale, in the dtype of input."""
def fix(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`trunc` of every element, as torch.trunc."""
def flatten(input: Tensor, start_dim: _int = 0, end_dim: _int = -1) -> Tensor:
    """Axes from start_dim to end_dim as one."""
def flip(input: Tensor, *given: Any, dims: Any = None) -> Tensor:
    """Elements of axes, `dims` or one after the other, in the opposite order."""
def fliplr(input: Tensor) -> Tensor:
    """Columns in the opposite order."""
def flipud(input: Tensor) -> Tensor:
    """Rows in the opposite order."""
float: DType
float16: DType
float32: DType
float64: DType
float8_e4m3fn: DType
float8_e5m2: DType
def float_power(input: Numeric, exponent: Numeric, *, out: Tensor | None = None) -> Tensor:
    """input ** exponent in float64."""
def floor(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`floor` of every element, as torch.floor."""
def floor_divide(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """input / other rounded down, in the common dtype."""
def fmax(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The larger of each pair; of a number and NaN the number."""
def fmin(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The smaller of each pair; of a number and NaN the number."""
def fmod(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """input - trunc(input / other) * other, which has the sign of input."""
def frac(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`frac` of every element, as torch.frac."""
def frexp(input: Tensor, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> Frexp:
    """Mantissas of 1/2 <= |m| < 1, and exponents, i32."""
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: _bool | None = None) -> Tensor:
    """What offers DLPack as a tensor: a tensor's own elements, unless `copy`, and a copy of what others have."""
def from_numpy(array: Any, *, device: Any = None) -> Tensor:
    """A tensor that copies an array."""
def frombuffer(buffer: Any, *, dtype: Any, count: _int = -1, offset: _int = 0, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, requires_grad: _bool = False) -> Tensor:
    """A vector of the bytes of a buffer."""
def full(size: Sequence[_int], fill_value: Any, *, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, out: Tensor | None = None) -> Tensor:
    """One number everywhere, in its dtype unless another is given."""
def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
    """One number everywhere, in the shape and dtype of input."""
@overload
def gather(input: Tensor, dim: _int, index: Tensor, *, sparse_grad: _bool = False, out: Tensor | None = None) -> Tensor:
    """y[i][j] = input[index[i][j]][j] for dim 0."""
@overload
def gather(input: Tensor, axis: _int, index: Tensor, *, sparse_grad: _bool = False, out: Tensor | None = None) -> Tensor: ...
def gcd(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Greatest common divisor, not negative."""
def ge(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`ge` of each pair of elements, as bool."""
def geqrf(input: Tensor, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> Reflections:
    """Reflections whose product is Q of `qr`, (..., M, N), and their factors (..., min(M, N))."""
def ger(input: Tensor, vec2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """All products of two vectors' elements."""
def get_autocast_dtype(device_type: str) -> DType:
    """The dtype of products in the scope that is open, or that one would have without naming one."""
def get_default_device() -> Device:
    """Where functions that make tensors put them."""
def get_default_dtype() -> DType:
    """The dtype of Python floats: float32 unless set otherwise."""
def get_deterministic_debug_mode() -> _int:
    """0: nothing is forbidden; 1: a warning; 2: an error."""
def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` allowed."""
def get_num_interop_threads() -> _int:
    """1: programs run one after the other."""
def get_num_threads() -> _int:
    """The threads that kernels run on."""
def get_rng_state() -> Tensor:
    """The state of the default stream."""
def gradient(input: Tensor, *, spacing: Any = None, dim: Any = None, edge_order: _int = 1, axis: Any = None) -> list[Tensor]:
    """Slopes along axes, all where None, by differences of neighbours, exact for polynomials of degree 2, or of degree `edge_order` (1 or 2) at both ends."""
def greater(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`gt` of each pair of elements, as bool."""
def greater_equal(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`ge` of each pair of elements, as bool."""
def gt(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`gt` of each pair of elements, as bool."""
half: DType
def hamming_window(window_length: _int, periodic: _bool = True, *args: _float, dtype: Any = None, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
    """The hamming window, one period of it or symmetric."""
def hann_window(window_length: _int, periodic: _bool = True, *args: _float, dtype: Any = None, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
    """The hann window, one period of it or symmetric."""
def hardshrink(input: Tensor, lambd: _float = 0.5, *, out: Tensor | None = None) -> Tensor:
    """x where |x| is above lambd, else 0."""
def heaviside(input: Tensor, values: Tensor, *, out: Tensor | None = None) -> Tensor:
    """0 below zero, 1 above, `values` at zero."""
def histc(input: Tensor, bins: _int = 100, min: _float = 0, max: _float = 0, *, out: Tensor | None = None) -> Tensor:
    """How many elements lie in each of so many equal bins from min to max (of all where both are the same)."""
def histogram(input: Tensor, bins: Any = 100, *, range: Sequence[_float] | None = None, weight: Tensor | None = None, density: _bool = False, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> Histogram:
    """How many elements, or which sum of weights, lies in each bucket: so many equal ones over `range`, by default from the least element to the largest, or those between the edges (bins + 1,) that are given."""
def histogramdd(input: Tensor, bins: Any, range: Sequence[_float] | None = None, weight: Tensor | None = None, density: _bool = False) -> Histogram:
    """`histogram` of points (..., N): of shape `bins`, one number or vector of edges for each of the N coordinates."""
def householder_product(input: Tensor, tau: Tensor) -> Tensor:
    """The first N columns (..., M, N) of a product of reflections: input (..., M, N), M >= N, tau (..., K), K <= N."""
def hsplit(input: Tensor, sections: Any) -> tuple[Tensor, ...]:
    """Pieces of the second axis (of a vector the first)."""
def hstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Along the second axis (vectors along the first)."""
def hypot(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """sqrt(input^2 + other^2); infinity where one of them is, beside NaN too."""
def i0(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Modified Bessel function of the first kind and order 0."""
def igamma(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The lower incomplete gamma function P(a, x) of a = input and x = other; NaN for negative ones."""
def igammac(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The upper incomplete gamma function Q(a, x) = 1 - P(a, x) of a = input and x = other; NaN for negative ones."""
def imag(input: Tensor) -> Tensor:
    """Imaginary parts, a view of a complex tensor."""
@overload
def index_add(input: Tensor, dim: _int, index: Tensor, source: Tensor, *, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
    """input with source added to the elements of an axis named by `index`."""
@overload
def index_add(input: Tensor, axis: _int, index: Tensor, source: Tensor, *, alpha: _float = 1, out: Tensor | None = None) -> Tensor: ...
@overload
def index_copy(input: Tensor, dim: _int, index: Tensor, source: Tensor, *, out: Tensor | None = None) -> Tensor:
    """input with the elements of an axis named by `index` replaced by those of source."""
@overload
def index_copy(input: Tensor, axis: _int, index: Tensor, source: Tensor, *, out: Tensor | None = None) -> Tensor: ...
@overload
def index_fill(input: Tensor, dim: _int, index: Tensor, value: Any) -> Tensor:
    """input with one number in the elements of an axis named by `index`."""
@overload
def index_fill(input: Tensor, axis: _int, index: Tensor, value: Any) -> Tensor: ...
def index_put(input: Tensor, indices: Sequence[Any], values: Any, accumulate: _bool = False) -> Tensor:
    """input with values written, or added, at places given by one tensor per axis."""
def index_put_(input: Tensor, indices: Any, values: Any, accumulate: _bool = False) -> Tensor:
    """`index_put`, written into input, which is returned."""
@overload
def index_reduce(input: Tensor, dim: _int, index: Tensor, source: Tensor, reduce: str, *, include_self: _bool = True, out: Tensor | None = None) -> Tensor:
    """input with slices of source put together with the elements of an axis that `index` (n,) names: 'prod', 'mean', 'amax' or 'amin'."""
@overload
def index_reduce(input: Tensor, axis: _int, index: Tensor, source: Tensor, reduce: str, *, include_self: _bool = True, out: Tensor | None = None) -> Tensor: ...
@overload
def index_select(input: Tensor, dim: _int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Elements of an axis by number."""
@overload
def index_select(input: Tensor, axis: _int, index: Tensor, *, out: Tensor | None = None) -> Tensor: ...
inf: _float
def inference_mode(mode: Any = True) -> Any:
    """`no_grad`, or `enable_grad` with mode=False: a context manager and a decorator."""
def initial_seed() -> _int:
    """The seed of the default stream."""
def inner(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Sums of products over the last axes of both."""
int: DType
int16: DType
int32: DType
int64: DType
int8: DType
def inverse(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The inverse of square matrices (..., N, N)."""
def is_autocast_available(device_type: str) -> _bool:
    """Whether there are rules for a kind of device."""
def is_autocast_enabled(device_type: str | None = None) -> _bool:
    """Whether functions choose their dtype now, on a kind of device or on any."""
def is_complex(input: Tensor) -> _bool:
    """Whether the dtype is complex."""
def is_conj(input: Tensor) -> _bool:
    """False: no tensor is lazily conjugated."""
def is_deterministic() -> _bool:
    """Whether ops that are not deterministic are an error or a warning."""
def is_deterministic_algorithms_warn_only_enabled() -> _bool:
    """Whether they are a warning."""
def is_floating_point(input: Tensor) -> _bool:
    """Whether the dtype is a float dtype."""
def is_grad_enabled() -> _bool:
    """Whether functions record what gradients need."""
def is_inference(input: Tensor) -> _bool:
    """False: `inference_mode` is `no_grad`, and tensors made inside of it are as all others."""
def is_neg(input: Tensor) -> _bool:
    """False: no tensor is lazily negated."""
def is_nonzero(input: Tensor) -> _bool:
    """Whether the one element is not 0."""
def is_same_size(input: Tensor, other: Tensor) -> _bool:
    """Whether two shapes are equal."""
def is_signed(input: Tensor) -> _bool:
    """Whether the dtype has negative numbers."""
def is_storage(obj: Any) -> _bool:
    """False: there are no storages."""
def is_tensor(obj: Any) -> _bool:
    """Whether something is a tensor."""
def isclose(input: Tensor, other: Tensor, rtol: _float = 1e-05, atol: _float = 1e-08, equal_nan: _bool = False) -> Tensor:
    """|input - other| <= atol + rtol * |other|."""
def isfinite(input: Tensor) -> Tensor:
    """Whether each element is neither NaN nor an infinity."""
def isin(elements: Any, test_elements: Any, *, assume_unique: _bool = False, invert: _bool = False, out: Tensor | None = None) -> Tensor:
    """Whether each element is among the test elements."""
def isinf(input: Tensor) -> Tensor:
    """Whether each element is an infinity."""
def isnan(input: Tensor) -> Tensor:
    """Whether each element is NaN."""
def isneginf(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Whether each element is -infinity."""
def isposinf(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Whether each element is +infinity."""
def isreal(input: Tensor) -> Tensor:
    """Whether imaginary parts are 0: True everywhere where there are none."""
def istft(input: Tensor, n_fft: _int, hop_length: _int | None = None, win_length: _int | None = None, window: Tensor | None = None, center: _bool = True, normalized: _bool = False, onesided: _bool | None = None, length: _int | None = None, return_complex: _bool = False) -> Tensor:
    """The signal (..., T) of `stft`: overlapping frames added, divided by the sum of squared windows."""
def kaiser_window(window_length: _int, periodic: _bool = True, *args: _float, dtype: Any = None, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
    """The kaiser window, one period of it or symmetric."""
def kron(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of each element of input with all of other."""
def kthvalue(input: Tensor, k: _int, dim: _int = -1, keepdim: _bool = False, *, axis: _int = -1, keepdims: _bool = False, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
    """The k-th smallest element of an axis, counted from 1."""
def lcm(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Least common multiple, not negative."""
def ldexp(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """input * 2^other, by two factors: 2^other may be infinite where the result is not."""
def le(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`le` of each pair of elements, as bool."""
def lerp(input: Tensor, end: Tensor, weight: Numeric, *, out: Tensor | None = None) -> Tensor:
    """input + weight * (end - input), so that weight 1 gives end."""
def less(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`lt` of each pair of elements, as bool."""
def less_equal(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`le` of each pair of elements, as bool."""
def lgamma(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Logarithm of the size of the gamma function."""
def linspace(start: Any, end: Any, steps: _int, *, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, out: Tensor | None = None) -> Tensor:
    """`steps` numbers from start to end, evenly spaced."""
def load(f: Place, map_location: Any = None, pickle_module: Any = None, *, weights_only: _bool | None = None, mmap: _bool | None = None) -> Any:
    """What `save` or `torch.save` wrote, or the tensors of a safetensors file as a dict."""
def load_safetensors(f: Place) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
def load_sharded(folder: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of all files that a folder's index names, in its order."""
def lobpcg(A: Tensor, k: _int | None = None, B: Tensor | None = None, X: Tensor | None = None, n: _int | None = None, iK: Tensor | None = None, niter: _int | None = None, tol: _float | None = None, largest: _bool = True, method: str | None = None, tracker: Any = None, ortho_iparams: Any = None, ortho_fparams: Any = None, ortho_bparams: Any = None) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) eigenvalues of A x = lambda B x, (..., k), with eigenvectors (..., M, k)."""
def log(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`log` of every element, as torch.log."""
def log10(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`log10` of every element, as torch.log10."""
def log1p(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`log1p` of every element, as torch.log1p."""
def log2(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`log2` of every element, as torch.log2."""
def log_softmax(input: Tensor, dim: _int = -1, dtype: Any = None, *, axis: _int = -1, out: Tensor | None = None) -> Tensor:
    """Logarithm of the softmax along an axis."""
def logaddexp(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """log(exp(input) + exp(other))."""
def logaddexp2(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """log2(2^input + 2^other)."""
@overload
def logcumsumexp(input: Tensor, dim: _int, *, out: Tensor | None = None) -> Tensor:
    """log of the running sums of exp along an axis; in f64, where what is smaller by e^700 still counts."""
@overload
def logcumsumexp(input: Tensor, axis: _int, *, out: Tensor | None = None) -> Tensor: ...
def logdet(input: Tensor) -> Tensor:
    """Logarithm of determinants of (..., N, N); NaN for negative ones."""
def logical_and(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`logical_and` of each pair of elements, of which all but 0 are true."""
def logical_not(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Whether each element is 0."""
def logical_or(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`logical_or` of each pair of elements, of which all but 0 are true."""
def logical_xor(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`logical_xor` of each pair of elements, of which all but 0 are true."""
def logit(input: Tensor, eps: _float | None = None, *, out: Tensor | None = None) -> Tensor:
    """log(x / (1 - x)), of x brought between eps and 1 - eps where eps is given."""
def logspace(start: Any, end: Any, steps: _int, base: _float = 10.0, *, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, out: Tensor | None = None) -> Tensor:
    """base to the power of `linspace`; of integers start and end are whole."""
@overload
def logsumexp(input: Tensor, dim: _int | Sequence[_int], keepdim: _bool = False, *, out: Tensor | None = None) -> Tensor:
    """log of the sum of exp over axes, without overflow."""
@overload
def logsumexp(input: Tensor, axis: _int | Sequence[_int], keepdims: _bool = False, *, out: Tensor | None = None) -> Tensor: ...
long: DType
def lt(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`lt` of each pair of elements, as bool."""
def lu(input: Tensor, pivot: _bool = True, get_infos: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> tuple[Tensor, ...]:
    """(LU, pivots) of `linalg.lu_factor`, and with `get_infos` where the first pivot of 0 is."""
def lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The X with A X = input (..., N, K), of the factors of A that `lu` gives."""
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: _bool = True, unpack_pivots: _bool = True, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> LU:
    """P (..., M, M), L (..., M, K) and U (..., K, N) of `lu_factor`, K = min(M, N); those not asked for are empty."""
def manual_seed(seed: _int) -> Generator:
    """Start the default stream of a seed."""
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """input with `value` where the mask holds."""
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """input with the elements where the mask holds replaced by those of source in order."""
def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Elements where the mask holds, along one axis."""
def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Matrix product over the last two axes, leading axes broadcast; vectors count as rows and columns."""
def matrix_exp(input: Tensor) -> Tensor:
    """e to the power of square matrices (..., N, N), by scaling and squaring: a Taylor polynomial of x / 2^s, squared s times (Higham, Functions of Matrices, 2008, chapter 10)."""
def matrix_power(input: Tensor, n: _int, *, out: Tensor | None = None) -> Tensor:
    """Square matrices (..., N, N) to a whole power, of the inverse below 0."""
@overload
def max(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The largest element; along an axis (values, indices); of two tensors the larger of each pair."""
@overload
def max(input: Tensor, dim: _int, keepdim: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
@overload
def max(input: Tensor, axis: _int, keepdims: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
@overload
def max(input: Tensor, dim: Tensor, /, *, out: Tensor | None = None) -> Tensor: ...
@overload
def max(input: Tensor, *, other: Tensor, out: Tensor | None = None) -> Tensor: ...
def max_memory_allocated() -> _int:
    """The most bytes since the beginning or `reset_peak_memory_stats`."""
def maximum(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The maximum of each pair of elements; NaN if either is."""
def mean(input: Tensor, dim: Dims = None, keepdim: _bool = False, *, dtype: Any = None, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Mean over axes, all where none is named."""
@overload
def median(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The middle element, the lower of two; NaN if there is one."""
@overload
def median(input: Tensor, dim: _int, keepdim: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
@overload
def median(input: Tensor, axis: _int, keepdims: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
def memory_allocated() -> _int:
    """Bytes that are in use."""
def memory_reserved() -> _int:
    """Bytes that are in use or held for the next run."""
def memory_stats() -> MemoryStats:
    """Bytes alive, their peak, bytes held for the next run, and counts."""
def memory_summary() -> str:
    """`memory_stats` as text."""
def meshgrid(*tensors: Any, indexing: str = 'ij') -> tuple[Tensor, ...]:
    """A grid of coordinates from vectors."""
@overload
def min(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The smallest element; along an axis (values, indices); of two tensors the smaller of each pair."""
@overload
def min(input: Tensor, dim: _int, keepdim: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
@overload
def min(input: Tensor, axis: _int, keepdims: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
@overload
def min(input: Tensor, dim: Tensor, /, *, out: Tensor | None = None) -> Tensor: ...
@overload
def min(input: Tensor, *, other: Tensor, out: Tensor | None = None) -> Tensor: ...
def minimum(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The minimum of each pair of elements; NaN if either is."""
def mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Product of two matrices."""
def mode(input: Tensor, dim: _int = -1, keepdim: _bool = False, *, axis: _int = -1, keepdims: _bool = False, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
    """The most frequent element of an axis, the smallest of several, and where it stands last."""
def moveaxis(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places, the others in order: a view."""
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Axes moved to other places, the others in order: a view."""
def msort(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Elements of the first axis in order."""
def mul(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """input * other."""
def multinomial(input: Tensor, num_samples: _int, replacement: _bool = False, *, generator: Generator | None = None, out: Tensor | None = None) -> Tensor:
    """Numbers of columns, drawn with the weights of each row; without replacement by the largest of log w + Gumbel."""
def multiply(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """input * other."""
def mv(input: Tensor, vec: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Product of a matrix and a vector."""
def mvlgamma(input: Tensor, p: _int, *, out: Tensor | None = None) -> Tensor:
    """Logarithm of the multivariate gamma function."""
nan: _float
def nan_to_num(input: Tensor, nan: _float | None = None, posinf: _float | None = None, neginf: _float | None = None, *, out: Tensor | None = None) -> Tensor:
    """NaN (by 0) and infinities (by the dtype's largest) replaced by numbers, those that are given."""
def nanmean(input: Tensor, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Mean of what is not NaN."""
@overload
def nanmedian(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The middle element of those that are not NaN."""
@overload
def nanmedian(input: Tensor, dim: _int, keepdim: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
@overload
def nanmedian(input: Tensor, axis: _int, keepdims: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
def nanquantile(input: Tensor, q: Any, dim: _int | None = None, keepdim: _bool = False, *, interpolation: str = 'linear', axis: _int | None = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Quantiles of what is not NaN; see `quantile`."""
def nansum(input: Tensor, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Sum of what is not NaN."""
@overload
def narrow(input: Tensor, dim: _int, start: Any, length: _int) -> Tensor:
    """`length` elements of an axis from `start` on: a view."""
@overload
def narrow(input: Tensor, axis: _int, start: Any, length: _int) -> Tensor: ...
def ne(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`ne` of each pair of elements, as bool."""
def neg(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`neg` of every element, as torch.neg."""
def negative(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`neg` of every element, as torch.neg."""
newaxis: None
def nextafter(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The next number after input towards other, in their common dtype."""
def no_grad(function: Any = None) -> Any:
    """Without recording what gradients need: a context manager and a decorator."""
@overload
def nonzero(input: Tensor, *, as_tuple: Literal[False] = False, out: Tensor | None = None) -> Tensor:
    """Where elements are not 0: (n, rank), or one (n,) tensor per axis."""
@overload
def nonzero(input: Tensor, *, as_tuple: Literal[True], out: tuple[Tensor, ...] | list[Tensor] | None = None) -> tuple[Tensor, ...]: ...
def nonzero_static(input: Tensor, *, size: _int, fill_value: _int = -1, out: Tensor | None = None) -> Tensor:
    """As `nonzero`, of exactly `size` rows: cut off, or filled up with `fill_value`."""
def norm(input: Tensor, p: Any = 2, dim: Dims = None, keepdim: _bool = False, *, dtype: Any = None, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """(sum of |x|^p)^(1/p) over axes, computed in `dtype`; p may be infinite, 0, or 'fro' for 2."""
def normal(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, out: Tensor | None = None, **rest: Any) -> Tensor:
    """Normal, of given mean and standard deviation, numbers or tensors."""
def not_equal(input: Tensor, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """`ne` of each pair of elements, as bool."""
def numel(input: Tensor) -> _int:
    """The number of elements."""
def ones(*size: Any, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, out: Tensor | None = None) -> Tensor:
    """1 everywhere."""
def ones_like(input: Tensor, *, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
    """1 everywhere, in the shape and dtype of input."""
def orgqr(input: Tensor, tau: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The first N columns (..., M, N) of a product of reflections: input (..., M, N), M >= N, tau (..., K), K <= N."""
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: _bool = True, transpose: _bool = False, *, out: Tensor | None = None) -> Tensor:
    """Q other, or other Q unless `left`, of the whole product Q of reflections; of Q^T with `transpose`."""
def outer(input: Tensor, vec2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """All products of two vectors' elements."""
def pad(input: Tensor, pad: Sequence[_int], mode: str = 'constant', value: _complex | None = None) -> Tensor:
    """Elements added before and after axes, from the last on: (left, right, top, bottom ...)."""
def pca_lowrank(A: Tensor, q: _int | None = None, center: _bool = True, niter: _int = 2) -> Any:
    """`svd_lowrank` of A with the means of its columns taken away where `center`; q is 6 at most by default."""
per_channel_affine: QScheme
per_channel_affine_float_qparams: QScheme
per_channel_symmetric: QScheme
per_tensor_affine: QScheme
per_tensor_symmetric: QScheme
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Axes in another order: a view."""
pi: _float
def pinverse(input: Tensor, rcond: _float = 1e-15) -> Tensor:
    """The pseudo-inverse (..., N, M) of (..., M, N); singular values below rcond times the largest count as 0."""
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Counts of given means; NaN, as a float, of a mean below 0."""
def polar(abs: Tensor, angle: Tensor, *, out: Tensor | None = None) -> Tensor:
    """abs * (cos(angle) + i sin(angle))."""
def polygamma(n: _int, input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The n-th derivative of digamma, n >= 0."""
def positive(input: Tensor) -> Tensor:
    """input itself."""
def pow(input: Numeric, exponent: Numeric, *, out: Tensor | None = None) -> Tensor:
    """input ** exponent in the common dtype."""
preserve_format: memory_format
def prod(input: Tensor, dim: _int | None = None, keepdim: _bool = False, *, dtype: Any = None, axis: _int | None = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Product over one axis, or of all elements."""
def promote_types(type1: Any, type2: Any) -> DType:
    """The common dtype of two dtypes."""
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: _bool = False) -> Tensor:
    """input with elements replaced, or added to, by number among all in order."""
qint32: QDtype
qint4: QDtype
qint8: QDtype
def qr(input: Tensor, some: _bool = True, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> QR:
    """Q orthogonal and R upper triangular with Q R = x, of (..., M, N); Q square unless `some`."""
def quantile(input: Tensor, q: Any, dim: _int | None = None, keepdim: _bool = False, *, interpolation: str = 'linear', axis: _int | None = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Values below which a share q of an axis lies, () or (S,) from 0 to 1; NaN where one that is computed is outside."""
def quantize_per_channel(input: Tensor, scales: Tensor, zero_points: Tensor, axis: _int, dtype: QDtype) -> Any:
    """Codes of floats with a scale and a zero point for each index of an axis."""
def quantize_per_tensor(input: Any, scale: Any, zero_point: Any, dtype: QDtype) -> Any:
    """Codes of floats: round(input / scale) + zero_point within the range of `dtype`."""
quint4x2: QDtype
quint8: QDtype
def rad2deg(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`rad2deg` of every element, as torch.rad2deg."""
def rand(*size: Any, generator: Generator | None = None, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, out: Tensor | None = None) -> Tensor:
    """Evenly from 0 to below 1; of complex numbers both parts."""
def rand_like(input: Tensor, *, dtype: Any = None, requires_grad: _bool = False, **rest: Any) -> Tensor:
    """`rand` of the shape and dtype of input."""
def randint(low: Any = None, high: Any = None, size: Any = None, *, generator: Generator | None = None, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, out: Tensor | None = None) -> Tensor:
    """Whole numbers from low (0) to below high: `randint(high, size)`, `randint(low, high, size)`."""
def randint_like(input: Tensor, low: _int | None = None, high: _int | None = None, *, dtype: Any = None, **rest: Any) -> Tensor:
    """`randint` of the shape and dtype of input."""
def randn(*size: Any, generator: Generator | None = None, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, out: Tensor | None = None) -> Tensor:
    """Normal, of mean 0 and standard deviation 1; of complex numbers each part has half of the variance."""
def randn_like(input: Tensor, *, dtype: Any = None, requires_grad: _bool = False, **rest: Any) -> Tensor:
    """`randn` of the shape and dtype of input."""
def randperm(n: _int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, requires_grad: _bool = False, out: Tensor | None = None) -> Tensor:
    """The numbers 0 .."""
def ravel(input: Tensor) -> Tensor:
    """All elements along one axis."""
def real(input: Tensor) -> Tensor:
    """input: it has no imaginary part."""
def reciprocal(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`reciprocal` of every element, as torch.reciprocal."""
def relu(input: Tensor) -> Tensor:
    """`relu` of every element, as torch.relu."""
def remainder(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """input - floor(input / other) * other, which has the sign of other."""
@overload
def renorm(input: Tensor, p: _float, dim: _int, maxnorm: _float, *, out: Tensor | None = None) -> Tensor:
    """Slices along an axis whose p-norm is above maxnorm, brought to it."""
@overload
def renorm(input: Tensor, p: _float, axis: _int, maxnorm: _float, *, out: Tensor | None = None) -> Tensor: ...
def repeat(self: Tensor, *repeats: Any) -> Tensor:
    """The tensor so many times along each axis."""
def repeat_interleave(input: Tensor, repeats: Any = None, dim: _int | None = None, *, output_size: _int | None = None, axis: _int | None = None) -> Tensor:
    """Each element so many times, next to each other; of repeats (N,) alone their places, as int64."""
def reset_accumulated_memory_stats() -> None:
    """Count allocations and frees from 0 again."""
def reset_peak_memory_stats() -> None:
    """Begin a new peak at what is alive."""
def reshape(input: Tensor, shape: Sequence[_int]) -> Tensor:
    """The same elements under another shape: a view, except of what lies in another order (a transpose)."""
def resolve_conj(input: Tensor) -> Tensor:
    """input: no tensor is lazily conjugated."""
def resolve_neg(input: Tensor) -> Tensor:
    """input: no tensor is lazily negated."""
def result_type(tensor: Any, other: Any) -> DType:
    """The dtype of a function of two tensors or numbers."""
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved along axes; what leaves at one end comes back at the other."""
def rot90(input: Tensor, k: _int = 1, dims: Sequence[_int] = (0, 1)) -> Tensor:
    """A quarter turn, k times, in the plane of two axes."""
def round(input: Tensor, *, decimals: _int = 0, out: Tensor | None = None) -> Tensor:
    """Nearest whole number, ties to even; to `decimals` digits after the point."""
def row_stack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Along the first axis, vectors as rows."""
def rsqrt(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`rsqrt` of every element, as torch.rsqrt."""
def rsub(input: Numeric, other: Numeric, *, alpha: _float = 1) -> Tensor:
    """other - alpha * input."""
def save(obj: Any, f: Place) -> None:
    """Write dicts, lists, tuples, sets, tensors, arrays, generators and plain values, and modules, with dataclasses, enums, functions and classes in their attributes by name."""
def save_safetensors(tensors: Mapping[str, Tensor], f: Place, metadata: Mapping[str, str] | None = None) -> None:
    """Write a dict of tensors as a safetensors file."""
def save_sharded(tensors: Mapping[str, Tensor], folder: str | os.PathLike[str], max_shard_size: _int | str = '5GB') -> list[str]:
    """Write tensors to files of at most that many bytes ('500MB'), but for larger tensors, and return their names."""
def scalar_tensor(s: Any, *, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
    """A number as a tensor without axes, in the default dtype."""
@overload
def scatter(input: Tensor, dim: _int, index: Tensor, src: Any = None, *, value: Any = None, reduce: Any = None, out: Tensor | None = None) -> Tensor:
    """input with y[index[i][j]][j] = src[i][j] for dim 0."""
@overload
def scatter(input: Tensor, axis: _int, index: Tensor, src: Any = None, *, value: Any = None, reduce: Any = None, out: Tensor | None = None) -> Tensor: ...
@overload
def scatter_add(input: Tensor, dim: _int, index: Tensor, src: Tensor, *, out: Tensor | None = None) -> Tensor:
    """input with src added at the places of `index`."""
@overload
def scatter_add(input: Tensor, axis: _int, index: Tensor, src: Tensor, *, out: Tensor | None = None) -> Tensor: ...
@overload
def scatter_reduce(input: Tensor, dim: _int, index: Tensor, src: Any, reduce: str, *, include_self: _bool = True, out: Tensor | None = None) -> Tensor:
    """input with src put together with it at the places of `index`: sum, mean, prod, amax or amin."""
@overload
def scatter_reduce(input: Tensor, axis: _int, index: Tensor, src: Any, reduce: str, *, include_self: _bool = True, out: Tensor | None = None) -> Tensor: ...
def searchsorted(sorted_sequence: Tensor, input: Any, *, out_int32: _bool = False, right: _bool = False, side: str | None = None, sorter: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Where to put elements into rows that are in order so that they stay so, int64, or int32 with `out_int32`."""
def seed() -> _int:
    """Start the default stream of a seed that the system gives."""
def segment_reduce(data: Tensor, reduce: str, *, lengths: Tensor | None = None, indices: Tensor | None = None, offsets: Tensor | None = None, axis: _int = 0, unsafe: _bool = False, initial: _float | None = None) -> Tensor:
    """'sum', 'mean', 'prod', 'max' or 'min' of neighbouring pieces of an axis, of `lengths` (..., S), or from offsets (..., S + 1) on; leading axes are those of data in front of `axis`."""
@overload
def select(input: Tensor, dim: _int, index: Any) -> Tensor:
    """One element of an axis, which goes away: a view."""
@overload
def select(input: Tensor, axis: _int, index: Any) -> Tensor: ...
@overload
def select_scatter(input: Tensor, src: Tensor, dim: _int, index: _int) -> Tensor:
    """input with one element of an axis replaced."""
@overload
def select_scatter(input: Tensor, src: Tensor, axis: _int, index: _int) -> Tensor: ...
def set_default_device(device: Any) -> None:
    """Where functions that make tensors put them from here on, by name or as a device; None is cpu."""
def set_default_dtype(dtype: DType) -> None:
    """Set the dtype of Python floats."""
def set_deterministic(mode: _bool) -> None:
    """Whether ops that are not deterministic are an error."""
def set_deterministic_debug_mode(debug_mode: _int | str) -> None:
    """Set the mode, by number or as 'default', 'warn' or 'error'."""
def set_float32_matmul_precision(precision: str) -> None:
    """How precise large products of float32 are on GPUs from compute capability 8.0 on: 'highest', all bits; 'high', TF32, 11 bits of each operand; 'medium', bf16, 8."""
def set_num_interop_threads(int: _int) -> None:
    """Nothing for 1."""
def set_num_threads(int: _int) -> None:
    """Nothing where kernels run on so many threads."""
def set_printoptions(**options: Any) -> None:
    """precision, threshold, edgeitems, linewidth: as torch.set_printoptions."""
def set_rng_state(state: Tensor) -> None:
    """Set the default stream."""
def sgn(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`sign` of every element, as torch.sign."""
short: DType
def sigmoid(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`sigmoid` of every element, as torch.sigmoid."""
def sign(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`sign` of every element, as torch.sign."""
def signbit(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Whether the sign of an element is set, of zeros and NaN too."""
def silu(input: Tensor) -> Tensor:
    """`silu` of every element, as torch.silu."""
def sin(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`sin` of every element, as torch.sin."""
def sinc(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`sinc` of every element, as torch.sinc."""
def sinh(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`sinh` of every element, as torch.sinh."""
def slice_scatter(input: Tensor, src: Tensor, dim: _int = 0, start: _int | None = None, end: _int | None = None, step: _int = 1, *, axis: _int = 0, out: Tensor | None = None) -> Tensor:
    """input with a slice of an axis replaced."""
def slogdet(input: Tensor, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> SignLog:
    """Sign and logarithm of the size of determinants of (..., N, N)."""
def softmax(input: Tensor, dim: _int = -1, dtype: Any = None, *, axis: _int = -1, out: Tensor | None = None) -> Tensor:
    """exp(x) over its sum along an axis."""
def sort(input: Tensor, dim: _int = -1, descending: _bool = False, stable: _bool = False, *, axis: _int = -1, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
    """Elements of an axis in order, and where they stood."""
def split(input: Tensor, split_size_or_sections: Any, dim: _int = 0, *, axis: _int = 0) -> tuple[Tensor, ...]:
    """Pieces of an axis, of one size or of given sizes, as views."""
def sqrt(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`sqrt` of every element, as torch.sqrt."""
def square(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`square` of every element, as torch.square."""
def squeeze(input: Tensor, dim: Any = None, *, axis: Any = None) -> Tensor:
    """Without axes of size 1, or without those of them that are named: a view."""
def stack(tensors: Sequence[Tensor], dim: _int = 0, *, axis: _int = 0, out: Tensor | None = None) -> Tensor:
    """Tensors of one shape along a new axis."""
def std(input: Tensor, dim: Any = None, unbiased: _bool = True, keepdim: _bool = False, *, correction: _float | None = None, axis: Any = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Square root of `var`."""
def std_mean(input: Tensor, dim: Any = None, unbiased: _bool = True, keepdim: _bool = False, *, correction: _float | None = None, axis: Any = None, keepdims: _bool = False) -> tuple[Tensor, Tensor]:
    """(standard deviation, mean) over axes."""
def stft(input: Tensor, n_fft: _int, hop_length: _int | None = None, win_length: _int | None = None, window: Tensor | None = None, center: _bool = True, pad_mode: str = 'reflect', normalized: _bool = False, onesided: _bool | None = None, return_complex: _bool | None = None) -> Tensor:
    """Transforms of windows of a signal (..., T) every hop_length: complex (..., frequencies, frames)."""
strided: layout
def sub(input: Numeric, other: Numeric, *, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
    """input - alpha * other."""
def subtract(input: Numeric, other: Numeric, *, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
    """input - alpha * other."""
def sum(input: Tensor, dim: Dims = None, keepdim: _bool = False, *, dtype: Any = None, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Sum over axes, all where none is named."""
def svd(input: Tensor, some: _bool = True, compute_uv: _bool = True, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> SVD:
    """U, S and V with U diag(S) V^T = x, of (..., M, N)."""
def svd_lowrank(A: Tensor, q: _int = 6, niter: _int = 2, M: Tensor | None = None) -> Any:
    """U (..., M, q), S and V (..., N, q) with U diag(S) V^T nearly A, or A - M, of rank q; it draws random numbers."""
def swapaxes(input: Tensor, dim0: _int, dim1: _int) -> Tensor:
    """Two axes change places: a view."""
def swapdims(input: Tensor, dim0: _int, dim1: _int) -> Tensor:
    """Two axes change places: a view."""
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a tensor of fewer axes itself."""
def take(input: Tensor, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Elements by number among all in order."""
def take_along_dim(input: Tensor, indices: Tensor, dim: _int | None = None, *, axis: _int | None = None, out: Tensor | None = None) -> Tensor:
    """As gather, with broadcasting; without an axis among all elements in order."""
def tan(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`tan` of every element, as torch.tan."""
def tanh(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`tanh` of every element, as torch.tanh."""
def tensor(data: Any, *, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
    """A tensor that copies numbers, nested lists, arrays or tensors."""
def tensor_split(input: Tensor, indices_or_sections: Any, dim: _int = 0, *, axis: _int = 0) -> tuple[Tensor, ...]:
    """Pieces of an axis: so many of nearly one size, or cut at given places; both may be tensors of integers."""
def tensordot(a: Tensor, b: Tensor, dims: Any = 2, *, out: Tensor | None = None) -> Tensor:
    """Sums of products over some axes of both: the last of a and the first of b, or those that are named."""
def tile(input: Tensor, *dims: Any) -> Tensor:
    """As repeat, with counts of 1 for axes in front that are not named."""
def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule of a copy of the data."""
def topk(input: Tensor, k: _int, dim: _int = -1, largest: _bool = True, sorted: _bool = True, *, axis: _int = -1, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
    """The k largest (smallest) elements of an axis, in order."""
def trace(input: Tensor) -> Tensor:
    """Sum of the diagonal of a matrix."""
def transpose(input: Tensor, dim0: _int, dim1: _int) -> Tensor:
    """Two axes change places: a view."""
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: _float = 1, dim: _int = -1, axis: _int = -1) -> Tensor:
    """Area under y along an axis by trapezoids, at places x or dx apart."""
def trapz(y: Tensor, x: Tensor | None = None, *, dx: _float = 1, dim: _int = -1, axis: _int = -1) -> Tensor:
    """Area under y along an axis by trapezoids, at places x or dx apart."""
def triangular_solve(input: Tensor, A: Tensor, upper: _bool = True, transpose: _bool = False, unitriangular: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> TriangularSolution:
    """The X with A X = input, or A^T X = input with `transpose`, of the triangle of A; and a copy of A."""
def tril(input: Tensor, diagonal: _int = 0, *, out: Tensor | None = None) -> Tensor:
    """Matrices with zeros above a diagonal."""
def tril_indices(row: _int, col: _int, offset: _int = 0, *, dtype: Any = None, **rest: Any) -> Tensor:
    """Rows and columns of the lower triangle, (2, n), int64 unless another dtype is named."""
def triu(input: Tensor, diagonal: _int = 0, *, out: Tensor | None = None) -> Tensor:
    """Matrices with zeros below a diagonal."""
def triu_indices(row: _int, col: _int, offset: _int = 0, *, dtype: Any = None, **rest: Any) -> Tensor:
    """Rows and columns of the upper triangle, (2, n), int64 unless another dtype is named."""
def true_divide(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """input / other, as floats."""
def trunc(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """`trunc` of every element, as torch.trunc."""
uint16: DType
uint32: DType
uint8: DType
def unbind(input: Tensor, dim: _int = 0, *, axis: _int = 0) -> tuple[Tensor, ...]:
    """The elements of an axis, as views."""
@overload
def unflatten(input: Tensor, dim: _int, sizes: Sequence[_int]) -> Tensor:
    """One axis as several."""
@overload
def unflatten(input: Tensor, axis: _int, sizes: Sequence[_int]) -> Tensor: ...
@overload
def unique(input: Tensor, sorted: _bool = True, return_inverse: Literal[False] = False, return_counts: Literal[False] = False, dim: _int | None = None, *, axis: _int | None = None) -> Tensor:
    """Different elements in order, each NaN for itself; with the number of each among them, and how often it occurs."""
@overload
def unique(input: Tensor, sorted: _bool = True, return_inverse: _bool = False, return_counts: _bool = False, dim: _int | None = None, *, axis: _int | None = None) -> Any: ...
@overload
def unique_consecutive(input: Tensor, return_inverse: Literal[False] = False, return_counts: Literal[False] = False, dim: _int | None = None, *, axis: _int | None = None) -> Tensor:
    """Elements without those that equal the one before."""
@overload
def unique_consecutive(input: Tensor, return_inverse: _bool = False, return_counts: _bool = False, dim: _int | None = None, *, axis: _int | None = None) -> Any: ...
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The place along each axis of a tensor of `shape`, of elements by number among all in order."""
@overload
def unsqueeze(input: Tensor, dim: _int) -> Tensor:
    """A new axis of size 1: a view."""
@overload
def unsqueeze(input: Tensor, axis: _int) -> Tensor: ...
def use_deterministic_algorithms(mode: _bool, *, warn_only: _bool = False) -> None:
    """Whether ops that are not deterministic are an error, or with `warn_only` a warning."""
def vander(x: Tensor, N: _int | None = None, increasing: _bool = False) -> Tensor:
    """Powers of each element along a row."""
def var(input: Tensor, dim: Any = None, unbiased: _bool = True, keepdim: _bool = False, *, correction: _float | None = None, axis: Any = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
    """Variance over axes: squares of the distance from the mean, over their number less `correction` (1)."""
def var_mean(input: Tensor, dim: Any = None, unbiased: _bool = True, keepdim: _bool = False, *, correction: _float | None = None, axis: Any = None, keepdims: _bool = False) -> tuple[Tensor, Tensor]:
    """(variance, mean) over axes."""
def vdot(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Product of two vectors, the first conjugated."""
def view_as_complex(input: Tensor) -> Tensor:
    """A last axis of 2 as real and imaginary parts: a view."""
def view_as_real(input: Tensor) -> Tensor:
    """Real and imaginary parts along a new last axis: a view."""
def vmap(func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = 'error', *, chunk_size: _int | None = None) -> Callable[..., Any]:
    """func of one element as a function of batches: axis in_dims of each argument is left out inside of func, and stands at out_dims in the results."""
def vsplit(input: Tensor, sections: Any) -> tuple[Tensor, ...]:
    """Pieces of the first axis of at least two."""
def vstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Along the first axis, vectors as rows."""
@overload
def where(condition: Tensor, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> tuple[Tensor, ...]:
    """input where the condition holds, else other."""
@overload
def where(condition: Tensor, input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor: ...
def xlogy(input: Numeric, other: Numeric, *, out: Tensor | None = None) -> Tensor:
    """input * log(other), and 0 where input is 0."""
def zeros(*size: Any, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None, out: Tensor | None = None) -> Tensor:
    """0 everywhere."""
def zeros_like(input: Tensor, *, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
    """0 everywhere, in the shape and dtype of input."""
class _Profiler:
    def __call__(self, *args: Any, **kwargs: Any) -> Profiler:
        """Every kernel that runs between begin and end: time of execution, bytes, arithmetic, share of the limit."""
    def __getattr__(self, name: str) -> Any: ...
profiler: _Profiler
__all__ = ['Function', 'Generator', 'MemoryStats', 'OutOfMemoryError', 'QDtype', 'QScheme', 'Size', 'Tensor', 'abs', 'absolute', 'acos', 'acosh', 'add', 'addbmm', 'addcdiv', 'addcmul', 'addmm', 'addmv', 'addr', 'adjoint', 'all', 'allclose', 'amax', 'amin', 'aminmax', 'angle', 'any', 'arange', 'arccos', 'arccosh', 'arcsin', 'arcsinh', 'arctan', 'arctan2', 'arctanh', 'are_deterministic_algorithms_enabled', 'argmax', 'argmin', 'argsort', 'argwhere', 'as_strided', 'as_strided_scatter', 'as_tensor', 'asarray', 'asin', 'asinh', 'atan', 'atan2', 'atanh', 'atleast_1d', 'atleast_2d', 'atleast_3d', 'autocast', 'baddbmm', 'bartlett_window', 'bernoulli', 'bfloat16', 'bincount', 'bitwise_and', 'bitwise_left_shift', 'bitwise_not', 'bitwise_or', 'bitwise_right_shift', 'bitwise_xor', 'blackman_window', 'block_diag', 'bmm', 'bool', 'bool_', 'broadcast_shapes', 'broadcast_tensors', 'broadcast_to', 'bucketize', 'can_cast', 'cartesian_prod', 'cat', 'cdist', 'cdouble', 'ceil', 'cfloat', 'chain_matmul', 'channels_last', 'channels_last_3d', 'cholesky', 'cholesky_inverse', 'cholesky_solve', 'chunk', 'clamp', 'clamp_max', 'clamp_min', 'clip', 'clone', 'column_stack', 'combinations', 'compile', 'complex', 'complex128', 'complex64', 'concat', 'concatenate', 'cond', 'conj', 'conj_physical', 'contiguous_format', 'copysign', 'corrcoef', 'cos', 'cosh', 'count_nonzero', 'cov', 'cross', 'cummax', 'cummin', 'cumprod', 'cumsum', 'cumulative_trapezoid', 'default_generator', 'deg2rad', 'dequantize', 'det', 'detach', 'device', 'diag', 'diag_embed', 'diagflat', 'diagonal', 'diagonal_scatter', 'diff', 'digamma', 'dist', 'div', 'divide', 'dot', 'double', 'dsplit', 'dstack', 'dtype', 'e', 'einsum', 'empty', 'empty_cache', 'empty_like', 'empty_permuted', 'empty_strided', 'enable_grad', 'eq', 'equal', 'erf', 'erfc', 'erfinv', 'exp', 'exp2', 'expm1', 'eye', 'fake_quantize_per_channel_affine', 'fake_quantize_per_tensor_affine', 'finfo', 'fix', 'flatten', 'flip', 'fliplr', 'flipud', 'float', 'float16', 'float32', 'float64', 'float8_e4m3fn', 'float8_e5m2', 'float_power', 'floor', 'floor_divide', 'fmax', 'fmin', 'fmod', 'frac', 'frexp', 'from_dlpack', 'from_numpy', 'frombuffer', 'full', 'full_like', 'gather', 'gcd', 'ge', 'geqrf', 'ger', 'get_autocast_dtype', 'get_default_device', 'get_default_dtype', 'get_deterministic_debug_mode', 'get_float32_matmul_precision', 'get_num_interop_threads', 'get_num_threads', 'get_rng_state', 'gradient', 'greater', 'greater_equal', 'gt', 'half', 'hamming_window', 'hann_window', 'hardshrink', 'heaviside', 'histc', 'histogram', 'histogramdd', 'householder_product', 'hsplit', 'hstack', 'hypot', 'i0', 'igamma', 'igammac', 'iinfo', 'imag', 'index_add', 'index_copy', 'index_fill', 'index_put', 'index_put_', 'index_reduce', 'index_select', 'inf', 'inference_mode', 'initial_seed', 'inner', 'int', 'int16', 'int32', 'int64', 'int8', 'inverse', 'is_autocast_available', 'is_autocast_enabled', 'is_complex', 'is_conj', 'is_deterministic', 'is_deterministic_algorithms_warn_only_enabled', 'is_floating_point', 'is_grad_enabled', 'is_inference', 'is_neg', 'is_nonzero', 'is_same_size', 'is_signed', 'is_storage', 'is_tensor', 'isclose', 'isfinite', 'isin', 'isinf', 'isnan', 'isneginf', 'isposinf', 'isreal', 'istft', 'kaiser_window', 'kron', 'kthvalue', 'layout', 'lcm', 'ldexp', 'le', 'lerp', 'less', 'less_equal', 'lgamma', 'linspace', 'load', 'load_safetensors', 'load_sharded', 'lobpcg', 'log', 'log10', 'log1p', 'log2', 'log_softmax', 'logaddexp', 'logaddexp2', 'logcumsumexp', 'logdet', 'logical_and', 'logical_not', 'logical_or', 'logical_xor', 'logit', 'logspace', 'logsumexp', 'long', 'lt', 'lu', 'lu_solve', 'lu_unpack', 'manual_seed', 'masked_fill', 'masked_scatter', 'masked_select', 'matmul', 'matrix_exp', 'matrix_power', 'max', 'max_memory_allocated', 'maximum', 'mean', 'median', 'memory_allocated', 'memory_format', 'memory_reserved', 'memory_stats', 'memory_summary', 'meshgrid', 'min', 'minimum', 'mm', 'mode', 'moveaxis', 'movedim', 'msort', 'mul', 'multinomial', 'multiply', 'mv', 'mvlgamma', 'nan', 'nan_to_num', 'nanmean', 'nanmedian', 'nanquantile', 'nansum', 'narrow', 'ne', 'neg', 'negative', 'newaxis', 'nextafter', 'no_grad', 'nonzero', 'nonzero_static', 'norm', 'normal', 'not_equal', 'numel', 'ones', 'ones_like', 'orgqr', 'ormqr', 'outer', 'pad', 'pca_lowrank', 'per_channel_affine', 'per_channel_affine_float_qparams', 'per_channel_symmetric', 'per_tensor_affine', 'per_tensor_symmetric', 'permute', 'pi', 'pinverse', 'poisson', 'polar', 'polygamma', 'positive', 'pow', 'preserve_format', 'prod', 'promote_types', 'put', 'qint32', 'qint4', 'qint8', 'qr', 'qscheme', 'quantile', 'quantize_per_channel', 'quantize_per_tensor', 'quint4x2', 'quint8', 'rad2deg', 'rand', 'rand_like', 'randint', 'randint_like', 'randn', 'randn_like', 'randperm', 'ravel', 'real', 'reciprocal', 'relu', 'remainder', 'renorm', 'repeat', 'repeat_interleave', 'reset_accumulated_memory_stats', 'reset_peak_memory_stats', 'reshape', 'resolve_conj', 'resolve_neg', 'result_type', 'roll', 'rot90', 'round', 'row_stack', 'rsqrt', 'rsub', 'save', 'save_safetensors', 'save_sharded', 'scalar_tensor', 'scatter', 'scatter_add', 'scatter_reduce', 'searchsorted', 'seed', 'segment_reduce', 'select', 'select_scatter', 'set_default_device', 'set_default_dtype', 'set_deterministic', 'set_deterministic_debug_mode', 'set_float32_matmul_precision', 'set_grad_enabled', 'set_num_interop_threads', 'set_num_threads', 'set_printoptions', 'set_rng_state', 'sgn', 'short', 'sigmoid', 'sign', 'signbit', 'silu', 'sin', 'sinc', 'sinh', 'slice_scatter', 'slogdet', 'softmax', 'sort', 'split', 'sqrt', 'square', 'squeeze', 'stack', 'std', 'std_mean', 'stft', 'strided', 'sub', 'subtract', 'sum', 'svd', 'svd_lowrank', 'swapaxes', 'swapdims', 't', 'take', 'take_along_dim', 'tan', 'tanh', 'tensor', 'tensor_split', 'tensordot', 'tile', 'to_dlpack', 'topk', 'trace', 'transpose', 'trapezoid', 'trapz', 'triangular_solve', 'tril', 'tril_indices', 'triu', 'triu_indices', 'true_divide', 'trunc', 'uint16', 'uint32', 'uint8', 'unbind', 'unflatten', 'unique', 'unique_consecutive', 'unravel_index', 'unsqueeze', 'use_deterministic_algorithms', 'vander', 'var', 'var_mean', 'vdot', 'view_as_complex', 'view_as_real', 'vmap', 'vsplit', 'vstack', 'where', 'xlogy', 'zeros', 'zeros_like']
__version__: str
