"""The programs of a model (one token, a block of tokens, a token of each of several sequences): captured and compiled,
or found on disk.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..ir.types import Element, element
from ..kernel.program import Compiled, Program
from ..session.stored import program_key
from ..session.tuning_file import tuning_entries
from ..targets.target import Target
from .choice import named
from .draw import Choice, graph_of
from .pages import pages_of
from .weights import DecoderWeights

if TYPE_CHECKING:
    from ..compiler.pipeline import KernelLibrary
    from ..ir.graph import Graph

BLOCK = 512  # tokens of a prompt that are processed together
CAPACITY_STEP = 64  # caches hold a multiple of this many tokens


@dataclass(frozen=True)
class StepOptions:
    """What programs depend on beside the model: `context` in tokens, `magnitude` of rotary positions (YaRN's factor),
    `activations` ("int8" or "float"), the cache's dtype, and the numbers of sequences that are generated together."""

    context: int
    activations: str
    cache_dtype: str
    magnitude: float
    batches: tuple[int, ...] = ()
    most: int = BLOCK
    """Tokens of a prompt that are processed together, at most: `Place.prompt_block`."""
    page_size: int = 0
    """Tokens of a page of the cache; 0 where caches are not in pages."""
    cache_tokens: int = 0
    """Tokens that all pages hold together."""
    one_row: bool = False
    """Whether prefill gives the logits of a block's last token alone: `Place.one_row`."""

    @property
    def capacity(self) -> int:
        """Tokens that a cache holds."""
        return capacity_of(self.context)

    @property
    def pages(self) -> int:
        """Pages of the cache, with the one that is nobody's; 0 where it is not in pages."""
        return 1 + pages_of(self.cache_tokens, self.page_size) if self.page_size else 0

    @property
    def block(self) -> int:
        """The most tokens of a prompt that one run takes."""
        return max(min(self.most, self.capacity), 2)


def capacity_of(context: int) -> int:
    """Tokens that the cache of a sequence holds, of a context."""
    return -(-context // CAPACITY_STEP) * CAPACITY_STEP


def cache_element(name: str) -> Element:
    """The element type of a cache. Raises FormatError."""
    if name in ("f16", "bf16", "f32"):
        return element(name)
    from ..quant import formats  # declarations, which plain caches do not need

    return formats.get(name)


def steps_key(weights: DecoderWeights, options: StepOptions, target: Target) -> str | None:
    """The key of a model's programs on disk: all that they are made from. None where nothing is to be kept."""
    tensors = sorted((t.name, t.type_name, t.shape) for t in weights.file.tensors.values())
    declared = weights.file.metadata.strings("heliostat.formats", ())
    parts = (weights.config, tensors, list(declared), options, sorted(tuning_entries(target).items()))
    return program_key([repr(part) for part in parts], target)


def compile_steps(
    weights: DecoderWeights, options: StepOptions, target: Target
) -> tuple[list[Compiled], KernelLibrary]:
    """Decode and prefill, choices from their logits where the vocabulary divides, the same for each batch
    (`decode_8`, `choice_8`), and the kernels that they share. Raises FileFormatError for tensors that do not fit.
    """
    made = _graphs(weights, options)
    graphs = [made(1, name="decode"), made(options.block, name="prefill", all_rows=not options.one_row)]
    graphs += [made(1, name=f"decode_{count}", sequences=count) for count in options.batches]
    ways = list(Choice) if target.gpu else [Choice.GREEDY]  # cores have the logits where a sampler is
    choices = [graph_of(way, weights.config.vocabulary, count) for way in ways for count in (1, *options.batches)]
    graphs += [choice for choice in choices if choice is not None]
    return _compiled(graphs, options, target)


def compile_all_rows(weights: DecoderWeights, options: StepOptions, target: Target, library: KernelLibrary) -> Compiled:
    """`prefill` with the logits of the last `rows` tokens, a symbol, where the model's own has those of one alone.
    `library`: of the model's programs, which names its kernels."""
    graph = _graphs(weights, options)(options.block, name="prefill", all_rows=True)
    (compiled,), _ = _compiled([graph], options, target, library)
    return compiled


def _graphs(weights: DecoderWeights, options: StepOptions) -> Callable[..., Graph]:
    """`step_graph` for a model and its caches."""
    from .decoder import CacheConfig, Decoder, step_graph

    decoder = Decoder(weights.config, weights.type)
    cache = CacheConfig(options.capacity, options.cache_dtype, pages=options.pages, page_size=options.page_size)
    return partial(step_graph, decoder, cache, magnitude=options.magnitude)


def _compiled(
    graphs: Sequence[Graph], options: StepOptions, target: Target, library: KernelLibrary | None = None
) -> tuple[list[Compiled], KernelLibrary]:
    """Programs of graphs, and the kernels that they share, with those that a library has."""
    from ..compiler.pipeline import KernelLibrary, Options  # not needed where the programs are found on disk
    from ..session import stages
    from ..session.tuning import load_tuning

    library = library or KernelLibrary()
    chosen = Options(options.activations, load_tuning(target))
    with _no_collection():
        return [stages.compile_graph(g, target, chosen, library) for g in graphs], library


def choices_of(programs: Mapping[str, Compiled], count: int) -> dict[Choice, Program]:
    """The programs that choose tokens for `count` rows, of those that `compile_steps` made."""
    found = {way: programs.get(named(way.value, count)) for way in Choice}
    return {way: compiled.program for way, compiled in found.items() if compiled is not None}


@contextmanager
def _no_collection() -> Iterator[None]:
    """Building graphs and kernels makes many objects and little garbage: looking for it takes a fifth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
