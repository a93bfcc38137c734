"""Making a damaged result again from what the records say: no preset or setting needs to be remembered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mscl.config import ExperimentConfig, build_config
from mscl.errors import UserError
from mscl.progress import Progress
from mscl.stage.contract import Outcome, Stage
from mscl.stage.execute import PRESET, execute
from storage.errors import StorageError
from storage.result_folder import Result, made_with
from storage.user_paths import in_workspace
from storage.verify import Damage, take_back
from storage.workspace import Workspace


def repair(
    workspace: Workspace, stage: Stage, folder: Path, *, found: Sequence[Damage] = (), progress: Progress
) -> Outcome:
    """Make the damaged result in `folder` again: the damaged shards of extraction, else all of it.

    Args:
        found: what decoding has found; a stage that repairs in place only compares digests.

    Raises:
        UserError: what is noted of its settings does not give its key again (other code, videos, hardware).
        StorageError: an input is not there or damaged itself.
    """
    settings, keys = made_with(folder)
    inputs = {name: _whole_input(workspace, name, key) for name, key in keys.items()}
    config = config_of(workspace, settings, inputs, source=f"record of {stage.name} {folder.name}")
    key = stage.key(config, inputs)
    if key != folder.name:
        raise UserError(
            f"{stage.name} {folder.name} cannot be made again from its record: code, videos or hardware are not those "
            f"that made it (its key would be {key}); run the command that made it, which makes a result of its own"
        )
    if found and stage.repairs_in_place:
        # Not before all that may be refused: without its commits no backup of the shards makes the result whole.
        with workspace.claim(stage.name, key):
            take_back(folder, found)
    preset = str(settings.get(PRESET, ""))
    return execute(stage, workspace, config, inputs, progress=progress, preset=preset)


def config_of(
    workspace: Workspace, settings: dict[str, Any], inputs: dict[str, Result], *, source: str
) -> ExperimentConfig:
    """The configuration that a result was made with, as far as its settings and its ancestors' records tell."""
    lineage = [ancestor.record for ancestor in workspace.lineage(*inputs.values())]
    sections: dict[str, Any] = {}
    for each in (settings, *(record.config for record in lineage)):
        for name, values in each.items():
            if name in ExperimentConfig.model_fields:
                sections.setdefault(name, dict(values))
        if "min_frames" in each:  # ingest knows no more of flow than that
            sections.setdefault("flow", {"span_frames": each["min_frames"] - 1})
    if isinstance(sections.get("data", {}).get("split"), list):  # ingest names all official splits
        splits = [each["split"] for each in (settings, *(record.config for record in lineage)) if "split" in each]
        sections["data"]["split"] = splits[0] if splits else 1
    return build_config(sections, source=source)


def _whole_input(workspace: Workspace, name: str, key: str) -> Result:
    result = workspace.find(name, key)
    if result is None:
        where = in_workspace(workspace.root)
        raise StorageError(f"its input {name} {key} is not there or damaged; `mscl verify {key} --repair{where}` first")
    return result
