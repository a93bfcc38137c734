"""What a job finds in its stores, before any compute."""

from pathlib import Path
from typing import Any

import pytest

from mscl.errors import DataError
from mscl.pretrain.job import PretrainJob
from mscl.pretrain.process import open_dataset
from storage.screen_table import ScreenRow, write_screen
from tests.mscl.encoder_inputs import encoder_input


def test_a_screen_with_no_clip_left_is_said_with_numbers(patch_run: Any, tmp_path: Path) -> None:
    rows = [
        ScreenRow(segment=i, verdict="too_short", reason="6 fields", num_candidates=0, chosen=(), scores=())
        for i in range(18)
    ]
    write_screen(tmp_path / "screen.parquet", rows)
    job = PretrainJob(
        extract_folder=str(patch_run.extract),
        manifest_path=str(patch_run.manifest),
        screen_path=str(tmp_path / "screen.parquet"),
        output_folder=str(tmp_path / "out"),
        encoder_input=encoder_input(),
    )
    with pytest.raises(DataError, match=r"no clip is left to train on: 18 usable segments, 0 of them.*clip.length"):
        open_dataset(job)
    assert not (tmp_path / "out").exists()
