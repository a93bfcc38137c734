"""Decoding in children that may die: each fault costs one video."""

import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mscl.config import DecodeLimits
from mscl.errors import UserError
from mscl.video import decode_pool
from mscl.video.decode_pool import JobEnd, inspect_many, run_jobs
from mscl.video.video_info import VideoInfo

JOBS = "tests.mscl.crashing_jobs:"
LIMITS = DecodeLimits(timeout_seconds=30)


def misbehave(kinds: list[str], *, workers: int = 2, seconds: float = 20, **more: Any) -> list[JobEnd]:
    jobs = [{"kind": kind, "number": number} for number, kind in enumerate(kinds)]
    return run_jobs(JOBS + "work", jobs, workers=workers, timeout_seconds=seconds, **more)


@pytest.mark.parametrize("workers", [1, 3])
def test_outcomes_come_in_the_order_of_the_jobs(workers: int) -> None:
    seen: dict[int, JobEnd] = {}
    outcomes = misbehave(["ok"] * 7, workers=workers, on_result=seen.__setitem__)
    assert [outcome.value for outcome in outcomes] == [{"number": n} for n in range(7)]
    assert seen == dict(enumerate(outcomes))
    assert misbehave([]) == []


def test_a_crash_a_kill_and_an_exit_cost_one_job_each() -> None:
    outcomes = misbehave(["ok", "segfault", "ok", "kill", "ok", "exit", "raise", "ok"])
    assert [o.status for o in outcomes] == ["done", "crashed", "done", "crashed", "done", "crashed", "failed", "done"]
    assert "SIGSEGV" in outcomes[1].reason
    assert "SIGKILL" in outcomes[3].reason
    assert "code 7" in outcomes[5].reason
    assert outcomes[6].reason == "KeyError: 'no such thing'"


def test_a_hang_ends_at_the_limit() -> None:
    started_s = time.monotonic()
    outcomes = misbehave(["hang", "ok", "ok"], seconds=2)
    assert [o.status for o in outcomes] == ["timeout", "done", "done"]
    assert time.monotonic() - started_s < 15


def test_memory_is_limited() -> None:
    outcomes = misbehave(["hoard", "ok"], workers=1, memory_bytes=4 << 30)
    assert [o.status for o in outcomes] == ["failed", "done"]
    assert outcomes[0].reason.startswith("MemoryError")


def test_printing_does_not_disturb_the_answers_and_runs_from_a_thread() -> None:
    found: list[JobEnd] = []
    thread = threading.Thread(target=lambda: found.extend(misbehave(["print", "print"])))
    thread.start()
    thread.join()
    assert [o.value for o in found] == [{"number": 0}, {"number": 1}]


def test_workers_that_cannot_start_say_why() -> None:
    with pytest.raises(RuntimeError, match="no_such_module"):
        run_jobs("no_such_module:work", [{}], workers=1, timeout_seconds=5)


def test_no_worker_that_starts_in_time_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mscl.video.decode_pool._START_SECONDS", 0.0)
    with pytest.raises(UserError, match=r"none of the 2 processes .* starts within 0 s: .*lower runtime\.workers"):
        misbehave(["print", "print"], workers=2)


def test_an_exception_in_the_callback_leaves_no_worker() -> None:
    def stop(index: int, outcome: JobEnd) -> None:
        raise KeyboardInterrupt

    before = _own_children()  # other tests' servers may still run
    with pytest.raises(KeyboardInterrupt):
        misbehave(["ok", "hang", "hang"], on_result=stop)
    assert set(_own_children()) <= set(before)


def test_a_decoder_killed_twice_costs_its_video(tmp_path: Path, write_video: Any) -> None:
    """Once may be for another's sake: the system takes any process where memory runs out."""
    paths = [write_video(f"{n}.mp4", 5) for n in range(4)]
    real, kills = decode_pool._Worker.give, {1: 2, 2: 1}

    def give_and_kill(worker: decode_pool._Worker, index: int, *given: Any, now_s: float) -> None:
        is_killed = kills.get(index, 0) > 0
        if is_killed:
            os.kill(worker._process.pid, signal.SIGSTOP)
        real(worker, index, *given, now_s=now_s)
        if is_killed:
            kills[index] -= 1
            os.kill(worker._process.pid, signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_pool._Worker, "give", give_and_kill)
        results = inspect_many(paths, limits=LIMITS, workers=2)
    assert [info.verdict for info in results] == ["ok", "crashed", "ok", "ok"] and kills == {1: 0, 2: 0}
    assert "SIGKILL" in results[1].reason and results[1].size_bytes == paths[1].stat().st_size


def test_a_decoder_that_hangs_costs_its_video_and_its_time(tmp_path: Path, write_video: Any) -> None:
    paths = [write_video(f"{n}.mp4", 5) for n in range(3)]
    real = decode_pool._Worker.give

    def give_and_stop(worker: decode_pool._Worker, index: int, *given: Any, now_s: float) -> None:
        if index == 0:
            os.kill(worker._process.pid, signal.SIGSTOP)  # to its parent this is a decoder that never comes back
        real(worker, index, *given, now_s=now_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_pool._Worker, "give", give_and_stop)
        patch.setattr(decode_pool, "_GRACE_SECONDS", 1.0)
        started_s = time.monotonic()
        results = inspect_many(paths, limits=DecodeLimits(timeout_seconds=2), workers=1)
    assert [info.verdict for info in results] == ["timeout", "ok", "ok"]
    assert "not decoded within 2 s" in results[0].reason
    assert 3 <= time.monotonic() - started_s < 60


def test_a_stop_of_the_whole_run_costs_no_video(write_video: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z and `fg`, or a batch job that is suspended: parent and decoders wake up long after every deadline."""
    real, stopped_s = decode_pool._Worker.give, [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + stopped_s[0])
    monkeypatch.setattr("mscl.video.awake_clock.time", clock)

    def give_and_wake_up_late(worker: decode_pool._Worker, *given: Any, now_s: float) -> None:
        real(worker, *given, now_s=now_s)
        stopped_s[0] += 1000

    monkeypatch.setattr(decode_pool._Worker, "give", give_and_wake_up_late)
    results = inspect_many([write_video(f"{n}.mp4", 5) for n in range(3)], limits=LIMITS, workers=1)
    assert [info.verdict for info in results] == ["ok"] * 3


def test_inspect_many_equals_inspecting_here(tmp_path: Path, write_video: Any) -> None:
    from mscl.video.video_info import inspect_video

    paths = [write_video("a.mp4", 9), tmp_path / "absent.mp4", write_video("b.avi", 4, codec="mpeg4")]
    seen: list[tuple[int, VideoInfo]] = []
    found = inspect_many(
        paths, limits=LIMITS, workers=2, min_frames=6, on_result=lambda i, info: seen.append((i, info))
    )
    assert found == [inspect_video(path, limits=LIMITS, min_frames=6) for path in paths]
    assert [info.verdict for info in found] == ["ok", "missing", "too_short"]
    assert sorted(seen, key=lambda pair: pair[0]) == list(enumerate(found))


def _own_children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()]
