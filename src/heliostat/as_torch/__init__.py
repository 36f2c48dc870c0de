"""Programs that say `import torch`, run by heliostat: `install()` answers their imports, and
`python -m heliostat.as_torch PROGRAM ARGUMENTS` does that and runs one, with `-m MODULE` a module.

`torch` is then a module that looks names up in `heliostat`, `torch.nn` one that looks them up in `heliostat.nn`, and so
on; `ROOMS` names those that lie elsewhere. Nothing is copied: classes and functions are heliostat's own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ..ir.types import speak
from ..tensor.dtypes import NAMES

# Where the names of a room are looked up, in order; of all others in the room of the same name.
ROOMS: dict[str, tuple[str, ...]] = {
    "torch": ("heliostat.as_torch.names", "heliostat"),
    "torch._C": ("heliostat.as_torch.extensions.core",),
    "torch._custom_ops": ("heliostat.as_torch.extensions",),
    "torch._dynamo": ("heliostat.as_torch.compiler",),
    "torch._inductor": ("heliostat.as_torch.compiler",),
    "torch._inductor.config": ("heliostat.as_torch.compiler.config",),
    "torch._utils": ("heliostat.as_torch.internals",),
    "torch.accelerator": ("heliostat.as_torch.accelerator",),
    "torch.autograd": ("heliostat.autograd", "heliostat.as_torch.variable"),
    "torch.autograd.profiler": ("heliostat.as_torch.profiler.older", "heliostat.profiler"),
    "torch.backends": ("heliostat.as_torch.backends",),
    "torch.compiler": ("heliostat.as_torch.compiler",),
    "torch.cuda": ("heliostat.cuda", "heliostat.as_torch.cuda"),
    "torch.cuda.amp": ("heliostat.as_torch.cuda.amp", "heliostat.amp"),
    "torch.cuda.random": ("heliostat.cuda",),
    "torch.func": ("heliostat.func",),
    "torch.distributed": ("heliostat.as_torch.distributed",),
    "torch.distributions.constraint_registry": ("heliostat.distributions.constraint_registry",),
    "torch.distributions.constraints": ("heliostat.distributions.constraints",),
    "torch.distributions.transforms": ("heliostat.distributions.transforms",),
    "torch.fx": ("heliostat.as_torch.fx",),
    "torch.hub": ("heliostat.as_torch.hub",),
    "torch.jit": ("heliostat.as_torch.jit",),
    "torch.jit.annotations": ("heliostat.as_torch.jit", "typing"),
    "torch.library": ("heliostat.as_torch.extensions",),
    "torch.mps": ("heliostat.as_torch.accelerator.absent",),
    "torch.multiprocessing": ("heliostat.as_torch.processes", "multiprocessing"),
    "torch.nn": ("heliostat.nn", "heliostat.as_torch.parallel"),
    "torch.nn.attention": ("heliostat.as_torch.attention",),
    "torch.nn.attention.flex_attention": ("heliostat.as_torch.flex_attention",),
    "torch.nn.init": ("heliostat.nn.init", "heliostat.as_torch.modules"),
    "torch.nn.modules": ("heliostat.nn", "heliostat.as_torch.modules"),
    "torch.nn.parallel": ("heliostat.as_torch.parallel",),
    "torch.nn.quantized": ("heliostat.ao.nn.quantized",),
    "torch.onnx": ("heliostat.as_torch.onnx",),
    "torch.ops": ("heliostat.as_torch.extensions.ops",),
    "torch.profiler": ("heliostat.as_torch.profiler", "heliostat.profiler"),
    "torch.overrides": ("heliostat.as_torch.overrides",),
    "torch.optim.optimizer": ("heliostat.optim.optimizer", "heliostat.optim"),
    "torch.quantization": ("heliostat.ao.quantization",),
    "torch.types": ("heliostat.as_torch.types",),
    "torch.utils.dlpack": ("heliostat.tensor.copies", "heliostat"),
    "torch.testing": ("heliostat.as_torch.testing",),
    "torch.utils": ("heliostat.utils",),
    "torch.utils._pytree": ("heliostat.as_torch.tree",),
    "torch.utils.hooks": ("heliostat.tensor.core",),
    "torch.utils.cpp_extension": ("heliostat.as_torch.cpp_extension",),
    "torch.utils.model_zoo": ("heliostat.as_torch.hub",),
    "torch.version": ("heliostat.as_torch.version",),
    "torch.xpu": ("heliostat.as_torch.accelerator.absent",),
}
# Rooms whose names lie in files of other names here: modules within, of which some are attributes too, have all names.
GATHERED: dict[str, tuple[str, ...]] = {
    "torch.distributed": ("algorithms", "checkpoint", "device_mesh", "fsdp", "nn", "optim", "rpc", "tensor", "utils"),
    "torch.distributions": (
        "bernoulli", "beta", "binomial", "categorical", "cauchy", "chi2", "dirichlet", "distribution", "exponential",
        "gamma", "independent", "kl", "laplace", "log_normal", "lowrank_multivariate_normal", "mixture_same_family",
        "multinomial", "multivariate_normal", "normal", "one_hot_categorical", "poisson", "relaxed_bernoulli",
        "relaxed_categorical", "studentT", "transformed_distribution", "uniform", "utils", "von_mises",
    ),
    "torch.fx": ("graph", "graph_module", "interpreter", "node", "proxy"),
    "torch.jit": (),
    "torch.nn.modules": (
        "activation", "batchnorm", "container", "conv", "distance", "dropout", "flatten", "fold", "instancenorm",
        "lazy", "linear", "loss", "module", "normalization", "padding", "pixelshuffle", "pooling", "rnn", "sparse",
        "transformer", "upsampling", "utils",
    ),
    "torch.nn.parallel": ("distributed",),
    "torch.utils.data": ("dataloader", "dataset", "distributed", "sampler"),
}  # fmt: skip


def sources_of(name: str) -> tuple[str, ...]:
    """The modules in which the names of a room of PyTorch are looked up, some of which may not be there. `name`: of the
    room, `torch.nn.functional`."""
    room = name if name in ROOMS else next((r for r in GATHERED if name.startswith(f"{r}.")), name)
    if room in ROOMS:
        return ROOMS[room]
    above, _, last = room.rpartition(".")
    return tuple(f"{source}.{last}" for source in sources_of(above))


class Room(ModuleType):
    """A module that has the names of others. What is set on it is set on the first of them."""

    def __init__(self, name: str, sources: Sequence[Any]) -> None:
        super().__init__(name, sources[0].__doc__)
        self.__dict__["_sources"] = tuple(sources)
        self.__dict__["__path__"] = []

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":  # what `from torch import *` takes
            return sorted({n for source in self._sources for n in _offered(source)})
        if name not in ("__file__", "__wrapped__"):
            inner = f"{self.__name__}.{name}"
            if inner in ROOMS or name in GATHERED.get(self.__name__, ()):
                return import_module(inner)
            for source in self._sources:
                found = getattr(source, name, self)
                if found is not self:
                    if (
                        isinstance(found, ModuleType)
                        and not callable(found)
                        and found.__name__.startswith("heliostat.")
                    ):
                        return import_module(inner)
                    return found
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}: heliostat stands in its place")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__") or isinstance(value, Room):
            self.__dict__[name] = value
        else:
            setattr(self._sources[0], name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            del self.__dict__[name]
            return
        for source in self._sources:  # what was set lies in one of them: mock.patch deletes it, and sets what was there
            if name in vars(source):
                delattr(source, name)
                return
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} to delete")

    def __dir__(self) -> list[str]:
        return sorted({n for source in self._sources for n in dir(source)})


class Finder:
    """Answers imports of `torch` and the rooms within; one for `sys.meta_path`."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A spec for `torch` and its rooms, None for modules of other packages."""
        if name != "torch" and not name.startswith("torch."):
            return None
        return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The room of a name. Raises ModuleNotFoundError where heliostat has none."""
        sources = [found for name in sources_of(spec.name) if (found := _source(name)) is not None]
        if not sources:
            raise ModuleNotFoundError(f"No module named {spec.name!r}: heliostat stands in its place", name=spec.name)
        return Room(spec.name, sources)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


def _offered(source: Any) -> list[str]:
    """The names of a source that are for its users: its `__all__`, or all that are public and no modules."""
    listed: list[str] | None = getattr(source, "__all__", None)
    if listed is not None:
        return listed
    public = [n for n in dir(source) if not n.startswith("_")]
    return [n for n in public if n != "annotations" and not isinstance(getattr(source, n), ModuleType)]


def _source(name: str) -> Any:
    """A module, or what stands in one, such as a room of switches; None where neither is there."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # a package that a module of ours needs
    above, _, last = name.rpartition(".")
    return getattr(_source(above), last, None) if above else None


def install() -> None:
    """Answer every later `import torch` of this process, and of modules of it. Raises ImportError where PyTorch itself
    was imported before: two sets of tensors would meet."""
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    if "torch" in sys.modules:
        raise ImportError("install() of heliostat.as_torch comes too late: torch was imported before")
    sys.meta_path.insert(0, Finder())
    speak({dtype.name: f"torch.{name}" for name, dtype in reversed(NAMES.items())})
