"""`heliostat tune`: measure tiles for a model's kernels, on this machine's cores or a GPU, and keep the best."""

from __future__ import annotations

import argparse
import json

from heliostat.cli.model_options import add_model_arguments, open_model
from heliostat.cli.report import UsageError, has_bars
from heliostat.compiler.fuse import FusedGroup
from heliostat.session.place import CpuPlace, CudaPlace, Place
from heliostat.session.tuning import Progress, Tuned, tune
from heliostat.session.tuning_file import save_tuning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--rows", type=int, default=512, metavar="N", help="prompt tokens to tune for (default 512)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    if not 1 <= args.rows <= 1 << 16:
        raise UsageError(f"--rows must be from 1 to 65536, got {args.rows}")
    model = open_model(args)
    place = model.place
    groups = list(model.compile_again()[1].groups.values())
    if has_bars():
        from rich.console import Console  # slow to import, and needed at a terminal alone
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("tuning")
            found = _measured(
                groups, place, args.rows,
                lambda n, count, key: bar.update(task, completed=n, total=count, description=key or "tuning"),
            )  # fmt: skip
    else:
        found = _measured(groups, place, args.rows)
    path = save_tuning(place.target, {t.key: t.tile for t in found})
    if args.json:
        rows = [{"key": t.key, "default_s": t.default_seconds, "best_s": t.best_seconds, "tile": t.tile} for t in found]
        print(
            json.dumps({"path": None if path is None else str(path), "kernels": rows, "notes": _notes(groups, place)})
        )
        return 0
    width = max((len(t.key) for t in found), default=0)
    for t in found:
        shown = "default" if t.gain < 1.001 else " ".join(f"{k}={v}" for k, v in t.tile.items())
        print(
            f"{t.key:{width}}  {t.default_seconds * 1e6:9.1f} -> {t.best_seconds * 1e6:9.1f} us  x{t.gain:.2f}  {shown}"
        )
    for note in _notes(groups, place):
        print(note)
    print(f"saved to {path}" if path is not None else "not saved: the cache is off")
    return 0


def _measured(groups: list[FusedGroup], place: Place, rows: int, progress: Progress | None = None) -> list[Tuned]:
    if isinstance(place, CudaPlace):
        from heliostat.session.cuda_tuning import tune_cuda

        return tune_cuda(groups, place.device, rows, progress)
    assert isinstance(place, CpuPlace)
    target = place.target
    return tune(groups, target, place.pool, rows, progress, lambda t: save_tuning(target, {t.key: t.tile}))


def _notes(groups: list[FusedGroup], place: Place) -> list[str]:
    """What is to be said of the library that large dense products could go to on a GPU."""
    if not isinstance(place, CudaPlace):
        return []
    from heliostat.session.cuda_tuning import library_notes

    return library_notes(groups, place.device)
