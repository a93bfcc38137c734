"""Plain lists as people have them: read as meant, or refused with the line; what was guessed is said."""

import shutil
import unicodedata
from pathlib import Path

import pytest

from mscl.errors import DataError
from tests.mscl.listed_videos import Table, read, read_text, table, touch

VIDEOS = ("a.mp4", "b.mp4", "c d.mp4")
RUN_WALK: Table = {"a.mp4": ("run", "train"), "b.mp4": ("walk", "train")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"a.mp4","run"\n"b.mp4","walk"\n', RUN_WALK), ("a.mp4,run\r\nb.mp4,walk\r\n", RUN_WALK),
        ("a.mp4,run\rb.mp4,walk\r", RUN_WALK), ("\ufeffa.mp4, run\nb.mp4, walk\n", RUN_WALK),
        ('a.mp4,"run"\nb.mp4,"walk"\n', RUN_WALK), ("a.mp4;run\nb.mp4;walk\n", RUN_WALK),
        ("a.mp4\trun\nb.mp4\twalk\n", RUN_WALK), ("a.mp4  run\nb.mp4  walk\n", RUN_WALK),
        (",video,label\n0,a.mp4,run\n1,b.mp4,walk\n", RUN_WALK), ("0,a.mp4,run\n1,b.mp4,walk\n", RUN_WALK),
        ("video,label\na.mp4,run\nb.mp4,walk\n", RUN_WALK), ("label,path\nrun,a.mp4\nwalk,b.mp4\n", RUN_WALK),
        ("path label\na.mp4 run\nb.mp4 walk\n", RUN_WALK), ("clipfile,what\na.mp4,run\nb.mp4,walk\n", RUN_WALK),
        ("path,class,frames\na.mp4,run,10\nb.mp4,walk,9\n", RUN_WALK),
        ("youtube_id,label\na,run\nb,walk\n", RUN_WALK), ("Video Name,Class Label\na,run\nb,walk\n", RUN_WALK),
        ("video,label\na.mp4,run\n\ufeffvideo,label\nb.mp4,walk\n", RUN_WALK),
        ("a.mp4 1 finger\nb.mp4 2 fingers\nc d.mp4 1 finger\n", {
            "a.mp4": ("1 finger", "train"), "b.mp4": ("2 fingers", "train"), "c d.mp4": ("1 finger", "train"),
        }),
        ("a.mp4 level 1\nb.mp4 level 2\n", {"a.mp4": ("level 1", "train"), "b.mp4": ("level 2", "train")}),
        ('a.mp4 5"\nb.mp4 5\nc d.mp4 "run"\n', {
            "a.mp4": ('5"', "train"), "b.mp4": ("5", "train"), "c d.mp4": ("run", "train"),
        }),
        ("sep=;\nvideo;label\na.mp4;run\nb.mp4;walk\n", RUN_WALK),
        ("a.mp4 001\nb.mp4 002\n", {"a.mp4": ("001", "train"), "b.mp4": ("002", "train")}),
        ("path,label\na.mp4,train\nb.mp4,train\n", {"a.mp4": ("train", "train"), "b.mp4": ("train", "train")}),
        ("path,label,split\na.mp4,run,test_set\nb.mp4,walk,validate\n", {
            "a.mp4": ("run", "test"), "b.mp4": ("walk", "val"),
        }),
        ("path,label,split\na.mp4,run,train\nb.mp4,walk,unused\n", {"a.mp4": ("run", "train")}),
        ("path,label,split\na.mp4,-1,unlabelled\nb.mp4,-1,unlabelled\n", {
            "a.mp4": (None, "unlabelled"), "b.mp4": (None, "unlabelled"),
        }),
        ('a.mp4,"run, fast"\nb.mp4,walk\n', {"a.mp4": ("run, fast", "train"), "b.mp4": ("walk", "train")}),
        ('a.mp4,"the ""run"""\nb.mp4,walk\n', {"a.mp4": ('the "run"', "train"), "b.mp4": ("walk", "train")}),
        ("a.mp4 shaking hands\nb.mp4 clapping hands\nc d.mp4 running\n", {
            "a.mp4": ("shaking hands", "train"), "b.mp4": ("clapping hands", "train"), "c d.mp4": ("running", "train"),
        }),
        ("a shaking hands\nb clapping hands\n", {
            "a.mp4": ("shaking hands", "train"), "b.mp4": ("clapping hands", "train"),
        }),
        ('"c d.mp4" run\na.mp4 walk\n', {"c d.mp4": ("run", "train"), "a.mp4": ("walk", "train")}),
        ("path,split,class\na.mp4,train,run\nb.mp4,validation,walk\nc d.mp4,test,run\n", {
            "a.mp4": ("run", "train"), "b.mp4": ("walk", "val"), "c d.mp4": ("run", "test"),
        }),
        ("a.mp4,2.0\nb.mp4,10.0\n", {"a.mp4": ("2", "train"), "b.mp4": ("10", "train")}),
        ("a.mp4 \u00b2\nb.mp4 \u0663\n", {"a.mp4": ("\u00b2", "train"), "b.mp4": ("\u0663", "train")}),
        ("a.mp4 " + "1" * 5000 + "\nb.mp4 0\n", {"a.mp4": ("1" * 5000, "train"), "b.mp4": ("0", "train")}),
        ("a.mp4,x" + "y" * 200_000 + "\nb.mp4,walk\n", {
            "a.mp4": ("x" + "y" * 200_000, "train"), "b.mp4": ("walk", "train"),
        }),
    ],
)  # fmt: skip
def test_a_list_is_read_as_it_is_meant(tmp_path: Path, text: str, expected: Table) -> None:
    found = read_text(tmp_path, text, *VIDEOS)
    assert table(found) == expected
    assert not found.missing


