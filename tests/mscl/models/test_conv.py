"""The 3x3x3 convolutions of wide networks against the library's, in double precision where it matters."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mscl.models import conv
from mscl.models.config import ModelConfig
from mscl.models.conv import WIDE_CHANNELS, Conv3x3x3, convolved
from mscl.models.encoders import build_rgb_encoder

WIDER = WIDE_CHANNELS + 16


def results(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int, int], *, plain: bool
) -> list[Tensor]:
    """Output and gradients by one way; the gradient that comes in differs from place to place."""
    dtype = torch.float64 if plain else torch.float32
    leaves = [t.detach().to(dtype).requires_grad_() for t in (x, weight, bias) if t is not None]
    given = None if bias is None else leaves[2]
    if plain:
        y = F.conv3d(leaves[0], leaves[1], given, stride, padding=1)
    else:
        y = convolved(leaves[0], leaves[1], given, stride)
    incoming = torch.randn(y.shape, generator=torch.Generator().manual_seed(9)).to(dtype)
    return [y.detach(), *torch.autograd.grad(y, leaves, incoming)]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("way", "shape", "out_channels", "stride", "bias"),
    [
        ("_RowWinograd", (2, WIDE_CHANNELS, 4, 6, 5), WIDE_CHANNELS, (1, 1, 1), False),
        ("_RowWinograd", (1, WIDE_CHANNELS, 3, 2, 3), WIDER, (1, 1, 1), True),
        ("_RowWinograd", (1, WIDER, 5, 8, 4), WIDE_CHANNELS, (1, 1, 1), True),
        ("_as_picture", (2, WIDER, 1, 5, 4), WIDER, (1, 1, 1), False),
        ("_as_picture", (2, WIDER, 2, 5, 4), WIDER + 1, (1, 1, 1), True),
        ("_as_picture", (2, WIDER, 2, 6, 5), WIDER, (2, 2, 2), True),
        ("_as_picture", (2, WIDER, 2, 6, 5), WIDER, (1, 2, 2), False),
        ("_as_picture", (2, WIDER, 1, 6, 5), WIDER, (2, 2, 2), False),
        ("library", (1, WIDE_CHANNELS, 4, 5, 5), WIDE_CHANNELS, (1, 1, 1), True),
        ("library", (1, WIDER, 4, 6, 6), WIDER, (2, 2, 2), False),
        ("library", (1, 8, 4, 6, 6), WIDER, (1, 1, 1), False),
        ("library", (1, 8, 1, 6, 6), 8, (1, 1, 1), True),
    ],
)
def test_every_way_gives_the_librarys_numbers(
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    shape: tuple[int, ...],
    out_channels: int,
    stride: tuple[int, int, int],
    bias: bool,
    channels_last: bool,
) -> None:
    taken: list[str] = []

    def noted(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*arguments: Any) -> Tensor:
            taken.append(name)
            return function(*arguments)

        return call

    monkeypatch.setattr(conv, "_as_picture", noted("_as_picture", conv._as_picture))
    forward = noted("_RowWinograd", conv._RowWinograd.forward)
    monkeypatch.setattr(conv._RowWinograd, "forward", staticmethod(forward))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator)
    weight = torch.randn((out_channels, shape[1], 3, 3, 3), generator=generator)
    offsets = torch.randn(out_channels, generator=generator) if bias else None
    if channels_last:
        x, weight = (t.to(memory_format=torch.channels_last_3d) for t in (x, weight))
    exact = results(x, weight, offsets, stride, plain=True)
    ours = results(x, weight, offsets, stride, plain=False)
    assert taken == ([] if way == "library" else [way])
    for number, oracle in zip(ours, exact, strict=True):
        assert number.shape == oracle.shape
        torch.testing.assert_close(number.double(), oracle, rtol=0, atol=3e-6 * oracle.abs().max().item())


def test_only_the_gradient_that_is_wanted_is_computed() -> None:
    """Weights that are frozen, and a first layer, whose input wants none."""
    layer = Conv3x3x3(WIDE_CHANNELS, WIDE_CHANNELS)
    x = torch.randn(1, WIDE_CHANNELS, 3, 4, 4)
    layer(x).sum().backward()
    assert x.grad is None and layer.weight.grad is not None
    layer.requires_grad_(False)
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None


def test_the_library_convolves_under_autocast_and_in_graphs() -> None:
    layer = Conv3x3x3(WIDE_CHANNELS, WIDE_CHANNELS).eval()
    x = torch.randn(1, WIDE_CHANNELS, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    graph = torch.export.export(layer, (x,))
    assert [node.name for node in graph.graph.nodes if node.op == "call_function"] == ["conv3d"]


def test_the_wide_network_equals_the_librarys_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """r3d_18 at full width, every way in it, in training mode."""
    clip = torch.randn(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder = build_rgb_encoder(ModelConfig()).train()
    features = encoder(clip)
    features.square().sum().backward()
    gradients = {name: p.grad for name, p in encoder.named_parameters()}
    encoder.zero_grad()
    monkeypatch.setattr(conv, "_pays", lambda *_: False)
    plain = encoder(clip)
    torch.testing.assert_close(features, plain, rtol=0, atol=1e-4 * plain.abs().max().item())
    plain.square().sum().backward()
    for name, p in encoder.named_parameters():
        gradient = gradients[name]
        assert gradient is not None and p.grad is not None
        assert (gradient - p.grad).norm() < 1e-2 * p.grad.norm(), name
