"""Options of a training run as dataclasses, read from a TOML file and from flags, which win. Every field is a key of
the file and a flag of the command line; keys that are none are refused with the nearest that is one.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ..diagnostics import FileFormatError, HeliostatError
from ..lang.types import did_you_mean
from ..llm.config import ARCHITECTURES
from ..session.devices import device_name

Options = TypeVar("Options", bound="RunOptions")


class OptionError(HeliostatError, ValueError):
    """An option of a training run is unknown, of another type, or outside of its range."""


class TrainingError(HeliostatError, RuntimeError):
    """A training run cannot go on: its loss is no number any more."""


def option(default: Any, help: str, low: float | None = None, choices: tuple[str, ...] = ()) -> Any:
    """A field with what `--help` says of it and the values it may have."""
    return field(default=default, metadata={"help": help, "low": low, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What every training run is asked: where it writes, how long, how fast it learns."""

    out: str = option("run", "folder of checkpoint, loss curve and result")
    steps: int = option(600, "updates", 1)
    batch: int = option(16, "sequences in an update", 1)
    block: int = option(128, "tokens in a sequence", 2)
    lr: float = option(1e-3, "largest learning rate", 0)
    min_lr: float = option(1e-4, "learning rate at the end of the cosine", 0)
    warmup: int = option(50, "steps in which the learning rate grows from 0", 0)
    weight_decay: float = option(0.1, "of matrices, decoupled (AdamW)", 0)
    beta2: float = option(0.99, "memory of squared gradients (AdamW)", 0)
    clip: float = option(1.0, "largest norm of all gradients together; 0 does not clip", 0)
    dropout: float = option(0.0, "share of activations set to 0", 0)
    seed: int = option(0, "of first weights, order of data and dropout", 0)
    validation: float = option(0.05, "share of the data that losses are checked on; 0 checks none", 0)
    eval_every: int = option(100, "steps between checks", 1)
    eval_batches: int = option(8, "batches of a check", 1)
    checkpoint_every: int = option(100, "steps between checkpoints", 1)
    keep: str = option("last", "parameters that are written at the end: the last, or the best of all checks",
                       choices=("last", "best"))  # fmt: skip
    device: str = option("cpu", "where the steps run: cpu, cuda or cuda:N")
    autocast: str = option("none", "type of products in a step, under autocast", choices=("none", "bfloat16"))

    def check(self) -> None:
        """Raise OptionError for values outside of their range, or that do not fit together; UnsupportedError for a
        device that there is not."""
        for f in dataclasses.fields(self):
            value, low, choices = getattr(self, f.name), f.metadata["low"], f.metadata["choices"]
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and ("\0" in text or (not text and f.default != "")):
                    raise OptionError(f"{f.name} must name something, got {text!r}")
            if low is not None and value is not None and not value >= low:
                raise OptionError(f"{f.name} must be at least {low}, got {value}")
            if isinstance(value, float) and not math.isfinite(value):
                raise OptionError(f"{f.name} must be finite, got {value}")
            if choices and value not in choices:
                raise OptionError(f"{f.name} must be one of {', '.join(choices)}, got {value!r}")
        device_name(self.device)
        for name in ("dropout", "validation", "beta2"):
            if not getattr(self, name) < 1:
                raise OptionError(f"{name} must be below 1, got {getattr(self, name)}")
        if self.keep == "best" and not self.validation:
            raise OptionError(
                "keep is 'best', and validation 0 checks none", help="hold some text back, or keep the last"
            )
        if self.min_lr > self.lr:
            raise OptionError(f"min_lr is {self.min_lr}, above lr, {self.lr}", help="give both, or a smaller min_lr")


