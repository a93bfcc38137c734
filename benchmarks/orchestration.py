"""What Prefect costs: a run of the pipeline with and without it, and with everything done already.

    python -m benchmarks.orchestration [--units 200 --json FILE]

A server, a database and a workspace of its own in a temporary folder, a free port on loopback, a dozen small videos.
Printed: seconds of the server's start, of a run without Prefect and of one with it, how many of them no stage took by
its own clock (these are compared, for stages differ by chance), of both again with nothing to do (whole commands,
imports and all), what Prefect adds as a share, and how much the database grew. Then the same for --units task runs
that do nothing, on a Dask cluster of this machine: what `runtime.task_runner` ray or dask adds a unit
of shards (0: leave it out), and for as many heartbeats. At 800, the most that extract and motion make of any dataset,
that is the database of Kinetics-400; its run is set beside what it then holds after some hours.

    python -m benchmarks.orchestration --preset demo --root demo/data/videos

runs that preset once without and once under Prefect instead, and says what Prefect adds and which share of the time
was no stage's work at all, the start of Python and all imports among it.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIG = """\
base: demo
data: {{root: {root}, classes: [MoveRight, MoveLeft]}}
flow: {{segments_per_shard: 2}}
pretrain: {{epochs: 2, min_steps: 4, batch_size: 4, loss: {{queue_size: 16}}, optim: {{warmup_epochs: 0}}}}
finetune: {{enabled: false}}
runtime: {{device: cpu, workers: 1, loader_workers: 0, processes: 1}}
"""
IMPORTED = "import flows.cli.app, mscl.pipeline, mscl.config; from flows import settings; settings.apply()"
BARE = f"""
{IMPORTED}
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

@task(cache_policy=NO_CACHE, persist_result=False)
def nothing():
    pass

@flow(persist_result=False)
def ten():
    for _ in range(10):
        nothing()

ten()
"""
DEMO_SECONDS = 276.0
"""What `--preset demo` took on two cores; orchestration is to stay under 2 % of it."""


def mscl(*arguments: str | Path) -> float:
    """Wall seconds of a command."""
    return python("from flows.cli.command import main; main()", *arguments)


def python(code: str, *arguments: str | Path) -> float:
    """Wall seconds of a process of Python."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{code} {' '.join(map(str, arguments))} failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    return time.perf_counter() - began


def bare() -> float:
    """What a flow of ten empty tasks adds to a process, whoever writes it; the least of three."""
    return min(python(BARE) for _ in range(3)) - min(python(IMPORTED) for _ in range(3))


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def database_mb(home: Path) -> float:
    """Size of the server's database with its journal."""
    return sum(path.stat().st_size for path in home.glob("prefect.db*")) / 1e6


def nothing(task: int, tick: Callable[[int], None]) -> int:
    """A unit of work that takes no time."""
    tick(1)
    return task


def spread_over_dask(count: int) -> float:
    """Seconds of a flow run of `count` task runs on two Dask workers, without the cluster's start."""
    from prefect import flow

    from flows.runners import spread_for
    from mscl.config import RuntimeConfig
    from mscl.progress import Silent

    spread = spread_for(RuntimeConfig(task_runner="dask", workers=2))
    assert spread is not None
    began: list[float] = []

    @flow(name="units", persist_result=False)
    def units() -> None:
        for _ in spread(nothing, range(count), progress=Silent()):
            began.append(time.perf_counter())

    units()
    return (began[-1] - began[0]) * count / (count - 1)


def beat(count: int) -> None:
    """The events of the heartbeats of a run that lasts `count` times 30 s."""
    from prefect import flow, tags
    from prefect.events import emit_event
    from prefect.runtime import flow_run

    @flow(name="beating", persist_result=False)
    def beating() -> None:
        run = flow_run.get_id()
        resource = {"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.name": str(flow_run.get_name())}
        related = [
            {"prefect.resource.id": f"prefect.flow.{run}", "prefect.resource.role": "flow"},
            {"prefect.resource.id": "prefect.tag.mscl", "prefect.resource.role": "tag"},
        ]  # what Prefect sends, in form and length
        for _ in range(count):
            emit_event("prefect.flow-run.heartbeat", resource=resource, related=related)

    with tags("mscl"):
        beating()


