"""One Prefect server for all tests of flows, a tiny dataset, and the pipeline run over it once.

Tests marked `storm` take minutes and start servers of their own; `make faults` runs them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import settings
from mscl.pipeline import Outcome
from tests.flows.tiny import write_tiny

# Before anything imports Prefect: a home of our own, so that nobody's database or server is touched.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="mscl-test-prefect-")
os.environ.pop("PREFECT_API_URL", None)
settings.apply()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file over twelve small videos of two classes, for runs of seconds."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def api() -> Iterator[str]:
    """Address of a Prefect server that lives as long as the tests."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=600):
        yield str(PREFECT_API_URL.value())


@pytest.fixture(scope="session")
def first(api: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Outcome]]:
    """A workspace, and the outcomes of the whole pipeline in it, undisturbed; others change copies of it."""
    from flows.pipeline import full

    workspace = tmp_path_factory.mktemp("first") / "workspace"
    return workspace, full(workspace=str(workspace), preset=str(tiny))


@pytest.fixture
def copy(first: tuple[Path, dict[str, Outcome]], tmp_path: Path) -> Path:
    """The finished workspace once more, to be changed at will."""
    return Path(shutil.copytree(first[0], tmp_path / "workspace"))
