"""The model in the package against llama.cpp's answers on the same file, and the ways of generating text."""

from __future__ import annotations

import json
import lzma
import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heliostat.diagnostics import ContextLengthError, TokenizerError
from heliostat.llm import LanguageModel, demo_path, load, load_tokenizer

DATA = Path(__file__).parent / "data"
EXPECTED = json.loads(lzma.decompress((DATA / "expected_q8_0.json.xz").read_bytes()))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load(demo_path(), threads=2)


@pytest.fixture(scope="module")
def exact_model() -> LanguageModel:
    return load(demo_path(), threads=2, activations="float", cache_dtype="f32")


@pytest.mark.parametrize("case", EXPECTED["prompts"], ids=lambda c: c["prompt"][:20])
def test_greedy_tokens_equal_llama_cpp(model: LanguageModel, case: dict) -> None:
    count = min(16, case["same_prefix"])
    got = [p.token for p in model.generate(case["ids"], max_tokens=count, ignore_eos=True)]
    assert got == case["llama_cpp"]["greedy_ids"][:count]


@pytest.mark.parametrize("case", EXPECTED["prompts"], ids=lambda c: c["prompt"][:20])
def test_first_logits_are_near_exact_arithmetic(model: LanguageModel, exact_model: LanguageModel, case: dict) -> None:
    logits = model.logits(case["ids"])[-1]
    worst = max(abs(logits[i] - v) for i, v in case["float32"]["top10"])
    assert worst < 0.2
    exact = exact_model.logits(case["ids"])[-1]
    assert max(abs(exact[i] - v) for i, v in case["float32"]["top10"]) < 2e-3


@pytest.mark.parametrize("language", ["en", "ko"])
def test_perplexity_of_held_out_text(model: LanguageModel, language: str) -> None:
    """As in the model's notes: windows of 512 tokens from an empty cache, within 1 %."""
    text = lzma.decompress((DATA / f"heldout_{language}.txt.xz").read_bytes()).decode()
    ids = model.tokenizer.encode(text)  # type: ignore[union-attr]
    total = count = 0.0
    for at in range(0, len(ids) - 511, 512):
        window = ids[at : at + 512]
        logits = model.logits(window)[:-1]  # sums in float64; exponentials in it would take longer than the model
        top = logits.max(-1)
        log_sum = top + np.log(np.exp(logits - top[:, None]).sum(-1, dtype=np.float64))
        total += float((log_sum - logits[np.arange(511), window[1:]]).sum(dtype=np.float64))
        count += 511
    assert math.exp(total / count) == pytest.approx(EXPECTED["perplexity"][language], rel=0.01)


def test_blocks_of_a_prompt_equal_token_by_token(model: LanguageModel) -> None:
    ids = model.tokenizer.encode("The function returns a list of all open files")  # type: ignore[union-attr]
    whole = model.logits(ids)[-1]
    model.restart(ids[:1])
    for n, token in enumerate(ids[1:], 1):
        last = model.extend(token, n)
    a, b = whole - whole.mean(), last - last.mean()
    assert float(a @ b / np.sqrt((a @ a) * (b @ b))) > 0.999


def test_sampling_is_repeatable_by_seed(model: LanguageModel) -> None:
    def run(seed: int) -> list[int]:
        return [
            p.token for p in model.generate("To install", max_tokens=24, temperature=1.0, seed=seed, ignore_eos=True)
        ]

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_stop_string_ends_the_text_before_it(model: LanguageModel) -> None:
    free = "".join(p.text for p in model.generate("To install a package,", max_tokens=20))
    stop = free[10:14]
    text = "".join(p.text for p in model.generate("To install a package,", max_tokens=20, stop=(stop,)))
    assert text == free[: free.index(stop)]
    assert text == "".join(p.text for p in model.generate("To install a package,", max_tokens=20, stop=stop))
    with pytest.raises(TokenizerError, match="empty"):
        model.generate("To install a package,", stop=("",))  # before a piece is asked for


def test_two_generators_may_take_turns(model: LanguageModel) -> None:
    alone = [p.token for p in model.generate("To install", max_tokens=8, ignore_eos=True)]
    first = model.generate("To install", max_tokens=8, ignore_eos=True)
    second = model.generate("A list is", max_tokens=8, ignore_eos=True)
    mixed = []
    for a, _ in zip(first, second, strict=True):
        mixed.append(a.token)
    assert mixed == alone


def test_context_is_never_cut_silently(model: LanguageModel) -> None:
    with pytest.raises(ContextLengthError, match="512"):
        model.generate([1] * 513)
    assert len(list(model.generate([1] * 512, ignore_eos=True))) == 1
    with pytest.raises(ValueError, match="8192"):
        model.generate([8192])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [({"batch": 8}, ValueError, "in a list, got 8"), ({"batch": [1]}, ValueError, "2 to 256"),
     ({"batch": [8.5]}, TypeError, "integer"), ({"context": 1.5}, TypeError, "integer")],
)  # fmt: skip
def test_sizes_that_are_none(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load(demo_path(), **options)


def test_tokens_are_whole_numbers(model: LanguageModel) -> None:
    with pytest.raises(TypeError, match="integer"):
        model.generate([1.7])  # type: ignore[list-item]
    assert len(list(model.generate(np.array([5, 6]), max_tokens=1, ignore_eos=True))) == 1  # type: ignore[arg-type]


def test_logits_do_not_depend_on_threads() -> None:
    ids = [6236, 11, 6224, 0]
    one, two = (load(demo_path(), threads=t).logits(ids) for t in (1, 2))
    assert np.array_equal(one, two)


def test_tokenizer_of_the_file() -> None:
    tokenizer = load_tokenizer(demo_path())
    assert tokenizer.encode("Hello, world!") == [6236, 11, 6224, 0]
    assert tokenizer.decode([6236, 11, 6224, 0]) == "Hello, world!"


def test_packing_in_parts_changes_nothing(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliostat.llm.model.PART", 50_000)
    again = load(demo_path(), threads=2)
    assert again.weights.keys() == model.weights.keys()
    for name, buffer in model.weights.items():
        np.testing.assert_array_equal(again.weights[name].array(np.uint8), buffer.array(np.uint8), err_msg=name)
    again.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_a_thread_runs_the_model_runs_it_too(model: LanguageModel) -> None:
    ids = np.random.default_rng(0).integers(3, 8000, 200).tolist()
    wanted = np.array(model.logits(ids))
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            model.logits(ids)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(3):
            child = os.fork()
            if not child:
                signal.alarm(20)  # a lock that nobody gives back would hold it
                try:
                    os._exit(0 if np.array_equal(model.logits(ids), wanted) else 1)
                finally:
                    os._exit(2)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        thread.join()
