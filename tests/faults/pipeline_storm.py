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
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from storage.garbage import dependents, garbage, in_use, remove
from storage.workspace import Workspace
from tests.faults.run_processes import all_gone, ends_within, kill, run_once
from tests.faults.warm_commands import WarmCommands
from tests.faults.workspace_facts import differences, facts

SOON_SECONDS = 10.0
"""Time in which all processes of a run that was hit end on a machine that is not busy with other work."""
_RUN_SECONDS = 1200.0
_PATIENCE = 1.25
"""A kill without progress lets the next run live longer: on a busy machine the longest stage is over some time, too."""
_EARLY_SECONDS, _EARLY_SHARE = 8.0, 0.7
"""Most kills come soon: while a training starts, more processes come and go than ever after, and they cost little."""
_FROM_NOTHING_EVERY = 5
"""One round in so many begins with an empty workspace."""
_BEFORE_TRAINING = "screen"
Say = Callable[[str], None]


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
            victims = kill(process, workspace, rng)
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


def _how_far(workspace: Path) -> str:
    """Changes whenever a result, a shard or a step is added."""
    names = ("record.json", "commits.jsonl", "metrics.jsonl")
    return str(sorted((str(path), path.stat().st_size) for name in names for path in workspace.glob(f"*/*/{name}")))


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
