"""Generation with caches in pages: the tokens of contiguous caches, in memory for what is held."""

from __future__ import annotations

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy_forward
import pytest
from numpy_forward import VOCABULARY, write_model
from test_batch import check, prompts, together

from heliostat.bench.models import bench, bench_batch
from heliostat.diagnostics import CacheFullError, ContextLengthError, UnsupportedError
from heliostat.llm import LanguageModel, load
from heliostat.llm.batch import PagedBatch
from targets.device import gpu
from targets.fake_gpu import fake_gpu


def used(model: LanguageModel) -> int:
    assert model._pages is not None
    return model._pages.pool.used


def test_tokens_are_those_of_contiguous_caches(tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf", "qwen2", "Q8_0", extra={"attention.sliding_window": 16})
    options: dict[str, Any] = {"threads": 2, "activations": "float", "cache_dtype": "f32", "batch": [3]}
    plain, paged = load(tmp_path / "m.gguf", **options), load(tmp_path / "m.gguf", cache="paged", **options)
    ids = prompts(1, 63, 64, 90, 3, 130)
    for more in ({"max_tokens": 9}, {"max_tokens": 7, "temperature": 0.8, "seed": 5}):
        expected = [[p.token for p in plain.generate(i, **more)] for i in ids]
        assert [[p.token for p in paged.generate(i, **more)] for i in ids] == expected
        assert together(paged, ids, **more) == expected
    np.testing.assert_array_equal(paged.logits(ids[3]), plain.logits(ids[3]))
    paged.restart([1])
    assert used(paged) == 1
    assert paged.report.cache_bytes < plain.report.cache_bytes / 3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """Seven pages for four sequences of up to three each."""
    path = tmp_path_factory.mktemp("paged") / "m.gguf"
    write_model(path, "llama", "Q8_0", extra={"context_length": 192})
    options: dict[str, Any] = {"threads": 2, "activations": "float", "cache_dtype": "f32", "batch": [4]}
    return load(path, cache="paged", cache_tokens=7 * 64, **options)


def test_sequences_that_begin_alike_share_pages(small: LanguageModel) -> None:
    (common,) = prompts(70)
    ids = [[*common, n] for n in range(4)]
    expected = [small.restart(one).copy() for one in ids]
    batch = small.batches[4]
    assert isinstance(batch, PagedBatch)
    for row, one in enumerate(ids):
        np.testing.assert_array_equal(small.fill(batch, row, one), expected[row])
        if not row:
            small.restart([5])
    assert used(small) == 1 + 1 + 4  # the model's own, a whole page of all, and the second of each
    for row in range(4):
        batch.release(row)
    answers = [[p.token for p in small.generate(one, max_tokens=60)] for one in ids]
    assert together(small, ids, max_tokens=60) == answers


def test_where_pages_are_short_some_wait(small: LanguageModel) -> None:
    """Rows are put back, and taken up again as if nothing had been."""
    ids = prompts(60, 20, 100, 62)
    for options in ({"max_tokens": 75}, {"max_tokens": 75, "temperature": 0.7, "seed": 3}):
        expected = [[p.token for p in small.generate(i, **options)] for i in ids]
        assert together(small, ids, **options) == expected
    small.restart([1])
    assert used(small) == 1


def test_a_prompt_beside_a_full_batch_is_refused(small: LanguageModel) -> None:
    (long,) = prompts(70)
    running = small.generate_batch(prompts(150, 140), max_tokens=4)
    next(running)
    next(running)
    with pytest.raises(CacheFullError, match="2 more pages of 64 tokens are needed, 1 of 7 are free"):
        small.restart(long)
    assert len(list(running)) == 6
    small.restart(long)
    running = small.generate_batch(prompts(150, 140), max_tokens=4)
    next(running)
    running.close()  # an answer that nobody reads to its end
    small.restart([1])
    assert used(small) == 1


def test_tokens_are_run_at_the_end_of_the_cache(small: LanguageModel) -> None:
    """Anywhere else they would read what nobody wrote, or take pages that a table has no room for."""
    expected = small.restart([1, 2, 3, 4]).copy()
    small.restart([1, 2, 3])
    for wrong in (-1, 4, 200):
        with pytest.raises(ContextLengthError, match=f"holds 3 tokens: none can be run at position {wrong}"):
            small.extend(4, wrong)
    np.testing.assert_allclose(small.extend(4, 3), expected, rtol=0, atol=1e-4)
    small.restart(prompts(192)[0])
    with pytest.raises(ContextLengthError, match="193 tokens do not fit"):
        small.extend(4, 192)
    assert used(small) == 3


def test_measured_batches_give_their_pages_back(small: LanguageModel) -> None:
    """The next batch, and the next round's prompts, need them."""
    for _ in range(2):
        bench(small, 150, 2, 100, 1)
        bench_batch(small, 4, 2, 62)
    small.restart([1])
    assert used(small) == 1


def test_no_more_pages_than_sequences_have_room_for(tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf", "llama", "Q8_0")
    options: dict[str, Any] = {"threads": 1, "activations": "float", "cache": "paged", "cache_tokens": 10**30}
    assert load(tmp_path / "m.gguf", context=100, **options).options.cache_tokens == 128


@pytest.mark.parametrize("cache", ["contiguous", "paged"])
def test_runs_with_one_batch_take_turns(tmp_path: Path, cache: str) -> None:
    """Also in threads; and a run that ends late leaves the rows of the next one alone."""
    write_model(tmp_path / "m.gguf", "llama", "Q8_0")
    model = load(tmp_path / "m.gguf", 2, activations="float", cache_dtype="f32", batch=[2], cache=cache)
    ids = [prompts(9, 66, 5), prompts(70, 3)]
    expected = [together(model, each, max_tokens=8) for each in ids]
    runs = [model.generate_batch(each, max_tokens=8) for each in ids]
    found: list[list[list[int]]] = [[[] for _ in each] for each in ids]
    for pieces in itertools.zip_longest(*runs):
        for answers, (number, piece) in ((found[n], p) for n, p in enumerate(pieces) if p is not None):
            answers[number].append(piece.token)
    assert found == expected
    late = model.generate_batch(ids[0])
    next(late)
    found = [[[] for _ in ids[1]]]
    for number, piece in model.generate_batch(ids[1], max_tokens=8):
        found[0][number].append(piece.token)
        late.close()
    assert found[0] == expected[1]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda each: together(model, each, max_tokens=8), ids)) == expected
    if cache == "paged":
        model.restart([1])
        assert used(model) == 1


