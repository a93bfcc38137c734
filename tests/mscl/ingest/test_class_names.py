"""Files of class names beside lists: which number is which name."""

import json
from pathlib import Path

import pytest

from mscl.errors import DataError
from mscl.ingest.annotations import Annotations
from tests.mscl.listed_videos import read, table, touch


def classes_of(tmp_path: Path, content: str, labels: str, *, name: str = "classes.txt") -> dict[str, str | None]:
    """Label -> class, of a video each."""
    found = with_names(tmp_path, content, labels, name=name)
    return {sample.video.removesuffix(".mp4"): sample.class_name for sample in found.samples}


def with_names(tmp_path: Path, content: str, labels: str, *, name: str = "classes.txt") -> Annotations:
    root = touch(tmp_path / "v", *(f"{label}.mp4" for label in labels.split()))
    (tmp_path / "train.txt").write_text("".join(f"{label}.mp4 {label}\n" for label in labels.split()))
    (tmp_path / name).write_text(content)
    return read(root, annotations=tmp_path / "train.txt")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("run\nwalk\njump\n", {"0": "run", "1": "walk", "2": "jump"}),
        ("1 Run\n2 Walk\n3 Jump\n", {"1": "Run", "2": "Walk"}),
        ("2 jump\n0 run\n1 walk\n", {"0": "run", "1": "walk", "2": "jump"}),
        ("0 run\n2 walk\n5 jump\n", {"0": "run", "2": "walk", "5": "jump"}),
        ("0,run\n1,walk\n", {"0": "run", "1": "walk"}), ("0\trun\n1\twalk\n", {"0": "run", "1": "walk"}),
        ('0,"run, fast"\n1,walk\n', {"0": "run, fast", "1": "walk"}),
        ("1. run\n2. walk\n", {"1": "run", "2": "walk"}), ("0) run\n1) walk\n", {"0": "run", "1": "walk"}),
        ('"0","run"\n"1","walk"\n', {"0": "run", "1": "walk"}),
        ("run,1\nwalk,0\n", {"0": "walk", "1": "run"}),
        ("id name\n1 run\n0 walk\n", {"0": "walk", "1": "run"}), ("class\nrun\nwalk\n", {"0": "run", "1": "walk"}),
        ("# mine\nrun\nwalk\n", {"0": "run", "1": "walk"}),
        ("1 finger\n2 fingers\n3 fingers\nfist\n", {"0": "1 finger", "1": "2 fingers", "2": "3 fingers", "3": "fist"}),
        ("level 0\nlevel 1\n", {"0": "level 0", "1": "level 1"}),
        ("shaking  hands\nclap\u00a0hands\n", {"0": "shaking hands", "1": "clap hands"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["classes.txt", "classInd.txt"])
def test_a_number_is_the_class_that_has_it(tmp_path: Path, content: str, expected: dict[str, str], name: str) -> None:
    assert classes_of(tmp_path, content, " ".join(expected), name=name) == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("1 Run\n2 Walk\n", "labels are the numbers that classes.txt gives its classes, 1 to 2: 1 is 'Run'"),
        ("run\nwalk\njump\n", "labels are the numbers that classes.txt gives its classes, 0 to 2: 0 is 'run'"),
        ("id name\n0 run\n1 walk\n", "the first line of classes.txt is taken as a header: 'id name'"),
        ("# mine\nrun\nwalk\n", "1 lines of classes.txt that begin with # are taken as comments"),
        ("1 finger\nfist\n", "1 of the 2 names in classes.txt begin with a number and the others do not"),
    ],
)
def test_what_was_guessed_of_the_names_is_said(tmp_path: Path, content: str, says: str) -> None:
    assert any(says in note for note in with_names(tmp_path, content, "1").notes)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("run\nwalk\nrun\n", "classes.txt: classes 1 and 3 in it have the same name, 'run'"),
        ("0 run\n0 walk\n", "classes.txt: classes 1 and 2 in it have the same number, 0"),
        ("1 finger\n2 fingers\n3 fingers\n", "have the same name, 'fingers'"),
        (
            "1 run\n2 walk\n",
            r"line 1: '0.mp4 0' has label 0, which is none of the 2 numbers, 1 to 2, that .*classes.txt",
        ),
        ("Klasse\n0 run\n1 walk\n", "'Klasse' has no number and all other names have one"),
        ("run 1\nwalk 0\n", "the numbers behind the names are not in order"),
        ("\n", "classes.txt holds no names of classes"),
    ],
)
def test_names_that_cannot_be_told_are_refused(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        with_names(tmp_path, content, "0")


@pytest.mark.parametrize("name", ["labels.txt", "class_names.txt", "classes.csv", "label_map.csv"])
def test_names_that_are_not_read_are_said(tmp_path: Path, name: str) -> None:
    notes = with_names(tmp_path, "run\nwalk\n", "0 1", name=name).notes
    assert f"classes are called by their numbers; if {name} names them, call it classes.txt" in notes


def test_names_beside_a_list_of_names_are_not_used_and_said(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("run\nwalk\n")
    (tmp_path / "train.txt").write_text("1.mp4 walk\n2.mp4 jump\n")
    found = read(touch(tmp_path / "v", "1.mp4", "2.mp4"), annotations=tmp_path / "train.txt")
    assert found.classes == ("jump", "walk") and any(
        "classes.txt is not used: labels are names" in n for n in found.notes
    )


@pytest.mark.parametrize(("content", "labels"), [("1 run\n2 walk\n3 jump\n", (1, 2)), ("run\nwalk\njump\n", (2, 3))])
def test_numbers_that_are_counted_from_another_one_than_the_names_are_refused(
    tmp_path: Path, content: str, labels: tuple[int, int]
) -> None:
    (tmp_path / "classes.txt").write_text(content + "dance\n" * (labels[0] == 2))
    folders = ("walk", "jump")
    lines = "".join(f"{folder}/1.mp4 {label}\n" for folder, label in zip(folders, labels, strict=True))
    (tmp_path / "train.txt").write_text(lines)
    root = touch(tmp_path / "v", "walk/1.mp4", "jump/1.mp4")
    with pytest.raises(DataError, match=r"line 1: 'walk/1.mp4 [12]' .* and lies in a folder 'walk', as 2 of 2 lines"):
        read(root, annotations=tmp_path / "train.txt")
    (tmp_path / "classes.txt").write_text("".join(f"{n} {name}\n" for n, name in zip(labels, folders, strict=True)))
    assert {found[0] for found in table(read(root, annotations=tmp_path / "train.txt")).values()} == {"walk", "jump"}


def test_two_dives_or_gestures_of_one_name_are_refused(tmp_path: Path) -> None:
    root = touch(tmp_path / "v", "1.mp4")
    (tmp_path / "Diving48_V2_train.json").write_text(json.dumps([{"vid_name": "1", "label": 0}]))
    (tmp_path / "Diving48_vocab.json").write_text(json.dumps([["Back", "PIKE"], ["Back", "PIKE"]]))
    with pytest.raises(DataError, match=r"vocab.json: classes 1 and 2 in it have the same name, 'Back\+PIKE'"):
        read(root, annotations=tmp_path, format="diving48")
    (tmp_path / "categories.txt").write_text("1 Swiping\n2 Swiping\n")
    (tmp_path / "trainlist.txt").write_text("1 1\n")
    with pytest.raises(DataError, match=r"categories.txt: classes 1 and 2 in it have the same name, 'Swiping'"):
        read(root, annotations=tmp_path, format="jester")
    (tmp_path / "categories.txt").write_text("2 Swiping\n1 Waving\n")
    found = read(root, annotations=tmp_path, format="jester")
    assert found.classes == ("Waving",)
    assert any("labels are numbers of the names in categories.txt: 1 is 'Waving'" in note for note in found.notes)
