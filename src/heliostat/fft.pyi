"""Discrete Fourier transforms, with torch.fft's names: NumPy on the cpu, cuFFT or graph on GPUs, graph in what is
compiled. Gradients are transforms too."""
# Written by `python -m heliostat.stubs` from the functions themselves; changes belong there.

from heliostat.tensor.core import Tensor
from heliostat.tensor.spectrum import Axes
from typing import Any


def fft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The transform, over an axis, which are cut off or filled up with zeros to the sizes given."""
def fft2(input: Tensor, s: Any = None, dim: Axes = (-2, -1), norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The transform, over two axes, which are cut off or filled up with zeros to the sizes given."""
def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, out: Tensor | None = None, **rest: Any) -> Tensor:
    """The frequencies of `fft` of n elements that are d apart: (n,) floats."""
def fftn(input: Tensor, s: Any = None, dim: Axes = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The transform, over axes, all where none is named, which are cut off or filled up with zeros to the sizes given."""
def fftshift(input: Tensor, dim: Axes = None) -> Tensor:
    """Frequency 0 moved to the middle of axes, all where none is named."""
def hfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The transform of half a signal whose other half is conjugated, real numbers, over an axis, which are cut off or filled up with zeros to the sizes given."""
def hfft2(input: Tensor, s: Any = None, dim: Axes = (-2, -1), norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The transform of half a signal whose other half is conjugated, real numbers, over two axes, which are cut off or filled up with zeros to the sizes given."""
def hfftn(input: Tensor, s: Any = None, dim: Axes = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The transform of half a signal whose other half is conjugated, real numbers, over axes, all where none is named, which are cut off or filled up with zeros to the sizes given."""
def ifft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse transform, over an axis, which are cut off or filled up with zeros to the sizes given."""
def ifft2(input: Tensor, s: Any = None, dim: Axes = (-2, -1), norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse transform, over two axes, which are cut off or filled up with zeros to the sizes given."""
def ifftn(input: Tensor, s: Any = None, dim: Axes = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse transform, over axes, all where none is named, which are cut off or filled up with zeros to the sizes given."""
def ifftshift(input: Tensor, dim: Axes = None) -> Tensor:
    """The inverse of `fftshift`."""
def ihfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of `hfft`, of real numbers, over an axis, which are cut off or filled up with zeros to the sizes given."""
def ihfft2(input: Tensor, s: Any = None, dim: Axes = (-2, -1), norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of `hfft`, of real numbers, over two axes, which are cut off or filled up with zeros to the sizes given."""
def ihfftn(input: Tensor, s: Any = None, dim: Axes = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of `hfft`, of real numbers, over axes, all where none is named, which are cut off or filled up with zeros to the sizes given."""
def irfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of `rfft`, real numbers, over an axis, which are cut off or filled up with zeros to the sizes given."""
def irfft2(input: Tensor, s: Any = None, dim: Axes = (-2, -1), norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of `rfft`, real numbers, over two axes, which are cut off or filled up with zeros to the sizes given."""
def irfftn(input: Tensor, s: Any = None, dim: Axes = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of `rfft`, real numbers, over axes, all where none is named, which are cut off or filled up with zeros to the sizes given."""
def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The first half of the transform of real numbers, over an axis, which are cut off or filled up with zeros to the sizes given."""
def rfft2(input: Tensor, s: Any = None, dim: Axes = (-2, -1), norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The first half of the transform of real numbers, over two axes, which are cut off or filled up with zeros to the sizes given."""
def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, out: Tensor | None = None, **rest: Any) -> Tensor:
    """The frequencies of `rfft` of n elements that are d apart: (n // 2 + 1,) floats."""
def rfftn(input: Tensor, s: Any = None, dim: Axes = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The first half of the transform of real numbers, over axes, all where none is named, which are cut off or filled up with zeros to the sizes given."""

__all__ = ['fft', 'fft2', 'fftfreq', 'fftn', 'fftshift', 'hfft', 'hfft2', 'hfftn', 'ifft', 'ifft2', 'ifftn', 'ifftshift', 'ihfft', 'ihfft2', 'ihfftn', 'irfft', 'irfft2', 'irfftn', 'rfft', 'rfft2', 'rfftfreq', 'rfftn']
