"""Training in this process, where a test is about what comes of it: a rank takes five seconds to start.

That ranks start, end and are told of is tests/mscl/pretrain/test_ranks.py, and a stage with ranks of its own is in
tests/flows/test_full_flow.py, tests/flows/test_faults.py and tests/mscl/finetune/test_finetune.py.
"""

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from mscl.progress import Progress, Silent
from mscl.stage.config import RuntimeConfig
from mscl.training.launch import processes_of
from mscl.training.messages import MESSAGES_VARIABLE, Inbox


@contextmanager
def ranks_here() -> Iterator[None]:
    """Trainings of one process run where they are asked for."""
    with (
        mock.patch("mscl.pretrain.job.run_torchrun", _run_here),
        mock.patch("mscl.finetune.job.run_torchrun", _run_here),
    ):
        yield


def _run_here(
    module: str,
    arguments: Sequence[str],
    *,
    runtime: RuntimeConfig,
    log: Path,
    progress: Progress | None = None,
    **_watching: Any,
) -> None:
    assert runtime.nodes == processes_of(runtime) == 1
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    inbox = Inbox(log)
    with mock.patch.dict(os.environ, {MESSAGES_VARIABLE: str(inbox.path.absolute())}):
        code = importlib.import_module(module).main([*arguments])
    messages = inbox.new()
    inbox.close()
    assert code == 0, messages
    for message in messages:
        if message.say:
            (progress or Silent()).say(message.say)
