"""The worker's side of `mscl.video.decode_pool`.

`python -m mscl.video.decode_worker MODULE:NAME MEMORY_BYTES PARENT_PID`.
"""

import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mscl.devices import cores
from mscl.orphans import die_with_parent
from mscl.video.config import DecodeLimits
from mscl.video.video_info import inspect_video


def inspect_job(*, path: str, limits: dict[str, Any], min_frames: int, min_side_px: int) -> dict[str, Any]:
    """`inspect_video` with JSON values in and out."""
    found = inspect_video(
        path, limits=DecodeLimits.model_validate(limits), min_frames=min_frames, min_side_px=min_side_px
    )
    return asdict(found)


def main() -> None:
    """Answer one JSON line per job read from stdin, until it closes."""
    function, memory_bytes, parent_pid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    die_with_parent(parent=parent_pid)
    # The terminal's Ctrl-C is the parent's to handle; it kills its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a library prints to stdout must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work = _resolve(function)
    if memory_bytes:
        _limit(resource.RLIMIT_AS, memory_bytes)
    _answer(answers, "done", None, "")
    for line in sys.stdin:
        order = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + order["seconds"] * cores()) + 5)
        try:
            value = work(**order["job"])
        except Exception as error:  # every failure of a job is the parent's to judge, none ends this process
            _answer(answers, "failed", None, f"{type(error).__name__}: {error}")
        else:
            _answer(answers, "done", value, "")


def _answer(answers: Any, status: str, value: Any, reason: str) -> None:
    answers.write(json.dumps({"status": status, "value": value, "reason": reason}) + "\n")
    answers.flush()


def _resolve(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
