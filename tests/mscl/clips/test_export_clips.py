"""Exports of a small workspace, read back by what other programs read them with; going on, and what is refused."""

import csv
import errno
import importlib.util
import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg

import mscl
from kernels.flow_files import kitti_png, read_flo
from mscl.clips import webdataset_shards
from mscl.clips.export import PLAN_NAME, export_clips
from mscl.clips.segment_files import SegmentFiles
from mscl.errors import USER_ERRORS, UserError
from storage.errors import StorageError
from storage.splits import write_splits
from storage.workspace import Workspace
from tests.mscl.marked_stores import marked_field, marked_frame
from tests.mscl.screened_workspace import HOSTILE, NUM_FIELDS, ROWS, screened_workspace


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return screened_workspace(tmp_path_factory.mktemp("export") / "w")


def _samples(shards: list[Path]) -> Iterator[dict[str, Any]]:
    """Samples as WebDataset gives them: by itself where it is installed, else by its own rule."""
    if importlib.util.find_spec("webdataset"):
        import webdataset

        yield from webdataset.WebDataset([str(path) for path in shards], shardshuffle=False, empty_check=False)
        return
    for path in shards:
        samples: dict[str, dict[str, Any]] = defaultdict(dict)
        with tarfile.open(path) as archive:
            for member in archive:
                key, _, ending = member.name.partition(".")
                content = archive.extractfile(member)
                assert content is not None
                samples[key] |= {"__key__": key, ending: content.read()}
        yield from samples.values()


