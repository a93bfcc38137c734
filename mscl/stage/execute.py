"""Running one stage: under a lock, from what an earlier run left, with a record at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mscl.config import ExperimentConfig
from mscl.errors import ConfigError
from mscl.milestones import reached
from mscl.progress import Progress, Silent
from mscl.stage.contract import Outcome, Stage, StageRun
from mscl.stage.view import RESUMED
from mscl.stage.worker_pool import Spread, refuse_while_imported
from storage.atomic import disk_errors, remove_staged
from storage.garbage import refuse_read
from storage.record import content_of
from storage.result_folder import (
    Result,
    clear,
    contents_read,
    forced_by,
    is_half_removed,
    known_damage,
    remove_changed,
)
from storage.verify import refuse_changed
from storage.workspace import Workspace

PRESET = "preset"
"""In a record's settings: what they are called."""


def execute(
    stage: Stage,
    workspace: Workspace,
    config: ExperimentConfig,
    inputs: Mapping[str, Result],
    *,
    progress: Progress | None = None,
    force: bool = False,
    spread: Spread | None = None,
    preset: str = "",
    asked_by: str = "",
) -> Outcome:
    """Run a stage, or find that it is done.

    A result is computed under the workspace's lock on it: of two runs of the same stage, settings and
    inputs one waits and then reuses. `force` computes it again, and goes on with nothing unfinished. `spread` None:
    shards go to processes of this machine. `preset`: what the settings are called; noted in the record beside them, and
    no part of the key. `asked_by`: name of the run that forces; where it is tried again it goes on with what it has
    computed itself.

    Raises:
        UserError: an input is missing.
        DamagedError: a file of an input is not as it was written.
        StorageError: the disk is full, or refuses for another reason; what is stored already is kept. Or a result that
            is to be made again is being read by a run that computes another one.
        ConfigError: `runtime.task_runner` names a cluster, and nobody gave a way to it.
    """
    refuse_while_imported()
    reached("stage begins")
    progress = progress or Silent()
    if spread is None and config.runtime.task_runner != "threads":
        raise ConfigError(
            f"runtime.task_runner is {config.runtime.task_runner!r}, and a cluster is reached through Prefect only; "
            "use `mscl run` without --no-prefect, or a deployment, or set runtime.task_runner to threads"
        )
    started = time.monotonic()
    used = stage.inputs(inputs)
    keys = {name: result.key for name, result in used.items()}
    contents = {name: content_of(result.record) for name, result in used.items()}
    settings = stage.settings(config)
    key = stage.key_of(settings, used)
    noted = stage.noted(config, settings) | ({PRESET: preset} if preset else {})
    with workspace.claim(stage.name, key, on_wait=progress.say) as folder:
        done = workspace.find(stage.name, key)
        anew = force and not (asked_by and forced_by(folder) == asked_by)
        if done is not None and not anew:
            changed = stage.changed_inputs(done, used)
            if not changed:
                workspace.touch(done)
                return Outcome(done, reused=True, seconds=time.monotonic() - started)
            progress.say(
                f"{stage.name} {key} is made again: {', '.join(changed)} was computed again since, and differs"
            )
        refuse_changed(*used.values())
        if done is not None:
            refuse_read(workspace, folder)
            clear(folder)
        else:
            _drop_what_does_not_count(stage, key, folder, contents, force=anew, say=progress.say)
        with disk_errors(folder):
            remove_staged(folder)  # what a killed run left half written: a checkpoint, a part
            goes_on = any(folder.iterdir())
            was_finished = workspace.begin(
                stage.name, key, config=noted, inputs=keys, contents=contents, forced_by=asked_by if force else ""
            )
            run = StageRun(
                folder, config, used, progress, is_damaged=was_finished, is_forced=force, spread=spread,
                settings=settings,
            )  # fmt: skip
            reached("GPUs are counted, inputs looked at")
            progress.start(stage.title or stage.name, None, "")
            metrics = stage.run(run)
            progress.done()
            seconds = time.monotonic() - started
            result = workspace.commit(
                stage.name, key, version=stage.version, config=noted, inputs=keys, metrics=metrics,
                timings={"seconds": round(seconds, 3)} | ({RESUMED: 1.0} if goes_on else {}), digests=run.digests,
                contents=contents,
            )  # fmt: skip
    return Outcome(result, reused=False, seconds=seconds)


def _drop_what_does_not_count(
    stage: Stage, key: str, folder: Path, contents: Mapping[str, str], *, force: bool, say: Callable[[str], None]
) -> None:
    """Clear the folder of an unfinished result of what cannot be gone on from, and say why; keep the rest."""
    read_before = contents_read(folder)
    others = [name for name, content in contents.items() if read_before.get(name, content) != content]
    why = ""
    if force:
        why = "what was begun is removed, for the stage is forced" if any(folder.iterdir()) else ""
    elif known_damage(folder) and not stage.repairs_in_place:
        pass  # whoever found the damage has said so
    elif is_half_removed(folder):
        why = "what is left of an earlier result, whose removal was stopped, is removed"
    elif others:
        why = f"what was begun is removed, for {', '.join(others)} was computed again since, and differs"
    else:
        if not stage.repairs_in_place:
            remove_changed(folder)
        return
    if why:
        say(f"{stage.name} {key}: {why}")
    clear(folder)
