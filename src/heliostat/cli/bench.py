"""`heliostat bench`: speeds on this machine, beside a peer in alternating runs.

`llm` prompts and generation of a model, `ops` single ops and small pipelines, `formats` products in every format,
`train` training steps of small networks, on a GPU of GPT-2 and ResNet-50. All but `formats` run on a GPU too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heliostat.bench.limits import Limits, limits_now, measure_limits
from heliostat.bench.models import (
    bench,
    bench_batch,
    bench_llama_cpp,
    multiplies_integers,
    prompt_operations,
    step_nbytes,
)
from heliostat.bench.report import as_csv, as_json, as_table, check_plot, plot
from heliostat.cli.model_options import add_model_arguments, check_threads, open_model, print_profile
from heliostat.cli.report import UsageError
from heliostat.diagnostics import HeliostatError
from heliostat.llm.model import DEFAULT_CONTEXT, MOST_SEQUENCES
from heliostat.runtime.platform import default_threads
from heliostat.runtime.worker_pool import WorkerPool
from heliostat.session.place import CudaPlace, open_place
from heliostat.settings import settings

if TYPE_CHECKING:
    from heliostat.bench.cuda_limits import CudaLimits
    from heliostat.bench.cuda_ops import CudaRow
    from heliostat.bench.train import TrainRow
    from heliostat.llm import LanguageModel

USUAL = 512  # tokens of a prompt, and in the cache before generation
PEERS = {
    "llm": ("llama.cpp", "transformers"),
    "ops": ("torch", "numpy"),
    "formats": ("torch", "numpy"),
    "train": ("torch",),
}
OPTIONS = {
    "prompt": ("llm",), "gen": ("llm",), "depth": ("llm",), "batch": ("llm",), "context": ("llm",), "quick": ("train",),
    "only": ("ops", "formats", "train"), "rows": ("formats",), "shape": ("formats",),
}  # fmt: skip
"""Which suites an option is for, where that is not all of them."""
DEFAULTS = {"gen": 32, "rows": 512, "shape": "4864x1024"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", choices=tuple(PEERS), help="what to measure")
    add_model_arguments(parser)
    parser.add_argument(
        "--vs", choices=("llama.cpp", "transformers", "torch", "numpy"), help="measure a peer in turn with us"
    )
    parser.add_argument("--reps", type=int, default=3, metavar="N", help="rounds, of which the best counts (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--csv", metavar="FILE", help="write the rows to FILE as CSV")
    parser.add_argument("--plot", metavar="FILE", help="draw the rows into FILE (.svg, .png); needs matplotlib")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="ops, formats, train: cases whose name contains TEXT"
    )
    parser.add_argument(
        "--prompt", type=int, metavar="N", help=f"llm: tokens of the prompt (default {USUAL}, or as many as fit)"
    )
    parser.add_argument("--gen", type=int, metavar="N", help=f"llm: tokens to generate (default {DEFAULTS['gen']})")
    parser.add_argument(
        "--depth",
        type=int,
        metavar="N",
        help=f"llm: tokens in the cache before generation (default {USUAL}, or as many as fit)",
    )
    parser.add_argument(
        "--batch", default="", metavar="B,B", help="llm: so many sequences generated together as well, such as 8,32"
    )
    parser.add_argument(
        "--quick", action="store_true", help="train: steps in turn alone, without first steps and torch.compile"
    )
    parser.add_argument(
        "--tune",
        action="store_true",
        help="ops, train on a GPU: choose tiles and libraries for products first, by measuring",
    )
    parser.add_argument(
        "--rows", type=int, metavar="N", help=f"formats: rows of the prompt (default {DEFAULTS['rows']})"
    )
    parser.add_argument("--shape", metavar="OxK", help=f"formats: the matrix (default {DEFAULTS['shape']})")


def run(args: argparse.Namespace) -> int:
    for name, suites in OPTIONS.items():
        given = getattr(args, name)
        if args.suite not in suites and given is not None and given is not False and given != "":
            raise UsageError(
                f"bench {args.suite} has no --{name}", help=f"--{name} is for bench {' and '.join(suites)}"
            )
    for name, usual in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, usual)
    for name, low in (("prompt", 1), ("gen", 1), ("depth", 0), ("reps", 1), ("rows", 1)):
        if getattr(args, name) is not None and getattr(args, name) < low:
            raise UsageError(f"--{name} must be at least {low}, got {getattr(args, name)}")
    check_threads(args)
    if args.vs is not None and args.vs not in PEERS[args.suite]:
        raise UsageError(f"bench {args.suite} has no peer {args.vs}", help=f"peers: {', '.join(PEERS[args.suite])}")
    if args.tune and (args.suite not in ("ops", "train") or args.device == "cpu"):
        raise UsageError("--tune is for bench ops and train with --device cuda")
    if args.suite != "llm" and (args.cache, args.page_size, args.cache_tokens) != ("contiguous", None, None):
        raise UsageError(f"bench {args.suite} has no --cache, --page-size and --cache-tokens")
    if args.suite != "llm" and args.model is not None:
        raise UsageError(f"bench {args.suite} takes no model")
    _check_files(args)
    if args.suite == "llm":
        return _models(args)
    if args.device != "cpu":
        if args.suite == "formats":
            raise UsageError(f"bench {args.suite} runs on the CPU alone, not on {args.device}")
        if args.vs == "numpy" or args.threads is not None:
            raise UsageError(
                f"bench {args.suite} on {args.device} has no {'--vs numpy' if args.vs == 'numpy' else '--threads'}"
            )
        return _finish(args, *(_cuda_ops(args) if args.suite == "ops" else _cuda_train(args)))
    with WorkerPool(args.threads) as pool:
        limits = measure_limits(pool.threads)
    rows = {"ops": _ops, "formats": _formats, "train": _train}[args.suite](args, limits)
    return _finish(args, rows, limits)


def _check_files(args: argparse.Namespace) -> None:
    """What would keep the results from being written is said before minutes of measuring."""
    for name, path in (("csv", args.csv), ("plot", args.plot)):
        if path is not None and not Path(path).parent.is_dir():
            raise UsageError(f"--{name} {path}: there is no folder {Path(path).parent}")
        if path is not None and (not path or Path(path).is_dir()):
            raise UsageError(f"--{name} {path}: is no file's name")
    if args.plot is not None:
        check_plot(args.plot)


def _models(args: argparse.Namespace) -> int:
    batches = _batches(args.batch)
    prompt, depth = (USUAL if n is None else n for n in (args.prompt, args.depth))
    needed = max(prompt, depth + args.gen)
    if args.context is None and needed > DEFAULT_CONTEXT:
        args.context = needed
    model = open_model(args, batches)
    args.prompt = min(prompt, model.context) if args.prompt is None else prompt
    args.depth = max(0, min(depth, model.context - args.gen)) if args.depth is None else depth
    limits = _limits_of(model)
    speed: Limits | None = None  # of the CPU, measured in each round
    rounds: list[Mapping[str, Any]] = []
    row: dict[str, Any] = {}
    peer: Callable[[], dict[str, float]] | None = None
    if args.vs is not None:
        peer, row = _model_peer(args, model)
    for _ in range(args.reps):  # in turn, one round each
        found = bench(model, args.prompt, args.gen, args.depth, 1)
        if peer is not None:
            found |= {f"{args.vs} {k}": v for k, v in peer().items()}
        for b in batches:
            found[_batched(args, b)] = round(bench_batch(model, b, args.gen, args.depth), 1)
        rounds.append(found)
        row = _better(row, found | {n: v for n, v in rounds[0].items() if n == "peak_rss_MB"})  # without the limits'
        if limits is None:
            now = limits_now(model.place.threads, rounds=3)
            speed = now if speed is None else now.best(speed)
    row |= _spreads(rounds)
    if speed is not None:
        row |= _shares(args, model, row, speed)
    for name in [f"pp{args.prompt}_tok_s", f"tg{args.gen}@{args.depth}_tok_s"]:
        if peer is not None:
            row[f"{name} ratio"] = round(row[name] / row[f"{args.vs} {name}"], 3)
        if name.startswith("tg") and limits is not None:
            row["copy_GB_s"] = round(limits.copy_gb_s, 1)
            row["% of copy"] = _share(row[name], model.report.weight_bytes, limits)
            if peer is not None and f"{args.vs} weight_bytes" in row:
                row[f"{args.vs} % of copy"] = _share(
                    row[f"{args.vs} {name}"], row.pop(f"{args.vs} weight_bytes"), limits
                )
    for b in batches if limits is not None else ():
        nbytes = step_nbytes(model, b, args.depth + args.gen / 2)
        row[f"x{b} % of copy"] = _share(row[_batched(args, b)] / b, nbytes, limits)
    if settings().profile:
        print_profile(model)
    _write(args, [row], limits or speed)
    print(json.dumps(row) if args.json else "  ".join(f"{k}={v}" for k, v in row.items()))
    return 0


def _spreads(rounds: list[Mapping[str, Any]]) -> dict[str, float]:
    """(fastest - slowest) / slowest of each rate, as `Seconds.spread` has it of times."""
    names = [name for name in rounds[0] if name.endswith("tok_s")]
    found = {name: [float(r[name]) for r in rounds] for name in names}
    return {f"{name} spread": round(max(of) / min(of) - 1, 2) for name, of in found.items() if min(of) > 0}


def _shares(args: argparse.Namespace, model: LanguageModel, row: Mapping[str, Any], limits: Limits) -> dict[str, float]:
    """Limits of the cores in this run, and how much of them reading weights for tokens and products of prompts take."""
    integers = multiplies_integers(model)
    kind, most = ("int8_GOP_s", limits.int8_gops) if integers else ("fma_GFLOP_s", limits.fma_gflops)
    read = row[f"tg{args.gen}@{args.depth}_tok_s"] * model.report.weight_bytes / 1e9
    done = row[f"pp{args.prompt}_tok_s"] / args.prompt * prompt_operations(model, args.prompt) / 1e9
    return {
        "read_GB_s": round(limits.read_gb_s, 1), "% of read": round(100 * read / limits.read_gb_s, 1),
        kind: round(most, 1), f"% of {'int8' if integers else 'FMA'}": round(100 * done / most, 1),
    }  # fmt: skip


def _limits_of(model: LanguageModel) -> CudaLimits | None:
    """The copy bandwidth of a model's GPU, None on the CPU."""
    if not isinstance(model.place, CudaPlace):
        return None
    from heliostat.bench.cuda_limits import measure_cuda_limits

    return measure_cuda_limits(model.place.device)


