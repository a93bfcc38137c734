"""Storms on the real stage `extract`: kill -9 of its processes, flipped bits of its result, a full disk.

    python -m tests.faults.extract_storm --kills 50 --flips 200 --seed 0

Short seeded parts of them are in test_extract_faults.py; tests marked `storm` run them at length.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from flows.server.background_processes import family
from storage.atomic import STAGED_PREFIX
from storage.commits import CommitLog
from storage.errors import DamagedError
from storage.flow_store import FlowReader
from storage.frame_store import FrameReader
from storage.record import RECORD_NAME, Record, read_record
from storage.verify import verify_result
from tests.faults.in_process import command

Say = Callable[[str], None]
CONFIG = """\
base: demo
data: {{root: {root}}}
flow: {{method: dis, segments_per_shard: 2}}
runtime: {{device: cpu, workers: {workers}, threads: 1}}
"""


def write_dataset(folder: Path, *, per_class: int, workers: int = 2) -> Path:
    """A configuration file over `8 * per_class` small videos, two a shard."""
    from mscl.demo.dataset import write_demo_dataset

    videos = write_demo_dataset(folder / "data", train_per_class=per_class - 1, test_per_class=1).videos
    (folder / "config.yaml").write_text(CONFIG.format(root=videos, workers=workers))
    return folder / "config.yaml"


def start(*arguments: str | Path, limit_nbytes: int = 0) -> subprocess.Popen[str]:
    """The `mscl` command in a process group of its own; it may make no file larger than `limit_nbytes` (0: any)."""
    code = "from flows.cli.app import main; main()"
    if limit_nbytes:
        code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_nbytes},) * 2); {code}"
    environment = {**os.environ, "COLUMNS": "250", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip


def stage(name: str, config: Path, workspace: Path, *, limit_nbytes: int = 0) -> tuple[int, str]:
    """Run one stage to its end: exit code and output. In a process of its own where that is limited."""
    if not limit_nbytes:
        return run_here("stage", name, config, "--workspace", workspace)
    process = start("stage", name, config, "--workspace", workspace, limit_nbytes=limit_nbytes)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def run_here(*arguments: str | Path) -> tuple[int, str]:
    """`mscl ARGUMENTS` in this process, to its end: exit code and output."""
    with mock.patch.dict(os.environ, COLUMNS="250"):
        code, output, errors = command(*arguments)
    return code, output + errors


def result_folder(workspace: Path) -> Path:
    """The one folder of stage extract."""
    (folder,) = workspace.glob("extract/*/")
    return folder


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of a result but its record (which tells times) and notes; half-written files would show."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != RECORD_NAME and (not path.name.startswith(".") or path.name.startswith(STAGED_PREFIX))
    }


@dataclass(frozen=True)
class Prepared:
    """What storms start from."""

    base: Path
    """A workspace where ingest is done."""
    undisturbed: Path
    """A copy of it where extraction is done, too."""
    expected: dict[str, str]
    """Digests of that extraction."""
    seconds: float
    """How long it took."""


def prepare(config: Path, folder: Path) -> Prepared:
    """Run ingest, and extraction undisturbed, in `folder`."""
    base, undisturbed = folder / "base", folder / "undisturbed"
    code, output = stage("ingest", config, base)
    assert code == 0, output
    shutil.copytree(base, undisturbed)
    started_s = time.monotonic()
    code, output = stage("extract", config, undisturbed)
    assert code == 0, output
    return Prepared(base, undisturbed, digests(result_folder(undisturbed)), time.monotonic() - started_s)


def kill_storm(config: Path, prepared: Prepared, folder: Path, *, count: int, seed: int, say: Say) -> Counter[str]:
    """Kill `count` times: the command, its group, or one of its workers; resume until the end, compare, begin anew.

    Returns how many kills hit what, and `with shards`: after how many of them some shards were committed.
    Raises AssertionError where a resumed result differs from the undisturbed one by a byte.
    """
    rng = random.Random(seed)
    hits: Counter[str] = Counter()
    rounds = 0
    while hits["killed"] < count:
        rounds += 1
        workspace = folder / f"round{rounds}"
        shutil.copytree(prepared.base, workspace)
        while True:
            process = start("stage", "extract", config, "--workspace", workspace)
            if hits["killed"] >= count or not _kill(process, workspace, rng, prepared.seconds, hits):
                output, _ = process.communicate(timeout=600)
                assert process.returncode == 0, output
                break
        assert digests(result_folder(workspace)) == prepared.expected, f"round {rounds} of seed {seed} differs"
        shutil.rmtree(workspace)
        say(f"{rounds} extractions equal the undisturbed one after {dict(hits)}")
    return hits


def _kill(
    process: subprocess.Popen[str], workspace: Path, rng: random.Random, seconds: float, hits: Counter[str]
) -> bool:
    """Kill the command or its group at a random moment; False: it ended before (a lost worker alone ends nothing)."""
    victim = rng.choice(["command", "command", "group", "worker"])
    before = _num_committed(workspace)
    moment_s = rng.uniform(0, seconds)
    deadline_s = time.monotonic() + moment_s
    # Most of a short run is start-up: three of four kills come while shards are being made.
    if rng.random() < 0.75:
        while process.poll() is None and _num_committed(workspace) == before:
            time.sleep(0.005)
        deadline_s = time.monotonic() + rng.uniform(0, seconds / 4)
    while process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.002)
    if process.poll() is not None:
        return False
    workers = [child.pid for child in family(process.pid)]
    if victim == "worker" and workers:
        _signal(rng.choice(workers))
        hits["killed"] += 1
        hits["worker"] += 1
        return False  # the command goes on by itself, to the end
    members = family(process.pid)
    if victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate(timeout=60)
    _wait_for_end({member.pid for member in members})
    hits["killed"] += 1
    hits[victim if victim == "group" else "command"] += 1
    hits["with shards"] += _num_committed(workspace) > 0
    return True


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _wait_for_end(pids: set[int]) -> None:
    deadline_s = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() and _state(pid) not in "ZX" for pid in pids):
        assert time.monotonic() < deadline_s, f"processes outlive their command: {pids}"
        time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _num_committed(workspace: Path) -> int:
    return sum(len(CommitLog(path).rows()) for path in workspace.glob("extract/*/commits.jsonl"))


def flip_storm(folder: Path, *, count: int, seed: int, say: Say) -> Counter[str]:
    """Flip one random bit of the result, `count` times; Raises AssertionError where verifying is silent.

    Half of the flips go to any byte of all files, half to a file chosen first, so that small ones are hit, too.
    """
    rng = random.Random(seed)
    record = read_record(folder)
    assert record is not None and verify_result(folder, record, in_shards=True) == []
    paths = [folder / file.path for file in record.files] + [folder / RECORD_NAME]
    sizes = [path.stat().st_size for path in paths]
    expected = _content(folder)
    found: Counter[str] = Counter()
    for number in range(count):
        path = rng.choices(paths, sizes)[0] if number % 2 else rng.choice(paths)
        intact = path.read_bytes()
        damaged = bytearray(intact)
        position, bit = rng.randrange(len(intact)), rng.randrange(8)
        damaged[position] ^= 1 << bit
        path.write_bytes(damaged)
        name = path.relative_to(folder).as_posix()
        assert _is_seen(folder, name), f"flip {number}: bit {bit} of byte {position} of {name}: verify is silent"
        found["by verify"] += 1
        try:
            assert _content(folder) == expected, f"flip {number}: bit {bit} of byte {position} of {name}: read silently"
        except DamagedError:
            found["on reading"] += 1
        path.write_bytes(intact)
        if number % 50 == 49:
            say(f"{number + 1} flips: {dict(found)}")
    record = read_record(folder)
    assert record is not None and verify_result(folder, record, in_shards=True) == []
    return found


def _is_seen(folder: Path, name: str) -> bool:
    record: Record | None = read_record(folder)
    if record is None:
        return name == RECORD_NAME
    found = verify_result(folder, record, in_shards=True)
    # A damaged line of the log names what it spoke of, not itself.
    return any(damage.file == name for damage in found) or (name == "commits.jsonl" and bool(found))


def _content(folder: Path) -> list[str]:
    """A digest of every segment's flow and frames, as readers give them."""
    flow, frames = FlowReader(folder / "flow.zarr"), FrameReader(folder / "frames")
    found = []
    try:
        for segment in range(flow.spec.segments):
            count = range(flow.valid(segment)[0])
            both = flow.clip(segment, count).tobytes() + frames.clip(segment, count).tobytes()
            found.append(hashlib.sha256(both).hexdigest())
    finally:
        flow.close()
        frames.close()
    return found


def main() -> int:
    """Run the storms; an AssertionError where something was lost in silence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mscl-storm-") as name:
        config = write_dataset(Path(name), per_class=6)
        prepared = prepare(config, Path(name))
        hits = kill_storm(config, prepared, Path(name), count=options.kills, seed=options.seed, say=print)
        print(f"{options.kills} kills of extract: every resumed store equals the undisturbed one; {dict(hits)}")
        folder = result_folder(prepared.undisturbed)
        found = flip_storm(folder, count=options.flips, seed=options.seed, say=print)
        print(f"{options.flips} flipped bits: {dict(found)}, none silent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
