"""Which videos are scored, and which of those that a list names are not."""

from pathlib import Path

import numpy as np

from mscl.score.labels import left_out_notes, unfit
from storage.layout import Ingested
from storage.manifest import SegmentRow, write_manifest


def test_test_videos_that_are_in_no_score_are_counted(tmp_path: Path) -> None:
    rows = [SegmentRow(f"{n}#0", str(n), "a", 0, "test", verdict="ok" if n else "corrupt") for n in range(4)]
    rows += [SegmentRow("3#1", "3", "a", 0, "test", verdict="too_short"), SegmentRow("4#0", "4", "a", 0, "train")]
    write_manifest(Ingested(tmp_path).manifest_path, rows, classes=("a",))
    manifest = Ingested(tmp_path).manifest()
    lost = "1 of the 4 test videos cannot be used and are in no score; ingest says why"
    assert left_out_notes({1: manifest}) == [lost]
    assert left_out_notes({1: manifest, 2: manifest.ok()}, missing=2) == [
        "2 listed videos were not found and are in no score", f"split 1: {lost}",
    ]  # fmt: skip


def test_a_test_split_without_labels_cannot_be_scored() -> None:
    reason = unfit(["train", "train", "test", "test"], np.array([0, 1, -1, -1]))
    assert reason.startswith("none of the 2 videos of the test split has a label, and no labelled video is in val")
