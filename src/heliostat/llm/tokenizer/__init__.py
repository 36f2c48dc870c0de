"""Text to token ids and back, as the model's own file defines it.

`Tokenizer` is the front; `vocabulary` holds what decoding needs, `bpe` and `sentencepiece` are the two encoders that
GGUF metadata can ask for, `huggingface` reads `tokenizer.json`. Encoders are built on the first `encode`.
"""

from heliostat.llm.tokenizer.tokenizer import Tokenizer
from heliostat.llm.tokenizer.vocabulary import TokenType, Vocabulary

__all__ = ["TokenType", "Tokenizer", "Vocabulary"]
