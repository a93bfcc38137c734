"""Every format to samples, the lists written small; true ones are in test_true_lists.py."""

import json
from collections import Counter
from pathlib import Path

import pytest

from mscl.config import DataConfig
from mscl.errors import DataError
from mscl.ingest.annotations import Annotations, read_annotations
from tests.mscl.listed_videos import read, touch


def table(found: Annotations) -> dict[str, tuple[str | None, str]]:
    return {sample.video: (sample.class_name, sample.split) for sample in found.samples}


def write_ucf101(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "classInd.txt").write_bytes(b"1 Archery\r\n2 Punch\r\n3 YoYo")
    (folder / "trainlist01.txt").write_bytes(b"Archery/v_Archery_g08_c01.avi 1\r\nYoYo/v_YoYo_g08_c01.avi 3\r\n")
    (folder / "testlist01.txt").write_bytes(b"Archery/v_Archery_g01_c01.avi\r\nPunch/v_Punch_g01_c01.avi\r\n")
    return folder


UCF101_VIDEOS = ("Archery/v_Archery_g08_c01.avi", "Archery/v_Archery_g01_c01.avi", "YoYo/v_YoYo_g08_c01.avi")


@pytest.mark.parametrize("lists", ["videos/lists", "ucfTrainTestlist", "elsewhere/deep/ucfTrainTestlist"])
def test_ucf101_lists_with_crlf_are_found_in_and_beside_the_root(tmp_path: Path, lists: str) -> None:
    folder = write_ucf101(tmp_path / lists)
    root = touch(tmp_path / "videos", *UCF101_VIDEOS)
    found = read(root, annotations=folder.parent if "deep" in lists else "")
    assert found.format == "ucf101"
    assert found.classes == ("Archery", "YoYo")
    assert table(found) == {
        UCF101_VIDEOS[0]: ("Archery", "train"),
        UCF101_VIDEOS[1]: ("Archery", "test"),
        UCF101_VIDEOS[2]: ("YoYo", "train"),
    }
    assert found.missing == ("Punch/v_Punch_g01_c01.avi",)
    assert any("1 of 4 listed videos are missing" in note for note in found.notes)
    assert any("renumbered" in note for note in found.notes)


def test_classes_are_filtered_and_other_file_types_found(tmp_path: Path) -> None:
    lists = write_ucf101(tmp_path / "lists")
    root = touch(tmp_path / "all" / "videos", *(v.replace(".avi", ".mp4") for v in UCF101_VIDEOS))
    found = read(root.parent, annotations=lists, classes=("YoYo",))
    assert table(found) == {"videos/YoYo/v_YoYo_g08_c01.mp4": ("YoYo", "train")}
    assert found.classes == ("YoYo",) and not found.missing
    with pytest.raises(DataError, match="did you mean 'YoYo'"):
        read(root, annotations=lists, classes=("Yoyo",))


def test_all_missing_says_where_and_what(tmp_path: Path) -> None:
    lists = write_ucf101(tmp_path / "lists")
    root = touch(tmp_path / "videos", "Archery/other.avi")
    with pytest.raises(DataError, match=r"none of the 4 .*lists.* is in data.root .*videos: the first is Archery"):
        read(root, annotations=lists)
    found = read(root)  # nobody named those lists: they may be another dataset's
    assert found.format == "folders" and "name none of the videos" in found.notes[0]


def test_hmdb51(tmp_path: Path) -> None:
    lists = tmp_path / "splits"
    lists.mkdir()
    (lists / "golf_test_split1.txt").write_text("Golf_(HQ)_+_Yards!!!_golf_f.avi 1 \nb_golf.avi 2 \nc_golf.avi 0 \n")
    (lists / "golf_test_split2.txt").write_text("Golf_(HQ)_+_Yards!!!_golf_f.avi 2 \nb_golf.avi 1 \n")
    root = touch(tmp_path / "hmdb51", "golf/Golf_(HQ)_+_Yards!!!_golf_f.avi", "golf/b_golf.avi", "golf/c_golf.avi")
    assert table(read(root, annotations=lists)) == {
        "golf/Golf_(HQ)_+_Yards!!!_golf_f.avi": ("golf", "train"),
        "golf/b_golf.avi": ("golf", "test"),
    }
    assert {s.split for s in read(root, annotations=lists, split=2).samples} == {"train", "test"}
    with pytest.raises(DataError, match="data.split"):
        read(root, annotations=lists, split=3)


