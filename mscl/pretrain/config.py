"""Contrastive pre-training (METHOD 1.3, 1.4, 1.6, 1.7)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mscl.config.base import Fraction, PositiveInt, Ratios, Section, Shares
from mscl.errors import DataError
from mscl.models.config import LossConfig, ModelConfig
from mscl.training.config import OptimConfig, Precision

_FRAMES_OF_A_MOMENT = 2
"""Both streams halve a clip in time (`mscl.views.FIELD_STEP`, which is not read here, for PyTorch comes with it)."""


class AugmentConfig(Section):
    """Augmentation of both views (METHOD 1.4)."""

    before: ClassVar[Mapping[str, Any]] = {"flip_draw": "per_sample"}

    crop_px: PositiveInt = 112
    """Side of the crop that networks see; clips are resized to it."""
    area: Shares = (0.2, 1.0)
    """Least and largest share of the picture that a random crop takes."""
    aspect: Ratios = (3 / 4, 4 / 3)
    """Least and largest ratio of width to height of a random crop."""
    flip: Fraction = 0.5
    """Probability that a view is mirrored left to right, RGB and flow together (D14)."""
    flip_draw: Literal["per_sample", "per_view"] = "per_sample"
    """D25: the flip is drawn once for both views of a video, or for each (as released): left and right then become the
    same, which cost 40 points where direction is the label (one set)."""
    angles: Literal["uniform", "released"] = "uniform"
    """D11: beta ~ U(0.2 pi, 1.8 pi), or one of the eight released angles."""
    jitter: Fraction = 0.8
    """Probability of colour jitter."""
    jitter_draw: Literal["per_clip", "per_frame"] = "per_clip"
    """Whether the strength of the jitter is drawn once a clip or for every frame, as released (D13). Either way it
    means what torchvision means: brightness scales, contrast turns about the mean; the released code's kornia adds
    brightness and scales contrast towards black."""
    grey: Fraction = 0.2
    """Probability that a clip becomes grey."""
    blur: Fraction = 0.5
    """Probability of Gaussian blur, sigma 0.1 to 2 px."""
    scale: Literal["field", "clip"] = "field"
    """D16: normalise flow by the largest radius of each field, or by one robust scale per clip."""
    routing: Literal["ours", "released"] = "ours"
    """D5: `released` mixes up plain and rotated flow and their crop boxes as the released code does. Ablation only."""


class PretrainConfig(Section):
    """MSCL and its baselines; the defaults are the paper's R18 on Kinetics-400."""

    overrules: ClassVar[Mapping[str, str]] = {"epochs": "min_steps"}
    no_result: ClassVar[tuple[str, ...]] = ("checkpoint_minutes", "keep_checkpoints", "cuda_graph")
    """Settings that change no result: a run may go on with others."""

    encoder: str = ""
    """Score this encoder instead of training one: a checkpoint or export of this program; one of torchvision's video
    networks, by name or as a .pth file of its weights; a folder, here or `hub:owner/name`, of `mscl push` or of a video
    encoder of Hugging Face's `transformers` (extra of that name); `module:function` of one's own; or `random`. Empty:
    train."""
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    epochs: PositiveInt = 400
    """Passes over the segments that have a chosen clip."""
    min_steps: int = Field(default=0, ge=0)
    """Small datasets: epochs are added until the run has at least this many optimiser steps. It does not count where
    `epochs` is set above it, on the command line for example."""
    batch_size: PositiveInt = 128
    """Global batch, over all ranks and accumulated micro-batches."""
    accumulate: PositiveInt = 1
    """Micro-batches per optimiser step. Queues are read once and written once per optimiser step."""
    key_momentum: Fraction = 0.994
    """Base of the EMA of the key networks; rises to 1 (METHOD 1.7)."""
    key_momentum_schedule: Literal["cosine", "constant"] = "cosine"
    """`cosine`: rises from `key_momentum` to 1 over the run. `constant`: stays (MoCo)."""
    key_updates: Literal["once", "released"] = "once"
    """D7: one EMA update of the flow key network per optimiser step; `released`: two at double speed, flow encoded
    between them and rotated flow after both."""
    bn: Literal["shuffle", "sync", "local"] = "shuffle"
    """Batch norm of the key networks: keys shuffled over ranks, SyncBatchNorm, or each rank's own."""
    bn_splits: PositiveInt = 1
    """One process: key batch split into this many groups with their own BN statistics."""
    precision: Precision = "auto"
    """auto: on CUDA autocast to bf16, or fp16 on cards without it; fp32 on CPU."""
    cuda_graph: Literal["auto", "never"] = "auto"
    """Record the step as a CUDA graph and replay it; `auto`: on CUDA with one process and no accumulation."""
    compile: bool = False
    """Compile the encoders with torch.compile, on a CPU; on CUDA it fails, and `cuda_graph` is what helps there."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Time between two checkpoints; a kill loses no more than that."""
    keep_checkpoints: PositiveInt = 2
    """Latest checkpoints that are kept."""
    seed: int = Field(default=0, ge=0)
    """Of weights, order of the samples, crops and augmentation: the same seed gives the same run."""

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimiser steps of the whole run: `epochs`, or as many as `min_steps` needs."""
        return max(self.epochs, -(-self.min_steps // steps_per_epoch)) * steps_per_epoch

    def steps_text(self, steps_per_epoch: int) -> str:
        """How many optimiser steps the run makes, and which setting says so."""
        asked, total = self.epochs * steps_per_epoch, self.total_steps(steps_per_epoch)
        if total == asked:
            return f"pre-training: {self.epochs} epochs (pretrain.epochs) x {steps_per_epoch} steps = {total} steps"
        return (
            f"pre-training: {total // steps_per_epoch} epochs x {steps_per_epoch} steps = {total} steps, as "
            f"pretrain.min_steps={self.min_steps} asks for; pretrain.epochs={self.epochs} alone would be {asked}, "
            "and counts alone where you set it"
        )

    def without_effect(self, *, length: int) -> list[str]:
        """A line for each setting that changes nothing here, for what it changes is turned off.

        Args:
            length: frames of a clip.
        """
        loss, lines = self.loss, []
        rotated = loss.flow and loss.rotation
        if loss.rotation_role != "both" and not rotated:
            lines.append(f"pretrain.loss.rotation_role={loss.rotation_role} has no effect: no flow is rotated")
        elif rotated and not (loss.encodes_rotated_query or loss.encodes_rotated_key):
            lines.append(
                "pretrain.loss.rotation has no effect: rotation_role=negatives needs loss 8, and local_motion is off"
            )
        if loss.flow and loss.local_motion and length <= _FRAMES_OF_A_MOMENT:
            what = "tells plain flow from rotated alone" if loss.encodes_rotated_query else "has no effect"
            lines.append(
                f"pretrain.loss.local_motion {what}: clips of clip.length={length} have one moment, those of "
                f"{_FRAMES_OF_A_MOMENT + 1} frames two"
            )
        if self.augment.routing == "released" and not rotated:
            lines.append("pretrain.augment.routing=released has no effect: no flow is rotated, nothing can be mixed up")
        for name, value in (("loss.enqueue", loss.enqueue), ("key_updates", self.key_updates)):
            if value == "released" and not loss.flow:
                lines.append(f"pretrain.{name}=released has no effect: there is no flow stream")
        return lines

    def own_keys_text(self, num_segments: int) -> str:
        """A line where the queue is longer than the set: a clip is then told from keys of its own video as well."""
        queue, size = self.loss.queue_size, self.batch_size
        per_epoch = num_segments // size * size  # the incomplete last batch of an epoch is dropped
        if queue <= per_epoch or not per_epoch:
            return ""
        fewer = max(1, num_segments // 4 // size) * size
        advice = f"; pretrain.loss.queue_size={fewer} holds hardly any" if fewer <= num_segments // 2 else ""
        epochs = queue / per_epoch
        return (
            f"few videos: pretrain.loss.queue_size={queue} holds the keys of the last {epochs:.1f} epochs of "
            f"{num_segments} segments, so each clip is pushed away from older keys of its own video, too{advice}"
        )

    def fitted_to(self, num_segments: int, *, processes: int) -> "PretrainConfig":
        """For fewer segments than a batch: the largest batch they fill that divides the queue and splits alike.

        Raises:
            DataError: not even the smallest batch that splits is filled.
        """
        if not 0 < num_segments < self.batch_size:  # of no segment at all the training says why
            return self
        groups = processes * self.accumulate * self.bn_splits
        sizes = range(2 * groups, num_segments + 1, groups)  # batch norm takes two clips
        fitting = [size for size in sizes if self.loss.queue_size % size == 0]
        if not fitting:
            raise DataError(
                f"{num_segments} segments to train on are too few: batch norm takes at least 2 clips in each of "
                f"{processes} processes x {self.accumulate} micro-batches (pretrain.accumulate) x {self.bn_splits} "
                f"groups (pretrain.bn_splits), and pretrain.loss.queue_size {self.loss.queue_size} whole batches; give "
                "more videos, screen less strictly, or lower what multiplies"
            )
        return self.model_copy(update={"batch_size": fitting[-1]})

    @model_validator(mode="after")
    def _fits(self) -> "PretrainConfig":
        if self.loss.queue_size % self.batch_size:
            raise ValueError(
                f"loss.queue_size {self.loss.queue_size} is not divisible by batch_size {self.batch_size}; "
                f"take e.g. {self.batch_size * max(1, self.loss.queue_size // self.batch_size)}"
            )
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is not divisible by accumulate {self.accumulate}")
        if self.key_updates == "released" and self.accumulate > 1:
            raise ValueError(
                "key_updates=released moves a key network in the middle of a step, which "
                f"{self.accumulate} micro-batches would share; set accumulate=1"
            )
        if self.optim.warmup_epochs >= self.epochs:
            raise ValueError(
                f"optim.warmup_epochs {self.optim.warmup_epochs} must be below epochs {self.epochs}; "
                f"take e.g. optim.warmup_epochs={self.epochs - 1}"
            )
        return self
