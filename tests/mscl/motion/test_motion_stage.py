"""Motion goes on where it was stopped, and not with parts that are no longer as they were written."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mscl.config import load_config
from mscl.motion.motion_stage import MOTION
from mscl.progress import Progress, Silent
from mscl.stage.contract import StageRun
from storage.record import Record
from storage.result_folder import Result
from tests.mscl.conftest import PatchRun


def measure(folder: Path, patch_run: PatchRun) -> int:
    """Run the stage in `folder` in this process; how many shards it measured."""
    measured = 0

    def here(function: Any, items: Sequence[Any], *, progress: Progress, gpus: Sequence[int] = ()) -> Iterator[Any]:
        nonlocal measured
        for item in items:
            measured += 1
            yield function(item, lambda _: None)

    folder.mkdir(exist_ok=True)
    extract = Result(patch_run.extract, Record.model_construct(stage="extract", key="0" * 16))
    MOTION.run(StageRun(folder, load_config("demo"), {"extract": extract}, Silent(), spread=here))
    return measured


def test_damaged_parts_are_measured_again_and_no_others(patch_run: PatchRun, tmp_path: Path) -> None:
    folder = tmp_path / "motion"
    assert measure(folder, patch_run) == 3
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    whole = {path: path.read_bytes() for path in files}
    cut, flipped, _ = sorted((folder / "motion.zarr" / "parts").iterdir())
    cut.write_bytes(cut.read_bytes()[:-40])
    assert measure(folder, patch_run) == 1
    content = bytearray(flipped.read_bytes())
    content[-40] ^= 1
    flipped.write_bytes(content)
    cut.unlink()
    assert measure(folder, patch_run) == 2
    log = folder / "commits.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"shard":1', b'"shard":9', 1))
    assert measure(folder, patch_run) == 1
    assert {path: path.read_bytes() for path in files} == whole
