"""Folders of safetensors: the same logits as the GGUF file of the same weights, config.json in all its spellings."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy_forward import FEED, HEADS, HIDDEN, KV, LAYERS, VOCABULARY, forward
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from heliostat.cli.main import main
from heliostat.diagnostics import HeliostatError
from heliostat.llm import load, load_tokenizer
from heliostat.llm.checkpoint import Checkpoint, gguf_name
from heliostat.llm.checkpoint_config import metadata_of
from heliostat.llm.config import read_config, rope_frequencies
from heliostat.llm.gguf import GGUFWriter, Metadata
from heliostat.llm.safetensors import INDEX

IDS = [int(i) for i in np.random.default_rng(7).integers(0, VOCABULARY, 37)]
Weights = dict[str, np.ndarray]


def config_of(architecture: str, size: int, **changes: Any) -> dict[str, Any]:
    return {
        "model_type": architecture, "hidden_size": HIDDEN, "intermediate_size": FEED, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": size, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False, **changes,
    }  # fmt: skip


def random_weights(architecture: str, size: int, tied: bool) -> Weights:
    """Under Hugging Face's names, of values that f16 and bf16 hold exactly."""
    rng = np.random.default_rng(11)
    made: Weights = {}

    def add(name: str, *shape: int, mean: float = 0.0) -> None:
        values = rng.standard_normal(shape) * (0.1 if mean else shape[-1] ** -0.5) + mean
        made[name] = (np.float32(values).view(np.uint32) & 0xFFFF0000).view(np.float32).reshape(shape)
        made[name][np.abs(made[name]) < 2.0**-10] = 0  # f16 has fewer exponents than bf16

    add("model.embed_tokens.weight", VOCABULARY, HIDDEN)
    for i in range(LAYERS):
        for name, rows, columns in (
            ("self_attn.q_proj", HEADS * size, HIDDEN), ("self_attn.k_proj", KV * size, HIDDEN),
            ("self_attn.v_proj", KV * size, HIDDEN), ("self_attn.o_proj", HIDDEN, HEADS * size),
            ("mlp.gate_proj", FEED, HIDDEN), ("mlp.up_proj", FEED, HIDDEN), ("mlp.down_proj", HIDDEN, FEED),
        ):  # fmt: skip
            add(f"model.layers.{i}.{name}.weight", rows, columns)
            if architecture == "qwen2" and name[:11] in ("self_attn.q", "self_attn.k", "self_attn.v"):
                add(f"model.layers.{i}.{name}.bias", rows)
        add(f"model.layers.{i}.input_layernorm.weight", HIDDEN, mean=1.0)
        add(f"model.layers.{i}.post_attention_layernorm.weight", HIDDEN, mean=1.0)
        if architecture == "qwen3":
            add(f"model.layers.{i}.self_attn.q_norm.weight", size, mean=1.0)
            add(f"model.layers.{i}.self_attn.k_norm.weight", size, mean=1.0)
    add("model.norm.weight", HIDDEN, mean=1.0)
    if not tied:
        add("lm_head.weight", VOCABULARY, HIDDEN)
    return made


def stored(values: np.ndarray, dtype: str) -> bytes:
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.astype({"F16": np.float16, "F32": np.float32}[dtype]).tobytes()


