"""Bad token ids on the command line end in one line and exit code 2."""

from __future__ import annotations

import pytest

from heliostat.cli.main import main


@pytest.mark.parametrize("ids", ["1,99999999", "8192"])
def test_tokens_outside_of_the_vocabulary(ids: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--prompt-tokens", ids, "-n", "1"]) == 2
    assert "outside the vocabulary of 8192" in capsys.readouterr().err
