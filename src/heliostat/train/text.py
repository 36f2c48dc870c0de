"""Text for training: files are found and read, and token ids cut into blocks that batches are drawn from.

Which rows step n sees follows from the seed and n alone, so that a run that was interrupted goes on with the same ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..diagnostics import FileFormatError, HeliostatError
from ..llm.tokenizer import Tokenizer
from .options import OptionError
from .tokenizer import END, TURN, TURN_END

Ids = npt.NDArray[np.int32]
IGNORED = -100
"""The label of a place that takes no part in the loss, as in `cross_entropy`."""

SUFFIXES = (".txt", ".py")
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib2to3"}


class DataError(HeliostatError, ValueError):
    """There is not enough text for what is asked."""


class Example(NamedTuple):
    """One text. `prompt` is given to the model, only `completion` is learned; a plain text is all completion. Of a
    conversation, `messages` as pairs of role and content, all is learned, and the others are empty."""

    prompt: str
    completion: str
    messages: tuple[tuple[str, str], ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All text in it."""
        return tuple(t for t in (self.prompt, self.completion, *(c for _, c in self.messages)) if t)


def read_examples(data: Sequence[str], max_bytes: int = 0) -> list[Example]:
    """Texts of files and folders, of Python's standard library where none is named; `.jsonl` files hold an object in
    each line, with "text", with "prompt" and "completion", or with "messages", a list of objects with "role" and
    "content". Reading ends behind `max_bytes` (0: never); a conversation is never cut.

    Raises FileFormatError for what is missing or no text, DataError if there is nothing."""
    made: list[Example] = []
    left = max_bytes or 1 << 62
    for path in _files(data):
        for example in _records(path) if path.suffix == ".jsonl" else [Example("", _text(path))]:
            room = max(0, left)
            if example.messages:
                left -= sum(len(text.encode()) for text in example.texts)
                if room:
                    made.append(example)
                continue
            prompt, completion = example.prompt[:room], example.completion[:room]
            left -= len(prompt.encode()) + len(completion.encode())
            if completion:
                made.append(Example(prompt, completion))
        if left <= 0:
            break
    if not made:
        raise DataError(f"{', '.join(data) or 'the standard library'}: there is no text")
    return made


def _files(data: Sequence[str]) -> Iterator[Path]:
    for name in data or (sysconfig.get_path("stdlib"),):
        path = Path(name)
        if not path.exists():
            raise FileFormatError(f"{name}: no such file")
        if not path.is_dir():
            yield path
            continue
        found = sorted(_inside(path, set() if data else LEFT_OUT))
        if not found:
            raise FileFormatError(f"{name}: holds no {' or '.join('*' + s for s in SUFFIXES)} files")
        yield from found


def _inside(folder: Path, left_out: set[str]) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if f not in left_out]
        yield from (Path(place, f) for f in files if f.endswith(SUFFIXES))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path}: is not UTF-8 text: byte {error.start}") from None


def _records(path: Path) -> Iterator[Example]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{path}:{number}: is not JSON: {str(error)[:80]}") from None
        example = _example(record)
        if example is None:
            raise FileFormatError(
                f'{path}:{number}: needs strings "text", or "prompt" and "completion", or a list "messages" of objects '
                'with strings "role" and "content"'
            )
        for role, _ in example.messages:
            if not role or any(c.isspace() or c in "<|>" for c in role):
                raise FileFormatError(f"{path}:{number}: role {role!r} is no name, such as user or assistant")
        if any("\ud800" <= c <= "\udfff" for text in (*example.texts, *(r for r, _ in example.messages)) for c in text):
            raise FileFormatError(f"{path}:{number}: is no text: half of a pair of surrogates stands alone")
        yield example


def _example(record: Any) -> Example | None:
    """A line's object as an example; None for anything else."""
    match record:
        case {"text": str(text), **rest} if not rest:
            return Example("", text)
        case {"prompt": str(prompt), "completion": str(completion), **rest} if not rest:
            return Example(prompt, completion)
        case {"messages": list(messages), **rest} if messages and not rest:
            turns = []
            for message in messages:
                match message:
                    case {"role": str(role), "content": str(content), **more} if not more:
                        turns.append((role, content))
                    case _:
                        return None
            return Example("", "", tuple(turns))
    return None


@dataclass(frozen=True)
class Blocks:
    """Rows of T token ids, inputs (N, T), and for each place the id to be predicted there or IGNORED, labels (N, T)."""

    inputs: Ids
    labels: Ids

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def digest(self) -> str:
        """A fingerprint of ids and labels."""
        return hashlib.sha256(self.inputs.tobytes() + self.labels.tobytes()).hexdigest()