def write_safetensors(path: Path, weights: Weights, dtype: str) -> None:
    header, data = {}, b""
    for name, values in weights.items():
        raw = stored(values, dtype)
        header[name] = {"dtype": dtype, "shape": values.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_folder(folder: Path, config: dict[str, Any], weights: Weights, dtype: str, shards: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = list(weights)
    if shards == 1:
        write_safetensors(folder / "model.safetensors", weights, dtype)
        return folder
    places = {}
    for n in range(shards):
        file = f"model-{n + 1:05d}-of-{shards:05d}.safetensors"
        mine = names[n::shards]
        places.update(dict.fromkeys(mine, file))
        write_safetensors(folder / file, {name: weights[name] for name in mine}, dtype)
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    return folder


def interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k as llama.cpp's converter orders them: halves of a head become neighbours."""
    rows = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(values.shape)


def write_gguf(path: Path, architecture: str, size: int, weights: Weights, dtype: str) -> Weights:
    """The file that llama.cpp's converter makes; returns its weights for the NumPy forward."""
    w = GGUFWriter(path, architecture)
    for key, value in {
        "context_length": 256, "embedding_length": HIDDEN, "block_count": LAYERS, "feed_forward_length": FEED,
        "attention.head_count": HEADS, "attention.head_count_kv": KV, "attention.key_length": size,
        "attention.value_length": size, "rope.dimension_count": size, "rope.freq_base": 10000.0,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }.items():  # fmt: skip
        w.add(f"{architecture}.{key}", value)
    made: Weights = {}
    for name, values in weights.items():
        target = gguf_name(name)
        assert target is not None
        if architecture == "llama" and ("attn_q." in target or "attn_k." in target):
            values = interleaved(values, HEADS if "attn_q" in target else KV)
        kind = "F32" if values.ndim == 1 else dtype
        w.add_tensor(target, stored(values, kind), kind, values.shape)
        made[target] = values.astype(np.float64)
    w.write()
    return made


@pytest.mark.parametrize(
    ("architecture", "dtype", "tied", "shards"),
    [("llama", "F16", False, 1), ("qwen2", "BF16", True, 3), ("qwen3", "F32", True, 1)],
)
def test_a_folder_gives_the_logits_of_the_gguf_file(
    tmp_path: Path, architecture: str, dtype: str, tied: bool, shards: int
) -> None:
    size = 64 if architecture == "qwen3" else 32
    weights = random_weights(architecture, size, tied)
    config = config_of(architecture, size, tie_word_embeddings=tied)
    folder = write_folder(tmp_path / "model", config, weights, dtype, shards)
    exact: Any = write_gguf(tmp_path / "m.gguf", architecture, size, weights, dtype)
    options: Any = {"threads": 1, "cache_dtype": "f32", "activations": "float"}
    found, same = (load(p, **options).logits(IDS) for p in (folder, tmp_path / "m.gguf"))
    if architecture == "llama":  # heads are summed in another order
        np.testing.assert_allclose(found, same, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, same)
    expected = forward({**exact, "architecture": architecture, "size": size}, IDS)
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


def test_run_and_inspect_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = random_weights("qwen2", 32, True)
    folder = write_folder(tmp_path / "model", config_of("qwen2", 32, tie_word_embeddings=True), weights, "F16", 2)
    assert main(["run", str(folder), "--prompt-tokens", "1,2,3", "-n", "4", "--threads", "1", "--json"]) == 0
    tokens = json.loads(capsys.readouterr().out)["tokens"]
    assert len(tokens) == 4
    assert main(["run", str(folder), "-p", "ab", "-n", "1"]) == 2
    assert "no known tokenizer" in capsys.readouterr().err
    letters = [chr(c) for c in range(33, 33 + VOCABULARY - 1)] + ["\u0120"]
    made = Tokenizer(models.BPE({c: i for i, c in enumerate(dict.fromkeys(letters))}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    made.save(str(folder / "tokenizer.json"))
    assert main(["run", str(folder), "-p", '"#$', "-n", "4", "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tokens"], found["text"]) == (tokens, load_tokenizer(folder).decode(tokens))
    for path in (folder / "model-00001-of-00002.safetensors", folder / INDEX):
        assert main(["run", str(path), "--prompt-tokens", "1,2,3", "-n", "4", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["tokens"] == tokens
    assert main(["inspect", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{folder}: safetensors, ")
    assert "weights_MB" in out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not supported"),
        ({"model_type": None}, "model_type is missing"),
        ({"hidden_size": "256"}, "hidden_size must be an integer"),
        ({"num_attention_heads": 0}, "outside 1"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"quantization_config": {}}, "quantized"),
        ({"intermediate_size": 999}, "ffn_gate"),
        ({"num_hidden_layers": 3}, "blk.2"),
        ({"use_sliding_window": True, "sliding_window": 64}, "sliding window"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2}}, "'dynamic' is not supported"),
        ({"rope_scaling": {"rope_type": "longrope", "long_factor": [1.0], "short_factor": []}}, "long_factor must be"),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}},
            "fit",
        ),
        ({"rope_scaling": {"rope_type": "llama3"}}, "factor is missing"),
        ({"rope_scaling": 3}, "must be an object"),
        ({"partial_rotary_factor": 0.5}, "rotate in part"),
    ],
)
def test_configs_that_cannot_be_are_refused(
    tmp_path: Path, change: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "m", config_of("qwen2", 32, **change), random_weights("qwen2", 32, False), "F16")
    assert main(["run", str(folder), "--prompt-tokens", "1"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {tmp_path / 'm'}")
    assert said in err


@pytest.mark.parametrize("fault", ["config", "head", "extra", "dtype"])
def test_folders_that_cannot_run_are_refused(tmp_path: Path, fault: str) -> None:
    weights = random_weights("qwen2", 32, fault == "head")
    if fault == "extra":
        weights["model.layers.0.mlp.experts.0.up_proj.weight"] = np.zeros((4, 4), np.float32)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(16, np.float32)  # of old files: not read
    folder = write_folder(tmp_path / "m", config_of("qwen2", 32), weights, "F16")
    if fault == "config":
        (folder / "config.json").unlink()
    if fault == "dtype":
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes().replace(b'"F16"', b'"I16"', 1))
    said = {"config": "no config.json", "head": "lm_head.weight is missing", "extra": "experts.0", "dtype": "I16"}
    with pytest.raises(HeliostatError, match=said[fault]):
        load(folder, threads=1)


# -- rotary positions, against the formulas of their papers written out


def frequencies(context: int | None = None, **changes: Any) -> tuple[np.ndarray, float]:
    """What a model with this config.json rotates by: frequencies, and the factor on sine and cosine."""
    metadata, tensors = metadata_of(Metadata("config.json", config_of("llama", 32, **changes)))
    rope = read_config(metadata, VOCABULARY).rope
    assert not rope.interleaved
    name = "long" if context is not None and context > rope.original_context else "short"
    divisors = tensors.get("rope_freqs.weight", tensors.get(f"rope_factors_{name}.weight"))
    return rope_frequencies(rope, divisors)


PLAIN = np.array([10000.0 ** (-i / 32) for i in range(0, 32, 2)])


def test_default_and_linear_positions() -> None:
    np.testing.assert_allclose(frequencies()[0], PLAIN, rtol=1e-6)
    np.testing.assert_allclose(frequencies(rope_theta=5e5)[0], [5e5 ** (-i / 32) for i in range(0, 32, 2)], rtol=1e-6)
    newer = {"rope_type": "default", "rope_theta": 100.0}
    np.testing.assert_allclose(
        frequencies(rope_parameters=newer)[0], [100.0 ** (-i / 32) for i in range(0, 32, 2)], rtol=1e-6
    )
    np.testing.assert_allclose(frequencies(rope_scaling={"type": "linear", "factor": 4})[0], PLAIN / 4, rtol=1e-6)


def test_llama3_positions() -> None:
    scaling = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }  # fmt: skip
    expected = []
    for f in PLAIN:
        wave = 2 * np.pi / f
        if wave < 64 / 4:
            expected.append(f)
        elif wave > 64 / 1:
            expected.append(f / 8)
        else:
            smooth = (64 / wave - 1) / (4 - 1)
            expected.append((1 - smooth) * f / 8 + smooth * f)
    found, magnitude = frequencies(rope_scaling=scaling)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert magnitude == 1.0


