"""Kills and interrupts that really happen: nothing is left running, and the same command finishes the work."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from mscl.stages import Outcome
from tests.flows.running import (
    checkpointed,
    committed,
    digests,
    family,
    finished,
    mscl,
    no_survivors,
    only,
    wait_until,
)


def _weights(folder: Path) -> dict[str, object]:
    import torch

    last = sorted((folder / "checkpoints").glob("step-*.pt"))[-1]
    return dict(torch.load(last, weights_only=True)["model"])


def test_ctrl_c_then_kill_then_done(
    api: str, tiny: Path, tmp_path: Path, first: tuple[Path, dict[str, Outcome]]
) -> None:
    import torch

    undisturbed, workspace = first[1], tmp_path / "workspace"
    command = ("run", tiny, "--workspace", workspace)

    # Ctrl-C in the terminal, during extraction: every process of the group hears it.
    process = mscl(*command, api=api)
    wait_until(lambda: committed(workspace), seconds=120, why="a shard is committed")
    members = family(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command continues" in output
    assert "Traceback" not in output.split("mscl: stopped")[-1]
    no_survivors(members)

    # The same command goes on; it is killed in pre-training, and takes torchrun and the ranks along.
    process = mscl(*command, api=api)
    wait_until(lambda: checkpointed(workspace), seconds=180, why="a checkpoint is written")
    members = family(process.pid)
    assert len(members) >= 2
    process.kill()
    output, _ = process.communicate(timeout=60)
    assert "shards are there already" in output
    no_survivors(members, seconds=60)
    assert digests(only(workspace, "extract")) == digests(undisturbed["extract"].result)

    # And once more, to the end.
    from flows.pipeline import STAGE_FLOWS

    outcome = STAGE_FLOWS["pretrain"](workspace=str(workspace), preset=str(tiny))
    assert not outcome.reused
    assert outcome.result.key == undisturbed["pretrain"].result.key
    expected = _weights(undisturbed["pretrain"].result.folder)
    found = _weights(outcome.result.folder)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)


def test_a_kill_during_extraction_loses_no_committed_shard(
    api: str, tiny: Path, tmp_path: Path, first: tuple[Path, dict[str, Outcome]]
) -> None:
    undisturbed, workspace = first[1], tmp_path / "workspace"
    process = mscl("run", tiny, "--workspace", workspace, api=api)
    wait_until(lambda: committed(workspace), seconds=120, why="a shard is committed")
    members = family(process.pid)
    process.kill()
    process.communicate(timeout=60)
    no_survivors(members)
    code, output = finished("stage", "extract", tiny, "--workspace", workspace)
    assert code == 0, output
    assert "shards are there already" in output
    assert digests(only(workspace, "extract")) == digests(undisturbed["extract"].result)


@pytest.mark.storm
def test_kills_at_random_moments(tiny: Path, tmp_path: Path) -> None:
    """`MSCL_KILLS` times: start the pipeline without Prefect, kill it after a random time, until it is done."""
    rng = random.Random(int(os.environ.get("MSCL_SEED", "0")))
    kills, rounds, number = int(os.environ.get("MSCL_KILLS", "100")), 0, 0
    code, output = finished("run", tiny, "--no-prefect", "--workspace", tmp_path / "undisturbed", timeout=600)
    assert code == 0, output
    expected = {stage: digests(only(tmp_path / "undisturbed", stage)) for stage in ("extract", "motion", "screen")}
    while number < kills:
        rounds += 1
        workspace = tmp_path / f"workspace{rounds}"
        while True:
            process = mscl("run", tiny, "--no-prefect", "--workspace", workspace)
            try:
                process.communicate(timeout=rng.uniform(2, 25))
            except subprocess.TimeoutExpired:
                members = family(process.pid)
                process.kill()
                process.communicate(timeout=60)
                no_survivors(members, seconds=60)
                number += 1
                continue
            assert process.returncode == 0
            break
        for stage, files in expected.items():
            assert digests(only(workspace, stage)) == files
        code, output = finished("verify", only(workspace, "pretrain").key, "--workspace", workspace)
        assert code == 0, output
