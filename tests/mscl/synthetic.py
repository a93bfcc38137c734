"""Tiny networks and synthetic batches: a few milliseconds a step."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mscl.pretrain.config import PretrainConfig
from mscl.views import RawBatch, TwoViews, View


def tiny_config(**changes: Any) -> PretrainConfig:
    """Two epochs of a few steps of eight clips, every network a few channels wide."""
    tree: dict[str, Any] = {
        "model": {"rgb_width": 0.0625, "flow_width": 0.25, "embed_dim": 8, "neck_channels": 6},
        "loss": {"queue_size": 32, "temperature": 0.1},
        "optim": {"lr": 0.05, "schedule": "cosine_step"},
        "epochs": 2,
        "batch_size": 8,
        "key_momentum": 0.9,
    }
    for name, value in changes.items():
        tree[name] = tree.get(name, {}) | value if isinstance(value, dict) else value
    return PretrainConfig.model_validate(tree)


class SyntheticBatches:
    """Raw batches as a pure function of the global step; ranks take contiguous shares."""

    def __init__(self, *, batch_size: int, total_steps: int, rank: int = 0, world_size: int = 1, px: int = 16) -> None:
        self.batch_size, self.total_steps, self.px = batch_size, total_steps, px
        share = batch_size // world_size
        self.rows = slice(rank * share, (rank + 1) * share)

    def at(self, step: int) -> RawBatch:
        rng = np.random.default_rng(step)
        batch, px = self.batch_size, self.px

        def part(array: np.ndarray[Any, Any]) -> Tensor:
            return torch.from_numpy(array[self.rows])

        return RawBatch(
            part(rng.integers(0, 256, (batch, 8, px, px, 3), dtype=np.uint8)),
            part(rng.integers(0, 256, (batch, 8, px, px, 3), dtype=np.uint8)),
            part(rng.uniform(-1, 1, (batch, 4, px, px, 2)).astype(np.float32)),
            part(rng.uniform(-1, 1, (batch, 4, px, px, 2)).astype(np.float32)),
            torch.zeros(self.rows.stop - self.rows.start, 1),
            torch.arange(batch)[self.rows] + step * batch,
        )

    @contextmanager
    def __call__(self, start: int) -> Iterator[Iterable[RawBatch]]:
        yield (self.at(step) for step in range(start, self.total_steps))


class SyntheticSource:
    """`SyntheticBatches` for a loader's workers: sample i is the same wherever it is loaded."""

    seed = 0

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def load(self, epoch: int, positions: np.ndarray[Any, Any]) -> RawBatch:
        one = [SyntheticBatches(batch_size=1, total_steps=1).at(int(position)) for position in positions]
        parts = zip(*(vars(batch).values() for batch in one), strict=True)
        return RawBatch(*(None if part[0] is None else torch.cat(part) for part in parts))


def plain_views(raw: RawBatch) -> TwoViews:
    """Views without colour work: enough for the networks."""

    def view(rgb_BTHW3: Tensor, flow_BFHW2: Tensor | None) -> View:
        rgb = rgb_BTHW3.permute(0, 4, 1, 2, 3).float() / 255
        assert flow_BFHW2 is not None
        flow = flow_BFHW2.permute(0, 4, 1, 2, 3)
        return View(rgb, torch.cat([flow, flow[:, :1]], 1), torch.cat([-flow, flow[:, :1]], 1))

    return TwoViews(view(raw.rgb_q_BTHW3, raw.flow_q_BFHW2), view(raw.rgb_k_BTHW3, raw.flow_k_BFHW2))
