"""Tokenizers for models that are trained here, as GGUF metadata: byte-level BPE, or one token for each byte.

What encodes is `llm.tokenizer`, from the same metadata, so that training sees the ids that running the model gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from ..diagnostics import FileFormatError, PackageMissingError
from ..llm.chatml import CHATML
from ..llm.gguf import ValueType
from ..llm.tokenizer import TokenType
from ..llm.tokenizer.pre_tokenizers import pre_tokenizer
from ..llm.tokenizer.vocabulary import BYTE_OF, CHAR_OF

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END = "<|endoftext|>"
"""Stands behind each text; the model learns where texts end, and generation stops there."""

RULE = "gpt-2"
"""How words are cut before merging: the rule that every reader of GGUF files knows."""

TURN, TURN_END = "<|im_start|>", "<|im_end|>"
"""Around a message of a conversation (ChatML)."""

STRINGS = (ValueType.ARRAY, ValueType.STRING)
Keys = dict[str, tuple[Any, Any]]


def byte_tokenizer(chat: bool = False) -> Keys:
    """GGUF keys, with their types, of a tokenizer whose token b is byte b, and 256 the end of a text; `chat`: those of
    ChatML behind."""
    return _keys([CHAR_OF[b] for b in range(256)], [], RULE, chat)


def bpe_tokenizer(texts: Iterable[str], vocabulary: int, rule_name: str = RULE, chat: bool = False) -> Keys:
    """GGUF keys of byte-level BPE with `vocabulary` tokens in all, learned from texts. `rule_name`: a name of
    `tokenizer.ggml.pre`. `chat`: with tokens and template of ChatML.

    Raises FileFormatError if the texts have too few different words for so many tokens, PackageMissingError."""
    try:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers  # an optional package
    except ImportError as error:
        raise PackageMissingError.of("vocabularies that are learned", "tokenizers") from error
    texts = list(texts)
    controls = len(_controls(chat))
    if vocabulary > 256 + controls + (
        most := sum(len(text.encode()) for text in texts)
    ):  # a merge joins two bytes somewhere
        _refuse(
            256 + controls + most, vocabulary
        )  # before the learner, which takes memory for all tokens and aborts without it
    rule = pre_tokenizer(rule_name)
    learner = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rule.patterns]
    alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learner.pre_tokenizer = pre_tokenizers.Sequence([*splits, alphabet])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - controls, initial_alphabet=sorted(BYTE_OF), show_progress=False, special_tokens=[]
    )
    learner.train_from_iterator(texts, trainer)
    ids: dict[str, int] = learner.get_vocab()
    if len(ids) != vocabulary - controls:
        _refuse(len(ids) + controls, vocabulary)
    merges = _merges(learner)
    return _keys(sorted(ids, key=lambda token: ids[token]), merges, rule_name, chat)


def _refuse(count: int, vocabulary: int) -> NoReturn:
    raise FileFormatError(
        f"the data give at most {count} tokens, not {vocabulary}",
        help="ask for a smaller vocabulary, for bytes, or give more text",
    )


def _merges(learner: Tokenizer) -> list[str]:
    found = json.loads(learner.to_str())["model"]["merges"]
    return [pair if isinstance(pair, str) else " ".join(pair) for pair in found]


def _controls(chat: bool) -> list[str]:
    return [END, TURN, TURN_END] if chat else [END]


def _keys(tokens: list[str], merges: list[str], rule_name: str, chat: bool) -> Keys:
    end, controls = len(tokens), _controls(chat)
    types = [int(TokenType.NORMAL)] * end + [int(TokenType.CONTROL)] * len(controls)
    made: Keys = {
        "tokenizer.ggml.model": ("gpt2", ValueType.STRING),
        "tokenizer.ggml.pre": (rule_name, ValueType.STRING),
        "tokenizer.ggml.tokens": ([*tokens, *controls], STRINGS),
        "tokenizer.ggml.token_type": (types, (ValueType.ARRAY, ValueType.INT32)),
        "tokenizer.ggml.merges": (merges, STRINGS),
        "tokenizer.ggml.bos_token_id": (end, ValueType.UINT32),
        "tokenizer.ggml.eos_token_id": (end + len(controls) - 1, ValueType.UINT32),
        "tokenizer.ggml.add_bos_token": (False, ValueType.BOOL),
    }
    if chat:
        made["tokenizer.ggml.padding_token_id"] = (end, ValueType.UINT32)
        made["tokenizer.chat_template"] = (CHATML, ValueType.STRING)
    return made
