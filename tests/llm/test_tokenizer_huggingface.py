"""`tokenizer.json` files: byte-level and SentencePiece-like ones, their neighbours, faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizer_data import metadata, tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from heliostat.diagnostics import TokenizerError
from heliostat.llm.tokenizer import Tokenizer
from heliostat.llm.tokenizer.pre_tokenizers import PRE_TOKENIZERS

TEXTS = ["Hello, world!", "한국어 문장입니다.", "  a  \n\n b", "emoji 🙂", "", "<|im_start|>user\nHi<|im_end|>\n"]


def write_byte_level(folder: Path) -> None:
    """The demo model's tokenizer as Hugging Face would save it, with a BOS in front."""
    data = metadata("demo")
    ids = {token: i for i, token in enumerate(data["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ")) for merge in data["tokenizer.ggml.merges"]]
    made = tokenizers.Tokenizer(models.BPE(ids, merges))
    split = pre_tokenizers.Split(tokenizers.Regex(PRE_TOKENIZERS["qwen2"].patterns[0]), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    made.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 8189)]
    )
    made.save(str(folder / "tokenizer.json"))
    config = {"bos_token": {"content": "<|endoftext|>"}, "eos_token": "<|im_end|>", "chat_template": "{{ messages }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [8191, 5]}))


def test_byte_level(tmp_path: Path) -> None:
    write_byte_level(tmp_path)
    made, same = Tokenizer.from_json(tmp_path), tokenizer("demo")
    for text in TEXTS:
        assert made.encode(text) == same.encode(text)
        assert made.encode(text, parse_special=False) == same.encode(text, parse_special=False)
        assert made.decode(made.encode(text)) == text
        assert made.encode(text, add_special=True) == [8189, *same.encode(text)]
    assert (made.bos_id, made.eos_id, made.add_bos, made.add_eos) == (8189, 8191, True, False)
    assert made.eog_ids == {5, 8189, 8191}
    assert made.chat_template == "{{ messages }}"
    assert made.vocab_size == 8192
    assert made.is_control(8190)


def test_sentencepiece_like(tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a", "b", "\u2581a", "ab"]
    model = models.BPE(
        {token: i for i, token in enumerate(tokens)},
        [("\u2581", "a"), ("a", "b")],
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    made = tokenizers.Tokenizer(model)
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(steps)
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "chat_template.jinja").write_text("x")
    found = Tokenizer.from_json(str(tmp_path / "tokenizer.json"))
    for text in ["ab a", "a한", " a", "b", ""]:
        assert found.encode(text) == made.encode(text, add_special_tokens=False).ids
        assert found.decode(found.encode(text)) == text == made.decode(found.encode(text))
    assert found.chat_template == "x"
    assert found.eog_ids == {2}
    assert not found.add_bos


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "No such file"),
        ("not json", "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "tokenizer.json: "),
        ({"decoder": None}, "decoder absent is neither"),
        ({"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}}, "decoder .'WordPiece'. is neither"),
        ({"model": {"type": "BPE", "vocab": {"a": 4000000000}, "merges": []}}, "ids up to"),
    ],
)
def test_faults(tmp_path: Path, change: Any, message: str) -> None:
    if isinstance(change, dict):
        write_byte_level(tmp_path)
        data = json.loads((tmp_path / "tokenizer.json").read_text())
        if "model" in change:
            data["added_tokens"], data["post_processor"] = [], None
        (tmp_path / "tokenizer.json").write_text(json.dumps(data | change))
    elif change is not None:
        (tmp_path / "tokenizer.json").write_text(change)
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.from_json(tmp_path)
