"""Class folders of which it is doubtful whether they are the classes: said or refused."""

import re
from pathlib import Path

import pytest

from mscl.errors import DataError
from tests.mscl.listed_videos import read, touch


def test_folders_of_unlisted_types_are_said(tmp_path: Path) -> None:
    root = touch(tmp_path / "v", "run/1.mp4", "walk/2.mp4", "jump/x.h264", "sit/z.qt", "sit/deep/er/w.mpe", "sit/z.QT")
    touch(root, "lists/train_notes.txt", "walk/thumb.jpg", ".cache/x.h264", "new/.DS_Store", "readme.md")
    (note,) = (note for note in read(root).notes if "no classes" in note)
    assert "2 folders hold no file of a known video type and are no classes: " in note
    assert "jump (1 .h264), sit (2 .qt, 1 .mpe)" in note
    splits = touch(
        tmp_path / "s", "train/run/1.mp4", "test/run/2.mp4", "train/jump/x.h264", "test/x.h264", "old/x.h264"
    )
    (note,) = read(splits).notes
    assert "1 folders hold no file of a known video type and are no classes: train/jump (1 .h264)" in note
    assert not read(touch(tmp_path / "plain", "run/1.mp4", "run/2.mp4", "run/a.txt", "docs/a.pdf")).notes
    with pytest.raises(DataError, match=r"holds no video files \(there are files of the types .h264, .qt"):
        read(touch(tmp_path / "none", "run/1.h264", "walk/2.qt"))


@pytest.mark.parametrize(
    ("videos", "says"),
    [
        ("part1/run/1 part1/walk/2 part2/run/3 part2/walk/4", "2 of the 2 class folders .* part1 in run, walk: "),
        ("videos/run/1 videos/walk/2", "1 of the 1 class folders .*alone, videos in run, walk"),
        ("run/1 run/2 more/jump/3 more/sit/4", "1 of the 2 class folders .*, more in jump, sit"),
        ("train/a/run/1 test/a/run/2", "2 of the 2 class folders .*, test/a in run"),
    ],
)
def test_class_folders_that_hold_folders_alone_are_said(tmp_path: Path, videos: str, says: str) -> None:
    found = read(touch(tmp_path, *(f"{video}.mp4" for video in videos.split())))
    (note,) = (note for note in found.notes if "further folders" in note)
    assert re.search(says, note)


@pytest.mark.parametrize(
    "videos",
    [
        "training_set/run/1 test_set/run/2 test_set/walk/3",
        "training_set/1 test_set/2",
        "train/1 test/2 val/3",
        "test/1 test/2",
        "val/1 test/2",
    ],
)
def test_folders_that_speak_of_splits_and_are_none_are_refused(tmp_path: Path, videos: str) -> None:
    with pytest.raises(DataError, match="whether these are splits or classes cannot be told; give splits as folders"):
        read(touch(tmp_path, *(f"{video}.mp4" for video in videos.split())))


def test_splits_below_classes_are_refused_unless_a_pattern_says_them(tmp_path: Path) -> None:
    videos = ("run/train/1.mp4", "run/test/2.mp4", "walk/train/3.mp4", "walk/test/4.mp4")
    root = touch(tmp_path / "v", *videos)
    with pytest.raises(DataError, match=r"run/test and run/train: if run is a class, set data.test_pattern=/test/"):
        read(root)
    found = read(root, test_pattern="/test/")
    assert {sample.video: sample.split for sample in found.samples} == {video: video.split("/")[1] for video in videos}
    with pytest.raises(DataError, match=r"data/test and data/train: .* if it holds the dataset, give it as data.root"):
        read(touch(tmp_path / "deep", "data/train/run/1.mp4", "data/test/run/2.mp4"))


def test_what_lies_in_class_folders_and_may_be_missed_is_said(tmp_path: Path) -> None:
    root = touch(tmp_path / "v", "run/1.mp4", "run/1.avi", "run/2.h264", "run/part/3.mp4.part", "walk/thumb.jpg")
    touch(root, "walk/4.mp4", "$RECYCLE.BIN/5.mp4", "#recycle/6.mp4", "@eaDir/4.mp4/x.jpg")
    found = read(root)
    assert found.classes == ("run", "walk") and len(found.samples) == 3
    assert any("2 files are left out for their types: 1 .h264, 1 .part" in n for n in found.notes)
    flat = read(touch(tmp_path / "flat", "1.mp4", "2.dv", "3.jpg", "more/4.hevc"), format="unlabelled")
    assert any("2 files are left out for their types: 1 .dv, 1 .hevc" in note for note in flat.notes)
    assert any("1 names stand for files of several types, run/1.avi and run/1.mp4" in n for n in found.notes)


def test_classes_that_are_numbers_have_their_order(tmp_path: Path) -> None:
    assert read(touch(tmp_path / "v", *(f"{n}/{n}.mp4" for n in (0, 2, 10)))).classes == ("0", "2", "10")


def test_accents_that_a_mac_wrote_make_no_other_class(tmp_path: Path) -> None:
    found = read(touch(tmp_path / "v", "caf\u00e9/1.mp4", "cafe\u0301/2.mp4", "tea/3.mp4"))
    assert found.classes == ("caf\u00e9", "tea") and len(found.samples) == 3
    assert any("differ in how accents are written alone are one class: 'cafe" in note for note in found.notes)


def test_blanks_make_no_other_class(tmp_path: Path) -> None:
    found = read(touch(tmp_path / "v", "run/1.mp4", "run /2.mp4", "shaking  hands/3.mp4", "shaking\u00a0hands/4.mp4"))
    assert found.classes == ("run", "shaking hands")
    assert any("differ in blanks alone are one class: 'run', 'run '" in note for note in found.notes)
    listed = tmp_path / "train.csv"
    listed.write_text("run/1.mp4,shaking  hands\nrun /2.mp4,shaking hands\nshaking  hands/3.mp4,clap\u00a0hands\n")
    found = read(tmp_path / "v", annotations=listed, classes=("clap  hands", "shaking hands"))
    assert found.classes == ("clap hands", "shaking hands") and len(found.samples) == 3
    assert any("1 labels differ from others in blanks alone" in note for note in found.notes)
