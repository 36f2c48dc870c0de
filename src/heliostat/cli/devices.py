"""`heliostat devices`: where programs can run, and what the compiler knows of it."""

from __future__ import annotations

import argparse
import json

from heliostat.runtime.platform import default_threads, physical_cores
from heliostat.session import host_target


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    target = host_target()
    shown = sorted(f for f in target.features if f.startswith(("avx", "fma", "f16c", "neon", "dotprod", "i8mm", "sve")))
    row = {
        "device": "cpu", "architecture": target.architecture, "cpu": target.cpu, "cores": physical_cores(),
        "threads": default_threads(), "vector_bytes": target.vector_bytes, "features": shown,
    }  # fmt: skip
    if args.json:
        print(json.dumps({"devices": [row]}))
    else:
        print(f"cpu  {target.cpu} ({target.architecture}), {row['cores']} cores, {row['threads']} threads by default")
        print(f"     vectors of {target.vector_bytes} bytes; {', '.join(shown)}")
    return 0
