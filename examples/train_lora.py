"""Teach the demo model something new without touching it: `python examples/train_lora.py`.

Adapters of low rank are trained over its quantized weights on the source text of Python's `json` and `email` packages,
then added into a GGUF file, which `heliostat run` and llama.cpp read. Takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
from pathlib import Path
from typing import Any

from heliostat.llm import load
from heliostat.train.adapter import merge
from heliostat.train.checkpoint import Progress
from heliostat.train.fine_tune import LoraRun, open_lora
from heliostat.train.options import LoraOptions

PACKAGES = tuple(str(Path(sysconfig.get_path("stdlib"), name)) for name in ("json", "email"))


def show(progress: Progress, rate: float) -> None:
    """A line now and then."""
    if progress.step % 10 == 0:
        checked = f", validation {progress.checks[-1][1]:.3f}" if progress.checks else ""
        print(f"step {progress.step}: loss {progress.losses[-1]:.3f}{checked}, {rate:.0f} tokens/s", flush=True)


def train(out: str, **options: Any) -> tuple[LoraRun, Path]:
    """The run and the merged model. options: fields of `LoraOptions`."""
    run = open_lora(LoraOptions(out=out, **{"data": PACKAGES, **options}))
    print(f"{run.parameters / 1e6:.2f} M parameters over {run.base.name}")
    adapter, merged = run.train(show), Path(out) / "merged.gguf"
    print(f"{merge(run.base, adapter, merged)} matrices changed")
    return run, merged


def write(path: Path, prompt: str, tokens: int) -> str:
    """The prompt with what the model makes of it, greedily."""
    model = load(path)
    return prompt + "".join(piece.text for piece in model.generate(prompt, max_tokens=tokens, temperature=0.0))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="lora")
    parser.add_argument("--steps", type=int, default=150)
    args = parser.parse_args(arguments)
    run, merged = train(args.out, steps=args.steps)
    for path in (run.base, merged):
        print(f"--- {path.name}\n{write(path, 'def loads(', 40)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