def test_kinetics_names(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "kinetics-400_val.csv").write_text(
        "label,youtube_id,time_start,time_end,split,is_cc\nair drumming,-abc_DEF123,417,427,val,0\n"
        "abseiling,xyz45678901,36,46,val,0\nabseiling,gone5678901,1,11,val,1\n"
    )
    (lists / "kinetics-400_train.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nabseiling,flat5678901,5,15,train\n"
    )
    (lists / "kinetics-400_test.csv").write_text("youtube_id,time_start,time_end,split\nsecret78901,5,15,test\n")
    root = touch(
        tmp_path / "k400", "val/air drumming/-abc_DEF123_000417_000427.mp4", "val/abseiling/xyz45678901.mkv",
        "flat5678901_000005_000015.mp4",
    )  # fmt: skip
    found = read(root, annotations=lists)
    assert found.classes == ("abseiling", "air drumming")
    assert table(found) == {
        "val/air drumming/-abc_DEF123_000417_000427.mp4": ("air drumming", "val"),
        "val/abseiling/xyz45678901.mkv": ("abseiling", "val"),
        "flat5678901_000005_000015.mp4": ("abseiling", "train"),
    }
    assert found.missing == ("abseiling/gone5678901_000001_000011",)
    assert any("no label" in note for note in found.notes)


@pytest.mark.parametrize("kind", [str, int])
def test_something_something_v2(tmp_path: Path, kind: type) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "labels.json").write_text(json.dumps({"Moving something up": kind(1), "Closing something": kind(0)}))
    (lists / "train.json").write_text(json.dumps([{"id": "12", "label": "x", "template": "Moving [something] up"}]))
    (lists / "validation.json").write_text(json.dumps([{"id": "7", "label": "y", "template": "Closing [something]"}]))
    (lists / "test.json").write_text(json.dumps([{"id": "99"}]))
    (lists / "test-answers.csv").write_text('99;Closing something\n"98";"Moving something up"\n')
    root = touch(tmp_path / "v", "12.webm", "7.webm", "98.webm", "99.webm")
    found = read(root, annotations=lists)
    assert found.format == "ssv2" and found.classes == ("Closing something", "Moving something up")
    assert table(found) == {
        "12.webm": ("Moving something up", "train"), "7.webm": ("Closing something", "val"),
        "99.webm": ("Closing something", "test"), "98.webm": ("Moving something up", "test"),
    }  # fmt: skip
    (lists / "train.json").write_text(json.dumps([{"id": "12", "template": "Juggling [something]"}]))
    with pytest.raises(DataError, match="Juggling something"):
        read(root, annotations=lists)


def test_diving48(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "Diving48_V2_train.json").write_text(json.dumps([{"vid_name": "-a_00001", "label": 1, "end_frame": 9}]))
    (lists / "Diving48_V2_test.json").write_text(json.dumps([{"vid_name": "b_00002", "label": 0}]))
    root = touch(tmp_path / "v", "-a_00001.mp4", "b_00002.mp4")
    assert table(read(root, annotations=lists)) == {"-a_00001.mp4": ("1", "train"), "b_00002.mp4": ("0", "test")}
    (lists / "Diving48_vocab.json").write_text(json.dumps([["Back", "15som", "NoTwis", "PIKE"], ["Fwd"]]))
    assert read(root, annotations=lists).classes == ("Back+15som+NoTwis+PIKE", "Fwd")


def test_jester_in_both_forms(tmp_path: Path) -> None:
    root = touch(tmp_path / "v", "34.webm", "5.webm")
    expected = {"34.webm": ("Swiping Left", "train"), "5.webm": ("No gesture", "val")}
    official = tmp_path / "official"
    official.mkdir()
    (official / "jester-v1-labels.csv").write_text("Swiping Left\nNo gesture\n")
    (official / "jester-v1-train.csv").write_text("34;Swiping Left\n")
    (official / "jester-v1-validation.csv").write_text("5;No gesture\n")
    found = read(root, annotations=official)
    assert table(found) == expected and found.classes == ("Swiping Left", "No gesture")
    numbered = tmp_path / "numbered"
    numbered.mkdir()
    (numbered / "categories.txt").write_text("1 Swiping Left\n2 No gesture\n")
    (numbered / "trainlist.txt").write_text("34 1\n")
    (numbered / "vallist.txt").write_text("5 2\n")
    assert table(read(root, annotations=numbered)) == expected


