"""The program that `python -m heliostat.as_torch` runs, as processes import it that it has started by spawning."""

from __future__ import annotations

import os
import runpy

from heliostat.as_torch import install

PLACE = "_HELIOSTAT_AS_TORCH_PROGRAM"
"""The variable by which such processes know where the program is: while a module is run as the main one, that has the
place of the first argument."""

if __name__ == "__mp_main__":
    install()
    globals().update(runpy.run_path(os.environ[PLACE], run_name="__mp_main__"))
