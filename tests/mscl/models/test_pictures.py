"""A GPU's form of every layer and of upsampling gives the plain layer's numbers, in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscl.models.config import ModelConfig
from mscl.models.encoders import VideoEncoder, build_flow_encoder, build_rgb_encoder
from mscl.models.neck import MotionNeck
from mscl.models.pictures import PictureConv, PicturePool, TimeConv, UnfoldedConv, in_picture_form
from mscl.models.upsampling import Mode, by_products

LAYERS = [
    nn.Conv3d(3, 6, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
    nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1)),
    nn.Conv3d(3, 5, 1, stride=(2, 2, 2), bias=False),
    nn.Conv3d(3, 5, 1),
    nn.Conv3d(3, 4, (3, 1, 1), padding=(1, 0, 0), bias=False),
    nn.Conv3d(3, 6, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False),
    nn.Conv3d(3, 6, (5, 7, 7), stride=(2, 2, 2), padding=(2, 3, 3)),
    nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
]
FORMS = (PictureConv, TimeConv, UnfoldedConv, PicturePool)


def on_gpus_way(network: nn.Module) -> nn.Module:
    """The network with every layer's own form forced, whatever the device."""
    for module in network.modules():
        if isinstance(module, FORMS):
            module.forward = module.as_pictures  # type: ignore[method-assign]
    return network


def results(network: nn.Module, clip_BCTHW: Tensor) -> list[Tensor]:
    """Output, buffers, and gradients of a loss that differs from place to place."""
    clip = clip_BCTHW.clone().requires_grad_()
    output = network(clip)
    incoming = torch.randn(output.shape, generator=torch.Generator().manual_seed(9), dtype=output.dtype)
    leaves = [clip, *(p for p in network.parameters() if p.requires_grad)]
    return [output.detach(), *torch.autograd.grad(output, leaves, incoming), *network.buffers()]


def check_equal(got: list[Tensor], expected: list[Tensor], *, relative: float = 1e-10) -> None:
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=relative, atol=relative / 10)


@pytest.mark.parametrize(
    "layer", LAYERS, ids=lambda layer: f"{type(layer).__name__} {getattr(layer, 'kernel_size', '')}"
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_in_picture_form_is_the_plain_layer(
    layer: nn.Module, memory_format: torch.memory_format, training: bool
) -> None:
    plain = nn.Sequential(copy.deepcopy(layer)).double().train(training)
    ours = copy.deepcopy(plain)
    in_picture_form(ours)
    assert isinstance(ours[0], FORMS) and ours[0].training == training
    assert [(n, t.shape) for n, t in ours.state_dict().items()] == [(n, t.shape) for n, t in plain.state_dict().items()]
    generator = torch.Generator().manual_seed(1)
    clip = torch.randn(2, 3, 4, 9, 8, generator=generator, dtype=torch.float64).contiguous(memory_format=memory_format)
    check_equal(results(on_gpus_way(ours), clip), results(plain, clip))


def test_channels_last_clips_stay_channels_last_without_a_copy() -> None:
    clip = torch.randn(2, 8, 4, 6, 5).contiguous(memory_format=torch.channels_last_3d)
    network = nn.Sequential(nn.Conv3d(8, 8, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(8), nn.Conv3d(8, 8, 1))
    network.to(memory_format=torch.channels_last_3d)
    in_picture_form(network)
    for layer in on_gpus_way(network):
        clip = layer(clip)
        assert clip.is_contiguous(memory_format=torch.channels_last_3d), layer


def test_other_layers_are_left_alone() -> None:
    network = nn.Sequential(nn.Conv3d(4, 4, 3, padding=1), nn.Conv3d(4, 4, (3, 1, 1), stride=(2, 1, 1)), nn.ReLU())
    before = list(network)
    in_picture_form(network)
    assert all(layer is old for layer, old in zip(network, before, strict=True))


@pytest.mark.parametrize("build", [build_rgb_encoder, build_flow_encoder])
@pytest.mark.parametrize("backbone", ["r18", "r50"])
def test_an_encoder_on_a_gpus_way(build: type[VideoEncoder], backbone: str) -> None:
    config = ModelConfig.model_validate({"backbone": backbone, "rgb_width": 0.0625, "flow_width": 0.25})
    plain = build(config).double().to(memory_format=torch.channels_last_3d)
    clip = torch.rand(2, 3, 4, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kinds = {type(layer) for layer in plain.modules()}
    assert nn.BatchNorm3d not in kinds and nn.MaxPool3d not in kinds
    # Batch norm over few values magnifies rounding.
    check_equal(results(on_gpus_way(copy.deepcopy(plain)), clip), results(plain, clip), relative=1e-6)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("source", "target"), [((2, 7, 7), (4, 14, 14)), ((1, 3, 2), (1, 5, 3)), ((4, 2, 3), (4, 3, 3))]
)
def test_upsampling_by_products_is_the_librarys(mode: Mode, source: tuple[int, ...], target: tuple[int, ...]) -> None:
    map_BCTHW = torch.randn((2, 3, *source), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    leaves = [map_BCTHW.clone().requires_grad_() for _ in range(2)]
    got = by_products(leaves[0], target, mode=mode)
    expected = F.interpolate(leaves[1], size=list(target), mode="trilinear" if mode == "linear" else mode)
    incoming = torch.randn(got.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for tensor in (got, expected):
        tensor.backward(incoming)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=1e-13, atol=1e-13)
    assert got.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_neck_on_a_gpus_way(monkeypatch: pytest.MonkeyPatch) -> None:
    neck = MotionNeck((8, 16, 32), 8, num_pconv=2, stride=(2, 2, 2)).double()
    generator = torch.Generator().manual_seed(0)
    sizes = ((4, 14, 14), (2, 7, 7), (1, 4, 4))
    pyramid = [
        torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)
        for channels, size in zip((8, 16, 32), sizes, strict=True)
    ]
    expected = [level.detach() for level in neck(pyramid)]
    monkeypatch.setattr("mscl.models.neck.upsampled", by_products)
    check_equal([level.detach() for level in on_gpus_way(neck)(pyramid)], expected)
