"""Adapters: against the plain NumPy forward of base plus adapter, through files, merged, and in llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy_forward import VOCABULARY, forward, write_model

import heliostat as hs
from heliostat.cli.main import main
from heliostat.diagnostics import FileFormatError, ShapeError, UnsupportedError
from heliostat.llm import load, load_tokenizer
from heliostat.llm.gguf import GGUFFile, GGUFWriter
from heliostat.llm.weights import DecoderWeights
from heliostat.train.adapter import Adapter, merge
from heliostat.train.decoder import Decoder, loss_of
from heliostat.train.export import write_model as export
from heliostat.train.fine_tune import LoraRun, open_lora
from heliostat.train.language_model import open_language_model
from heliostat.train.lora import Frozen, LoraLinear
from heliostat.train.options import LanguageModelOptions, LoraOptions, OptionError
from targets.gpus import KINDS, gpu

TARGETS = LoraOptions.targets
PROMPT = "20 and 21"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained model as F32 and as Q8_0, and a text that it has not seen."""
    place = tmp_path_factory.mktemp("base")
    (place / "text.txt").write_text("".join(f"{n} and {n + 1} are {2 * n + 1}, and so on.\n" for n in range(400)))
    (place / "other.txt").write_text("".join(f"{n} and {n + 1} give {2 * n + 1}!\n" for n in range(200)))
    made = open_language_model(
        LanguageModelOptions(
            out=str(place / "run"), data=(str(place / "text.txt"),), tokenizer="byte", hidden=32, layers=2, heads=2,
            kv_heads=1, feed_forward=64, block=24, batch=4, steps=60, warmup=3, lr=1e-2, type="F32",
        )
    )  # fmt: skip
    made.train().rename(place / "F32.gguf")
    tensors = {name: p.detach().numpy() for name, p in made.run.trained.items()}
    export(place / "Q8_0.gguf", made.config, made.tokenizer, tensors, "Q8_0", "base")
    return place


def options(folder: Path, tmp_path: Path, kind: str = "F32", **changes: Any) -> LoraOptions:
    usual: dict[str, Any] = {
        "model": str(folder / f"{kind}.gguf"), "data": (str(folder / "other.txt"),), "block": 24, "steps": 12,
        "rank": 3, "out": str(tmp_path / "run"), "checkpoint_every": 5, "eval_every": 6, "dropout": 0.1,
    }  # fmt: skip
    return LoraOptions(**{**usual, **changes})


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [("llama", "F32"), ("qwen2", "F16"), ("llama", "Q8_0"), ("qwen3", "Q4_K")],
)
def test_logits_and_slopes_of_base_and_adapter(tmp_path: Path, architecture: str, kind: str) -> None:
    weights = write_model(tmp_path / "m.gguf", architecture, kind, 5)
    found = DecoderWeights(GGUFFile.open(tmp_path / "m.gguf"))
    model = Decoder(found.config, Frozen(found, ("attn_q", "ffn_down"), 2, 6.0), 16)
    rng = np.random.default_rng(1)
    named = dict(model.named_parameters())
    assert {n.rpartition(".")[2] for n in named} == {"lora_a", "lora_b"}
    assert len(named) == 2 * 2 * found.config.layers
    with hs.no_grad():
        for p in named.values():
            p.copy_(hs.tensor(rng.standard_normal(p.shape).astype(np.float32) * 0.1))

    def merged(changed: dict[str, np.ndarray]) -> dict[str, Any]:
        values = {n: p.detach().numpy().astype(np.float64) for n, p in named.items()} | changed
        out = dict(weights)
        for n in values:
            if n.endswith("lora_a"):
                stem = n.removesuffix(".lora_a")
                out[f"{stem}.weight"] = weights[f"{stem}.weight"] + 3.0 * values[f"{stem}.lora_b"] @ values[n]
        return out

    ids = rng.integers(0, VOCABULARY, 9)
    labels = rng.integers(0, VOCABULARY, 9)
    expected = forward(merged({}), ids.tolist())
    logits = model(hs.tensor([ids.tolist()])).detach().numpy()[0].astype(np.float64)
    exact = kind == "F32"
    if kind in ("F32", "F16"):
        assert np.abs(logits - expected).max() <= (1e-4 if exact else 1e-3) * np.abs(expected).max()
    cosine = (logits * expected).sum() / np.sqrt((logits**2).sum() * (expected**2).sum())
    assert cosine > 0.999

    def loss(changed: dict[str, np.ndarray]) -> float:
        scores = forward(merged(changed), ids.tolist())
        top = scores.max(-1, keepdims=True)
        scores = scores - top - np.log(np.exp(scores - top).sum(-1, keepdims=True))
        return float(-scores[np.arange(9), labels].mean())

    loss_of(model, hs.tensor([ids.tolist()]), hs.tensor([labels.tolist()])).backward()
    for n, p in named.items():
        assert p.grad is not None
        g = p.grad.numpy().astype(np.float64)
        if n.startswith("blk.1"):  # one block is enough
            continue
        h = 1e-4
        way = g / np.sqrt((g**2).sum())
        values = p.detach().numpy().astype(np.float64)
        slope = (loss({n: values + h * way}) - loss({n: values - h * way})) / (2 * h)
        # int8 activations change logits by about half a percent, gradients with them
        assert abs(slope / np.sqrt((g**2).sum()) - 1) < (1e-3 if exact else 0.05), n