def test_numbers_are_in_order_and_a_header_is_said(tmp_path: Path) -> None:
    found = read_text(tmp_path, "video,label\na.mp4,0\nb.mp4,2\nc d.mp4,10\n", *VIDEOS)
    assert found.classes == ("0", "2", "10") and len(found.samples) == 3
    assert "the first line of train.csv is taken as a header: 'video,label'" in found.notes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.mp4,run\nb.mp4\n", "line 2: 'b.mp4' has 1 columns between ',', and other lines have 2"),
        ("a.mp4,run\nb.mp4,walk,fast\nc d.mp4,run\n", "line 2: 'b.mp4,walk,fast' has 3 columns"),
        ("a.mp4,run,5,x\nb.mp4,walk,7,y\n", "line 1: 'a.mp4,run,5,x' has 4 columns, and there is no header"),
        ('a.mp4,"run\nb.mp4,walk\n', "line 1: .*quote missing"),
        ("a.mp4 run\nb.mp4\n", "line 2: 'b.mp4' has no label and other lines have one"),
        ("a.mp4 0 3\n", "line 1: 'a.mp4 0 3' has several numbers after the path"),
        ("a.mp4 0,3\nb.mp4 0\n", "line 1: 'a.mp4 0,3' has several numbers for a label"),
        ('path,label\na.mp4,0\nb.mp4,"[0, 3]"\n', "line 3: .* has several numbers for a label"),
        ("a.mp4\t0|1\nb.mp4\t2|1\n", "line 1: .* has several numbers for a label"),
        ("a.mp4 0\nb.mp4 -1\n", "line 2: 'b.mp4 -1' has label -1, and labels here are numbers"),
        ("a.mp4,0.0\nb.mp4,nan\n", "line 2: 'b.mp4,nan' has label nan, and labels here are numbers"),
        ("a.mp4,0.5\nb.mp4,1.25\n", "line 1: 'a.mp4,0.5' has label 0.5, and labels here are numbers"),
        ("path,split,class\na.mp4,blue,run\n", "line 2: 'a.mp4,blue,run' has the split 'blue'"),
        ("path,split,class\na.mp4,not_test,run\n", "has the split 'not_test'"),
        ("path,split,class\na.mp4,trainval,run\n", "has the split 'trainval'"),
        ("a.mp4,train\nb.mp4,test\n", "line 1: 'a.mp4,train' has the name of a split in the place of the class"),
        ("a.mp4,b.mp4\nb.mp4,a.mp4\n", "line 1: 'a.mp4,b.mp4' names two videos, and so do other lines"),
        ("path,split\na.mp4,train\nb.mp4,test\n", "line 2: 'a.mp4,train' has a split and no class"),
        ("a.mp4 120 run\nb.mp4 95 walk\nc d.mp4 88 run\n", "'a.mp4 120 run' has numbers between the path and the"),
        ("a.mp4 1.5 20.5 run\nb.mp4 10.0 15.5 walk\n", "'a.mp4 1.5 20.5 run' has numbers between the path and the"),
        ("a.mp4 run 1.5 20.5\nb.mp4 walk 10.0 15.5\n", "'a.mp4 run 1.5 20.5' has numbers after the label"),
        ("a.mp4 run 00:01:30 00:02:00\nb.mp4 walk 0:10 0:15\n", "has numbers after the label"),
        ("a.mp4 0 1.5 20.5\nb.mp4 1 10.0 15.5\n", "'a.mp4 0 1.5 20.5' has several numbers after the path"),
        ('"1" "a.mp4" "run"\n"2" "b.mp4" "walk"\n', "has more than a path and a label in quotes"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "train.csv is a pointer of Git LFS"),
        (b"a.mp4,caf\xe9\n", "line 1: not UTF-8 text"),
        ("../a.mp4,run\nb.mp4,walk\n", "line 1 names '../a.mp4', which is outside data.root"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(DataError, match=says) as refused:
        read_text(tmp_path, text, *VIDEOS)
    assert "train.csv" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("video,frames\na.mp4,120\nb.mp4,95\n", "the column 'frames' of train.csv is taken as the class"),
        ("video,label\na.mp4,run\nvideo,label\nb.mp4,walk\n", "1 lines of train.csv that repeat its header"),
        ("video_id,verb,noun_class\na,cut,3\nb,wash,4\n", "no column of train.csv is known to be the class"),
        (
            "a.mp4,shaking_hands\nb.mp4,shaking hands\n",
            "classes that differ in blanks, signs or capitals alone are kept",
        ),
        ("a.mp4,NULL\nb.mp4,nan\nc d.mp4,run\n", "'NULL', 'nan' is taken as the name of a class"),
        ("".join(f"{n}.mp4 run {90 + 7 * n}\n" for n in range(8)), "8 classes for 8 videos, such as 'run 104'"),
        ("a.mp4,01\nb.mp4,1\n", "labels are numbers: 01 and 1 are the same class"),
        ("path,label,split\na.mp4,run,unused\nb.mp4,walk,train\n", "1 lines of train.csv are left out"),
    ],
)
def test_what_was_guessed_is_said(tmp_path: Path, text: str, says: str) -> None:
    assert any(says in note for note in read_text(tmp_path, text, *VIDEOS, *(f"{n}.mp4" for n in range(8))).notes)


