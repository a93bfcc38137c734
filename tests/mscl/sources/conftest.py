"""Videos that the tests write themselves, so that they pass without any data beside the checkout."""

from pathlib import Path
from typing import Any

import pytest
from written_videos import WriteVideo, write_frames


@pytest.fixture
def write_video(tmp_path: Path) -> WriteVideo:
    """`write_frames` into tmp_path, by name."""

    def write(name: str, *arguments: Any, **settings: Any) -> Path:
        return write_frames(tmp_path / name, *arguments, **settings)

    return write
