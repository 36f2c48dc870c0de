"""What commands that load a model share: its options, the progress bars, and ids on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from heliostat.cli.report import UsageError, has_bars
from heliostat.llm import LanguageModel, Progress, demo_path, load
from heliostat.llm.model import CACHE_DTYPES, MOST_PAGE
from heliostat.llm.pages import LEAST_PAGE


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a GGUF file or a safetensors folder; left out: the demo model",
    )
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu (default), cuda, or cuda:N for GPU N")
    parser.add_argument("--threads", type=int, metavar="K", help="worker threads (default: physical cores)")
    parser.add_argument(
        "--context", type=int, metavar="N", help="tokens of prompt and answer together (default: up to 4096)"
    )
    parser.add_argument(
        "--activations", choices=("int8", "float"), default="int8", help="how quantized products read their inputs"
    )
    parser.add_argument(
        "--cache-dtype",
        choices=CACHE_DTYPES,
        default="f16",
        help="element type of the key/value cache; q8_0: blocks of 32 with a scale, about half of f16",
    )
    parser.add_argument(
        "--cache",
        choices=("contiguous", "paged"),
        default="contiguous",
        help="paged: all sequences share pages of keys and values, and take what they hold",
    )
    parser.add_argument("--page-size", type=int, metavar="N", help="tokens of a page (default: 64)")
    parser.add_argument(
        "--cache-tokens", type=int, metavar="N", help="tokens that all pages hold (default: at least a context)"
    )
    parser.add_argument(
        "--explain", action="store_true", help="print what was fused into which kernel, and why not more"
    )


def add_sampling_arguments(parser: argparse.ArgumentParser, temperature: float) -> None:
    parser.add_argument(
        "-n", "--max-tokens", type=int, metavar="N", help="most tokens to generate (default: to the end of the context)"
    )
    parser.add_argument(
        "--temp", type=float, default=temperature, metavar="T", help=f"temperature, 0 is greedy (default {temperature})"
    )
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="keep the K likeliest tokens (0: all)")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="keep the likeliest tokens of mass P")
    parser.add_argument("--min-p", type=float, default=0.0, metavar="P", help="drop tokens below P times the likeliest")
    parser.add_argument(
        "--repetition-penalty", type=float, default=1.0, metavar="R", help="divide the scores of recent tokens"
    )
    parser.add_argument("--seed", type=int, metavar="S", help="seed of the sampler")
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be repeated"
    )
    parser.add_argument("--ignore-eos", action="store_true", help="go on after the model's end token")


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `generate`."""
    return {
        "max_tokens": args.max_tokens, "temperature": args.temp, "seed": args.seed, "stop": tuple(args.stop),
        "ignore_eos": args.ignore_eos, "top_k": args.top_k, "top_p": args.top_p, "min_p": args.min_p,
        "repetition_penalty": args.repetition_penalty,
    }  # fmt: skip


def check_threads(args: argparse.Namespace) -> None:
    """Raises UsageError where `--threads` is not what a pool of workers takes."""
    if args.threads is not None and not 1 <= args.threads <= 1024:
        raise UsageError(f"--threads must be from 1 to 1024, got {args.threads}")


def open_model(args: argparse.Namespace, batch: Sequence[int] = ()) -> LanguageModel:
    """Load the model that the options name, with progress bars where standard error is a terminal. `batch`: as `load`
    takes it."""
    check_threads(args)
    if args.cache != "paged" and (args.page_size is not None or args.cache_tokens is not None):
        raise UsageError("--page-size and --cache-tokens are for --cache paged")
    if args.page_size is not None and not (0 < args.page_size <= MOST_PAGE and args.page_size % LEAST_PAGE == 0):
        raise UsageError(f"--page-size must be a multiple of {LEAST_PAGE} up to {MOST_PAGE}, got {args.page_size}")

    def opened(show: Progress | None) -> LanguageModel:
        return load(
            args.model or demo_path(),
            args.threads,
            args.context,
            args.activations,
            args.cache_dtype,
            show,
            args.device,
            batch,
            args.cache,
            args.page_size,
            args.cache_tokens,
        )

    if not has_bars():
        model = opened(None)
    else:
        from rich.console import Console  # slow to import, and needed at a terminal alone
        from rich.progress import Progress as Bars

        with Bars(console=Console(stderr=True), transient=True) as bars:
            tasks: dict[str, Any] = {}

            def show(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=total)
                bars.update(tasks[stage], completed=done)

            model = opened(show)
    if args.explain:
        from heliostat.compiler.driver import explain

        print(*map(explain, model.compile_again()[0]), model.explain_cache(), sep="\n", file=sys.stderr)
    return model


def print_profile(model: LanguageModel) -> None:
    """The kernels of one decode step, on standard error: time, its share of the step, bytes, and the share of what this
    machine reads, or its GPU copies, as measured now."""
    from heliostat.bench.limits import measure_limits
    from heliostat.runtime.trace import group_by_name
    from heliostat.session.place import CudaPlace

    rows = model.profile_decode()
    total, size = sum(r.wall_ns for r in rows) or 1, sum(r.nbytes for r in rows)
    if isinstance(model.place, CudaPlace):
        from heliostat.bench.cuda_limits import measure_cuda_limits

        limit, way = measure_cuda_limits(model.place.device).copy_gb_s, "copied"
    else:
        limit, way = measure_limits(model.place.threads).read_gb_s, "read"
    lines = [
        f"decode: 1 program, {len(rows)} launches, {total / 1e6:.2f} ms, {size / 1e6:.1f} MB, {size / total:.1f} GB/s "
        f"({100 * size / total / limit:.0f} % of {limit:.1f} {way})"
    ]
    for time, count in group_by_name(rows):
        wall = time.wall_ns or 1
        lines.append(
            f"  {time.name:<48} x{count:<4} {time.wall_ns / 1e6:8.3f} ms {100 * time.wall_ns / total:5.1f} % "
            f"{time.nbytes / 1e6:9.2f} MB {time.nbytes / wall:8.1f} GB/s {100 * time.nbytes / wall / limit:5.0f} %"
        )
    print("\n".join(lines), file=sys.stderr)
