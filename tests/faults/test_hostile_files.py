"""Files from elsewhere are refused in one line, by the real commands, and no code in them runs."""

from pathlib import Path

import pytest

from mscl.errors import CheckpointError
from mscl.finetune.classifier import load_classifier
from tests.faults import hostile_files, hostile_samples


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Made where code of a file has run."""
    return tmp_path / "trace"


def test_hostile_encoders_and_classifiers(tmp_path: Path, trace: Path) -> None:
    (tmp_path / "files").mkdir()
    made = hostile_samples.encoders(tmp_path / "files", trace)
    assert len(made) > 80
    for path in made:
        hostile_files.try_encoder(path, tmp_path / "out.safetensors")
        with pytest.raises(CheckpointError) as raised:
            load_classifier(path)
        assert "\n" not in str(raised.value), path.name
    assert not trace.exists()


def test_hostile_presets(tmp_path: Path, trace: Path) -> None:
    for path in hostile_samples.presets(tmp_path, trace):
        hostile_files.refused("config", path, about=path)
    assert not trace.exists()


def test_hostile_lists(tmp_path: Path) -> None:
    for path in hostile_samples.lists(tmp_path):
        hostile_files.try_list(path, tmp_path / "workspace")
