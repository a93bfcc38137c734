"""Extraction on a card: the store does not depend on how many processes decode, nor on who else uses the card."""

from pathlib import Path

import pytest
import torch

from storage.workspace import Workspace
from tests.flows.running import mscl

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here"),
]
DEVICE = "cuda"


def digests(workspace: Path) -> dict[str, str]:
    (result,) = Workspace(workspace).results("extract")
    return {file.path: file.digest for file in result.record.files if file.path != "commits.jsonl"}


def test_neither_workers_nor_another_run_on_the_card_change_a_digest(tiny: Path, tmp_path: Path) -> None:
    alone, *both = tmp_path / "alone", tmp_path / "one", tmp_path / "other"
    for workspaces, workers in ((both, 2), ([alone], 1)):
        settings = ["flow.method=tvl1", f"runtime.device={DEVICE}", f"runtime.workers={workers}"]
        command = ("run", tiny, *settings, "--until", "extract", "--no-prefect", "--workspace")
        runs = [mscl(*command, workspace) for workspace in workspaces]
        for run in runs:
            output, _ = run.communicate(timeout=300)
            assert run.returncode == 0, output
    assert digests(both[0]) == digests(both[1]) == digests(alone)
