"""Several gloo ranks: the truth of distributed training, and what happens when a rank or the parent dies."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
import torch

from mscl.errors import ConfigError
from mscl.models.weight_files import read_checkpoint
from mscl.stage.config import RuntimeConfig
from mscl.training.checkpoint import checkpoints
from mscl.training.distributed import World
from mscl.training.launch import TrainingError, check_nodes, run_torchrun
from mscl.training.metrics import read_metrics
from tests.mscl import ranks
from tests.mscl.processes import family, survivors, wait_until
from tests.mscl.ranks import RankJob

ROOT = Path(__file__).parents[3]
LOSSES = ["rgb", "flow", "rotated", "rgb_to_flow", "flow_to_rgb", "rgb_to_rotated", "rotated_to_rgb", "local_motion"]
OFTEN = {"checkpoint_minutes": 1e-9}
"""A checkpoint after every step."""


@pytest.fixture(autouse=True, scope="module")
def _ranks_can_import() -> Iterator[None]:
    with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        yield


@dataclass
class Launched:
    """What was seen of a training."""

    output: Path
    listening: set[str] = field(default_factory=set)
    """Addresses on which its processes did."""
    error: str = ""
    """How it failed; empty: it did not."""


def launch(output: Path, *, processes: int, deed: str, changes: dict[str, Any] | None = None) -> Launched:
    """Train to the end. However it ends, none of the processes is left."""
    launched = Launched(output)
    others, members = family(os.getpid()), set[psutil.Process]()  # others: servers of other tests

    def look() -> None:
        members.update(family(os.getpid()) - others)
        for process in members:
            with suppress(psutil.Error):  # it ended
                sockets = process.net_connections(kind="tcp")
                launched.listening.update(one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN)

    runtime = RuntimeConfig(device="cpu", processes=processes, threads=1, loader_workers=0)
    RankJob(output_folder=str(output), deed=deed, changes=changes or {}, runtime=runtime).save(output / "job.json")
    try:
        run_torchrun(
            "tests.mscl.ranks", [str(output / "job.json")], runtime=runtime, log=output / "train.log", watch=look
        )
    except TrainingError as error:
        launched.error = str(error)
    finally:
        wait_until(lambda: not survivors(members))
    assert len(members) >= processes
    return launched


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """Two ranks, of which one is killed; that its loaders go with it is in test_delivery.py."""
    return launch(tmp_path_factory.mktemp("two"), processes=2, deed="die", changes=OFTEN)


@pytest.fixture(scope="module")
def resumed(killed: Launched) -> Launched:
    """Two ranks that go on there, train once more in both ways of `ranks.work`, and one of them raises at its end."""
    last = checkpoints(killed.output / "checkpoints")[-1].name
    assert last == "step-00000002.pt"
    return launch(killed.output, processes=2, deed="all", changes=OFTEN)


def final_state(output: Path) -> dict[str, Any]:
    return read_checkpoint(checkpoints(output / "checkpoints")[-1])


def test_two_ranks_equal_one(resumed: Launched, tmp_path: Path) -> None:
    """Same global batch and seed: same pointer and ages, queues and losses within float32 rounding.

    In this variant batch norm uses fixed statistics (`ranks.without_batch_statistics`): with batch statistics one
    process normalises over eight query clips and each of two ranks over four, so equal numbers are not even meant.
    Shuffling clips over the ranks must then change nothing, which shows that keys come home to their clips.
    Two micro-batches on each side show that accumulation keeps the order of the queue.
    """
    one = tmp_path / "one"
    ranks.train_tiny(one, World(0, 1, torch.device("cpu")), deed="fixed_bn", changes=ranks.COMPARED)
    two = resumed.output
    assert [(two / f"lowest-{rank}").read_text() for rank in (0, 1)] == ["torch.float16"] * 2
    alone = final_state(one)["model"]
    for bn in ("shuffle", "local"):
        together = final_state(two / bn)["model"]
        assert torch.equal(alone["queues.pointer"], together["queues.pointer"])
        assert torch.equal(alone["queues.age_K"], together["queues.age_K"])
        for name in ("queues.rgb_DK", "queues.flow_DK"):
            torch.testing.assert_close(alone[name], together[name], rtol=0, atol=1e-4)
        rows = [read_metrics(folder / "metrics.jsonl") for folder in (one, two / bn)]
        assert [len(each) for each in rows] == [4, 4]
        for first, second in zip(*rows, strict=True):
            for name in LOSSES:
                assert first[name] == pytest.approx(second[name], abs=1e-3), (bn, first["step"], name)


def test_nobody_outside_this_machine_can_reach_a_training_on_one_node(resumed: Launched) -> None:
    assert resumed.listening == {"127.0.0.1"}


def test_a_rank_that_raises_ends_the_job_with_its_traceback(resumed: Launched) -> None:
    assert re.search(r"(?s)rank 1.*RuntimeError: a rank has had enough", resumed.error)


def test_a_rank_that_is_killed_ends_the_job_and_a_restart_resumes(killed: Launched, resumed: Launched) -> None:
    assert re.search(r"rank 1, exit code -9 \(SIGKILL", killed.error)
    assert [row["step"] for row in read_metrics(resumed.output / "metrics.jsonl")] == list(range(1, 9))


def started(
    tmp_path: Path, *, processes: int, loader_workers: int
) -> tuple["subprocess.Popen[bytes]", set[psutil.Process]]:
    """A parent process that trains with slow ranks, and all processes below it. As a command, it is without PyTorch."""
    runtime = RuntimeConfig(device="cpu", processes=processes, threads=1, loader_workers=loader_workers)
    job = RankJob(output_folder=str(tmp_path), deed="slow", changes={"epochs": 500}, runtime=runtime)
    job.save(tmp_path / "job.json")
    code = (
        "import signal, sys, pathlib\n"
        # Where the tests themselves run in the background, Ctrl-C is switched off, and children inherit that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mscl.stage.config import RuntimeConfig\n"
        "from mscl.training.launch import run_torchrun\n"
        "runtime, out = RuntimeConfig.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2])\n"
        "run_torchrun('tests.mscl.ranks', [str(out / 'job.json')], runtime=runtime, log=out / 'train.log')\n"
    )
    command = [sys.executable, "-c", code, runtime.model_dump_json(), str(tmp_path)]
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_until(lambda: all((tmp_path / f"pid-{rank}").is_file() for rank in range(processes)))
    return parent, family(parent.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_killing_the_parent_leaves_no_orphans_and_a_checkpoint(tmp_path: Path) -> None:
    parent, members = started(tmp_path, processes=2, loader_workers=1)
    # Of each rank a fork server, a resource tracker and a worker.
    assert len(members) >= 1 + 2 + 2 * 3
    parent.kill()
    parent.wait()
    wait_until(lambda: not survivors(members))
    assert checkpoints(tmp_path / "checkpoints"), "the ranks were told to stop, not cut off"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.storm)])
def test_interrupting_the_parent_stops_the_ranks_with_a_checkpoint(tmp_path: Path, processes: int) -> None:
    """What SIGTERM, which the parent sends, does to an agent and two ranks, the test above shows in every suite."""
    parent, members = started(tmp_path, processes=processes, loader_workers=0)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(150) != 0
    assert not survivors(members)
    assert checkpoints(tmp_path / "checkpoints")


def test_what_becomes_of_a_single_rank_is_told_without_an_agent(tmp_path: Path) -> None:
    """It refuses, and is told to stop; then it goes on to the end. One that is killed is in flows/test_faults.py."""
    for deed, said in [
        ("refuse", r"^a rank wants another setting\nerror: and says so on two lines$"),
        ("leave", r"stopped from outside; its state is kept"),
    ]:
        assert re.search(said, launch(tmp_path, processes=1, deed=deed, changes=OFTEN).error)
        assert not list(tmp_path.glob(".*messages*")), "the file of messages is gone"
    ranks.train_tiny(tmp_path, World(0, 1, torch.device("cpu")), deed="train", changes=OFTEN)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == list(range(1, 9))


@pytest.mark.storm
def test_a_disk_that_is_full_is_one_line_with_the_room_that_a_checkpoint_takes(tmp_path: Path) -> None:
    """A real one, mounted for one process and its children alone: first too small for anything, then for a checkpoint,
    then large enough."""
    alone, disk = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])], tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if not shutil.which("unshare") or subprocess.run([*alone, *mount], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    code = (
        "import subprocess\n"
        "from tests.mscl.pretrain.test_ranks import *\n"
        f"subprocess.run({mount}, check=True)\n"
        "for size in ('16k', '600k', '30m'):\n"
        f"    subprocess.run(['mount', '-o', f'remount,size={{size}}', {str(disk)!r}], check=True)\n"
        f"    error = launch(Path({str(disk)!r}), processes=1, deed='train', changes=OFTEN).error\n"
        "    if error: print(error)\n"
        f"rows = read_metrics(Path({str(disk)!r}, 'metrics.jsonl'))\n"
        "print([row['step'] for row in rows])\n"
    )
    run = subprocess.run([*alone, sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second, steps = run.stdout.splitlines()
    assert first.startswith(f"training ended because the disk of {disk} is full") and "free space" in first
    assert re.match(
        rf"cannot write {disk}.*step-00000001.pt: No space left .*; it takes 2.\d MB and 0.\d MB are free; free", second
    )
    assert steps == str(list(range(1, 9)))


@pytest.mark.parametrize(
    ("rendezvous", "said"),
    [
        ("", "runtime.nodes is 2 and runtime.rendezvous is empty"),
        *((one, f"runtime.rendezvous is '{one}', which is no host:port") for one in ("head", "head:0", "head:65536")),
    ],
)
def test_several_nodes_need_a_rendezvous(tmp_path: Path, rendezvous: str, said: str) -> None:
    runtime = RuntimeConfig(nodes=2, rendezvous=rendezvous)
    with pytest.raises(ConfigError, match=said):
        run_torchrun("tests.mscl.ranks", [], runtime=runtime, log=tmp_path / "train.log")
    check_nodes(RuntimeConfig(nodes=2, rendezvous="[::1]:29500"))
