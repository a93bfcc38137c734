"""The datasets' own annotation files, as their authors publish them."""

import json
from collections import Counter
from pathlib import Path

import pytest

from mscl.config import DataConfig
from mscl.errors import DataError
from mscl.ingest.annotations import official, tables
from mscl.ingest.annotations.index import VideoIndex
from mscl.ingest.annotations.recognise import find_lists, read_lists
from mscl.ingest.annotations.trees import tree_of
from tests.mscl.listed_videos import read, touch

TRUE_LISTS = {
    "ucf101_official/ucfTrainTestlist": {"format": "ucf101", "classes": 101, "each": 13320, "all": 13320},
    "ucf101_3class_subset": {"format": "ucf101", "classes": 3, "each": 394, "all": 394},
    "hmdb51_official": {"format": "hmdb51", "classes": 51, "each": 5100, "all": 6371},
}


@pytest.mark.parametrize("name", TRUE_LISTS)
def test_true_lists_of_ucf101_and_hmdb51(shared_dir: Path, name: str) -> None:
    data, true = shared_dir / "data", TRUE_LISTS[name]
    root = data / "videos" / str(true["format"])
    found = read(root, annotations=data / "annotations" / name)
    assert found.split_numbers == (1, 2, 3)
    assert len(found.samples) + len(found.missing) == true["all"]
    assert found.samples and {s.class_name for s in found.samples} == set(found.classes)
    lists = find_lists(DataConfig(annotations=str(data / "annotations" / name)), root)
    assert lists is not None
    listing = read_lists(lists, 1, VideoIndex(tree_of(root)))
    assert len(listing.classes) == true["classes"]
    for place in range(3):
        assert sum(row.splits[place] != "unused" for row in listing.rows) == true["each"]


def test_the_three_full_classes_of_ucf101(shared_dir: Path) -> None:
    data = shared_dir / "data"
    classes = ("BabyCrawling", "Punch", "PushUps")
    found = read(data / "videos" / "ucf101", annotations=data / "annotations" / "ucf101_official", classes=classes)
    assert found.classes == classes
    assert Counter(s.split for s in found.samples) == {"train": 91, "test": 39}
    labels = [line.split(",") for line in (data / "videos" / "labels.csv").read_text().splitlines()]
    true = {
        path.removeprefix("ucf101/"): split
        for path, group, name, split in labels
        if group == "ucf101" and name in classes
    }
    assert {s.video: s.split for s in found.samples} == true


@pytest.mark.parametrize(
    ("name", "classes", "listed", "videos"),
    [
        ("kinetics", 400, 19906, ("abseiling/0wR5jVB-WPk_000417_000427.mp4", "3caPS4FHFF8.mp4")),
        ("ssv2", 174, None, ("44745.webm", "210678.webm")),
        ("jester", 27, 14787, ("9223.mp4", "107090.mp4")),
    ],
)
def test_true_lists_of_kinetics_ssv2_and_jester(
    shared_dir: Path, tmp_path: Path, name: str, classes: int, listed: int | None, videos: tuple[str, ...]
) -> None:
    found = read(touch(tmp_path / "v", *videos), annotations=shared_dir / "data" / "annotations" / name)
    assert found.format == name and {s.video for s in found.samples} == set(videos)
    assert listed is None or len(found.samples) + len(found.missing) == listed
    assert any(f" of {classes} classes have no video here" in note for note in found.notes)


UCF101_ROWS = {1: {"train": 9537, "test": 3783}, 2: {"train": 9586, "test": 3734}, 3: {"train": 9624, "test": 3696}}


@pytest.mark.parametrize("split", [1, 2, 3])
def test_every_row_of_the_true_lists_of_ucf101_and_hmdb51(shared_dir: Path, split: int) -> None:
    """Totals as their authors give them: 13,320 videos in 25 groups, seven of them for test; 70 and 30 a class."""
    folder = shared_dir / "data" / "annotations"
    ucf = official.read_ucf101(folder / "ucf101_official" / "ucfTrainTestlist", split)
    assert Counter(row.split for row in ucf.rows) == UCF101_ROWS[split]
    assert len({row.paths for row in ucf.rows}) == 13320 and len(ucf.classes) == 101
    parts: dict[str, set[str]] = {"train": set(), "test": set()}
    for row in ucf.rows:
        parts[row.split].add(row.paths[0].rpartition("_c")[0])
    assert not parts["train"] & parts["test"]  # no group is on both sides
    hmdb = official.read_hmdb51(folder / "hmdb51_official" / "testTrainMulti_7030_splits", split)
    per_class = Counter((row.class_name, row.split) for row in hmdb.rows)
    assert len(hmdb.classes) == 51
    assert {per_class[name, "train"] for name in hmdb.classes} == {70}
    assert {per_class[name, "test"] for name in hmdb.classes} == {30}


