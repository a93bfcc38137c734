"""Presets of published sets: tiny videos under lists in their real form become the rows that they should."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from mscl.config import load_config
from mscl.finetune.config import FinetuneConfig
from mscl.ingest.stage import INGEST
from mscl.pipeline import execute
from storage.manifest import read_manifest
from storage.workspace import Workspace
from tests.mscl.written_videos import write_frames

VOCABULARY = [
    ["Back", "15som", "05Twis", "FREE"],
    ["Back", "15som", "15Twis", "FREE"],
    ["Forward", "Dive", "NoTwis", "PIKE"],
]
KINETICS = "label,youtube_id,time_start,time_end,split,is_cc\n"


def dive(name: str, label: int) -> dict[str, object]:
    return {"vid_name": name, "label": label, "start_frame": 0, "end_frame": 155}


@dataclass(frozen=True)
class Published:
    preset: str
    lists: dict[str, str]
    rows: dict[str, tuple[str, str]]
    """Video -> class and split."""
    classes: tuple[str, ...]
    """With videos here, in the order of the set's own labels."""
    annotations: str = ""
    """Of the files; empty: their folder."""


SETS = [
    Published(
        "diving48",
        {
            "Diving48_V2_train.json": json.dumps([dive("-mZBpDlRcyU_00183", 2), dive("4ZD1kHL0mV0_00001", 0)]),
            "Diving48_V2_test.json": json.dumps([dive("lS2dYTEdCVU_00033", 2)]),
            "Diving48_vocab.json": json.dumps(VOCABULARY),
        },
        {
            "-mZBpDlRcyU_00183.mp4": ("Forward+Dive+NoTwis+PIKE", "train"),
            "4ZD1kHL0mV0_00001.mp4": ("Back+15som+05Twis+FREE", "train"),
            "lS2dYTEdCVU_00033.mp4": ("Forward+Dive+NoTwis+PIKE", "test"),
        },
        ("Back+15som+05Twis+FREE", "Forward+Dive+NoTwis+PIKE"),
    ),
    Published(
        "jester",
        {
            "jester-v1-labels.csv": "Swiping Left\nSwiping Right\nDoing other things\n",
            "jester-v1-train.csv": "34870;Swiping Left\n56557;Doing other things\n",
            "jester-v1-validation.csv": "9223;Swiping Left\n",
            "jester-v1-test.csv": "80001\n",
        },
        {
            "34870.webm": ("Swiping Left", "train"),
            "56557.webm": ("Doing other things", "train"),
            "9223.webm": ("Swiping Left", "val"),
        },
        ("Swiping Left", "Doing other things"),
    ),
    Published(
        "kinetics400-linear",
        {
            "train.csv": f"{KINETICS}abseiling,--3ouPhoy2A,20,30,train,0\nair drumming,-1QQh3z9g6w,4,14,train,0\n",
            "val.csv": f"{KINETICS}abseiling,0wR5jVB-WPk,417,427,val,0\n",
        },
        {
            "train/abseiling/--3ouPhoy2A_000020_000030.mp4": ("abseiling", "train"),
            "train/air_drumming/-1QQh3z9g6w_000004_000014.mp4": ("air drumming", "train"),
            "val/abseiling/0wR5jVB-WPk_000417_000427.mp4": ("abseiling", "val"),
        },
        ("abseiling", "air drumming"),
    ),
    Published(
        "ucf101+finetune-ucf101",
        {
            "classInd.txt": "1 ApplyEyeMakeup\r\n2 Punch\r\n",
            "trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nPunch/v_Punch_g08_c01.avi 2\r\n",
            "testlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\r\n",
        },
        {
            "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": ("ApplyEyeMakeup", "train"),
            "Punch/v_Punch_g08_c01.avi": ("Punch", "train"),
            "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi": ("ApplyEyeMakeup", "test"),
        },
        ("ApplyEyeMakeup", "Punch"),
    ),
    Published(
        "ucf101+finetune-hmdb51",
        {
            "punch_test_split1.txt": "20060723sfjffangelina_punch_f_nm_np1_ri_med_0.avi 1 \n"
            "Boxen!(1)_punch_u_cm_np1_le_bad_1.avi 2 \n",
            "kick_test_split1.txt": "Best_Of_kick_l_cm_np1_ba_med_2.avi 1 \n",
        },
        {
            "punch/20060723sfjffangelina_punch_f_nm_np1_ri_med_0.avi": ("punch", "train"),
            "punch/Boxen!(1)_punch_u_cm_np1_le_bad_1.avi": ("punch", "test"),
            "kick/Best_Of_kick_l_cm_np1_ba_med_2.avi": ("kick", "train"),
        },
        ("kick", "punch"),
    ),
    Published(
        "kinetics400-r18+severe-ssv2",
        {
            "labels.json": json.dumps({"Moving something up": "0", "Closing something": "1"}),
            "train.json": json.dumps(
                [{"id": "78687", "label": "closing box", "template": "Closing [something]", "placeholders": ["box"]}]
            ),
            "validation.json": json.dumps(
                [{"id": "74225", "label": "closing", "template": "Closing [something]", "placeholders": ["door"]}]
            ),
        },
        {"78687.webm": ("Closing something", "train"), "74225.webm": ("Closing something", "val")},
        ("Closing something",),
    ),
    Published(
        "ucf101+severe-gym99",
        {
            "gym99_train_element_v1.1.txt": "A0xAXXysHUo_E_002184_002237_A_0035_0036 11\n"
            "0LtLS9wROrk_E_002407_002435_A_0000_0001 2\n",
            "gym99_val_element.txt": "0LtLS9wROrk_E_000147_000152_A_0004_0006 11\n",
        },
        {
            "A0xAXXysHUo_E_002184_002237_A_0035_0036.mp4": ("11", "train"),
            "0LtLS9wROrk_E_002407_002435_A_0000_0001.mp4": ("2", "train"),
            "0LtLS9wROrk_E_000147_000152_A_0004_0006.mp4": ("11", "val"),
        },
        ("2", "11"),
        annotations="gym99_train_element_v1.1.txt,gym99_val_element.txt",
    ),
]


