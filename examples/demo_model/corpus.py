"""Prose of permissively licensed documentation as training text: `python corpus.py FOLDER OUT`.

FOLDER holds Debian 12 packages, unpacked without installing (`apt-get download NAME; dpkg -x FILE FOLDER/NAME`): those
of `SOURCES`. OUT becomes a .jsonl file of pages and of conversations (`chats.py`), shuffled. Pages keep running
paragraphs and their headings; programs, tables and lists of links are left out, and so is what was seen before.
"""

from __future__ import annotations

import argparse
import ast
import gettext
import hashlib
import importlib.util
import json
import random
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

from chats import conversations


class Source(NamedTuple):
    """Pages of a package: `patterns` of paths below it. `leave`: paths with this in them are no prose."""

    package: str
    licence: str
    patterns: tuple[str, ...]
    leave: str = r"$^"


RUST = "usr/share/doc/rust-doc/html"
SOURCES = [
    Source("python3.11-doc", "PSF-2.0", ("**/*.html",), r"genindex|changelog|py-modindex|search"),
    Source("postgresql-doc-15", "PostgreSQL", ("**/*.html",), r"bookindex|release-\d|unicode|biblio"),
    Source("sqlite3-doc", "public domain", ("**/*.html",), r"keyword_index|sitemap|toc\.html"),
    Source("python-django-doc", "BSD-3-Clause", ("**/*.html",), r"_modules|genindex|py-modindex"),
    Source("python-sqlalchemy-doc", "MIT", ("**/*.html",), r"_modules|genindex"),
    Source("apache2-doc", "Apache-2.0", ("**/manual/en/**/*.html", "**/manual/ko/**/*.html")),
    Source("llvm-14-doc", "Apache-2.0 with LLVM exceptions", ("**/html/**/*.html",), r"AMDGPU/|genindex"),
    Source("nodejs-doc", "MIT", ("**/api/*.html",), r"all\.html"),
    Source("rust-doc", "MIT or Apache-2.0", tuple(
        f"{RUST}/{part}/**/*.html" for part in (
            "book", "reference", "nomicon", "rust-by-example", "rustc", "rustdoc", "embedded-book", "edition-guide",
            "unstable-book", "std")
    ), r"print\.html|implementors|/arch/|/os/|/simd/|/f32/|/i\d+/|/u\d+/"),
]  # fmt: skip
CATALOGUES = ("postgresql-15", "python3-django")  # messages in Korean; PostgreSQL and BSD-3-Clause

PYTHON_PACKAGES = ("numpy", "torch", "sympy", "networkx")  # installed ones; BSD-3-Clause

BLOCKS = {"p", "li", "dd", "dt", "div", "td", "th", "section", "blockquote", "body", "ul", "ol", "dl", "article"}
HEADINGS = {"h1", "h2", "h3", "h4"}
SKIPPED = {"pre", "script", "style", "nav", "table", "svg", "button", "head", "footer"}
HANGUL = re.compile("[가-힣]")


class Page(HTMLParser):
    """Paragraphs of a page in order; `heads` are those that are headings."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[tuple[str, bool]] = []
        self._text: list[str] = []
        self._skip = 0
        self._heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SKIPPED:
            self.end()
            self._skip += 1
        elif tag in BLOCKS or tag in HEADINGS:
            self.end()
            self._heading = tag in HEADINGS
        elif tag == "br":
            self._text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in SKIPPED:
            self._skip = max(0, self._skip - 1)
        elif tag in BLOCKS or tag in HEADINGS:
            self.end()

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self._text.append(data)

    def end(self) -> None:
        """What was read since the block's begin is a paragraph."""
        text = re.sub(r"\s+", " ", "".join(self._text)).replace("¶", "").strip()
        self._text.clear()
        if text:
            self.paragraphs.append((text, self._heading))
        self._heading = False


def is_prose(text: str) -> bool:
    """Whether a paragraph is running text: long enough, mostly letters, ended as sentences end."""
    if len(text) < (20 if HANGUL.search(text) else 40) or not re.search(r"[.!?:][)\"'”’]*$", text):
        return False
    plain = sum(c.isalpha() or c == " " for c in text)
    return plain / len(text) > 0.82