@pytest.mark.parametrize(
    "names",
    [
        ("kinetics400_train_list_videos.txt", "kinetics400_val_list_videos.txt"),
        ("ucf101_train_split_1_videos.txt", "ucf101_val_split_1_videos.txt"), ("train.csv", "val.csv"),
        ("k400_train_paths.csv", "k400_val_paths.csv"), ("Train.CSV", "Val.CSV"), ("train.tsv", "val.tsv"),
    ],
)  # fmt: skip
def test_one_list_a_split_in_a_folder_or_given_one_by_one(tmp_path: Path, names: tuple[str, str]) -> None:
    root = touch(tmp_path / "v", "x/a.mp4", "x/b.mp4", "x/c.mp4")
    lists = tmp_path / "lists"
    lists.mkdir()
    separator = "\t" if names[0].endswith("tsv") else " "
    for name, video in zip(names, ("x/a.mp4", "x/b.mp4"), strict=True):
        (lists / name).write_text(f"{video}{separator}0\n")
    expected: Table = {"x/a.mp4": ("0", "train"), "x/b.mp4": ("0", "val")}
    assert table(read(root, annotations=lists)) == expected
    assert table(read(root, annotations=",".join(str(lists / name) for name in names))) == expected


def test_official_splits_and_raw_frames_beside_them(tmp_path: Path) -> None:
    root = touch(tmp_path / "v", "x/a.mp4", "x/b.mp4")
    lists = tmp_path / "lists"
    lists.mkdir()
    for number, (train, test) in enumerate((("a", "b"), ("b", "a")), start=1):
        (lists / f"ucf101_train_split_{number}_videos.txt").write_text(f"x/{train}.mp4 0\n")
        (lists / f"ucf101_val_split_{number}_videos.txt").write_text(f"x/{test}.mp4 0\n")
        (lists / f"ucf101_train_split_{number}_rawframes.txt").write_text(f"x/{train} 120 0\n")
    assert table(read(root, annotations=lists, split=2)) == {"x/b.mp4": ("0", "train"), "x/a.mp4": ("0", "val")}
    with pytest.raises(DataError, match="lists of the splits 1, 2 and none of 3"):
        read(root, annotations=lists, split=3)


