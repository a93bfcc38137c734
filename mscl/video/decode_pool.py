"""Work in child processes that may die: a job that crashes, hangs or eats memory costs that job and no other.

One whose process was killed from outside is tried once more: the system takes whichever process it likes where memory
runs out.

Workers are plain subprocesses that speak JSON lines, so they can be had from anywhere (scripts without a main
guard, daemonic processes, threads), and nothing is unpickled. A worker is killed with its parent.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from mscl.errors import UserError
from mscl.video.awake_clock import AwakeClock
from mscl.video.config import DecodeLimits
from mscl.video.job_feed import Fetched, Job, JobEnd, JobFeed, Ready
from mscl.video.places import Place
from mscl.video.video_info import VideoInfo

_START_SECONDS = 120.0
_AHEAD = 4
"""Videos that are fetched, or there already, beyond those that workers decode."""
_LOOK_SECONDS = 1.0
"""Between two readings of the clock, which misses what is longer than a few."""
_GRACE_SECONDS = 5.0
"""How much later than a job's own deadline the worker that does not keep it is killed."""


def inspect_many(
    videos: Sequence[Place],
    *,
    limits: DecodeLimits,
    workers: int = 1,
    min_frames: int = 2,
    min_side_px: int = 1,
    on_result: Callable[[int, VideoInfo], None] | None = None,
) -> list[VideoInfo]:
    """`inspect_video` of every video, in child processes; the results in the order of `videos`.

    Those in object storage are fetched ahead, and let go when they are done.

    Args:
        on_result: called in this thread with the index and the finding as soon as each video is done.

    Raises:
        DataError: object storage does not answer.
    """
    settings = {"limits": limits.model_dump(mode="json"), "min_frames": min_frames, "min_side_px": min_side_px}
    results: list[VideoInfo | None] = [None] * len(videos)
    paths: dict[int, Path] = {}

    def job_of(index: int, path: Path) -> Job:
        paths[index] = path
        return {"path": str(path), **settings}

    def found(index: int, ended: JobEnd) -> None:
        results[index] = info = _as_info(paths.pop(index, None), ended, limits)
        if on_result:
            on_result(index, info)

    local = [video for video in videos if isinstance(video, Path)]
    feed: JobFeed = Ready([job_of(index, path) for index, path in enumerate(local)])
    if len(local) < len(videos):
        feed = Fetched(videos, job_of, limits=limits, ahead=max(1, workers) + _AHEAD)
    run_jobs(
        "mscl.video.decode_worker:inspect_job", feed, workers=workers,
        timeout_seconds=limits.timeout_seconds + _GRACE_SECONDS, memory_bytes=memory_limit(limits), on_result=found,
    )  # fmt: skip
    return [info for info in results if info is not None]


def memory_limit(limits: DecodeLimits) -> int:
    """Address space in bytes that decoding within `limits` may need: the libraries and about 20 pictures."""
    return (3 << 30) + 32 * limits.max_pixels


def run_jobs(
    function: str,
    jobs: Sequence[Job] | JobFeed,
    *,
    workers: int,
    timeout_seconds: float,
    memory_bytes: int | None = None,
    on_result: Callable[[int, JobEnd], None] | None = None,
) -> list[JobEnd]:
    """Call `function` once per job in child processes; how each ended, in the order of `jobs`.

    Args:
        function: `package.module:name`, called with the job's items as keyword arguments; both the items and what
            it returns are JSON values.
        timeout_seconds: limit of one job by the clock, after which its process is killed; while this process is stopped
            (Ctrl-Z), the clock is, too.
        memory_bytes: address space of a worker (RLIMIT_AS); None: no limit.
        on_result: called in this thread with a job's index and how it ended, as soon as it did. If it raises, the
            workers are killed and the exception goes on.

    Raises:
        RuntimeError: workers cannot start; the message holds what they said.
        UserError: not one starts in time.
    """
    with selectors.DefaultSelector() as selector:
        feed = Ready(jobs) if isinstance(jobs, Sequence) else jobs
        run = _Run(function, feed, selector, timeout_seconds, memory_bytes, on_result)
        try:
            run.work(workers)
        finally:
            run.kill()
            feed.close()
    return [run.ends[index] for index in range(len(jobs))]