def measure_preset(folder: Path, preset: str, root: str) -> dict[str, float]:
    """The whole run of a preset, without Prefect and with it."""
    found = whole_run("without Prefect", folder / "plain", preset, f"data.root={root}", "--no-prefect")
    with server(folder):
        return found | whole_run("with Prefect", folder / "shown", preset, f"data.root={root}")


def whole_run(how: str, workspace: Path, *arguments: str | Path) -> dict[str, float]:
    """A run in a new workspace: seconds in all, and those that no stage took by its own clock."""
    seconds = mscl("run", *arguments, "-w", workspace)
    return {f"run {how}": seconds, f"no stage, {how}": seconds - stage_seconds(workspace)}


def stage_seconds(workspace: Path) -> float:
    """What the stages of a workspace took by their own clocks, together."""
    from storage.workspace import Workspace

    return sum(result.record.timings["seconds"] for result in Workspace(workspace).results())


@contextmanager
def server(folder: Path) -> Iterator[Path]:
    """The home of a Prefect server on a free port of loopback, with a database of its own."""
    home = folder / "prefect"
    os.environ |= {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"}
    from flows import settings
    from flows.server.prefect_server import ensure_server, stop_server
    from mscl.progress import Silent

    settings.apply()
    ensure_server(Silent())
    try:
        yield home
    finally:
        stop_server()


def measure(folder: Path, units: int) -> dict[str, float]:
    """All numbers, in seconds and megabytes."""
    from mscl.demo.dataset import write_demo_dataset

    config = folder / "tiny.yaml"
    config.write_text(
        CONFIG.format(root=write_demo_dataset(folder / "data", train_per_class=4, test_per_class=2).videos)
    )
    plain, shown = folder / "plain", folder / "shown"
    found = whole_run("without Prefect", plain, config, "--no-prefect")
    found["nothing to do, without Prefect"] = mscl("run", config, "--no-prefect", "-w", plain)
    began = time.perf_counter()
    with server(folder) as home:
        found["server start"] = time.perf_counter() - began
        before = database_mb(home)
        found |= whole_run("with Prefect", shown, config)
        found["ten empty tasks, bare Prefect"] = bare()
        found["nothing to do, with Prefect"] = min(mscl("run", config, "-w", shown) for _ in range(2))
        time.sleep(5)  # the server writes events in batches
        found["database MB, three runs"] = database_mb(home) - before
        if units > 1:
            before = database_mb(home)
            found["a task run on Dask"] = spread_over_dask(units) / units
            time.sleep(10)
            found["database MB, all task runs"] = database_mb(home) - before
            before = database_mb(home)
            beat(units)
            time.sleep(10)
            found["database MB, 1,000 heartbeats"] = (database_mb(home) - before) * 1000 / units
    return found


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--preset", default="")
    parser.add_argument("--root", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.preset:
            found = measure_preset(Path(scratch), options.preset, options.root)
        else:
            found = measure(Path(scratch), options.units)
    for name, value in found.items():
        print(f"{name:<32} {value:8.2f}")
    whole = found["run with Prefect"] if options.preset else DEMO_SECONDS
    rest = found["no stage, with Prefect"]
    added = rest - found["no stage, without Prefect"]
    print(
        f"Prefect adds {added:.1f} s beside the stages, {added / whole:.1%} of {whole:.0f} s; "
        f"with all that is no stage's work {rest:.1f} s, {rest / whole:.1%}"
    )
    if not options.preset:
        print(f"a flow of ten empty tasks adds {found['ten empty tasks, bare Prefect']:.1f} s")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
