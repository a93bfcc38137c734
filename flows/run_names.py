"""What tells runs apart: a name like `ucf101 · UCF-101 · lr=0.01`, and tags for preset, dataset and workspace."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from pydantic import BaseModel

from mscl.config import ExperimentConfig, load_config
from mscl.config.commented_yaml import value_text
from mscl.config.describe import sections_of, settings_of
from mscl.config.presets import is_file_name, layers_of
from storage.workspace import Workspace

_MADE_UP = re.compile(r"[A-Za-z]+\d*(-[A-Za-z]+)+")
"""`proud-lemur`, `alpha4-shoni`, `Awesome-Cantil`: of this form are the names that Prefect gives, at the command line
and in its two UIs. A person's may be, too, and nothing tells whose it was."""
_SHOWN = 4
_IN_FULL = ("embed.", "probe.", "retrieve.", "finetune.")
"""Sections of scores: `epochs=2` is of the pre-training, and `enabled=false` says nothing of what."""
_NO_CHANGE = ("data.root", "data.annotations", "runtime.")


def tell_apart(workspace: Workspace, config: ExperimentConfig, *, preset: str, stage: str = "") -> None:
    """Give the run that this is called in its name and tags.

    A name that a person gave stays; one that may be made up stays in brackets, where somebody has seen it.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run: FlowRun = context.flow_run
    name = run.name
    if _MADE_UP.fullmatch(name):
        name = run_title(config, preset=preset, stage=stage) + (f" ({name})" if run.deployment_id else "")
    tags = {f"preset:{preset_title(preset)}", f"workspace:{_last_two(workspace.root)}"}
    if dataset(config):
        tags.add(f"dataset:{dataset(config)}")
    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, name=name, tags=sorted({*run.tags, *tags}))


def run_title(config: ExperimentConfig, *, preset: str, stage: str = "") -> str:
    """`ucf101 · UCF-101 · lr=0.01`; a stage's own run begins with its name."""
    parts = (stage, preset_title(preset), dataset(config), *special(config, preset=preset))
    return " · ".join(part for part in parts if part)


def preset_title(preset: str) -> str:
    """`ucf101+linear`; of a file its name without folder and ending."""
    return "+".join(Path(layer).stem if is_file_name(layer) else layer for layer in layers_of(preset))


def dataset(config: ExperimentConfig) -> str:
    """Name of the videos' folder."""
    return Path(config.data.root).name


def special(config: ExperimentConfig, *, preset: str) -> list[str]:
    """What differs from the preset, `["lr=0.01"]`: not where the data are, nor what changes no result."""
    changes = {name: text for name, text in changed(config, preset=preset).items() if not name.startswith(_NO_CHANGE)}
    last = Counter(name.rpartition(".")[2] for name in changes)
    texts = []
    for name, text in changes.items():
        short = name.rpartition(".")[2]
        texts.append(f"{name if last[short] > 1 or name.startswith(_IN_FULL) else short}={text}")
    return texts if len(texts) <= _SHOWN else [*texts[:_SHOWN], f"{len(texts) - _SHOWN} more"]


def changed(config: ExperimentConfig, *, preset: str) -> dict[str, str]:
    """Dotted name -> value as text, of each setting that is not as the preset has it."""
    theirs = dict(_values(load_config(preset)))
    return {name: text for name, text in _values(config) if theirs[name] != text}


def _values(section: BaseModel, path: str = "") -> Iterator[tuple[str, str]]:
    for setting in settings_of(section):
        yield f"{path}{setting.name}", value_text(setting.value)
    for name, below in sections_of(section).items():
        yield from _values(below, f"{path}{name}.")


def _last_two(folder: Path) -> str:
    return "/".join(folder.parts[-2:])
