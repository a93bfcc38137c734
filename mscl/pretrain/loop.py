"""The training loop: from a dataset's batches to checkpoints and curves, resumable at any checkpoint."""

import signal
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mscl.errors import ConfigError
from mscl.models.mscl import MSCL
from mscl.pretrain.batch_checks import check_divisions
from mscl.pretrain.capture import CapturedStep, Work, why_not
from mscl.pretrain.checkpoint import Run, resume, save_checkpoint
from mscl.pretrain.config import PretrainConfig
from mscl.pretrain.metrics import Journal
from mscl.pretrain.step import KeyMomenta, StepResult, momenta_of, train_step
from mscl.schedules import learning_rate
from mscl.training.config import OptimConfig
from mscl.training.distributed import KeyExchange, World, any_rank
from mscl.video.frame_recipe import EncoderInput
from mscl.views import RawBatch, TwoViews

LOG_EVERY_STEPS = 10
"""Steps between two readings of the metrics: reading waits for the device."""


@dataclass(frozen=True)
class Finished:
    """How a run ended."""

    step: int
    stopped: bool
    """Left early because it was asked to, with a checkpoint."""


class StopRequest:
    """SIGTERM asks the loop to write a checkpoint and leave; as a context manager it puts the old handler back."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "StopRequest":
        self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def train(
    config: PretrainConfig,
    batches_from: Callable[[int], AbstractContextManager[Iterable[RawBatch]]],
    augment: Callable[[RawBatch], TwoViews],
    *,
    steps_per_epoch: int,
    output: Path,
    world: World,
    stop: StopRequest,
    encoder_input: EncoderInput | None = None,
    log_every: int = LOG_EVERY_STEPS,
) -> Finished:
    """Pre-train for `config.epochs` epochs, or what is left of them after the latest checkpoint in `output`.

    A resumed run computes what an unbroken one would have: bit by bit on CPU.

    Args:
        batches_from: opens the loader at a global step; yields this rank's share of each batch to the end of the run.
        augment: raw clips on the device -> the two views.
        encoder_input: what the videos went through; kept in the checkpoints for whoever uses the encoder.

    Raises:
        ConfigError: batch, ranks and groups do not divide; SyncBatchNorm without CUDA.
        CheckpointError: the checkpoint in `output` does not fit this run.
        NonFiniteError: loss or gradient are not finite.
    """
    check_divisions(config, processes=world.size, cuda=world.device.type == "cuda")
    total_steps = config.total_steps(steps_per_epoch)
    model = build_model(config, world)
    optimiser = make_optimiser(model, config.optim)
    run = Run(model, optimiser, config, total_steps, world, encoder_input)
    folder = output / "checkpoints"
    start = resume(folder, run)
    trained = _distributed(model, world)
    exchange = KeyExchange(world, shuffle=config.bn == "shuffle", seed=config.seed)
    journal = Journal(
        output,
        world,
        first_step=start,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        batch_size=config.batch_size,
    )
    replayed = captured_step(config, model, optimiser, exchange)
    saved_at, step = time.monotonic(), start
    with batches_from(start) if start < total_steps else nullcontext(()) as batches:
        for step, raw in enumerate(batches, start + 1):
            journal.data_arrived()
            momenta = momenta_of(step - 1, total_steps, config)
            lr = _set_rate(optimiser, config.optim, step - 1, total_steps, steps_per_epoch)
            parts = (augment(part.to(world.device, non_blocking=True)) for part in raw.split(config.accumulate))
            if replayed is not None:
                result = replayed(next(parts), momenta)
            else:
                result = train_step(
                    model,
                    trained,
                    optimiser,
                    parts,
                    step=step - 1,
                    accumulate=config.accumulate,
                    momenta=momenta,
                    exchange=exchange,
                    clip_norm=config.optim.clip_norm,
                    autocast=autocast_of(config, world),
                )
            journal.step_done(step, result, raw.segment_B)
            last, logged = step == total_steps, step % log_every == 0
            leave = due = False
            # On CPU asking the other ranks costs nothing, and steps may be long; on CUDA it would wait for the device.
            if last or logged or world.device.type == "cpu":
                leave = any_rank(stop.asked, world)
                due = any_rank(time.monotonic() - saved_at > 60 * config.checkpoint_minutes, world)
            if last or logged or leave or due or step == start + 1:
                journal.write(step, lr=lr, key_momentum=float(momenta.rgb))
            if last or leave or due:
                save_checkpoint(folder, run, step=step)
                saved_at = time.monotonic()
            if leave:
                break
    journal.close()
    return Finished(step, stopped=step < total_steps)


def captured_step(
    config: PretrainConfig, model: MSCL, optimiser: torch.optim.Optimizer, exchange: KeyExchange
) -> CapturedStep | None:
    """The step as a CUDA graph, where `pretrain.cuda_graph` asks for it and it can be; call it after `resume`."""
    world = exchange.world
    hindrance = why_not(config, world)
    if config.cuda_graph == "never":
        return None
    if hindrance is not None:
        if world.device.type == "cuda" and world.is_main:
            print(f"the step is not replayed as a CUDA graph (pretrain.cuda_graph): {hindrance}")
        return None
    return CapturedStep(whole_step(config, model, optimiser, exchange), optimiser, world.device)


def whole_step(config: PretrainConfig, model: MSCL, optimiser: torch.optim.Optimizer, exchange: KeyExchange) -> Work:
    """A step of one process without accumulation, as a function of what changes from step to step."""
    autocast = autocast_of(config, exchange.world)

    def work(views: TwoViews, momenta: KeyMomenta) -> StepResult:
        return train_step(
            model,
            model,
            optimiser,
            [views],
            step=0,  # one process exchanges nothing, so no permutation depends on it
            accumulate=1,
            momenta=momenta,
            exchange=exchange,
            clip_norm=config.optim.clip_norm,
            autocast=autocast,
        )

    return work


def build_model(config: PretrainConfig, world: World) -> MSCL:
    """The module as it is trained: on its device, channels last on CUDA, compiled or synchronised if asked.

    Raises:
        ConfigError: compiling on CUDA.
    """
    if config.compile and world.device.type == "cuda":
        raise ConfigError(
            "pretrain.compile is for CPUs: torch.compile fails on channels-last convolutions of CUDA; "
            "leave it off, pretrain.cuda_graph replays the step there"
        )
    model = MSCL(config.model, config.loss, seed=config.seed, bn_splits=config.bn_splits)
    if config.bn == "sync" and world.size > 1:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model = model.to(world.device)
    if world.device.type == "cuda":
        model = model.to(memory_format=torch.channels_last_3d)  # what tensor cores read
    if config.compile:
        for stream in (model.query_rgb, model.query_flow, model.key_rgb, model.key_flow):
            if stream is not None:
                stream.compile()
    return model.train()


def make_optimiser(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over what is trained; key networks are not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    cuda = all(p.device.type == "cuda" for p in trained)
    way: dict[str, Any] = {"fused": True} if cuda else {"foreach": True}
    optimiser: torch.optim.Optimizer
    if config.name == "sgd":
        optimiser = torch.optim.SGD(
            trained, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, **way
        )
    else:
        if cuda:
            way["capturable"] = True
        optimiser = torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay, **way)
    optimiser.register_load_state_dict_pre_hook(_keep_way)
    optimiser.register_load_state_dict_post_hook(_keep_formats)
    return optimiser


def _keep_way(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of another device leaves the kernels that the optimiser runs by as they are here."""
    groups = [
        {**saved, **{key: own[key] for key in ("foreach", "fused", "capturable") if key in own}}
        for saved, own in zip(state["param_groups"], optimiser.param_groups, strict=True)
    ]
    return {**state, "param_groups": groups}


def _keep_formats(optimiser: torch.optim.Optimizer) -> None:
    """Momenta in the memory format of their weights: fused kernels refuse a checkpoint of another device else."""
    for parameter, state in optimiser.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)


def _set_rate(
    optimiser: torch.optim.Optimizer, config: OptimConfig, step: int, total_steps: int, steps_per_epoch: int
) -> float:
    rate = learning_rate(
        step,
        base=config.lr,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        schedule=config.schedule,
    )
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def _distributed(model: MSCL, world: World) -> nn.Module:
    if world.size == 1:
        return model
    # Every rank writes the same keys into its queues, and batch statistics are each rank's own: nothing to broadcast.
    return DistributedDataParallel(
        model,
        device_ids=[world.device] if world.device.type == "cuda" else None,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )


def autocast_of(config: PretrainConfig, world: World) -> Callable[[], AbstractContextManager[None]]:
    """What `pretrain.precision` says of the networks' forward passes, as a maker of contexts."""
    if config.precision == "bf16" or (config.precision == "auto" and world.device.type == "cuda"):
        return lambda: torch.autocast(world.device.type, dtype=torch.bfloat16)
    return nullcontext
