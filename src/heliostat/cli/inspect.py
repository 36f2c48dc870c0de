"""`heliostat inspect`: what a model file holds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from heliostat.diagnostics import HeliostatError, printable
from heliostat.llm import demo_path
from heliostat.llm.gguf import GGUFFile
from heliostat.llm.model import open_model_file
from heliostat.llm.weights import DecoderWeights, ModelFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a GGUF file or a safetensors folder; left out: the demo model",
    )
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    with closing(open_model_file(args.model or demo_path())) as file:
        formats: dict[str, dict[str, int]] = {}
        for t in file.tensors.values():
            row = formats.setdefault(t.type_name, {"tensors": 0, "bytes": 0})
            row["tensors"] += 1
            row["bytes"] += t.nbytes
        memory = _memory(file)
        version = file.version if isinstance(file, GGUFFile) else None
        kind = "safetensors" if version is None else f"GGUF v{version}"
        if args.json:
            print(json.dumps({
                "path": file.path, "version": version, "bytes": file.size,
                "metadata": {k: _short(v) for k, v in file.metadata.items()},
                "formats": formats, "memory": memory,
                "tensors": [
                    {"name": t.name, "type": t.type_name, "shape": list(t.shape), "bytes": t.nbytes}
                    for t in file.tensors.values()
                ],
            }, ensure_ascii=False))  # fmt: skip
            return 0
        path, counts = printable(file.path), f"{len(file.tensors)} tensors, {len(file.metadata)} keys"
        print(f"{path}: {kind}, {file.size / 1e6:.1f} MB, {counts}")
        print("\nmetadata")
        for key, value in file.metadata.items():
            print(printable(f"  {key} = {_short(value)}"))
        print("\nformats")
        for name, row in sorted(formats.items(), key=lambda f: -f[1]["bytes"]):
            print(f"  {name:<8} {row['tensors']:>5} tensors  {row['bytes'] / 1e6:>10.1f} MB")
        if memory:
            print("\nmemory")
            for key, value in memory.items():
                print(printable(f"  {key}: {value}"))
        if args.tensors:
            print("\ntensors")
            for t in file.tensors.values():
                print(f"  {printable(t.name):<32} {t.type_name:<8} {'x'.join(map(str, t.shape)):<16} {t.nbytes:>12}")
    return 0


def _memory(file: ModelFile) -> dict[str, Any]:
    """What a run takes; why it cannot run where it cannot."""
    try:
        config = DecoderWeights(file).config
    except HeliostatError as error:
        return {"note": error.message}
    per_token = 2 * 2 * config.layers * config.kv_heads * config.head_dim
    return {
        "weights_MB": round(sum(t.nbytes for t in file.tensors.values()) / 1e6, 1),
        "cache_bytes_per_token_f16": per_token,
        "cache_MB_at_4096_tokens": round(per_token * min(4096, config.context) / 1e6, 1),
    }


def _short(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 8:
        return f"[{', '.join(repr(_short(v)) for v in value[:4])}, ... {len(value)} values]"
    if isinstance(value, str) and len(value) > 120:
        return value[:117].replace("\n", "\\n") + "..."
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_short(v) for v in value]  # arrays within an array
    return value
