"""Start training processes as a supervised child: it ends with its parent, is watched, and its failure becomes an error
here. One process is the child itself; several are torchrun's, whose agent is the child."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mscl.devices import cores, gpus_to_use, loaders_of
from mscl.errors import CardError, ConfigError, UserError
from mscl.orphans import GRACE_SECONDS
from mscl.progress import Progress, Silent
from mscl.stage.config import RuntimeConfig
from mscl.training.config import Precision
from mscl.training.messages import MESSAGES_VARIABLE, Inbox, Message

STANDALONE = "--standalone"
"""torchrun's word for a training on one node."""
STOPPED_CODE = 75
"""Exit code of a rank that was asked to stop and has written a checkpoint: temporary failure, try again."""
AGENT_VARIABLE = "MSCL_AGENT_PID"
"""Environment variable in which the agent tells its ranks its process id."""
COMMAND_VARIABLE = "MSCL_COMMAND_PID"
"""The same of the command, for the rank that it starts without an agent."""
_OF_TORCHRUN = (AGENT_VARIABLE, "RANK", "WORLD_SIZE", "LOCAL_RANK")
AGENT_STOPPED_CODE = 143
"""Exit code of the agent after SIGTERM; it has given the ranks time to write a checkpoint."""
_POLL_SECONDS = 0.2
_LINES_SHOWN = 12
_LEAST_FREE_BYTES = 64 << 10


class TrainingError(UserError):
    """A training process failed or was stopped; the message holds its last lines."""


def run_torchrun(
    module: str,
    arguments: Sequence[str],
    *,
    runtime: RuntimeConfig,
    log: Path,
    watch: Callable[[], None] | None = None,
    progress: Progress | None = None,
) -> None:
    """Run `module.main(arguments)` on all processes of this node that `runtime` asks for, and wait.

    Args:
        log: output of all processes, appended; for people.
        watch: called a few times a second while the child runs.
        progress: gets what the processes say to the user.

    Raises:
        TrainingError: a process failed, or the child was stopped from outside.
        CardError: a process's GPU failed.
        ConfigError: several nodes without a rendezvous address; GPUs that are not there or too few.
    """
    alone = runtime.nodes == 1 and processes_of(runtime) == 1
    # torchrun's agent takes seconds to start, for nothing where there is one process to start.
    command = rank_command(module, arguments) if alone else torchrun_command(module, arguments, runtime)
    log.parent.mkdir(parents=True, exist_ok=True)
    offset = log.stat().st_size if log.is_file() else 0
    inbox, messages = Inbox(log), list[Message]()
    environment = {name: value for name, value in os.environ.items() if name not in _OF_TORCHRUN} | {
        COMMAND_VARIABLE: str(os.getpid()),
        MESSAGES_VARIABLE: str(inbox.path.absolute()),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(_threads(runtime)),
        # Threads that spin while they wait for one another make a step ten times as slow as soon as anything else
        # wants a core: the loader, a second rank, a browser.
        "OMP_WAIT_POLICY": "PASSIVE",
    }

    def look() -> None:
        if watch is not None:
            watch()
        for message in inbox.new():
            messages.append(message)
            if message.say:
                (progress or Silent()).say(message.say)

    if runtime.nodes > 1:
        (progress or Silent()).say(
            f"{runtime.nodes} nodes meet at {runtime.rendezvous}; the others come by deploy/join.sh on this workspace"
        )
    try:
        with log.open("a") as output:
            # Its own process group: Ctrl-C in a terminal reaches this process alone, which then asks the child to stop.
            # Should this process be killed, the child gets SIGTERM from the kernel (see agent.py and rank.py).
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, process_group=0
            )
            try:
                while child.poll() is None:
                    look()
                    time.sleep(_POLL_SECONDS)
            except BaseException:
                _end(child)
                raise
        look()
    finally:
        inbox.close()
    if child.returncode:
        if failed := next((message for message in messages if message.card), None):
            raise CardError(failed.card, failed.error)
        if alone and not any(message.exit_code for message in messages):
            messages.append(Message(exit_code=child.returncode))
        text = log.read_bytes()[offset:].decode(errors="replace")
        raise TrainingError(failure_message(child.returncode, messages, text, log))


def processes_of(runtime: RuntimeConfig) -> int:
    """Training processes on this node: as configured, else one per GPU, else one.

    Raises:
        ConfigError: `runtime.gpus` names one that is not there, or there are fewer than processes.
    """
    return _processes(runtime.processes, gpus_to_use(runtime.device, runtime.gpus))


def loader_workers_of(runtime: RuntimeConfig) -> int:
    """Processes that load for each training process of this node."""
    if runtime.loader_workers != "auto":
        return runtime.loader_workers
    return loaders_of(cores(), processes_of(runtime), len(gpus_to_use(runtime.device, runtime.gpus)))


