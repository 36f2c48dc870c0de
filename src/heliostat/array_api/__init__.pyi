"""The Python array API standard over tensors: `x.__array_namespace__()`."""
# Written by `python -m heliostat.stubs` from the functions themselves; changes belong there.

from collections.abc import Sequence
from heliostat.array_api.dtypes import Info
from heliostat.array_api.reduce import Axes
from heliostat.array_api.reduce import UniqueAll
from heliostat.array_api.reduce import UniqueCounts
from heliostat.array_api.reduce import UniqueInverse
from heliostat.array_api.shape import Axes as _Axes
from heliostat.ir.types import DType
from heliostat.tensor.core import Tensor
from heliostat.tensor.dims import Size
from heliostat.tensor.dtypes import finfo as _finfo
from heliostat.tensor.dtypes import iinfo as _iinfo
from typing import Any

from heliostat.array_api import fft as fft
from heliostat.array_api import linalg as linalg

__array_api_version__: str
def __array_namespace_info__() -> Info:
    """What the namespace can do: dtypes, devices, capabilities."""
def abs(x: Tensor, /) -> Tensor:
    """`abs` of every element, as torch.abs."""
def acos(x: Tensor, /) -> Tensor:
    """`acos` of every element, as torch.acos."""
def acosh(x: Tensor, /) -> Tensor:
    """`acosh` of every element, as torch.acosh."""
def add(x1: Any, x2: Any, /) -> Tensor:
    """input + alpha * other."""
