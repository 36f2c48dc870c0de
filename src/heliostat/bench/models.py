"""Times a loaded model as llama.cpp's benchmark does: random tokens, a prompt, then generation at a depth."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from ..diagnostics import CacheFullError
from ..llm.model import LanguageModel
from ..llm.steps import cache_element
from ..runtime.platform import peak_rss_bytes
from .peer import PeerError


def random_tokens(vocabulary: int, count: int) -> list[int]:
    """The tokens that all sides read."""
    return [int(t) for t in np.random.default_rng(1).integers(0, vocabulary, count)]


def bench(model: LanguageModel, prompt: int, generate: int, depth: int, repeat: int) -> dict[str, Any]:
    """The best of `repeat` runs, in tokens per second, and what loading took. Raises ContextLengthError.

    On a GPU each token is the greedy one, found there; elsewhere tokens are random, and their logits are read.
    """
    tokens = random_tokens(model.config.vocabulary, max(prompt, depth, generate))
    on_gpu = model.place.name != "cpu" and model.chooses_there
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
        if on_gpu:
            deque(model.follow(tokens[0], depth, generate), maxlen=0)
        else:
            for i in range(generate):
                model.extend(tokens[i], depth + i)
        generations.append(generate / (time.perf_counter() - started))
    report = model.report
    return {
        "model": Path(model.file.path).name,
        "threads": model.place.threads,
        f"pp{prompt}_tok_s": round(max(prompts), 1),
        f"tg{generate}@{depth}_tok_s": round(max(generations), 2),
        "weights_GB_s": round(max(generations) * report.weight_bytes / 1e9, 1),
        "load_s": round(report.open_seconds + report.compile_seconds + report.pack_seconds, 2),
        "compile_s": round(report.compile_seconds, 2),
        "peak_rss_MB": round(peak_rss_bytes() / 1e6, 1),
    }


def bench_batch(model: LanguageModel, rows: int, generate: int, depth: int) -> float:
    """Tokens per second of `rows` sequences together, each behind `depth` tokens, the greedy one chosen each time.

    Raises ContextLengthError, CacheFullError, and KeyError for a number that the model was not loaded with.
    """
    batch = model.batches[rows]
    model.check_room(depth + generate)
    tokens = random_tokens(model.config.vocabulary, max(depth, 1))
    try:
        for row in range(rows):
            model.fill(batch, row, tokens)  # equal prompts are computed once
        last = [tokens[-1]] * rows
        started = time.perf_counter()
        for i in range(generate):
            ahead = i + 1 < generate
            places = [(token, depth + i) for token in last]
            if not all(model.hold(batch, row, place, ahead) for row, place in enumerate(places)):
                raise CacheFullError(
                    f"there are no pages for {rows} sequences of {depth + generate} tokens",
                    help="give more cache tokens",
                )
            found = batch.steps.choose(places, ahead=ahead)
            last = [int(np.argmax(batch.steps.logits()[n])) if s is None else s.token for n, s in enumerate(found)]
        return rows * generate / (time.perf_counter() - started)
    finally:  # pages are for the next batch, and for prompts
        for row in range(rows):
            model.release(batch, row)


def step_nbytes(model: LanguageModel, rows: int, depth: float) -> float:
    """Bytes that a step of a batch cannot but read: all weights once, and keys and values of `depth` tokens a row."""
    held = cache_element(model.options.cache_dtype)
    c, each = model.config, held.nbytes / held.block
    seen = min(depth, c.sliding_window) if c.sliding_window else depth
    return model.report.weight_bytes + 2.0 * rows * seen * c.layers * c.kv_heads * c.head_dim * each


def prompt_operations(model: LanguageModel, tokens: int) -> float:
    """Operations of the products of a prompt with the weights: a multiplication and an addition for each weight of the
    layers and token, and for the head and the last token. Attention is left out."""
    c = model.config
    own, cached = c.heads * c.head_dim, c.kv_heads * c.head_dim
    layer = c.hidden * (2 * own + 2 * cached + 3 * c.feed_forward)
    return 2.0 * (tokens * c.layers * layer + c.hidden * c.vocabulary)


def multiplies_integers(model: LanguageModel) -> bool:
    """Whether the products of a prompt are of int8 codes for the most part, so that their limit is that rate."""
    if model.options.activations != "int8":
        return False
    sizes = {False: 0, True: 0}
    for t in model.file.tensors.values():
        if len(t.shape) == 2:
            sizes[t.type_name not in ("F64", "F32", "F16", "BF16")] += math.prod(t.shape)
    return sizes[True] > sizes[False]


# Run by itself: the peer's threads and memory must not share our process.
_LLAMA_CPP = """
import json, sys, time
import llama_cpp
import numpy as np
path, prompt, generate, depth, threads, gpu = sys.argv[1], *map(int, sys.argv[2:])
context = max(prompt, depth) + generate + 8
more = dict(n_gpu_layers=-1, main_gpu=gpu, flash_attn=True) if gpu >= 0 else {}
if more and not llama_cpp.llama_supports_gpu_offload():
    raise SystemExit("this llama-cpp-python is built without CUDA")