def test_videos_of_val_csv_that_are_those_of_test_csv_are_test_videos(tmp_path: Path) -> None:
    root = touch(tmp_path / "v", "a.mp4", "b.mp4")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.csv").write_text("a.mp4 0\n")
    for name in ("val.csv", "test.csv"):
        (lists / name).write_text("b.mp4 0\n")
    found = read(root, annotations=lists)
    assert table(found) == {"a.mp4": ("0", "train"), "b.mp4": ("0", "test")}
    assert any("1 videos are in the lists of val and of test" in note for note in found.notes)


def test_kinetics_headers(tmp_path: Path) -> None:
    root = touch(tmp_path / "v", "abc_000001_000011.mp4")
    for text in (
        '"label","youtube_id","time_start","time_end","split"\n"abseiling","abc","1","11","train"\n',
        "label, youtube_id, time_start, time_end, split\nabseiling, abc, 1, 11, train\n",
        'Label, "YouTube_ID", time_start, time_end, split\n"abseiling", "abc", 1, 11, train\n',
        "label;youtube_id;time_start;time_end;split\nabseiling;abc;1;11;train\n",
    ):
        (tmp_path / "train.csv").write_text(text)
        found = read(root, annotations=tmp_path / "train.csv")
        assert found.format == "kinetics"
        assert table(found) == {"abc_000001_000011.mp4": ("abseiling", "train")}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("run,abc,1,11,holdout\n", "has the split 'holdout', which is none of train, val, test"),
        ("run, fast,abc,1,11,train\n", "'run, fast, abc, 1, 11, train' has 6 columns, and the header has 5"),
    ],
)
def test_kinetics_lines_that_cannot_be_told_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "k.csv").write_text(f"label,youtube_id,time_start,time_end,split\n{text}")
    with pytest.raises(DataError, match=says):
        read(touch(tmp_path / "v", "abc.mp4"), annotations=tmp_path / "k.csv")


def test_a_kinetics_video_in_the_folder_of_another_class_is_another_one(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nair drumming,abc,1,11,train\nabseiling,abc,21,31,train\n"
    )
    found = read(touch(tmp_path / "v", "air_drumming/abc.mp4"), annotations=tmp_path / "train.csv")
    assert table(found) == {"air_drumming/abc.mp4": ("air drumming", "train")} and len(found.missing) == 1


