"""RGB and flow encoders (METHOD 1.5): residual video networks with a width factor.

r18 is torchvision's `r3d_18` and its purely spatial sibling `r2d_18`; r50 is SlowOnly-50 (Feichtenhofer et al.,
"SlowFast networks", ICCV 2019, the slow pathway alone) and `r2d_50`.
"""

import torch
from torch import Tensor, nn

from mscl.models.config import ModelConfig
from mscl.models.heads import global_average
from mscl.models.video_resnet import Architecture, BasicBlock, Bottleneck, Kernels, VideoResNet
from mscl.video.config import ClipConfig
from mscl.video.frame_recipe import EncoderInput, FrameRecipe

_RGB_WIDTH = 64
_FLOW_R18_WIDTH = 16
_FLOW_R50_WIDTH = 8

_EACH_FRAME = Kernels(time=1)
_ACROSS_TIME = Kernels(time=3)
_ACROSS_TIME_FIRST = Kernels(time=1, first_time=3)

R3D_18 = Architecture(BasicBlock, (2, 2, 2, 2), (_ACROSS_TIME,) * 4, stem_kernel=(3, 7, 7), stem_stride=(1, 2, 2))
R2D_18 = Architecture(BasicBlock, (2, 2, 2, 2), (_EACH_FRAME,) * 4, stem_kernel=(1, 7, 7), stem_stride=(1, 2, 2))
SLOW_ONLY_50 = Architecture(
    Bottleneck, (3, 4, 6, 3), (_EACH_FRAME, _EACH_FRAME, _ACROSS_TIME_FIRST, _ACROSS_TIME_FIRST),
    stem_kernel=(5, 7, 7), stem_stride=(2, 2, 2), pooled=True,
)  # fmt: skip
R2D_50 = Architecture(
    Bottleneck, (3, 4, 6, 3), (_EACH_FRAME,) * 4, stem_kernel=(1, 7, 7), stem_stride=(1, 2, 2), pooled=True
)


class WithInput:
    """What an encoder knows of the videos of its training."""

    input: EncoderInput | None
    """What videos go through before this encoder sees them, where that is known."""

    @property
    def recipe(self) -> FrameRecipe | None:
        """How frames came out of the videos of its training, where that is known."""
        return None if self.input is None else self.input.recipe

    @property
    def clip(self) -> ClipConfig | None:
        """Length and stride of the clips of its training, where they are known."""
        return None if self.input is None else self.input.clip


class VideoEncoder(WithInput, VideoResNet):
    """Video or flow clip (B, 3, T, H, W) -> features (B, C)."""

    def __init__(self, architecture: Architecture, *, width: int) -> None:
        super().__init__(architecture, width=width)
        self.feature_dim = self.pyramid_dims[-1]
        """Channels of the features."""
        self.input = None
        if width < _RGB_WIDTH:
            # Activations follow the weights' format. On CPU narrow convolutions run up to 1.7 times as fast channels
            # last; from 64 channels on the default format is a tenth faster (benchmarks/step.py).
            self.to(memory_format=torch.channels_last_3d)

    def forward(self, x_B3THW: Tensor) -> Tensor:
        """Features (B, C): the global average of L4."""
        return global_average(self.pyramid(x_B3THW)[-1])

    def features_and_tokens(self, x_B3THW: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and what they are the mean of: the places of L4, (B, N, C) over time, then rows."""
        l4_BCTHW = self.pyramid(x_B3THW)[-1]
        return global_average(l4_BCTHW), l4_BCTHW.flatten(2).transpose(1, 2)


def build_rgb_encoder(config: ModelConfig) -> VideoEncoder:
    """RGB encoder, (B, 3, T, H, W) -> (B, C); reads all frames of the clip.

    r18 at 112 px and 8 frames: L2 128x4x28x28, L3 256x2x14x14, L4 512x1x7x7.
    r50 at 224 px: L2 512x4x28x28, L3 1024x4x14x14, L4 2048x4x7x7.
    """
    architecture = R3D_18 if config.backbone == "r18" else SLOW_ONLY_50
    return VideoEncoder(architecture, width=_scaled(_RGB_WIDTH, config.rgb_width))


def build_flow_encoder(config: ModelConfig) -> VideoEncoder:
    """Flow encoder, colour-coded fields (B, 3, F, H, W) -> (B, C); no convolution looks across time.

    It takes the fields that it reads, one of every `FIELD_STEP` of a clip: the paper's stem has temporal kernel 1
    and stride 2, so a stem of stride 1 over those fields gives the same numbers (D19).
    r18 at 112 px: L4 128x4x7x7. r50 at 224 px: L4 256x4x7x7.
    """
    if config.backbone == "r18":
        return VideoEncoder(R2D_18, width=_scaled(_FLOW_R18_WIDTH, config.flow_width))
    return VideoEncoder(R2D_50, width=_scaled(_FLOW_R50_WIDTH, config.flow_width))


def untrained_encoder(config: ModelConfig, *, seed: int) -> VideoEncoder:
    """RGB encoder with the very weights that a pre-training run with this seed starts from, in eval mode.

    The global random state stays as it is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_rgb_encoder(config).eval()


def convolutions_channels_last(module: nn.Module) -> None:
    """Weights of 3D convolutions in the memory format that they are fast in; other tensors stay as they are."""
    for parameter in module.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)


def _scaled(width: int, factor: float) -> int:
    return max(1, round(width * factor))