def _batches(text: str) -> list[int]:
    """The numbers of --batch. Raises UsageError."""
    parts = text.split(",") if text else []
    if not all(p.isdigit() and 2 <= int(p) <= MOST_SEQUENCES for p in parts):
        raise UsageError(f"--batch is {text}", help=f"numbers from 2 to {MOST_SEQUENCES}, such as 8,32")
    return sorted({int(p) for p in parts})


def _batched(args: argparse.Namespace, rows: int) -> str:
    """The name of a batch's rate, of all its sequences together."""
    return f"tg{args.gen}@{args.depth}x{rows}_tok_s"


def _share(rate: float, nbytes: float, limits: CudaLimits | None) -> float:
    """Percent of the copy bandwidth, of so many bytes read at so many steps per second."""
    assert limits is not None
    return round(100 * rate * nbytes / 1e9 / limits.copy_gb_s, 1)


def _model_peer(
    args: argparse.Namespace, model: LanguageModel
) -> tuple[Callable[[], dict[str, float]] | None, dict[str, Any]]:
    """A round of the peer, and what its row says beside; None with the reason where transformers cannot run it."""
    sizes = args.prompt, args.gen, args.depth
    if args.vs == "llama.cpp":
        gpu = model.place.device.gpu.index if isinstance(model.place, CudaPlace) else -1
        path, threads = str(model.file.path), model.place.threads
        return lambda: bench_llama_cpp(path, *sizes, threads, gpu), {}
    from heliostat.bench.transformers_peer import TransformersPeer

    try:
        found = TransformersPeer(model, max(args.prompt, args.depth + args.gen))
    except HeliostatError as error:  # not installed, say: our own figures are worth having
        return None, {"note": f"transformers: {error.message}"}
    more = {"transformers by": f"{found.name}, {found.how}"}
    return lambda: found.round(*sizes), more | {"transformers weight_bytes": found.weight_bytes}


