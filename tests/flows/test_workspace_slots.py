"""Runs that share a workspace."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.workspace_slots import workspace_slot
from storage.workspace import Workspace

HOLD = """
import sys, time
from flows.workspace_slots import workspace_slot
from storage.workspace import Workspace
with workspace_slot(Workspace(sys.argv[1]), limit=1, say=print):
    print("in", flush=True)
    time.sleep(60)
"""


def _holder(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def test_a_second_run_waits_and_says_so_until_the_first_is_killed(tmp_path: Path) -> None:
    holder = _holder(tmp_path / "ws")
    said: list[str] = []

    def say(message: str) -> None:
        said.append(message)
        holder.kill()  # as hard as can be: the lock must go with its holder

    started = time.monotonic()
    with workspace_slot(Workspace(tmp_path / "ws"), limit=1, say=say):
        assert time.monotonic() - started < 10
    holder.wait()
    assert len(said) == 1
    assert str(tmp_path / "ws") in said[0]


@pytest.mark.parametrize("limit", [0, 2])
def test_the_limit_is_the_user_s(tmp_path: Path, limit: int) -> None:
    holder = _holder(tmp_path / "ws")
    with workspace_slot(Workspace(tmp_path / "ws"), limit=limit, say=pytest.fail):
        holder.kill()
    holder.wait()


def test_a_workspace_with_a_slot_is_still_a_workspace(tmp_path: Path) -> None:
    with workspace_slot(Workspace(tmp_path / "ws"), limit=1, say=pytest.fail):
        Workspace(tmp_path / "ws")
    assert os.listdir(tmp_path) == ["ws"]
