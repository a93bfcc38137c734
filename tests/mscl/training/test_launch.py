"""The command's view of a job: how torchrun is started, and what the user is told of its end."""

import inspect
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.distributed.elastic.rendezvous import RendezvousConnectionError

from mscl import devices
from mscl.errors import ConfigError
from mscl.stage.config import RuntimeConfig
from mscl.training import agent, launch, loopback
from mscl.training.distributed import World, joined_world
from mscl.training.launch import (
    AGENT_STOPPED_CODE,
    STOPPED_CODE,
    failure_message,
    loader_workers_of,
    processes_of,
    torchrun_command,
)
from mscl.training.messages import MESSAGES_VARIABLE, Inbox, Message, say, tell

STOPPED = [Message(rank=1, say="stopped after step 3"), Message(rank=1, exit_code=STOPPED_CODE)]


@pytest.mark.parametrize(
    ("code", "messages", "text", "told"),
    [
        (1, STOPPED, "noise", "stopped from outside"),
        (AGENT_STOPPED_CODE, [], "noise", "stopped from outside"),
        (1, [Message(rank=1, error="lower it"), Message(exit_code=2)], "error: of a library", r"\Alower it\Z"),
        (
            1,
            [Message(rank=1, exit_code=-6)],
            "a\nCUDA went away",
            r"(?s)rank 1, exit code -6 \(Aborted\)\na\nCUDA went away\Z",
        ),
        (1, [Message(rank=1, exit_code=1, failure="Traceback\n  x\nKeyError: 3")], "a", r"(?s)rank 1.*KeyError: 3\Z"),
        (1, [], "error: of a library\nlast words", "(?s)code 1; its log is train.log.*error: of a library\nlast words"),
        (1, [Message(rank=1, exit_code=-9)], "a", r"rank 1, exit code -9 \(SIGKILL: .* because memory ran out\)"),
        (1, [Message(error="my loader died"), Message(rank=1, exit_code=-9)], "a", r"rank 1, exit code -9 \(SIGKILL"),
        (1, [Message(rank=1, error="memory"), Message(rank=1, exit_code=-6)], "a", r"\Amemory\Z"),
        (-9, [], "last words", "(?s)code -9.*last words"),
    ],
)
def test_what_the_user_is_told(code: int, messages: list[Message], text: str, told: str) -> None:
    assert re.search(told, failure_message(code, messages, text, Path("train.log")))


def test_messages_arrive_whole_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox(tmp_path / "train.log")
    assert inbox.new() == []
    monkeypatch.setenv(MESSAGES_VARIABLE, str(inbox.path))
    tell(Message(rank=3, error='two\nlines, "quoted" and ümlauts'))
    say("going on")
    with inbox.path.open("ab") as file:
        file.write(b'{"rank": "no number"}\n{"say": "cut')
    assert inbox.new() == [Message(rank=3, error='two\nlines, "quoted" and ümlauts'), Message(say="going on")]
    inbox.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_also_where_no_process_could_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "train.log"
    log.touch()
    assert "code 1" in failure_message(1, [], "Traceback", log)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    assert re.search(rf"^training ended because the disk of {tmp_path} is full", failure_message(1, [], "x", log))
    assert failure_message(1, [Message(error="takes 3 MB")], "x", log) == "takes 3 MB"


def test_d24_one_process_on_cpu_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with joined_world("cpu") as world:
        assert world == World(0, 1, torch.device("cpu")) and not torch.distributed.is_initialized()


def test_command_of_several_nodes() -> None:
    runtime = RuntimeConfig(device="cpu", processes=4, nodes=2, rendezvous="head:29500")
    command = torchrun_command("mscl.pretrain.process", ["job.json"], runtime)
    assert {"--nnodes=2", "--rdzv-endpoint=head:29500", "--nproc-per-node=4"} <= set(command)
    assert "--standalone" not in command
    assert processes_of(RuntimeConfig(device="cpu")) == 1


def test_nodes_that_do_not_meet_are_told_of_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_comes(_arguments: list[str]) -> None:
        raise RendezvousConnectionError("See inner exception.") from TimeoutError("timed out\nafter 60000ms.")

    inbox = Inbox(tmp_path / "train.log")
    monkeypatch.setenv(MESSAGES_VARIABLE, str(inbox.path))
    monkeypatch.setenv(launch.AGENT_VARIABLE, "0")  # the agent sets it
    monkeypatch.setattr(agent, "die_with_parent", lambda *_arguments, **_names: None)
    monkeypatch.setattr("torch.distributed.run.main", nobody_comes)
    assert agent.main(["1", "--nnodes=2"]) == 1
    said = failure_message(1, inbox.new(), "Traceback", tmp_path / "train.log")
    assert said.startswith("the nodes did not meet at runtime.rendezvous (TimeoutError: timed out after 60000ms); give")


def test_a_process_for_every_gpu_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    monkeypatch.setattr(devices, "num_gpus", lambda: 4)
    assert processes_of(RuntimeConfig()) == 4
    assert processes_of(RuntimeConfig(gpus=(1, 3))) == 2
    assert processes_of(RuntimeConfig(processes=1)) == 1
    said = r"runtime\.processes is 3, and there are 2 GPUs to use \(1, 3\): each takes one process; lower"
    with pytest.raises(ConfigError, match=said):
        processes_of(RuntimeConfig(processes=3, gpus=(1, 3)))
    assert loader_workers_of(RuntimeConfig(loader_workers=5)) == 5
    monkeypatch.setattr(launch, "cores", lambda: 16)
    assert loader_workers_of(RuntimeConfig()) == 3
    assert loader_workers_of(RuntimeConfig(device="cpu")) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gpus": [0], "device": "cpu"}, r"gpus is \[0\] and device is cpu"),
        ({"gpus": [1, 1]}, "names one twice"),
        ({"gpus": [-1]}, "greater than or equal to 0"),
    ],
)
def test_gpus_that_contradict(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RuntimeConfig.model_validate(settings)


def test_the_store_that_is_replaced_takes_what_the_replacement_passes_on() -> None:
    """`keep_to_loopback` gives torch's store a listening socket by these names; upstream has no setting for it."""
    from torch.distributed import TCPStore
    from torch.distributed.elastic.rendezvous import c10d_rendezvous_backend

    told = inspect.getdoc(TCPStore.__init__) or ""
    for part in ("host_name: str", "port: ", "is_master: ", "master_listen_fd: "):
        assert part in told, f"torch's TCPStore has another signature: {told}"
    assert vars(c10d_rendezvous_backend)["TCPStore"] is TCPStore, "the module that the agent's meeting point is made in"
    assert loopback.HOST == "127.0.0.1"
