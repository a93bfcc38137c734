"""Fine-tuning (METHOD 1.8)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mscl.config.base import Fraction, PositiveInt, Ratios, Section, Shares
from mscl.score.config import Seeds, Splits
from mscl.training.config import OptimConfig, Precision
from mscl.video.config import ClipConfig
from mscl.video.frame_recipe import EncoderInput, FrameRecipe


class FinetuneConfig(Section):
    """Supervised training of encoder and classifier; the defaults are the SSv2 setting of METHOD 1.8, but for frames
    and crops: those of `finetune-ssv2` need more than the frame store has (D27)."""

    before: ClassVar[Mapping[str, Any]] = {"precision": "auto", "milestone_factor": 0.1}

    protocol: str = ""
    """Name of the protocol whose settings these are; the report says where they depart from it."""
    enabled: bool = True
    """Off: the stage is skipped and its record says so."""
    initial: Literal["pretrained", "random"] = "pretrained"
    """Start from the pre-trained encoder, or from random weights."""
    sampling: Literal["segments", "clip"] = "segments"
    """`segments`: one frame of each of `frames` equal parts. `clip`: consecutive, `stride` apart."""
    frames: PositiveInt = 16
    """Frames that the classifier sees of a clip."""
    stride: PositiveInt = 8
    """`clip` sampling: from one frame of a clip to the next, in indices of the frame store, `flow.gap_frames` apart."""
    stride_frames: int = Field(default=0, ge=0)
    """The same in source frames, whatever the store's gap; 0: `stride` counts."""
    frames_from: Literal["store", "video"] = "store"
    """`store`: the frames beside the flow, every `flow.gap_frames`-th and not the last `flow.span_frames`. `video`: all
    frames, decoded once before the training (D27)."""
    short_side_px: PositiveInt = 256
    """`video` only: short side of the decoded frames."""
    crop_px: PositiveInt = 112
    """Side of the training crop."""
    area: Shares = (0.2, 1.0)
    """Least and largest share of the picture that a training crop takes."""
    aspect: Ratios = (3 / 4, 4 / 3)
    """Least and largest ratio of width to height of a training crop."""
    flip: Fraction = 0.0
    """No flip by default: in SSv2 direction carries the label."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of the features that the classifier does not see in a training step."""
    optim: OptimConfig = OptimConfig(lr=0.12, weight_decay=1e-6, schedule="constant")
    """Optimiser and learning rate of all weights, encoder included."""
    milestones: tuple[PositiveInt, ...] = (14, 18)
    """Epochs after which the learning rate falls."""
    milestone_factor: float = Field(default=0.1, gt=0, le=1)
    """What it is multiplied with at each milestone."""
    epochs: PositiveInt = 22
    """Passes over the train split."""
    batch_size: PositiveInt = 32
    """Global batch, over all ranks."""
    lr_batch_size: int = Field(default=0, ge=0)
    """Batch that `optim.lr` is meant for: another batch takes it in proportion. 0: the rate is taken as it is."""
    precision: Precision = "auto"
    """Of training and test. auto: on CUDA autocast to bf16, or fp16 on cards without it; fp32 on CPU."""
    test_crop_px: PositiveInt = 128
    """Crop in the test, and the short side that videos are resized to for it."""
    test_clips: PositiveInt = 1
    """Clips per test video."""
    test_crops: Literal[1, 3] = 1
    """Crops of each of them: the centre, or three along the longer side. A video's probabilities are the mean over
    its clips, crops and segments."""
    splits: Splits = ()
    """Official splits to average over; empty: `data.split` alone. A dataset with one split is scored on that."""
    seed: int = Field(default=0, ge=0)
    """Of the classifier's weights, order, crops and dropout: the same seed gives the same run."""
    seeds: Seeds = ()
    """Several: one training each, and the scores are averaged. Empty: `seed` alone."""

    def test_input(self, recipe: FrameRecipe, **segments: Any) -> EncoderInput:
        """What a video goes through to be classified as in the test; `segments`: as `recorded_frames` gives them."""
        return EncoderInput(
            recipe=recipe, **segments,
            clip=ClipConfig(length=self.frames, stride=self.stride), clips=self.test_clips, crop_px=self.test_crop_px,
            crops=self.test_crops, short_side_px=self.test_crop_px, sampling=self.sampling,
        )  # fmt: skip

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Seeds to run."""
        return self.seeds or (self.seed,)

    @model_validator(mode="after")
    def _milestones_inside(self) -> "FinetuneConfig":
        late = [m for m in self.milestones if m >= self.epochs]
        if late:
            raise ValueError(f"milestones {late} are not below epochs {self.epochs}; lower them or raise epochs")
        return self