def test_every_row_of_the_true_lists_of_kinetics_ssv2_and_jester(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "annotations"
    kinetics = tables.read_kinetics([folder / "kinetics" / "kinetics-400_val.csv"])
    assert len(kinetics.rows) == 19906 and len(kinetics.classes) == 400
    assert {row.split for row in kinetics.rows} == {"val"}
    assert all(row.paths[0].startswith(f"{row.class_name}/") and len(row.paths) == 2 for row in kinetics.rows)
    train = [folder / "ssv2" / "train_sample.json"]
    ssv2 = tables.read_ssv2(folder / "ssv2" / "labels_174.json", train, None)
    assert len(ssv2.rows) == 430 and len(ssv2.classes) == 174
    numbers = json.loads((folder / "ssv2" / "labels_174.json").read_text())
    assert [numbers[name] for name in ssv2.classes] == list(range(174))
    jester = tables.read_jester([folder / "jester" / "vallist.txt"], folder / "jester" / "categories.txt")
    assert len(jester.rows) == 14787 and len({row.class_name for row in jester.rows}) == len(jester.classes) == 27


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("coclr_csv/ucf101/train_split01.csv", "outside data.root"),
        ("ipn_hand/vallistall.txt", "none of the 1480 videos"),
        ("kth/sequences.txt", "none of the 614 videos that the plain lists"),
        ("mmaction2/rawframe_test_list.txt", "none of the 2 videos that the plain lists"),
        ("mmaction2/video_test_list_multi_label.txt", "line 1: 'test.mp4 0 3' has several numbers after the path"),
        ("wlasl/WLASL_100.json", "is not known by its name"),
        ("ucf101_official/ucf101_01.activitynet_style.json", "is not known by its name"),
    ],
)
def test_true_lists_of_other_forms_are_refused_in_one_line(
    shared_dir: Path, tmp_path: Path, name: str, says: str
) -> None:
    with pytest.raises(DataError, match=says) as refused:
        read(touch(tmp_path, "test.mp4"), annotations=shared_dir / "data" / "annotations" / name)
    assert len(str(refused.value)) < 600


def test_of_several_label_maps_none_is_guessed(shared_dir: Path, tmp_path: Path) -> None:
    root = touch(tmp_path / "v", "test.mp4")
    folder = shared_dir / "data" / "annotations" / "mmaction2"
    assert read(root, annotations=folder / "video_test_list.txt").classes == ("0",)
    for name in ("video_test_list.txt", "label_map_ucf101.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert read(root, annotations=tmp_path / "video_test_list.txt").classes == ("ApplyEyeMakeup",)


def test_kinetics_as_people_have_it_on_disk(shared_dir: Path, tmp_path: Path) -> None:
    """The names that the usual download scripts give, all of the same four lines of the true list."""
    lists = shared_dir / "data" / "annotations" / "kinetics"
    lines = (lists / "kinetics-400_val.csv").read_text().splitlines()[1:5]
    rows = [line.split(",") for line in lines]
    for number, pattern in enumerate(
        (
            "{label}/{id}_{start:06d}_{end:06d}.mp4", "{id}_{start:06d}_{end:06d}.mkv", "val/{id}.mp4",
            "{under}/{id}_{start:06d}_{end:06d}.webm", "val_256/{under}/{id}.mp4",
        )
    ):  # fmt: skip
        names = [
            pattern.format(label=r[0], under=r[0].replace(" ", "_"), id=r[1], start=int(r[2]), end=int(r[3]))
            for r in rows
        ]
        found = read(touch(tmp_path / str(number), *names), annotations=lists / "kinetics-400_val.csv")
        assert {sample.video for sample in found.samples} == set(names), pattern
        assert {sample.class_name for sample in found.samples} == {r[0] for r in rows}
