"""Running again: at the shard that failed, by force, with a setting changed; by parameters and by command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from mscl.config import DataConfig, RetrieveConfig
from mscl.errors import UserError
from mscl.pipeline import Outcome
from tests.faults.in_process import command as in_this_process
from tests.flows.running import digests, flow_runs, only, task_runs, wait_until


def test_a_stage_that_fails_is_begun_again_when_retries_are_asked_for(
    api: str, tiny_workspace: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also one that is forced: its retry begins from what it has done itself."""
    from flows.pipeline import stage_flow

    videos = Path(shutil.copytree(tiny.parent / "data", tmp_path / "data")) / "videos"
    asked = {"workspace": str(tmp_path / "workspace"), "preset": str(tiny), "data_root": str(videos)}
    assert not stage_flow("ingest")(**asked).reused
    last = sorted(videos.glob("MoveRight/*.mp4"))[-1]
    hidden = last.rename(tmp_path / last.name)

    def mount() -> None:
        states = lambda: [one.state.name for one in task_runs(flow_runs(limit=1)[0].id)]  # noqa: E731
        wait_until(lambda: "AwaitingRetry" in states(), seconds=120, why="extract waits for its retry")
        hidden.rename(last)

    mounter = Thread(target=mount)
    mounter.start()
    outcome = stage_flow("extract")(**asked, force=True, runtime={"retries": 20, "retry_delay_seconds": 3})
    mounter.join()
    assert "of 6 shards are there already" in capfd.readouterr().out
    assert digests(outcome.result) == digests(only(tiny_workspace, "extract"))


def _computed(outcomes: dict[str, Outcome]) -> set[str]:
    return {name for name, outcome in outcomes.items() if not outcome.reused}


def test_parameters_force_one_stage_and_redo_what_a_changed_one_touches(
    api: str, tiny_workspace: Path, tiny: Path, copy: Path
) -> None:
    from flows.pipeline import full

    forced = full(workspace=str(copy), preset=str(tiny), force=["screen"])
    assert _computed(forced) == {"screen"}  # the same key: what was made of it before still holds
    assert digests(forced["screen"].result) == digests(only(tiny_workspace, "screen"))
    changed = full(workspace=str(copy), preset=str(tiny), retrieve=RetrieveConfig(ks=(1, 2)))
    assert _computed(changed) == {"retrieve", "report"}
    assert changed["retrieve"].result.key != only(tiny_workspace, "retrieve").key


def test_the_command_line_does_the_same(tiny: Path, copy: Path) -> None:
    command = ("run", tiny, "--no-prefect", "--workspace", copy)
    code, output, errors = in_this_process(*command, "retrieve.ks=[1,2]", "--force", "screen")
    assert code == 0, output + errors
    lines = {line.split()[0]: line for line in output.splitlines() if len(line.split()) >= 3}
    assert {name for name in lines if "reused" in lines[name]} >= {"ingest", "extract", "motion", "pretrain", "probe"}
    for name in ("screen", "retrieve", "report"):
        assert "reused" not in lines[name], output


def test_flow_of_another_backend_is_taken_and_said(tiny: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("run", tiny, "flow.method=tvl1", "--until", "extract", "--no-prefect", "--workspace", copy)
    assert in_this_process(*command)[0] == 0
    monkeypatch.setattr("mscl.extract.stage.resolve_backend", lambda *_asked: "triton")  # as on a GPU
    code, output, errors = in_this_process(*command)
    assert code == 0 and "every stage was reused" in output, output + errors
    assert "was made with flow.backend='cpp', not 'triton'" in output


def test_nothing_to_do_waits_for_neither_prefect_nor_pytorch(tiny: Path, copy: Path) -> None:
    code = (
        "import atexit, sys; from flows.cli.app import main; "
        "atexit.register(lambda: print('loaded', {'torch', 'prefect', 'av', 'matplotlib'} & {*sys.modules})); main()"
    )
    nobody_there = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = subprocess.run(
        [sys.executable, "-c", code, "run", tiny, "--workspace", copy],
        env=nobody_there, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert "Nothing has changed: every stage was reused." in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded set()"


def test_a_failed_run_goes_on_at_the_shard_that_failed(
    api: str, tiny_workspace: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from flows.pipeline import stage_flow

    videos = Path(shutil.copytree(tiny.parent / "data", tmp_path / "data")) / "videos"
    asked = {"workspace": str(tmp_path / "workspace"), "preset": str(tiny), "data": DataConfig(root=str(videos))}
    manifest = stage_flow("ingest")(**asked).result
    last = sorted(videos.glob("MoveRight/*.mp4"))[-1]
    hidden = last.rename(tmp_path / last.name)  # a disk that is not mounted, a file that was moved
    with pytest.raises(UserError, match=last.name):
        stage_flow("extract")(**asked)
    run = flow_runs(limit=1)[0]
    assert run.state.is_failed()
    assert last.name in run.state.message
    (log,) = (tmp_path / "workspace" / "extract").glob("*/commits.jsonl")
    committed = log.read_bytes()
    assert committed.count(b"\n") >= 1
    hidden.rename(last)
    capfd.readouterr()
    outcome = stage_flow("extract")(**asked)
    assert f"{len(committed.splitlines())} of 6 shards are there already" in capfd.readouterr().out
    assert outcome.result.record.inputs == {"ingest": manifest.key}
    assert digests(outcome.result) == digests(only(tiny_workspace, "extract"))
