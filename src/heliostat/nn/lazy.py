"""Modules that find the sizes of their inputs at their first call."""

from __future__ import annotations

from typing import Any, ClassVar

from ..diagnostics import ShapeError
from ..tensor import Tensor
from ..tensor.devices import default_name
from . import convolution, linear, normalization
from .module import Module
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy


class LazyModule(Module):
    """Base of modules whose first tensors have no shape until they see an input; then they become `cls_to_become`."""

    cls_to_become: ClassVar[type[Module] | None] = None

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        return any(is_lazy(t) for t in (*self._parameters.values(), *self._buffers.values()))

    def initialize_parameters(self, input: Tensor) -> None:
        """Give parameters the shapes that an input asks for."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is initialized")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.has_uninitialized_params():
            self.initialize_parameters(*args, **kwargs)
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become  # type: ignore[assignment]
        return Module.__call__(self, *args, **kwargs)


class LazyLinear(LazyModule, linear.Linear):
    """A Linear whose in_features is the last axis of its first input."""

    cls_to_become = linear.Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, False, device, dtype)
        self.out_features = out_features
        _shapeless(self, bias, device, dtype)

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.in_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        self.in_features = input.shape[-1]
        _weights(self).materialize((self.out_features, self.in_features))
        if self.bias is not None:
            self.bias.materialize((self.out_features,))
        self.reset_parameters()


def _weights(module: Module) -> Any:
    return module._parameters["weight"]


class _LazyConvolution(LazyModule):
    axes: int
    transposed: bool

    def has_uninitialized_params(self) -> bool:
        return "weight" in self._parameters and super().has_uninitialized_params()

    def reset_parameters(self) -> None:
        """First values, once there are shapes."""
        if not self.has_uninitialized_params() and self.in_channels:
            convolution._Convolution.reset_parameters(self)  # type: ignore[arg-type]

    def initialize_parameters(self, input: Tensor, *rest: Any) -> None:
        if input.ndim not in (self.axes + 1, self.axes + 2):
            raise ShapeError(
                f"Expected {self.axes + 1}D (unbatched) or {self.axes + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {list(input.shape)}"
            )
        self.in_channels = input.shape[-self.axes - 1]
        if self.in_channels % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        pair = (self.in_channels, self.out_channels)
        first, second = pair if self.transposed else pair[::-1]
        _weights(self).materialize((first, second // self.groups, *self.kernel_size))
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()


def _shapeless(module: Any, bias: bool, device: Any, dtype: Any) -> None:
    module.weight = UninitializedParameter(device=device, dtype=dtype)
    module._parameters["bias"] = UninitializedParameter(device=device, dtype=dtype) if bias else None


class _LazyConv(_LazyConvolution):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode, device, dtype)
        self.out_channels = out_channels
        _shapeless(self, bias, device, dtype)


class LazyConv1d(_LazyConv, convolution.Conv1d):
    """A Conv1d whose in_channels are those of its first input."""

    cls_to_become = convolution.Conv1d


class LazyConv2d(_LazyConv, convolution.Conv2d):
    """A Conv2d whose in_channels are those of its first input."""

    cls_to_become = convolution.Conv2d


class LazyConv3d(_LazyConv, convolution.Conv3d):
    """A Conv3d whose in_channels are those of its first input."""

    cls_to_become = convolution.Conv3d


class _LazyConvTranspose(_LazyConvolution):
    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation, padding_mode, device, dtype
        )
        self.out_channels = out_channels
        _shapeless(self, bias, device, dtype)


class LazyConvTranspose1d(_LazyConvTranspose, convolution.ConvTranspose1d):
    """A ConvTranspose1d whose in_channels are those of its first input."""

    cls_to_become = convolution.ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, convolution.ConvTranspose2d):
    """A ConvTranspose2d whose in_channels are those of its first input."""

    cls_to_become = convolution.ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, convolution.ConvTranspose3d):
    """A ConvTranspose3d whose in_channels are those of its first input."""

    cls_to_become = convolution.ConvTranspose3d


class _LazyNorm(LazyModule):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False, device, dtype)
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            self._parameters["weight"] = UninitializedParameter(device=device, dtype=dtype)
            self._parameters["bias"] = UninitializedParameter(device=device, dtype=dtype) if bias else None
        if track_running_stats:
            from ..tensor import create

            for name in ("running_mean", "running_var"):
                self._buffers[name] = UninitializedBuffer(device=device, dtype=dtype)
            self._buffers["num_batches_tracked"] = create.tensor(0, device=default_name(device))

    def reset_parameters(self) -> None:
        """First values, once there are shapes."""
        if not self.has_uninitialized_params() and self.num_features:
            normalization._Norm.reset_parameters(self)  # type: ignore[arg-type]

    def initialize_parameters(self, input: Tensor) -> None:
        self._check_input_dim(input)
        single = not isinstance(self, normalization._BatchNorm) and input.ndim == self.axes[0]
        self.num_features = input.shape[0 if single else 1]
        for t in (*self._parameters.values(), *self._buffers.values()):
            if is_lazy(t):
                t.materialize((self.num_features,))
        self.reset_parameters()


class LazyBatchNorm1d(_LazyNorm, normalization.BatchNorm1d):
    """A BatchNorm1d whose num_features are the channels of its first input."""

    cls_to_become = normalization.BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, normalization.BatchNorm2d):
    """A BatchNorm2d whose num_features are the channels of its first input."""

    cls_to_become = normalization.BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, normalization.BatchNorm3d):
    """A BatchNorm3d whose num_features are the channels of its first input."""

    cls_to_become = normalization.BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, normalization.InstanceNorm1d):
    """An InstanceNorm1d whose num_features are the channels of its first input."""

    cls_to_become = normalization.InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, normalization.InstanceNorm2d):
    """An InstanceNorm2d whose num_features are the channels of its first input."""

    cls_to_become = normalization.InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, normalization.InstanceNorm3d):
    """An InstanceNorm3d whose num_features are the channels of its first input."""

    cls_to_become = normalization.InstanceNorm3d
