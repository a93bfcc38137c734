"""One Prefect server for all tests of flows, a tiny dataset, and the pipeline run over it once.

Tests marked `storm` take minutes and start servers of their own; `make faults` runs them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import settings
from mscl.stages import Outcome

# Before anything imports Prefect: a home of our own, so that nobody's database or server is touched.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="mscl-test-prefect-")
os.environ.pop("PREFECT_API_URL", None)
settings.apply()

TINY = """\
base: demo
data: {{root: {root}, classes: [MoveRight, MoveLeft]}}
flow: {{method: dis, segments_per_shard: 2}}
pretrain:
  model: {{rgb_width: 0.0625, flow_width: 0.25, embed_dim: 16, neck_channels: 8}}
  loss: {{queue_size: 16}}
  augment: {{crop_px: 24}}
  optim: {{warmup_epochs: 0}}
  epochs: 2
  min_steps: 4
  batch_size: 4
  checkpoint_minutes: 0.0001
embed: {{clips: 1, crop_px: 24}}
finetune: {{enabled: false}}
runtime: {{device: cpu, workers: 1, loader_workers: 0, processes: 1, threads: 1}}
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file over twelve small videos of two classes, for runs of seconds."""
    from mscl.sources.demo import write_demo_dataset

    folder = tmp_path_factory.mktemp("tiny")
    made = write_demo_dataset(folder / "data", train_per_class=4, test_per_class=2)
    path = folder / "tiny.yaml"
    path.write_text(TINY.format(root=made.videos))
    return path


@pytest.fixture(scope="session")
def api() -> Iterator[str]:
    """Address of a Prefect server that lives as long as the tests."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield str(PREFECT_API_URL.value())


@pytest.fixture(scope="session")
def first(api: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Outcome]]:
    """A workspace, and the outcomes of the whole pipeline in it, undisturbed."""
    from flows.pipeline import full

    workspace = tmp_path_factory.mktemp("first") / "workspace"
    return workspace, full(workspace=str(workspace), preset=str(tiny))