class Seen:
    """Which paragraphs were there before."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.found = {self.key(p) for text in texts for p in text.split("\n")}

    @staticmethod
    def key(text: str) -> bytes:
        return hashlib.sha256(re.sub(r"\W+", "", text).lower().encode()).digest()[:12]

    def add(self, text: str) -> bool:
        """Whether it is new."""
        k = self.key(text)
        new = k not in self.found
        self.found.add(k)
        return new


def read(path: Path) -> str:
    raw = path.read_bytes()
    charset = re.search(rb"charset=[\"']?([\w-]+)", raw[:2000])
    return raw.decode(charset[1].decode() if charset else "utf-8", "replace")


def page_text(html: str, seen: Seen) -> str:
    """Paragraphs of a page that are prose and new, with headings that stand before one."""
    page = Page()
    page.feed(html)
    page.end()
    kept: list[str] = []
    heading = ""
    for text, is_heading in page.paragraphs:
        if is_heading:
            heading = re.sub(r"^[\d.]+\s*", "", text)
        elif is_prose(text) and seen.add(text):
            if 3 < len(heading) < 80:
                kept.append(heading)
            heading = ""
            kept.append(text)
    return "\n\n".join(kept)


def pages(folder: Path, source: Source) -> Iterator[str]:
    """HTML of a source's pages."""
    root = folder / source.package
    for path in sorted({p for pattern in source.patterns for p in root.glob(pattern)}):
        if path.is_file() and not path.is_symlink() and not re.search(source.leave, str(path.relative_to(root))):
            yield read(path)


def docstrings(root: Path, seen: Seen) -> Iterator[str]:
    """Docstrings of each module below a folder, their paragraphs in one line each."""
    for path in sorted(root.rglob("*.py")):
        place = f"/{path.relative_to(root)}"
        if re.search(r"/(tests?|testing|idle_test|(site|dist)-packages|lib2to3|idlelib|_?vendored?)/", place):
            continue
        kept: list[str] = []
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for part in (ast.get_docstring(node) or "").split("\n\n"):
                text = re.sub(r"\s+", " ", part).strip()
                if is_prose(text) and ">>>" not in text and seen.add(text):
                    kept.append(text)
        yield "\n\n".join(kept)


def catalogue(path: Path, seen: Seen) -> str:
    """Korean sentences of a message catalogue."""
    with path.open("rb") as file:
        found = gettext.GNUTranslations(file)
    messages = [m for m in found._catalog.values() if isinstance(m, str)]  # type: ignore[attr-defined]
    lines = [re.sub(r"\s+", " ", m).strip() for m in messages]
    return "\n".join(m for m in lines if len(m) > 12 and HANGUL.search(m) and "%" not in m and seen.add(m))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--without", nargs="*", type=Path, default=[], help="texts whose paragraphs are held back")
    parser.add_argument("--korean", type=int, default=2, help="how often pages in Korean are repeated")
    args = parser.parse_args()
    for package in (*(s.package for s in SOURCES), *CATALOGUES):
        if not (args.folder / package).is_dir():
            parser.error(f"{args.folder} has no folder {package}: see README.md")
    installed: dict[str, Path] = {}
    for name in PYTHON_PACKAGES:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            parser.error(f"the Python package {name} is not installed")
        installed[name] = Path(found.origin).parent
    seen = Seen([p.read_text() for p in args.without])
    made: list[str] = []

    def take(name: str, texts: Iterable[str]) -> None:
        found = [t for t in texts if len(t) > 200]
        print(f"{name}: {len(found)} pages, {sum(len(t.encode()) for t in found) / 1e6:.2f} MB", file=sys.stderr)
        made.extend(found)

    for source in SOURCES:
        take(source.package, (page_text(html, seen) for html in pages(args.folder, source)))
    take("standard library", docstrings(Path(sysconfig.get_path("stdlib")), seen))
    for name, place in installed.items():
        take(name, docstrings(place, seen))
    for package in CATALOGUES:
        paths = sorted((args.folder / package).rglob("ko/LC_MESSAGES/*.mo"))
        take(package, (catalogue(path, seen) for path in paths))
    korean = [t for t in made if len(HANGUL.findall(t)) > len(t) / 10]
    talks = conversations(made)
    rows: list[dict[str, Any]] = [{"text": t} for t in made + korean * (args.korean - 1)]
    rows += [{"messages": t} for t in talks]
    random.Random(0).shuffle(rows)
    args.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{len(made)} pages, {len(korean)} in Korean, {len(talks)} conversations", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
