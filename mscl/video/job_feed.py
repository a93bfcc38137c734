"""Jobs for worker processes: those that can begin at once, and those whose video must be fetched before."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from mscl.video.config import DecodeLimits
from mscl.video.opening import VideoError
from mscl.video.places import Place, at_hand
from mscl.video.video_info import VideoInfo

Job = dict[str, Any]
"""Keyword arguments, JSON values."""


@dataclass(frozen=True)
class JobEnd:
    """How one job ended. `failed`: it raised, and `reason` is the exception; `crashed`: its process died."""

    status: Literal["done", "failed", "crashed", "timeout"]
    value: Any = None
    """What the function returned, through JSON."""
    reason: str = ""


class JobFeed(Protocol):
    """Numbered jobs, handed out one by one."""

    bell: int | None
    """Descriptor from which something can be read when there is more to take; None: all is there from the start."""

    def __len__(self) -> int: ...

    def take(self) -> tuple[int, Job | JobEnd] | None:
        """A job that can begin, or how one ended without a worker; None where there is none now, or none any more."""

    def done(self, index: int) -> None:
        """A job that was taken has ended."""

    def close(self) -> None:
        """No more is taken."""


class Ready:
    """Jobs that can begin at once, in order."""

    bell: int | None = None

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs, self._left = jobs, iter(range(len(jobs)))

    def __len__(self) -> int:
        return len(self._jobs)

    def take(self) -> tuple[int, Job | JobEnd] | None:
        index = next(self._left, None)
        return None if index is None else (index, self._jobs[index])

    def done(self, index: int) -> None: ...

    def close(self) -> None: ...


class Fetched:
    """A job for each video, which threads fetch ahead of the workers; it is held until its job has ended.

    They come in the order in which they are there, so that none waits for another. What ends the fetching as a whole
    (storage that does not answer) is raised by `take`.
    """

    def __init__(
        self, videos: Sequence[Place], job_of: Callable[[int, Path], Job], *, limits: DecodeLimits, ahead: int
    ) -> None:
        self._videos, self._job_of, self._limits, self._ahead = videos, job_of, limits, ahead
        self._todo: Iterator[int] = iter(range(len(videos)))
        self._room, self._lock, self._is_closed = threading.Semaphore(ahead), threading.Lock(), False
        self._there: deque[tuple[int, Job | JobEnd | Exception]] = deque()
        self._held: dict[int, ExitStack] = {}
        self._bell_read, self._bell_write = os.pipe()
        self.bell: int | None = self._bell_read
        # Daemons: a transfer that hangs does not keep the process from ending.
        for _ in range(min(ahead, len(videos))):
            threading.Thread(target=self._fetch, name="fetch-video", daemon=True).start()

    def __len__(self) -> int:
        return len(self._videos)

    def take(self) -> tuple[int, Job | JobEnd] | None:
        with suppress(IndexError):
            index, what = self._there.popleft()
            if isinstance(what, Exception):
                raise what
            return index, what
        return None

    def done(self, index: int) -> None:
        self._held.pop(index).close()
        self._room.release()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            for held in self._held.values():
                held.close()
            os.close(self._bell_read)
            os.close(self._bell_write)
        self._room.release(self._ahead)  # threads that wait for room find that it is over

    def _fetch(self) -> None:
        while True:
            self._room.acquire()
            with self._lock:
                index = None if self._is_closed else next(self._todo, None)
            if index is None:
                return
            held = ExitStack()
            what = self._brought(index, held)
            with self._lock:
                if self._is_closed:
                    held.close()
                    return
                self._held[index] = held
                self._there.append((index, what))
                os.write(self._bell_write, b".")

    def _brought(self, index: int, held: ExitStack) -> Job | JobEnd | Exception:
        try:
            return self._job_of(index, held.enter_context(at_hand(self._videos[index], limits=self._limits)))
        except FileNotFoundError:
            found = VideoInfo("missing", "no such file")
        except PermissionError:
            found = VideoInfo("unreadable", "Permission denied")
        except VideoError as error:
            found = VideoInfo(error.verdict, error.reason)
        except Exception as error:  # whoever takes raises it
            return error
        return JobEnd("done", asdict(found))