def test_split_folders_alone_and_beside_others(tmp_path: Path) -> None:
    root = touch(tmp_path / "only", "test/a/1.mp4", "test/b/2.mp4")
    assert table(read(root)) == {"test/a/1.mp4": ("a", "test"), "test/b/2.mp4": ("b", "test")}
    root = touch(tmp_path / "more", "train/a/1.mp4", "test/a/2.mp4", "extras/x.mp4")
    found = read(root)
    assert found.classes == ("a",) and len(found.samples) == 2
    assert any("1 videos in extras, beside the folders of the splits, are left out" in note for note in found.notes)
    root = touch(tmp_path / "classes", "train/1.mp4", "train/2.mp4", "bus/3.mp4", "bus/4.mp4")
    assert read(root).classes == ("bus", "train")
    root = touch(tmp_path / "unclear", "test/a/1.mp4", "run/2.mp4")
    with pytest.raises(DataError, match="splits or classes cannot be told"):
        read(root)


def test_lists_beside_the_root_that_are_another_dataset_s_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("1.mp4 run\n77.mp4 run\n78.mp4 run\n79.mp4 run\n")
    found = read(touch(tmp_path / "v", *(f"a/{n}.mp4" for n in range(4)), *(f"b/1{n}.mp4" for n in range(4))))
    assert found.format == "folders" and "name 1 of the 8 videos" in found.notes[0]


def test_what_people_reported(shared_dir: Path, tmp_path: Path) -> None:
    cases = shared_dir / "data" / "cases" / "annotations"
    if not cases.is_dir():
        pytest.skip("no data/cases beside the checkout")
    decomposed = unicodedata.normalize("NFD", "café.mp4")
    expected: dict[str, dict[str, tuple[str, str]]] = {
        "multiword_blank": {
            "a.mp4": ("shaking hands", "train"), "b.mp4": ("clapping hands", "train"), "c.mp4": ("running", "train"),
        },
        "quoted_csv": {"a.mp4": ("run", "train"), "b.mp4": ("walk", "train")},
        "header_csv": {"a.mp4": ("0", "train"), "b.mp4": ("2", "train"), "c.mp4": ("10", "train")},
        "dot_names": {"clip.1.mp4": ("run", "train"), "clip.2.mp4": ("walk", "train"), "clip.mp4": ("jump", "train")},
        "numeric_stem_missing": {
            "walk/002.mp4": ("walk", "train"), "run/001.mp4": ("run", "train"), "run/003.mp4": ("run", "train"),
        },
        "hash_name": {"#cats/1.mp4": ("cat", "train"), "dogs/2.mp4": ("dog", "train")},
        "kin_header_quoted": {"abc_000001_000011.mp4": ("abseiling", "train")},
        "mmaction_names_folder": {"x/a.mp4": ("0", "train"), "x/b.mp4": ("0", "val")},
        "slowfast_abs": {"a.mp4": ("0", "train"), "b.mp4": ("1", "train")},
        "ssv2_capital": {"1.webm": ("Moving something up", "train"), "2.webm": ("Closing something", "val")},
        "test_only": {"test/a/1.mp4": ("a", "test"), "test/b/2.mp4": ("b", "test")},
        "unknown_suffix": {
            "a.h264": ("0", "train"), "b.ts": ("1", "train"), "c.hevc": ("1", "train"), "d.webp": ("0", "train"),
        },
        "nfd": {decomposed: ("0", "train"), "b.mp4": ("1", "train")},
    }  # fmt: skip
    found: dict[str, Table] = {}
    for name in expected:
        case = tmp_path / name
        shutil.copytree(cases / name, case)
        for path in case.rglob("lists/*"):
            path.chmod(0o644)
            path.write_text(path.read_text().replace("@ROOT@", str(case / "v")))
        lists = {"annotations": case / "lists"} if (case / "lists").is_dir() else {}
        annotations = read(case / "v", **lists)
        found[name] = table(annotations)
        assert annotations.missing == (("walk/001.mp4",) if name == "numeric_stem_missing" else ()), name
    assert found == expected
    assert read(tmp_path / "header_csv" / "v", annotations=tmp_path / "header_csv" / "lists").classes == (
        "0",
        "2",
        "10",
    )
