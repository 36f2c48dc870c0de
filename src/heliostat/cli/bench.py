"""`heliostat bench`: speeds of a model on this machine, best of several runs."""

from __future__ import annotations

import argparse
import json

from heliostat.cli.model_options import add_model_arguments, open_model
from heliostat.cli.report import UsageError
from heliostat.llm.benchmark import bench


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", choices=("llm",), help="what to measure: llm is prompt processing and generation")
    add_model_arguments(parser)
    parser.add_argument("--prompt", type=int, default=512, metavar="N", help="tokens of the prompt (default 512)")
    parser.add_argument("--gen", type=int, default=32, metavar="N", help="tokens to generate (default 32)")
    parser.add_argument(
        "--depth", type=int, default=512, metavar="N", help="tokens in the cache before generation (default 512)"
    )
    parser.add_argument("--reps", type=int, default=3, metavar="N", help="runs, of which the best counts (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    for name, low in (("prompt", 1), ("gen", 1), ("depth", 0), ("reps", 1)):
        if getattr(args, name) < low:
            raise UsageError(f"--{name} must be at least {low}, got {getattr(args, name)}")
    model = open_model(args)
    row = bench(model, args.prompt, args.gen, args.depth, args.reps)
    print(json.dumps(row) if args.json else "  ".join(f"{k}={v}" for k, v in row.items()))
    return 0
