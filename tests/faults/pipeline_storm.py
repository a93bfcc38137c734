"""A storm on the whole pipeline: kill -9 at random moments, with and without Prefect; no result lost or wrong.

    python -m tests.faults.pipeline_storm --kills 200 --prefect-kills 20 --seed 0 [--json FILE]

Over a dozen small videos `mscl run`, with two ranks and a loader worker for each, is started and hit, again and again,
until it comes to its end; then a new workspace is begun, until all kills are spent. What is hit is the command, the
agent, a rank, a loader worker, a fork server, or several of them; now and then `gc` or `rm` runs beside it. Every
finished workspace must equal one that nobody disturbed, file by file, and nothing may be left running. A short part of
it is in tests/flows/test_faults.py. Most rounds begin with the stages before pre-training done, and their commands are
forks of one parent that has imported everything: so most kills hit a training, and 200 take an hour instead of three.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from flows.server.background_processes import alive
from storage.garbage import dependents, garbage, in_use, remove
from storage.verify import verify_result
from storage.workspace import Workspace
from tests.faults.warm_commands import WarmCommand, WarmCommands

CLOCKS = ("job.json", "train.log", "tensorboard/", "report.html")
"""Files that tell times, process ids or where the workspace lies. Everything else must be the same, byte by byte."""
_METRIC_CLOCKS = ("seconds", "clips_per_second", "data_wait")
SOON_SECONDS = 10.0
"""Time in which all processes of a run that was hit end on a machine that is not busy with other work."""
_SURVIVAL_SECONDS = 90.0
"""A killed run's training writes a last checkpoint and ends well within this time, however busy the machine."""
_RUN_VARIABLE = "MSCL_STORM_WORKSPACE"
"""Environment variable that all processes of a run have, whoever their parent is by now."""
_ROLES = {
    "agent": "mscl.training.agent",
    "rank": "mscl.training.rank",
    "fork server": "multiprocessing.forkserver",
    "worker": "multiprocessing.forkserver",
}
"""Word in the command line of the processes that a kill may hit, beside the command; workers are the fork server's."""
_CHOICES = (
    ("command",), ("group",), ("agent",), ("rank",), ("worker",), ("fork server",), ("agent", "rank"),
    ("command", "agent"), ("command", "rank"), ("command", "agent", "rank"), ("everything",),
)  # fmt: skip
_WITHOUT_TRAINING = (("command",), ("group",), ("everything",))
_RUN_SECONDS = 1200.0
_PATIENCE = 1.25
"""A kill without progress lets the next run live longer: on a busy machine the longest stage is over some time, too."""
_EARLY_SECONDS, _EARLY_SHARE = 8.0, 0.7
"""Most kills come soon: while a training starts, more processes come and go than ever after, and they cost little."""
_FROM_NOTHING_EVERY = 5
"""One round in so many begins with an empty workspace."""
_BEFORE_TRAINING = "screen"
Say = Callable[[str], None]
Command = subprocess.Popen[bytes] | WarmCommand


@dataclass
class Storm:
    """What was killed, and where."""

    kills: int = 0
    rounds: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    """How many kills hit a run inside of which stage."""
    victims: Counter[str] = field(default_factory=Counter)
    removals: Counter[str] = field(default_factory=Counter)
    """How often `gc` and `rm` ran beside a run, or were refused."""
    ends_seconds: list[float] = field(default_factory=list)
    """From the end of a run that was hit until its last process was gone."""
    files: int = 0
    """Compared with the undisturbed ones, over all rounds."""

    def late(self) -> int:
        """How many runs had a process left after `SOON_SECONDS`."""
        return sum(seconds > SOON_SECONDS for seconds in self.ends_seconds)