def blocks_of(examples: Sequence[Example], tokenizer: Tokenizer, block: int) -> Blocks:
    """Examples as rows. Texts and conversations follow one another, the end of text behind each, and are cut into rows;
    where one has a prompt, each begins a row of its own, and longer ones lose their end. Names of control tokens are
    those tokens in examples with prompts, which may be chats, and ordinary text in others.

    Raises DataError if there is less text than one row, or a conversation and no tokens of ChatML."""
    begins = [tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None else []
    ends = [] if tokenizer.eos_id is None else [tokenizer.eos_id]

    if any(e.prompt for e in examples):
        rows = [
            _padded(begins, _turns(e, tokenizer), block) if e.messages else
            _padded(begins + tokenizer.encode(e.prompt), tokenizer.encode(e.completion) + ends, block)
            for e in examples
        ]  # fmt: skip
        kept = [row for row in rows if (row[1] != IGNORED).any()]
        if not kept:
            raise DataError(f"no completion begins within {block} tokens", help="ask for a larger block")
        return Blocks(np.stack([r[0] for r in kept]), np.stack([r[1] for r in kept]))
    end = _control(tokenizer, END)
    ends = ends if end is None else [end]
    plain = iter(tokenizer.encode_batch([e.completion for e in examples if not e.messages], parse_special=False))
    texts = (_turns(e, tokenizer) if e.messages else next(plain) for e in examples)
    stream = np.concatenate([np.array(begins + ids + ends, np.int32) for ids in texts])
    count = (len(stream) - 1) // block
    if count < 1:
        raise DataError(f"the data are {len(stream)} tokens, a block of {block} needs {block + 1}",
                        help="give more text or ask for a smaller block")  # fmt: skip
    stream = stream[: count * block + 1]
    return Blocks(stream[:-1].reshape(count, block), stream[1:].reshape(count, block))


def _control(tokenizer: Tokenizer, name: str) -> int | None:
    token: int | None = tokenizer.vocabulary.ids.get(name)
    return token if token is not None and tokenizer.is_control(token) else None


def _turns(example: Example, tokenizer: Tokenizer) -> list[int]:
    """A conversation as ChatML writes it; names of control tokens inside of messages are ordinary text."""
    begin, end = (_control(tokenizer, name) for name in (TURN, TURN_END))
    if begin is None or end is None:
        raise DataError(
            f"the data hold conversations, and the tokenizer has no {TURN} and {TURN_END}",
            help='train with `chat`, or give "prompt" and "completion" as the model\'s own template writes them',
        )
    made: list[int] = []
    for role, content in example.messages:
        made += tokenizer.encode("\n", parse_special=False) if made else []
        made += [begin, *tokenizer.encode(f"{role}\n{content}", parse_special=False), end]
    return made


def _padded(prompt: Sequence[int], completion: Sequence[int], block: int) -> tuple[Ids, Ids]:
    ids = np.array([*prompt, *completion], np.int32)[: block + 1]
    inputs, labels = np.zeros(block, np.int32), np.full(block, IGNORED, np.int32)
    inputs[: len(ids) - 1] = ids[:-1]
    labels[: len(ids) - 1] = ids[1:]
    labels[: max(0, len(prompt) - 1)] = IGNORED
    return inputs, labels


def split(blocks: Blocks, share: float) -> tuple[Blocks, Blocks]:
    """Rows to learn from and the last ones, a share of at least one row, to check on; none where the share is 0.

    Raises OptionError if nothing would be left to learn from."""
    held = 0 if share == 0 else max(1, round(len(blocks) * share))
    at = len(blocks) - held
    if at < 1:
        raise OptionError(f"validation takes {held} of {len(blocks)} rows, which leaves none to learn from",
                          help="give more text, a smaller block, or validation 0")  # fmt: skip
    return Blocks(blocks.inputs[:at], blocks.labels[:at]), Blocks(blocks.inputs[at:], blocks.labels[at:])


class Batches:
    """The rows of each step: an order of all rows per epoch, from the seed."""

    def __init__(self, blocks: Blocks, batch: int, seed: int) -> None:
        self.blocks, self.batch, self.seed = blocks, batch, seed
        self._order = (-1, np.zeros(0, np.int64))

    def at(self, step: int) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Inputs (batch, T) i32 and labels (batch, T) i64 of a step, counted from 0. An epoch's end may lie inside."""
        epochs, places = np.divmod(np.arange(self.batch) + step * self.batch, len(self.blocks))
        rows = np.concatenate([self._permutation(int(e))[places[epochs == e]] for e in np.unique(epochs)])
        return self.blocks.inputs[rows], self.blocks.labels[rows].astype(np.int64)

    def _permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.blocks))
        return self._order[1]
