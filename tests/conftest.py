"""Shared fixtures: where the real data lies, and few threads on small machines."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with golden vectors and real videos, beside the checkout; tests that need it skip without."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not (path / "golden").is_dir():
        pytest.skip(f"no golden vectors or real videos: {path.name}/ is not beside the checkout")
    return path


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)
