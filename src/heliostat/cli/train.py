"""`heliostat train`: language models trained here. `lm` from nothing on text, `lora` over a GGUF model, `merge` puts an
adapter into its base. Options come from a TOML file and from flags; every run writes a folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from heliostat.cli.report import has_bars
from heliostat.train.adapter import TYPES, merge
from heliostat.train.checkpoint import Progress
from heliostat.train.fine_tune import LoraRun, open_lora
from heliostat.train.language_model import LanguageModelRun, open_language_model
from heliostat.train.options import LanguageModelOptions, LoraOptions, RunOptions, read_options

EVERY = 10  # steps between two lines where standard error is no terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    lm = kinds.add_parser("lm", help="train a language model on text", allow_abbrev=False)
    _add_options(lm, LanguageModelOptions)
    lora = kinds.add_parser("lora", help="train adapters over a GGUF model that stays as it is", allow_abbrev=False)
    _add_options(lora, LoraOptions)
    merged = kinds.add_parser("merge", help="write a GGUF model with an adapter added to it", allow_abbrev=False)
    merged.add_argument("--model", metavar="FILE", required=True, help="GGUF file of the base")
    merged.add_argument("--adapter", metavar="FILE", required=True, help="adapter.safetensors of a run")
    merged.add_argument("--out", metavar="FILE", required=True, help="the GGUF file to write")
    merged.add_argument("--type", choices=TYPES, default="same", help="of the matrices that change (default same)")


def _add_options(parser: argparse.ArgumentParser, cls: type[RunOptions]) -> None:
    """A flag for every option; those that are not given stay out of the namespace."""
    parser.add_argument("--config", metavar="FILE", help="TOML file of these options; flags win")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    kinds = get_type_hints(cls)
    for f in dataclasses.fields(cls):
        shown: Any = " ".join(f.default) if isinstance(f.default, tuple) else f.default
        usual = f" (default {shown})" if shown != "" else ""
        help = f"{f.metadata['help']}{usual}".replace("%", "%%")
        about: dict[str, Any] = {"help": help, "default": argparse.SUPPRESS}
        flag, kind = f"--{f.name.replace('_', '-')}", kinds[f.name]
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **about)
        elif get_origin(kind) is tuple:
            parser.add_argument(flag, nargs="+", type=get_args(kind)[0], metavar=_metavar(f.name), **about)
        elif f.metadata["choices"]:
            parser.add_argument(flag, choices=f.metadata["choices"], **about)
        else:
            parser.add_argument(flag, type=kind, metavar=_metavar(f.name), **about)


def _metavar(name: str) -> str:
    return {"data": "PATH", "out": "FOLDER", "model": "FILE", "targets": "NAME", "device": "D"}.get(name, "N")


def _options(args: argparse.Namespace, cls: type[Any]) -> Any:
    given = {f.name: getattr(args, f.name) for f in dataclasses.fields(cls) if hasattr(args, f.name)}
    return read_options(cls, args.config, {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def run(args: argparse.Namespace) -> int:
    if args.kind == "lm":
        return _language_model(args)
    return _lora(args) if args.kind == "lora" else _merge(args)


def _language_model(args: argparse.Namespace) -> int:
    options = _options(args, LanguageModelOptions)
    made = open_language_model(options, args.resume)
    run = made.run
    print(
        f"{made.parameters / 1e6:.2f} M parameters, {len(run.batches.blocks)} rows of {options.block} tokens, "
        f"{made.bytes_per_token:.2f} bytes a token, from step {run.progress.step}",
        file=sys.stderr,
    )
    path = _trained(made)
    use = f"chat {path}" if options.chat else f"run {path} -p 'def ' -n 64"
    print(f"{path}: heliostat {use}", file=sys.stderr)
    return 0


def _lora(args: argparse.Namespace) -> int:
    options = _options(args, LoraOptions)
    made = open_lora(options, args.resume)
    run = made.run
    print(
        f"{made.parameters / 1e6:.2f} M parameters over {made.base.name}, {len(run.batches.blocks)} rows of "
        f"{options.block} tokens, from step {run.progress.step}",
        file=sys.stderr,
    )
    path = _trained(made)
    print(f"{path}: heliostat train merge --model {made.base} --adapter {path} --out merged.gguf", file=sys.stderr)
    return 0


def _merge(args: argparse.Namespace) -> int:
    changed = merge(args.model, args.adapter, args.out, args.type)
    print(f"{args.out}: {changed} matrices changed", file=sys.stderr)
    return 0


def _trained(made: LanguageModelRun | LoraRun) -> Path:
    """Take the steps that are left; the file that was made."""
    run = made.run
    try:
        with _progress(run.options.steps, run.progress.step) as report:
            path = made.train(report)
    except KeyboardInterrupt:
        if run.saved is not None:
            print(f"stopped: {run.folder} holds step {run.saved}, --resume goes on with it", file=sys.stderr)
        raise
    _say_losses(run.progress, run.options.keep)
    return path


def _say_losses(progress: Progress, keep: str) -> None:
    """The last losses, on standard output."""
    checked = f", validation loss {progress.checks[-1][1]:.4f}" if progress.checks else ""
    if keep == "best":
        step, loss = min(progress.checks, key=lambda check: check[1])
        checked += f"; kept step {step}: {loss:.4f}"
    recent = progress.losses[-20:]
    print(f"step {progress.step}: loss {sum(recent) / len(recent):.4f}{checked}")


@contextmanager
def _progress(steps: int, done: int) -> Iterator[Callable[[Progress, float], None]]:
    """A bar where standard error is a terminal, otherwise a line now and then."""
    if not has_bars():

        def line(p: Progress, rate: float) -> None:
            if p.step % EVERY == 0 or p.step == steps:
                print(f"{_shown(p)}, {rate:.0f} tokens/s", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console  # slow to import, and needed at a terminal alone
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=steps, completed=done)
        yield lambda p, rate: bars.update(task, completed=p.step, description=f"{_shown(p)}, {rate:.0f} tokens/s")


def _shown(p: Progress) -> str:
    checked = f", validation {p.checks[-1][1]:.3f}" if p.checks else ""
    return f"step {p.step}: loss {p.losses[-1]:.4f}{checked}"