def all(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """Whether no element over axes is 0."""
def any(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """Whether some element over axes is not 0."""
def arange(start: float, /, stop: float | None = None, step: float = 1, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """start, start + step ..."""
def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: Any = False) -> Tensor:
    """Where the largest element of an axis stands, or of all."""
def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: Any = False) -> Tensor:
    """Where the smallest element of an axis stands, or of all."""
def argsort(x: Tensor, /, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Tensor:
    """Places of the elements of an axis in order."""
def asarray(obj: Any, /, *, dtype: DType | None = None, device: Any = None, copy: Any = None) -> Tensor:
    """An array of numbers, nested sequences, buffers or arrays."""
def asin(x: Tensor, /) -> Tensor:
    """`asin` of every element, as torch.asin."""
def asinh(x: Tensor, /) -> Tensor:
    """`asinh` of every element, as torch.asinh."""
def astype(x: Tensor, dtype: DType, /, *, copy: Any = True, device: Any = None) -> Tensor:
    """x in another dtype; itself where it has it and copy is False."""
def atan(x: Tensor, /) -> Tensor:
    """`atan` of every element, as torch.atan."""
def atan2(x1: Any, x2: Any, /) -> Tensor:
    """The angle of the point (other, input), -pi .."""
def atanh(x: Tensor, /) -> Tensor:
    """`atanh` of every element, as torch.atanh."""
def bitwise_and(x1: Any, x2: Any, /) -> Tensor:
    """`bitwise_and` of each pair of integers or bools."""
def bitwise_invert(x: Tensor, /) -> Tensor:
    """All bits turned round; of bools the other."""
def bitwise_left_shift(x1: Any, x2: Any, /) -> Tensor:
    """`bitwise_left_shift` of each pair of integers or bools."""
def bitwise_or(x1: Any, x2: Any, /) -> Tensor:
    """`bitwise_or` of each pair of integers or bools."""
def bitwise_right_shift(x1: Any, x2: Any, /) -> Tensor:
    """`bitwise_right_shift` of each pair of integers or bools."""
def bitwise_xor(x1: Any, x2: Any, /) -> Tensor:
    """`bitwise_xor` of each pair of integers or bools."""
bool: DType
def broadcast_arrays(*arrays: Tensor) -> tuple[Tensor, ...]:
    """Arrays in their common shape."""
def broadcast_shapes(*shapes: Any) -> Size:
    """The common shape."""
def broadcast_to(x: Tensor, /, shape: Sequence[int]) -> Tensor:
    """x in a shape that it broadcasts to."""
def can_cast(from_: Any, to: DType, /) -> Any:
    """Whether promotion of both gives `to`."""
def ceil(x: Tensor, /) -> Tensor:
    """`ceil` of every element, as torch.ceil."""
def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """x with smaller elements raised to min and larger ones lowered to max; both broadcast."""
complex128: DType
complex64: DType
def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """Arrays end to end; all elements in a row where axis is None."""
def conj(x: Tensor, /) -> Tensor:
    """input: it has no imaginary part."""
def copysign(x1: Any, x2: Any, /) -> Tensor:
    """The size of input with the sign of other."""
def cos(x: Tensor, /) -> Tensor:
    """`cos` of every element, as torch.cos."""
def cosh(x: Tensor, /) -> Tensor:
    """`cosh` of every element, as torch.cosh."""
def count_nonzero(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """How many elements over axes are not 0."""
def cumulative_prod(x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: Any = False) -> Tensor:
    """Running products along an axis, after a 1 with include_initial."""
def cumulative_sum(x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: Any = False) -> Tensor:
    """Running sums along an axis, after a 0 with include_initial."""
def diff(x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Tensor:
    """n-th differences of neighbours, of x between prepend and append."""
def divide(x1: Any, x2: Any, /) -> Tensor:
    """input / other, as floats; with `rounding_mode` 'floor' or 'trunc' a whole number of the common dtype."""
e: float
def empty(shape: int | Sequence[int], *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """0 everywhere."""
def empty_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """As `empty`, of the shape and dtype of x."""
def equal(x1: Any, x2: Any, /) -> Tensor:
    """`eq` of each pair of elements, as bool."""
def exp(x: Tensor, /) -> Tensor:
    """`exp` of every element, as torch.exp."""
def expand_dims(x: Tensor, /, axis: int | Sequence[int] = 0) -> Tensor:
    """x with new axes of size 1, counted in the result."""
def expm1(x: Tensor, /) -> Tensor:
    """`expm1` of every element, as torch.expm1."""
def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Zeros with ones on the k-th diagonal."""
def finfo(type: Any, /) -> _finfo:
    """The numbers of a float dtype, or of an array's: bits, eps, max, min, smallest_normal."""
def flip(x: Tensor, /, *, axis: _Axes = None) -> Tensor:
    """x in the opposite order along axes, all where None."""
float32: DType
float64: DType
def floor(x: Tensor, /) -> Tensor:
    """`floor` of every element, as torch.floor."""
def floor_divide(x1: Any, x2: Any, /) -> Tensor:
    """input / other rounded down, in the common dtype."""
def from_dlpack(x: Any, /, *, device: Any = None, copy: Any = None) -> Tensor:
    """As `hs.from_dlpack`."""
def full(shape: int | Sequence[int], fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """One number everywhere."""
def full_like(x: Tensor, /, fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """One number everywhere, of the shape and dtype of x."""
def greater(x1: Any, x2: Any, /) -> Tensor:
    """`gt` of each pair of elements, as bool."""
def greater_equal(x1: Any, x2: Any, /) -> Tensor:
    """`ge` of each pair of elements, as bool."""
def hypot(x1: Any, x2: Any, /) -> Tensor:
    """sqrt(input^2 + other^2); infinity where one of them is, beside NaN too."""
def iinfo(type: Any, /) -> _iinfo:
    """The numbers of an integer dtype, or of an array's: bits, max, min."""
def imag(x: Tensor, /) -> Tensor:
    """Imaginary parts of complex numbers."""
inf: float
int16: DType
int32: DType
int64: DType
int8: DType
def isdtype(dtype: DType, kind: Any) -> Any:
    """Whether a dtype is another, of a kind by name, or one of several."""
def isfinite(x: Tensor, /) -> Tensor:
    """Whether each element is neither NaN nor an infinity."""
def isin(x1: Any, x2: Any, /, *, invert: Any = False) -> Tensor:
    """Whether elements of x1 are in x2."""
def isinf(x: Tensor, /) -> Tensor:
    """Whether each element is an infinity."""
def isnan(x: Tensor, /) -> Tensor:
    """Whether each element is NaN."""
def less(x1: Any, x2: Any, /) -> Tensor:
    """`lt` of each pair of elements, as bool."""
def less_equal(x1: Any, x2: Any, /) -> Tensor:
    """`le` of each pair of elements, as bool."""
def linspace(start: float, stop: float, /, num: int, *, dtype: DType | None = None, device: Any = None, endpoint: Any = True) -> Tensor:
    """num numbers in equal steps from start to stop, which is among them with endpoint."""
def log(x: Tensor, /) -> Tensor:
    """`log` of every element, as torch.log."""
def log10(x: Tensor, /) -> Tensor:
    """`log10` of every element, as torch.log10."""
def log1p(x: Tensor, /) -> Tensor:
    """`log1p` of every element, as torch.log1p."""
def log2(x: Tensor, /) -> Tensor:
    """`log2` of every element, as torch.log2."""
def logaddexp(x1: Any, x2: Any, /) -> Tensor:
    """log(exp(input) + exp(other))."""
def logical_and(x1: Any, x2: Any, /) -> Tensor:
    """`logical_and` of each pair of elements, of which all but 0 are true."""
def logical_not(x: Tensor, /) -> Tensor:
    """Whether each element is 0."""
def logical_or(x1: Any, x2: Any, /) -> Tensor:
    """`logical_or` of each pair of elements, of which all but 0 are true."""
def logical_xor(x1: Any, x2: Any, /) -> Tensor:
    """`logical_xor` of each pair of elements, of which all but 0 are true."""
def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of matrices, and of stacks of them."""
def matrix_transpose(x: Tensor, /) -> Tensor:
    """x with its last two axes exchanged."""
def max(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """Largest elements over axes, all where None."""
def maximum(x1: Any, x2: Any, /) -> Tensor:
    """The maximum of each pair of elements; NaN if either is."""
def mean(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """Means over axes, all where None."""
def meshgrid(*arrays: Tensor, indexing: str = 'xy') -> tuple[Tensor, ...]:
    """Coordinates of a grid; 'xy' exchanges the first two axes."""
def min(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """Smallest elements over axes, all where None."""
def minimum(x1: Any, x2: Any, /) -> Tensor:
    """The minimum of each pair of elements; NaN if either is."""
def moveaxis(x: Tensor, source: Any, destination: Any, /) -> Tensor:
    """x with axes at other places."""
def multiply(x1: Any, x2: Any, /) -> Tensor:
    """input * other."""
nan: float
def negative(x: Tensor, /) -> Tensor:
    """`neg` of every element, as torch.neg."""
newaxis: None
def nextafter(x1: Any, x2: Any, /) -> Tensor:
    """The next number after input towards other, in their common dtype."""
def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """Where elements are not 0: an array of numbers for each axis."""
def not_equal(x1: Any, x2: Any, /) -> Tensor:
    """`ne` of each pair of elements, as bool."""
def ones(shape: int | Sequence[int], *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """1 everywhere."""
def ones_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """As `ones`, of the shape and dtype of x."""
def permute_dims(x: Tensor, /, axes: Sequence[int]) -> Tensor:
    """x with its axes in another order."""
pi: float
def positive(x: Tensor, /) -> Tensor:
    """input itself."""
def pow(x1: Any, x2: Any, /) -> Tensor:
    """input ** exponent in the common dtype."""
def prod(x: Tensor, /, *, axis: Axes = None, dtype: DType | None = None, keepdims: Any = False) -> Tensor:
    """Products over axes, all where None."""
def real(x: Tensor, /) -> Tensor:
    """input: it has no imaginary part."""
def reciprocal(x: Tensor, /) -> Tensor:
    """`reciprocal` of every element, as torch.reciprocal."""
def remainder(x1: Any, x2: Any, /) -> Tensor:
    """input - floor(input / other) * other, which has the sign of other."""
def repeat(x: Tensor, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Elements of an axis, each several times; of all in a row where axis is None."""
def reshape(x: Tensor, /, shape: Sequence[int], *, copy: Any = None) -> Tensor:
    """The elements in another shape."""
def result_type(*arrays_and_dtypes: Any) -> DType:
    """The common dtype, whatever the arrays' ranks; Python numbers take part by their kind only."""
def roll(x: Tensor, /, shift: Any, *, axis: _Axes = None) -> Tensor:
    """Elements moved along axes, in at the front what goes out at the end."""
def round(x: Tensor, /) -> Tensor:
    """The nearest whole number, of two the even one; of complex numbers both parts, which PyTorch refuses."""
def searchsorted(x1: Tensor, x2: Any, /, *, side: str = 'left', sorter: Tensor | None = None) -> Tensor:
    """Where to put elements of x2, an array or a number, into x1 so that it stays in order."""
def sign(x: Tensor, /) -> Tensor:
    """-1, 0 or 1 as each element; NaN of NaN, where PyTorch has 0."""
def signbit(x: Tensor, /) -> Tensor:
    """Whether the sign of an element is set, of zeros and NaN too."""
def sin(x: Tensor, /) -> Tensor:
    """`sin` of every element, as torch.sin."""
def sinh(x: Tensor, /) -> Tensor:
    """`sinh` of every element, as torch.sinh."""
def sort(x: Tensor, /, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Tensor:
    """Elements of an axis in order."""
def sqrt(x: Tensor, /) -> Tensor:
    """`sqrt` of every element, as torch.sqrt."""
def square(x: Tensor, /) -> Tensor:
    """`square` of every element, as torch.square."""
def squeeze(x: Tensor, /, axis: int | Sequence[int]) -> Tensor:
    """x without axes of size 1."""
def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Arrays along a new axis."""
def std(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: Any = False) -> Tensor:
    """Square roots of variances."""
def subtract(x1: Any, x2: Any, /) -> Tensor:
    """input - alpha * other."""
def sum(x: Tensor, /, *, axis: Axes = None, dtype: DType | None = None, keepdims: Any = False) -> Tensor:
    """Sums over axes, all where None."""
def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """Elements of an axis by number."""
def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """Elements by number along an axis, at the places of indices."""
def tan(x: Tensor, /) -> Tensor:
    """`tan` of every element, as torch.tan."""
def tanh(x: Tensor, /) -> Tensor:
    """`tanh` of every element, as torch.tanh."""
def tensordot(x1: Tensor, x2: Tensor, /, *, axes: Any = 2) -> Tensor:
    """Sums of products over axes of both."""
def tile(x: Tensor, repetitions: Sequence[int], /) -> Tensor:
    """x several times along each axis."""
def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The lower triangle, up to the k-th diagonal."""
def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The upper triangle, from the k-th diagonal on."""
def trunc(x: Tensor, /) -> Tensor:
    """`trunc` of every element, as torch.trunc."""
uint16: DType
uint32: DType
uint8: DType
def unique_all(x: Tensor, /) -> UniqueAll:
    """The different elements of x in order; each NaN is different."""
def unique_counts(x: Tensor, /) -> UniqueCounts:
    """The different elements of x in order."""
def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """The different elements of x in order."""
def unique_values(x: Tensor, /) -> Tensor:
    """The different elements of x in order."""
def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts of x along an axis."""
def var(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: Any = False) -> Tensor:
    """Variances over axes, all where None: sums of squares by the number of elements less `correction`."""
def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Sums of products over an axis of both, which is counted from the back."""
def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """x1 where the condition holds, else x2."""
def zeros(shape: int | Sequence[int], *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """0 everywhere."""
def zeros_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """As `zeros`, of the shape and dtype of x."""

__all__ = ['__array_api_version__', '__array_namespace_info__', 'abs', 'acos', 'acosh', 'add', 'all', 'any', 'arange', 'argmax', 'argmin', 'argsort', 'asarray', 'asin', 'asinh', 'astype', 'atan', 'atan2', 'atanh', 'bitwise_and', 'bitwise_invert', 'bitwise_left_shift', 'bitwise_or', 'bitwise_right_shift', 'bitwise_xor', 'bool', 'broadcast_arrays', 'broadcast_shapes', 'broadcast_to', 'can_cast', 'ceil', 'clip', 'complex128', 'complex64', 'concat', 'conj', 'copysign', 'cos', 'cosh', 'count_nonzero', 'cumulative_prod', 'cumulative_sum', 'diff', 'divide', 'e', 'empty', 'empty_like', 'equal', 'exp', 'expand_dims', 'expm1', 'eye', 'fft', 'finfo', 'flip', 'float32', 'float64', 'floor', 'floor_divide', 'from_dlpack', 'full', 'full_like', 'greater', 'greater_equal', 'hypot', 'iinfo', 'imag', 'inf', 'int16', 'int32', 'int64', 'int8', 'isdtype', 'isfinite', 'isin', 'isinf', 'isnan', 'less', 'less_equal', 'linalg', 'linspace', 'log', 'log10', 'log1p', 'log2', 'logaddexp', 'logical_and', 'logical_not', 'logical_or', 'logical_xor', 'matmul', 'matrix_transpose', 'max', 'maximum', 'mean', 'meshgrid', 'min', 'minimum', 'moveaxis', 'multiply', 'nan', 'negative', 'newaxis', 'nextafter', 'nonzero', 'not_equal', 'ones', 'ones_like', 'permute_dims', 'pi', 'positive', 'pow', 'prod', 'real', 'reciprocal', 'remainder', 'repeat', 'reshape', 'result_type', 'roll', 'round', 'searchsorted', 'sign', 'signbit', 'sin', 'sinh', 'sort', 'sqrt', 'square', 'squeeze', 'stack', 'std', 'subtract', 'sum', 'take', 'take_along_axis', 'tan', 'tanh', 'tensordot', 'tile', 'tril', 'triu', 'trunc', 'uint16', 'uint32', 'uint8', 'unique_all', 'unique_counts', 'unique_inverse', 'unique_values', 'unstack', 'var', 'vecdot', 'where', 'zeros', 'zeros_like']
