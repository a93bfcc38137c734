"""A video is decoded for its flow as it was decoded when it was ingested."""

from types import SimpleNamespace

import pytest

from mscl.errors import DataError
from mscl.extract.video_pass import Segment, passes
from mscl.video.config import DecodeLimits
from mscl.video.video_info import inspect_video
from tests.mscl.written_videos import WriteVideo

LIMITS = DecodeLimits(timeout_seconds=20)


def test_what_was_decoded_in_time_once_may_take_longer(
    write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, pace_s = 0.0, 0.1

    def monotonic() -> float:
        nonlocal now_s
        now_s += pace_s
        return now_s

    monkeypatch.setattr("mscl.video.awake_clock.time", SimpleNamespace(monotonic=monotonic))
    path = write_video("a.mp4", 24)
    found = inspect_video(path, limits=LIMITS)
    assert found.verdict == "ok"
    segment = Segment(path, 0, found.num_frames, found.height, found.width, found.size_bytes)
    pace_s = 1.0  # pictures are made, other work shares the cores
    assert inspect_video(path, limits=LIMITS).verdict == "timeout"
    for _, frames in passes([segment], limits=LIMITS, short_side_px=32):
        assert len(list(frames)) == 24
    pace_s = 4.9
    with pytest.raises(DataError, match=r"not decoded within 200 s\), and gave 24 .*; run the same command again when"):
        for _, frames in passes([segment], limits=LIMITS, short_side_px=32):
            list(frames)
