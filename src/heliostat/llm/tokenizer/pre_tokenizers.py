"""The pre-tokenizers: how byte-level BPE cuts a text into words before merging, by the GGUF name `tokenizer.ggml.pre`.

A rule is a list of regular expressions (Oniguruma syntax) applied in order: each cuts the pieces that the one before it
left, its matches and the texts between them becoming pieces. A name stands here only if its rule is certain; an
unknown name is an error, because a near miss gives ids that look right and a model that is subtly wrong.
Source: the `tokenizer.json` files of the models and llama.cpp's table of names.
"""

from __future__ import annotations

from dataclasses import dataclass

from heliostat.diagnostics import TokenizerError

_CONTRACTION = r"'s|'t|'re|'ve|'m|'ll|'d"
_CONTRACTION_ANY_CASE = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_SPACES = r"\s+(?!\S)|\s+"  # white space leaves its last character to the word that follows
_LINES = r"\s*[\r\n]+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

_GPT2 = rf"{_CONTRACTION}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{_SPACES}"
_DIGIT = r"\p{N}"


def _llama3(digits: str) -> str:
    """Words with at most one other character in front, numbers as `digits` says, signs that take the newlines after."""
    return (
        rf"(?:{_CONTRACTION_ANY_CASE})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_LINES}|{_SPACES}"
    )


def _case_words(digits: str, contraction: str) -> str:
    """Words that end where a capital begins (`HelloWorld` is two), else as Llama 3 with `/` taken like a newline."""
    return (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{contraction}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{contraction}"
        rf"|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}|{_SPACES}"
    )


_QWEN35 = (
    rf"(?:{_CONTRACTION_ANY_CASE})|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}|{_SPACES}"
)


@dataclass(frozen=True)
class PreTokenizer:
    """One rule. `ignore_merges`: a piece that is a token as a whole is taken whole. `add_bos`: the default for files
    that do not say whether a text begins with BOS."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False


_RULES: dict[PreTokenizer, tuple[str, ...]] = {
    PreTokenizer((_GPT2,)): (
        *("gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "mellum", "granite-docling"),
        *("a.x-4.0", "exaone4", "trillion"),
    ),
    PreTokenizer((_DIGIT, _GPT2)): ("starcoder", "refact", "command-r", "smollm", "codeshell", "minerva-7b", "exaone"),
    PreTokenizer((_llama3(r"\p{N}{1,3}"),), ignore_merges=True, add_bos=True): (
        *("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "midm-2.0"),
    ),
    PreTokenizer((_llama3(r"\p{N}{1,3}"),)): ("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"),
    PreTokenizer((_llama3(r"\p{N}"),)): (
        *("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "grok-2", "kormo", "solar-open"),
    ),
    PreTokenizer((_QWEN35,)): ("qwen35",),
    PreTokenizer((_case_words(r"\p{N}{1,3}", f"(?:{_CONTRACTION_ANY_CASE})?"),)): ("gpt-4o", "llama4", "kanana2"),
    PreTokenizer((_case_words(r"\p{N}", ""),), ignore_merges=True, add_bos=True): ("tekken",),
}
PRE_TOKENIZERS: dict[str, PreTokenizer] = {name: rule for rule, names in _RULES.items() for name in names}
"""Every known name of `tokenizer.ggml.pre` with its rule."""


def pre_tokenizer(name: str) -> PreTokenizer:
    """The rule called `name`. Raises TokenizerError, with the known names, for any other."""
    try:
        return PRE_TOKENIZERS[name]
    except KeyError:
        raise TokenizerError(
            f"unknown pre-tokenizer {name!r} (tokenizer.ggml.pre)",
            help=f"known are {', '.join(sorted(PRE_TOKENIZERS))}; a guessed rule would give wrong ids",
        ) from None
