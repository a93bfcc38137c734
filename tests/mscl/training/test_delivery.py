"""Batches from worker processes that die, fall silent, run out of shared memory, or lose their starter."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from mscl.training import delivery, loader
from mscl.training.delivery import LoaderError
from mscl.training.loader import make_eval_loader
from mscl.video import batch_memory
from tests.mscl.processes import family, survivors, wait_until

ROOT = Path(__file__).parents[3]


@dataclass
class Numbers:
    """A batch of two tensors."""

    values: torch.Tensor
    twice: torch.Tensor | None


class Source:
    """Samples that are numbers; the one that is `bad` kills its worker, or cannot be sent."""

    def __init__(self, *, bad: int | None = None, dies: bool = False, size: int = 1000) -> None:
        self.bad, self.dies, self.size = bad, dies, size

    def __len__(self) -> int:
        return 6

    def load(self, epoch: int, positions: np.ndarray) -> Any:
        if self.bad in positions:
            if self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            return lambda: None  # the thread that sends it says that it cannot be pickled, and sends nothing
        values = torch.from_numpy(np.repeat(positions, self.size))
        return Numbers(values, None if positions[0] % 2 else 2 * values)


def numbers(source: Source, *, start_method: str = "forkserver", workers: int = 1) -> list[int]:
    found = []
    with make_eval_loader(source, batch_size=1, workers=workers, start_method=start_method) as batches:
        for batch in batches:
            assert len(batch.values) == source.size and len(batch.values.unique()) == 1
            assert (batch.twice is None) == bool(batch.values[0] % 2)
            found.append(int(batch.values[0]))
    return found


def test_a_worker_that_is_killed_is_one_line() -> None:
    with pytest.raises(LoaderError, match=r"^a process that loads samples died .*lower runtime.loader_workers"):
        numbers(Source(bad=3, dies=True))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the processes of another one")
@pytest.mark.parametrize("start_method", ["fork", "forkserver"])
def test_a_signal_to_stop_that_reaches_the_workers_too_leaves_the_rank_its_batches(start_method: str) -> None:
    """torchrun sends SIGTERM to the whole process group of a rank, which still has a step and a checkpoint to write."""
    with make_eval_loader(Source(), batch_size=1, workers=1, start_method=start_method) as batches:
        running = iter(batches)
        found = [int(next(running).values[0])]
        for worker in multiprocessing.active_children():
            worker.terminate()
        found += [int(batch.values[0]) for batch in running]
    assert found == list(range(6))
    wait_until(lambda: not multiprocessing.active_children())


def test_workers_that_deliver_nothing_and_do_nothing_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch waits for a dropped batch for ever. Processes that start, or wait for a core, are not idle."""
    monkeypatch.setattr(loader, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(delivery, "PATIENCE_SECONDS", 2.0)
    before = set(multiprocessing.active_children())
    with pytest.raises(LoaderError, match="delivered nothing for 2 s and do nothing; the log holds"):
        numbers(Source(bad=3), start_method="fork")
    assert not set(multiprocessing.active_children()) - before


def test_without_room_in_shared_memory_batches_go_through_pipes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(batch_memory, "free_shared_bytes", lambda: 10_000)
    assert numbers(Source(size=5000), start_method="fork", workers=2) == list(range(6))
    told = capsys.readouterr().err
    assert told.count("has no room for batches of 0.1 MB: they go through pipes") == 1 and "--shm-size" in told


def test_a_small_and_a_full_shared_memory() -> None:
    """A real one, mounted for one process and its children alone."""
    alone = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    mount = "mount -t tmpfs -o size=300k tmpfs /dev/shm"
    if not shutil.which("unshare") or subprocess.run([*alone, "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    code = (
        "from tests.mscl.training.test_delivery import *\n"
        "assert numbers(Source(size=200_000), start_method='fork') == list(range(6))\n"
        # The locks of queues stay until the garbage collector comes by.
        "left = [path.name for path in Path('/dev/shm').iterdir() if not path.name.startswith('sem.')]\n"
        "assert not left, left\n"
        "try: Path('/dev/shm/full').write_bytes(bytes(300 << 10))\n"
        "except OSError: pass\n"
        "try: numbers(Source(), start_method='fork')\n"
        "except LoaderError as error: print(error)\n"
    )
    run = subprocess.run(
        [*alone, "sh", "-c", f'{mount} && exec "$0" -c "$1"', sys.executable, code],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "0.3 MB free) has no room for batches of 3.2 MB: they go through pipes" in run.stderr, run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert "cannot be started: /dev/shm has 0.0 MB free" in run.stdout and "loader_workers=0" in run.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the processes of another one")
def test_nothing_is_left_of_a_killed_process_and_its_loaders() -> None:
    """Before, fork server and workers kept each other alive for ever, and with them the resource tracker."""
    code = (
        "import time\n"
        "from tests.mscl.training.test_delivery import *\n"
        "if __name__ == '__main__':\n"
        "    methods = ('fork', 'forkserver', 'spawn')\n"
        "    loaders = [make_eval_loader(Source(), batch_size=1, workers=1, start_method=m) for m in methods]\n"
        "    running = [iter(loader) for loader in loaders]\n"
        "    for batches in running: next(batches)\n"
        "    print('loading', flush=True)\n"
        "    time.sleep(1000)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None and starter.stdout.readline() == b"loading\n"
        members: set[psutil.Process] = family(starter.pid)
        assert len(members) >= 3 + 2  # workers, fork server, resource tracker
        starter.kill()
    wait_until(lambda: not survivors(members))


_SLOW_TO_FORK = """
import signal
import sys
from pathlib import Path
from mscl.training.fork_server import await_fork_server, start_fork_server
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins without it
sys.path.insert(0, {folder!r})
print("begun", flush=True)
try:
    start_fork_server(["slow_to_import"])
    await_fork_server()
    print("ready")
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("is_stopped", [True, False])
def test_ctrl_c_while_the_server_of_processes_imports_is_all_that_is_said(tmp_path: Path, *, is_stopped: bool) -> None:
    (tmp_path / "slow_to_import.py").write_text(
        "import pathlib, time\npathlib.Path(__file__).with_name('imports').touch()\ntime.sleep(0.5)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW_TO_FORK.format(folder=str(tmp_path))], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    wait_until((tmp_path / "imports").exists)
    if is_stopped:
        os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)  # of all that were started, for they hold the pipe
    assert said == ("begun\nstopped\n" if is_stopped else "begun\nready\n")
