"""One Prefect server for all tests of flows that a process runs.

Tests marked `storm` take minutes and start servers of their own; `make faults` runs them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from flows import settings

# Before anything imports Prefect: a home of our own, so that nobody's database or server is touched.
HOME = tempfile.mkdtemp(prefix="mscl-test-prefect-")
os.environ["PREFECT_HOME"] = HOME
os.environ.pop("PREFECT_API_URL", None)
settings.apply()


def pytest_unconfigure() -> None:
    """Take the home away again, when this process has run its tests."""
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def api() -> Iterator[str]:
    """Address of a Prefect server that lives as long as the tests."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    # Prefect's catalogue of blocks takes its server two seconds to write down, and nothing here looks at it.
    without_blocks = mock.patch.dict(os.environ, PREFECT_API_BLOCKS_REGISTER_ON_START="false")
    with without_blocks, prefect_test_harness(server_startup_timeout=600):
        yield str(PREFECT_API_URL.value())


@pytest.fixture
def copy(tiny_workspace: Path, tmp_path: Path) -> Path:
    """A finished workspace, to be changed at will."""
    return Path(shutil.copytree(tiny_workspace, tmp_path / "workspace"))
