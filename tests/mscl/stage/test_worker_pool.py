"""Worker processes and their GPUs, told apart by name alone: nothing here computes on one."""

import errno
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from mscl.errors import CardError, DataError, UserError
from mscl.stage.worker_pool import run_in_processes, worker_device

Item = tuple[int, Path]


class Heard:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0

    def start(self, description: str, total: int | None, unit: str) -> None: ...

    def advance(self, n: int = 1, **info: float | str) -> None:
        self.count += n

    def say(self, message: str) -> None:
        self.lines.append(message)

    def done(self) -> None: ...


def on_two_cards(item: Item, tick: Callable[[int], None]) -> tuple[int, str]:
    """Each card waits for the other's first item; then the second one fails."""
    number, folder = item
    device = worker_device()
    (folder / device).touch()
    while not all((folder / name).exists() for name in ("cuda:0", "cuda:2")):
        time.sleep(0.01)
    assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])  # Ctrl-C is for the command
    if device == "cuda:2":
        raise CardError(device, "it is gone")
    tick(1)
    return number, device


def gone(item: Item, tick: Callable[[int], None]) -> None:
    raise CardError(worker_device(), "it is gone")


def test_work_of_a_card_that_fails_goes_to_the_others(tmp_path: Path) -> None:
    heard = Heard()
    items = [(number, tmp_path) for number in range(6)]
    done = list(run_in_processes(on_two_cards, items, workers=2, progress=heard, gpus=(0, 2)))
    assert sorted(done) == [(number, "cuda:0") for number in range(6)]
    assert heard.lines == ["cuda:2 failed (it is gone); its work goes to cuda:0"]
    assert heard.count == 6


@pytest.mark.parametrize(("gpus", "device"), [((1,), "cuda:1"), ((), "cpu")])
def test_the_last_card_ends_the_work(tmp_path: Path, gpus: tuple[int, ...], device: str) -> None:
    with pytest.raises(CardError, match=f"^{device} failed .it is gone.; what is done is kept"):
        list(run_in_processes(gone, [(0, tmp_path)], workers=1, progress=Heard(), gpus=gpus))


def test_shared_memory_without_room_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # of a lock: it names no file

    monkeypatch.setattr("mscl.stage.worker_pool.ProcessPoolExecutor", full)
    with pytest.raises(UserError, match=r"shared memory \(/dev/shm\) has no room"):
        list(run_in_processes(gone, [(0, Path())], workers=1, progress=Heard()))


class MortalPool:
    """Works here, one item after the other; an item in `deadly` takes the pool down as often as it says there."""

    deadly: dict[str, int]
    sizes: list[int]

    def __init__(self, processes: int, *, initargs: tuple[Any, ...], **_given: object) -> None:
        initargs[1].value = 1  # a worker has started
        self.sizes.append(processes)
        self.is_broken = False

    def submit(self, call: Callable[..., Any], function: Callable[..., Any], item: str) -> "Future[Any]":
        future: Future[Any] = Future()
        if self.deadly.get(item, 0) and not self.is_broken:
            self.deadly[item] -= 1
            self.is_broken = True
        if self.is_broken:
            future.set_exception(BrokenProcessPool())
        else:
            future.set_result(call(function, item))
        return future

    def shutdown(self, **_how: object) -> None: ...


def name_of(item: str, tick: Callable[[int], None]) -> str:
    return item


@pytest.mark.parametrize(
    ("deadly", "sizes"),
    [
        # Killed for lack of memory, days apart.
        ({"1": 1, "5": 1, "11": 1}, [4, 4, 1, 2, 2]),
        ({"3": 3}, [4, 4, 1, 1, 2]),
        ({"3": 2, "9": 4}, [4, 4, 1, 2, 2, 1, 1]),
    ],
)
def test_an_item_that_kills_alone_is_to_blame_and_no_other(
    monkeypatch: pytest.MonkeyPatch, deadly: dict[str, int], sizes: list[int]
) -> None:
    monkeypatch.setattr("mscl.stage.worker_pool.ProcessPoolExecutor", MortalPool)
    MortalPool.deadly, MortalPool.sizes = dict(deadly), []
    items, done = list(map(str, range(12))), list[str]()
    guilty = [item for item, times in deadly.items() if times > 3]
    with pytest.raises(DataError, match="twice alone at 9; leave that out") if guilty else nullcontext():
        for name in run_in_processes(name_of, items, workers=4, progress=Heard()):
            done.append(name)
    assert MortalPool.sizes == sizes
    assert len(done) == len(set(done)) and (guilty or sorted(done) == sorted(items))


UNGUARDED = """\
from mscl.config import load_config
from mscl.pipeline import execute
from mscl.stage.contract import Stage
from storage.workspace import Workspace


def work(item, tick):
    return item


toy = Stage("toy", 1, (), lambda config: {}, lambda run: {"all": list(run.over_workers(work, [1, 2]))}, "")
config = load_config("demo", ["runtime.workers=1"])
print(execute(toy, Workspace("workspace"), config, {}).result.record.metrics)
"""


def test_a_script_that_runs_stages_when_it_is_imported_is_told_so(tmp_path: Path) -> None:
    """Its worker would wait for ever for the claim that its parent holds."""
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, "script.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 1
    assert 'runs stages when it is imported; have it do so under `if __name__ == "__main__":`' in run.stderr
    assert "no worker process could be started" in run.stderr.splitlines()[-1]
    guarded = UNGUARDED.replace("print(", 'if __name__ == "__main__":\n    print(')
    (tmp_path / "script.py").write_text(guarded)
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.strip() == "{'all': [1, 2]}"
