"""Decoders of every architecture and format against a NumPy forward of the dequantized weights; rope scalings; bad
files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy_forward
import pytest
from numpy_forward import VOCABULARY, forward, write_model

from heliostat.cli.main import main
from heliostat.diagnostics import FileFormatError, HeliostatError
from heliostat.llm import LanguageModel, load
from heliostat.llm.config import RopeConfig, rope_frequencies
from heliostat.llm.gguf import GGUFFile, GGUFWriter
from heliostat.quant import formats

KINDS = ["F32", "F16", "BF16"] + [
    f.name for f in formats.all() if f.normal is not None and 256 % f.block == 0 and f.name not in ("Q8_1", "Q8_K")
]
IDS = [int(i) for i in np.random.default_rng(7).integers(0, VOCABULARY, 37)]


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [("llama", "F32"), ("llama", "Q4_K"), ("qwen2", "F32"), ("qwen2", "Q8_0"), ("qwen3", "F32"), ("qwen3", "Q4_K")],
)
def test_architectures(tmp_path: Path, architecture: str, kind: str) -> None:
    weights = write_model(tmp_path / "m.gguf", architecture, kind)
    check(tmp_path / "m.gguf", forward(weights, IDS))


MATRICES = (("attn_q",), ("attn_k",), ("attn_v",), ("attn_output",), ("ffn_gate", "ffn_up"), ("ffn_down",))
PLACES = [*(tuple(f"blk.{i}.{m}." for m in place) for i in range(2) for place in MATRICES), ("token_embd.",)]


@pytest.mark.parametrize("first", range(0, len(KINDS), len(PLACES)))
def test_formats(tmp_path: Path, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many formats a file as there are places, as files mix them: a format is one matrix, or gate and up, whose
    products are one kernel. All matrices but the last are 256 by 256: `test_architectures` has other shapes and
    activations, and `kernels/test_linear.py` every format with several."""
    kinds = {place: KINDS[(first + i) % len(KINDS)] for i, place in enumerate(PLACES)}

    def kind(name: str) -> str:
        return next((kinds[place] for place in PLACES if name.startswith(place)), "F32")

    for name, size in {"KV": numpy_forward.HEADS, "FEED": numpy_forward.HIDDEN}.items():
        monkeypatch.setattr(numpy_forward, name, size)
    weights = write_model(tmp_path / "m.gguf", "qwen2", kind, seed=1)
    check_exact(tmp_path / "m.gguf", forward(weights, IDS))


def check(path: Path, expected: np.ndarray, context: int | None = None) -> None:
    """Within 1e-3 with exact activations, cosine 0.999 with int8 ones; the file is told apart from its neighbours."""
    check_exact(path, expected, context)
    rounded = every_logit(load(path, threads=1, context=context)).astype(np.float64)
    cosine = (rounded * expected).sum() / np.sqrt((rounded**2).sum() * (expected**2).sum())
    assert cosine >= 0.999


def check_exact(path: Path, expected: np.ndarray, context: int | None = None) -> None:
    exact = every_logit(load(path, threads=1, context=context, activations="float", cache_dtype="f32"))
    assert np.abs(exact - expected).max() <= 1e-3 * np.abs(expected).max()


def every_logit(model: LanguageModel) -> np.ndarray:
    """Logits of all tokens. Those of a last one alone are the same, though other rows leave the last layer behind its
    keys and values then, and blocks before the last one stop there."""
    every, whole = model.logits(IDS), model.block
    for block, count in ((whole, len(IDS)), (16, len(IDS)), (16, 17), (5, 2)):
        model.block = whole
        model.restart(IDS[::-1])  # other keys and values than those that are to come
        model.block = block
        np.testing.assert_array_equal(model.restart(IDS[:count]), every[count - 1])
    return every


@pytest.mark.parametrize("scaling", ["linear", "yarn"])
def test_rope_scalings_reach_the_model(tmp_path: Path, scaling: str) -> None:
    extra = {"rope.scaling.type": scaling, "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64}
    weights = write_model(tmp_path / "m.gguf", "qwen2", "F32", extra=extra)
    config = RopeConfig(32, 10000.0, False, scaling, 4.0, 64)
    frequencies, magnitude = rope_frequencies(config)
    check(tmp_path / "m.gguf", forward(weights, IDS, frequencies.astype(np.float64), magnitude))


LONGROPE = {
    "rope.scaling.type": "longrope",
    "rope.scaling.original_context_length": 64,
    "rope.scaling.attn_factor": 1.19,
}


def longrope_tables() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        "rope_factors_short.weight": rng.uniform(1, 1.5, 16).astype(np.float32),
        "rope_factors_long.weight": rng.uniform(1, 40, 16).astype(np.float32),
    }


@pytest.mark.parametrize(("context", "table"), [(64, "short"), (65, "long"), (256, "long")])
def test_longrope_takes_the_factors_of_the_context(tmp_path: Path, context: int, table: str) -> None:
    """As in Phi-3: each pair's frequency over its factor, sine and cosine times attn_factor."""
    tables = longrope_tables()
    weights = write_model(tmp_path / "m.gguf", "qwen2", "F32", extra=LONGROPE, vectors=tables)
    factors = tables[f"rope_factors_{table}.weight"].astype(np.float64)
    frequencies = np.array([10000.0 ** (-2 * i / 32) / factors[i] for i in range(16)])
    check(tmp_path / "m.gguf", forward(weights, IDS, frequencies, 1.19), context)


