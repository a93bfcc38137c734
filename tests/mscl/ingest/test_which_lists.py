"""Which lists are read, what split each is of, and what is said about it."""

from pathlib import Path

import pytest

from mscl.errors import DataError
from mscl.ingest.annotations import Annotations
from tests.mscl.listed_videos import read, touch

V4 = ("a.mp4", "b.mp4", "c.mp4", "d.mp4")


def splits(found: Annotations) -> dict[str, str]:
    return {sample.video: sample.split for sample in found.samples}


def labels(found: Annotations) -> dict[str, str | None]:
    return {sample.video: sample.class_name for sample in found.samples}


def write(folder: Path, **lists: str) -> Path:
    """Each list as the file of its name, `.csv` where the name has no file type."""
    for name, text in lists.items():
        path = folder / (name if "." in name else f"{name}.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def read_given(tmp_path: Path, **lists: str) -> Annotations:
    """All the lists given one by one."""
    folder = write(tmp_path / "l", **lists)
    given = [folder / (name if "." in name else f"{name}.csv") for name in lists]
    return read(touch(tmp_path / "v", *V4), annotations=",".join(map(str, given)))


# Lists beside the root


def run_walk(root: Path) -> Path:
    return touch(root, *(f"run/{n}.mp4" for n in range(4)), *(f"walk/{n}.mp4" for n in range(4, 8)))


def test_lists_beside_the_root_that_contradict_class_folders_are_refused(tmp_path: Path) -> None:
    root = run_walk(tmp_path / "v")
    old = write(tmp_path / "old", train="run/0.mp4,1\nrun/1.mp4,0\nwalk/4.mp4,0\nwalk/5.mp4,1\nwalk/6.mp4,0\n")
    with pytest.raises(DataError, match=r"old/train.csv, found beside .* 5 of its 8 videos .*data.format=folders"):
        read(root)
    assert len(read(root, format="folders").samples) == 8
    assert labels(read(root, annotations=old))["run/1.mp4"] == "0"


def test_lists_beside_the_root_that_agree_with_class_folders_are_used_and_said(tmp_path: Path) -> None:
    root = run_walk(tmp_path / "v")
    write(tmp_path, train="run/0.mp4,0\nrun/1.mp4,0\nwalk/4.mp4,1\nwalk/5.mp4,1\n", test="run/2.mp4,0\nwalk/6.mp4,1\n")
    found = read(root)
    assert found.notes[0] == f"plain lists of {tmp_path}, beside data.root: test.csv (2 test), train.csv (4 train)"
    assert len(found.samples) == 6
    # In one folder, which is no class, or where there are no folders, only the lists say classes.
    flat = touch(tmp_path / "flat" / "v", *(f"videos/{video}" for video in V4))
    write(tmp_path / "flat", train="a.mp4,x\nb.mp4,y\nc.mp4,x\nd.mp4,x\n")
    assert read(flat).classes == ("x", "y")


def test_classes_are_not_asked_of_lists_that_are_not_used(tmp_path: Path) -> None:
    write(tmp_path / "old", train="run/0.mp4,1\nrun/1.mp4,0\n")
    root = touch(tmp_path / "v2", "x/a.mp4", "x/b.mp4", "y/c.mp4", "y/d.mp4", "z/e.mp4")
    found = read(root, classes=("x", "y"))
    assert found.classes == ("x", "y") and len(found.samples) == 4
    assert any("not used" in note for note in found.notes)


def test_a_list_beside_the_root_that_cannot_be_read_says_that_it_was_not_named(tmp_path: Path) -> None:
    write(tmp_path / "old", train="run/0.mp4,1\nrun/1.mp4,0,3\nrun/2.mp4,1\n")
    with pytest.raises(DataError, match=r"line 2: .* 3 columns.*found beside data.root.*data.format=folders"):
        read(run_walk(tmp_path / "v"))


# The split of a list


@pytest.mark.parametrize("name", ["eval", "holdout", "heldout_clips"])
def test_a_list_of_no_split_beside_others_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"l/{name}.csv, line 1: 'c.mp4,0' is of no split.*test.csv"):
        read_given(tmp_path, train="a.mp4,0\nb.mp4,1\n", val="d.mp4,1\n", **{name: "c.mp4,0\n"})


