"""The real ingest stage over good, bad and missing videos: a verdict for each, a list of what is missing, no drama."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mscl.config import load_config
from mscl.errors import DataError, UserError
from mscl.extract.stage import EXTRACT
from mscl.extract.video_pass import segments_of
from mscl.ingest.stage import INGEST
from mscl.pipeline import Outcome, execute
from mscl.pipeline.repair import repair
from mscl.progress import Silent
from mscl.stage.contract import Stage
from mscl.video.opening import Verdict
from mscl.video.video_info import VideoInfo
from storage.manifest import SegmentRow, read_manifest, write_manifest, write_table
from storage.result_folder import mark_damaged
from storage.verify import verify_result
from storage.workspace import Workspace
from tests.mscl.video.test_cuts import shot
from tests.mscl.written_videos import WriteVideo, write_frames


def ingest(tmp_path: Path, *overrides: str, stage: Stage = INGEST, force: bool = False) -> Outcome:
    settings = [
        f"data.root={tmp_path}",
        f"data.annotations={tmp_path / 'list.txt'}",
        "runtime.workers=1",
        "flow.span_frames=8",
    ]
    return execute(stage, Workspace(tmp_path / "w"), load_config("demo", [*settings, *overrides]), {}, force=force)


def write_list(tmp_path: Path, *names: str) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{name} punch\n" for name in names))


def test_every_video_has_its_verdict_and_missing_ones_are_listed(tmp_path: Path, write_video: WriteVideo) -> None:
    good = write_video("good.mp4", 30)
    write_video("long.mp4", 60)
    write_video("short.mp4", 8)
    (tmp_path / "twin.mp4").write_bytes(good.read_bytes())
    (tmp_path / "empty.mp4").touch()
    cut = write_video("cut.mkv", 40, codec="mpeg4")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    missing = ["gone (1).mp4", "sub/gone+.mp4"]
    write_list(tmp_path, "good.mp4", "long.mp4", "short.mp4", "twin.mp4", "empty.mp4", "cut.mkv", *missing)
    outcome = ingest(tmp_path, "data.max_segment_seconds=1.5", "data.max_bad_fraction=0.6")
    folder, metrics = outcome.result.folder, outcome.result.record.metrics
    rows = list(read_manifest(folder / "manifest.parquet").rows())
    assert {row.video: row.verdict for row in rows} == {
        "good.mp4": "ok", "long.mp4": "ok", "short.mp4": "too_short", "twin.mp4": "duplicate",
        "empty.mp4": "unreadable", "cut.mkv": "truncated",
    }  # fmt: skip
    assert all(row.reason for row in rows if row.verdict != "ok")
    parts = [(row.first_frame, row.num_frames) for row in rows if row.video == "long.mp4"]
    assert parts == [(0, 30), (30, 30)]  # 2.4 s at 25 frames a second, 1.5 s at most
    assert (folder / "missing.txt").read_text().splitlines() == missing
    assert metrics["missing"] == 2
    assert metrics["verdicts"] == {"ok": 2, "too_short": 1, "duplicate": 1, "unreadable": 1, "truncated": 1}
    assert "missing.txt" in {file.path for file in outcome.result.record.files}

    # A video that turns up makes another result, and so does another policy.
    write_video("gone (1).mp4", 20)
    again = ingest(tmp_path, "data.max_segment_seconds=1.5", "data.max_bad_fraction=0.6")
    assert not again.reused and again.result.record.metrics["missing"] == 1
    dropped = ingest(tmp_path, "data.partial=drop", "data.max_bad_fraction=0.6").result.record.metrics["verdicts"]
    assert dropped["dropped"] == 1 and "truncated" not in dropped


def test_too_many_bad_videos_stop_before_the_expensive_stages(tmp_path: Path, write_video: WriteVideo) -> None:
    write_video("good.mp4", 30)
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"no video at all")
    write_list(tmp_path, "good.mp4", "a.mp4", "b.mp4")
    with pytest.raises(DataError, match=r"2 of 3 videos cannot be used.*2 unreadable \(e.g. a.mp4.*raise the fraction"):
        ingest(tmp_path)
    allowed = ingest(tmp_path, "data.max_bad_fraction=0.7").result
    assert allowed.record.metrics["segments"] == 1 and allowed.record.config["data"]["max_bad_fraction"] == 0.7
    # The same result, whatever may be bad; and what may not be is asked again before flow is computed.
    given = [f"data.root={tmp_path}", f"data.annotations={tmp_path / 'list.txt'}", "flow.method=dis"]
    for fraction, stops in (
        (0.9, nullcontext()),
        (0.5, pytest.raises(DataError, match="2 of 3 videos cannot be used")),
    ):
        again = ingest(tmp_path, f"data.max_bad_fraction={fraction}")
        assert again.reused and again.result.key == allowed.key and EXTRACT.preflight is not None
        with stops:
            EXTRACT.preflight(load_config("demo", [*given, f"data.max_bad_fraction={fraction}"]), {"ingest": allowed})


def watch_decoding(monkeypatch: pytest.MonkeyPatch, found: Callable[[Path], VideoInfo]) -> list[str]:
    """Let `found` stand for the decoders; the names of the videos that were given to it."""
    decoded: list[str] = []

    def look(videos: list[Path], *, on_result: Callable[[int, VideoInfo], None], **_given: Any) -> None:
        for number, video in enumerate(videos):
            decoded.append(video.name)
            on_result(number, found(video))

    monkeypatch.setattr("mscl.ingest.inspection.inspect_many", look)
    return decoded


def test_what_was_found_of_a_file_serves_other_ingests_unless_limits_or_the_stage_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(video: Path) -> VideoInfo:
        good = VideoInfo("ok", "", 60, 25.0, 32, 32, size_bytes=video.stat().st_size, digest="0" * 64)
        return good if video.name == "good.mp4" else VideoInfo("unreadable", size_bytes=1)

    decoded = watch_decoding(monkeypatch, found)
    for name in ("good.mp4", "bad.mp4"):
        (tmp_path / name).write_bytes(b"1")
    write_list(tmp_path, "good.mp4", "bad.mp4")

    def looks(*overrides: str, **given: Any) -> int:
        decoded.clear()
        ingest(tmp_path, *overrides, **given)
        return len(decoded)

    with pytest.raises(DataError, match="raise the fraction"):
        looks("data.max_bad_fraction=0.4")
    assert len(decoded) == 2
    assert looks() == looks("data.cuts=ignore") == looks("data.max_segment_seconds=1") == 0
    assert looks("data.cuts=ignore", force=True) == 2
    for log in (tmp_path / "w").glob("ingest/*/.inspected-*.log"):
        log.write_bytes(log.read_bytes()[:-40])  # of an ingest that is at work
    assert looks("data.max_segment_seconds=2") == 1
    assert looks("data.limits.timeout_seconds=60") == looks("flow.span_frames=4") == 2
    (tmp_path / "good.mp4").write_bytes(b"2")
    assert looks() == 1
    (tmp_path / "more.mp4").write_bytes(b"3")
    write_list(tmp_path, "good.mp4", "bad.mp4", "more.mp4")
    assert looks("data.max_bad_fraction=1") == 1
    (tmp_path / "list.txt").write_text("good.mp4 wave\nbad.mp4 punch\n")
    assert looks() == 0
    later = replace(INGEST, version=INGEST.version + 1)
    monkeypatch.setattr("mscl.ingest.stage.INGEST", later)
    assert looks(stage=later) == 2


def test_a_bad_video_that_was_mended_in_its_middle_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(video: Path) -> VideoInfo:
        size = video.stat().st_size
        good = VideoInfo("ok", "", 60, 25.0, 32, 32, size_bytes=size, digest=video.name)
        return VideoInfo("unreadable", size_bytes=size) if b"hole" in video.read_bytes() else good

    decoded = watch_decoding(monkeypatch, found)
    (tmp_path / "good.mp4").write_bytes(bytes(30_000))
    (tmp_path / "bad.mp4").write_bytes(bytes(6_000) + b"hole" + bytes(23_996))  # outside of what is marked
    write_list(tmp_path, "good.mp4", "bad.mp4")
    with pytest.raises(DataError, match="Mend the videos"):
        ingest(tmp_path, "data.max_bad_fraction=0.4")
    time.sleep(0.02)  # the clock of files stands still for milliseconds
    (tmp_path / "bad.mp4").write_bytes(bytes(30_000))
    decoded.clear()
    assert ingest(tmp_path, "data.max_bad_fraction=0.4").result.record.metrics["verdicts"] == {"ok": 2}
    assert decoded == ["bad.mp4"]


@pytest.mark.parametrize("verdict", ["timeout", "crashed"])
def test_what_the_machine_may_have_caused_is_not_believed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    busy = True

    def found(video: Path) -> VideoInfo:
        good = VideoInfo("ok", "", 60, 25.0, 32, 32, size_bytes=1, digest=video.name)
        return VideoInfo(verdict, size_bytes=1) if busy and video.name == "slow.mp4" else good

    decoded = watch_decoding(monkeypatch, found)
    for name in ("quick.mp4", "slow.mp4"):
        (tmp_path / name).write_bytes(b"1")
    write_list(tmp_path, "quick.mp4", "slow.mp4")
    with pytest.raises(DataError, match="raise the fraction"):
        ingest(tmp_path, "data.max_bad_fraction=0.4")
    busy = False
    decoded.clear()
    whole = ingest(tmp_path, "data.max_bad_fraction=0.4", "data.cuts=ignore").result  # takes the log of another over
    assert decoded == ["slow.mp4"] and whole.record.metrics["verdicts"] == {"ok": 2}


def test_a_film_of_which_the_list_names_a_part_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(videos: list[Path], *, on_result: Callable[[int, VideoInfo], None], **_given: Any) -> None:
        for number, video in enumerate(videos):
            frames = 25 * (11 if video.name == "cut.mp4" else 300)
            on_result(number, VideoInfo("ok", "", frames, 25.0, 32, 32, size_bytes=1, digest=video.name))

    monkeypatch.setattr("mscl.ingest.inspection.inspect_many", look)
    for name in ("cut.mp4", "whole.mp4"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "k.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nrun,cut,30,40,train\nrun,whole,30,40,train\n"
    )
    metrics = ingest(tmp_path, f"data.annotations={tmp_path / 'k.csv'}").result.record.metrics
    says = (
        "1 videos are longer than the times that the lists give, the first: whole.mp4 has 300 s, and its line is of 10"
    )
    assert any(says in note for note in metrics["notes"])


def test_a_damaged_manifest_is_made_again_to_the_same_bytes(tmp_path: Path, write_video: WriteVideo) -> None:
    write_video("good.mp4", 30)
    write_list(tmp_path, "good.mp4")
    workspace, result = Workspace(tmp_path / "w"), ingest(tmp_path).result
    path = result.folder / "manifest.parquet"
    sound = path.read_bytes()
    path.write_bytes(sound[:100] + bytes([sound[100] ^ 4]) + sound[101:])
    (found,) = verify_result(result.folder, result.record)
    assert found.file == "manifest.parquet"
    mark_damaged(result.folder, [str(found)])
    assert not repair(workspace, INGEST, result.folder, progress=Silent()).reused
    assert path.read_bytes() == sound and verify_result(result.folder, result.record) == []
    write_video("good.mp4", 40)
    mark_damaged(result.folder, [str(found)])
    with pytest.raises(UserError, match="cannot be made again from its record: code, videos or hardware"):
        repair(workspace, INGEST, result.folder, progress=Silent())


def test_segments_end_at_cuts_unless_they_are_ignored(tmp_path: Path) -> None:
    frames = np.concatenate([shot(seed, count) for seed, count in ((0, 30), (1, 8), (2, 40))])
    write_frames(tmp_path / "joined.mkv", frames, options={"crf": "10"})
    write_frames(tmp_path / "held.mkv", shot(3, 30), options={"crf": "10"})
    write_list(tmp_path, "joined.mkv", "held.mkv")

    def rows(*overrides: str) -> tuple[list[tuple[object, ...]], dict[str, Any]]:
        result = ingest(tmp_path, *overrides).result
        manifest = read_manifest(result.folder / "manifest.parquet")
        whole = [(row.first_frame, row.num_frames, row.verdict, row.cuts) for row in manifest.rows()]
        joined = [segment for segment in segments_of(manifest, tmp_path) if segment.video == "joined.mkv"]
        assert {segment.video_frames for segment in joined} == {78}
        return whole, result.record.metrics

    held = (0, 30, "ok", ())
    found, metrics = rows()
    assert found == [(0, 30, "ok", ()), (30, 8, "too_short", (0,)), (38, 40, "ok", (0,)), held]
    assert metrics["verdicts"] == {"ok": 2} and metrics["segments"] == 3
    lists, *notes = metrics["notes"]
    assert lists.endswith("list.txt (2 train)") and notes == ["2 cuts in 1 videos; segments end there"]
    assert rows("data.cuts=ignore")[0] == [(0, 78, "ok", (30, 38)), held]


def test_a_manifest_of_before_cuts_is_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    write_manifest(path, [SegmentRow("a.avi#0", "a.avi", num_frames=9)])
    write_table(path, read_manifest(path).table.drop_columns("cuts"))
    assert read_manifest(path).row(0) == SegmentRow("a.avi#0", "a.avi", num_frames=9)
