"""Checkpoints: everything a run is, in one file that is there whole or not at all."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from mscl.errors import CheckpointError
from mscl.models.files import load_matching
from mscl.models.mscl import MSCL
from mscl.models.weight_files import read_checkpoint, write_checkpoint
from mscl.pretrain.config import PretrainConfig
from mscl.training.distributed import World
from mscl.video.frame_recipe import EncoderInput

FORMAT = 1
_FREE_TO_CHANGE = {"checkpoint_minutes", "keep_checkpoints", "compile", "cuda_graph"}


@dataclass(frozen=True)
class Run:
    """What a checkpoint describes."""

    model: MSCL
    optimiser: torch.optim.Optimizer
    config: PretrainConfig
    total_steps: int
    world: World
    encoder_input: EncoderInput | None = None
    """What the videos went through before the encoder saw them."""


def save_checkpoint(folder: Path, run: Run, *, step: int) -> Path | None:
    """Write `step-NNNNNNNN.pt` after `step` finished steps and drop all but the last `keep_checkpoints`.

    Call it on all ranks at the same step: every rank's random state goes in; rank 0 writes and gets the path.
    Weights, optimiser, queues with ages and pointer, step (from which learning rate, momentum, the sampler's
    position and the permutations follow), random states, world size, configuration.
    """
    states = _random_states(run.world)
    if not run.world.is_main:
        return None
    state = {
        "format": FORMAT,
        "step": step,
        "total_steps": run.total_steps,
        "world_size": run.world.size,
        "config": run.config.model_dump_json(),
        "model_config": run.config.model.model_dump_json(),
        "encoder_input": None if run.encoder_input is None else run.encoder_input.model_dump_json(),
        "model": run.model.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "random": states,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.pt"
    write_checkpoint(path, state)
    for old in checkpoints(folder)[: -run.config.keep_checkpoints]:
        old.unlink()
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step-*.pt"))


def resume(folder: Path, run: Run) -> int:
    """Put the state of the latest checkpoint into `run`; finished steps, 0 without a checkpoint.

    Raises:
        CheckpointError: damaged, or written with another number of processes, other settings or another
            architecture.
    """
    found = checkpoints(folder)
    if not found:
        return 0
    path = found[-1]
    try:
        state = read_checkpoint(path)
    except CheckpointError as error:
        before = f"from {found[-2].name}" if len(found) > 1 else "from its beginning"
        raise CheckpointError(f"{error}; delete it, and the run goes on {before}") from error
    if state.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {state.get('format')}, this program reads {FORMAT}; start anew")
    load_matching(
        run.model,
        state["model"],
        source=f"checkpoint {path}",
        advice="; set pretrain.model and pretrain.loss as they were for that run, or start anew in another folder",
    )
    if state["world_size"] != run.world.size:
        raise CheckpointError(
            f"checkpoint {path} was written by {state['world_size']} processes and this run has {run.world.size}: "
            f"batch statistics would change; set runtime.processes so that all nodes together have "
            f"{state['world_size']}, or start anew in another folder"
        )
    _same_settings(json.loads(state["config"]), run.config.model_dump(mode="json"), path)
    if state["total_steps"] != run.total_steps:
        raise CheckpointError(
            f"checkpoint {path} belongs to a run of {state['total_steps']} steps and this one has {run.total_steps}: "
            "the data or the epochs changed; start anew in another folder"
        )
    run.optimiser.load_state_dict(state["optimiser"])
    _set_random_state(state["random"][run.world.rank])
    step: int = state["step"]
    return step


def _same_settings(saved: dict[str, Any], asked: dict[str, Any], path: Path) -> None:
    before, now = (_flat(tree) for tree in (saved, asked))
    changed = [name for name in now if name not in _FREE_TO_CHANGE and before.get(name) != now[name]]
    if changed:
        shown = ", ".join(f"{name} was {before.get(name)!r}, is {now[name]!r}" for name in changed)
        raise CheckpointError(
            f"checkpoint {path} belongs to a run with other settings: {shown}; set them back, or start anew "
            "in another folder"
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _random_states(world: World) -> list[dict[str, Any]]:
    name, keys, *rest = np.random.get_state(legacy=True)
    own = {
        "torch": torch.random.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(world.device) if world.device.type == "cuda" else None,
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": random.getstate(),
    }
    if world.size == 1:
        return [own]
    states: list[Any] = [None] * world.size
    dist.all_gather_object(states, own)
    return states


def _set_random_state(state: dict[str, Any]) -> None:
    torch.random.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
