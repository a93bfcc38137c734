"""What `mscl ls` says of a result."""

from pathlib import Path

import pytest

from flows.cli.listing import HEAD, age, rows_of
from storage.result_folder import Result
from storage.workspace import Workspace


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (86400, "1 day"),
     (6.5 * 86400, "6 days"), (7 * 86400, "1 week"), (900 * 86400, "128 weeks"), (-5, "0 s")],
)  # fmt: skip
def test_ages_are_whole_units(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


def made(place: Workspace, stage: str, config: dict[str, object], *inputs: Result, **metrics: object) -> Result:
    keys = {result.record.stage: result.key for result in inputs}
    key = f"{len(place.results()):016x}"
    with place.claim(stage, key):
        place.begin(stage, key, config=config, inputs=keys)
        return place.commit(stage, key, version=1, config=config, inputs=keys, metrics=metrics, timings={})


def test_preset_dataset_and_score(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    counts = {"videos": 12, "classes": 2}
    ucf = made(
        place, "ingest", {"data": {"root": "/a/UCF-101"}}, verdicts={"ok": 10, "truncated": 1, "short": 1}, **counts
    )
    one = made(place, "ingest", {"data": {"root": "/a/videos"}}, verdicts={"ok": 12}, **counts)
    two = made(place, "ingest", {"data": {"root": "/b/videos"}}, verdicts={"ok": 12}, **counts)
    extract = made(place, "extract", {"preset": "/a/mine.yaml"}, ucf, fields=1200, segments=12)
    scores = {"trained": {"R@1": 0.25, "mAP": 0.2}, "untrained": {"R@1": 0.125, "mAP": 0.1}, "chance": {"R@1": 0.1}}
    made(place, "retrieve", {"preset": "ucf101"}, extract, **scores)
    made(place, "finetune", {}, one, skipped="finetune.enabled is false")
    made(place, "probe", {}, two, skipped="no video has a label")
    made(place, "pretrain", {}, loss=7.12345, steps=1200)
    columns = [HEAD.index(name) for name in ("stage", "preset", "dataset", "result")]
    assert [tuple(row[column] for column in columns) for row in rows_of(place.results())] == [
        ("ingest", "-", "UCF-101", "11 of 12 videos, 2 classes"),
        ("ingest", "-", "/a/videos", "12 videos, 2 classes"),
        ("ingest", "-", "/b/videos", "12 videos, 2 classes"),
        ("extract", "mine.yaml", "UCF-101", "1,200 fields of 12 segments"),
        ("retrieve", "ucf101", "UCF-101", "R@1 25.0, untrained 12.5"),
        ("finetune", "-", "/a/videos", "skipped: finetune.enabled is false"),
        ("probe", "-", "/b/videos", "skipped: no video has a label"),
        ("pretrain", "-", "-", "loss 7.123 after 1,200 steps"),
    ]
    backwards = [row[:5] for row in rows_of(place.results()[::-1])]
    assert backwards == [row[:5] for row in rows_of(place.results())]  # the latest last, however they come