def test_shards_hold_the_clips(place: Workspace, tmp_path: Path) -> None:
    done = export_clips(place, "webdataset", tmp_path / "out", clips_per_shard=3)
    clips = mscl.open_clips(place)
    assert (done.size, done.parts, done.found) == (len(clips), -(-len(clips) // 3), 0)
    by_key = {f"{c['segment']:08d}-{c['start_frame']:06d}": c for c in (clips[n] for n in range(len(clips)))}
    read = list(_samples(sorted((tmp_path / "out").glob("clips-*.tar"))))
    assert sorted(sample["__key__"] for sample in read) == sorted(by_key)
    for sample in read:
        clip = by_key[sample["__key__"]]
        frames = [simplejpeg.decode_jpeg(sample[f"frame{n:02d}.jpg"]) for n in range(4)]
        np.testing.assert_array_equal(np.stack(frames).transpose(3, 0, 1, 2), clip["frames"])
        np.testing.assert_array_equal(np.load(BytesIO(sample["flow.npz"]))["flow"], clip["flow"])
        assert int(sample["cls"]) == clip["label"]
        facts = json.loads(sample["json"])
        assert facts == {name: clip[name] for name in facts} and facts["video"] == clip["video"]
    text = (tmp_path / "out" / "README.md").read_text()
    assert (
        "| screen | 4444444444444444 |" in text and "over 8 source frames" in text and "4 source frames apart" in text
    )


def test_flo_and_png_hold_every_field_and_frame(place: Workspace, tmp_path: Path) -> None:
    for form in ("flo", "png"):
        export_clips(place, form, tmp_path / form)
        rows = list(csv.DictReader((tmp_path / form / "index.csv").open()))
        assert [row["video"] for row in rows] == [video for video, _, _ in ROWS] and rows[2]["class_name"] == "run"
        for segment, row in enumerate(rows):
            folder = tmp_path / form / row["path"]
            assert row["num_fields"] == str(NUM_FIELDS[segment])
            assert float(row["mean_px"]) == pytest.approx(segment + 2)
            files = sorted((folder / "flow").iterdir())
            assert [int(path.stem) for path in files] == [ROWS[segment][1] + 2 * i for i in range(NUM_FIELDS[segment])]
            for index, path in enumerate(files):
                if form == "flo":
                    flow, known = read_flo(path)
                    frame = simplejpeg.decode_jpeg((folder / "frames" / f"{path.stem}.jpg").read_bytes())
                else:
                    codes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(np.float32)
                    flow, known = (codes[..., :2] - 2**15) / 64, codes[..., 2] == 1
                    frame = cv2.imread(str(folder / "frames" / path.name))[..., ::-1]
                assert known.all()
                np.testing.assert_allclose(flow, marked_field(index), atol=1 / 32)
                assert np.abs(frame.astype(int) - marked_frame(segment, index)).mean() < 2
    codes = cv2.imdecode(np.frombuffer(kitti_png(np.array([[[511.5, -3], [0, 513]]], np.float32)), np.uint8), -1)
    assert codes[0].tolist() == [[1, 2**15 - 192, 2**15 + 32736], [0, 0, 0]]


def test_npz_holds_a_segment(place: Workspace, tmp_path: Path) -> None:
    export_clips(place, "npz", tmp_path / "out", split="test")
    paths = sorted((tmp_path / "out" / "segments").rglob("*.npz"))
    assert [path.parent.name for path in paths] == [Path(HOSTILE).name, "still.mp4"]
    arrays = np.load(paths[0])
    assert arrays["frame_numbers"].tolist() == [2 * i for i in range(8)]
    assert arrays["frames"].shape[:2] == (3, 8) and arrays["frames"].dtype == np.uint8
    np.testing.assert_allclose(arrays["flow"][:, 5].transpose(1, 2, 0), marked_field(5), atol=1 / 32)
    np.testing.assert_allclose(arrays["magnitude_p99"], 2 * arrays["differences"], rtol=1e-6)


def test_an_export_goes_on_where_it_was_stopped(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    for form, folder, room, stopped in (
        ("webdataset", webdataset_shards.ClipShards, "_sample", StorageError),
        ("flo", SegmentFiles, "_write_pictures", StorageError),
    ):
        export_clips(place, form, whole / form, **({"clips_per_shard": 2} if form == "webdataset" else {}))
        real, calls = getattr(folder, room), []

        def full_disk(self: Any, *given: Any, real: Any = real, calls: list[int] = calls) -> Any:
            calls.append(1)
            if len(calls) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(self, *given)

        monkeypatch.setattr(folder, room, full_disk)
        options = {"clips_per_shard": 2} if form == "webdataset" else {}
        with pytest.raises(stopped, match=r"cannot write .*No space left.* are free; free space"):
            export_clips(place, form, out / form, **options)
        assert not json.loads((out / form / PLAN_NAME).read_text())["complete"]
        killed = out / form / "segments" / ".staged-1-000000"  # what a killed writer leaves of a folder
        killed.mkdir(parents=True)
        (killed / "half.flo").touch()
        done = export_clips(place, form, out / form, **options)
        assert not killed.exists() and 0 < done.found < done.parts
    files = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
    assert files == {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    assert all((whole / name).read_bytes() == (out / name).read_bytes() for name in files)
    assert export_clips(place, "flo", out / "flo").found == 4
    plan = json.loads((out / "flo" / PLAN_NAME).read_text())
    plan["contents"]["extract"] = "of the flow before"  # it was computed again since, under its key
    (out / "flo" / PLAN_NAME).write_text(json.dumps(plan))
    with pytest.raises(UserError, match=r'holds another export: contents .*"extract": "of the flow before"'):
        export_clips(place, "flo", out / "flo")
    (out / "flo" / PLAN_NAME).write_bytes((whole / "flo" / PLAN_NAME).read_bytes())
    with pytest.raises(UserError, match=r'holds another export: split "" there, "test" here'):
        export_clips(place, "flo", out / "flo", split="test")


@pytest.mark.parametrize(
    ("form", "options", "says"),
    [
        ("tar", {}, "no form is called 'tar'; choose webdataset, flo, png, npz"),
        ("npz", {"starts": "all"}, "npz files hold whole segments"),
        ("flo", {"split": "val"}, "no segment is of split 'val'; there are test, train"),
        ("webdataset", {"clips_per_shard": 0}, "0 clips per shard"),
        ("npz", {"key": "9"}, "9"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is(
    place: Workspace, tmp_path: Path, form: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(USER_ERRORS, match=says):
        export_clips(place, form, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_folders_of_others_are_left_alone(place: Workspace, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for out, says in ((tmp_path, "is not empty and holds no export"), (tmp_path / "mine.txt", "is a file")):
        with pytest.raises(UserError, match=says):
            export_clips(place, "npz", out)
    with pytest.raises(StorageError, match=r"cannot write .*mine\.txt/below: Not a directory"):
        export_clips(place, "npz", tmp_path / "mine.txt" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_names_that_are_one_on_the_disk_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple((video, 0, "train") for video in ("pan/a.mp4", "pan/A.mp4", "b", "c"))
    monkeypatch.setattr("tests.mscl.screened_workspace.ROWS", rows)
    monkeypatch.setattr("tests.mscl.screened_workspace.CLASSES", ("pan", "b", "c"))
    place, out = screened_workspace(tmp_path / "w"), tmp_path / "out"
    assert export_clips(place, "npz", out).parts == 4
    (out / "EXPORT.JSON").touch()  # as a disk that tells no capitals apart would have it
    with pytest.raises(UserError, match=r"segments/pan/A\.mp4/000000\.npz and segments/pan/a\.mp4/0.* are one name on"):
        export_clips(place, "npz", out)


def test_an_export_that_was_killed_before_its_plan_begins_again(place: Workspace, tmp_path: Path) -> None:
    for name in (".writing", f".staged-1-{PLAN_NAME}"):
        (tmp_path / name).touch()
    assert export_clips(place, "npz", tmp_path, split="test").found == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", PLAN_NAME, "index.csv", "segments"]


def test_of_several_official_splits_the_one_asked_for_is_written(tmp_path: Path) -> None:
    place = screened_workspace(tmp_path / "w")
    write_splits(
        place.latest("ingest").folder, {1: ["train", "train", "test", "test"], 2: ["test"] * 2 + ["train"] * 2}
    )  # type: ignore[union-attr]
    for number, rows in ((None, {0, 1}), (1, {0, 1}), (2, {2, 3})):
        out = tmp_path / str(number)
        export_clips(place, "npz", out, split="train", official_split=number)
        with (out / "index.csv").open() as index:
            assert {row["segment_id"].partition("#")[0] for row in csv.DictReader(index)} == {
                ROWS[row][0] for row in rows
            }
    assert "of official split 2" in (tmp_path / "2" / "README.md").read_text()
    # As many segments: the files of both would lie in one folder, train and test together.
    with pytest.raises(UserError, match="holds another export: official_split 2 there, null here"):
        export_clips(place, "npz", tmp_path / "2", split="train")
    assert len(list((tmp_path / "2").rglob("*.npz"))) == 2
