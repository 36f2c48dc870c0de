"""Questions about tensors and about the machine, and settings of PyTorch's that have one value here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..compiler.float_parts import PRECISIONS
from ..diagnostics import UnsupportedError
from ..session import engine
from ..session.devices import Float32Products
from . import lazy
from .conversion import as_tensor, convert
from .core import Tensor, wrap
from .pointwise import flat_at_nan
from .register import FUNCTIONS, METHODS, a_tensor, attribute, function, method


@function()
def is_inference(input: Tensor) -> bool:
    """False: `inference_mode` is `no_grad`, and tensors made inside of it are as all others."""
    a_tensor("is_inference", input)
    return False


@function(method=False)
def is_storage(obj: Any) -> bool:
    """False: there are no storages."""
    return False


@function(method=False)
def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule of a copy of the data."""
    return tensor.__dlpack__()


@function(method=False)
def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Sequence[Any] = ()) -> Any:
    """true_fn(*operands) if pred holds, else false_fn(*operands); a tensor's value is read, so that a step that is
    compiled needs a Python bool."""
    return (true_fn if bool(pred) else false_fn)(*operands)


@function()
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| is above lambd, else 0."""
    made: Tensor = FUNCTIONS["where"]((input >= -lambd) & (input <= lambd), 0.0, wrap(flat_at_nan(input.value), input))
    return made


@function(method=False)
def get_num_threads() -> int:
    """The threads that kernels run on."""
    return engine().pool.threads


@function(method=False)
def set_num_threads(int: int) -> None:
    """Nothing where kernels run on so many threads. Raises UnsupportedError for another number."""
    if int != get_num_threads():
        raise UnsupportedError(
            f"kernels run on {get_num_threads()} threads, not {int}", help="set HELIOSTAT_THREADS before the start"
        )


@function(method=False)
def get_num_interop_threads() -> int:
    """1: programs run one after the other."""
    return 1


@function(method=False)
def set_num_interop_threads(int: int) -> None:
    """Nothing for 1. Raises UnsupportedError for another number."""
    if int != 1:
        raise UnsupportedError(f"programs run one after the other, not {int} at a time", help="leave it at 1")


@function(method=False)
def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` allowed."""
    return Float32Products.precision


@function(method=False)
def set_float32_matmul_precision(precision: str) -> None:
    """How precise large products of float32 are on GPUs from compute capability 8.0 on: "highest", all bits; "high",
    TF32, 11 bits of each operand; "medium", bf16, 8. Two more names than PyTorch's: "tf32", whatever "high" is, and
    "bf16x3", 16 bits by three products of bf16. Small products and those of CPUs have all bits. Sums are float32.
    Convolutions take TF32 for "high", "tf32" and "medium". Raises ValueError for other names."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(map(repr, PRECISIONS))}, not {precision!r}")
    with lazy.between_programs():
        Float32Products.precision = precision


def _dequantized(self: Tensor) -> Tensor:
    from ..ir.types import f32

    return convert(self, f32)


_dequantized.__doc__ = "This tensor in float32, which it is."
METHODS["dequantize"] = _dequantized
attribute("is_meta", lambda self: self.device.type == "meta", "bool")
attribute("is_quantized", lambda self: False, "bool")


@method()
def is_shared(self: Tensor) -> bool:
    """False: processes share no tensors."""
    return False


@method()
def to_dense(self: Tensor, dtype: Any = None) -> Tensor:
    """This tensor, which is dense, in another dtype where one is named."""
    if dtype is None:
        return self
    made: Tensor = self.to(dtype)
    return made


@method()
def module_load(self: Tensor, other: Any, assign: bool = False) -> Tensor:
    """What a module takes for this parameter from a tensor in a file."""
    return as_tensor(other).detach()


def _index_put(input: Tensor, indices: Any, values: Any, accumulate: bool = False) -> Tensor:
    """`index_put`, written into input, which is returned."""
    made: Tensor = input.index_put_(indices, values, accumulate)
    return made


FUNCTIONS["index_put_"] = _index_put