def _processes(asked: int, gpus: Sequence[int]) -> int:
    if gpus and asked > len(gpus):
        raise ConfigError(
            f"runtime.processes is {asked}, and there are {len(gpus)} GPUs to use ({', '.join(map(str, gpus))}): each "
            "takes one process; lower runtime.processes, name more in runtime.gpus, or take runtime.device=cpu"
        )
    return asked or max(1, len(gpus))


def check_nodes(runtime: RuntimeConfig) -> None:
    """Refuse several nodes that could not find each other.

    Raises:
        ConfigError: several nodes without a rendezvous address, or with one that is none.
    """
    if runtime.nodes == 1:
        return
    if not runtime.rendezvous:
        raise ConfigError(
            f"runtime.nodes is {runtime.nodes} and runtime.rendezvous is empty; give host:port of one node"
        )
    # torchrun takes a port of its own for one that is not said.
    found = re.fullmatch(r"(?:[\w.-]+|\[[\da-fA-F:.]+\]):(\d+)", runtime.rendezvous)
    if found is None or not 0 < int(found[1]) < 65536:
        raise ConfigError(
            f"runtime.rendezvous is {runtime.rendezvous!r}, which is no host:port with a port from 1 to 65535; give "
            "one that all nodes reach, such as node0:29500"
        )


def check_precision(precision: Precision, runtime: RuntimeConfig, *, setting: str) -> None:
    """Refuse, before there is anything to train on, a training in bfloat16 on a CPU that gets it wrong.

    Raises:
        ConfigError: as `refuse_wrong_gradients`.
    """
    if precision == "bf16" and not gpus_to_use(runtime.device, runtime.gpus):
        from mscl.training.precision import refuse_wrong_gradients  # PyTorch, which the command does without else

        refuse_wrong_gradients(precision, "cpu", setting=setting)


def rank_command(module: str, arguments: Sequence[str]) -> list[str]:
    """What starts one rank."""
    return [sys.executable, "-m", "mscl.training.rank", module, *arguments]


def torchrun_command(module: str, arguments: Sequence[str], runtime: RuntimeConfig) -> list[str]:
    """What starts the agent of this node, and with it the ranks."""
    check_nodes(runtime)
    if runtime.nodes == 1:
        # A free port on loopback: two runs on one machine do not meet, and nobody else can join.
        meeting = [STANDALONE, "--local-addr=127.0.0.1"]
    else:
        meeting = [f"--nnodes={runtime.nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={runtime.rendezvous}"]
        meeting.append(f"--rdzv-id={module}")
    return [
        *(sys.executable, "-m", "mscl.training.agent", str(os.getpid())),
        *meeting,
        f"--nproc-per-node={processes_of(runtime)}",
        *rank_command(module, arguments)[1:],
    ]


def _threads(runtime: RuntimeConfig) -> int:
    return runtime.threads or max(1, cores() // processes_of(runtime))


def _end(child: subprocess.Popen[bytes]) -> None:
    """Stop the child and with it all ranks, which die when it does; a second interrupt cuts the grace short."""
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except BaseException as interrupt:
        child.kill()
        child.wait()
        if not isinstance(interrupt, subprocess.TimeoutExpired):
            raise


def failure_message(code: int, messages: Sequence[Message], text: str, log: Path) -> str:
    """What the user is told of a job that did not end well.

    Args:
        code: exit code of the child.
        messages: of its processes.
        text: what they printed.
    """
    failed = next((message for message in messages if message.exit_code), None)
    errors = [message for message in messages if message.error]
    if failed is not None and failed.exit_code < 0:
        # It died by a signal: what the others say follows from that, their peer or its loaders are gone.
        errors = [message for message in errors if message.rank == failed.rank]
    if errors:
        return errors[0].error
    if code in (AGENT_STOPPED_CODE, -signal.SIGTERM) or (failed is not None and failed.exit_code == STOPPED_CODE):
        return f"training was stopped from outside; its state is kept, run the same command again to go on (log: {log})"
    free_bytes = shutil.disk_usage(log.parent).free if log.is_file() else _LEAST_FREE_BYTES
    if free_bytes < _LEAST_FREE_BYTES:  # its processes could not even say so
        return (
            f"training ended because the disk of {log.parent} is full: {free_bytes / 1e6:.1f} MB are free; free space "
            "or choose another workspace, then run the same command again: what is already stored is kept"
        )
    what = [] if failed is None else [f"rank {failed.rank}, exit code {failed.exit_code}{_signal(failed.exit_code)}"]
    # A rank that died without a Python exception: what was printed last.
    shown = [line for line in (failed.failure if failed and failed.failure else text).splitlines() if line.strip()]
    lines = "\n".join([*what, *shown[-_LINES_SHOWN:]])
    return f"training ended with code {code}; its log is {log}. Run the same command again to go on.\n{lines}"


def _signal(code: int) -> str:
    """What stands behind a negative exit code."""
    if code >= 0:
        return ""
    if -code == signal.SIGKILL:
        return " (SIGKILL: by hand, or by the system because memory ran out)"
    return f" ({signal.strsignal(-code)})"
