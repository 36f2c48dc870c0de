"""Times a loaded model as llama.cpp's benchmark does: random tokens, a prompt, then generation at a depth."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.platform import peak_rss_bytes
from .model import LanguageModel


def bench(model: LanguageModel, prompt: int, generate: int, depth: int, repeat: int) -> dict[str, Any]:
    """The best of `repeat` runs, in tokens per second, and what loading took. Raises ContextLengthError."""
    rng = np.random.default_rng(1)
    tokens = [int(t) for t in rng.integers(0, model.config.vocabulary, max(prompt, depth, generate))]
    prompts: list[float] = []
    generations: list[float] = []
    model.check_room(max(prompt, depth + generate))
    for _ in range(repeat):
        started = time.perf_counter()
        model.restart(tokens[:prompt])
        prompts.append(prompt / (time.perf_counter() - started))
        if depth:
            model.restart(tokens[:depth])
        started = time.perf_counter()
        for i in range(generate):
            model.extend(tokens[i], depth + i)
        generations.append(generate / (time.perf_counter() - started))
    report = model.report
    return {
        "model": Path(model.file.path).name,
        "threads": model.pool.threads,
        f"pp{prompt}_tok_s": round(max(prompts), 1),
        f"tg{generate}@{depth}_tok_s": round(max(generations), 2),
        "weights_GB_s": round(max(generations) * report.weight_bytes / 1e9, 1),
        "load_s": round(report.open_seconds + report.compile_seconds + report.pack_seconds, 2),
        "compile_s": round(report.compile_seconds, 2),
        "peak_rss_MB": round(peak_rss_bytes() / 1e6, 1),
    }
