"""Train a language model on Python's own standard library and let it write: `python examples/train_lm.py`.

The same as `heliostat train lm` with its defaults. Takes some minutes on two cores; `--out` gets a checkpoint, the
curve of the loss (loss.svg), and model.gguf, which `heliostat run` and llama.cpp read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from heliostat.llm import load
from heliostat.train.checkpoint import Progress
from heliostat.train.language_model import LanguageModelRun, open_language_model
from heliostat.train.options import LanguageModelOptions


def show(progress: Progress, rate: float) -> None:
    """A line now and then."""
    if progress.step % 20 == 0:
        checked = f", validation {progress.checks[-1][1]:.3f}" if progress.checks else ""
        print(f"step {progress.step}: loss {progress.losses[-1]:.3f}{checked}, {rate:.0f} tokens/s", flush=True)


def train(out: str, resume: bool = False, **options: Any) -> tuple[LanguageModelRun, Path]:
    """The run and its model file. options: fields of `LanguageModelOptions`."""
    run = open_language_model(LanguageModelOptions(out=out, **options), resume)
    print(f"{run.parameters / 1e6:.2f} M parameters, {len(run.run.batches.blocks)} rows of text")
    return run, run.train(show)


def write(path: Path, prompt: str, tokens: int) -> str:
    """The prompt with what the model makes of it, greedily."""
    model = load(path)
    return prompt + "".join(piece.text for piece in model.generate(prompt, max_tokens=tokens, temperature=0.0))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="lm")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args(arguments)
    _, path = train(args.out, args.resume, steps=args.steps)
    print(write(path, "def __init__(self", 60))
    return 0


if __name__ == "__main__":
    sys.exit(main())
