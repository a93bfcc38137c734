"""Kills and interrupts that really happen: nothing is left running, and the same command finishes the work.

Which test proves what. Those in test_service.py, on a server and a worker of their own, and `kills_at_random_moments`
and `a_few_kills...` are marked `storm` (`make faults`); the others run in every suite.

| fault | during extract | during pretrain |
|---|---|---|
| Ctrl-C | `ctrl_c_then_kills...` | |
| SIGKILL of the command | faults/test_extract_faults.py | `ctrl_c_then_kills...` |
| SIGKILL of the flow process | test_service, `kill the run` | test_service, `kill the run` |
| SIGKILL of a torchrun rank | | `ctrl_c_then_kills...`; test_service, `kill a rank` |
| SIGTERM | test_service, `terminate the run` | `ctrl_c_then_kills...`; test_service, `terminate the run` |
| time-out | test_service, `time-out` | `a_time_out...`; test_service, `time-out` |
| cancel from the API | test_service, `cancel` | test_service, `cancel` |
| SIGKILL of the Prefect worker | test_service, `kill the worker` | test_service, `kill the worker` |
| SIGKILL of the server, half a minute | test_service, `a_server_that_is_gone...` | |
| `mscl down` | | test_service, `down_in_the_middle_of_a_run` |
| SIGKILL, no worker to see it | test_service, `the_automation_finds...` | |
| SIGKILL at random moments | `a_few_kills_at_random_moments`, `kills_at_random_moments` | the same |
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.commits import FINAL, CommitLog
from tests.faults.pipeline_storm import SOON_SECONDS, pipeline_storm
from tests.faults.run_processes import run_once
from tests.faults.warm_commands import WarmCommands
from tests.faults.workspace_facts import differences, facts
from tests.flows.running import (
    checkpointed,
    committed,
    digests,
    family,
    flow_runs,
    mscl,
    no_survivors,
    only,
    ranks,
    task_runs,
    wait_until,
)
from tests.tiny import write_tiny

SHARDS = 6


def test_ctrl_c_then_kills_then_terminated_then_done(
    api: str, tiny: Path, tmp_path: Path, tiny_workspace: Path
) -> None:
    workspace = tmp_path / "workspace"
    command = ("run", tiny, "--workspace", workspace)

    # Ctrl-C in the terminal, during extraction: every process of the group hears it.
    process = mscl(*command, api=api)
    _wait_for(process, lambda: committed(workspace), seconds=400, why="a shard is committed")
    members = family(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command continues" in output
    assert "Traceback" not in output.split("mscl: stopped")[-1]
    no_survivors(members)

    # The same command goes on, and is killed in pre-training: it takes the rank along.
    shards = _committed_shards(workspace)
    process = mscl(*command, api=api)
    _wait_for(process, lambda: checkpointed(workspace), seconds=180, why="a checkpoint is written")
    members = family(process.pid)
    assert len(members) >= 2
    process.kill()
    output, _ = process.communicate(timeout=60)
    assert shards == SHARDS or f"{shards} of {SHARDS} shards are there already" in output
    no_survivors(members, seconds=60)
    assert digests(only(workspace, "extract")) == digests(only(tiny_workspace, "extract"))

    # A rank dies as it would for want of memory: the run fails and says which one it was.
    process = mscl(*command, api=api)
    _wait_for(process, lambda: bool(ranks(process.pid)), seconds=120, why="a rank is there")
    members = family(process.pid)
    if sys.platform == "linux":  # PyTorch takes the command seconds and 300 MB, and the rank is not to wait for that
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
    os.kill(ranks(process.pid)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    said = " ".join(output.split())
    assert re.search(r"with code -9; .*Run the same command again to go on\. rank 0, exit code -9 \(SIGKILL", said)
    no_survivors(members)
    assert _states() == ("Failed", "Failed")

    # SIGTERM, as batch systems send it: an end like Ctrl-C's.
    process = mscl(*command, api=api)
    _wait_for(process, lambda: bool(ranks(process.pid)), seconds=120, why="a rank is there")
    members = family(process.pid)
    process.terminate()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    assert "the same command continues" in output
    no_survivors(members)
    assert _states() == ("Crashed", "Crashed")

    # And to the end of what was disturbed; the stages after it, test_full_flow.py runs.
    from flows.pipeline import full

    done = full(workspace=str(workspace), preset=str(tiny), until="pretrain")
    assert list(done) == ["ingest", "extract", "motion", "screen", "pretrain"]
    assert not done["pretrain"].reused
    keys = [outcome.result.key for outcome in done.values()]
    assert differences(facts(tiny_workspace, keys=keys), facts(workspace)) == []


def test_a_time_out_fails_the_run_and_keeps_the_checkpoint(
    api: str, tiny: Path, tmp_path: Path, tiny_workspace: Path
) -> None:
    workspace = _without(tiny_workspace, "pretrain", tmp_path)
    command = ("run", tiny, "--workspace", workspace, "pretrain.min_steps=100000")
    for minutes in (0.15, 0.5, 4):  # a busy machine needs longer for its first checkpoint; the same command goes on
        process = mscl(*command, f"runtime.timeout_minutes={minutes}", api=api)
        _wait_for(process, lambda: bool(ranks(process.pid)), seconds=120, why="a rank is there")  # noqa: B023
        members = family(process.pid)
        output, _ = process.communicate(timeout=120 + 60 * minutes)
        assert process.returncode == 2, output
        assert f"pretrain took longer than runtime.timeout_minutes={minutes:g}" in output
        no_survivors(members)
        run = flow_runs(limit=1)[0]
        assert run.state.is_failed()
        assert "took longer" in run.state.message
        if checkpointed(workspace):
            break
    assert checkpointed(workspace)


@pytest.mark.storm
def test_a_few_kills_at_random_moments(tiny: Path, tmp_path: Path, tiny_workspace: Path) -> None:
    """The short part of the storm."""
    storm = pipeline_storm(tmp_path, tiny, facts(tiny_workspace), kills=2, seed=0, longest_seconds=12, say=print)
    assert storm.kills == 2


@pytest.mark.storm
@pytest.mark.timeout(7200)
def test_kills_at_random_moments(tmp_path: Path) -> None:
    """`MSCL_KILLS` (200) kills, seed `MSCL_SEED` (0); pipeline_storm.py, run as a script, has Prefect's runs, too."""
    config = write_tiny(tmp_path, with_workers=True)
    process = run_once(config, tmp_path / "undisturbed")
    assert process.wait(1200) == 0, (tmp_path / "undisturbed.log").read_text()
    kills, seed = int(os.environ.get("MSCL_KILLS", "200")), int(os.environ.get("MSCL_SEED", "0"))
    expected = facts(tmp_path / "undisturbed")
    with WarmCommands() as warm:
        storm = pipeline_storm(
            tmp_path, config, expected, kills=kills, seed=seed, longest_seconds=20, say=print, warm=warm
        )
    print(storm, f"{storm.late()} runs had processes left {SOON_SECONDS:.0f} s after their end")
    assert storm.kills == kills


