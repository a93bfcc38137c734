"""Folders for lists and videos."""

from pathlib import Path

import pytest


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A folder without neighbours: lists are looked for beside the videos, too, and other tests leave some there."""
    own = tmp_path / "own"
    own.mkdir()
    return own