m = llama_cpp.Llama(path, n_ctx=context, n_threads=threads, n_threads_batch=threads, n_batch=512, n_ubatch=512,
                    verbose=False, **more)
tokens = np.random.default_rng(0).integers(0, m.n_vocab(), context)
def decode(ids, start):
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = int(token), start + i, 1, 0
        batch.logits[i] = i == len(ids) - 1
    status = llama_cpp.llama_decode(m.ctx, batch)
    llama_cpp.llama_synchronize(m.ctx)
    llama_cpp.llama_batch_free(batch)
    if status:
        raise SystemExit(f"llama_decode returned {status}")
def fill(ids):
    for start in range(0, len(ids), 512):
        decode(ids[start:start + 512], start)
def clear():
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(m.ctx), True)
decode(tokens[:8], 0)
clear()
t = time.perf_counter()
fill(tokens[:prompt])
pp = prompt / (time.perf_counter() - t)
if depth != prompt:
    clear()
    if depth:
        fill(tokens[:depth])
t = time.perf_counter()
for i in range(generate):
    decode(tokens[i:i + 1], depth + i)
tg = generate / (time.perf_counter() - t)
system = llama_cpp.llama_print_system_info().decode()
print(json.dumps({f"pp{prompt}_tok_s": round(pp, 1), f"tg{generate}@{depth}_tok_s": round(tg, 2),
                  "by": f"llama-cpp-python {llama_cpp.__version__}: {system}"}))
"""


def bench_llama_cpp(path: str, prompt: int, generate: int, depth: int, threads: int, gpu: int = -1) -> dict[str, Any]:
    """One round of llama.cpp on the same file, by llama-cpp-python in a process of its own, and `by`, its version with
    what it was built with; `gpu`: the CUDA device that has all layers, -1 for the CPU. Raises PeerError."""
    if importlib.util.find_spec("llama_cpp") is None:
        raise PeerError("llama-cpp-python is not installed", help="pip install llama-cpp-python")
    numbers = [str(n) for n in (prompt, generate, depth, threads, gpu)]
    done = subprocess.run(
        [sys.executable, "-c", _LLAMA_CPP, path, *numbers], capture_output=True, text=True, check=False
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise PeerError(f"llama.cpp did not run {path}: {why}") from None
    if "by" in found:
        found["by"] = built_with(found["by"])
    return found


def built_with(text: str) -> str:
    """llama.cpp's line about itself with what is on alone: `CPU : AVX2 = 1 | AVX512 = 0 | ...` becomes `AVX2, ...`."""
    name, _, system = text.partition(": ")
    on = [part.split("=")[0].split(":")[-1].strip() for part in system.split("|") if part.strip().endswith("= 1")]
    return f"{name}, {' '.join(on)}"
