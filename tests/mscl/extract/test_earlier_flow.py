"""A video more, or other labels: flow that an earlier extract has is copied, to the bytes that computing it gives."""

from pathlib import Path

import pytest

from mscl.config import ExperimentConfig, load_config
from mscl.extract.stage import EXTRACT
from mscl.ingest.stage import INGEST
from mscl.pipeline import execute
from mscl.stage.contract import Outcome
from storage.commits import FINAL, CommitLog
from storage.flow_store.spec import shard_key
from storage.layout import Extracted
from storage.record import RECORD_NAME
from storage.result_folder import Result, mark_damaged
from storage.workspace import Workspace
from tests.flows.running import digests
from tests.mscl.written_videos import gradient_frames, write_frames
from tests.tiny import Listening

OLD = [f"{name}.mp4" for name in "abcd"]


class Runs:
    """Ingest and extract of the videos in `folder`, in a workspace beside them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = Workspace(folder / "w")

    def ingest(self, names: list[str], *overrides: str, label: str = "punch") -> tuple[ExperimentConfig, Result]:
        (self._folder / "list.txt").write_text("".join(f"{name} {label}\n" for name in names))
        given = [f"data.root={self._folder}", f"data.annotations={self._folder / 'list.txt'}", "runtime.workers=1"]
        flow = ["flow.method=dis", "flow.segments_per_shard=2", "flow.span_frames=8", "data.max_bad_fraction=1"]
        config: ExperimentConfig = load_config("demo", [*given, *flow, *overrides])
        return config, execute(INGEST, self.place, config, {}).result

    def extract(self, config: ExperimentConfig, ingest: Result, *, force: bool = False) -> tuple[Outcome, str]:
        listening = Listening()
        inputs = {"ingest": ingest}
        outcome = execute(EXTRACT, self.place, config, inputs, progress=listening, force=force, preset=ingest.short_key)
        return outcome, " ".join(line for line in listening.said if "copied" in line)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Four videos of 64x48 px, extracted; and a longer, larger one that comes before them."""
    for number, name in enumerate(OLD):
        write_frames(tmp_path / name, gradient_frames(12 + number))
    write_frames(tmp_path / "0.mp4", gradient_frames(20, height=56, width=72))
    made = Runs(tmp_path)
    made.extract(*made.ingest(OLD))
    return made


def test_a_video_more_and_other_labels_compute_one_video(runs: Runs, tmp_path: Path) -> None:
    config, ingest = runs.ingest(["0.mp4", *OLD], label="wave")
    alone, said = runs.extract(config, ingest, force=True)
    assert not said
    expected = digests(alone.result)
    runs.place.discard("extract", alone.result.key)
    for name in OLD:
        (tmp_path / name).unlink()  # who decoded them would end here
    outcome, said = runs.extract(config, ingest)
    earlier = next(one for one in runs.place.results("extract") if one.key != outcome.result.key)
    assert said == f"flow of 4 of 5 segments is copied from extract {earlier.short_key}"
    assert digests(outcome.result) == expected
    assert outcome.result.record.metrics == alone.result.record.metrics


def test_a_video_less_and_an_extract_that_was_not_finished(runs: Runs, tmp_path: Path) -> None:
    (earlier,) = runs.place.results("extract")
    (earlier.folder / RECORD_NAME).unlink()
    log = CommitLog(Extracted(earlier.folder).commits)
    for shard in (1, FINAL):
        log.forget(shard)
    config, ingest = runs.ingest(OLD[:3])
    (tmp_path / "a.mp4").unlink()
    (tmp_path / "b.mp4").unlink()
    _, said = runs.extract(config, ingest)
    assert said == f"flow of 2 of 3 segments is copied from extract {earlier.short_key}"


def test_what_is_damaged_or_has_other_settings_is_computed(runs: Runs) -> None:
    (earlier,) = runs.place.results("extract")
    config, ingest = runs.ingest(OLD[:3])
    expected = digests(runs.extract(config, ingest, force=True)[0].result)
    runs.place.discard("extract", EXTRACT.key(config, {"ingest": ingest}))
    shard = Extracted(earlier.folder).flow / shard_key(0)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 16
    shard.write_bytes(content)
    outcome, said = runs.extract(config, ingest)
    assert said and digests(outcome.result) == expected
    runs.place.discard("extract", outcome.result.key)
    mark_damaged(earlier.folder, ["flow"])
    assert not runs.extract(config, ingest)[1]
    assert not runs.extract(*runs.ingest(OLD[:3], "flow.jpeg_quality=80"))[1]
    runs.extract(*runs.ingest(["0.mp4"]))
    halves, said = runs.extract(*runs.ingest(["0.mp4"], "data.max_segment_seconds=0.4"))
    assert halves.result.record.metrics["segments"] == 2 and not said