@pytest.mark.parametrize("one", SETS, ids=[one.preset for one in SETS])
def test_a_published_set_is_read_as_its_authors_mean(tmp_path: Path, one: Published) -> None:
    lists, root = tmp_path / "lists", tmp_path / "videos"
    lists.mkdir()
    for name, text in one.lists.items():
        (lists / name).write_bytes(text.encode())
    for number, video in enumerate(one.rows):
        codec = "libvpx" if video.endswith(".webm") else "mpeg4" if video.endswith(".avi") else "libx264"
        write_frames(root / video, 30 + number, codec=codec)
    annotations = ",".join(str(lists / name) for name in one.annotations.split(",")) if one.annotations else lists
    config = load_config(
        one.preset,
        [f"data.root={root}", f"data.annotations={annotations}", "runtime.workers=1"]
        + (["data.format=ssv2"] if "ssv2" in one.preset else []),
    )
    done = execute(INGEST, Workspace(tmp_path / "w"), config, {}).result
    manifest = read_manifest(done.folder / "manifest.parquet")
    rows = list(manifest.rows())
    assert all(row.class_name == manifest.classes[row.label] for row in rows)
    assert {row.video: (row.class_name, row.split) for row in rows} == one.rows
    assert {row.verdict for row in rows} == {"ok"}
    assert done.record.metrics["videos"] == len(one.rows)
    assert tuple(manifest.classes) == one.classes


def test_numbers_that_are_of_papers() -> None:
    """As SEVERE's configurations have them: passes are its epochs times its clips of each video in one."""
    for preset, passes, milestones in (
        ("diving48", 16 * 10, (60, 100, 140)),
        ("ucf101+severe-gym99", 16 * 10, (60, 100, 140)),
        ("kinetics400-r18+severe-ssv2", 22 * 2, (24, 34, 40)),
    ):
        finetune = load_config(preset).finetune
        assert (finetune.frames, finetune.stride_frames, finetune.crop_px, finetune.area[0]) == (32, 2, 112, 0.08)
        assert (finetune.optim.name, finetune.optim.lr, finetune.optim.weight_decay) == ("adamw", 1e-4, 0.0)
        assert (finetune.epochs, finetune.milestones, finetune.milestone_factor) == (passes, milestones, 0.3)
        assert (finetune.batch_size, finetune.test_clips) == (32, 10)
    for dataset in ("ucf101", "hmdb51"):
        finetune = load_config(f"ucf101+finetune-{dataset}").finetune
        assert (finetune.frames, finetune.crop_px, finetune.test_clips) == (16, 112, 10)
        assert finetune.splits == (1, 2, 3)
    linear = load_config("kinetics400-linear")
    assert (linear.embed.clips, linear.embed.crops, linear.probe.head) == (10, 3, "linear")
    assert not linear.finetune.enabled and linear.pretrain == load_config("kinetics400-r18").pretrain
    jester, ssv2 = (load_config(f"ucf101+finetune-{name}").finetune for name in ("jester", "ssv2"))
    assert jester == ssv2.model_copy(update={"protocol": "finetune-jester", "short_side_px": 100})


def test_a_factor_that_came_later_changes_no_key() -> None:
    assert "milestone_factor" not in FinetuneConfig().key_values()
    assert FinetuneConfig(milestone_factor=0.3).key_values()["milestone_factor"] == 0.3