@pytest.mark.parametrize(("given", "magnitude"), [(None, 1 + 0.1 * np.log(4)), (1.5, 1.5)])
def test_yarn_positions(given: float | None, magnitude: float) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": given}
    found, factor = frequencies(rope_scaling=scaling)
    assert factor == pytest.approx(magnitude)
    assert found[0] == pytest.approx(PLAIN[0])
    assert found[-1] == pytest.approx(PLAIN[-1] / 4)


def test_longrope_positions() -> None:
    long, short = [1.0 + i for i in range(16)], [1.0 + 0.1 * i for i in range(16)]
    scaling = {"rope_type": "longrope", "long_factor": long, "short_factor": short}
    changes = {"rope_scaling": scaling, "original_max_position_embeddings": 64}
    for context, factors in ((64, short), (65, long)):
        found, magnitude = frequencies(context, **changes)
        np.testing.assert_allclose(found, PLAIN / factors, rtol=1e-5)
        assert magnitude == pytest.approx(np.sqrt(1 + np.log(256 / 64) / np.log(64)))


def test_checkpoints_close(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", config_of("qwen2", 32), random_weights("qwen2", 32, False), "F16")
    file = Checkpoint(folder)
    name = "blk.0.attn_q.weight"
    view = file.data(name)
    before = view.copy()
    file.release(name)
    file.release_all()
    assert (view == before).all()
    file.close()
    assert view.size == file.tensors[name].nbytes
    with pytest.raises(ValueError, match="closed"):
        file.data(name)