def test_the_base_is_read_where_it_lies(folder: Path, tmp_path: Path) -> None:
    file = GGUFFile.open(folder / "Q8_0.gguf")
    model = Decoder((w := DecoderWeights(file)).config, Frozen(w, TARGETS, 2, 2.0), 8)
    held = model.blk[0].attn_q.weight.value
    assert held.meta.buffer.address == file.data("blk.0.attn_q.weight").ctypes.data
    assert str(held.type.element) == "Q8_0"


def trained(options: LoraOptions) -> tuple[LoraRun, Path]:
    made = open_lora(options)
    return made, made.train()


def test_adapters_learn_go_on_and_come_back(folder: Path, tmp_path: Path) -> None:
    made, path = trained(options(folder, tmp_path, steps=30))
    checks = made.run.progress.checks
    assert checks[-1][1] < checks[0][1] - 0.05
    found = Adapter.load(path)
    assert (found.rank, found.alpha, found.architecture) == (3, 16.0, "llama")
    assert found.pairs.keys() == {f"blk.{i}.{t}.weight" for i in range(2) for t in TARGETS}
    for name, pair in made.adapter.pairs.items():
        for ours, read in zip(pair, found.pairs[name], strict=True):
            assert np.array_equal(ours.detach().numpy(), read.numpy())
    with pytest.raises(UnsupportedError, match="base = "):
        open_lora(options(folder, tmp_path, "Q8_0", steps=30, out=made.options.out), resume=True)
    whole, _ = trained(options(folder, tmp_path, out=str(tmp_path / "whole")))

    class Stop(Exception):
        pass

    def stop(progress: Any, rate: float) -> None:
        if progress.step == 7:  # as if killed: the last checkpoint is of step 5
            raise Stop

    part = options(folder, tmp_path, out=str(tmp_path / "part"))
    with pytest.raises(Stop):
        open_lora(part).train(stop)
    again = open_lora(part, resume=True)
    assert again.run.progress.step == 5
    again.train()
    assert again.run.progress == whole.run.progress


@pytest.mark.parametrize(("kind", "type_name"), [("F32", "same"), ("Q8_0", "F32"), ("Q8_0", "same")])
def test_merged(folder: Path, tmp_path: Path, kind: str, type_name: str) -> None:
    made = open_lora(options(folder, tmp_path, kind, targets=("attn_q", "ffn_up")))
    rng = np.random.default_rng(4)
    with hs.no_grad():  # any adapter will do: it need not be trained
        for p in made.run.trained.values():
            p.copy_(hs.tensor(rng.uniform(-0.2, 0.2, p.shape).astype(np.float32)))
    path, out = tmp_path / "adapter.safetensors", tmp_path / "merged.gguf"
    made.adapter.save(path)
    assert merge(made.base, path, out, type_name) == 4
    before, after = GGUFFile.open(made.base), GGUFFile.open(out)
    assert dict(before.metadata) == dict(after.metadata)
    assert before.tensors.keys() == after.tensors.keys()
    for name, info in after.tensors.items():
        if name not in made.adapter.pairs:
            assert np.array_equal(before.data(name), after.data(name))
        assert info.type_name == (type_name if name in made.adapter.pairs and type_name != "same" else
                                  before.tensors[name].type_name)  # fmt: skip
    ids = load_tokenizer(out).encode(PROMPT)
    made.run.model.eval()
    with hs.no_grad():
        expected = made.run.model(hs.tensor([ids])).numpy()[0]
    logits = load(out, activations="float", cache_dtype="f32").logits(ids)
    scale = np.abs(expected).max()
    assert np.abs(logits - expected).max() <= (1e-4 if kind == "F32" else 3e-2) * scale
    if kind == "F32":
        base = load(made.base, activations="float", cache_dtype="f32")
        assert np.abs(base.logits(ids) - expected).max() > 5e-2 * scale


