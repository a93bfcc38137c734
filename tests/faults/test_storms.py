"""The storms at full length: `make faults`. Short seeded parts of them are in the suite."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mscl.pipeline import PIPELINE
from tests.faults import (
    damaged_training,
    full_disks,
    hostile_files,
    hostile_names,
    storage_storm,
    unfinished_work,
    video_fuzz,
    workspace_flips,
)
from tests.tiny import FINETUNE

pytestmark = pytest.mark.storm


def test_two_thousand_flipped_bits_of_stores(tmp_path: Path) -> None:
    storage_storm.write_result(tmp_path)
    flips, by_readers = storage_storm.flip_storm(tmp_path, count=2000, seed=0, say=print)
    assert flips == 2000 and by_readers > 500


def test_fifty_killed_writers_of_stores(tmp_path: Path) -> None:
    assert storage_storm.kill_storm(tmp_path, count=50, seed=0, say=print) > 10


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a result of every stage, and its configuration beside it."""
    return workspace_flips.finished_workspace(tmp_path_factory.mktemp("finished"))


def test_two_thousand_flipped_bits_of_a_whole_workspace(finished: Path) -> None:
    assert sum(workspace_flips.flip_storm(finished, count=2000, seed=0, say=print).values()) == 2000


def test_no_new_record_vouches_for_a_damaged_training(finished: Path, tmp_path: Path) -> None:
    workspace = Path(shutil.copytree(finished, tmp_path / "workspace"))
    damaged_training.walk(workspace, finished.parent / "tiny.yaml", *FINETUNE)


def test_two_hundred_hostile_files(tmp_path: Path) -> None:
    count = hostile_files.storm(tmp_path, mutants=200, seed=0, say=print)
    assert sum(number for kind, number in count.items() if "can be read" not in kind) >= 300


def test_hostile_names_through_every_verb(tmp_path: Path) -> None:
    assert hostile_names.walk(tmp_path, say=print) > 40


def test_unfinished_work_with_a_bad_file_goes_on(finished: Path, tmp_path: Path) -> None:
    count = unfinished_work.storm(finished, finished.parent / "tiny.yaml", tmp_path, seed=0, say=print)
    assert set(count) == {stage.name for stage in PIPELINE}


def test_full_disks_at_every_stage_and_size(tmp_path: Path) -> None:
    if not (alone := full_disks.private()):
        pytest.skip("mounting is not allowed here")
    run = [*alone, sys.executable, "-m", "tests.faults.full_disks", "--folder", str(tmp_path)]
    subprocess.run(run, check=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("of", ["generated", "real"])
def test_two_hundred_mutants_each_get_a_verdict(tmp_path: Path, of: str, request: pytest.FixtureRequest) -> None:
    if of == "real":
        folder = request.getfixturevalue("shared_dir") / "data"
        videos = [path for path in sorted((folder / "hard_videos").iterdir()) if path.suffix != ".csv"]
        videos += sorted((folder / "videos" / "hmdb51").rglob("*.avi"))
        videos = [path for path in videos if 100 < path.stat().st_size < 3_000_000]
    else:
        videos = video_fuzz.write_sample_videos(tmp_path)
    (tmp_path / "mutants").mkdir()
    findings = video_fuzz.fuzz(videos, tmp_path / "mutants", count=200, seed=0)
    assert len(findings) == 200
    assert not [(path.name, info) for path, info in findings if info.verdict in ("crashed", "timeout")]
