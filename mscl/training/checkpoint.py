"""Checkpoints of a run: everything it is, in one file that is there whole or not at all, and whose damage is seen."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from mscl.config.trees import joined
from mscl.errors import CheckpointError
from mscl.models.weight_files import read_checkpoint, write_checkpoint
from mscl.training.distributed import World
from mscl.training.messages import say

FORMAT = 2
"""2: digest of the file, metrics, state of every rank. The first had none of these; it is read as well."""


_ANEW = "start anew, in another folder or with --force and the name of the stage"


class Stateful(Protocol):
    """What has a state: a module, an optimiser, a curve."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class Checkpoints:
    """The checkpoints `step-NNNNNNNN.pt` of one run in a folder of their own.

    Args:
        parts: name -> what goes into a checkpoint and comes back out of it; the same on all ranks.
        own: name -> tensor that differs between the ranks; filled in place on resuming.
        card: name -> plain value for other readers of the file.
        settings: of the run; one that goes on with others is refused.
        free: names of settings that may differ all the same.
        before: settings that came later -> what runs of before them did.
        keep: how many stay.
    """

    def __init__(
        self,
        folder: Path,
        world: World,
        *,
        parts: Mapping[str, Stateful],
        own: Mapping[str, Tensor] | None = None,
        card: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any],
        free: frozenset[str] = frozenset(),
        before: Mapping[str, Any] | None = None,
        total_steps: int,
        keep: int,
    ) -> None:
        self.folder, self.world = folder, world
        self.parts, self.own, self.card = parts, own or {}, card or {}
        self.settings, self.free, self.before = settings, free, before or {}
        self.total_steps, self.keep = total_steps, keep
        self._random: dict[str, Any] | None = None

    def save(self, step: int, *, metrics: Mapping[str, float]) -> None:
        """Write a checkpoint after `step` finished steps and drop all but the last `keep`.

        Call it on all ranks at the same step: every rank's own state goes in, and rank 0 writes. Learning rate,
        momentum, the sampler's position and the permutations follow from the step.

        Args:
            metrics: of the last steps; a finished run's record takes them from here, where they have a digest.
        """
        ranks = _of_all_ranks({"random": _random_state(self.world), "own": _on_cpu(self.own)}, self.world)
        if not self.world.is_main:
            return
        state = {
            "format": FORMAT,
            "step": step,
            "total_steps": self.total_steps,
            "world_size": self.world.size,
            "config": json.dumps(self.settings),
            "metrics": dict(metrics),
            "random": [rank["random"] for rank in ranks],
            "own": [rank["own"] for rank in ranks],
            **self.card,
            **{name: part.state_dict() for name, part in self.parts.items()},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_checkpoint(self.folder / f"step-{step:08d}.pt", state)
        for old in [*checkpoints(self.folder)[: -self.keep], *self.folder.glob(".damaged-*")]:
            old.unlink()

    def resume(self) -> int:
        """Put the state of the latest whole checkpoint back; finished steps, 0 without one.

        One that is damaged is put aside, which is said, and the one before is taken. Random states come back with
        `restore_random_state`.

        Raises:
            CheckpointError: written with another number of processes or other settings, or by another version.
        """
        path = _from_main(self._latest_whole() if self.world.is_main else None, self.world)
        if path is None:
            return 0
        state = read_checkpoint(path)
        self._check(state, path)
        try:
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            for name, tensor in self.own.items():
                tensor.copy_(state["own"][self.world.rank][name])
            self._random = state["random"][self.world.rank]
            return int(state["step"])
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            why = str(error).strip().partition("\n")[0]
            raise CheckpointError(
                f"checkpoint {path} does not fit this program's networks ({type(error).__name__}: {why}); {_ANEW}"
            ) from error

    def restore_random_state(self) -> None:
        """Put the random state of the checkpoint back; after the loader is opened, which draws from it."""
        if self._random is not None:
            _set_random_state(self._random)
            self._random = None

    def _latest_whole(self) -> Path | None:
        for path in reversed(checkpoints(self.folder)):
            try:
                read_checkpoint(path)
            except CheckpointError as error:
                if isinstance(error.__cause__, OSError):  # the disk, not the file
                    raise
                before = [other for other in checkpoints(self.folder) if other < path]
                what = str(error).partition("; ")[0]
                say(f"{what}; the run goes on from {before[-1].name if before else 'its beginning'}")
                path.rename(path.with_name(f".damaged-{path.name}"))  # until there is a newer one
            else:
                return path
        return None

    def _check(self, state: dict[str, Any], path: Path) -> None:
        if state.get("format") not in (1, FORMAT):
            raise CheckpointError(f"{path} has format {state.get('format')}, this program reads {FORMAT}; {_ANEW}")
        if state["world_size"] != self.world.size:
            raise CheckpointError(
                f"checkpoint {path} was written by {state['world_size']} processes and this run has {self.world.size}: "
                f"batch statistics would change; set runtime.processes so that all nodes together have "
                f"{state['world_size']}, or {_ANEW}"
            )
        before, now = (
            {**self.before, **joined(json.loads(state["config"]))},
            joined(json.loads(json.dumps(self.settings))),
        )
        changed = [name for name in now if name not in self.free and before.get(name) != now[name]]
        if changed:
            shown = ", ".join(f"{name} was {before.get(name)!r}, is {now[name]!r}" for name in changed)
            raise CheckpointError(
                f"checkpoint {path} belongs to a run with other settings: {shown}; set them back, or {_ANEW}"
            )
        if state["total_steps"] != self.total_steps:
            raise CheckpointError(
                f"checkpoint {path} belongs to a run of {state['total_steps']} steps and this one has "
                f"{self.total_steps}: the data or the epochs changed; {_ANEW}"
            )


def drop_damaged(path: Path) -> None:
    """Remove a checkpoint that is not as it was written; nothing needs it."""
    try:
        read_checkpoint(path)
    except CheckpointError as error:
        if isinstance(error.__cause__, OSError):
            raise
        path.unlink()


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*.pt"))


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _of_all_ranks(own: dict[str, Any], world: World) -> list[dict[str, Any]]:
    """What every rank gives, in the order of ranks."""
    if world.size == 1:
        return [own]
    everyone: list[Any] = [None] * world.size
    dist.all_gather_object(everyone, own)
    return everyone


def _from_main(path: Path | None, world: World) -> Path | None:
    """What rank 0 gives, on all ranks."""
    if world.size == 1:
        return path
    told: list[Any] = [path]
    dist.broadcast_object_list(told, src=0)
    found: Path | None = told[0]
    return found


def _random_state(world: World) -> dict[str, Any]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.random.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(world.device) if world.device.type == "cuda" else None,
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": random.getstate(),
    }


def _set_random_state(state: dict[str, Any]) -> None:
    torch.random.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