def greedy(peer: Any, prompt: list[int], count: int) -> list[int]:
    stream = peer.generate(prompt, top_k=1, temp=0.0, repeat_penalty=1.0)
    return [next(stream) for _ in range(count)]


def test_llama_cpp_gives_the_same_greedy_tokens(folder: Path, tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    made, path = trained(options(folder, tmp_path, "Q8_0", steps=40))
    for type_name in ("same", "F32"):
        out = tmp_path / f"{type_name}.gguf"
        merge(made.base, path, out, type_name)
        model = load(out, activations="float", cache_dtype="f32")
        prompt = model.encode(PROMPT)
        ours = [piece.token for piece in model.generate(prompt, max_tokens=12, temperature=0.0, ignore_eos=True)]
        peer = llama_cpp.Llama(str(out), n_ctx=64, n_threads=1, verbose=False)
        assert greedy(peer, list(prompt), 12) == ours
    adapter = str(tmp_path / "run" / "adapter.gguf")
    peer = llama_cpp.Llama(str(made.base), lora_path=adapter, n_ctx=64, n_threads=1, verbose=False)
    assert greedy(peer, list(prompt), 12) == ours


def test_adapters_of_something_else(folder: Path, tmp_path: Path) -> None:
    base, out = folder / "F32.gguf", tmp_path / "out.gguf"

    def saved(**changes: Any) -> Path:
        pairs = {"blk.0.attn_q.weight": (hs.zeros(2, 32), hs.zeros(32, 2))}
        made = Adapter(**{"architecture": "llama", "rank": 2, "alpha": 1.0, "pairs": pairs, **changes})
        made.save(tmp_path / "a.safetensors")
        return tmp_path / "a.safetensors"

    assert merge(base, saved(), out) == 1
    out.unlink()
    for error, says, changes in (
        (FileFormatError, "is for a qwen2 model", {"architecture": "qwen2"}),
        (
            FileFormatError,
            r"has no tensor blk\.7",
            {"pairs": {"blk.7.attn_q.weight": (hs.zeros(2, 32), hs.zeros(32, 2))}},
        ),
        (ShapeError, "do not fit", {"pairs": {"blk.0.attn_q.weight": (hs.zeros(2, 31), hs.zeros(32, 2))}}),
        (ShapeError, "do not fit", {"rank": 3}),
        (ShapeError, "do not fit", {"pairs": {"blk.0.attn_q.weight": (hs.zeros(32), hs.zeros(32, 2))}}),
        (FileFormatError, "rank 0", {"rank": 0}),
        (FileFormatError, "alpha nan", {"alpha": float("nan")}),
        (
            FileFormatError,
            r"blk\.0\.attn_q\.weight .*NaN",
            {"pairs": {"blk.0.attn_q.weight": (hs.full((2, 32), float("nan")), hs.zeros(32, 2))}},
        ),
    ):
        with pytest.raises(error, match=says):
            merge(base, saved(**changes), out)
    with pytest.raises(OptionError, match="the base itself"):
        merge(base, saved(), base)
    with pytest.raises(OptionError, match="the adapter itself"):
        merge(base, (path := saved()), path)
    with pytest.raises(OptionError, match="type must be one of"):
        merge(base, saved(), out, "Q9")
    hs.save_safetensors({"a": hs.zeros(1)}, str(tmp_path / "b.safetensors"))
    with pytest.raises(FileFormatError, match="is not an adapter"):
        merge(base, tmp_path / "b.safetensors", out)
    raw = saved().read_bytes()
    damaged = [raw[:-3], *(raw[:n] + bytes([raw[n] ^ 1]) + raw[n + 1 :] for n in range(0, len(raw), 5))]
    for bytes_ in damaged:
        (tmp_path / "a.safetensors").write_bytes(bytes_)
        with pytest.raises(FileFormatError):
            merge(base, tmp_path / "a.safetensors", out)
    with pytest.raises(OSError, match=r"missing/out\.gguf'"):
        merge(base, saved(), tmp_path / "missing" / "out.gguf")
    assert not out.exists()
    first = {"format": "heliostat lora", "architecture": "llama", "rank": "2", "alpha": "1.0"}  # without a checksum
    pairs = {"blk.0.attn_q.weight.lora_a": hs.zeros(2, 32), "blk.0.attn_q.weight.lora_b": hs.zeros(32, 2)}
    hs.save_safetensors(pairs, str(tmp_path / "a.safetensors"), first)
    assert merge(base, tmp_path / "a.safetensors", out) == 1


def test_bad_input_is_a_message_and_exit_code_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    writer = GGUFWriter(tmp_path / "mamba.gguf", "mamba")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32), "F32", (4, 4))
    writer.write()
    base, text = str(folder / "F32.gguf"), str(folder / "other.txt")
    (tmp_path / "short.txt").write_text("x")
    for arguments, says in (
        (["lora", "--model", base], "data must name at least one file"),
        (["lora", "--model", "none.gguf", "--data", text], "none.gguf: no such file"),
        (["lora", "--model", "mamba.gguf", "--data", text], "architecture 'mamba' is not supported"),
        (["lora", "--model", base, "--data", text, "--block", "99"], "context of 24 tokens"),
        (["lora", "--model", base, "--data", "short.txt", "--block", "24"], "a block of 24 needs 25"),
        (["lora", "--model", base, "--data", text, "--targets", "attn_p"], "is no matrix of a block"),
        (["lora", "--model", text, "--data", text], "not a GGUF file"),
        (["merge", "--model", base, "--adapter", "none", "--out", "o.gguf"], "none: no such file"),
    ):
        assert main(["train", *arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert says in error
        assert error.startswith("error: ")
    assert not (tmp_path / "run").exists()


def test_the_command_trains_and_merges(folder: Path, tmp_path: Path) -> None:
    words = ["--model", str(folder / "Q8_0.gguf"), "--data", str(folder / "other.txt"), "--block", "24", "--steps", "2"]
    assert main(["train", "lora", *words, "--out", str(tmp_path / "run"), "--rank", "3"]) == 0
    adapter, out = str(tmp_path / "run" / "adapter.safetensors"), str(tmp_path / "m.gguf")
    assert main(["train", "merge", "--model", words[1], "--adapter", adapter, "--out", out, "--type", "F16"]) == 0
    assert main(["run", out, "-p", PROMPT, "-n", "3"]) == 0


def test_an_adapter_of_zeros_changes_nothing() -> None:
    layer = LoraLinear(hs.randn(5, 4), None, 2, 8.0, 0.0)
    x = hs.randn(3, 4)
    assert np.allclose(layer(x).detach().numpy(), x.numpy() @ layer.weight.numpy().T, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_learn_on_a_gpu_as_on_the_cpu(folder: Path, tmp_path: Path, kind: str) -> None:
    """A step and its check over a quantized base, whose products round activations to int8 or to bf16, so that losses
    are some thousandths apart; of Adam's first update, lr where the gradient is not 0, signs are compared."""
    few = {"steps": 1, "batch": 1, "block": 4, "rank": 2, "targets": ("attn_q",), "eval_every": 1, "eval_batches": 1}
    alone = open_lora(options(folder, tmp_path, "Q8_0", **few))
    alone.train()
    with gpu(kind):
        made = open_lora(options(folder, tmp_path, "Q8_0", **{**few, "out": str(tmp_path / "gpu"), "device": "cuda"}))
        path = made.train()
    np.testing.assert_allclose(made.run.progress.losses, alone.run.progress.losses, rtol=5e-3)
    np.testing.assert_allclose(made.run.progress.checks, alone.run.progress.checks, rtol=5e-3)
    found, wanted = Adapter.load(path).pairs, alone.adapter.pairs
    for name, (_, b) in found.items():
        close = np.isclose(b.numpy(), wanted[name][1].detach().numpy(), rtol=1e-2, atol=1e-6)
        assert close.mean() > 0.95, name
