"""How long from `mscl up` on an empty machine to the first run Running, and where the time goes.

    python -m benchmarks.startup [--rounds N] [--json FILE]

A home and a database of their own in a temporary folder, a free port on loopback: the very first start, migrations and
all. The run is asked for as a user does it, by `prefect deployment run`, in a process of its own, as soon as `mscl up`
has returned. Milestones are read from the API from outside, four times a second; what a run does after it is Running
is `benchmarks.orchestration`'s business.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.orchestration import free_port
from mscl.devices import cores

LIMIT_SECONDS = 60.0
"""What may pass until the first run is Running, on two cores."""
_POLL_SECONDS = 0.25


def call(home: Path, api: str, path: str, body: object = None, *, method: str = "GET") -> Any:
    """JSON that the API answers to the key in its home; None while it does not, or has no such thing."""
    data = None if body is None else json.dumps(body).encode()
    key = home / "mscl-api-auth"
    headers = {"content-type": "application/json"}
    if key.exists():
        headers["authorization"] = f"Basic {b64encode(key.read_bytes()).decode()}"
    request = urllib.request.Request(api + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None


def deployments() -> list[Any]:
    """What `mscl up` is to make."""
    from flows.deployments import DEPLOYMENTS

    return list(DEPLOYMENTS)


def command(*arguments: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    code = f"import sys; sys.argv[0] = {arguments[0]!r}; " + (
        "from flows.cli.command import main; main()" if arguments[0] == "mscl" else "from prefect.cli import app; app()"
    )
    return subprocess.Popen([sys.executable, "-c", code, *arguments[1:]], env=environment, stdout=subprocess.DEVNULL)


def measure(folder: Path) -> dict[str, float]:
    """Seconds after the command at which each milestone was there, in the order of their coming."""
    api = f"http://127.0.0.1:{free_port()}/api"
    home = folder / "prefect"
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": api}
    found: dict[str, float] = {}
    watched: dict[str, Callable[[], bool]] = {
        "server answers": lambda: call(home, api, "/health") is True,
        "worker polls": lambda: bool(call(home, api, "/work_pools/mscl/workers/filter", {}, method="POST")),
        "all deployments are there": lambda: call(home, api, "/deployments/count", {}, method="POST") == number,
    }
    number = len(deployments())
    began = time.perf_counter()

    def until(process: subprocess.Popen[bytes], milestone: str) -> None:
        while process.poll() is None or milestone not in found:
            for name in [name for name, there in watched.items() if name not in found and there()]:
                found[name] = time.perf_counter() - began
            if process.poll() is not None:
                if process.returncode:
                    raise SystemExit(f"{milestone}: code {process.returncode}")
                found.setdefault(milestone, time.perf_counter() - began)
            time.sleep(_POLL_SECONDS)

    def running() -> bool:
        runs = call(home, api, "/flow_runs/filter", {"limit": 1}, method="POST")
        if runs and runs[0]["start_time"] is None and runs[0]["state_type"] in ("FAILED", "CRASHED"):
            raise SystemExit(f"the run did not start: {runs[0]['state']['message']}")
        return bool(runs) and runs[0]["start_time"] is not None

    try:
        until(command("mscl", "up", environment=environment), "`mscl up` has returned")
        workspace = f"workspace={folder / 'workspace'}"
        # No videos: it fails right after it was Running, and costs nothing more.
        asked = ("deployment", "run", "full/full", "-p", "preset=demo", "-p", workspace)
        until(command("prefect", *asked, environment=environment), "`prefect deployment run` has returned")
        while not running() and time.perf_counter() - began < 10 * LIMIT_SECONDS:
            time.sleep(_POLL_SECONDS)
        found["the run is Running"] = time.perf_counter() - began
    finally:
        command("mscl", "down", environment=environment).wait()
    return found


def main() -> None:
    """Measure and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            rounds.append(measure(Path(scratch)))
    for name in rounds[0]:
        print(f"{name:<40}" + "".join(f"{found[name]:8.1f}" for found in rounds) + " s")
    best = min(found["the run is Running"] for found in rounds)
    print(f"limit {LIMIT_SECONDS:.0f} s on two cores, best round {best:.1f} s: {best / LIMIT_SECONDS:.0%} of it")
    print(f"load average now {os.getloadavg()[0]:.1f} on {cores()} cores")
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=1) + "\n")


if __name__ == "__main__":
    main()