def test_a_line_of_no_split_beside_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"all.csv, line 3: 'b.mp4,1,' is of no split"):
        read_given(tmp_path, all="path,label,split\na.mp4,0,train\nb.mp4,1,\nc.mp4,0,test\n")
    found = read_given(tmp_path, train="path,label,split\na.mp4,0,test\nb.mp4,1,\n")
    assert splits(found) == {"a.mp4": "test", "b.mp4": "train"}


def test_a_split_column_says_what_a_name_does_not(tmp_path: Path) -> None:
    found = read_given(tmp_path, train="a.mp4,0\nb.mp4,1\n", eval="path,label,split\nc.mp4,0,test\nd.mp4,1,val\n")
    assert splits(found) == {"a.mp4": "train", "b.mp4": "train", "c.mp4": "test", "d.mp4": "val"}
    assert "train.csv (2 train), eval.csv (1 test, 1 val)" in found.notes[0]


def test_lists_in_folders_of_splits(tmp_path: Path) -> None:
    found = read_given(tmp_path, **{"train/list.csv": "a.mp4,0\nb.mp4,1\n", "test/list.csv": "c.mp4,0\nd.mp4,1\n"})
    assert splits(found) == {"a.mp4": "train", "b.mp4": "train", "c.mp4": "test", "d.mp4": "test"}
    assert f"{tmp_path / 'l' / 'test' / 'list.csv'} (2 test)" in found.notes[0]


@pytest.mark.parametrize("name", ["test_cam_train", "train_from_test_cam", "train_val"])
def test_a_name_that_speaks_of_two_splits_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"the name '{name}.csv' speaks of train and of "):
        read_given(tmp_path, **{name: "a.mp4,0\nb.mp4,1\n"})
    assert splits(read_given(tmp_path, **{name: "path,label,split\na.mp4,0,val\n"})) == {"a.mp4": "val"}


def test_a_list_alone_is_of_train_and_this_is_said(tmp_path: Path) -> None:
    assert read_given(tmp_path, mine="a.mp4,0\nb.mp4,1\n").notes[0].endswith("l: mine.csv (2 train)")
    assert splits(read_given(tmp_path, one="a.mp4,0\n", two="b.mp4,1\n")) == {"a.mp4": "train", "b.mp4": "train"}


def test_what_is_read_of_a_folder_and_what_is_not(tmp_path: Path) -> None:
    lists = {"train": "a.mp4,0\n", "train_old": "b.mp4,1\n", "eval": "c.mp4,0\n", "val": "d.mp4,1\n"}
    folder = write(tmp_path / "l", **lists, **{"classes.txt": "run\nwalk\n"})
    found = read(touch(tmp_path / "v", *V4), annotations=folder)
    assert found.notes[:2] == (
        f"plain lists of {folder}: train.csv (1 train), train_old.csv (1 train), val.csv (1 val)",
        f"also in {folder} and not read: eval.csv; lists are known by names such as train.csv",
    )
    write(tmp_path / "v", train=lists["train"], my_test=lists["eval"], **{"notes.txt": "mine"})
    assert f"also in {tmp_path / 'v'} and not read: my_test.csv; lists" in read(tmp_path / "v").notes[1]


def test_lists_in_several_folders_of_the_one_that_is_named_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "l", **{"train/train.csv": "a.mp4,0\n", "test/test.csv": "c.mp4,0\n"})
    with pytest.raises(DataError, match="has lists in 2 folders, test, train: give the one"):
        read(touch(tmp_path / "v", *V4), annotations=tmp_path / "l")


def test_kinetics_lists_of_no_split_are_refused_and_may_be_given_one_by_one(tmp_path: Path) -> None:
    head = "label,youtube_id,time_start,time_end\n"
    lists = {"k_train": f"{head}run,a,1,11\n", "k_eval": f"{head}run,c,1,11\n"}
    with pytest.raises(DataError, match=r"k_eval.csv: neither its name nor a column 'split' says"):
        read_given(tmp_path, **lists)
    found = read_given(tmp_path, k_train=lists["k_train"], k_test=lists["k_eval"])
    assert found.format == "kinetics" and splits(found) == {"a.mp4": "train", "c.mp4": "test"}
    assert found.notes[0] == f"kinetics lists of {tmp_path / 'l'}: k_train.csv (train), k_test.csv (test)"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "video,label,phase\na.mp4,run,train\nb.mp4,walk,train\nc.mp4,run,test\n"),
        ("x.csv", "video,label,is_train\na.mp4,run,1\nb.mp4,walk,1\nc.mp4,run,0\n"),
        ("x.csv", "video,label,istest\na.mp4,run,0\nb.mp4,walk,0\nc.mp4,run,1\n"),
    ],
)
def test_a_split_column_under_another_name_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(DataError, match=r"line 2: 'a.mp4,run,.*' has a column '.*', which seems to say the split"):
        read_given(tmp_path, **{name: text})


