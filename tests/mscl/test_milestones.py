"""Milestones of processes: written where they are asked for, and what cannot be is one clear line."""

import os
from pathlib import Path

import pytest

from mscl.errors import UserError
from mscl.milestones import VARIABLE, reached


def test_a_line_a_milestone_in_a_file_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "reached.txt"))
    reached("work is known")
    assert (tmp_path / "reached.txt").read_text().split(" ", 1)[1] == f"{os.getpid()} work is known\n"
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match=rf"MSCL_MILESTONES={tmp_path} cannot be written"):
        reached("work is known")
