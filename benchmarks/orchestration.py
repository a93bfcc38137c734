"""What Prefect costs: a run of the pipeline with and without it, and with everything done already.

    python -m benchmarks.orchestration [--units 200 --json FILE]

A server, a database and a workspace of its own in a temporary folder, a free port on loopback, a dozen small videos.
Printed: seconds of the server's start, of a run without Prefect and of one with it, of both again with nothing to do
(whole commands, imports and all), what Prefect adds as a share, and how much the database grew. Then the same for
--units task runs that do nothing, on a Dask cluster of this machine: what `runtime.task_runner` ray or dask adds a unit
of shards (0: leave it out).
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CONFIG = """\
base: demo
data: {{root: {root}, classes: [MoveRight, MoveLeft]}}
flow: {{segments_per_shard: 2}}
pretrain: {{epochs: 2, min_steps: 4, batch_size: 4, loss: {{queue_size: 16}}, optim: {{warmup_epochs: 0}}}}
finetune: {{enabled: false}}
runtime: {{device: cpu, workers: 1, loader_workers: 0, processes: 1}}
"""
DEMO_SECONDS = 360.0
"""What the demo may take; orchestration is to stay under 2 % of it."""


def mscl(*arguments: str | Path) -> float:
    """Wall seconds of a command."""
    began = time.perf_counter()
    code = "from flows.console import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"mscl {' '.join(map(str, arguments))} failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    return time.perf_counter() - began


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


def measure(folder: Path, units: int) -> dict[str, float]:
    """All numbers, in seconds and megabytes."""
    home = folder / "prefect"
    os.environ |= {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"}
    from flows import settings
    from flows.server import ensure_server, stop_server
    from mscl.progress import Silent
    from mscl.sources.demo import write_demo_dataset

    settings.apply()
    config = folder / "tiny.yaml"
    config.write_text(
        CONFIG.format(root=write_demo_dataset(folder / "data", train_per_class=4, test_per_class=2).videos)
    )
    found: dict[str, float] = {}
    plain, shown = folder / "plain", folder / "shown"
    found["run without Prefect"] = mscl("run", config, "--no-prefect", "-w", plain)
    found["nothing to do, without Prefect"] = mscl("run", config, "--no-prefect", "-w", plain)
    began = time.perf_counter()
    ensure_server(Silent())
    found["server start"] = time.perf_counter() - began
    try:
        before = database_mb(home)
        found["run with Prefect"] = mscl("run", config, "-w", shown)
        found["nothing to do, with Prefect"] = min(mscl("run", config, "-w", shown) for _ in range(2))
        time.sleep(5)  # the server writes events in batches
        found["database MB, three runs"] = database_mb(home) - before
        if units > 1:
            before = database_mb(home)
            found["a task run on Dask"] = spread_over_dask(units) / units
            time.sleep(10)
            found["database MB, 1,000 task runs"] = (database_mb(home) - before) * 1000 / units
    finally:
        stop_server()
    return found


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(scratch), options.units)
    for name, value in found.items():
        print(f"{name:<32} {value:8.2f}")
    added = found["run with Prefect"] - found["run without Prefect"]
    print(f"Prefect adds {added:.1f} s to a whole run: {added / DEMO_SECONDS:.1%} of a demo of {DEMO_SECONDS:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