@pytest.mark.parametrize("fault", ["missing", "short", "zero", "type"])
def test_bad_longrope_factors_are_refused(tmp_path: Path, fault: str) -> None:
    tables = longrope_tables()
    if fault == "missing":
        del tables["rope_factors_long.weight"]
    elif fault == "short":
        tables["rope_factors_long.weight"] = tables["rope_factors_long.weight"][:8]
    elif fault == "zero":
        tables["rope_factors_long.weight"][3] = 0
    extra = LONGROPE | ({"rope.scaling.type": 7} if fault == "type" else {})
    write_model(tmp_path / "m.gguf", "qwen2", "F32", extra=extra, vectors=tables)
    with pytest.raises(FileFormatError, match=r"rope_factors_long|rope\.scaling\.type must be a string"):
        load(tmp_path / "m.gguf", threads=1)


def test_rope_frequencies_by_hand() -> None:
    plain, one = rope_frequencies(RopeConfig(8, 100.0, False))
    np.testing.assert_allclose(plain, [1, 100**-0.25, 0.1, 100**-0.75], rtol=1e-6)
    assert one == 1.0
    np.testing.assert_allclose(rope_frequencies(RopeConfig(8, 100.0, False, "linear", 2.0))[0], plain / 2, rtol=1e-6)
    np.testing.assert_allclose(
        rope_frequencies(RopeConfig(8, 100.0, False), np.array([1, 2, 4, 8], np.float32))[0],
        plain / [1, 2, 4, 8],
        rtol=1e-6,
    )
    yarn, magnitude = rope_frequencies(RopeConfig(64, 10000.0, False, "yarn", 4.0, 4096))
    base = 10000.0 ** -(np.arange(0, 64, 2) / 64)
    assert yarn[0] == pytest.approx(base[0])  # fast pairs stay
    assert yarn[-1] == pytest.approx(base[-1] / 4)  # slow pairs are stretched
    assert magnitude == pytest.approx(1 + 0.1 * np.log(4))


def test_a_declared_format_is_saved_and_loaded(tmp_path: Path) -> None:
    from heliostat.lang.check import check as check_source
    from heliostat.lang.source import Source
    from heliostat.llm.formats import resolve_format
    from heliostat.llm.gguf import TensorKind
    from heliostat.quant import dequantize, quantize

    text = "format q3own { block 64; d: f16; z: i8; q: u3[64]; value = d * (q - z); }"
    module = check_source(Source(text, "own.lum"))
    module.register()
    own = module.formats["q3own"]
    values = np.random.default_rng(2).standard_normal((4, 128)).astype(np.float32)
    writer = GGUFWriter(tmp_path / "own.gguf", "qwen2")
    writer.declare_format(TensorKind(own.name, own.block, own.nbytes), text)
    writer.add_tensor("w", quantize(values, own), own.name, (4, 128))
    writer.write()
    with GGUFFile.open(tmp_path / "own.gguf", resolve_format) as file:
        assert file.tensors["w"].shape == (4, 128)
        back = np.asarray(dequantize(file.data("w"), own)).reshape(4, 128)
    np.testing.assert_array_equal(back, np.asarray(dequantize(quantize(values, own), own)).reshape(4, 128))
    assert np.abs(back - values).mean() < 0.3
    with pytest.raises(FileFormatError, match="unknown type"):
        GGUFFile.open(tmp_path / "own.gguf")


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "magic":
        data[:4] = b"GGML"
    elif how == "version":
        data[4] = 9
    elif how == "empty":
        data = bytearray()
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "magic", "version", "empty"])
def test_damaged_files_give_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    path = tmp_path / "m.gguf"
    write_model(path, "qwen2", "Q8_0")
    damage(path, how)
    refused(["run", str(path), "--prompt-tokens", "1,2"], capsys, "m.gguf")


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], said: str) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert err.startswith("error: ")


def test_other_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.gguf"
    refused(["run", str(tmp_path / "none.gguf"), "-p", "x"], capsys, "no such file")
    write_model(path, "qwen2", "Q8_0")
    refused(["run", str(path), "--prompt-tokens", ",".join(["1"] * 300)], capsys, "context")
    refused(["run", str(path), "--prompt-tokens", "1,x"], capsys, "--prompt-tokens")
    refused(["run", str(path), "-p", "text"], capsys, "tokenizer")
    writer = GGUFWriter(path, "mamba")
    writer.add_tensor("token_embd.weight", np.zeros((8, 8), np.float32), "F32", (8, 8))
    writer.write()
    refused(["run", str(path), "-p", "x"], capsys, "mamba")
    write_model(path, "qwen2", "Q8_0", extra={"feed_forward_length": 999})
    refused(["run", str(path), "--prompt-tokens", "1"], capsys, "ffn_gate")


def test_nan_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_model(path, "qwen2", "F32")
    data = np.fromfile(path, np.uint8)
    data[-4 * 256 :] = np.full(256, np.nan, np.float32).view(np.uint8)
    data.tofile(path)
    with pytest.raises(HeliostatError, match="NaN"):
        list(load(path, threads=1).generate([1, 2], max_tokens=2))
