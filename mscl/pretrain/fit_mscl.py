"""MSCL for the training loop: its networks, its step, and what of it goes into a checkpoint."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import nn

from mscl.errors import ConfigError
from mscl.models.mscl import MSCL
from mscl.pretrain.batch_checks import check_divisions
from mscl.pretrain.capture import CapturedStep, Work, why_not
from mscl.pretrain.config import PretrainConfig
from mscl.pretrain.job import CHECKPOINTS
from mscl.pretrain.step import KeyMomenta, StepResult, momenta_of, train_step
from mscl.schedules import learning_rate
from mscl.trackers.tracking import Tracking
from mscl.training.checkpoint import Checkpoints
from mscl.training.distributed import KeyExchange, World
from mscl.training.fit import LOG_EVERY_STEPS, Finished, StopRequest, distributed, fit
from mscl.training.metrics import Journal, StepMetrics
from mscl.training.precision import agreed_precision, autocast_of, gradient_scaler, refuse_wrong_gradients
from mscl.training.updater import Updater
from mscl.video.frame_recipe import EncoderInput
from mscl.views import RawBatch, TwoViews


def fit_mscl(
    config: PretrainConfig,
    loader: Callable[[int], AbstractContextManager[Iterable[RawBatch]]],
    augment: Callable[[RawBatch], TwoViews],
    *,
    steps_per_epoch: int,
    output: Path,
    encoder_input: EncoderInput | None = None,
    world: World,
    stop: StopRequest,
    log_every: int = LOG_EVERY_STEPS,
    tracking: Tracking | None = None,
) -> Finished:
    """Pre-train for `config.epochs` epochs, or what is left of them after the latest checkpoint in `output`.

    Args:
        loader: opens the batches at a global step; yields this rank's share of each to the end of the run.
        augment: raw clips on the device -> the two views.
        encoder_input: what the videos went through; kept in the checkpoints for whoever uses the encoder.

    Raises:
        ConfigError: batch, ranks and groups do not divide; SyncBatchNorm without CUDA; bfloat16 on a CPU that gets it
            wrong.
        CheckpointError: the checkpoint in `output` does not fit this run.
        NonFiniteError: loss or gradient are not finite.
    """
    check_divisions(config, processes=world.size, cuda=world.device.type == "cuda")
    total_steps = config.total_steps(steps_per_epoch)
    model = build_model(config, world)
    refuse_wrong_gradients(config.precision, world.device, setting="pretrain.precision")
    precision = agreed_precision(config.precision, world)
    updater = Updater(model, config.optim, scaler=gradient_scaler(precision, world.device))
    # Every rank writes the same keys into its queues, and batch statistics are each rank's own: nothing to broadcast.
    trained = distributed(model, world, broadcast_buffers=False)
    exchange = KeyExchange(world, shuffle=config.bn == "shuffle", seed=config.seed)
    autocast = autocast_of(precision, world.device)
    replayed = captured_step(config, model, updater, exchange)

    def step(raw: RawBatch, number: int) -> StepMetrics:
        momenta = momenta_of(number, total_steps, config)
        parts = (augment(part.to(world.device, non_blocking=True)) for part in raw.split(config.accumulate))
        if replayed is not None:
            result = replayed(next(parts), momenta)
        else:
            result = train_step(
                model,
                trained,
                updater,
                parts,
                step=number,
                accumulate=config.accumulate,
                momenta=momenta,
                exchange=exchange,
                autocast=autocast,
            )
        return StepMetrics(result.values() | updater.values(), raw.segment_B, {"key_momentum": float(momenta.rgb)})

    return fit(
        step,
        loader,
        updater,
        rate_at=lambda number: learning_rate(
            number,
            base=config.optim.lr,
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            warmup_steps=round(config.optim.warmup_epochs * steps_per_epoch),
            schedule=config.optim.schedule,
        ),
        checkpoints=Checkpoints(
            output / CHECKPOINTS,
            world,
            parts={"model": model, "optimiser": updater},
            card={
                "model_config": config.model.model_dump_json(),
                "encoder_input": None if encoder_input is None else encoder_input.model_dump_json(),
            },
            settings=config.model_dump(mode="json"),
            free=frozenset({*config.no_result, "compile"}),
            before=config.done_before(),
            total_steps=total_steps,
            keep=config.keep_checkpoints,
        ),
        journal=Journal(
            output,
            world,
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            batch_size=config.batch_size,
            advice="Lower pretrain.optim.lr or pretrain.optim.clip_norm",
            tracking=tracking,
        ),
        stop=stop,
        world=world,
        checkpoint_minutes=config.checkpoint_minutes,
        log_every=log_every,
    )


def captured_step(config: PretrainConfig, model: MSCL, updater: Updater, exchange: KeyExchange) -> CapturedStep | None:
    """The step as a CUDA graph, where `pretrain.cuda_graph` asks for it and it can be."""
    world = exchange.world
    if config.cuda_graph == "never":
        return None
    hindrance = why_not(config, world)
    if hindrance is None and updater.scaler.is_enabled():
        hindrance = "float16 gradients are looked at before each update"
    if hindrance is not None:
        if world.device.type == "cuda" and world.is_main:
            print(f"the step is not replayed as a CUDA graph (pretrain.cuda_graph): {hindrance}")
        return None
    return CapturedStep(whole_step(config, model, updater, exchange), updater.optimiser, world.device)


def whole_step(config: PretrainConfig, model: MSCL, updater: Updater, exchange: KeyExchange) -> Work:
    """A step of one process without accumulation, as a function of what changes from step to step."""
    autocast = autocast_of(config.precision, exchange.world.device)

    def work(views: TwoViews, momenta: KeyMomenta) -> StepResult:
        return train_step(
            model,
            model,
            updater,
            [views],
            step=0,  # one process exchanges nothing, so no permutation depends on it
            accumulate=1,
            momenta=momenta,
            exchange=exchange,
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
