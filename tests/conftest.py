"""Shared fixtures: where the real data lies, a tiny set and the pipeline run over it, few threads on small machines."""

import os
from pathlib import Path

import hypothesis
import pytest

from tests.made_once import made_once
from tests.tiny import run_tiny, write_tiny

os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

LONG = (
    "flows/test_faults.py", "mscl/pretrain/test_ranks.py", "flows/server/test_protection.py", "flows/test_runners.py",
    "flows/test_full_flow.py", "flows/test_reruns.py", "flows/test_deployments.py",
    "mscl/finetune/test_finetune.py", "mscl/pipeline/test_pipeline.py",
    "mscl/pretrain/test_loop.py", "kernels/test_tvl1_gpu.py", "faults/test_extract_faults.py",
    "mscl/demo/test_demo_dataset.py", "mscl/trackers/test_couriers.py", "mscl/pipeline/test_own_features.py",
    "test_notebook.py", "mscl/models/test_outside_encoder.py", "mscl/report/test_report.py",
    "faults/test_hostile_files.py", "mscl/models/test_weight_files.py",
)  # fmt: skip
"""Test files of 15 seconds and more, the longest first: so the workers of pytest-xdist end at about the same time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first. No test depends on it."""
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with golden vectors and real videos, beside the checkout; tests that need it skip without."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not (path / "golden").is_dir():
        pytest.skip(f"no golden vectors or real videos: {path.name}/ is not beside the checkout")
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file over twelve small videos of two classes, for runs of seconds."""
    return made_once(tmp_path_factory, "tiny", write_tiny) / "tiny.yaml"


@pytest.fixture(scope="session")
def tiny_workspace(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the whole pipeline over `tiny`, run without Prefect; tests change copies of it."""
    return made_once(tmp_path_factory, "tiny_workspace", lambda folder: run_tiny(folder, tiny)) / "workspace"


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)
