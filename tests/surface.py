"""Prints which of a list of names `heliostat` lacks: `python tests/surface.py names.json`, of a JSON file with lists
`tensor_functions` and `tensor_methods`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import heliostat as hs


def missing(path: Path) -> dict[str, list[str]]:
    """By list, the names that are neither functions of the package nor methods of its tensors."""
    listed = json.loads(path.read_text())
    rooms = {"tensor_functions": hs, "tensor_methods": hs.Tensor}
    return {key: [n for n in listed[key] if not hasattr(room, n)] for key, room in rooms.items()}


if __name__ == "__main__":
    for key, names in missing(Path(sys.argv[1])).items():
        print(f"{key}: {len(names)} missing: {' '.join(names)}")