def _wait_for(process: subprocess.Popen[str], what: Callable[[], bool], *, seconds: float, why: str) -> None:
    """As `wait_until`, for what a command does; one that has ended does nothing more, and has said why."""
    wait_until(lambda: what() or process.poll() is not None, seconds=seconds, why=why)
    assert process.poll() is None, process.communicate()[0]


def _committed_shards(workspace: Path) -> int:
    """Shards that extraction has committed so far."""
    (log,) = workspace.glob("extract/*/commits.jsonl")
    return len({*CommitLog(log).rows()} - {FINAL})


def _without(workspace: Path, stage: str, folder: Path) -> Path:
    """A copy of a finished workspace in which one stage is still to do."""
    copy = folder / "workspace"
    shutil.copytree(workspace, copy)
    shutil.rmtree(copy / stage)
    return copy


def _states() -> tuple[str, str]:
    """How the latest run ended, and pretrain in it, as the server has them."""
    (run,) = flow_runs(limit=1)
    assert run.name.startswith("tiny · ")

    def ended() -> list[str]:
        return [one.state.name for one in task_runs(run.id) if one.name == "pretrain" and one.state.is_final()]

    wait_until(lambda: len(ended()) == 1, seconds=60, why="the end of pretrain is written down")
    return run.state.name, ended()[0]
