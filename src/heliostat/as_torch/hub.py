"""`torch.hub`: nothing is downloaded, and no code of others is run."""

from __future__ import annotations

import os
from pathlib import Path

from . import refusal

_HELP = "download the file yourself and give it to torch.load"
load = refusal.function("torch.hub.load", "install the package and import it")
load_state_dict_from_url = refusal.function("torch.hub.load_state_dict_from_url", _HELP)
download_url_to_file = refusal.function("torch.hub.download_url_to_file", _HELP)


def _get_torch_home() -> str:
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return str(Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser())


def get_dir() -> str:
    """The folder in which PyTorch keeps what it has downloaded: `hub` in TORCH_HOME or in the user's cache."""
    return f"{_get_torch_home()}/hub"