def run_once(
    config: Path, workspace: Path, *, settings: Sequence[str] = (), until: str = "", api: str | None = None,
    warm: WarmCommands | None = None,
) -> Command:  # fmt: skip
    """`mscl run` in a process group of its own, its output appended to a file beside the workspace."""
    variables = {"OMP_NUM_THREADS": "1", _RUN_VARIABLE: str(workspace)} | ({"PREFECT_API_URL": api} if api else {})
    command = ["run", str(config), *settings, "--workspace", str(workspace), *([] if api else ["--no-prefect"])]
    command += ["--until", until] if until else []
    log_file = workspace.with_suffix(".log")
    if warm is not None:
        return warm.start(command, variables, log_file)
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", "from flows.cli.app import main; main()", *command],
            env=os.environ | variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def facts(workspace: Path, *, keys: Collection[str] = ()) -> dict[str, object]:
    """Everything a finished workspace holds, but for clocks: digest by file, tensors, losses.

    Args:
        keys: of these results only; empty: of all, one a stage.

    Raises:
        AssertionError: a file is not as its record says.
    """
    place = Workspace(workspace)
    found: dict[str, object] = {}
    for result in place.results():
        if keys and result.key not in keys:
            continue
        damage = verify_result(result.folder, result.record)
        assert not damage, damage
        stage, key = result.record.stage, result.key
        found[f"{stage} key"], found[f"{stage} inputs"] = key, result.record.inputs
        for file in result.record.files:
            name = f"{stage}/{file.path}"
            if file.path == "metrics.jsonl":
                rows = [json.loads(line) for line in (result.folder / file.path).read_text().splitlines()]
                found[name] = [{k: v for k, v in row.items() if k not in _METRIC_CLOCKS} for row in rows]
            elif file.path.endswith(".pt"):
                found[name] = _tensors(result.folder / file.path)
            elif not file.path.startswith(CLOCKS):
                found[name] = file.digest
    return found