def test_plain_lists(tmp_path: Path) -> None:
    root = touch(tmp_path / "v", "a b.mp4", "c.mp4", "sub/d.mp4")
    numbered = tmp_path / "train_list.txt"
    numbered.write_text("# mine\na b.mp4 10\n./c.mp4 2\n")
    found = read(root, annotations=numbered)
    assert found.format == "list" and found.classes == ("2", "10")
    assert table(found) == {"a b.mp4": ("10", "train"), "c.mp4": ("2", "train")}
    (tmp_path / "named.csv").write_text("a b.mp4,golf swing\nsub/d.mp4,run\n")
    assert read(root, annotations=tmp_path / "named.csv").classes == ("golf swing", "run")
    (tmp_path / "bare.txt").write_text("a b.mp4\nsub/d.mp4\n")
    assert {s.split for s in read(root, annotations=tmp_path / "bare.txt").samples} == {"unlabelled"}
    (tmp_path / "mixed.txt").write_text("c.mp4 1\nsub/d.mp4\n")
    with pytest.raises(DataError, match="has no label"):
        read(root, annotations=tmp_path / "mixed.txt")
    numbered.unlink()
    (tmp_path / "train.txt").write_text("c.mp4 run\n")
    (tmp_path / "test.txt").write_text("c.mp4 golf\n")
    with pytest.raises(DataError, match="listed twice"):
        read(root, format="list")


def test_class_folders_split_by_fraction_and_keep_a_video_on_either_side(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"{name}/{n}.mp4" for name, count in (("a", 8), ("b", 2), ("c", 1)) for n in range(count)),
        "loose.mp4",
    )
    touch(tmp_path, "a/notes.txt", "a/.hidden.mp4")
    found = read(tmp_path)
    assert found.format == "folders" and found.classes == ("a", "b", "c")
    counts = Counter((sample.class_name, sample.split) for sample in found.samples)
    assert counts == {("a", "train"): 6, ("a", "test"): 2, ("b", "train"): 1, ("b", "test"): 1, ("c", "train"): 1}
    assert any("1 class (c) with one video" in note for note in found.notes)
    assert any("1 videos that are in no class folder" in note for note in found.notes)
    assert read(tmp_path) == found
    everything = Counter((s.class_name, s.split) for s in read(tmp_path, test_fraction=1.0).samples)
    assert everything[("a", "train")] == everything[("b", "train")] == 1
    assert {s.split for s in read(tmp_path, test_fraction=0.0).samples} == {"train"}


def test_class_folders_with_split_folders_or_a_pattern(tmp_path: Path) -> None:
    root = touch(tmp_path / "x", "Train/a/1.mp4", "Train/b/2.mp4", "test/a/3.mp4", "val/b/4.mp4")
    assert Counter(s.split for s in read(root).samples) == {"train": 2, "test": 1, "val": 1}
    assert read(root).classes == ("a", "b")
    root = touch(tmp_path / "y", "a/s1.mp4", "a/s2.mp4", "b/s1.mp4", "b/s2.mp4")
    found = read(root, test_pattern="s2")
    assert {s.video for s in found.samples if s.split == "test"} == {"a/s2.mp4", "b/s2.mp4"}
    with pytest.raises(DataError, match="matches 0 of 4"):
        read(root, test_pattern="s9")
    with pytest.raises(DataError, match="no regular expression"):
        read(root, test_pattern="(")


def test_one_class_of_several_as_root_is_questioned(tmp_path: Path) -> None:
    touch(tmp_path / "jump", "a.mp4")
    touch(tmp_path / "run", "b.mp4")
    touch(tmp_path / "notes", "c.txt")
    (note,) = read(tmp_path / "run").notes
    assert "no labels" in note and "(jump)" in note and f"data.root={tmp_path}" in note
    assert read(tmp_path / "run", format="unlabelled").notes == ()
    (alone,) = read(touch(tmp_path / "more" / "flat", "a.mp4")).notes
    assert "no labels" in alone and "beside" not in alone


