"""Which videos count together, and what is said of it."""

from pathlib import Path

import numpy as np
import pytest

from mscl.config import load_config
from mscl.errors import ConfigError, DataError
from mscl.ingest.config import DataConfig
from mscl.score.groups import Grouping, group_settings

UCF = [
    f"{name}/v_{name}_g{group:02d}_c{clip:02d}.avi"
    for name in ("Punch", "PushUps")
    for group in (1, 2)
    for clip in (1, 2, 3)
]
HMDB = [f"brush_hair/April_09_brush_hair_u_nm_np{view}_ba_goo_{clip}.avi" for view in (1, 2) for clip in (0, 1)]


def test_groups_of_known_names_are_used_and_said() -> None:
    ucf = Grouping.of(DataConfig(), format="ucf101")
    assert ucf.numbers(UCF) is not None and ucf.numbers(UCF).tolist() == np.repeat(np.arange(4), 3).tolist()  # type: ignore[union-attr]
    assert (
        ucf.note(UCF) == "videos of one group count together: 4 groups, by gNN in UCF101's file names, class by class"
    )
    assert len(set(Grouping.of(DataConfig(), format="hmdb51").names(HMDB))) == 1


def test_without_a_setting_names_are_not_guessed_at_but_the_setting_is_named() -> None:
    folders = Grouping.of(DataConfig(), format="folders")
    assert folders.numbers(UCF) is None
    note = folders.note(UCF)
    assert "every video as independent" in note and "data.group_pattern='([^/]+_g" in note
    assert "known dataset" not in folders.note(["a/1.mp4", "a/2.mp4"])
    renamed = Grouping.of(DataConfig(), format="ucf101")
    assert "every video as independent" in renamed.note(["a/1.mp4", "a/2.mp4"])


def test_a_pattern_names_groups_by_its_brackets() -> None:
    videos = ["wave/subject01-a.avi", "wave/subject02-a.avi", "bend/subject01-a.avi", "bend/other.avi"]
    grouping = Grouping.of(DataConfig(group_pattern=r"subject(\d+)"), format="folders")
    assert grouping.names(videos)[:3] == ["01", "02", "01"]
    assert "3 groups" in grouping.note(videos) and "1 videos have none and count one by one" in grouping.note(videos)
    with pytest.raises(DataError, match=r"group_pattern 'nobody' gives none of the 4 videos a group.*wave/subject01"):
        Grouping.of(DataConfig(group_pattern="nobody"), format="ucf101").numbers(videos)
    tested = Grouping.of(DataConfig(group_pattern=r"bend/subject(\d+)"), format="folders")
    assert tested.shared(videos[:2], videos[2:]) == "" and tested.numbers(videos[:2], may_lack=True) is None
    with pytest.raises(ConfigError, match=r"group_pattern '\(' is no regular expression"):
        load_config("demo", ["data.group_pattern=("])


def test_brackets_that_are_all_empty_name_no_group() -> None:
    either = Grouping.of(DataConfig(group_pattern=r"(subject\d+)?(?:/cam(\d+))?.*"), format="folders")
    videos = ["subject1/cam2.avi", "subject1/cam2b.avi", "other.avi", "another.avi"]
    assert either.names(videos)[:2] == ["subject1 2", "subject1 2"] and len(set(either.names(videos))) == 3
    assert "2 videos have none and count one by one" in either.note(videos)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_column_of_a_list_names_groups(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(
        "".join(
            mark.join(row) + "\n"
            for row in (
                ("path", "class", "who"),
                ("a/1.mp4", "a", "ann"),
                ("b/2.mp4", "b", "ann"),
                ("b/3.mp4", "b", "bo"),
            )
        )
    )
    config = DataConfig(group_list=str(path), group_column="who")
    grouping = Grouping.of(config, format="ucf101")
    assert grouping.names(["a/1.mp4", "b/2.mp4", "b/3.mp4"]) == ["ann", "ann", "bo"]
    assert "column 'who' of people.csv" in grouping.note(["a/1.mp4", "b/2.mp4"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,who\n1.mp4,ann\n", "has the columns path, who; it needs 'group'"),
        ("", "has the columns none"),
        ("video,group\n1.mp4,a\n1.mp4,b\n", "line 3: '1.mp4' is in group 'a' and 'b'"),
        ("video,group\n1.mp4\n", "line 2: 1 columns, the header has 2"),
        ("video,group\n1.mp4,p, 1\n2.mp4,p, 2\n", "line 2: 3 columns, the header has 2; put what holds a ','"),
        ("video,group,group\n1.mp4,a,b\n", "has the columns video, group, group; it needs 'group'"),
    ],
)
def test_a_list_that_does_not_fit_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "groups.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=says):
        Grouping.of(DataConfig(group_list=str(path)), format="folders")


def test_a_list_may_spell_paths_otherwise_and_what_stands_for_nothing_is_no_group(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("video,group\n./cafe\u0301/1.mp4,a\ncafe\u0301\\2.mp4,a\n3.mp4,nan\n4.mp4,nan\n")
    grouping = Grouping.of(DataConfig(group_list=str(path)), format="folders")
    names = grouping.names(["caf\u00e9/1.mp4", "caf\u00e9/2.mp4", "3.mp4", "4.mp4"])
    assert names[:2] == ["a", "a"] and names[2] != names[3]


def test_groups_of_both_splits_are_said() -> None:
    grouping = Grouping.of(DataConfig(group_pattern=r"p(\d)"), format="folders")
    says = grouping.shared(["a/p1_1.mp4", "a/p2_1.mp4"], ["a/p2_2.mp4", "b/p3_1.mp4"])
    assert says.startswith("1 of the 2 groups of the test split are in the train split, too")
    assert not grouping.shared(["a/p1_1.mp4"], ["a/p2_2.mp4", "b/p3_1.mp4"])
    assert not Grouping().shared(["a/p1_1.mp4"], ["a/p1_2.mp4"])


def test_groups_change_scores_and_nothing_before_them(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("video,group\n1.mp4,a\n")
    given = [load_config("demo", [f"data.{text}"]) for text in ("group_pattern=g(.)", f"group_list={path}")]
    assert group_settings(load_config("demo")) == {}
    assert group_settings(given[0]) == {"groups": "g(.)"} and group_settings(given[1]) == {"groups": [("1.mp4", "a")]}
    with pytest.raises(ConfigError, match="exclude each other"):
        load_config("demo", ["data.group_pattern=g", f"data.group_list={path}"])
