"""Files from elsewhere that are meant to harm: encoders, classifiers, presets and lists, through the real commands.

    python -m tests.faults.hostile_files --mutants 200 --seed 0

Each of them is refused with exit code 2 and one line, and no code in them runs. A mutant of a text file may still be
one that can be read: it is then read, in the commands that only read it. A part of it is in
tests/faults/test_hostile_files.py.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mscl.errors import CheckpointError
from mscl.finetune.classifier import load_classifier
from tests.faults.hostile_samples import (
    encoders,
    lists,
    mutant,
    presets,
    whole_classifier,
    whole_encoders,
    whole_list,
    whole_presets,
)
from tests.faults.in_process import command

Say = Callable[[str], None]


def refused(*arguments: str | Path, about: Path) -> str:
    """The one line with which `mscl ARGUMENTS` refuses a file; AssertionError where it does otherwise."""
    try:
        code, out, err = command(*arguments)
    except Exception as error:
        raise AssertionError(f"{about.name}: {type(error).__name__}: {str(error)[:200]}") from error
    lines = [line for line in (out + err).splitlines() if line.strip()]
    assert code == 2, f"{about.name}: code {code}, {lines[-3:]}"
    said = [line for line in lines if line.startswith("mscl: ")]
    assert len(said) == 1 and lines[-1] == said[0], f"{about.name}: {lines[-5:]}"
    assert len(said[0]) < 1500 and said[0].isprintable(), f"{about.name}: {said[0][:300]!r}"
    assert "weights_only" not in said[0] and "Traceback" not in said[0], f"{about.name}: {said[0]}"
    return said[0]


def try_encoder(path: Path, out: Path) -> str:
    """What `mscl export` says of a hostile file."""
    said = refused("export", path, out, "--workspace", out.parent / "workspace", about=path)
    assert not out.exists(), f"{path.name} was exported"
    return said


def try_classifier(path: Path) -> str:
    """What reading a classifier says of a hostile file."""
    try:
        load_classifier(path)
    except CheckpointError as error:
        assert "\n" not in str(error), f"{path.name}: {error}"
        return str(error)
    raise AssertionError(f"{path.name} was read")


def try_preset(path: Path, *, may_be_read: bool = False) -> str:
    """What `mscl config` says of a hostile file; nothing where a mutant is a sound one."""
    if may_be_read and command("config", path)[0] == 0:
        return ""
    return refused("config", path, about=path)


def try_list(path: Path, workspace: Path) -> str:
    """What ingest says of a hostile list; the videos that sound ones name are none, so that it always ends."""
    where = (f"data.root={path.parent / 'v'}", f"data.annotations={path}", "runtime.workers=1")
    return refused("stage", "ingest", "demo", *where, "--workspace", workspace, about=path)


def storm(folder: Path, *, mutants: int, seed: int, say: Say) -> Counter[str]:
    """All hostile files and `mutants` mutants of sound ones; AssertionError where one is not refused so."""
    trace, out, count = folder / "trace", folder / "out.safetensors", Counter[str]()
    for kind in ("encoders", "presets", "lists", "mutants"):
        (folder / kind).mkdir()
    wrong: list[str] = []

    def attempt(kind: str, what: Callable[[], str]) -> None:
        try:
            count[kind if what() else f"{kind} that can be read"] += 1
        except Exception as error:
            wrong.append(f"{kind}: {type(error).__name__}: {error}")

    for path in encoders(folder / "encoders", trace):
        attempt("encoders", partial(try_encoder, path, out))
    for path in presets(folder / "presets", trace):
        attempt("presets", partial(try_preset, path))
    for path in lists(folder / "lists"):
        attempt("lists", partial(try_list, path, folder / "workspace"))
    rng = random.Random(seed)
    for number in range(mutants):
        (place := folder / "mutants" / str(number)).mkdir()
        match number % 4:
            case 0:
                path = mutant(rng.choice(list(whole_encoders(place).values())), rng)
                attempt("mutants of encoders and checkpoints", partial(try_encoder, path, out))
            case 1:
                attempt("mutants of classifiers", partial(try_classifier, mutant(whole_classifier(place), rng)))
            case 2:
                path = mutant(rng.choice(whole_presets(place)), rng)
                attempt("mutants of presets", partial(try_preset, path, may_be_read=True))
            case _:
                path = mutant(whole_list(place, rng), rng)
                attempt("mutants of lists", partial(try_list, path, place / "workspace"))
        shutil.rmtree(place)
    say(f"hostile files, {mutants} mutants of seed {seed}, each refused in one line: {dict(count)}")
    assert not wrong, f"{len(wrong)} were not: " + "\n".join(wrong)
    assert not trace.exists(), "code in a file has run"
    return count


def main() -> int:
    """Run the storm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mscl-hostile-") as name:
        storm(Path(name), mutants=options.mutants, seed=options.seed, say=print)
    return 0


if __name__ == "__main__":
    sys.exit(main())
