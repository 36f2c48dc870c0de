"""`heliostat`: the table of commands, and the one place where errors become messages and exit codes.

A command is a module with `add_arguments(parser)` and `run(args) -> int`; only the module of the command that was
asked for is imported, so that `--help` and `--version` answer at once.

Exit codes: 0 done; 1 findings in the user's program; 2 bad usage or bad input; 70 an error of our own; 130 Ctrl-C;
141 the reader of our output went away.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from heliostat.cli.report import FindingsError, print_error
from heliostat.diagnostics import HeliostatError, printable

INTERNAL_ERROR = 70
INTERRUPTED = 130
BROKEN_PIPE = 141


class Entry(NamedTuple):
    """One row of the table: where the command is, and what `--help` says of it."""

    module: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "run": Entry("heliostat.cli.run", "continue a prompt with a GGUF model"),
    "chat": Entry("heliostat.cli.chat", "talk with a GGUF model"),
    "inspect": Entry("heliostat.cli.inspect", "show a model file: metadata, tensors, formats, memory"),
    "bench": Entry("heliostat.cli.bench", "measure prompt and generation speed"),
    "train": Entry("heliostat.cli.train", "train a language model on text, or adapters of a GGUF model"),
    "tune": Entry("heliostat.cli.tune", "measure tiles for a model's kernels here, and keep the best"),
    "devices": Entry("heliostat.cli.devices", "show the devices that programs can run on"),
    "check": Entry("heliostat.cli.check", "type-check .lum files"),
    "parse": Entry("heliostat.cli.parse", "print the syntax tree of a .lum file"),
    "compile": Entry("heliostat.cli.compile", "print a function of a .lum file at any stage: graph to machine code"),
    "exec": Entry("heliostat.cli.exec", "run a function of a .lum file; time it and compare with the reference"),
}


class Command(Protocol):
    """What the module of a command offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


class _Version(argparse.Action):
    """Prints the version and leaves."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"heliostat {_version()}")
        parser.exit()


def _version() -> str:
    import heliostat

    return heliostat.__version__


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of `arguments`: every command is listed, the one in use has its options."""
    parser = argparse.ArgumentParser(
        prog="heliostat", description="A tensor compiler with a local LLM engine.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((a for a in arguments if not a.startswith("-")), None)
    for name, entry in COMMANDS.items():
        sub = commands.add_parser(name, help=entry.summary, description=entry.summary, allow_abbrev=False)
        if name == chosen:
            command = cast(Command, importlib.import_module(entry.module))
            command.add_arguments(sub)
            sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. `argv` are the words behind the program's name. Returns the exit code, never raises."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if argv is None:
        _prepare_output()
    try:
        args = _parser(arguments).parse_args(arguments)
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: usage errors, --help and --version
        return stop.code if isinstance(stop.code, int) else 2
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        code = _report(error)
        try:
            sys.stdout.flush()
        except OSError:  # a full disk, say
            _drop_output()
        return code


def _prepare_output() -> None:
    """Streams that this process was started without lead nowhere, and characters that standard output does not know
    (a pipe on Windows, say) are written as escapes."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 # for good
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """What is still buffered cannot be written; Python would complain about that at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception) -> int:
    if _debug():
        import traceback  # only ever needed here

        traceback.print_exc()
    if isinstance(error, FindingsError):
        return 1
    if isinstance(error, (HeliostatError, OSError)):
        print_error(error)
        return 1 if isinstance(error, HeliostatError) and error.at is not None else 2
    if isinstance(error, MemoryError):
        print("error: out of memory", file=sys.stderr)
        return 2
    text = printable(" ".join(str(error).split()))
    hint = "" if _debug() else " (set HELIOSTAT_DEBUG=1 for the traceback)"
    print(f"internal error: {type(error).__name__}: {text}{hint}", file=sys.stderr)
    return INTERNAL_ERROR


def _debug() -> bool:
    from heliostat.settings import SettingError, settings  # reads the environment: not before an error asks for it

    try:
        return settings().debug.tracebacks
    except SettingError:  # what is being reported may be just that
        return False


if __name__ == "__main__":
    sys.exit(main())
