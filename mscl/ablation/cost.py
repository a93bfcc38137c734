"""What a training step costs, to give variants equal time."""

import time

import torch
from torch import Tensor

from mscl.config import ExperimentConfig
from mscl.pretrain.config import PretrainConfig
from mscl.pretrain.fit_mscl import build_model
from mscl.pretrain.step import momenta_of, train_step
from mscl.training.distributed import KeyExchange, World
from mscl.training.updater import Updater
from mscl.views import TwoViews, View


def step_costs(configs: dict[str, ExperimentConfig], *, device: torch.device, rounds: int = 5) -> dict[str, float]:
    """Seconds of one training step of each configuration, of networks and losses, without loading.

    The configurations take turns and the smallest times count. On CPU they are CPU seconds of one thread, which a
    busy machine disturbs less than the clock.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        timers = {name: _Timer(config, device) for name, config in configs.items()}
        for timer in timers.values():
            timer.step()  # warm up: allocations, choice of kernels
        return {name: min(times) for name, *times in zip(timers, *(_round(timers) for _ in range(rounds)), strict=True)}
    finally:
        torch.set_num_threads(threads)


def _round(timers: dict[str, "_Timer"]) -> list[float]:
    return [timer.step() for timer in timers.values()]


class _Timer:
    """A model with its optimiser and one random batch."""

    def __init__(self, config: ExperimentConfig, device: torch.device) -> None:
        self.config: PretrainConfig = config.pretrain
        self.world = World(0, 1, device)
        self.model = build_model(self.config, self.world)
        self.updater = Updater(self.model, self.config.optim)
        self.exchange = KeyExchange(self.world, shuffle=False, seed=0)
        loss, length = config.pretrain.loss, config.clip.length
        self.views = TwoViews(
            self._view(length, rotated=loss.encodes_rotated_query), self._view(length, rotated=loss.encodes_rotated_key)
        )

    def _view(self, length: int, *, rotated: bool) -> View:
        loss, crop_px = self.config.loss, self.config.augment.crop_px

        def clip(frames: int) -> Tensor:
            shape = (self.config.batch_size // self.config.accumulate, 3, frames, crop_px, crop_px)
            return torch.rand(shape, device=self.world.device)

        fields = -(-length // 2)  # the flow encoder reads every other one (D19)
        return View(clip(length), clip(fields) if loss.flow else None, clip(fields) if rotated else None)

    def step(self) -> float:
        """Seconds of one optimiser step."""
        on_cpu = self.world.device.type == "cpu"
        began = time.process_time() if on_cpu else time.perf_counter()
        train_step(
            self.model, self.model, self.updater, [self.views] * self.config.accumulate, step=0,
            accumulate=self.config.accumulate, momenta=momenta_of(0, 1, self.config), exchange=self.exchange,
        )  # fmt: skip
        if on_cpu:
            return time.process_time() - began
        torch.cuda.synchronize(self.world.device)
        return time.perf_counter() - began
