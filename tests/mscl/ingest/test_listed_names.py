"""Names and paths in plain lists: blanks, colons, hashes, accents, file types, folders, and what two videos share."""

import unicodedata
from pathlib import Path

import pytest

from mscl.errors import DataError
from tests.mscl.listed_videos import read, read_text, table, touch

VIDEOS = ("a.mp4", "b.mp4", "c d.mp4")


def test_blanks_around_a_name_and_line_ends_in_it(tmp_path: Path) -> None:
    names = (" a.mp4", "b\n.mp4", "c.mp4")
    found = read_text(tmp_path, '" a.mp4",run\n"b\n.mp4",walk\n c.mp4 ,run\n', *names)
    assert set(table(found)) == set(names)


def test_with_blanks_between_the_path_comes_first(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 2 videos"):
        read_text(tmp_path, "run 0\nwalk 1\n", "x/0.mp4", "x/1.mp4")


def test_a_colon_makes_no_drive(tmp_path: Path) -> None:
    assert set(table(read_text(tmp_path, "1:30.mp4,run\na:b.mp4,walk\n", "1:30.mp4", "a:b.mp4"))) == {
        "1:30.mp4",
        "a:b.mp4",
    }
    with pytest.raises(DataError, match=r"names 'C:\\\\x\\\\a.mp4', which is outside data.root"):
        read_text(tmp_path, "C:\\x\\a.mp4,run\n", *VIDEOS)


def test_a_line_that_names_two_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: 'a.mp4 b.mp4 run' can be cut in 2 places"):
        read_text(tmp_path, "a.mp4 b.mp4 run\n", "a.mp4", "a.mp4 b.mp4")
    found = read_text(tmp_path, "e f.mp4 run\na.mp4 walk\n", "e.mp4", "a.mp4")
    assert table(found) == {"a.mp4": ("walk", "train")} and found.missing == ("e f.mp4",)


def test_numbers_in_one_list_and_names_in_the_other_are_refused(tmp_path: Path) -> None:
    root = touch(tmp_path / "v", "a.mp4", "b.mp4")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.csv").write_text("a.mp4,0\n")
    (lists / "val.csv").write_text("b.mp4,run\n")
    with pytest.raises(DataError, match=r"the labels of .*train.csv are numbers, and those of other lists"):
        read(root, annotations=lists)


def test_a_namesake_in_another_folder_is_another_video(tmp_path: Path) -> None:
    text = "walk/001.mp4 walk\nwalk/002.mp4 walk\nrun/003.mp4 run\n"
    found = read_text(tmp_path, text, "walk/002.mp4", "run/001.mp4", "run/003.mp4", name="train.txt")
    assert found.missing == ("walk/001.mp4",) and len(found.samples) == 2
    deeper = read_text(tmp_path / "deeper", text, "all/walk/001.mp4", "all/walk/002.avi", "all/run/003.mp4")
    assert len(deeper.samples) == 3 and any("under another folder or file type" in note for note in deeper.notes)
    # A video that is listed under its own path is never another one that is lost.
    text = "walk/001.mp4 walk\ntest/walk/001.mp4 walk\n"
    lost = read_text(tmp_path / "lost", text, "test/walk/001.mp4", "b/2.mp4")
    assert lost.missing == ("walk/001.mp4",)


def test_the_root_s_own_name_may_stand_before_listed_paths(tmp_path: Path) -> None:
    found = read_text(tmp_path, "v/walk/1.mp4 walk\nv/run/1.mp4 run\n", "walk/1.mp4", "run/1.mp4")
    assert table(found) == {"walk/1.mp4": ("walk", "train"), "run/1.mp4": ("run", "train")}


def test_a_dot_in_a_name_is_no_file_type(tmp_path: Path) -> None:
    text = "clip.1\trun\nclip.2\twalk\nclip\tjump\nrec_2021.05\trun\nrec_2021.06\twalk\n"
    found = read_text(tmp_path, text, "clip.1.mp4", "clip.2.mp4", "clip.mp4", "rec_2021.05.mp4", "rec_2021.mp4")
    assert {video: name for video, (name, _) in table(found).items()} == {
        "clip.1.mp4": "run", "clip.2.mp4": "walk", "clip.mp4": "jump", "rec_2021.05.mp4": "run",
    }  # fmt: skip
    assert found.missing == ("rec_2021.06",)


def test_of_two_file_types_none_is_guessed(tmp_path: Path) -> None:
    found = read_text(tmp_path, "a run\nb walk\n", "a.mp4", "a.avi", "b.mp4")
    assert found.missing == ("a",) and any("several files could be meant: a" in note for note in found.notes)


def test_a_name_that_begins_with_a_hash_is_no_comment(tmp_path: Path) -> None:
    text = "# my list\n#cats/1.mp4 cat\ndogs/2.mp4 dog\n#dogs/2.mp4 cat\n#gone.mp4 cat\n"
    found = read_text(tmp_path, text, "#cats/1.mp4", "dogs/2.mp4", name="train.txt")
    assert table(found) == {"#cats/1.mp4": ("cat", "train"), "dogs/2.mp4": ("dog", "train")}
    assert found.missing == ("#gone.mp4",)
    assert any("2 lines of train.txt that begin with # are taken as comments" in note for note in found.notes)


@pytest.mark.parametrize("through_link", [False, True])
def test_absolute_paths_inside_the_root(tmp_path: Path, through_link: bool) -> None:
    root = touch(tmp_path / "v", "a.mp4", "b c.mp4")
    given = root
    if through_link:
        given = tmp_path / "link"
        given.symlink_to(root)
    (tmp_path / "train.csv").write_text(f"{root}/a.mp4 0\n{given}/b c.mp4 1\n")
    assert table(read(given, annotations=tmp_path / "train.csv")) == {
        "a.mp4": ("0", "train"),
        "b c.mp4": ("1", "train"),
    }
    (tmp_path / "train.csv").write_text("/elsewhere/a.mp4 0\n")
    with pytest.raises(DataError, match="line 1 names '/elsewhere/a.mp4', which is outside data.root"):
        read(given, annotations=tmp_path / "train.csv")


def test_files_of_any_type_are_taken_as_named(tmp_path: Path) -> None:
    text = "a.h264 0\nb.ts 1\nc.hevc 1\nd.webp 0\ne 1\n"
    found = read_text(tmp_path, text, "a.h264", "b.ts", "c.hevc", "d.webp", "e", name="train.txt")
    assert set(table(found)) == {"a.h264", "b.ts", "c.hevc", "d.webp", "e"} and not found.missing


def test_accents_and_capitals(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café.mp4")
    text = "café.mp4 jeté\nB/Two.MP4 " + unicodedata.normalize("NFD", "jeté") + "\n"
    found = read_text(tmp_path, text, decomposed, "b/two.mp4", name="train.txt")
    assert {(video, name) for video, (name, _) in table(found).items()} == {(decomposed, "jeté"), ("b/two.mp4", "jeté")}
    assert any("2 videos are spelled otherwise than listed" in note for note in found.notes)
    folders = touch(tmp_path / "f", "train/café/1.mp4", unicodedata.normalize("NFD", "test/café/2.mp4"))
    assert read(folders).classes == ("café",)


def test_classes_that_differ_in_capitals_alone_are_said(tmp_path: Path) -> None:
    found = read_text(tmp_path, "a.mp4,Run\nb.mp4,run\n", "a.mp4", "b.mp4")
    assert found.classes == ("Run", "run") and any("differ in capitals alone" in note for note in found.notes)
