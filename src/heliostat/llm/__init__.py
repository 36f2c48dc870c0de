"""The local LLM engine: model files, tokenizers, decoders, sampling. `load(path)` gives a model that generates text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .answer import Piece
from .model import LanguageModel, Progress, load_tokenizer

__all__ = ["LanguageModel", "Piece", "Progress", "demo_path", "load", "load_tokenizer"]


def load(
    path: str | Path,
    threads: int | None = None,
    context: int | None = None,
    activations: str = "int8",
    cache_dtype: str = "f16",
    progress: Progress | None = None,
    device: str = "cpu",
    batch: Sequence[int] = (),
    cache: str = "contiguous",
    page_size: int | None = None,
    cache_tokens: int | None = None,
) -> LanguageModel:
    """Load a model for this machine: a GGUF file, or a folder of safetensors with config.json and tokenizer.json.

    `threads`: worker threads, None for the physical cores. `context`: tokens of prompt and answer together, None for
    the model's own up to 4096. `activations`: "int8" quantizes the inputs of quantized products, "float" computes them
    in f32. `cache_dtype`: of keys and values, "f16", "bf16", "f32", or "q8_0", which quantizes blocks of 32 elements.
    `device`: "cpu", "cuda", or "cuda:1" for the second GPU. `batch`: numbers of
    sequences that `generate_batch` may take together, each with caches of its own.
    `cache`: "contiguous", or "paged" for one cache of pages that all sequences share: each takes memory for the tokens
    it has, those that begin alike share pages, and where pages are short some wait. `page_size`: tokens of a page, a
    multiple of 64 (default 64). `cache_tokens`: tokens that all pages hold, at least `context` (default: that, or a
    quarter of it for each sequence of the largest batch, whichever is more); no more is taken than all sequences have
    room for.
    Raises FileFormatError, UnsupportedError or ContextLengthError with one line that names the file and the fault.
    """
    return LanguageModel(
        path, threads, context, activations, cache_dtype, progress, device, batch, cache, page_size, cache_tokens
    )


def demo_path() -> Path:
    """The small model that comes with the package."""
    return Path(__file__).parent.parent / "data" / "demo-q8_0.gguf"
