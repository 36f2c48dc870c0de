"""`heliostat train lora`: adapters trained over a GGUF model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..diagnostics import FileFormatError
from ..llm import demo_path, load_tokenizer
from ..llm.gguf import GGUFFile
from ..llm.weights import DecoderWeights
from ..tensor.random import manual_seed
from .adapter import Adapter, open_base
from .decoder import Decoder
from .loop import Report, Run
from .lora import Frozen, LoraLinear
from .options import LoraOptions, OptionError
from .text import blocks_of, read_examples, split


@dataclass
class LoraRun:
    """A run with what its adapter's file needs."""

    options: LoraOptions
    run: Run
    base: Path
    architecture: str
    parameters: int

    @property
    def adapter(self) -> Adapter:
        """The adapters as they are now."""
        pairs = {
            f"{name}.weight": (module.lora_a, module.lora_b)
            for name, module in self.run.model.named_modules()
            if isinstance(module, LoraLinear)
        }
        return Adapter(self.architecture, self.options.rank, self.options.alpha, pairs)

    def train(self, report: Report | None = None) -> Path:
        """Take the steps that are left and write `adapter.safetensors`, whose path it returns, and `adapter.gguf`."""
        self.run.train(report)
        folder = Path(self.options.out)
        self.adapter.save(folder / "adapter.safetensors")
        self.adapter.save_gguf(folder / "adapter.gguf")
        return folder / "adapter.safetensors"


def open_lora(options: LoraOptions, resume: bool = False) -> LoraRun:
    """Open base and data and make the adapters, or take up the run that `options.out` holds.

    Raises FileFormatError for files that cannot be read, UnsupportedError for a model that cannot be trained,
    TokenizerError, DataError for too little text, OptionError."""
    base = Path(options.model) if options.model else demo_path()
    file = open_base(base)
    weights = DecoderWeights(file)
    config = weights.config
    if options.block > config.context:
        raise OptionError(f"block is {options.block}, and {base} has a context of {config.context} tokens")
    tokenizer = load_tokenizer(base)
    examples = read_examples(options.data, options.max_bytes)
    blocks, held = split(blocks_of(examples, tokenizer, options.block), options.validation)
    most = int(max(blocks.inputs.max(), blocks.labels.max()))
    if most >= config.vocabulary:
        raise FileFormatError(f"{base}: its tokenizer gives token {most}, its table has {config.vocabulary} rows")
    manual_seed(options.seed)
    parts = Frozen(weights, options.targets, options.rank, options.alpha, options.dropout)
    model = Decoder(config, parts, options.block, divisors=weights.divisors(options.block))
    run = Run(model, blocks, held, options, {"base": _digest(file)})
    if resume:
        run.resume()
    else:
        run.begin()
    return LoraRun(options, run, base, file.architecture, sum(p.numel() for p in run.trained.values()))


def _digest(file: GGUFFile) -> str:
    """A fingerprint of all tensors."""
    made = hashlib.sha256()
    for name, info in file.tensors.items():
        made.update(f"{name} {info.type_name} {info.shape}".encode())
        made.update(file.data(name).data)
    return made.hexdigest()
