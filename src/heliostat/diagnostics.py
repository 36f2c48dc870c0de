"""Spans, diagnostics and the typed exceptions of the whole package.

One `Diagnostic` serves `.lum` sources, Python callers and data files: what was wrong, where, what to do.
Nothing here prints; `cli/` renders, and `render()` gives the text.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """A place in a text: lines and columns count from 1, `end_column` is exclusive. `path` names the file or source."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Note:
    """A secondary place with a short text, drawn under the main span (an operand and its type, say)."""

    at: Span
    message: str


@dataclass(frozen=True)
class Diagnostic:
    """One finding. `at` is None where no text exists to point into (a data file, a Python call)."""

    message: str
    at: Span | None = None
    notes: tuple[Note, ...] = ()
    help: str | None = None
    severity: str = "error"

    def render(self, source: str | Sequence[str] | None = None, *, color: bool = False) -> str:
        """The text shown to a person: `path:line:col: error: message`, source lines with carets, notes, help.

        `source` is the full text that the spans point into, or its lines (cheaper for many diagnostics of one text);
        without it only the headline, notes and help are given. `color` adds terminal colours.
        """
        paint = _paint if color else _plain
        place = paint(printable(f"{self.at}: "), "bold") if self.at else ""
        shade = "red" if self.severity == "error" else "yellow"
        out = [f"{place}{paint(f'{self.severity}:', shade)} {paint(printable(self.message), 'bold')}"]
        elsewhere = self.notes
        if self.at is not None and source is not None:
            lines = source.split("\n") if isinstance(source, str) else source
            here = [note for note in self.notes if note.at.path == self.at.path and 1 <= note.at.line <= len(lines)]
            elsewhere = tuple(note for note in self.notes if note not in here)
            out += _excerpt(self.at, here, lines, paint)
        out += [f"  note: {note.at}: {note.message}" for note in elsewhere]
        if self.help:
            out.append(f"  {paint('help:', 'cyan')} {printable(self.help)}")
        return "\n".join(out)


_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp", "Cn")  # categories that would move the cursor or hide text


def printable(text: str) -> str:
    """`text` as a terminal may show it: control characters but line feeds, and what hides or turns text, as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c == "\n" or unicodedata.category(c) not in _HIDDEN else c.encode("unicode_escape").decode() for c in text
    )


_LONG = 400  # characters of a message, from where on it is looked at
_MOST = 20_000  # that are kept of one
_ITEM = r"""(?:'[^'\n]*'|"[^"\n]*"|[^\[\](){},'"\n]+)"""
_LIST = re.compile(rf"(?<=[\[({{])(?:{_ITEM},[ ]?){{24,}}{_ITEM}?(?=[\])}}])")
_WORD = re.compile(rf"[^\s,]{{{_LONG},}}")


