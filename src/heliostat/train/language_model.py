"""`heliostat train lm`: a decoder trained from nothing on text, and exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..llm.config import ARCHITECTURES, DecoderConfig, RopeConfig
from ..llm.tokenizer import Tokenizer
from ..tensor.random import manual_seed
from .decoder import Decoder, Trainable
from .export import write_model
from .loop import Report, Run
from .options import LanguageModelOptions
from .text import blocks_of, read_examples, split
from .tokenizer import Keys, bpe_tokenizer, byte_tokenizer

EPS = 1e-5


@dataclass
class LanguageModelRun:
    """A run with all that its export needs. `bytes_per_token` turns losses into bits per byte."""

    options: LanguageModelOptions
    run: Run
    config: DecoderConfig
    tokenizer: Keys
    parameters: int
    bytes_per_token: float

    def train(self, report: Report | None = None) -> Path:
        """Take the steps that are left and write the model. Returns the path of the GGUF file."""
        self.run.train(report)
        path = Path(self.options.out) / "model.gguf"
        tensors = {name: np.asarray(p.detach().cpu().numpy()) for name, p in self.run.trained.items()}
        write_model(path, self.config, self.tokenizer, tensors, self.options.type, path.parent.name)
        return path


def config_of(options: LanguageModelOptions, vocabulary: int) -> DecoderConfig:
    """The decoder that options describe."""
    size, family = options.hidden // options.heads, ARCHITECTURES[options.architecture]
    return DecoderConfig(
        architecture=options.architecture, hidden=options.hidden, layers=options.layers, heads=options.heads,
        kv_heads=options.kv_heads, head_dim=size, feed_forward=options.feed_forward, vocabulary=vocabulary,
        context=options.block, eps=EPS, qk_norm=family.qk_norm,
        rope=RopeConfig(dim=size, base=options.rope_base, interleaved=family.interleaved_rope),
    )  # fmt: skip


def open_language_model(options: LanguageModelOptions, resume: bool = False) -> LanguageModelRun:
    """Read the data, train the tokenizer and make the model, or take up the run that `options.out` holds.

    Raises FileFormatError for data and checkpoints that cannot be read, DataError for too little text, OptionError."""
    examples = read_examples(options.data, options.max_bytes)
    texts = [text for e in examples for text in e.texts]
    if options.tokenizer == "byte":
        keys = byte_tokenizer(options.chat)
    else:
        keys = bpe_tokenizer(texts, options.vocabulary, options.pre_tokenizer, options.chat)
    tokenizer = Tokenizer.from_gguf({key: value for key, (value, _) in keys.items()})
    blocks, held = split(blocks_of(examples, tokenizer, options.block), options.validation)
    config = config_of(options, len(tokenizer.vocabulary))
    manual_seed(options.seed)
    model = Decoder(config, Trainable(config, options.tied), options.block, options.dropout)
    run = Run(model, blocks, held, options, {})
    if resume:
        run.resume()
    else:
        run.begin()
    sizes = np.bincount(blocks.inputs.reshape(-1), minlength=config.vocabulary)
    spelled = sum(
        int(n) * len(tokenizer.token_bytes(t)) for t, n in enumerate(sizes) if n and not tokenizer.is_control(t)
    )
    parameters = sum(p.numel() for p in run.trained.values())
    return LanguageModelRun(options, run, config, keys, parameters, spelled / max(1, blocks.inputs.size))