def test_q8_0_caches(tmp_path: Path) -> None:
    """About half of the bytes of f16; pages give what contiguous caches give; logits stay near."""
    weights = write_model(tmp_path / "m.gguf", "qwen2", "Q8_0")
    options: dict[str, Any] = {"threads": 2, "context": 128, "activations": "float", "batch": [2]}
    plain = load(tmp_path / "m.gguf", cache_dtype="q8_0", **options)
    paged = load(tmp_path / "m.gguf", cache_dtype="q8_0", cache="paged", cache_tokens=256, **options)
    ids = prompts(70, 9)
    np.testing.assert_array_equal(paged.logits(ids[0]), plain.logits(ids[0]))
    assert together(paged, ids, max_tokens=9) == together(plain, ids, max_tokens=9)
    check(paged, ids, weights, 0.999)
    assert plain.report.cache_bytes == 3 * 128 * 2 * 2 * 2 * 34  # sequences, tokens, layers, keys and values, heads


def test_formats_of_caches_are_known_at_once() -> None:
    """Also where nothing else has asked for the declarations: programs that were found on disk do not."""
    code = "from heliostat.llm.steps import cache_element as e; print(e('q8_0').nbytes, e('bf16').nbytes)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["34", "2"]


def test_q8_0_needs_whole_blocks(tmp_path: Path) -> None:
    sizes = dict.fromkeys(("attention.key_length", "attention.value_length", "rope.dimension_count"), 16)
    write_model(tmp_path / "m.gguf", "llama", "Q8_0", extra=sizes)
    with pytest.raises(UnsupportedError, match="heads of 16 elements are no whole blocks of q8_0"):
        load(tmp_path / "m.gguf", cache_dtype="q8_0")


def test_refusals(tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf", "qwen2", "Q8_0")
    path = tmp_path / "m.gguf"
    for wrong, message in (
        ({"cache_dtype": "q5_0"}, "cache_dtype must be one of f16, bf16, f32, q8_0"),
        ({"cache": "heap"}, 'cache must be "contiguous" or "paged"'),
        ({"page_size": 64}, "are for cache="),
        ({"cache_tokens": 64}, "are for cache="),
        ({"cache": "paged", "page_size": 16}, "a multiple of 64"),
        ({"cache": "paged", "page_size": 0}, "a multiple of 64"),
    ):
        with pytest.raises(ValueError, match=message):
            load(path, threads=1, **wrong)
    with pytest.raises(ContextLengthError, match="a cache of 100 tokens does not hold one context of 256"):
        load(path, threads=1, cache="paged", cache_tokens=100)


def test_on_a_simulated_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"HIDDEN": 64, "LAYERS": 1, "HEADS": 2, "KV": 1, "FEED": 64}.items():
        monkeypatch.setattr(numpy_forward, name, size)
    weights = write_model(tmp_path / "m.gguf", "llama", "BF16")
    with fake_gpu():
        model = load(tmp_path / "m.gguf", device="cuda", context=128, batch=[2], cache="paged")
        check(model, prompts(5, 2), weights, 0.999)


@pytest.mark.cuda
@pytest.mark.parametrize("kind", ["BF16", "Q4_K"])
def test_on_a_gpu(tmp_path: Path, kind: str) -> None:
    place = gpu()
    if isinstance(place, str):
        pytest.skip(place)
    weights = write_model(tmp_path / "m.gguf", "llama", kind)
    model = load(tmp_path / "m.gguf", device="cuda", batch=[3, 17], cache="paged", cache_tokens=2048)
    check(model, prompts(5, 90, 31), weights, 0.998)
    check(model, prompts(*range(2, 19)), weights, 0.998)
    plain = load(tmp_path / "m.gguf", device="cuda", batch=[3, 17])
    ids = [[int(i) for i in np.random.default_rng(n).integers(0, VOCABULARY, 60 + n)] for n in range(5)]
    assert together(model, ids, max_tokens=20) == together(plain, ids, max_tokens=20)