RESUMABLE = ("out", "checkpoint_every", "data", "model", "device")
"""Options that may differ when a run goes on: they change no step, or its rounding only (device). Of data and model it
is the contents that count."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelOptions(RunOptions):
    """A language model from nothing. The defaults train for some minutes on two cores."""

    data: tuple[str, ...] = option(
        (), "files, or folders of *.txt and *.py files; without any, Python's standard library"
    )
    max_bytes: int = option(0, "bytes of text to read at most; 0 reads all", 0)
    tokenizer: str = option("bpe", "pieces of text that tokens stand for", choices=("bpe", "byte"))
    vocabulary: int = option(2048, "tokens of a bpe tokenizer", 257)
    pre_tokenizer: str = option("gpt-2", "rule by which bpe cuts words, as GGUF names it", choices=("gpt-2", "qwen2"))
    chat: bool = option(False, "tokens and template of ChatML, for conversations")
    architecture: str = option("llama", "of the decoder, as GGUF names it", choices=tuple(ARCHITECTURES))
    hidden: int = option(192, "width of the model", 2)
    layers: int = option(4, "blocks", 1)
    heads: int = option(6, "heads of queries", 1)
    kv_heads: int = option(2, "heads of keys and values", 1)
    feed_forward: int = option(512, "width inside of feed-forward", 1)
    rope_base: float = option(10000.0, "base of the rotary positions", 1)
    tied: bool = option(True, "read logits off the embedding table")
    type: str = option("F16", "of matrices in the GGUF file", choices=("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K"))

    def check(self) -> None:
        super().check()
        if self.hidden % self.heads or self.hidden // self.heads % 2:
            raise OptionError(f"hidden ({self.hidden}) must be an even multiple of heads ({self.heads})")
        if self.tokenizer == "byte" and self.pre_tokenizer != LanguageModelOptions.pre_tokenizer:
            raise OptionError(f"pre_tokenizer is {self.pre_tokenizer!r}, and a byte tokenizer cuts no words")
        if self.heads % self.kv_heads:
            raise OptionError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")


@dataclass(frozen=True, kw_only=True)
class LoraOptions(RunOptions):
    """Adapters of low rank over a frozen model (arXiv 2106.09685)."""

    model: str = option("", "GGUF file of the base; without one the demo model")
    data: tuple[str, ...] = option((), "text files, folders of *.txt and *.py files, or .jsonl files")
    max_bytes: int = option(0, "bytes of text to read at most; 0 reads all", 0)
    steps: int = option(200, "updates", 1)
    batch: int = option(4, "sequences in an update", 1)
    lr: float = option(2e-3, "largest learning rate", 0)
    min_lr: float = option(2e-4, "learning rate at the end of the cosine", 0)
    warmup: int = option(10, "steps in which the learning rate grows from 0", 0)
    weight_decay: float = option(0.0, "of the adapters, decoupled (AdamW)", 0)
    rank: int = option(8, "rank of the adapters", 1)
    alpha: float = option(16.0, "adapters are scaled by alpha / rank", 0)
    targets: tuple[str, ...] = option(
        ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"), "matrices that get adapters"
    )

    def check(self) -> None:
        super().check()
        known = LoraOptions.targets
        for name in self.targets:
            if name not in known:
                help = did_you_mean(name, known) or f"known are {', '.join(known)}"
                raise OptionError(f"targets: {name!r} is no matrix of a block", help=help)
        if not self.targets or len(set(self.targets)) != len(self.targets):
            raise OptionError("targets must name matrices, each once")
        if not self.data:
            raise OptionError("data must name at least one file")


def read_options(cls: type[Options], path: str | None, flags: Mapping[str, Any]) -> Options:
    """The options of a TOML file (None: there is none) under `flags`, those that were given.

    Raises FileFormatError for a file that cannot be read, OptionError for keys and values that are no options."""
    found = {} if path is None else _read(path)
    kinds = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    for key in found:
        if key not in names:
            help = did_you_mean(key, names) or f"known are {', '.join(names)}"
            raise OptionError(f"{path}: there is no option {key!r}", help=help)
    values = {key: _typed(f"{path}: {key}", value, kinds[key]) for key, value in found.items()}
    made = cls(**{**values, **flags})
    made.check()
    return made


def _read(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileFormatError(f"{path}: no such file") from None
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FileFormatError(f"{path}: is not TOML: {error}") from None


def _typed(place: str, value: Any, kind: Any) -> Any:
    """A value of TOML as an option's type. Whole numbers are numbers too; a list of strings makes a tuple."""
    if kind is float and type(value) is int:
        return float(value)
    if get_origin(kind) is tuple and isinstance(value, str):
        return (value,)
    if get_origin(kind) is tuple:
        if isinstance(value, list) and all(isinstance(v, get_args(kind)[0]) for v in value):
            return tuple(value)
    elif type(value) is kind:
        return value
    wanted = "a list of strings" if isinstance(kind, types.GenericAlias) else _NAMES[kind]
    raise OptionError(f"{place} must be {wanted}, got {value!r}")


_NAMES = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
