"""The safetensors format: a JSON header and the bytes of tensors. Source: github.com/huggingface/safetensors, "Format".

Every byte of the data must belong to one tensor, as the format asks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..diagnostics import FileFormatError
from ..ir.types import DType
from .bytes import BY_NAME, Record

NAMES: dict[str, str] = {
    "f64": "F64", "f32": "F32", "f16": "F16", "bf16": "BF16", "i64": "I64", "i32": "I32", "i16": "I16", "i8": "I8",
    "u32": "U32", "u16": "U16", "u8": "U8", "bool": "BOOL",
    "f8e4m3fn": "F8_E4M3", "f8e5m2": "F8_E5M2",
}  # fmt: skip
DTYPES: dict[str, DType] = {theirs: BY_NAME[ours] for ours, theirs in NAMES.items()}
LIMIT = 100_000_000  # bytes of a header; the format's own limit


def header(records: Mapping[str, Record]) -> dict[str, Any]:
    """The header of tensors that lie one after another, the widest dtypes first so that all are aligned."""
    made: dict[str, Any] = {}
    at = 0
    for name in order(records):
        dtype, shape, data = records[name]
        made[name] = {"dtype": NAMES[dtype.name], "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    return made


def order(records: Mapping[str, Record]) -> list[str]:
    """The order in which tensors lie."""
    return sorted(records, key=lambda name: -records[name][0].nbytes)


def pack(records: Mapping[str, Record], metadata: Mapping[str, str]) -> Iterator[Any]:
    """The pieces of a file."""
    fields = {"__metadata__": dict(metadata), **header(records)} if metadata else header(records)
    raw = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    yield len(raw).to_bytes(8, "little") + raw
    for name in order(records):
        yield records[name][2]


def has_header(data: bytes) -> bool:
    """Whether bytes begin as a file of tensors does: with the length of a header that fits, and its brace."""
    length = int.from_bytes(data[:8], "little")
    return len(data) >= 10 and length <= min(LIMIT, len(data) - 8) and data[8:9] == b"{"


def unpack(path: str, data: bytes) -> tuple[dict[str, Record], dict[str, str]]:
    """The tensors of a file, as views of its bytes, and its metadata. Raises FileFormatError."""
    length = int.from_bytes(data[:8], "little")
    if not has_header(data):
        raise FileFormatError(
            f"{path}: is not a file of tensors: it has no safetensors header", help="it may be cut off"
        )
    try:
        fields = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: the header is no JSON: {str(error)[:100]}") from None
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FileFormatError(f"{path}: __metadata__ must map names to strings")
    body = memoryview(data)[8 + length :]
    records = {name: _record(path, name, field, body) for name, field in fields.items()}
    at = 0
    for start, stop in sorted(tuple(field["data_offsets"]) for field in fields.values()):
        if start != at:
            raise FileFormatError(f"{path}: byte {min(start, at)} of the data belongs to no tensor, or to two")
        at = stop
    if at != len(body):
        raise FileFormatError(f"{path}: has {len(body)} bytes of data, and the tensors {at}")
    return records, metadata


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return made


def _record(path: str, name: str, field: Any, body: memoryview) -> Record:
    shown = name if name.isprintable() and len(name) <= 80 else ascii(name)[1:80]
    if not isinstance(field, dict) or field.keys() != {"dtype", "shape", "data_offsets"}:
        raise FileFormatError(f"{path}: tensor {shown}: needs dtype, shape and data_offsets")
    shape, offsets = field["shape"], field["data_offsets"]
    dtype = DTYPES.get(field["dtype"]) if isinstance(field["dtype"], str) else None
    if dtype is None:
        raise FileFormatError(f"{path}: tensor {shown}: there is no dtype {str(field['dtype'])[:20]!r}")
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2:
        raise FileFormatError(f"{path}: tensor {shown}: shape and data_offsets must be lists of whole numbers")
    start, stop = offsets
    if not start <= stop <= len(body) or stop - start != math.prod(shape) * dtype.nbytes:
        raise FileFormatError(f"{path}: tensor {shown}: bytes {start} to {stop} do not hold {field['dtype']} {shape}")
    return dtype, tuple(shape), body[start:stop]


def _counts(x: Any) -> bool:
    return isinstance(x, list) and all(type(n) is int and 0 <= n < 1 << 62 for n in x)