class _Run:
    """Jobs, the workers that they are given to, and how they ended so far."""

    def __init__(
        self,
        function: str,
        feed: JobFeed,
        selector: selectors.BaseSelector,
        timeout_seconds: float,
        memory_bytes: int | None,
        on_result: Callable[[int, JobEnd], None] | None,
    ) -> None:
        self.ends: dict[int, JobEnd] = {}
        self._function, self._feed, self._selector = function, feed, selector
        self._timeout_seconds, self._memory_bytes, self._on_result = timeout_seconds, memory_bytes, on_result
        self._clock = AwakeClock()
        self._workers: list[_Worker] = []
        self._again: list[tuple[int, Job]] = []
        """Jobs whose worker was killed from outside, to be tried once more."""
        self._killed: set[int] = set()
        if feed.bell is not None:
            selector.register(feed.bell, selectors.EVENT_READ, None)

    def work(self, workers: int) -> None:
        """Until every job has ended."""
        while len(self.ends) < len(self._feed):
            while len(self._workers) < min(max(1, workers), len(self._feed) - len(self.ends)):
                self._start()
            nearest_s = min(worker.deadline_s for worker in self._workers)
            left_s = max(0.0, nearest_s - self._clock.seconds())
            wait_s = None if left_s == float("inf") else min(left_s, _LOOK_SECONDS)
            for key, _ in self._selector.select(wait_s):
                if key.data is None:
                    os.read(key.fd, 1 << 16)
                    self._give_out()
                else:
                    self._hear(key.data)
            for worker in [worker for worker in self._workers if worker.deadline_s < self._clock.seconds()]:
                if worker.ready:
                    self._finish(worker, JobEnd("timeout", reason=f"killed after {self._timeout_seconds:g} s"))
                elif not any(other.ready for other in self._workers):
                    raise UserError(
                        f"none of the {len(self._workers)} processes that decode videos starts within "
                        f"{_START_SECONDS:g} s: the machine, or the disk with this installation, has too much to do; "
                        "lower runtime.workers and run the same command again: what is done is kept"
                    )
                self._end(worker)

    def kill(self) -> None:
        """The workers that are left."""
        for worker in self._workers:
            worker.kill()

    def _hear(self, worker: _Worker) -> None:
        line = worker.read()
        if line is None:
            return
        if line == "":
            reason = worker.obituary()
            if not worker.ready:
                raise RuntimeError(f"worker process for {self._function} does not start: {reason}")
            if worker.job is not None and worker.was_killed and worker.job not in self._killed:
                self._killed.add(worker.job)
                self._again.append((worker.job, worker.order))
            elif worker.job is not None:
                self._finish(worker, JobEnd("crashed", reason=reason))
            self._end(worker)
            return
        answer = json.loads(line)
        if worker.job is not None:
            self._finish(worker, JobEnd(answer["status"], answer["value"], answer["reason"]))
        worker.ready, worker.deadline_s = True, float("inf")
        self._give_out()

    def _give_out(self) -> None:
        """What can begin goes to the workers that have nothing to do."""
        idle = [worker for worker in self._workers if worker.ready and worker.job is None]
        while idle and (taken := self._again.pop() if self._again else self._feed.take()) is not None:
            index, job = taken
            if isinstance(job, JobEnd):
                self._note(index, job)
            else:
                idle.pop().give(index, job, self._timeout_seconds, now_s=self._clock.seconds())

    def _start(self) -> None:
        worker = _Worker(self._function, self._memory_bytes, now_s=self._clock.seconds())
        self._workers.append(worker)
        self._selector.register(worker.answers, selectors.EVENT_READ, worker)

    def _finish(self, worker: _Worker, ended: JobEnd) -> None:
        index, worker.job = worker.job, None
        assert index is not None
        self._note(index, ended)

    def _note(self, index: int, ended: JobEnd) -> None:
        self.ends[index] = ended
        if self._on_result:
            self._on_result(index, ended)
        self._feed.done(index)

    def _end(self, worker: _Worker) -> None:
        self._selector.unregister(worker.answers)
        self._workers.remove(worker)
        worker.kill()


class _Worker:
    """One child process, idle or at one job."""

    def __init__(self, function: str, memory_bytes: int | None, *, now_s: float) -> None:
        self.job: int | None = None
        self.order: Job = {}
        self.ready = False
        self.deadline_s = now_s + _START_SECONDS
        self._said_fd, name = tempfile.mkstemp()
        os.unlink(name)
        self._buffer = b""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mscl.video.decode_worker", function, str(memory_bytes or 0), str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said_fd, env=environment, bufsize=0,
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._orders: IO[bytes] = self._process.stdin
        self.answers: IO[bytes] = self._process.stdout

    @property
    def was_killed(self) -> bool:
        """Whether it ended by SIGKILL, which no decoder sends itself."""
        return self._process.wait() == -signal.SIGKILL

    def give(self, index: int, job: Job, timeout_seconds: float, *, now_s: float) -> None:
        self.job, self.order = index, job
        self.deadline_s = now_s + timeout_seconds
        try:
            self._orders.write(json.dumps({"job": job, "seconds": timeout_seconds}).encode() + b"\n")
        except BrokenPipeError:
            return  # it died while idle; reading from it finds that out next

    def read(self) -> str | None:
        """A line; "" when the worker is gone; None while the line is not whole."""
        chunk = os.read(self.answers.fileno(), 1 << 16)
        if not chunk:
            return ""
        self._buffer += chunk
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        return line.decode()

    def obituary(self) -> str:
        """How the process died, and the last line that it wrote to stderr."""
        code = self._process.wait()
        how = f"the decoder process ended with code {code}"
        if code < 0:
            known = {s.value: s.name for s in signal.Signals}
            how = f"the decoder process was killed by {known.get(-code, f'signal {-code}')}"
        size = os.fstat(self._said_fd).st_size
        last = os.pread(self._said_fd, 4096, max(0, size - 4096)).decode(errors="replace").strip().splitlines()[-1:]
        return f"{how}: {last[0][:300]}" if last else how

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._orders.close()
        self.answers.close()
        os.close(self._said_fd)


def _as_info(path: Path | None, ended: JobEnd, limits: DecodeLimits) -> VideoInfo:
    if ended.status == "done":
        return VideoInfo(**ended.value)
    size_bytes = path.stat().st_size if path is not None and path.is_file() else 0
    if ended.status == "timeout":
        return VideoInfo("timeout", f"not decoded within {limits.timeout_seconds:g} s", size_bytes=size_bytes)
    return VideoInfo("crashed", ended.reason, size_bytes=size_bytes)
