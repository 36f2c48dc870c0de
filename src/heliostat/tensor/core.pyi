"""`Tensor`: a lazy value with a gradient's bookkeeping, views that write through, and PyTorch's attributes."""
# Written by `python -m heliostat.stubs` from the functions themselves; changes belong there.

from builtins import bool as _bool
from builtins import float as _float
from builtins import int as _int
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from heliostat.ir.graph import Value
from heliostat.ir.types import DType
from heliostat.tensor.buckets import Histogram
from heliostat.tensor.devices import Device
from heliostat.tensor.dims import Size
from heliostat.tensor.factor import QR
from heliostat.tensor.factor import SVD
from heliostat.tensor.factor import SignLog
from heliostat.tensor.memory_formats import layout as _layout
from heliostat.tensor.operators import Operand
from heliostat.tensor.parts import Frexp
from heliostat.tensor.pointwise import Numeric
from heliostat.tensor.random import Generator
from heliostat.tensor.reading import Array
from heliostat.tensor.reduce import Dims
from heliostat.tensor.reduce import MinMax
from heliostat.tensor.reduce import ValuesIndices
from heliostat.tensor.storage import UntypedStorage
from heliostat.tensor.triangles import Reflections
from heliostat.tensor.triangles import TriangularSolution
from typing import Any
from typing import Literal
from typing import overload