def test_of_two_split_columns_the_one_with_splits_is_taken(tmp_path: Path) -> None:
    found = read_given(tmp_path, x="path,label,fold,split\na.mp4,run,1,train\nb.mp4,walk,2,test\n")
    assert splits(found) == {"a.mp4": "train", "b.mp4": "test"}
    assert "columns of x.csv that are not used: fold" in found.notes
    with pytest.raises(DataError, match="line 3: .* has the split 'test' as 'set' and 'train' as 'split'"):
        read_given(tmp_path, x="path,label,set,split\na.mp4,run,train,train\nb.mp4,walk,test,train\n")


@pytest.mark.parametrize("header", ["", "video label split\n"])
@pytest.mark.parametrize("line", ["{0} {1} {2}\n", "{0} {2} {1}\n"])
def test_a_split_between_blanks_is_no_part_of_a_label(tmp_path: Path, header: str, line: str) -> None:
    rows = (("a.mp4", "run", "train"), ("b.mp4", "walk", "train"), ("c.mp4", "run", "test"))
    with pytest.raises(DataError, match="has a label and a split after the path.*path,label,split"):
        read_given(tmp_path, **{"x.txt": header + "".join(line.format(*row) for row in rows)})
    found = read_given(tmp_path, **{"y.txt": "a.mp4 catching train\nb.mp4 test driving\n"})
    assert found.classes == ("catching train", "test driving")


def test_columns_that_are_not_used_are_said(tmp_path: Path) -> None:
    found = read_given(tmp_path, x="video,label,valid,frames\na.mp4,run,1,30\nb.mp4,walk,1,20\n")
    assert "columns of x.csv that are not used: valid, frames" in found.notes


def test_a_column_that_is_empty_is_none(tmp_path: Path) -> None:
    assert labels(read_given(tmp_path, x="a.mp4,run,\nb.mp4,walk,\n")) == {"a.mp4": "run", "b.mp4": "walk"}


@pytest.mark.parametrize("text", ["", "\n", "video,label\n", "path,label,split\n"])
def test_a_list_that_names_no_video_beside_a_full_one_is_said(tmp_path: Path, text: str) -> None:
    found = read_given(tmp_path, train=text, test="path,label\na.mp4,0\nb.mp4,1\n")
    assert splits(found) == {"a.mp4": "test", "b.mp4": "test"}
    assert "train.csv (no video), test.csv (2 test)" in found.notes[0]


# What is whose


def test_a_file_of_categories_makes_no_jester(tmp_path: Path) -> None:
    folder = write(tmp_path / "l", train="a.mp4,run\nb.mp4,walk\n", **{"categories.txt": "run\nwalk\n"})
    found = read(touch(tmp_path / "v", *V4), annotations=folder)
    assert found.format == "list" and labels(found) == {"a.mp4": "run", "b.mp4": "walk"}
    with pytest.raises(DataError, match=r"no video to use \(jester lists of .*j: jester-labels.csv, jester-train.csv"):
        write(tmp_path / "j", **{"jester-labels": "run\n", "jester-train": "1\n"})
        read(touch(tmp_path / "v"), annotations=tmp_path / "j")


def test_own_lists_of_a_numbered_split_are_not_hmdb51_s(tmp_path: Path) -> None:
    folder = write(tmp_path / "l", **{"my_train_split1.txt": "a.mp4 0\nb.mp4 1\n", "my_test_split1.txt": "c.mp4 1\n"})
    found = read(touch(tmp_path / "v", *V4), annotations=folder)
    assert found.format == "list" and splits(found) == {"a.mp4": "train", "b.mp4": "train", "c.mp4": "test"}


# Settings without effect


