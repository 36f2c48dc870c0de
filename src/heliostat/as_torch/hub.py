"""`torch.hub`: nothing is downloaded, and no code of others is run."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlparse as urlparse

from . import refusal

HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")  # the hash in the names of files
_HELP = "download the file yourself and give it to torch.load"
load = refusal.function("torch.hub.load", "install the package and import it")
load_state_dict_from_url = refusal.function("torch.hub.load_state_dict_from_url", _HELP)
load_url = load_state_dict_from_url  # torch.utils.model_zoo
download_url_to_file = refusal.function("torch.hub.download_url_to_file", _HELP)


def tqdm(iterable: Any = None, *args: Any, **kwargs: Any) -> Any:
    """A bar of the package `tqdm` where that is installed, else what it would go through."""
    try:
        return import_module("tqdm").tqdm(iterable, *args, **kwargs)
    except ModuleNotFoundError:
        return iterable


def _get_torch_home() -> str:
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return str(Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser())


def get_dir() -> str:
    """The folder in which PyTorch keeps what it has downloaded: `hub` in TORCH_HOME or in the user's cache."""
    return f"{_get_torch_home()}/hub"
