"""Lists with several columns that may be the video or the class."""

from pathlib import Path

import pytest

from mscl.errors import DataError
from mscl.ingest.annotations import Annotations
from tests.mscl.listed_videos import read, touch

VIDEOS = ("1.mp4", "2.mp4", "3.mp4", "run.mp4", "walk.mp4", "jump.mp4")


def read_text(tmp_path: Path, text: str) -> Annotations:
    root = touch(tmp_path / "v", *VIDEOS)
    (tmp_path / "train.csv").write_text(text)
    return read(root, annotations=tmp_path / "train.csv")


@pytest.mark.parametrize(
    "text",
    [
        "id,filename,label\n1,3.mp4,run\n2,1.mp4,walk\n3,2.mp4,jump\n",
        "id,name,label\n1,3,run\n2,1,walk\n3,2,jump\n",
        "video_id,label,path\n1,run,3.mp4\n2,walk,1.mp4\n3,jump,2.mp4\n",
        "id,filename,label\n1,3.mp4,run\n2,1.mp4,walk\n3,2.mp4,jump\n4,gone.mp4,jump\n",
        "name,path,label\n3,all/3.mp4,run\n1,all/1.mp4,walk\n2,all/2.mp4,jump\n",
        "run,3.mp4\nwalk,1.mp4\njump,2.mp4\n",
        "video_id,path,label\n3,/x/3.mp4,run\n1,/x/1.mp4,walk\n2,/x/2.mp4,jump\n",
        "path,label,class\n3.mp4,7,run\n1.mp4,0,walk\n2.mp4,3,jump\n",
        "path,class_name,class_idx\n3.mp4,run,2.0\n1.mp4,walk,0.0\n2.mp4,jump,1.0\n",
        "path,label,class\n3.mp4,7,run\n1.mp4,,walk\n2.mp4,3,jump\n",
        "path,label,class\n3.mp4,,run\n1.mp4,,walk\n2.mp4,,jump\n",
        "path,label,label_name\n3.mp4,run,run\n1.mp4,walk,walk\n2.mp4,jump,jump\n",
    ],
)
def test_videos_and_classes_are_taken_from_the_columns_that_hold_them(tmp_path: Path, text: str) -> None:
    found = {sample.video: sample.class_name for sample in read_text(tmp_path, text).samples}
    assert found == {"3.mp4": "run", "1.mp4": "walk", "2.mp4": "jump"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,file,label\n1.mp4,2.mp4,run\n", "line 2: .*names two videos, '1.mp4' as 'path' and '2.mp4' as 'file'"),
        (
            "path,label,class\n1.mp4,0,run\n2.mp4,1,walk\n3.mp4,1,run\n",
            "line 4: '3.mp4,1,run' has 'run' as 'class' and '1' as 'label', and other lines put these together",
        ),
        ("path,label,class\n1.mp4,0,run\n2.mp4,0,walk\n", "line 3: .*'walk' as 'class' and '0' as 'label'"),
        ("path,label,class\n1.mp4,0,run\n2.mp4,1,run\n", "line 3: .*'run' as 'class' and '1' as 'label'"),
        ("path,action,category\n1.mp4,run,sport\n2.mp4,jump,sport\n", "line 3: .*'jump' as 'action' and 'sport'"),
    ],
)
def test_columns_that_disagree_are_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_text(tmp_path, text)


def test_of_two_columns_of_numbers_that_called_as_names_is_the_class(tmp_path: Path) -> None:
    found = read_text(tmp_path, "path,label,class\n1.mp4,0,10\n2.mp4,1,2\n")
    assert {sample.video: sample.class_name for sample in found.samples} == {"1.mp4": "10", "2.mp4": "2"}


def test_a_label_before_the_video_is_not_a_video_of_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 2 videos"):
        read_text(tmp_path, "run 1.mp4\nwalk 2.mp4\n")
