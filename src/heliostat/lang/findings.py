"""Where the checker collects what it finds: every error of a file, each once."""

from __future__ import annotations

from collections.abc import Sequence

from heliostat.diagnostics import Diagnostic, Note
from heliostat.lang.source import Located, Source

POISON = object()
"""The value of what is wrong and reported: whatever is made of it is silently poison too, so no error cascades."""

MAX_FINDINGS = 500  # semantic errors after which nothing more is collected


class Findings:
    """Diagnostics of one source, in the order of the text once `sorted`."""

    def __init__(self, source: Source, found: Sequence[Diagnostic] = ()) -> None:
        self.source = source
        self.all: list[Diagnostic] = list(found)
        self._seen: set[tuple[int, int, str]] = set()

    def report(
        self,
        place: Located,
        message: str,
        *,
        notes: Sequence[tuple[Located, str]] = (),
        help: str | None = None,
    ) -> None:
        """Add an error at `place`. One that was reported there in the same words is dropped."""
        key = (place.start, place.end, message)
        if key in self._seen or len(self.all) >= MAX_FINDINGS:
            return
        self._seen.add(key)
        drawn = tuple(Note(self.source.span_of(at), text) for at, text in notes)
        self.all.append(Diagnostic(message, self.source.span_of(place), drawn, help))

    def sorted(self) -> tuple[Diagnostic, ...]:
        return tuple(sorted(self.all, key=lambda d: (d.at.line, d.at.column) if d.at is not None else (0, 0)))
