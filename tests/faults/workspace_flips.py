"""Flipped bits in every kind of file of a whole finished workspace: found by verify, and nothing is computed from them.

python -m tests.faults.workspace_flips --flips 2000 --seed 0 [--workspace FINISHED]
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mscl.pipeline import BY_NAME
from storage.errors import DamagedError
from storage.flow_store import FlowReader
from storage.frame_store import FrameReader
from storage.record import RECORD_NAME, Record, read_record
from storage.result_folder import Result
from storage.verify import refuse_changed, verify_result
from storage.workspace import Workspace
from tests.tiny import FINETUNE, write_tiny

Say = Callable[[str], None]


@dataclass(frozen=True)
class Flip:
    """A bit of a file."""

    path: Path
    byte: int
    bit: int

    def __str__(self) -> str:
        return f"bit {self.bit} of byte {self.byte} of {'/'.join(self.path.parts[-4:])}"


@contextmanager
def flipped(flip: Flip) -> Iterator[None]:
    """The file with that bit changed; afterwards as it was."""
    intact = flip.path.read_bytes()
    damaged = bytearray(intact)
    damaged[flip.byte] ^= 1 << flip.bit
    flip.path.write_bytes(damaged)
    try:
        yield
    finally:
        flip.path.write_bytes(intact)


def kinds(workspace: Workspace) -> dict[str, list[Path]]:
    """Files of the results by stage and name, digits left out: every kind is hit as often, however small its files."""
    found: dict[str, list[Path]] = {}
    for result in workspace.results():
        for name in (*(file.path for file in result.record.files), RECORD_NAME):
            path = result.folder / name
            if path.stat().st_size:
                kind = f"{result.record.stage}/{re.sub(r'[0-9a-f]*[0-9]+[0-9a-f]*', '*', name)}"
                found.setdefault(re.sub(r"tensorboard/.*", "tensorboard", kind), []).append(path)
    return found


def shards_as_read(folder: Path) -> list[str]:
    """A digest of the flow and frames of every segment, as readers give them."""
    flow, frames = FlowReader(folder / "flow.zarr"), FrameReader(folder / "frames")
    try:
        return [
            hashlib.sha256(flow.clip(n, every).tobytes() + frames.clip(n, every).tobytes()).hexdigest()
            for n in range(flow.spec.segments)
            for every in [range(flow.valid(n)[0])]
        ]
    finally:
        flow.close()
        frames.close()


def flip_storm(place: Path, *, count: int, seed: int, say: Say) -> Counter[str]:
    """Flip `count` bits, one after the other; AssertionError where verify is silent, or a reader takes one for true."""
    workspace, rng = Workspace(place), random.Random(seed)
    files = kinds(workspace)
    records = {result.folder: result.record for result in workspace.results()}
    expected = {result.folder: shards_as_read(result.folder) for result in workspace.results("extract")}
    found: Counter[str] = Counter()
    of_kind: Counter[str] = Counter()
    order = sorted(files)
    for number in range(count):
        kind = order[number % len(order)]
        path = rng.choice(files[kind])
        flip = Flip(path, rng.randrange(path.stat().st_size), rng.randrange(8))
        of_kind[kind] += 1
        with flipped(flip):
            found[_how_found(flip, workspace, records, expected)] += 1
        if number % 200 == 199:
            say(f"{number + 1} flips, seed {seed}: {dict(found)}")
    say(f"{count} flips, seed {seed}, in {len(of_kind)} kinds of files: {dict(of_kind)}")
    return found


def _how_found(flip: Flip, workspace: Workspace, records: dict[Path, Record], expected: dict[Path, list[str]]) -> str:
    folder = next(path for path in flip.path.parents if path.parent.parent == workspace.root)
    stage, name = folder.parent.name, flip.path.relative_to(folder).as_posix()
    record = read_record(folder)
    if record is None:
        assert name == RECORD_NAME and workspace.find(stage, folder.name) is None, f"{flip}: the result is used"
        return "the record is not taken for one"
    if name == RECORD_NAME:
        assert record == records[folder], f"{flip}: the record says another thing"
        return "none: 1E-05 is 1e-05"
    damage = verify_result(folder, record, in_shards=BY_NAME[stage].repairs_in_place)
    # A damaged line of the log names what it spoke of, not itself.
    named = any(one.file == name for one in damage) or (name == "commits.jsonl" and bool(damage))
    assert named, f"{flip}: verify names {damage}"
    try:
        refuse_changed(Result(folder, record))
    except DamagedError:
        return "verify, and before anything is computed"
    try:
        assert folder not in expected or shards_as_read(folder) == expected[folder], f"{flip} was taken for true"
    except DamagedError:
        return "verify, and on reading"
    return "verify; no reader gives another value"


def main() -> int:
    """Run the storm; an AssertionError where something stays silent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, help="a finished one; else one is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mscl-flips-") as name:
        place = options.workspace or finished_workspace(Path(name))
        found = flip_storm(place, count=options.flips, seed=options.seed, say=lambda line: print(line, flush=True))
    print(f"{options.flips} flips, none silent: {dict(found)}")
    return 0


def finished_workspace(folder: Path) -> Path:
    """A workspace with a result of every stage."""
    from mscl.config import load_config
    from mscl.pipeline import run_pipeline

    run_pipeline(Workspace(folder / "workspace"), load_config(str(write_tiny(folder)), FINETUNE))
    return folder / "workspace"


if __name__ == "__main__":
    sys.exit(main())
