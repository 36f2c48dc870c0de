"""What quantized modules share: a scale and a zero point of the output, and weights of codes."""

from __future__ import annotations

from typing import Any, Self

from ....diagnostics import DTypeError, ShapeError, UnsupportedError
from ....ir.types import f16, f32, i64
from ....nn import Module, Sequential
from ....tensor import FUNCTIONS, Tensor
from ....tensor.quantized import QuantizedTensor, qint8, quantize_per_tensor, quint8
from ..intrinsic.fused import Fused
from ..swap import copied, quantized_weight

as_tensor = FUNCTIONS["as_tensor"]


class OutputCodes(Module):
    """A module whose output is made codes of `scale` and `zero_point`, buffers without axes. The dtype of the codes is
    that of the input, quint8 where that is none."""

    scale: Tensor
    zero_point: Tensor

    def set_output(self, scale: Any = 1.0, zero_point: Any = 0) -> Self:
        """Give the output a scale and a zero point: numbers, or tensors of one number."""
        for name, value, dtype in (("scale", scale, f32), ("zero_point", zero_point, i64)):
            t = as_tensor(value).detach().to(dtype)
            if t.numel() != 1:
                raise ShapeError(f"{type(self).__name__}: {name} is one number, found {list(t.shape)}")
            self._buffers[name] = t.reshape(()).clone()
        return self

    def codes_in(self, input: Any) -> QuantizedTensor:
        """The input, which must be quantized. Raises DTypeError."""
        if not isinstance(input, QuantizedTensor):
            what = f"{self._get_name()} takes quantized tensors, found {getattr(input, 'dtype', type(input))}"
            raise DTypeError(what, help="put a QuantStub before it")
        return input

    def codes_of(self, y: Tensor, input: Any) -> Tensor:
        """A result as codes."""
        dtype = input.dtype if isinstance(input, QuantizedTensor) else quint8
        made: Tensor = quantize_per_tensor(y, self.scale, self.zero_point, dtype)
        return made

    def _get_name(self) -> str:
        return f"Quantized{type(self).__name__}"

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """The quantized form of an observed module, with the scale and the zero point that its observer found."""
        made = copied(cls, mod)
        return made.set_output(*mod.activation_post_process.calculate_qparams())

    @classmethod
    def from_reference(cls, mod: Any, scale: Any, zero_point: Any) -> Self:
        """The quantized form of a module of floats, with a scale and a zero point."""
        return copied(cls, mod).set_output(scale, zero_point)


class OfValues(OutputCodes):
    """A module of floats between dequantization and quantization: the compiler makes one kernel of the three."""

    def forward(self, input: Tensor) -> Tensor:
        """input: codes; codes of the shape that the module of floats gives."""
        y: Tensor = super().forward(self.codes_in(input).dequantize())
        return self.codes_of(y, input)


class WeightCodes(Module):
    """A module with a quantized weight, in the place of the parameters of a module of floats. `weight` and `bias` are
    methods, as PyTorch's; state dicts have tensors of these names."""

    def weight(self) -> Any:
        """The quantized weight; of dtype float16 a tensor."""
        return self._buffers["weight"]

    def bias(self) -> Tensor | None:
        """The bias, (O,) in float32, or None."""
        return self._buffers["bias"]

    def set_weight_bias(self, w: Tensor, b: Tensor | None) -> None:
        """Take another quantized weight and another bias. Raises ShapeError for another shape."""
        held = self._buffers.get("weight")
        if held is not None and held.shape != w.shape:
            raise ShapeError(f"{type(self).__name__}: a weight {list(w.shape)} does not fit {list(held.shape)}")
        self._buffers["weight"] = w
        self._buffers["bias"] = None if b is None else b.detach()

    def make_codes(self, module: Any, dtype: Any) -> None:
        """Be as a module of floats, with codes of 0 in the place of its weight and bias. dtype: qint8 or float16;
        raises DTypeError."""
        self.__dict__.update(copied(type(self), module).__dict__)
        weight, bias = self._parameters.pop("weight").detach(), self._parameters.pop("bias", None)
        if dtype == qint8:
            weight = quantize_per_tensor(FUNCTIONS["zeros_like"](weight), as_tensor(1.0), as_tensor(0), qint8)
        elif dtype == f16:
            weight = FUNCTIONS["zeros_like"](weight).to(f16)
        else:
            raise DTypeError(f"{type(self).__name__}: weights are qint8 or float16, not {dtype}")
        self.set_weight_bias(weight, None if bias is None else FUNCTIONS["zeros_like"](bias))

    def weight_of_product(self) -> Tensor:
        """The weight as products take it: codes as they are, float16 as float32."""
        w = self.weight()
        made: Tensor = w if isinstance(w, QuantizedTensor) else w.to(f32)
        return made


def with_weight_codes(cls: Any, mod: Any, source: Any, observer: Any, precomputed: bool = False) -> Any:
    """A module of a class with what `source` has, whose weight is quantized as `observer` says. mod: the module that
    is replaced; of one that trained with a batch norm, weight and bias are those of both together."""
    weight, bias = mod.folded() if hasattr(mod, "folded") else (source.weight, source.bias)
    if observer.dtype == f16:
        weight = weight.detach().to(f16)
    elif observer.dtype == qint8:
        if not precomputed:
            observer(weight)
        weight = quantized_weight(weight, observer)
    else:
        raise DTypeError(f"{cls.__name__}.from_float: a weight is qint8 or float16, its observer has {observer.dtype}")
    made = copied(cls, source)
    made._parameters.pop("weight", None)
    made._parameters.pop("bias", None)
    made._modules.pop("bn", None)
    made._buffers.pop("weight", None)
    made.set_weight_bias(weight, bias)
    return made


def weight_observer(mod: Any) -> Any:
    """What observes the weight of a module: its fake quantizer, or a new observer of its qconfig. Raises
    UnsupportedError for modules without one."""
    if "weight_fake_quant" in mod._modules:
        return mod.weight_fake_quant
    qconfig = getattr(mod, "qconfig", None)
    if qconfig is None:
        raise UnsupportedError(f"{type(mod).__name__} has no qconfig", help="set it before prepare()")
    return qconfig.weight()


def taken(mod: Any) -> Any:
    """The module that has the weight: the first of a fused sequence."""
    return mod[0] if isinstance(mod, Fused) and isinstance(mod, Sequential) else mod
