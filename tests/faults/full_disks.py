"""A disk that is full at every stage and at several sizes: one line with the place, and with room the command goes on.

    unshare --mount python -m tests.faults.full_disks [--begin-with STAGE]

The workspace lies on a real small disk that is mounted for this process and its children alone. A file takes all of it
but a few kilobytes; when the stage has said so, the file goes, and the same command comes to its end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mscl.pipeline import PIPELINE
from storage.workspace import Workspace
from tests.faults.in_process import command
from tests.tiny import FINETUNE, write_tiny

Say = Callable[[str], None]
FREE_KB = (0, 4, 24, 100, 400, 1500)
"""What is left free, one after the other, until the stage has room."""
_TRAININGS = ("pretrain", "finetune")
_FREE_KB_OF_TRAININGS = (0, 24, 400)
_DISK_MB = 64


def private() -> list[str]:
    """What to put before a command so that what it mounts is its own; empty where that is not allowed here."""
    before = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    with tempfile.TemporaryDirectory() as name:
        mount = ["mount", "-t", "tmpfs", "tmpfs", name]
        works = shutil.which("unshare") and not subprocess.run([*before, *mount], capture_output=True).returncode
    return before if works else []


def leave_free(disk: Path, kilobytes: int | None) -> None:
    """Take all but so much of the disk; None: give it back."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    if kilobytes is not None:
        take = shutil.disk_usage(disk).free - kilobytes * 1024
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(take, 1))


def said_so(disk: Path, *arguments: str | Path) -> str:
    """The one line of a command that found the disk full; empty where it had room. AssertionError else."""
    try:
        code, out, err = command(*arguments)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {str(error)[:300]}") from error
    if code == 0:
        return ""
    lines = [line for line in err.splitlines() if line.startswith("mscl: ")]
    text = (out + err)[-1500:]
    assert code == 2 and lines and err.rstrip().endswith(lines[-1]), f"code {code}: {text}"
    assert "Traceback" not in out + err, text
    assert str(disk) in lines[-1], f"no path: {text}"
    assert "space" in lines[-1].lower() or "disk" in lines[-1].lower(), f"no word of the disk: {text}"
    return lines[-1]


def storm(folder: Path, *, say: Say, begin_with: str = PIPELINE[0].name) -> dict[str, int]:
    """Every stage at every size; how often each found the disk full."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", str(disk)], check=True)
    config, workspace = write_tiny(folder), disk / "workspace"
    base = (config, *FINETUNE, "--workspace", workspace)
    wrong: list[str] = []
    full: dict[str, int] = {}

    def attempt(what: str, kilobytes: int, *arguments: str | Path) -> bool:
        """Whether there was room."""
        leave_free(disk, kilobytes)
        try:
            said = said_so(disk, *arguments)
        except AssertionError as error:
            wrong.append(f"{what} with {kilobytes} kB: {error}")
            say(wrong[-1])
            return False
        finally:
            leave_free(disk, None)
        full[what] = full.get(what, 0) + bool(said)
        say(f"{what}, {kilobytes} kB free: {said or 'enough'}")
        return not said

    first = [stage.name for stage in PIPELINE].index(begin_with)
    for number, stage in enumerate(PIPELINE):
        arguments = ("run", *base, "--no-prefect", "--until", stage.name)
        sizes = _FREE_KB_OF_TRAININGS if stage.name in _TRAININGS else FREE_KB
        for kilobytes in sizes if number >= first else ():
            if attempt(stage.name, kilobytes, *arguments):
                break
        code, out, err = command(*arguments)
        assert code == 0, f"{stage.name} with room: {out[-500:]} {err[-1500:]}"
    keys = {result.record.stage: result.key for result in Workspace(workspace).results()}
    at = ("--workspace", workspace)
    video = next((folder / "data").rglob("*.mp4"))
    others: dict[str, tuple[str | Path, ...]] = {
        "export": ("export", keys["embed"], disk / "out.safetensors", *at),
        "search": ("search", video, *at),
        "predict": ("predict", video, *at, "--grad-cam", "--out", disk / "pictures"),
        "motion scores": ("motion", "scores", *at, "--out", disk / "scores.csv"),
        "verify": ("verify", *at), "ls": ("ls", *at), "gc": ("gc", *at), "show": ("show", keys["report"], *at),
    }  # fmt: skip
    for what, arguments in others.items():
        for kilobytes in (0, 4, 24):
            attempt(what, kilobytes, *arguments)
        code, out, err = command(*arguments)
        assert code == 0, f"{what} with room: {out[-500:]} {err[-1500:]}"
    # A damaged shard that is made again on a full disk.
    shard = next(path for path in (workspace / "extract" / keys["extract"]).rglob("*") if path.stat().st_size > 9000)
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    for kilobytes in (0, 4):
        attempt("verify --repair", kilobytes, "verify", "--repair", *at)
    code, out, err = command("verify", "--repair", *at)
    assert code == 0, f"repair with room: {out[-500:]} {err[-1500:]}"
    code, out, err = command("verify", *at)
    assert code == 0, f"after the repair: {out[-500:]} {err[-1500:]}"
    say(f"full disks: {sum(full.values())} times said in one line: {full}")
    assert not wrong, f"{len(wrong)} were not: " + "\n".join(wrong)
    return full


def main() -> int:
    """Run the storm in a folder that is given or made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--begin-with", default=PIPELINE[0].name, help="the first stage to try")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mscl-full-") as name:
        storm(options.folder or Path(name), say=partial(print, flush=True), begin_with=options.begin_with)
    return 0


if __name__ == "__main__":
    sys.exit(main())
