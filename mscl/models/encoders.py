"""RGB and flow encoders (METHOD 1.5): torchvision's residual video networks with a width factor.

r18 is torchvision's `r3d_18` and its purely spatial sibling `r2d_18`; r50 is SlowOnly-50 (Feichtenhofer et al.,
"SlowFast networks", ICCV 2019, the slow pathway alone) and `r2d_50`. Tensor names are torchvision's.
"""

# torchvision ships no types, so its classes are Any to the checker.
# mypy: disallow-subclassing-any=False, warn-return-any=False

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, Bottleneck, Conv3DNoTemporal, Conv3DSimple, VideoResNet

from mscl.models.config import ModelConfig
from mscl.models.heads import global_average
from mscl.models.pictures import in_picture_form
from mscl.video.config import ClipConfig
from mscl.video.frame_recipe import EncoderInput, FrameRecipe

_TORCHVISION_WIDTH = 64
_FLOW_R18_WIDTH = 16
_FLOW_R50_WIDTH = 8


class VideoEncoder(VideoResNet):
    """Video or flow clip -> features; no classifier.

    Args:
        block: torchvision's BasicBlock or Bottleneck, or a factory with the same arguments.
        conv_makers: convolution of each of the four stages.
        layers: blocks of each stage.
        stem: makes the stem from its number of output channels.
        width: channels of the first stage; the others have 2, 4 and 8 times as many.
    """

    def __init__(
        self,
        *,
        block: type[BasicBlock | Bottleneck],
        conv_makers: Sequence[type[Conv3DSimple | Conv3DNoTemporal]],
        layers: Sequence[int],
        stem: Callable[[int], nn.Module],
        width: int,
    ) -> None:
        # torchvision builds with fixed widths inside __init__ and asks `_make_layer` for each stage.
        self.width = width
        super().__init__(block, list(conv_makers), list(layers), lambda: stem(width), num_classes=1)
        del self.fc, self.avgpool
        in_picture_form(self)
        self.pyramid_dims = tuple(width * times * block.expansion for times in (2, 4, 8))
        """Channels of L2, L3 and L4."""
        self.feature_dim = self.pyramid_dims[-1]
        """Channels of the features."""
        self.input: EncoderInput | None = None
        """What videos go through before this encoder sees them, where that is known."""
        if width < _TORCHVISION_WIDTH:
            # Activations follow the weights' format. On CPU narrow convolutions run up to 1.7 times as fast channels
            # last; from 64 channels on the default format is a tenth faster (benchmarks/step.py).
            self.to(memory_format=torch.channels_last_3d)

    @property
    def recipe(self) -> FrameRecipe | None:
        """How frames came out of the videos of its training, where that is known."""
        return None if self.input is None else self.input.recipe

    @property
    def clip(self) -> ClipConfig | None:
        """Length and stride of the clips of its training, where they are known."""
        return None if self.input is None else self.input.clip

    def pyramid(self, x_B3THW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Feature maps L2, L3 and L4, each (B, C, T, H, W)."""
        l2 = self.layer2(self.layer1(self.stem(x_B3THW)))
        l3 = self.layer3(l2)
        return l2, l3, self.layer4(l3)

    def forward(self, x_B3THW: Tensor) -> Tensor:
        """Features (B, C): the global average of L4."""
        return global_average(self.pyramid(x_B3THW)[-1])

    def _make_layer(
        self,
        block: type[BasicBlock | Bottleneck],
        conv_builder: type[Conv3DSimple | Conv3DNoTemporal],
        planes: int,
        blocks: int,
        stride: int = 1,
    ) -> nn.Sequential:
        if planes == _TORCHVISION_WIDTH:
            self.inplanes = self.width
        return super()._make_layer(block, conv_builder, planes * self.width // _TORCHVISION_WIDTH, blocks, stride)


class SlowBottleneck(Bottleneck):
    """Bottleneck of SlowOnly-50: the first convolution is 3x1x1 where the stage sees time, else 1x1x1."""

    def __init__(
        self,
        inplanes: int,
        planes: int,
        conv_builder: type["_SpatialStage"],
        stride: int = 1,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__(inplanes, planes, conv_builder, stride, downsample)
        if conv_builder.temporal_kernel > 1:
            k = conv_builder.temporal_kernel
            self.conv1[0] = nn.Conv3d(inplanes, planes, (k, 1, 1), padding=(k // 2, 0, 0), bias=False)


class _SpatialStage(Conv3DNoTemporal):
    """1x3x3 convolution of a SlowOnly stage whose blocks begin with 1x1x1."""

    temporal_kernel = 1


class _TemporalStage(_SpatialStage):
    """1x3x3 convolution of a SlowOnly stage whose blocks begin with 3x1x1."""

    temporal_kernel = 3


def build_rgb_encoder(config: ModelConfig) -> VideoEncoder:
    """RGB encoder, (B, 3, T, H, W) -> (B, C); reads all frames of the clip.

    r18 at 112 px and 8 frames: L2 128x4x28x28, L3 256x2x14x14, L4 512x1x7x7.
    r50 at 224 px: L2 512x4x28x28, L3 1024x4x14x14, L4 2048x4x7x7.
    """
    width = _scaled(_TORCHVISION_WIDTH, config.rgb_width)
    if config.backbone == "r18":
        return VideoEncoder(
            block=BasicBlock,
            conv_makers=[Conv3DSimple] * 4,
            layers=[2, 2, 2, 2],
            stem=lambda channels: _stem(channels, kernel=(3, 7, 7), stride=(1, 2, 2)),
            width=width,
        )
    return VideoEncoder(
        block=SlowBottleneck,
        conv_makers=[_SpatialStage, _SpatialStage, _TemporalStage, _TemporalStage],
        layers=[3, 4, 6, 3],
        stem=lambda channels: _stem(channels, kernel=(5, 7, 7), stride=(2, 2, 2), pool=True),
        width=width,
    )


def build_flow_encoder(config: ModelConfig) -> VideoEncoder:
    """Flow encoder, colour-coded fields (B, 3, F, H, W) -> (B, C); no convolution looks across time.

    It takes the fields that it reads, one of every `FIELD_STEP` of a clip: the paper's stem has temporal kernel 1
    and stride 2, so a stem of stride 1 over those fields gives the same numbers (D19).
    r18 at 112 px: L4 128x4x7x7. r50 at 224 px: L4 256x4x7x7.
    """
    if config.backbone == "r18":
        return VideoEncoder(
            block=BasicBlock,
            conv_makers=[Conv3DNoTemporal] * 4,
            layers=[2, 2, 2, 2],
            stem=lambda channels: _stem(channels, kernel=(1, 7, 7), stride=(1, 2, 2)),
            width=_scaled(_FLOW_R18_WIDTH, config.flow_width),
        )
    return VideoEncoder(
        block=Bottleneck,
        conv_makers=[Conv3DNoTemporal] * 4,
        layers=[3, 4, 6, 3],
        stem=lambda channels: _stem(channels, kernel=(1, 7, 7), stride=(1, 2, 2), pool=True),
        width=_scaled(_FLOW_R50_WIDTH, config.flow_width),
    )


def untrained_encoder(config: ModelConfig, *, seed: int) -> VideoEncoder:
    """RGB encoder with the very weights that a pre-training run with this seed starts from, in eval mode.

    The global random state stays as it is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_rgb_encoder(config).eval()


def _stem(
    channels: int, *, kernel: tuple[int, int, int], stride: tuple[int, int, int], pool: bool = False
) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    layers: list[nn.Module] = [
        nn.Conv3d(3, channels, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm3d(channels),
        nn.ReLU(inplace=True),
    ]
    if pool:
        layers.append(nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)))
    return nn.Sequential(*layers)


def _scaled(width: int, factor: float) -> int:
    return max(1, round(width * factor))
