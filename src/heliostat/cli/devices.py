"""`heliostat devices`: where programs can run, and what the compiler knows of it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from heliostat.diagnostics import DeviceError
from heliostat.runtime.cuda import device, device_count
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
    gpus, why = _gpus()
    if args.json:
        print(json.dumps({"devices": [row, *gpus], **({"cuda": why} if why else {})}))
    else:
        print(f"cpu  {target.cpu} ({target.architecture}), {row['cores']} cores, {row['threads']} threads by default")
        print(f"     vectors of {target.vector_bytes} bytes; {', '.join(shown)}")
        for gpu in gpus:
            major, minor = gpu["compute_capability"]
            print(
                f"{gpu['device']}  {gpu['name']}, compute capability {major}.{minor}, {gpu['multiprocessors']} "
                f"multiprocessors, {gpu['free_bytes'] / 1e9:.1f} of {gpu['total_bytes'] / 1e9:.1f} GB free"
            )
        if why:
            print(f"cuda  {why}")
    return 0


def _gpus() -> tuple[list[dict[str, Any]], str]:
    """A row for each GPU, and why there is none."""
    try:
        rows = []
        for number in range(device_count()):
            gpu = device(number)
            free, total = gpu.memory()
            rows.append(
                {
                    "device": f"cuda:{number}", "name": gpu.name, "compute_capability": gpu.compute_capability,
                    "multiprocessors": gpu.sm_count, "free_bytes": free, "total_bytes": total,
                }
            )  # fmt: skip
        return rows, "" if rows else "no GPU is visible"
    except DeviceError as error:
        return [], error.message
