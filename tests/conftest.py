"""Shared fixtures: where the real data lies, and few threads on small machines."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `--dist loadgroup`: a file stays with one worker, and all files that need a Prefect server with the same one.

    A server takes half a minute to start and some of a core for as long as it lives.
    """
    with_server = {item.path for item in items if "api" in getattr(item, "fixturenames", ())}
    for item in items:
        item.add_marker(pytest.mark.xdist_group("prefect" if item.path in with_server else str(item.path)))


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
