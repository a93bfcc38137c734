"""Unfinished work with one bad file, of every stage: the same command goes on, and so does `--force`.

    python -m tests.faults.unfinished_work [--seed 0] [--workspace FINISHED --config FILE] [--begin-with STAGE]

A finished result is made unfinished by taking its record away; those that a run resumes from are left as a kill leaves
them. Then one file is made empty, cut in half or given a bad byte. `mscl verify --repair` must end in sentences, and
the same command must end with a result that equals the undisturbed one. A bad byte inside of a shard of extraction is
found when that is read or verified, for a resumed extraction would take minutes to look for it.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mscl.pipeline import PIPELINE
from storage.record import RECORD_NAME
from storage.workspace import Workspace
from tests.faults.in_process import command
from tests.faults.run_processes import all_gone, ends_within, run_once
from tests.faults.workspace_facts import differences, facts
from tests.tiny import FINETUNE

Say = Callable[[str], None]
_TRAININGS = ("pretrain", "finetune")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _bad_byte(path: Path) -> None:
    content = bytearray(path.read_bytes() or b"\n")
    content[len(content) // 2] = 0xFF if content[len(content) // 2] != 0xFF else 0xFE
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {"empty": _empty, "half": _half, "bad byte": _bad_byte}


def make_unfinished(workspace: Path, stage: str, begun: Path | None) -> Path:
    """Take a stage's result back to where a kill may have left it; its folder."""
    (result,) = Workspace(workspace).results(stage)
    if begun is not None:
        shutil.rmtree(result.folder)
        shutil.copytree(begun, result.folder)
    (result.folder / RECORD_NAME).unlink(missing_ok=True)
    return result.folder


def begun_finetuning(workspace: Path, config: Path, *settings: str) -> Path:
    """A fine-tuning that was killed after its first checkpoint; `workspace` is used up."""
    (result,) = Workspace(workspace).results("finetune")
    shutil.rmtree(result.folder)
    process = run_once(config, workspace, settings=settings, until="finetune")
    while not list(result.folder.rglob("step-*.pt")):
        assert ends_within(process, 0.02) is None, workspace.with_suffix(".log").read_text()[-2000:]
    process.kill()
    process.wait()
    all_gone(workspace, process)
    return result.folder


def bad_files(folder: Path, rng: random.Random) -> list[Path]:
    """One of every kind of file."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("events.out") and path.name != RECORD_NAME:
            kind = re.sub(r"[0-9a-f]*[0-9]+[0-9a-f]*", "*", str(path.relative_to(folder)))
            # An embedding's variants differ in their names alone.
            kinds.setdefault(re.sub(r"^(un)?trained\w*\.zarr", "*.zarr", kind), []).append(path)
    return [rng.choice(paths) if "step-" not in paths[0].name else paths[-1] for paths in kinds.values()]


def storm(
    finished: Path, config: Path, folder: Path, *, seed: int, say: Say, settings: tuple[str, ...] = tuple(FINETUNE),
    begin_with: str = PIPELINE[0].name,
) -> Counter[str]:  # fmt: skip
    """Every stage, kind of file and damage once; how many of which stage. AssertionError where a command is stuck."""
    rng = random.Random(seed)
    expected = facts(finished)
    count: Counter[str] = Counter()
    wrong: list[str] = []
    workspace = Path(shutil.copytree(finished, folder / "workspace"))
    begun = begun_finetuning(Path(shutil.copytree(finished, folder / "killed")), config, *settings)
    run = ("run", config, *settings, "--no-prefect", "--workspace", workspace)

    def tried(*arguments: str | Path, codes: tuple[int, ...] = (0,)) -> str:
        code, out, err = command(*arguments)
        assert code in codes and "Traceback" not in out + err, f"code {code}: {(out + err)[-800:]}"
        return " ".join((out + err).split())

    names = [stage.name for stage in PIPELINE]
    for stage in PIPELINE[names.index(begin_with) :]:
        until = (*run, "--until", stage.name)
        (whole,) = Workspace(finished).results(stage.name)
        at_rest = begun if stage.name == "finetune" else whole.folder
        files = [path.relative_to(at_rest) for path in bad_files(at_rest, rng)]
        training = stage.name in _TRAININGS
        for number, name in enumerate(files):
            for kind in DAMAGES if not training else [list(DAMAGES)[number % len(DAMAGES)]]:
                forced = rng.random() < 0.2
                what = f"{stage.name}: {name} is {kind}{', --force' if forced else ''}"
                try:
                    place = make_unfinished(workspace, stage.name, at_rest)
                    DAMAGES[kind](place / name)
                    tried("verify", "--repair", place.name, "--workspace", workspace, codes=(0, 1))
                    tried("ls", "--workspace", workspace)
                    said = tried(*until, *(("--force", stage.name) if forced else ()))
                    again = [result.folder for result in Workspace(workspace).results(stage.name)]
                    assert again == [place], again
                    if stage.repairs_in_place:  # checksums inside of shards are compared when they are read
                        tried("verify", "--repair", place.name, "--workspace", workspace)
                    changed = differences(
                        {k: v for k, v in expected.items() if k.startswith(stage.name)},
                        {k: v for k, v in facts(workspace, keys={place.name}).items() if k.startswith(stage.name)},
                    )
                    if name.name == "metrics.jsonl" and "of the loss curve up to step" in said:
                        changed = [fact for fact in changed if not fact.endswith("metrics.jsonl")]  # and it was said
                    assert not changed, f"differs from the undisturbed one: {changed}"
                    count[stage.name] += 1
                except Exception as error:
                    wrong.append(f"{what}: {type(error).__name__}: {str(error)[:900]}")
                    say(wrong[-1])
                    shutil.rmtree(workspace)
                    shutil.copytree(finished, workspace)
        say(f"{stage.name}: {count[stage.name]} of unfinished work with a bad file went on")
    say(f"unfinished work, seed {seed}: {sum(count.values())} went on, {len(wrong)} did not: {dict(count)}")
    assert not wrong, "\n".join(wrong)
    return count


def main() -> int:
    """Run the storm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, help="a finished one; else one is made")
    parser.add_argument("--config", type=Path, help="the configuration it was made with")
    parser.add_argument("--begin-with", default=PIPELINE[0].name, help="the first stage to try")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mscl-unfinished-") as name:
        folder, settings = Path(name), tuple[str, ...]()
        if not options.workspace:
            from tests.faults.workspace_flips import finished_workspace

            settings = tuple(FINETUNE)
            options.workspace, options.config = finished_workspace(folder), folder / "tiny.yaml"
            (folder / "more").mkdir()
            folder = folder / "more"
        storm(
            options.workspace, options.config, folder, seed=options.seed, say=lambda line: print(line, flush=True),
            settings=settings, begin_with=options.begin_with,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