def test_unlabelled_videos(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.MKV")
    found = read(tmp_path)
    assert found.format == "unlabelled" and found.classes == ()
    assert table(found) == {"a.mp4": (None, "unlabelled"), "b.MKV": (None, "unlabelled")}
    touch(tmp_path, "deep/er/c.mp4")
    assert len(read(tmp_path, format="unlabelled").samples) == 3


@pytest.mark.parametrize("path", ["../secret.mp4", "/etc/secret.mp4", "a/../../secret.mp4", "C:\\secret.mp4"])
def test_lists_may_not_leave_the_root(tmp_path: Path, path: str) -> None:
    touch(tmp_path, "secret.mp4", "v/a/b.mp4")
    (tmp_path / "list.txt").write_text(f"{path} 1\n")
    with pytest.raises(DataError, match="outside data.root"):
        read(tmp_path / "v", annotations=tmp_path / "list.txt")


def test_links_out_of_the_root_are_refused_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "outside/secret.mp4", "v/a/1.mp4", "v/b/2.mp4")
    (tmp_path / "v" / "a" / "loop").symlink_to(tmp_path / "v")
    (tmp_path / "v" / "b" / "same.mp4").symlink_to(tmp_path / "v" / "a" / "1.mp4")
    assert len(read(tmp_path / "v").samples) == 3
    (tmp_path / "v" / "b" / "link.mp4").symlink_to(tmp_path / "outside" / "secret.mp4")
    with pytest.raises(DataError, match="outside the root"):
        read(tmp_path / "v")
    (tmp_path / "list.txt").write_text("b/link.mp4 1\n")
    with pytest.raises(DataError, match="outside the root"):
        read(tmp_path / "v", annotations=tmp_path / "list.txt")


def test_roots_and_lists_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "v/a/1.mp4", "file")
    for settings, message in (
        ({"root": ""}, "data.root is not set"),
        ({"root": str(tmp_path / "gone")}, "does not exist"),
        ({"root": str(tmp_path / "file")}, "is a file"),
        ({"root": str(tmp_path / "empty")}, "holds no video files"),
        (
            {"root": str(tmp_path / "v"), "annotations": str(tmp_path / "gone")},
            "annotations .*gone does not exist",
        ),
        ({"root": str(tmp_path / "v"), "annotations": str(tmp_path / "empty")}, "known by their names"),
        ({"root": str(tmp_path / "v"), "format": "ssv2"}, "looked for .*labels.*json"),
    ):
        with pytest.raises(DataError, match=message):
            read_annotations(DataConfig.model_validate(settings))


def test_official_splits_are_read_at_once_and_do_not_depend_on_the_one_chosen(tmp_path: Path) -> None:
    lists = tmp_path / "splits"
    lists.mkdir()
    (lists / "golf_test_split1.txt").write_text("a.avi 1 \nb.avi 2 \nc.avi 0 \nd.avi 0 \n")
    (lists / "golf_test_split2.txt").write_text("a.avi 2 \nb.avi 1 \nc.avi 1 \nd.avi 0 \n")
    root = touch(tmp_path / "videos", *(f"golf/{name}.avi" for name in "abcd"))
    first, second = (read(root, annotations=lists, split=number) for number in (1, 2))
    assert first == second and first.split_numbers == (1, 2)
    assert {sample.video: sample.splits for sample in first.samples} == {
        "golf/a.avi": ("train", "test"), "golf/b.avi": ("test", "train"), "golf/c.avi": ("unused", "train"),
    }  # fmt: skip


def test_a_video_that_one_split_has_in_train_and_test_is_refused(tmp_path: Path) -> None:
    lists = tmp_path / "splits"
    lists.mkdir()
    (lists / "golf_test_split1.txt").write_text("a.avi 1 \nb.avi 2 \n")
    (lists / "golf_test_split2.txt").write_text("a.avi 2 \nb.avi 1 \nb.avi 2 \n")
    root = touch(tmp_path / "videos", "golf/a.avi", "golf/b.avi")
    with pytest.raises(DataError, match="golf/b.avi is listed twice .*test / train.*test / test"):
        read(root, annotations=lists)