def _tensors(checkpoint: Path) -> str:
    """Digest of all that training goes on from; the file itself also holds the name that it was staged under."""
    from hashlib import sha256

    import torch

    digest = sha256()

    def add(name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                add(f"{name}.{key}", value[key])
        elif isinstance(value, list | tuple):
            for number, item in enumerate(value):
                add(f"{name}.{number}", item)
        else:
            digest.update(f"{name} {value!r}".encode())

    state = torch.load(checkpoint, weights_only=True)
    # States of generators that no step draws from: they tell how often a loader was made.
    add("", {name: value for name, value in state.items() if name != "random"})
    return digest.hexdigest()


def differences(expected: dict[str, object], found: dict[str, object]) -> list[str]:
    """Names of what is missing, new or changed."""
    return [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]


def pipeline_storm(
    folder: Path, config: Path, expected: dict[str, object], *, kills: int, seed: int, longest_seconds: float,
    say: Say, api: str | None = None, warm: WarmCommands | None = None,
) -> Storm:  # fmt: skip
    """Kill runs of the pipeline until `kills` are spent; every workspace is brought to its end and compared.

    Args:
        expected: `facts` of a workspace that nobody disturbed.
        longest_seconds: a run is killed after a random time up to this, if it still runs, and up to longer times while
            such runs get nowhere.
        api: with it, the runs are Prefect's; killed ones stay without an end there, for no automation looks after them.
        warm: with it, most rounds begin with what comes before training, and their commands are its forks.

    Raises:
        AssertionError: a result differs, a process survived, or an undisturbed run failed.
    """
    rng = random.Random(seed)
    storm = Storm()
    prepared = folder / "prepared"
    if warm is not None and not prepared.is_dir():
        assert run_once(config, prepared, until=_BEFORE_TRAINING, warm=warm).wait(_RUN_SECONDS) == 0
    while storm.kills < kills:
        storm.rounds += 1
        workspace = folder / f"seed{seed}-round{storm.rounds}"
        from_nothing = warm is None or storm.rounds % _FROM_NOTHING_EVERY == 0
        if not from_nothing:
            shutil.copytree(prepared, workspace)
        longest, state = longest_seconds, ""
        while True:
            began = time.monotonic()
            process = run_once(config, workspace, api=api, warm=None if from_nothing else warm)
            if storm.kills < kills:
                is_early = rng.random() < _EARLY_SHARE
                code = ends_within(process, rng.uniform(0.5, min(_EARLY_SECONDS, longest) if is_early else longest))
            else:
                code = process.wait(_RUN_SECONDS)
            if code is not None:
                break
            if removed := _remove_something(workspace, rng):
                storm.removals[removed] += 1
            stage, before = _stage_at_work(workspace), state
            state = _how_far(workspace)
            if state != before:
                longest = longest_seconds
            elif not is_early:
                longest *= _PATIENCE
            victims = _kill(process, workspace, rng)
            lived = time.monotonic() - began
            storm.kills += 1
            storm.stages[stage] += 1
            storm.victims[" + ".join(victims)] += 1
            # A command that is left without its training ends by itself, or has come to its end.
            code = process.wait(_RUN_SECONDS)
            ended = time.monotonic()
            # Now and then the next run begins at once, while what was killed may still be on its way out.
            if rng.random() < 0.25:
                then = "again at once"
            else:
                all_gone(workspace, process)
                storm.ends_seconds.append(time.monotonic() - ended)
                then = f"nothing left after {storm.ends_seconds[-1]:.1f} s"
            then += f", {removed}" if removed else ""
            say(f"{storm.kills:4} round {storm.rounds}: {' + '.join(victims)} in {stage} at {lived:.1f} s, {then}")
            if code == 0:
                break
        log = workspace.with_suffix(".log")
        assert code == 0, f"{workspace} ended with code {code}: {log.read_text()[-2000:]}"
        all_gone(workspace, process)
        found = facts(workspace)
        changed = differences(expected, found)
        assert not changed, f"{workspace} differs from the undisturbed one: {changed}"
        storm.files += len(found)
        say(f"     round {storm.rounds}: done, {len(found)} files and keys equal the undisturbed ones")
        shutil.rmtree(workspace)
    return storm


def ends_within(process: Command, seconds: float) -> int | None:
    """Its exit code; None where it still runs."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _how_far(workspace: Path) -> str:
    """Changes whenever a result, a shard or a step is added."""
    names = ("record.json", "commits.jsonl", "metrics.jsonl")
    return str(sorted((str(path), path.stat().st_size) for name in names for path in workspace.glob(f"*/*/{name}")))


def _kill(process: Command, workspace: Path, rng: random.Random) -> tuple[str, ...]:
    """SIGKILL to one of the choices that is there; what it was."""
    there = _processes(workspace, process)
    of_role = {
        role: [one for one in there if word in _command(one) and (role == "worker") == _is_forked(one)]
        for role, word in _ROLES.items()
    }
    choices = [choice for choice in _CHOICES if all(of_role.get(role, there) for role in choice)]
    chosen = rng.choice(choices if of_role["rank"] else [c for c in choices if c in _WITHOUT_TRAINING])
    for role in chosen:
        if role == "group":
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        elif role == "command":
            with suppress(ProcessLookupError):
                process.kill()
        else:
            for victim in there if role == "everything" else [rng.choice(of_role[role])]:
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
    return chosen


def _processes(workspace: Path, command: Command) -> list[psutil.Process]:
    """All living processes of runs in this workspace, whoever is their parent."""
    forked = command.pid if command.returncode is None else None  # its environment is that of its parent
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):  # ended, or somebody else's
            if (one.pid == forked or one.environ().get(_RUN_VARIABLE) == str(workspace)) and alive(one):
                found.append(one)
    return sorted(found, key=lambda one: int(one.pid))


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _is_forked(process: psutil.Process) -> bool:
    """Whether a fork server made it: its command line is its parent's."""
    try:
        parent = process.parent()
        return parent is not None and "forkserver" in _command(parent) and "forkserver" in _command(process)
    except psutil.Error:
        return False


def all_gone(workspace: Path, command: Command) -> None:
    """Wait until no process of runs in this workspace is left."""
    deadline = time.monotonic() + _SURVIVAL_SECONDS
    while left := _processes(workspace, command):
        shown = [f"{one.pid} {_command(one)[-150:]}" for one in left]
        assert time.monotonic() < deadline, f"still there {_SURVIVAL_SECONDS:.0f} s after the kill: {shown}"
        time.sleep(0.1)


def _remove_something(workspace: Path, rng: random.Random) -> str:
    """Now and then what `mscl gc --unfinished` or `mscl rm` does, beside the run; what was done."""
    chance = rng.random()
    place = Workspace(workspace)
    if chance < 0.2:
        remove(place, garbage(place, unfinished=rng.random() < 0.5))
        return "after gc"
    if chance > 0.3 or not (results := place.results()):
        return ""
    folders = dependents(place, rng.choice(results).folder)
    if in_use(place, folders):
        return "rm was refused"
    remove(place, folders)
    return "after rm"


def _stage_at_work(workspace: Path) -> str:
    """The stage whose result is begun and not done; else what the run did between stages, imports for the most part."""
    begun = [path for path in workspace.glob("[!.]*/*/") if not (path / "record.json").exists()]
    return max(begun, key=lambda path: path.stat().st_mtime).parent.name if begun else "between stages"


@contextmanager
def own_server(home: Path) -> Iterator[str]:
    """Address of a Prefect server with a home, a database and a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    from flows.server.prefect_server import ensure_server, stop_server
    from mscl.progress import Silent

    try:
        yield ensure_server(Silent())
    finally:
        stop_server()


def main() -> int:
    """Run the storm; an AssertionError where a result was lost or is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="in all")
    parser.add_argument("--prefect-kills", type=int, default=20, help="how many of them hit runs under Prefect")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=20.0, help="seconds to a kill, at most")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from tests.tiny import write_tiny

    def say(line: str) -> None:
        print(line, flush=True)

    with tempfile.TemporaryDirectory(prefix="mscl-storm-") as name:
        folder = Path(name)
        config = write_tiny(folder, with_workers=True)
        began = time.monotonic()
        process = run_once(config, folder / "undisturbed")
        assert process.wait(_RUN_SECONDS) == 0, (folder / "undisturbed.log").read_text()
        seconds = time.monotonic() - began
        expected = facts(folder / "undisturbed")
        say(f"undisturbed: {seconds:.0f} s, {len(expected)} files and keys")
        with WarmCommands() as warm:
            plain = pipeline_storm(
                folder, config, expected, kills=options.kills - options.prefect_kills, seed=options.seed,
                longest_seconds=options.longest, say=say, warm=warm,
            )  # fmt: skip
        shown = Storm()
        if options.prefect_kills:
            with own_server(folder / "prefect") as api:
                shown = pipeline_storm(
                    folder, config, expected, kills=options.prefect_kills, seed=options.seed + 1,
                    longest_seconds=2 * options.longest, say=say, api=api,
                )  # fmt: skip
    ends = plain.ends_seconds + shown.ends_seconds
    found = {
        "kills": plain.kills + shown.kills, "under Prefect": shown.kills, "pipelines": plain.rounds + shown.rounds,
        "compared": plain.files + shown.files, "hit": dict(plain.stages + shown.stages),
        "killed": dict(plain.victims + shown.victims), "removals": dict(plain.removals + shown.removals),
        "ends seen": len(ends), "slowest end s": round(max(ends, default=0.0), 1),
        f"over {SOON_SECONDS:.0f} s": plain.late() + shown.late(),
        "minutes": round((time.monotonic() - began) / 60, 1),
    }  # fmt: skip
    say(f"no result lost or wrong: {json.dumps(found)}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
