"""What a finished workspace holds, so that two runs can be compared."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from storage.verify import verify_result
from storage.workspace import Workspace

CLOCKS = ("job.json", "train.log", "tensorboard/", "report.html")
"""Files that tell times, process ids or where the workspace lies. Everything else must be the same, byte by byte."""
_METRIC_CLOCKS = ("seconds", "clips_per_second", "data_wait")


def facts(workspace: Path, *, keys: Collection[str] = ()) -> dict[str, object]:
    """Everything a finished workspace holds, but for clocks: digest by file, tensors, losses.

    Args:
        keys: of these results only; empty: of all, one a stage.

    Raises:
        AssertionError: a file is not as its record says.
    """
    place = Workspace(workspace)
    found: dict[str, object] = {}
    for result in place.results():
        if keys and result.key not in keys:
            continue
        damage = verify_result(result.folder, result.record)
        assert not damage, damage
        stage, key = result.record.stage, result.key
        found[f"{stage} key"], found[f"{stage} inputs"] = key, result.record.inputs
        for file in result.record.files:
            name = f"{stage}/{file.path}"
            if file.path == "metrics.jsonl":
                rows = [json.loads(line) for line in (result.folder / file.path).read_text().splitlines()]
                found[name] = [{k: v for k, v in row.items() if k not in _METRIC_CLOCKS} for row in rows]
            elif file.path.endswith(".pt"):
                found[name] = _tensors(result.folder / file.path)
            elif not file.path.startswith(CLOCKS):
                found[name] = file.digest
    return found


def _tensors(checkpoint: Path) -> str:
    """Digest of all that training goes on from; the file itself also holds the name that it was staged under."""
    from hashlib import sha256

    import torch

    digest = sha256()

    def add(name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                add(f"{name}.{key}", value[key])
        elif isinstance(value, list | tuple):
            for number, item in enumerate(value):
                add(f"{name}.{number}", item)
        else:
            digest.update(f"{name} {value!r}".encode())

    state = torch.load(checkpoint, weights_only=True)
    # States of generators that no step draws from: they tell how often a loader was made.
    add("", {name: value for name, value in state.items() if name != "random"})
    return digest.hexdigest()


def differences(expected: dict[str, object], found: dict[str, object]) -> list[str]:
    """Names of what is missing, new or changed."""
    return [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