def _better(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The larger of every rate, otherwise the newer value."""
    rates = {k: max(row[k], v) for k, v in other.items() if k in row and k.endswith(("tok_s", "GB_s"))}
    return {**row, **other, **rates}


def _ops(args: argparse.Namespace, limits: Limits) -> list[dict[str, Any]]:
    from heliostat.bench.ops import bench_ops, cases  # builds graphs: not needed for models

    chosen = cases(args.only)
    if not chosen:
        raise UsageError(f"no case contains {args.only!r}")
    rows = []
    for n, row in enumerate(bench_ops(chosen, limits.threads, args.vs, args.reps)):
        shown: dict[str, Any] = {"case": row.case.label, "us": round(row.own.best * 1e6, 2)}
        if row.peer is not None:
            shown |= {f"{args.vs} us": round(row.peer.best * 1e6, 2), "ratio": round(row.ratio or 0.0, 2)}
            shown |= {"error": row.error, f"{args.vs} spread": round(row.peer.spread, 2)}
        shown |= {"spread": round(row.own.spread, 2), "GFLOP/s": round(row.gflops, 1), "GB/s": round(row.gb_s, 1)}
        shown["% of FMA"] = round(100 * row.gflops / limits.fma_gflops, 1)
        rows.append(shown)
        _progress(n + 1, len(chosen), row.case.label)
    return rows


def _cuda_ops(args: argparse.Namespace) -> tuple[list[dict[str, Any]], CudaLimits]:
    from heliostat.bench.cuda_limits import measure_cuda_limits
    from heliostat.bench.cuda_ops import TorchOnCuda, bench_cuda_ops
    from heliostat.bench.ops import cases

    chosen = cases(args.only, "cuda")
    if not chosen:
        raise UsageError(f"no case for GPUs contains {args.only!r}")
    place = open_place(args.device)
    assert isinstance(place, CudaPlace)
    peer = None if args.vs is None else TorchOnCuda(place.device.gpu.index)
    limits = measure_cuda_limits(place.device)
    rows = []
    for n, row in enumerate(bench_cuda_ops(chosen, place.device, peer, args.reps, tune=args.tune)):
        rows.append(_cuda_row(row, limits))
        _progress(n + 1, len(chosen), row.case.label)
    return rows, limits


def _cuda_row(row: CudaRow, limits: CudaLimits) -> dict[str, Any]:
    """What is shown of a row: times, the ratio, and TFLOP/s of products or the share of the copy bandwidth."""
    shown: dict[str, Any] = {"case": row.case.label, "us": None if row.own is None else round(row.own.best * 1e6, 1)}
    if row.way is not None:
        best = row.peers[row.way]
        shown |= {"torch us": round(best.best * 1e6, 1), "ratio": _rounded(row.ratio, 3), "torch by": row.way}
        shown |= {"error": row.error, "torch spread": round(best.spread, 3)}
    if row.own is not None:
        shown["spread"] = round(row.own.spread, 3)
        rate = row.nbytes / row.own.best / 1e9
        if row.flops:
            shown["TFLOP/s"] = round(row.flops / row.own.best / 1e12, 1)
        else:
            shown |= {"GB/s": round(rate, 1), "% of copy": round(100 * rate / limits.copy_gb_s, 1)}
    if row.way is not None and not row.flops:
        shown["torch % of copy"] = round(100 * row.nbytes / best.best / 1e9 / limits.copy_gb_s, 1)
    if row.note:
        shown["note"] = row.note
    return shown


def _formats(args: argparse.Namespace, limits: Limits) -> list[dict[str, Any]]:
    from heliostat.bench.formats import bench_formats, elements

    parts = args.shape.split("x")
    if len(parts) != 2 or not all(p.isdigit() and 0 < int(p) <= 1 << 18 for p in parts) or int(parts[1]) % 256:
        raise UsageError(f"--shape is {args.shape}", help="rows x columns, such as 4864x1024; columns in steps of 256")
    chosen = elements(args.only)
    if not chosen:
        raise UsageError(f"no format contains {args.only!r}")
    rows = []
    out, depth = (int(p) for p in parts)
    for n, row in enumerate(bench_formats(chosen, limits, args.rows, out, depth, args.vs, args.reps)):
        shown: dict[str, Any] = {
            "format": row.name, "bits": round(8 * row.nbytes / (out * depth), 2),
            "1 row us": round(row.single.best * 1e6, 1), "GB/s": round(row.read_gb_s, 1),
            "% of read": round(100 * row.read_share, 1), f"{args.rows} rows ms": round(row.many.best * 1e3, 2),
            "GOP/s": round(row.gops, 1), "% of arithmetic": round(100 * row.arithmetic_share, 1),
        }  # fmt: skip
        if row.peer is not None:
            shown[f"{args.vs} f32 ratio"] = round(row.peer.best / row.many.best, 2)
            shown[f"{args.vs} spread"] = round(row.peer.spread, 2)
        shown |= {"1 row spread": round(row.single.spread, 2), f"{args.rows} rows spread": round(row.many.spread, 2)}
        rows.append(shown)
        _progress(n + 1, len(chosen), row.name)
    return rows


def _train(args: argparse.Namespace, limits: Limits) -> list[dict[str, Any]]:
    return _train_rows(args, limits, limits.threads)


def _cuda_train(args: argparse.Namespace) -> tuple[list[dict[str, Any]], CudaLimits]:
    from heliostat.bench.cuda_limits import measure_cuda_limits

    place = open_place(args.device)
    assert isinstance(place, CudaPlace)
    limits = measure_cuda_limits(place.device)
    return _train_rows(args, limits, default_threads(), f"cuda:{place.device.gpu.index}"), limits


def _train_rows(
    args: argparse.Namespace, limits: Limits | CudaLimits, threads: int, device: str = "cpu"
) -> list[dict[str, Any]]:
    from heliostat.bench.train import bench_train, chosen  # loads modules and optimizers

    found = chosen(args.only, device)
    if not found:
        raise UsageError(f"no workload contains {args.only!r}")
    rows = []
    for n, row in enumerate(bench_train(found, threads, args.vs, args.reps, args.quick, device, args.tune)):
        rows.append(_train_row(row, args.vs, args.quick, limits))
        _progress(n + 1, len(found), row.name)
    return rows


def _train_row(row: TrainRow, vs: str | None, quick: bool, limits: Limits | CudaLimits) -> dict[str, Any]:
    """What is shown of a workload: times in turn, the ratios, first steps, and memory of each side."""
    shown: dict[str, Any] = {"workload": row.name}
    for name, seconds in (("heliostat", row.own), (vs, row.peer), (f"{vs}.compile", row.peer_compiled)):
        if name == "heliostat" or (vs is not None and seconds is not None):
            shown[f"{name} ms"] = None if seconds is None else round(seconds.best * 1e3, 3)
            shown[f"{name} spread"] = None if seconds is None else round(seconds.spread, 2)
            if name != "heliostat" and seconds is not None and row.own is not None:
                shown[f"times {name}"] = round(seconds.best / row.own.best, 2)
    if row.gflops is not None:
        if isinstance(limits, Limits):
            shown |= {"GFLOP/s": round(row.gflops, 1), "% of FMA": round(100 * row.gflops / limits.fma_gflops, 1)}
        else:
            shown["TFLOP/s"] = round(row.gflops / 1e3, 1)
    sizes = {"MB": row.nbytes}
    if vs is not None:
        sizes |= {f"{vs} MB": row.peer_nbytes, f"{vs}.compile MB": row.peer_compiled_nbytes}
    if not quick:
        shown |= {"cold s": _rounded(row.cold_s, 2), "cached s": _rounded(row.cached_s, 2)}
        if row.peer_compiled_s is not None:
            shown[f"{vs}.compile first s"] = round(row.peer_compiled_s, 2)
    shown |= {name: round(size / 1e6) for name, size in sizes.items() if size is not None}
    if vs is not None:
        shown["error"] = row.error
    return shown | {"note": row.note}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _progress(done: int, count: int, label: str) -> None:
    if sys.stderr.isatty():
        with contextlib.suppress(OSError):
            print(
                f"\r\033[K{done}/{count} {label[:70]}" + ("\r\033[K" if done == count else ""), end="", file=sys.stderr
            )


def _finish(args: argparse.Namespace, rows: list[dict[str, Any]], limits: Limits | CudaLimits) -> int:
    _write(args, rows, limits)
    if args.json:
        print(as_json(rows, asdict(limits)))
        return 0
    print(as_table(rows))
    print(limits)
    return 0


def _write(args: argparse.Namespace, rows: list[dict[str, Any]], limits: Limits | CudaLimits | None) -> None:
    """The files that were asked for."""
    if args.csv:
        Path(args.csv).write_text(as_csv(rows), encoding="utf-8")
    if args.plot:
        label, values, title = {
            "llm": ("model", {n: n for n in rows[0] if n.endswith("tok_s")}, "tokens per second"),
            "ops": ("case", {_ops_column(args): f"times {args.vs}" if args.vs else _ops_column(args)}, "ops"),
            "train": (
                "workload",
                {"times torch": "times torch"} if args.vs else {"heliostat ms": "milliseconds"},
                "training steps",
            ),
            "formats": (
                "format",
                {
                    "% of read": "one row: % of the read limit",
                    "% of arithmetic": "many rows: % of the arithmetic limit",
                },
                f"Share of this machine's limit, {limits.threads if isinstance(limits, Limits) else 0} threads",
            ),
        }[args.suite]
        plot(rows, label, values, args.plot, title)


def _ops_column(args: argparse.Namespace) -> str:
    """What the plot of ops shows."""
    return "ratio" if args.vs else "% of FMA" if args.device == "cpu" else "us"