def test_a_test_pattern_beside_given_splits_is_refused(tmp_path: Path) -> None:
    root = touch(tmp_path / "v", *V4)
    write(tmp_path / "l", train="a.mp4,0\n", test="c.mp4,0\n")
    with pytest.raises(
        DataError, match=r"data.test_pattern 'zzz' is for class folders, and the plain lists of .*l say"
    ):
        read(root, annotations=tmp_path / "l", test_pattern="zzz")
    with pytest.raises(DataError, match=r"data.test_pattern 'zzz' is for class folders alone, and test, train in"):
        read(touch(tmp_path / "w", "train/a/1.mp4", "test/a/2.mp4"), test_pattern="zzz")
    found = read(touch(tmp_path / "u", *V4), test_pattern="zzz", format="unlabelled")
    assert found.notes == ("data.test_pattern 'zzz' is not used: videos without classes are not tested",)


def test_a_fraction_and_a_number_that_decide_nothing_are_said(tmp_path: Path) -> None:
    write(tmp_path / "l", train="a.mp4,0\n", test="c.mp4,0\n")
    found = read(touch(tmp_path / "v", "a.mp4", "c.mp4"), annotations=tmp_path / "l", test_fraction=0.5, split=2)
    assert found.notes[1:] == (
        "data.test_fraction 0.5 is not used: the plain splits are given",
        "data.split 2 is not used: there are no official splits here",
    )
    folders = touch(tmp_path / "f", "x/1.mp4", "x/2.mp4")
    assert read(folders, format="folders", test_fraction=0.5).notes == ()


def test_a_list_without_labels_beside_others_is_refused_as_a_whole(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test.csv, line 1: 'c.mp4' has no label, as all lines of this list.*leave it"):
        read_given(tmp_path, train="a.mp4,run\nb.mp4,walk\n", test="c.mp4\nd.mp4\n")


def test_a_plain_list_beside_those_of_kinetics_is_said(tmp_path: Path) -> None:
    lists = write(tmp_path / "l", train="label,youtube_id,time_start,time_end\nrun,a,0,9\n", test="c.mp4,run\n")
    notes = read(touch(tmp_path / "v", *V4), annotations=lists).notes
    assert f"also in {lists} and not read: test.csv; they have other columns" in notes


def test_videos_in_no_list_are_said(tmp_path: Path) -> None:
    says = "2 of the 4 videos in data.root are in no list and left out"
    assert says in read_given(tmp_path, train="a.mp4,run\nb.mp4,walk\n").notes
    assert not any("no list" in note for note in read(tmp_path / "v", format="unlabelled").notes)


def test_tables_of_other_names_are_not_read_and_said(tmp_path: Path) -> None:
    root = write(touch(tmp_path / "v", *V4), labels="video,label\na.mp4,run\n", README="x,y\n")
    write(tmp_path, metadata="video,label\na.mp4,run\n")
    says = f"not read: {root}/labels.csv, {tmp_path}/metadata.csv; a list of the videos is given as data.annotations"
    assert says in read(root).notes
    folders = write(touch(tmp_path / "deep" / "v", "run/1.mp4", "walk/2.mp4"), **{"../mine": "x,y\n"})
    assert not any("not read" in note for note in read(folders).notes)


def test_a_table_in_the_root_that_is_no_list_says_what_to_do(tmp_path: Path) -> None:
    root = write(touch(tmp_path / "v", "run/1.mp4", "walk/2.mp4"), train="epoch,loss\n1,0.5\n2,0.4\n")
    with pytest.raises(DataError, match=r"train.csv, line 2: '1,0.5' has label 0.5.*found in data.root.*=folders"):
        read(root)


def test_folders_of_splits_in_the_paths_of_a_list_that_says_none_are_refused(tmp_path: Path) -> None:
    text = "train/a.mp4,run\ntrain/b.mp4,walk\ntest/c.mp4,run\n"
    root = touch(tmp_path / "v", "train/a.mp4", "train/b.mp4", "test/c.mp4")
    lists = write(tmp_path / "l", all=text, train=text)
    with pytest.raises(DataError, match=r"all.csv, line 3: .* folders train and test, and nothing else says a split"):
        read(root, annotations=lists / "all.csv")
    assert set(splits(read(root, annotations=lists / "train.csv")).values()) == {"train"}