def brief(text: str) -> str:
    """A message that a person can read: lists in brackets of more than 24 items, words of more than 400 characters, and
    what is still longer than 20,000 characters are left out in their midst, with how much that was."""
    if len(text) <= _LONG:
        return text
    text = _WORD.sub(lambda m: _cut(m[0], 80, 20), _cut(text, 1 << 20, 1 << 10))
    return _cut(_LIST.sub(_few_of, text), _MOST * 3 // 4, _MOST // 4)


def _few_of(found: re.Match[str]) -> str:
    items = [item.strip() for item in re.findall(_ITEM, found[0]) if item.strip()]
    return ", ".join([*items[:6], f"... {len(items) - 8} more ...", *items[-2:]])


def _cut(text: str, first: int, last: int) -> str:
    """So many characters of both ends; all where little more than that is there."""
    left = len(text) - first - last
    return text if left < 64 else f"{text[:first]}... {left} more characters ...{text[-last:]}"


_COLORS = {"red": "31;1", "yellow": "33;1", "cyan": "36;1", "bold": "1"}
_WINDOW = 120  # columns of a source line that are shown; a longer line is cut around what is marked

Paint = Callable[[str, str], str]


def _paint(text: str, shade: str) -> str:
    return f"\x1b[{_COLORS[shade]}m{text}\x1b[0m"


def _plain(text: str, shade: str) -> str:
    return text


def _excerpt(at: Span, notes: Sequence[Note], lines: Sequence[str], paint: Paint) -> list[str]:
    """Each source line once, a `^` under the main span and `~` under notes below it. The text of the last note of
    a line stands beside the marks, the others below at their columns, as far as nothing is written over."""
    places = sorted({at.line, *(n.at.line for n in notes)})
    gutter = len(str(places[-1]))
    margin = f"  {' ' * gutter} | "
    rows: list[str] = []
    for number, (before, line) in enumerate(zip([0, *places], places, strict=False)):
        if not 1 <= line <= len(lines):
            continue
        if number and line > before + 1:
            rows.append(f"  {' ' * gutter} ...")
        spans = [n.at for n in notes if n.at.line == line]
        text, cells, offset = _shown(lines[line - 1], [at] if at.line == line else spans)
        rows.append(f"  {line:>{gutter}} | {text}".rstrip())
        marks = [" "] * (cells[-1] + 1)
        for span in spans:
            _mark(marks, span, cells, offset, "~")
        if at.line == line:
            _mark(marks, at, cells, offset, "^")
        shown = "".join(marks).rstrip()
        labels = sorted((_cell(cells, n.at.column - 1 - offset), n.message) for n in notes if n.at.line == line)
        beside = ""
        if labels and shown.endswith("~") and " " not in shown[labels[-1][0] :]:
            beside = f" {labels.pop()[1]}"
        painted = re.sub(r"\^+", lambda m: paint(m[0], "red"), shown)
        rows.append(f"{margin}{re.sub('~+', lambda m: paint(m[0], 'cyan'), painted)}{beside}".rstrip())
        rows += [f"{margin}{' ' * column}{message}" for column, message in reversed(labels)]
    return rows


def _shown(text: str, spans: Sequence[Span]) -> tuple[str, list[int], int]:
    """A source line as a terminal may show it, the cell where each of its characters starts (and the end), and the
    number of characters cut off before it. Tabs become a space, control characters a dot; wide characters take two
    cells, combining ones none."""
    text = text.rstrip("\r\n")
    offset = 0
    if len(text) > _WINDOW:
        first = min(span.column for span in spans) - 1
        offset = max(0, min(first - _WINDOW // 3, len(text) - _WINDOW))
        text = text[offset : offset + _WINDOW]
    cells = [0]
    out: list[str] = []
    for c in text:
        if unicodedata.category(c) in _HIDDEN:
            c = " " if c == "\t" else "\u00b7"
        width = 0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        cells.append(cells[-1] + width)
        out.append(c)
    return "".join(out), cells, offset


def _cell(cells: Sequence[int], index: int) -> int:
    return cells[max(0, min(index, len(cells) - 1))]


def _mark(marks: list[str], span: Span, cells: Sequence[int], offset: int, sign: str) -> None:
    start = _cell(cells, span.column - 1 - offset)
    stop = _cell(cells, span.end_column - 1 - offset) if span.end_line == span.line else cells[-1]
    for cell in range(start, max(stop, start + 1)):
        marks[cell] = sign


class HeliostatError(Exception):
    """Base of every error that the package raises on purpose. Fields are kept and survive pickling; of long lists in
    the message only the ends are (`brief`).

    `at`: where in a text the error is. `caller`: the line of Python outside of the package that asked, None where there
    is none."""

    def __init__(
        self,
        message: str,
        *,
        at: Span | None = None,
        notes: Sequence[tuple[Span, str]] = (),
        help: str | None = None,
        source: str | None = None,
    ) -> None:
        message = brief(message)
        super().__init__(message)
        self.message = message
        self.at = at
        self.notes = tuple(notes)
        self.help = None if help is None else brief(help)
        self.source = source
        self.caller = _caller()

    @property
    def diagnostic(self) -> Diagnostic:
        """The same finding as a `Diagnostic`."""
        return Diagnostic(self.message, self.at, tuple(Note(span, text) for span, text in self.notes), self.help)

    def __str__(self) -> str:
        return self.message if self.help is None else f"{self.message} ({self.help})"

    def __reduce__(self) -> tuple[object, ...]:
        # The state restores the fields that kinds of error add to these.
        return (_rebuild, (type(self), self.message, self.at, self.notes, self.help, self.source), self.__dict__)


PACKAGE = __file__.rpartition("diagnostics")[0]
"""What the names of this package's files begin with: frames of other files are the caller's."""


def _caller() -> Span | None:
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return Span(frame.f_code.co_filename, frame.f_lineno, 1, frame.f_lineno, 1)


def _rebuild(
    kind: type[HeliostatError],
    message: str,
    at: Span | None,
    notes: Sequence[tuple[Span, str]],
    help: str | None,
    source: str | None,
) -> HeliostatError:
    return kind(message, at=at, notes=notes, help=help, source=source)


class ShapeError(HeliostatError, ValueError):
    """Shapes or ranks do not fit together."""


class LinAlgError(ShapeError, RuntimeError):
    """A matrix has no inverse, factor or solution, or an iteration for its values did not end."""


class DTypeError(HeliostatError, TypeError):
    """A dtype or block format does not fit the operation."""


class ConstraintError(HeliostatError, ValueError):
    """A parameter of a distribution, or a value that it is asked about, breaks a constraint.

    `parameter`: its name. `constraint`: the text of the constraint. `value`: the tensor.
    """

    def __init__(
        self, message: str, *, parameter: str = "", constraint: str = "", value: Any = None, **place: Any
    ) -> None:
        super().__init__(message, **place)
        self.parameter, self.constraint, self.value = parameter, constraint, value


class EinopsError(HeliostatError, RuntimeError):
    """A pattern of einops does not parse, or does not fit a tensor; the message has the pattern."""


class IndexOutOfRangeError(HeliostatError, IndexError):
    """An index lies outside its axis."""


class GradientError(HeliostatError, RuntimeError):
    """A gradient is asked for that does not exist, or a value that gradients need is changed."""


class ScopeError(HeliostatError, RuntimeError):
    """A scope is closed, or a step is taken, out of its order."""


class NondeterministicError(HeliostatError, RuntimeError):
    """An op whose results may differ from run to run is used while that is forbidden."""


class AnomalyError(HeliostatError, RuntimeError):
    """An op made NaN while NaN is looked for."""


class CaptureError(HeliostatError, RuntimeError):
    """A function cannot be captured as one program: it looks at a value while it is traced, say."""


class LumSyntaxError(HeliostatError, ValueError):
    """A `.lum` source does not parse."""


class UndefinedNameError(HeliostatError, NameError):
    """A name is not defined where it is used."""


class VerifyError(HeliostatError, ValueError):
    """An IR graph, kernel or program breaks a rule of its form."""


class CompileError(HeliostatError, RuntimeError):
    """A graph could not be turned into native code."""


class FormatError(HeliostatError, ValueError):
    """A quantized format's declaration or bytes are wrong."""


class FileFormatError(HeliostatError, ValueError):
    """A model or data file is truncated, corrupt or of an unknown kind. The message starts with the path."""


class UnsupportedError(HeliostatError, NotImplementedError):
    """Valid input asks for something that this version or this machine cannot do."""


class DataWorkerError(HeliostatError, RuntimeError):
    """A process that loads data failed, died, or took too long.

    `worker`: its number. `index`: of the item, or the list of those of the batch, None where no item is to blame.
    `batch`: the batch's number. `kind`: the name of the error's type, "death" or "timeout". `trace`: its traceback.
    """

    def __init__(
        self,
        message: str,
        *,
        worker: int = 0,
        batch: int | None = None,
        index: Any = None,
        kind: str = "",
        trace: str = "",
        **place: Any,
    ) -> None:
        super().__init__(message, **place)
        self.worker, self.batch, self.index, self.kind, self.trace = worker, batch, index, kind, trace


class TokenizerError(HeliostatError, ValueError):
    """A tokenizer's data is missing, malformed or of an unknown kind."""


class ContextLengthError(HeliostatError, ValueError):
    """A prompt and its continuation do not fit the model's context."""


class CacheFullError(HeliostatError, MemoryError):
    """All pages of a key/value cache are in use by sequences that go on."""


class DeviceError(HeliostatError, RuntimeError):
    """A device is missing, out of memory or has failed."""


class DeviceMismatchError(DeviceError):
    """Operands of one function lie on different devices; the message names both."""


class PackageMissingError(HeliostatError, ImportError):
    """A package that is optional is not installed, and what was asked for needs it."""

    @classmethod
    def of(cls, what: str, package: str) -> PackageMissingError:
        """`what`: the thing that needs the package, as the beginning of a sentence, in the plural."""
        return cls(f"{what} need the package {package}", help=f"pip install {package}")


class DeviceUnavailableError(DeviceError):
    """A device cannot be used at all: no package, no driver, a driver too old, no such device, a forked process."""


class DeviceMemoryError(DeviceError, MemoryError):
    """A device has not enough memory. `requested`, `free` and `pooled` are bytes; None where they are not known.

    `pooled` is what the caching pool holds without using it, after it was emptied.
    """

    def __init__(
        self,
        message: str,
        *,
        requested: int | None = None,
        free: int | None = None,
        pooled: int | None = None,
        **place: Any,
    ) -> None:
        super().__init__(message, **place)
        self.requested = requested
        self.free = free
        self.pooled = pooled


class KernelFaultError(DeviceError):
    """A kernel failed while it ran; its device is lost to this process.

    `kernels` holds (program, kernel) of the one that failed, or of all that were in flight where it cannot be told.
    """

    def __init__(self, message: str, *, kernels: Sequence[tuple[str, str]] = (), **place: Any) -> None:
        super().__init__(message, **place)
        self.kernels = tuple(kernels)