class Tensor:
    """An array of one dtype, computed when it is read."""
    @property
    def H(self) -> Tensor: ...
    @property
    def T(self) -> Tensor: ...
    @property
    def data(self) -> Tensor:
        """The same values, without gradients."""
    @data.setter
    def data(self, other: Tensor) -> None: ...
    @property
    def device(self) -> Device:
        """Where it lies."""
    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
    @property
    def grad(self) -> Tensor | None:
        """The gradient gathered so far, None before the first."""
    @grad.setter
    def grad(self, g: Tensor | None) -> None: ...
    @property
    def grad_fn(self) -> Any:
        """What made the tensor, by name; None for leaves."""
    @property
    def imag(self) -> Tensor:
        """Imaginary parts, a view of a complex tensor."""
    @property
    def is_cpu(self) -> _bool: ...
    @property
    def is_cuda(self) -> _bool: ...
    @property
    def is_leaf(self) -> _bool:
        """Whether no function made it that gradients flow through."""
    @property
    def is_meta(self) -> _bool: ...
    @property
    def is_mkldnn(self) -> _bool: ...
    @property
    def is_mps(self) -> _bool: ...
    @property
    def is_mtia(self) -> _bool: ...
    @property
    def is_nested(self) -> _bool: ...
    @property
    def is_quantized(self) -> _bool: ...
    @property
    def is_sparse(self) -> _bool: ...
    @property
    def is_sparse_csr(self) -> _bool: ...
    @property
    def is_vulkan(self) -> _bool: ...
    @property
    def is_xla(self) -> _bool: ...
    @property
    def is_xpu(self) -> _bool: ...
    @property
    def itemsize(self) -> _int: ...
    @property
    def layout(self) -> _layout: ...
    @property
    def mH(self) -> Tensor: ...
    @property
    def mT(self) -> Tensor: ...
    @property
    def nbytes(self) -> _int: ...
    @property
    def ndim(self) -> _int:
        """The number of axes."""
    @property
    def real(self) -> Tensor: ...
    @property
    def requires_grad(self) -> _bool:
        """Whether gradients flow to or through this tensor."""
    @requires_grad.setter
    def requires_grad(self, on: _bool) -> None: ...
    @property
    def retains_grad(self) -> _bool:
        """Whether `retain_grad` was called."""
    @property
    def shape(self) -> Size:
        """The sizes of the axes."""
    @property
    def type_(self) -> Tensor:
        """The graph type."""
    @property
    def value(self) -> Value:
        """The graph value, of a view that of its base as it is now."""
    def __abs__(self, *, out: Tensor | None = None) -> Tensor:
        """`abs` of every element, as torch.abs."""
    def __add__(self, other: Operand) -> Tensor: ...
    def __and__(self, other: Operand) -> Tensor: ...
    def __array__(self, dtype: Any = None, copy: _bool | None = None) -> Array: ...
    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """`heliostat.array_api`."""
    def __bool__(self) -> _bool: ...
    def __complex__(self) -> builtins.complex:
        """The element of a tensor of one."""
    def __contains__(self, item: Any) -> _bool: ...
    def __deepcopy__(self, memo: Any) -> Tensor: ...
    def __divmod__(self, other: Operand) -> tuple[Tensor, Tensor]: ...
    def __dlpack__(self, *, stream: Any = None, max_version: tuple[_int, _int] | None = None, dl_device: tuple[Any, _int] | None = None, copy: _bool | None = None) -> Any:
        """A capsule over a copy of the data; with copy=False over the data itself, marked as read-only, for who takes version 1 of DLPack."""
    def __dlpack_device__(self) -> tuple[_int, _int]:
        """(1, 0) for the cpu, (2, N) for GPU N."""
    def __eq__(self, other: Operand) -> Tensor: ...  # type: ignore[override]
    def __float__(self) -> _float: ...
    def __floordiv__(self, other: Operand) -> Tensor: ...
    def __format__(self, spec: str) -> str:
        """Default object formatter."""
    def __ge__(self, other: Operand) -> Tensor: ...
    def __getitem__(self, index: Any) -> Tensor:
        """A view for integers, slices, None and Ellipsis; elements by number for integer tensors and masks."""
    def __gt__(self, other: Operand) -> Tensor: ...
    def __iadd__(self, other: Operand) -> Tensor: ...
    def __iand__(self, other: Operand) -> Tensor: ...
    def __ifloordiv__(self, other: Operand) -> Tensor: ...
    def __ilshift__(self, other: Operand) -> Tensor: ...
    def __imod__(self, other: Operand) -> Tensor: ...
    def __imul__(self, other: Operand) -> Tensor: ...
    def __index__(self) -> _int: ...
    def __int__(self) -> _int: ...
    def __invert__(self, *, out: Tensor | None = None) -> Tensor:
        """All bits turned round; of bools the other."""
    def __ior__(self, other: Operand) -> Tensor: ...
    def __ipow__(self, other: Operand) -> Tensor: ...
    def __irshift__(self, other: Operand) -> Tensor: ...
    def __isub__(self, other: Operand) -> Tensor: ...
    def __iter__(self) -> Iterator[Tensor]: ...
    def __itruediv__(self, other: Operand) -> Tensor: ...
    def __ixor__(self, other: Operand) -> Tensor: ...
    def __le__(self, other: Operand) -> Tensor: ...
    def __len__(self) -> _int: ...
    def __lshift__(self, other: Operand) -> Tensor: ...
    def __lt__(self, other: Operand) -> Tensor: ...
    def __matmul__(self, other: Operand) -> Tensor: ...
    def __mod__(self, other: Operand) -> Tensor: ...
    def __mul__(self, other: Operand) -> Tensor: ...
    def __ne__(self, other: Operand) -> Tensor: ...  # type: ignore[override]
    def __neg__(self, *, out: Tensor | None = None) -> Tensor:
        """`neg` of every element, as torch.neg."""
    def __new__(cls, *data: Any, **kwargs: Any) -> Tensor:
        """Of numbers, zeros of these sizes; of a sequence or an array, a copy in the default dtype; of a tensor, its values."""
    def __or__(self, other: Operand) -> Tensor: ...
    def __pos__(self) -> Tensor:
        """input itself."""
    def __pow__(self, other: Operand) -> Tensor: ...
    def __radd__(self, other: Operand) -> Tensor: ...
    def __rand__(self, other: Operand) -> Tensor: ...
    def __reduce__(self) -> Any:
        """Helper for pickle."""
    def __repr__(self) -> str:
        """Return repr(self)."""
    def __rfloordiv__(self, other: Operand) -> Tensor: ...
    def __rlshift__(self, other: Operand) -> Tensor: ...
    def __rmatmul__(self, other: Operand) -> Tensor: ...
    def __rmod__(self, other: Operand) -> Tensor: ...
    def __rmul__(self, other: Operand) -> Tensor: ...
    def __ror__(self, other: Operand) -> Tensor: ...
    def __rpow__(self, other: Operand) -> Tensor: ...
    def __rrshift__(self, other: Operand) -> Tensor: ...
    def __rshift__(self, other: Operand) -> Tensor: ...
    def __rsub__(self, other: Operand) -> Tensor: ...
    def __rtruediv__(self, other: Operand) -> Tensor: ...
    def __rxor__(self, other: Operand) -> Tensor: ...
    def __setitem__(self, index: Any, value: Any) -> None:
        """Write a number or a tensor, which is broadcast, to part of this tensor."""
    def __sub__(self, other: Operand) -> Tensor: ...
    def __truediv__(self, other: Operand) -> Tensor: ...
    def __xor__(self, other: Operand) -> Tensor: ...
    def abs(self, *, out: Tensor | None = None) -> Tensor:
        """`abs` of every element, as torch.abs."""
    def abs_(self) -> Tensor:
        """`abs`, written into this tensor, which is returned."""
    def absolute(self, *, out: Tensor | None = None) -> Tensor:
        """`abs` of every element, as torch.abs."""
    def absolute_(self) -> Tensor:
        """`absolute`, written into this tensor, which is returned."""
    def acos(self, *, out: Tensor | None = None) -> Tensor:
        """`acos` of every element, as torch.acos."""
    def acos_(self) -> Tensor:
        """`acos`, written into this tensor, which is returned."""
    def acosh(self, *, out: Tensor | None = None) -> Tensor:
        """`acosh` of every element, as torch.acosh."""
    def acosh_(self) -> Tensor:
        """`acosh`, written into this tensor, which is returned."""
    def add(self, other: Numeric, *, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
        """input + alpha * other."""
    def add_(self, other: Numeric, *, alpha: _float = 1) -> Tensor:
        """`add`, written into this tensor, which is returned."""
    def addbmm(self, batch1: Tensor, batch2: Tensor, *, beta: _float = 1, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
        """beta * input + alpha * bmm(batch1, batch2).sum(0)."""
    def addbmm_(self, batch1: Tensor, batch2: Tensor, *, beta: _float = 1, alpha: _float = 1) -> Tensor:
        """`addbmm`, written into this tensor, which is returned."""
    def addcdiv(self, tensor1: Tensor, tensor2: Tensor, *, value: _float = 1, out: Tensor | None = None) -> Tensor:
        """input + value * tensor1 / tensor2."""
    def addcdiv_(self, tensor1: Tensor, tensor2: Tensor, *, value: _float = 1) -> Tensor:
        """`addcdiv`, written into this tensor, which is returned."""
    def addcmul(self, tensor1: Tensor, tensor2: Tensor, *, value: _float = 1, out: Tensor | None = None) -> Tensor:
        """input + value * tensor1 * tensor2."""
    def addcmul_(self, tensor1: Tensor, tensor2: Tensor, *, value: _float = 1) -> Tensor:
        """`addcmul`, written into this tensor, which is returned."""
    def addmm(self, mat1: Tensor, mat2: Tensor, *, beta: _float = 1, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
        """beta * input + alpha * mm(mat1, mat2)."""
    def addmm_(self, mat1: Tensor, mat2: Tensor, *, beta: _float = 1, alpha: _float = 1) -> Tensor:
        """`addmm`, written into this tensor, which is returned."""
    def addmv(self, mat: Tensor, vec: Tensor, *, beta: _float = 1, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
        """beta * input + alpha * mv(mat, vec)."""
    def addmv_(self, mat: Tensor, vec: Tensor, *, beta: _float = 1, alpha: _float = 1) -> Tensor:
        """`addmv`, written into this tensor, which is returned."""
    def addr(self, vec1: Tensor, vec2: Tensor, *, beta: _float = 1, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
        """beta * input + alpha * outer(vec1, vec2)."""
    def addr_(self, vec1: Tensor, vec2: Tensor, *, beta: _float = 1, alpha: _float = 1) -> Tensor:
        """`addr`, written into this tensor, which is returned."""
    def adjoint(self) -> Tensor:
        """Matrices transposed: the last two axes change places."""
    def all(self, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Whether all elements are true (not 0); of uint8 as uint8, as PyTorch has it."""
    def allclose(self, other: Tensor, rtol: _float = 1e-05, atol: _float = 1e-08, equal_nan: _bool = False) -> _bool:
        """Whether `isclose` holds for all elements."""
    def amax(self, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Largest elements over axes; equal ones share the gradient."""
    def amin(self, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Smallest elements over axes; equal ones share the gradient."""
    def aminmax(self, *, dim: _int | None = None, keepdim: _bool = False, axis: _int | None = None, keepdims: _bool = False, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> MinMax:
        """Smallest and largest elements."""
    def angle(self, *, out: Tensor | None = None) -> Tensor:
        """pi for negative elements, 0 for others, NaN for NaN; as floats."""
    def any(self, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Whether an element is true (not 0); of uint8 as uint8, as PyTorch has it."""
    def arccos(self, *, out: Tensor | None = None) -> Tensor:
        """`acos` of every element, as torch.acos."""
    def arccos_(self) -> Tensor:
        """`arccos`, written into this tensor, which is returned."""
    def arccosh(self, *, out: Tensor | None = None) -> Tensor:
        """`acosh` of every element, as torch.acosh."""
    def arccosh_(self) -> Tensor:
        """`arccosh`, written into this tensor, which is returned."""
    def arcsin(self, *, out: Tensor | None = None) -> Tensor:
        """`asin` of every element, as torch.asin."""
    def arcsin_(self) -> Tensor:
        """`arcsin`, written into this tensor, which is returned."""
    def arcsinh(self, *, out: Tensor | None = None) -> Tensor:
        """`asinh` of every element, as torch.asinh."""
    def arcsinh_(self) -> Tensor:
        """`arcsinh`, written into this tensor, which is returned."""
    def arctan(self, *, out: Tensor | None = None) -> Tensor:
        """`atan` of every element, as torch.atan."""
    def arctan2(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The angle of the point (other, input), -pi .."""
    def arctan2_(self, other: Tensor) -> Tensor:
        """`arctan2`, written into this tensor, which is returned."""
    def arctan_(self) -> Tensor:
        """`arctan`, written into this tensor, which is returned."""
    def arctanh(self, *, out: Tensor | None = None) -> Tensor:
        """`atanh` of every element, as torch.atanh."""
    def arctanh_(self) -> Tensor:
        """`arctanh`, written into this tensor, which is returned."""
    def argmax(self, dim: _int | None = None, keepdim: _bool = False, *, axis: _int | None = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Where the first largest element stands, along an axis or among all elements in order."""
    def argmin(self, dim: _int | None = None, keepdim: _bool = False, *, axis: _int | None = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Where the first smallest element stands."""
    def argsort(self, dim: _int = -1, descending: _bool = False, stable: _bool = False, *, axis: _int = -1, out: Tensor | None = None) -> Tensor:
        """Places of the elements of an axis in order."""
    def argwhere(self) -> Tensor:
        """Where elements are not 0: (n, rank)."""
    def array(self) -> Array:
        """The data as a read-only array over the tensor's memory; bf16 as float32."""
    def as_strided(self, size: Sequence[_int], stride: Sequence[_int], storage_offset: _int | None = None) -> Tensor:
        """Element i, j, ..."""
    def as_strided_(self, size: Sequence[_int], stride: Sequence[_int], storage_offset: _int | None = None) -> Tensor:
        """Make this tensor its own `as_strided`."""
    def as_strided_scatter(self, src: Tensor, size: Sequence[_int], stride: Sequence[_int], storage_offset: _int | None = None) -> Tensor:
        """input with src written to what `as_strided` gives."""
    def asin(self, *, out: Tensor | None = None) -> Tensor:
        """`asin` of every element, as torch.asin."""
    def asin_(self) -> Tensor:
        """`asin`, written into this tensor, which is returned."""
    def asinh(self, *, out: Tensor | None = None) -> Tensor:
        """`asinh` of every element, as torch.asinh."""
    def asinh_(self) -> Tensor:
        """`asinh`, written into this tensor, which is returned."""
    def atan(self, *, out: Tensor | None = None) -> Tensor:
        """`atan` of every element, as torch.atan."""
    def atan2(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The angle of the point (other, input), -pi .."""
    def atan2_(self, other: Tensor) -> Tensor:
        """`atan2`, written into this tensor, which is returned."""
    def atan_(self) -> Tensor:
        """`atan`, written into this tensor, which is returned."""
    def atanh(self, *, out: Tensor | None = None) -> Tensor:
        """`atanh` of every element, as torch.atanh."""
    def atanh_(self) -> Tensor:
        """`atanh`, written into this tensor, which is returned."""
    def backward(self, gradient: Tensor | None = None, retain_graph: _bool | None = None, create_graph: _bool = False, inputs: Any = None) -> None:
        """Add the gradients of this tensor to the `grad` of the leaves behind it."""
    def baddbmm(self, batch1: Tensor, batch2: Tensor, *, beta: _float = 1, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
        """beta * input + alpha * bmm(batch1, batch2)."""
    def baddbmm_(self, batch1: Tensor, batch2: Tensor, *, beta: _float = 1, alpha: _float = 1) -> Tensor:
        """`baddbmm`, written into this tensor, which is returned."""
    def bernoulli(self, p: _float | None = None, *, generator: Generator | None = None, out: Tensor | None = None) -> Tensor:
        """1 with a probability, that of each element or p; else 0."""
    def bernoulli_(self, *args: Any, generator: Generator | None = None, **kwargs: Any) -> Tensor:
        """Fill with random numbers: bernoulli."""
    def bfloat16(self, memory_format: Any = None) -> Tensor:
        """This tensor in bf16."""
    def bincount(self, weights: Tensor | None = None, minlength: _int = 0) -> Tensor:
        """How often each number from 0 on occurs, or the sum of its weights."""
    def bitwise_and(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`bitwise_and` of each pair of integers or bools."""
    def bitwise_and_(self, other: Numeric) -> Tensor:
        """`bitwise_and`, written into this tensor, which is returned."""
    def bitwise_left_shift(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`bitwise_left_shift` of each pair of integers or bools."""
    def bitwise_left_shift_(self, other: Numeric) -> Tensor:
        """`bitwise_left_shift`, written into this tensor, which is returned."""
    def bitwise_not(self, *, out: Tensor | None = None) -> Tensor:
        """All bits turned round; of bools the other."""
    def bitwise_not_(self) -> Tensor:
        """`bitwise_not`, written into this tensor, which is returned."""
    def bitwise_or(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`bitwise_or` of each pair of integers or bools."""
    def bitwise_or_(self, other: Numeric) -> Tensor:
        """`bitwise_or`, written into this tensor, which is returned."""
    def bitwise_right_shift(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`bitwise_right_shift` of each pair of integers or bools."""
    def bitwise_right_shift_(self, other: Numeric) -> Tensor:
        """`bitwise_right_shift`, written into this tensor, which is returned."""
    def bitwise_xor(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`bitwise_xor` of each pair of integers or bools."""
    def bitwise_xor_(self, other: Numeric) -> Tensor:
        """`bitwise_xor`, written into this tensor, which is returned."""
    def bmm(self, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Products of two stacks of matrices of one length."""
    def bool(self, memory_format: Any = None) -> Tensor:
        """This tensor in bool."""
    def broadcast_to(self, size: Sequence[_int]) -> Tensor:
        """Expanded to a shape."""
    def bucketize(self, boundaries: Tensor, *, out_int32: _bool = False, right: _bool = False, out: Tensor | None = None) -> Tensor:
        """The number of the bucket of each element, between boundaries (N,) in order; see `searchsorted`."""
    def byte(self, memory_format: Any = None) -> Tensor:
        """This tensor in u8."""
    def cauchy_(self, *args: Any, generator: Generator | None = None, **kwargs: Any) -> Tensor:
        """Fill with random numbers: cauchy."""
    def cdouble(self) -> Tensor:
        """This tensor in complex128."""
    def ceil(self, *, out: Tensor | None = None) -> Tensor:
        """`ceil` of every element, as torch.ceil."""
    def ceil_(self) -> Tensor:
        """`ceil`, written into this tensor, which is returned."""
    def cfloat(self) -> Tensor:
        """This tensor in complex64."""
    def char(self, memory_format: Any = None) -> Tensor:
        """This tensor in i8."""
    def cholesky(self, upper: _bool = False, *, out: Tensor | None = None) -> Tensor:
        """L with L L^T = x, lower triangular, of symmetric positive matrices (..., N, N); L^T if `upper`."""
    def cholesky_inverse(self, upper: _bool = False, *, out: Tensor | None = None) -> Tensor:
        """The inverse of x of its triangle L of `cholesky`, or L^T if `upper`: (..., N, N)."""
    def cholesky_solve(self, input2: Tensor, upper: _bool = False, *, out: Tensor | None = None) -> Tensor:
        """The y with x y = input (..., N, K), of x's triangle input2 (..., N, N) of `cholesky`."""
    def chunk(self, chunks: _int, dim: _int = 0, *, axis: _int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` pieces of an axis, all of one size but for the last."""
    def clamp(self, min: Any = None, max: Any = None, *, out: Tensor | None = None) -> Tensor:
        """input, but not below min and not above max; NaN where a bound is."""
    def clamp_(self, min: Any = None, max: Any = None) -> Tensor:
        """`clamp`, written into this tensor, which is returned."""
    def clamp_max(self, max: Any, *, out: Tensor | None = None) -> Tensor:
        """input, but not above max."""
    def clamp_max_(self, max: Any) -> Tensor:
        """`clamp_max`, written into this tensor, which is returned."""
    def clamp_min(self, min: Any, *, out: Tensor | None = None) -> Tensor:
        """input, but not below min."""
    def clamp_min_(self, min: Any) -> Tensor:
        """`clamp_min`, written into this tensor, which is returned."""
    def clip(self, min: Any = None, max: Any = None, *, out: Tensor | None = None) -> Tensor:
        """input, but not below min and not above max; NaN where a bound is."""
    def clip_(self, min: Any = None, max: Any = None) -> Tensor:
        """`clip`, written into this tensor, which is returned."""
    def clone(self, *, memory_format: Any = None) -> Tensor:
        """A tensor of its own with the same values."""
    def conj(self) -> Tensor:
        """input: it has no imaginary part."""
    def conj_physical(self, *, out: Tensor | None = None) -> Tensor:
        """input: it has no imaginary part."""
    def conj_physical_(self) -> Tensor:
        """`conj_physical`, written into this tensor, which is returned."""
    def contiguous(self, memory_format: Any = None) -> Tensor:
        """This tensor; of a view in another order a copy."""
    def copy_(self, src: Any, non_blocking: _bool = False) -> Tensor:
        """Write the values of another tensor, broadcast to this shape and in this dtype."""
    def copysign(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """The size of input with the sign of other."""
    def copysign_(self, other: Numeric) -> Tensor:
        """`copysign`, written into this tensor, which is returned."""
    def corrcoef(self) -> Tensor:
        """Correlation of variables (rows) over observations (columns)."""
    def cos(self, *, out: Tensor | None = None) -> Tensor:
        """`cos` of every element, as torch.cos."""
    def cos_(self) -> Tensor:
        """`cos`, written into this tensor, which is returned."""
    def cosh(self, *, out: Tensor | None = None) -> Tensor:
        """`cosh` of every element, as torch.cosh."""
    def cosh_(self) -> Tensor:
        """`cosh`, written into this tensor, which is returned."""
    def count_nonzero(self, dim: Dims = None, *, axis: Dims = None) -> Tensor:
        """How many elements are not 0."""
    def cov(self, *, correction: _int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None) -> Tensor:
        """Covariance of variables (rows) over observations (columns), which count `fweights` times and have the weights `aweights`, both (N,)."""
    def cpu(self, memory_format: Any = None) -> Tensor:
        """This tensor on the cpu; itself if it is there."""
    def cross(self, other: Tensor, dim: _int | None = None, *, axis: _int | None = None, out: Tensor | None = None) -> Tensor:
        """Cross product of vectors of 3 elements along an axis, the first of that size where none is named."""
    def cuda(self, device: Any = None, non_blocking: _bool = False, memory_format: Any = None) -> Tensor:
        """This tensor on a GPU, the current one where none is named; itself if it is there."""
    @overload
    def cummax(self, dim: _int, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
        """Largest elements so far along an axis, and where the last of them stands."""
    @overload
    def cummax(self, axis: _int, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
    @overload
    def cummin(self, dim: _int, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
        """Smallest elements so far along an axis, and where the last of them stands."""
    @overload
    def cummin(self, axis: _int, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
    @overload
    def cumprod(self, dim: _int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor:
        """Running products along an axis; integers in int64."""
    @overload
    def cumprod(self, axis: _int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor: ...
    def cumprod_(self, dim: _int, *, dtype: Any = None) -> Tensor:
        """`cumprod`, written into this tensor, which is returned."""
    @overload
    def cumsum(self, dim: _int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor:
        """Running sums along an axis; integers in int64."""
    @overload
    def cumsum(self, axis: _int, *, dtype: Any = None, out: Tensor | None = None) -> Tensor: ...
    def cumsum_(self, dim: _int, *, dtype: Any = None) -> Tensor:
        """`cumsum`, written into this tensor, which is returned."""
    def data_ptr(self) -> _int:
        """The address of the first element, of a view that within its base; 0 of a tensor without data."""
    def deg2rad(self, *, out: Tensor | None = None) -> Tensor:
        """`deg2rad` of every element, as torch.deg2rad."""
    def deg2rad_(self) -> Tensor:
        """`deg2rad`, written into this tensor, which is returned."""
    def dequantize(self) -> Tensor:
        """This tensor in float32, which it is."""
    def det(self) -> Tensor:
        """Determinants of square matrices (..., N, N)."""
    def detach(self) -> Tensor:
        """The same values, through which no gradient flows: of a leaf a view, of what functions made a copy."""
    def detach_(self) -> Tensor:
        """Cut this tensor off from what made it."""
    def diag(self, diagonal: _int = 0, *, out: Tensor | None = None) -> Tensor:
        """The matrix with a vector on its diagonal, or the diagonal of a matrix."""
    def diag_embed(self, offset: _int = 0, dim1: _int = -2, dim2: _int = -1) -> Tensor:
        """Matrices with the last axis on a diagonal, in two new axes."""
    def diagflat(self, offset: _int = 0) -> Tensor:
        """The matrix with all elements on its diagonal."""
    def diagonal(self, offset: _int = 0, dim1: _int = 0, dim2: _int = 1) -> Tensor:
        """Elements (i, i + offset) of two axes, along a new last axis: a view."""
    def diagonal_scatter(self, src: Tensor, offset: _int = 0, dim1: _int = 0, dim2: _int = 1) -> Tensor:
        """input with a diagonal replaced."""
    def diff(self, n: _int = 1, dim: _int = -1, prepend: Tensor | None = None, append: Tensor | None = None, *, axis: _int = -1, out: Tensor | None = None) -> Tensor:
        """Differences of neighbours along an axis, n times, of input between prepend and append."""
    def digamma(self, *, out: Tensor | None = None) -> Tensor:
        """Derivative of the logarithm of the gamma function."""
    def digamma_(self) -> Tensor:
        """`digamma`, written into this tensor, which is returned."""
    def dim(self) -> _int:
        """The number of axes."""
    def dim_order(self) -> tuple[_int, ...]:
        """The axes from the slowest to the fastest: their order."""
    def dist(self, other: Tensor, p: _float = 2) -> Tensor:
        """Norm of input - other."""
    def div(self, other: Numeric, *, rounding_mode: str | None = None, out: Tensor | None = None) -> Tensor:
        """input / other, as floats; with `rounding_mode` 'floor' or 'trunc' a whole number of the common dtype."""
    def div_(self, other: Numeric, *, rounding_mode: str | None = None) -> Tensor:
        """`div`, written into this tensor, which is returned."""
    def divide(self, other: Numeric, *, rounding_mode: str | None = None, out: Tensor | None = None) -> Tensor:
        """input / other, as floats; with `rounding_mode` 'floor' or 'trunc' a whole number of the common dtype."""
    def divide_(self, other: Numeric, *, rounding_mode: str | None = None) -> Tensor:
        """`divide`, written into this tensor, which is returned."""
    def dot(self, tensor: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Product of two vectors."""
    def double(self, memory_format: Any = None) -> Tensor:
        """This tensor in f64."""
    def dsplit(self, sections: Any) -> tuple[Tensor, ...]:
        """Pieces of the third axis."""
    def element_size(self) -> _int:
        """Bytes of an element."""
    def eq(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`eq` of each pair of elements, as bool."""
    def eq_(self, other: Numeric) -> Tensor:
        """`eq`, written into this tensor, which is returned."""
    def equal(self, other: Tensor) -> _bool:
        """Whether both have one shape and equal elements."""
    def erf(self, *, out: Tensor | None = None) -> Tensor:
        """`erf` of every element, as torch.erf."""
    def erf_(self) -> Tensor:
        """`erf`, written into this tensor, which is returned."""
    def erfc(self, *, out: Tensor | None = None) -> Tensor:
        """1 - erf(x); small values keep their digits."""
    def erfc_(self) -> Tensor:
        """`erfc`, written into this tensor, which is returned."""
    def erfinv(self, *, out: Tensor | None = None) -> Tensor:
        """The x whose erf is given."""
    def erfinv_(self) -> Tensor:
        """`erfinv`, written into this tensor, which is returned."""
    def exp(self, *, out: Tensor | None = None) -> Tensor:
        """`exp` of every element, as torch.exp."""
    def exp2(self, *, out: Tensor | None = None) -> Tensor:
        """`exp2` of every element, as torch.exp2."""
    def exp2_(self) -> Tensor:
        """`exp2`, written into this tensor, which is returned."""
    def exp_(self) -> Tensor:
        """`exp`, written into this tensor, which is returned."""
    def expand(self, *size: Any) -> Tensor:
        """Repeated along axes of size 1 and new leading axes; -1 keeps a size: a view."""
    def expand_as(self, other: Tensor) -> Tensor:
        """Expanded to the shape of another."""
    def expm1(self, *, out: Tensor | None = None) -> Tensor:
        """`expm1` of every element, as torch.expm1."""
    def expm1_(self) -> Tensor:
        """`expm1`, written into this tensor, which is returned."""
    def exponential_(self, *args: Any, generator: Generator | None = None, **kwargs: Any) -> Tensor:
        """Fill with random numbers: exponential."""
    def fill_(self, value: Any) -> Tensor:
        """Write one number everywhere."""
    def fill_diagonal_(self, fill_value: _float, wrap: _bool = False) -> Tensor:
        """Write a number on the main diagonal; with `wrap` of a tall matrix again below, a row left out between."""
    def fix(self, *, out: Tensor | None = None) -> Tensor:
        """`trunc` of every element, as torch.trunc."""
    def fix_(self) -> Tensor:
        """`fix`, written into this tensor, which is returned."""
    def flatten(self, start_dim: _int = 0, end_dim: _int = -1) -> Tensor:
        """Axes from start_dim to end_dim as one."""
    def flip(self, *given: Any, dims: Any = None) -> Tensor:
        """Elements of axes, `dims` or one after the other, in the opposite order."""
    def fliplr(self) -> Tensor:
        """Columns in the opposite order."""
    def flipud(self) -> Tensor:
        """Rows in the opposite order."""
    def float(self, memory_format: Any = None) -> Tensor:
        """This tensor in f32."""
    def float_power(self, exponent: Numeric, *, out: Tensor | None = None) -> Tensor:
        """input ** exponent in float64."""
    def float_power_(self, exponent: Numeric) -> Tensor:
        """`float_power`, written into this tensor, which is returned."""
    def floor(self, *, out: Tensor | None = None) -> Tensor:
        """`floor` of every element, as torch.floor."""
    def floor_(self) -> Tensor:
        """`floor`, written into this tensor, which is returned."""
    def floor_divide(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """input / other rounded down, in the common dtype."""
    def floor_divide_(self, other: Numeric) -> Tensor:
        """`floor_divide`, written into this tensor, which is returned."""
    def fmax(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The larger of each pair; of a number and NaN the number."""
    def fmin(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The smaller of each pair; of a number and NaN the number."""
    def fmod(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """input - trunc(input / other) * other, which has the sign of input."""
    def fmod_(self, other: Numeric) -> Tensor:
        """`fmod`, written into this tensor, which is returned."""
    def frac(self, *, out: Tensor | None = None) -> Tensor:
        """`frac` of every element, as torch.frac."""
    def frac_(self) -> Tensor:
        """`frac`, written into this tensor, which is returned."""
    def frexp(self, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> Frexp:
        """Mantissas of 1/2 <= |m| < 1, and exponents, i32."""
    @overload
    def gather(self, dim: _int, index: Tensor, *, sparse_grad: _bool = False, out: Tensor | None = None) -> Tensor:
        """y[i][j] = input[index[i][j]][j] for dim 0."""
    @overload
    def gather(self, axis: _int, index: Tensor, *, sparse_grad: _bool = False, out: Tensor | None = None) -> Tensor: ...
    def gcd(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Greatest common divisor, not negative."""
    def gcd_(self, other: Tensor) -> Tensor:
        """`gcd`, written into this tensor, which is returned."""
    def ge(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`ge` of each pair of elements, as bool."""
    def ge_(self, other: Numeric) -> Tensor:
        """`ge`, written into this tensor, which is returned."""
    def geometric_(self, *args: Any, generator: Generator | None = None, **kwargs: Any) -> Tensor:
        """Fill with random numbers: geometric."""
    def geqrf(self, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> Reflections:
        """Reflections whose product is Q of `qr`, (..., M, N), and their factors (..., min(M, N))."""
    def ger(self, vec2: Tensor, *, out: Tensor | None = None) -> Tensor:
        """All products of two vectors' elements."""
    def get_device(self) -> _int:
        """The number of the GPU that it lies on, -1 on the cpu."""
    def getitem(self, index: Any) -> Tensor:
        """A view for integers, slices, None and Ellipsis; elements by number for integer tensors and masks."""
    def greater(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`gt` of each pair of elements, as bool."""
    def greater_(self, other: Numeric) -> Tensor:
        """`greater`, written into this tensor, which is returned."""
    def greater_equal(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`ge` of each pair of elements, as bool."""
    def greater_equal_(self, other: Numeric) -> Tensor:
        """`greater_equal`, written into this tensor, which is returned."""
    def gt(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`gt` of each pair of elements, as bool."""
    def gt_(self, other: Numeric) -> Tensor:
        """`gt`, written into this tensor, which is returned."""
    def half(self, memory_format: Any = None) -> Tensor:
        """This tensor in f16."""
    def hardshrink(self, lambd: _float = 0.5, *, out: Tensor | None = None) -> Tensor:
        """x where |x| is above lambd, else 0."""
    def heaviside(self, values: Tensor, *, out: Tensor | None = None) -> Tensor:
        """0 below zero, 1 above, `values` at zero."""
    def heaviside_(self, values: Tensor) -> Tensor:
        """`heaviside`, written into this tensor, which is returned."""
    def histc(self, bins: _int = 100, min: _float = 0, max: _float = 0, *, out: Tensor | None = None) -> Tensor:
        """How many elements lie in each of so many equal bins from min to max (of all where both are the same)."""
    def histogram(self, bins: Any = 100, *, range: Sequence[_float] | None = None, weight: Tensor | None = None, density: _bool = False, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> Histogram:
        """How many elements, or which sum of weights, lies in each bucket: so many equal ones over `range`, by default from the least element to the largest, or those between the edges (bins + 1,) that are given."""
    def host_array(self) -> Array:
        """The data as a read-only array, of a GPU's memory a copy; bf16 as float32."""
    def householder_product(self, tau: Tensor) -> Tensor:
        """The first N columns (..., M, N) of a product of reflections: input (..., M, N), M >= N, tau (..., K), K <= N."""
    def hsplit(self, sections: Any) -> tuple[Tensor, ...]:
        """Pieces of the second axis (of a vector the first)."""
    def hypot(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """sqrt(input^2 + other^2); infinity where one of them is, beside NaN too."""
    def hypot_(self, other: Tensor) -> Tensor:
        """`hypot`, written into this tensor, which is returned."""
    def i0(self, *, out: Tensor | None = None) -> Tensor:
        """Modified Bessel function of the first kind and order 0."""
    def i0_(self) -> Tensor:
        """`i0`, written into this tensor, which is returned."""
    def igamma(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The lower incomplete gamma function P(a, x) of a = input and x = other; NaN for negative ones."""
    def igamma_(self, other: Tensor) -> Tensor:
        """`igamma`, written into this tensor, which is returned."""
    def igammac(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The upper incomplete gamma function Q(a, x) = 1 - P(a, x) of a = input and x = other; NaN for negative ones."""
    def igammac_(self, other: Tensor) -> Tensor:
        """`igammac`, written into this tensor, which is returned."""
    @overload
    def index_add(self, dim: _int, index: Tensor, source: Tensor, *, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
        """input with source added to the elements of an axis named by `index`."""
    @overload
    def index_add(self, axis: _int, index: Tensor, source: Tensor, *, alpha: _float = 1, out: Tensor | None = None) -> Tensor: ...
    def index_add_(self, dim: _int, index: Tensor, source: Tensor, *, alpha: _float = 1) -> Tensor:
        """`index_add`, written into this tensor, which is returned."""
    @overload
    def index_copy(self, dim: _int, index: Tensor, source: Tensor, *, out: Tensor | None = None) -> Tensor:
        """input with the elements of an axis named by `index` replaced by those of source."""
    @overload
    def index_copy(self, axis: _int, index: Tensor, source: Tensor, *, out: Tensor | None = None) -> Tensor: ...
    def index_copy_(self, dim: _int, index: Tensor, source: Tensor) -> Tensor:
        """`index_copy`, written into this tensor, which is returned."""
    @overload
    def index_fill(self, dim: _int, index: Tensor, value: Any) -> Tensor:
        """input with one number in the elements of an axis named by `index`."""
    @overload
    def index_fill(self, axis: _int, index: Tensor, value: Any) -> Tensor: ...
    def index_fill_(self, dim: _int, index: Tensor, value: Any) -> Tensor:
        """`index_fill`, written into this tensor, which is returned."""
    def index_put(self, indices: Sequence[Any], values: Any, accumulate: _bool = False) -> Tensor:
        """input with values written, or added, at places given by one tensor per axis."""
    def index_put_(self, indices: Any, values: Any, accumulate: _bool = False) -> Tensor:
        """`index_put`, written into this tensor, which is returned."""
    @overload
    def index_reduce(self, dim: _int, index: Tensor, source: Tensor, reduce: str, *, include_self: _bool = True, out: Tensor | None = None) -> Tensor:
        """input with slices of source put together with the elements of an axis that `index` (n,) names: 'prod', 'mean', 'amax' or 'amin'."""
    @overload
    def index_reduce(self, axis: _int, index: Tensor, source: Tensor, reduce: str, *, include_self: _bool = True, out: Tensor | None = None) -> Tensor: ...
    def index_reduce_(self, dim: _int, index: Tensor, source: Tensor, reduce: str, *, include_self: _bool = True) -> Tensor:
        """`index_reduce`, written into this tensor, which is returned."""
    @overload
    def index_select(self, dim: _int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Elements of an axis by number."""
    @overload
    def index_select(self, axis: _int, index: Tensor, *, out: Tensor | None = None) -> Tensor: ...
    def inner(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Sums of products over the last axes of both."""
    def int(self, memory_format: Any = None) -> Tensor:
        """This tensor in i32."""
    def inverse(self, *, out: Tensor | None = None) -> Tensor:
        """The inverse of square matrices (..., N, N)."""
    def is_complex(self) -> _bool:
        """Whether the dtype is complex."""
    def is_conj(self) -> _bool:
        """False: no tensor is lazily conjugated."""
    def is_contiguous(self, memory_format: Any = None) -> _bool:
        """Whether elements lie in the order of the axes, as seen from outside."""
    def is_floating_point(self) -> _bool:
        """Whether the dtype is a float dtype."""
    def is_inference(self) -> _bool:
        """False: `inference_mode` is `no_grad`, and tensors made inside of it are as all others."""
    def is_neg(self) -> _bool:
        """False: no tensor is lazily negated."""
    def is_nonzero(self) -> _bool:
        """Whether the one element is not 0."""
    def is_pinned(self) -> _bool:
        """False: copies need no memory of a kind of its own."""
    def is_same_size(self, other: Tensor) -> _bool:
        """Whether two shapes are equal."""
    def is_set_to(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: tensors have no storages that others could share."""
    def is_shared(self) -> _bool:
        """False: processes share no tensors."""
    def is_signed(self) -> _bool:
        """Whether the dtype has negative numbers."""
    def isclose(self, other: Tensor, rtol: _float = 1e-05, atol: _float = 1e-08, equal_nan: _bool = False) -> Tensor:
        """|input - other| <= atol + rtol * |other|."""
    def isfinite(self) -> Tensor:
        """Whether each element is neither NaN nor an infinity."""
    def isin(self, test_elements: Any, *, assume_unique: _bool = False, invert: _bool = False, out: Tensor | None = None) -> Tensor:
        """Whether each element is among the test elements."""
    def isinf(self) -> Tensor:
        """Whether each element is an infinity."""
    def isnan(self) -> Tensor:
        """Whether each element is NaN."""
    def isneginf(self, *, out: Tensor | None = None) -> Tensor:
        """Whether each element is -infinity."""
    def isposinf(self, *, out: Tensor | None = None) -> Tensor:
        """Whether each element is +infinity."""
    def isreal(self) -> Tensor:
        """Whether imaginary parts are 0: True everywhere where there are none."""
    def istft(self, n_fft: _int, hop_length: _int | None = None, win_length: _int | None = None, window: Tensor | None = None, center: _bool = True, normalized: _bool = False, onesided: _bool | None = None, length: _int | None = None, return_complex: _bool = False) -> Tensor:
        """The signal (..., T) of `stft`: overlapping frames added, divided by the sum of squared windows."""
    def item(self) -> Any:
        """The one element as a Python number."""
    def kron(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The product of each element of input with all of other."""
    def kthvalue(self, k: _int, dim: _int = -1, keepdim: _bool = False, *, axis: _int = -1, keepdims: _bool = False, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
        """The k-th smallest element of an axis, counted from 1."""
    def lcm(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Least common multiple, not negative."""
    def lcm_(self, other: Tensor) -> Tensor:
        """`lcm`, written into this tensor, which is returned."""
    def ldexp(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """input * 2^other, by two factors: 2^other may be infinite where the result is not."""
    def ldexp_(self, other: Tensor) -> Tensor:
        """`ldexp`, written into this tensor, which is returned."""
    def le(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`le` of each pair of elements, as bool."""
    def le_(self, other: Numeric) -> Tensor:
        """`le`, written into this tensor, which is returned."""
    def lerp(self, end: Tensor, weight: Numeric, *, out: Tensor | None = None) -> Tensor:
        """input + weight * (end - input), so that weight 1 gives end."""
    def lerp_(self, end: Tensor, weight: Numeric) -> Tensor:
        """`lerp`, written into this tensor, which is returned."""
    def less(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`lt` of each pair of elements, as bool."""
    def less_(self, other: Numeric) -> Tensor:
        """`less`, written into this tensor, which is returned."""
    def less_equal(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`le` of each pair of elements, as bool."""
    def less_equal_(self, other: Numeric) -> Tensor:
        """`less_equal`, written into this tensor, which is returned."""
    def lgamma(self, *, out: Tensor | None = None) -> Tensor:
        """Logarithm of the size of the gamma function."""
    def lgamma_(self) -> Tensor:
        """`lgamma`, written into this tensor, which is returned."""
    def log(self, *, out: Tensor | None = None) -> Tensor:
        """`log` of every element, as torch.log."""
    def log10(self, *, out: Tensor | None = None) -> Tensor:
        """`log10` of every element, as torch.log10."""
    def log10_(self) -> Tensor:
        """`log10`, written into this tensor, which is returned."""
    def log1p(self, *, out: Tensor | None = None) -> Tensor:
        """`log1p` of every element, as torch.log1p."""
    def log1p_(self) -> Tensor:
        """`log1p`, written into this tensor, which is returned."""
    def log2(self, *, out: Tensor | None = None) -> Tensor:
        """`log2` of every element, as torch.log2."""
    def log2_(self) -> Tensor:
        """`log2`, written into this tensor, which is returned."""
    def log_(self) -> Tensor:
        """`log`, written into this tensor, which is returned."""
    def log_normal_(self, *args: Any, generator: Generator | None = None, **kwargs: Any) -> Tensor:
        """Fill with random numbers: log_normal."""
    def log_softmax(self, dim: _int = -1, dtype: Any = None, *, axis: _int = -1, out: Tensor | None = None) -> Tensor:
        """Logarithm of the softmax along an axis."""
    def logaddexp(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """log(exp(input) + exp(other))."""
    def logaddexp2(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """log2(2^input + 2^other)."""
    @overload
    def logcumsumexp(self, dim: _int, *, out: Tensor | None = None) -> Tensor:
        """log of the running sums of exp along an axis; in f64, where what is smaller by e^700 still counts."""
    @overload
    def logcumsumexp(self, axis: _int, *, out: Tensor | None = None) -> Tensor: ...
    def logdet(self) -> Tensor:
        """Logarithm of determinants of (..., N, N); NaN for negative ones."""
    def logical_and(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """`logical_and` of each pair of elements, of which all but 0 are true."""
    def logical_and_(self, other: Tensor) -> Tensor:
        """`logical_and`, written into this tensor, which is returned."""
    def logical_not(self, *, out: Tensor | None = None) -> Tensor:
        """Whether each element is 0."""
    def logical_not_(self) -> Tensor:
        """`logical_not`, written into this tensor, which is returned."""
    def logical_or(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """`logical_or` of each pair of elements, of which all but 0 are true."""
    def logical_or_(self, other: Tensor) -> Tensor:
        """`logical_or`, written into this tensor, which is returned."""
    def logical_xor(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """`logical_xor` of each pair of elements, of which all but 0 are true."""
    def logical_xor_(self, other: Tensor) -> Tensor:
        """`logical_xor`, written into this tensor, which is returned."""
    def logit(self, eps: _float | None = None, *, out: Tensor | None = None) -> Tensor:
        """log(x / (1 - x)), of x brought between eps and 1 - eps where eps is given."""
    def logit_(self, eps: _float | None = None) -> Tensor:
        """`logit`, written into this tensor, which is returned."""
    @overload
    def logsumexp(self, dim: _int | Sequence[_int], keepdim: _bool = False, *, out: Tensor | None = None) -> Tensor:
        """log of the sum of exp over axes, without overflow."""
    @overload
    def logsumexp(self, axis: _int | Sequence[_int], keepdims: _bool = False, *, out: Tensor | None = None) -> Tensor: ...
    def long(self, memory_format: Any = None) -> Tensor:
        """This tensor in i64."""
    def lt(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`lt` of each pair of elements, as bool."""
    def lt_(self, other: Numeric) -> Tensor:
        """`lt`, written into this tensor, which is returned."""
    def lu(self, pivot: _bool = True, get_infos: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> tuple[Tensor, ...]:
        """(LU, pivots) of `linalg.lu_factor`, and with `get_infos` where the first pivot of 0 is."""
    def lu_solve(self, LU_data: Tensor, LU_pivots: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The X with A X = input (..., N, K), of the factors of A that `lu` gives."""
    def masked_fill(self, mask: Tensor, value: Any) -> Tensor:
        """input with `value` where the mask holds."""
    def masked_fill_(self, mask: Tensor, value: Any) -> Tensor:
        """`masked_fill`, written into this tensor, which is returned."""
    def masked_scatter(self, mask: Tensor, source: Tensor) -> Tensor:
        """input with the elements where the mask holds replaced by those of source in order."""
    def masked_scatter_(self, mask: Tensor, source: Tensor) -> Tensor:
        """`masked_scatter`, written into this tensor, which is returned."""
    def masked_select(self, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Elements where the mask holds, along one axis."""
    def matmul(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Matrix product over the last two axes, leading axes broadcast; vectors count as rows and columns."""
    def matrix_exp(self) -> Tensor:
        """e to the power of square matrices (..., N, N), by scaling and squaring: a Taylor polynomial of x / 2^s, squared s times (Higham, Functions of Matrices, 2008, chapter 10)."""
    def matrix_power(self, n: _int, *, out: Tensor | None = None) -> Tensor:
        """Square matrices (..., N, N) to a whole power, of the inverse below 0."""
    @overload
    def max(self, *, out: Tensor | None = None) -> Tensor:
        """The largest element; along an axis (values, indices); of two tensors the larger of each pair."""
    @overload
    def max(self, dim: _int, keepdim: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
    @overload
    def max(self, axis: _int, keepdims: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
    @overload
    def max(self, dim: Tensor, /, *, out: Tensor | None = None) -> Tensor: ...
    @overload
    def max(self, *, other: Tensor, out: Tensor | None = None) -> Tensor: ...
    def maximum(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The maximum of each pair of elements; NaN if either is."""
    def maximum_(self, other: Tensor) -> Tensor:
        """`maximum`, written into this tensor, which is returned."""
    def mean(self, dim: Dims = None, keepdim: _bool = False, *, dtype: Any = None, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Mean over axes, all where none is named."""
    @overload
    def median(self, *, out: Tensor | None = None) -> Tensor:
        """The middle element, the lower of two; NaN if there is one."""
    @overload
    def median(self, dim: _int, keepdim: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
    @overload
    def median(self, axis: _int, keepdims: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
    @overload
    def min(self, *, out: Tensor | None = None) -> Tensor:
        """The smallest element; along an axis (values, indices); of two tensors the smaller of each pair."""
    @overload
    def min(self, dim: _int, keepdim: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
    @overload
    def min(self, axis: _int, keepdims: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
    @overload
    def min(self, dim: Tensor, /, *, out: Tensor | None = None) -> Tensor: ...
    @overload
    def min(self, *, other: Tensor, out: Tensor | None = None) -> Tensor: ...
    def minimum(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The minimum of each pair of elements; NaN if either is."""
    def minimum_(self, other: Tensor) -> Tensor:
        """`minimum`, written into this tensor, which is returned."""
    def mm(self, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Product of two matrices."""
    def mode(self, dim: _int = -1, keepdim: _bool = False, *, axis: _int = -1, keepdims: _bool = False, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
        """The most frequent element of an axis, the smallest of several, and where it stands last."""
    def module_load(self, other: Any, assign: _bool = False) -> Tensor:
        """What a module takes for this parameter from a tensor in a file."""
    def moveaxis(self, source: Any, destination: Any) -> Tensor:
        """Axes moved to other places, the others in order: a view."""
    def movedim(self, source: Any, destination: Any) -> Tensor:
        """Axes moved to other places, the others in order: a view."""
    def msort(self, *, out: Tensor | None = None) -> Tensor:
        """Elements of the first axis in order."""
    def mul(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """input * other."""
    def mul_(self, other: Numeric) -> Tensor:
        """`mul`, written into this tensor, which is returned."""
    def multinomial(self, num_samples: _int, replacement: _bool = False, *, generator: Generator | None = None, out: Tensor | None = None) -> Tensor:
        """Numbers of columns, drawn with the weights of each row; without replacement by the largest of log w + Gumbel."""
    def multiply(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """input * other."""
    def multiply_(self, other: Numeric) -> Tensor:
        """`multiply`, written into this tensor, which is returned."""
    def mv(self, vec: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Product of a matrix and a vector."""
    def mvlgamma(self, p: _int, *, out: Tensor | None = None) -> Tensor:
        """Logarithm of the multivariate gamma function."""
    def mvlgamma_(self, p: _int) -> Tensor:
        """`mvlgamma`, written into this tensor, which is returned."""
    def nan_to_num(self, nan: _float | None = None, posinf: _float | None = None, neginf: _float | None = None, *, out: Tensor | None = None) -> Tensor:
        """NaN (by 0) and infinities (by the dtype's largest) replaced by numbers, those that are given."""
    def nan_to_num_(self, nan: _float | None = None, posinf: _float | None = None, neginf: _float | None = None) -> Tensor:
        """`nan_to_num`, written into this tensor, which is returned."""
    def nanmean(self, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Mean of what is not NaN."""
    @overload
    def nanmedian(self, *, out: Tensor | None = None) -> Tensor:
        """The middle element of those that are not NaN."""
    @overload
    def nanmedian(self, dim: _int, keepdim: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
    @overload
    def nanmedian(self, axis: _int, keepdims: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices: ...
    def nanquantile(self, q: Any, dim: _int | None = None, keepdim: _bool = False, *, interpolation: str = 'linear', axis: _int | None = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Quantiles of what is not NaN; see `quantile`."""
    def nansum(self, dim: Dims = None, keepdim: _bool = False, *, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Sum of what is not NaN."""
    @overload
    def narrow(self, dim: _int, start: Any, length: _int) -> Tensor:
        """`length` elements of an axis from `start` on: a view."""
    @overload
    def narrow(self, axis: _int, start: Any, length: _int) -> Tensor: ...
    def narrow_copy(self, dim: _int, start: _int, length: _int) -> Tensor:
        """`narrow` as a tensor of its own."""
    def ndimension(self) -> _int:
        """The number of axes."""
    def ne(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`ne` of each pair of elements, as bool."""
    def ne_(self, other: Numeric) -> Tensor:
        """`ne`, written into this tensor, which is returned."""
    def neg(self, *, out: Tensor | None = None) -> Tensor:
        """`neg` of every element, as torch.neg."""
    def neg_(self) -> Tensor:
        """`neg`, written into this tensor, which is returned."""
    def negative(self, *, out: Tensor | None = None) -> Tensor:
        """`neg` of every element, as torch.neg."""
    def negative_(self) -> Tensor:
        """`negative`, written into this tensor, which is returned."""
    def nelement(self) -> _int:
        """The number of elements."""
    def new(self, *data: Any, device: Any = None) -> Tensor:
        """As `Tensor(...)`, of sizes or a sequence, in the dtype and on the device of this one."""
    def new_empty(self, *size: Any, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
        """0 everywhere, in the dtype of this tensor."""
    def new_empty_strided(self, size: Sequence[_int], stride: Sequence[_int], **rest: Any) -> Tensor:
        """`empty_strided` in the dtype and on the device of this tensor."""
    def new_full(self, size: Any, fill_value: Any, **rest: Any) -> Tensor:
        """`full`, in this tensor's dtype and on its device where none is named."""
    def new_ones(self, *size: Any, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
        """1 everywhere, in the dtype of this tensor."""
    def new_tensor(self, data: Any, **rest: Any) -> Tensor:
        """`tensor`, in this tensor's dtype and on its device where none is named."""
    def new_zeros(self, *size: Any, dtype: Any = None, requires_grad: _bool = False, device: Any = None, memory_format: Any = None, pin_memory: _bool = False, layout: Any = None) -> Tensor:
        """0 everywhere, in the dtype of this tensor."""
    def nextafter(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The next number after input towards other, in their common dtype."""
    def nextafter_(self, other: Tensor) -> Tensor:
        """`nextafter`, written into this tensor, which is returned."""
    @overload
    def nonzero(self, *, as_tuple: Literal[False] = False, out: Tensor | None = None) -> Tensor:
        """Where elements are not 0: (n, rank), or one (n,) tensor per axis."""
    @overload
    def nonzero(self, *, as_tuple: Literal[True], out: tuple[Tensor, ...] | list[Tensor] | None = None) -> tuple[Tensor, ...]: ...
    def nonzero_static(self, *, size: _int, fill_value: _int = -1, out: Tensor | None = None) -> Tensor:
        """As `nonzero`, of exactly `size` rows: cut off, or filled up with `fill_value`."""
    def norm(self, p: Any = 2, dim: Dims = None, keepdim: _bool = False, *, dtype: Any = None, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """(sum of |x|^p)^(1/p) over axes, computed in `dtype`; p may be infinite, 0, or 'fro' for 2."""
    def normal_(self, *args: Any, generator: Generator | None = None, **kwargs: Any) -> Tensor:
        """Fill with random numbers: normal."""
    def not_equal(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """`ne` of each pair of elements, as bool."""
    def not_equal_(self, other: Numeric) -> Tensor:
        """`not_equal`, written into this tensor, which is returned."""
    def numel(self) -> _int:
        """The number of elements."""
    def numpy(self, *, force: _bool = False) -> Array:
        """The data as a read-only array, without a copy; with `force` of a GPU's memory too, by one."""
    def orgqr(self, tau: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The first N columns (..., M, N) of a product of reflections: input (..., M, N), M >= N, tau (..., K), K <= N."""
    def ormqr(self, tau: Tensor, other: Tensor, left: _bool = True, transpose: _bool = False, *, out: Tensor | None = None) -> Tensor:
        """Q other, or other Q unless `left`, of the whole product Q of reflections; of Q^T with `transpose`."""
    def outer(self, vec2: Tensor, *, out: Tensor | None = None) -> Tensor:
        """All products of two vectors' elements."""
    def pad(self, pad: Sequence[_int], mode: str = 'constant', value: complex | None = None) -> Tensor:
        """Elements added before and after axes, from the last on: (left, right, top, bottom ...)."""
    def permute(self, *dims: Any) -> Tensor:
        """Axes in another order: a view."""
    def pin_memory(self, *device: Any) -> Tensor:
        """This tensor, as it is."""
    def pinverse(self, rcond: _float = 1e-15) -> Tensor:
        """The pseudo-inverse (..., N, M) of (..., M, N); singular values below rcond times the largest count as 0."""
    def polygamma(self, n: _int) -> Tensor: ...
    def polygamma_(self, n: _int) -> Tensor:
        """`polygamma`, written into this tensor, which is returned."""
    def positive(self) -> Tensor:
        """input itself."""
    def pow(self, exponent: Numeric, *, out: Tensor | None = None) -> Tensor:
        """input ** exponent in the common dtype."""
    def pow_(self, exponent: Numeric) -> Tensor:
        """`pow`, written into this tensor, which is returned."""
    def prod(self, dim: _int | None = None, keepdim: _bool = False, *, dtype: Any = None, axis: _int | None = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Product over one axis, or of all elements."""
    def put(self, index: Tensor, source: Tensor, accumulate: _bool = False) -> Tensor:
        """input with elements replaced, or added to, by number among all in order."""
    def put_(self, index: Tensor, source: Tensor, accumulate: _bool = False) -> Tensor:
        """`put`, written into this tensor, which is returned."""
    def qr(self, some: _bool = True, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> QR:
        """Q orthogonal and R upper triangular with Q R = x, of (..., M, N); Q square unless `some`."""
    def quantile(self, q: Any, dim: _int | None = None, keepdim: _bool = False, *, interpolation: str = 'linear', axis: _int | None = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Values below which a share q of an axis lies, () or (S,) from 0 to 1; NaN where one that is computed is outside."""
    def rad2deg(self, *, out: Tensor | None = None) -> Tensor:
        """`rad2deg` of every element, as torch.rad2deg."""
    def rad2deg_(self) -> Tensor:
        """`rad2deg`, written into this tensor, which is returned."""
    def random_(self, low: _int = 0, to: _int | None = None, *, generator: Generator | None = None, **rest: _int) -> Tensor:
        """Fill with whole numbers from low (0; its name is `from`) to below `to` (what the dtype holds)."""
    def ravel(self) -> Tensor:
        """All elements along one axis."""
    def reciprocal(self, *, out: Tensor | None = None) -> Tensor:
        """`reciprocal` of every element, as torch.reciprocal."""
    def reciprocal_(self) -> Tensor:
        """`reciprocal`, written into this tensor, which is returned."""
    def record_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: there are no streams on the cpu."""
    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook` with the gradient of this tensor; what it returns takes the gradient's place."""
    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Call `hook` with this leaf after its gradient was added to."""
    def relu(self) -> Tensor:
        """`relu` of every element, as torch.relu."""
    def relu_(self) -> Tensor:
        """`relu`, written into this tensor, which is returned."""
    def remainder(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """input - floor(input / other) * other, which has the sign of other."""
    def remainder_(self, other: Numeric) -> Tensor:
        """`remainder`, written into this tensor, which is returned."""
    @overload
    def renorm(self, p: _float, dim: _int, maxnorm: _float, *, out: Tensor | None = None) -> Tensor:
        """Slices along an axis whose p-norm is above maxnorm, brought to it."""
    @overload
    def renorm(self, p: _float, axis: _int, maxnorm: _float, *, out: Tensor | None = None) -> Tensor: ...
    def renorm_(self, p: _float, dim: _int, maxnorm: _float) -> Tensor:
        """`renorm`, written into this tensor, which is returned."""
    def repeat(self, *repeats: Any) -> Tensor:
        """The tensor so many times along each axis."""
    def repeat_interleave(self, repeats: Any = None, dim: _int | None = None, *, output_size: _int | None = None, axis: _int | None = None) -> Tensor:
        """Each element so many times, next to each other; of repeats (N,) alone their places, as int64."""
    def requires_grad_(self, on: _bool = True) -> Tensor:
        """Say whether this leaf gathers a gradient."""
    def reshape(self, *shape: Any) -> Tensor: ...
    def reshape_as(self, other: Tensor) -> Tensor:
        """This tensor in the shape of another."""
    def resize(self, *size: Any, dtype: Any = None) -> Tensor:
        """The same elements under another shape, or their bytes as elements of another dtype: the last axis is as much longer as those are shorter."""
    def resize_(self, *size: Any, memory_format: Any = None) -> Tensor:
        """Give this tensor another shape: its first elements in order, then zeros."""
    def resize_as(self, other: Tensor) -> Tensor:
        """`view` in the shape of another tensor."""
    def resize_as_(self, the_template: Tensor, memory_format: Any = None) -> Tensor:
        """`resize_` to the shape of another tensor."""
    def resolve_conj(self) -> Tensor:
        """input: no tensor is lazily conjugated."""
    def resolve_neg(self) -> Tensor:
        """input: no tensor is lazily negated."""
    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is no leaf."""
    def roll(self, shifts: Any, dims: Any = None) -> Tensor:
        """Elements moved along axes; what leaves at one end comes back at the other."""
    def rot90(self, k: _int = 1, dims: Sequence[_int] = (0, 1)) -> Tensor:
        """A quarter turn, k times, in the plane of two axes."""
    def round(self, *, decimals: _int = 0, out: Tensor | None = None) -> Tensor:
        """Nearest whole number, ties to even; to `decimals` digits after the point."""
    def round_(self, *, decimals: _int = 0) -> Tensor:
        """`round`, written into this tensor, which is returned."""
    def rsqrt(self, *, out: Tensor | None = None) -> Tensor:
        """`rsqrt` of every element, as torch.rsqrt."""
    def rsqrt_(self) -> Tensor:
        """`rsqrt`, written into this tensor, which is returned."""
    def rsub(self, other: Numeric, *, alpha: _float = 1) -> Tensor:
        """other - alpha * input."""
    @overload
    def scatter(self, dim: _int, index: Tensor, src: Any = None, *, value: Any = None, reduce: Any = None, out: Tensor | None = None) -> Tensor:
        """input with y[index[i][j]][j] = src[i][j] for dim 0."""
    @overload
    def scatter(self, axis: _int, index: Tensor, src: Any = None, *, value: Any = None, reduce: Any = None, out: Tensor | None = None) -> Tensor: ...
    def scatter_(self, dim: _int, index: Tensor, src: Any = None, *, value: Any = None, reduce: Any = None) -> Tensor:
        """`scatter`, written into this tensor, which is returned."""
    @overload
    def scatter_add(self, dim: _int, index: Tensor, src: Tensor, *, out: Tensor | None = None) -> Tensor:
        """input with src added at the places of `index`."""
    @overload
    def scatter_add(self, axis: _int, index: Tensor, src: Tensor, *, out: Tensor | None = None) -> Tensor: ...
    def scatter_add_(self, dim: _int, index: Tensor, src: Tensor) -> Tensor:
        """`scatter_add`, written into this tensor, which is returned."""
    @overload
    def scatter_reduce(self, dim: _int, index: Tensor, src: Any, reduce: str, *, include_self: _bool = True, out: Tensor | None = None) -> Tensor:
        """input with src put together with it at the places of `index`: sum, mean, prod, amax or amin."""
    @overload
    def scatter_reduce(self, axis: _int, index: Tensor, src: Any, reduce: str, *, include_self: _bool = True, out: Tensor | None = None) -> Tensor: ...
    def scatter_reduce_(self, dim: _int, index: Tensor, src: Any, reduce: str, *, include_self: _bool = True) -> Tensor:
        """`scatter_reduce`, written into this tensor, which is returned."""
    def searchsorted(self, input: Any, *, out_int32: _bool = False, right: _bool = False, side: str | None = None, sorter: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Where to put elements into rows that are in order so that they stay so, int64, or int32 with `out_int32`."""
    @overload
    def select(self, dim: _int, index: Any) -> Tensor:
        """One element of an axis, which goes away: a view."""
    @overload
    def select(self, axis: _int, index: Any) -> Tensor: ...
    @overload
    def select_scatter(self, src: Tensor, dim: _int, index: _int) -> Tensor:
        """input with one element of an axis replaced."""
    @overload
    def select_scatter(self, src: Tensor, axis: _int, index: _int) -> Tensor: ...
    def set_(self, *args: Any, **kwargs: Any) -> Tensor:
        """Refused: tensors have no storages that others could share."""
    def setitem(self, index: Any, value: Any) -> None:
        """Write a number or a tensor, which is broadcast, to part of this tensor."""
    def sgn(self, *, out: Tensor | None = None) -> Tensor:
        """`sign` of every element, as torch.sign."""
    def sgn_(self) -> Tensor:
        """`sgn`, written into this tensor, which is returned."""
    def share_memory_(self, *device: Any) -> Tensor:
        """This tensor, as it is."""
    def short(self, memory_format: Any = None) -> Tensor:
        """This tensor in i16."""
    def sigmoid(self, *, out: Tensor | None = None) -> Tensor:
        """`sigmoid` of every element, as torch.sigmoid."""
    def sigmoid_(self) -> Tensor:
        """`sigmoid`, written into this tensor, which is returned."""
    def sign(self, *, out: Tensor | None = None) -> Tensor:
        """`sign` of every element, as torch.sign."""
    def sign_(self) -> Tensor:
        """`sign`, written into this tensor, which is returned."""
    def signbit(self, *, out: Tensor | None = None) -> Tensor:
        """Whether the sign of an element is set, of zeros and NaN too."""
    def silu(self) -> Tensor:
        """`silu` of every element, as torch.silu."""
    def silu_(self) -> Tensor:
        """`silu`, written into this tensor, which is returned."""
    def sin(self, *, out: Tensor | None = None) -> Tensor:
        """`sin` of every element, as torch.sin."""
    def sin_(self) -> Tensor:
        """`sin`, written into this tensor, which is returned."""
    def sinc(self, *, out: Tensor | None = None) -> Tensor:
        """`sinc` of every element, as torch.sinc."""
    def sinc_(self) -> Tensor:
        """`sinc`, written into this tensor, which is returned."""
    def sinh(self, *, out: Tensor | None = None) -> Tensor:
        """`sinh` of every element, as torch.sinh."""
    def sinh_(self) -> Tensor:
        """`sinh`, written into this tensor, which is returned."""
    @overload
    def size(self) -> Size:
        """The shape, or the size of one axis."""
    @overload
    def size(self, dim: _int) -> _int: ...
    def slice_scatter(self, src: Tensor, dim: _int = 0, start: _int | None = None, end: _int | None = None, step: _int = 1, *, axis: _int = 0, out: Tensor | None = None) -> Tensor:
        """input with a slice of an axis replaced."""
    def slogdet(self, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> SignLog:
        """Sign and logarithm of the size of determinants of (..., N, N)."""
    def softmax(self, dim: _int = -1, dtype: Any = None, *, axis: _int = -1, out: Tensor | None = None) -> Tensor:
        """exp(x) over its sum along an axis."""
    def sort(self, dim: _int = -1, descending: _bool = False, stable: _bool = False, *, axis: _int = -1, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
        """Elements of an axis in order, and where they stood."""
    def split(self, split_size_or_sections: Any, dim: _int = 0, *, axis: _int = 0) -> tuple[Tensor, ...]:
        """Pieces of an axis, of one size or of given sizes, as views."""
    def split_with_sizes(self, split_sizes: Sequence[_int], dim: _int = 0) -> tuple[Tensor, ...]:
        """Pieces of given sizes."""
    def sqrt(self, *, out: Tensor | None = None) -> Tensor:
        """`sqrt` of every element, as torch.sqrt."""
    def sqrt_(self) -> Tensor:
        """`sqrt`, written into this tensor, which is returned."""
    def square(self, *, out: Tensor | None = None) -> Tensor:
        """`square` of every element, as torch.square."""
    def square_(self) -> Tensor:
        """`square`, written into this tensor, which is returned."""
    def squeeze(self, dim: Any = None, *, axis: Any = None) -> Tensor:
        """Without axes of size 1, or without those of them that are named: a view."""
    def squeeze_(self, *args: Any, _f: Any = ..., **kwargs: Any) -> Tensor: ...
    def std(self, dim: Any = None, unbiased: _bool = True, keepdim: _bool = False, *, correction: _float | None = None, axis: Any = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Square root of `var`."""
    def stft(self, n_fft: _int, hop_length: _int | None = None, win_length: _int | None = None, window: Tensor | None = None, center: _bool = True, pad_mode: str = 'reflect', normalized: _bool = False, onesided: _bool | None = None, return_complex: _bool | None = None) -> Tensor:
        """Transforms of windows of a signal (..., T) every hop_length: complex (..., frequencies, frames)."""
    def storage(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: tensors have no storages that others could share."""
    def storage_offset(self) -> _int:
        """Which element of its base, in order, is the first one of a view; 0 of other tensors and of views of nothing."""
    def stride(self, dim: _int | None = None) -> Any:
        """Elements between neighbours of each axis, as for a tensor in order."""
    def sub(self, other: Numeric, *, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
        """input - alpha * other."""
    def sub_(self, other: Numeric, *, alpha: _float = 1) -> Tensor:
        """`sub`, written into this tensor, which is returned."""
    def subtract(self, other: Numeric, *, alpha: _float = 1, out: Tensor | None = None) -> Tensor:
        """input - alpha * other."""
    def subtract_(self, other: Numeric, *, alpha: _float = 1) -> Tensor:
        """`subtract`, written into this tensor, which is returned."""
    def sum(self, dim: Dims = None, keepdim: _bool = False, *, dtype: Any = None, axis: Dims = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Sum over axes, all where none is named."""
    def sum_to_size(self, *size: Any) -> Tensor:
        """Summed over the axes along which `size` would be broadcast to this shape."""
    def svd(self, some: _bool = True, compute_uv: _bool = True, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> SVD:
        """U, S and V with U diag(S) V^T = x, of (..., M, N)."""
    def swapaxes(self, dim0: _int, dim1: _int) -> Tensor:
        """Two axes change places: a view."""
    def swapaxes_(self, *args: Any, _f: Any = ..., **kwargs: Any) -> Tensor: ...
    def swapdims(self, dim0: _int, dim1: _int) -> Tensor:
        """Two axes change places: a view."""
    def swapdims_(self, *args: Any, _f: Any = ..., **kwargs: Any) -> Tensor: ...
    def t(self) -> Tensor:
        """The transpose of a matrix; a tensor of fewer axes itself."""
    def t_(self, *args: Any, _f: Any = ..., **kwargs: Any) -> Tensor: ...
    def take(self, index: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Elements by number among all in order."""
    def take_along_dim(self, indices: Tensor, dim: _int | None = None, *, axis: _int | None = None, out: Tensor | None = None) -> Tensor:
        """As gather, with broadcasting; without an axis among all elements in order."""
    def tan(self, *, out: Tensor | None = None) -> Tensor:
        """`tan` of every element, as torch.tan."""
    def tan_(self) -> Tensor:
        """`tan`, written into this tensor, which is returned."""
    def tanh(self, *, out: Tensor | None = None) -> Tensor:
        """`tanh` of every element, as torch.tanh."""
    def tanh_(self) -> Tensor:
        """`tanh`, written into this tensor, which is returned."""
    def tensor_split(self, indices_or_sections: Any, dim: _int = 0, *, axis: _int = 0) -> tuple[Tensor, ...]:
        """Pieces of an axis: so many of nearly one size, or cut at given places; both may be tensors of integers."""
    def tile(self, *dims: Any) -> Tensor:
        """As repeat, with counts of 1 for axes in front that are not named."""
    def to(self, *args: Any, dtype: Any = None, device: Any = None, copy: _bool = False, **rest: Any) -> Tensor:
        """This tensor in another dtype, on another device, or as another tensor is."""
    def to_dense(self, dtype: Any = None) -> Tensor:
        """This tensor, which is dense, in another dtype where one is named."""
    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """This tensor on another device."""
    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
    def topk(self, k: _int, dim: _int = -1, largest: _bool = True, sorted: _bool = True, *, axis: _int = -1, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> ValuesIndices:
        """The k largest (smallest) elements of an axis, in order."""
    def trace(self) -> Tensor:
        """Sum of the diagonal of a matrix."""
    def transpose(self, dim0: _int, dim1: _int) -> Tensor:
        """Two axes change places: a view."""
    def transpose_(self, *args: Any, _f: Any = ..., **kwargs: Any) -> Tensor: ...
    def triangular_solve(self, A: Tensor, upper: _bool = True, transpose: _bool = False, unitriangular: _bool = False, *, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> TriangularSolution:
        """The X with A X = input, or A^T X = input with `transpose`, of the triangle of A; and a copy of A."""
    def tril(self, diagonal: _int = 0, *, out: Tensor | None = None) -> Tensor:
        """Matrices with zeros above a diagonal."""
    def tril_(self, diagonal: _int = 0) -> Tensor:
        """`tril`, written into this tensor, which is returned."""
    def triu(self, diagonal: _int = 0, *, out: Tensor | None = None) -> Tensor:
        """Matrices with zeros below a diagonal."""
    def triu_(self, diagonal: _int = 0) -> Tensor:
        """`triu`, written into this tensor, which is returned."""
    def true_divide(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """input / other, as floats."""
    def true_divide_(self, other: Numeric) -> Tensor:
        """`true_divide`, written into this tensor, which is returned."""
    def trunc(self, *, out: Tensor | None = None) -> Tensor:
        """`trunc` of every element, as torch.trunc."""
    def trunc_(self) -> Tensor:
        """`trunc`, written into this tensor, which is returned."""
    def type(self, dtype: Any = None, non_blocking: _bool = False) -> Any:
        """The name of PyTorch's type, `torch.FloatTensor`, or this tensor in another dtype."""
    def type_as(self, other: Tensor) -> Tensor:
        """This tensor in the dtype of another."""
    def unbind(self, dim: _int = 0, *, axis: _int = 0) -> tuple[Tensor, ...]:
        """The elements of an axis, as views."""
    @overload
    def unflatten(self, dim: _int, sizes: Sequence[_int]) -> Tensor:
        """One axis as several."""
    @overload
    def unflatten(self, axis: _int, sizes: Sequence[_int]) -> Tensor: ...
    def unfold(self, dimension: _int, size: _int, step: _int) -> Tensor:
        """All pieces of `size` elements of an axis that begin every `step`, along a new last axis."""
    def uniform_(self, *args: Any, generator: Generator | None = None, **kwargs: Any) -> Tensor:
        """Fill with random numbers: uniform."""
    @overload
    def unique(self, sorted: _bool = True, return_inverse: Literal[False] = False, return_counts: Literal[False] = False, dim: _int | None = None, *, axis: _int | None = None) -> Tensor:
        """Different elements in order, each NaN for itself; with the number of each among them, and how often it occurs."""
    @overload
    def unique(self, sorted: _bool = True, return_inverse: _bool = False, return_counts: _bool = False, dim: _int | None = None, *, axis: _int | None = None) -> Any: ...
    @overload
    def unique_consecutive(self, return_inverse: Literal[False] = False, return_counts: Literal[False] = False, dim: _int | None = None, *, axis: _int | None = None) -> Tensor:
        """Elements without those that equal the one before."""
    @overload
    def unique_consecutive(self, return_inverse: _bool = False, return_counts: _bool = False, dim: _int | None = None, *, axis: _int | None = None) -> Any: ...
    @overload
    def unsqueeze(self, dim: _int) -> Tensor:
        """A new axis of size 1: a view."""
    @overload
    def unsqueeze(self, axis: _int) -> Tensor: ...
    def unsqueeze_(self, *args: Any, _f: Any = ..., **kwargs: Any) -> Tensor: ...
    def untyped_storage(self) -> UntypedStorage:
        """The bytes that this tensor lies in, of a view those of its base."""
    def var(self, dim: Any = None, unbiased: _bool = True, keepdim: _bool = False, *, correction: _float | None = None, axis: Any = None, keepdims: _bool = False, out: Tensor | None = None) -> Tensor:
        """Variance over axes: squares of the distance from the mean, over their number less `correction` (1)."""
    def vdot(self, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Product of two vectors, the first conjugated."""
    def view(self, *size: Any, dtype: Any = None) -> Tensor:
        """The same elements under another shape, or their bytes as elements of another dtype: the last axis is as much longer as those are shorter."""
    def view_as(self, other: Tensor) -> Tensor:
        """This tensor in the shape of another."""
    def vsplit(self, sections: Any) -> tuple[Tensor, ...]:
        """Pieces of the first axis of at least two."""
    def where(self, condition: Tensor, other: Any) -> Tensor: ...
    def xlogy(self, other: Numeric, *, out: Tensor | None = None) -> Tensor:
        """input * log(other), and 0 where input is 0."""
    def xlogy_(self, other: Numeric) -> Tensor:
        """`xlogy`, written into this tensor, which is returned."""
    def zero_(self) -> Tensor:
        """Write 0 everywhere."""
class RemovableHandle:
    """Takes a hook away again."""
    def __enter__(self) -> RemovableHandle: ...
    def __exit__(self, *rest: object) -> None: ...
    def __init__(self, hooks: list[Any], hook: Any) -> None:
        """Initialize self."""
    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
# What the package itself uses of this module.
def __getattr__(name: str) -> Any: ...
