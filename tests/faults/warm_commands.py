"""`mscl` commands without their imports: one parent has made them, and every command is a fork of it.

`python -m tests.faults.warm_commands` reads commands as lines of JSON and says process id and exit code of each.
A fork is a process group of its own and ends as an interpreter does; whatever it starts is started as ever.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

_IMPORTS = (
    "flows.cli.app", "flows.cli.results", "flows.progress", "torch", "mscl.pipeline", "mscl.pretrain.stage",
    "mscl.training.launch", "mscl.embedding.stage", "mscl.score.stages", "mscl.finetune.stage", "mscl.report.stage",
)  # fmt: skip


class WarmCommand:
    """A command that runs: as much of `subprocess.Popen` as a storm needs."""

    def __init__(self, pid: int, said: queue.Queue[str]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._said = said

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative for a signal; TimeoutExpired where it still runs."""
        if self.returncode is None:
            try:
                self.returncode = int(self._said.get(timeout=timeout))
            except queue.Empty:
                raise subprocess.TimeoutExpired(f"mscl, process {self.pid}", timeout or 0.0) from None
        return self.returncode

    def kill(self) -> None:
        """SIGKILL."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


class WarmCommands:
    """The parent; as a context manager it ends. One command at a time."""

    def __enter__(self) -> WarmCommands:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.warm_commands"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._said: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        self._parent.wait()

    def _listen(self) -> None:
        assert self._parent.stdout is not None
        for line in self._parent.stdout:
            self._said.put(line)

    def start(self, arguments: Sequence[str], variables: Mapping[str, str], log: Path) -> WarmCommand:
        """`mscl ARGUMENTS`, its output appended to `log`."""
        assert self._parent.stdin is not None
        print(json.dumps([list(arguments), dict(variables), str(log)]), file=self._parent.stdin, flush=True)
        return WarmCommand(int(self._said.get()), self._said)


def main() -> None:
    """The parent: it ends with its input."""
    for name in _IMPORTS:
        import_module(name)
    while line := sys.stdin.readline():
        arguments, variables, log = json.loads(line)
        if child := os.fork():
            print(child, flush=True)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 1)
        os.dup2(1, 2)
        os.environ |= variables
        sys.argv = ["mscl", *arguments]
        from flows.cli.app import main as mscl

        mscl()


if __name__ == "__main__":
    main()
