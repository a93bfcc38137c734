"""Encoders: tensors as published, widths, shapes, and which fields the flow stem reads."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscl.models.config import ModelConfig
from mscl.models.encoders import build_flow_encoder, build_rgb_encoder, untrained_encoder
from mscl.models.files import write_encoder
from mscl.models.heads import ClipHead
from mscl.models.neck import MotionNeck
from mscl.models.video_resnet import Block
from mscl.views import FIELD_STEP

NARROW = ModelConfig(rgb_width=0.125, flow_width=0.5)
R50_SUMS = [-1.3539, 8.5392, 8.1602, -9.1702]


def tensors(module: nn.Module) -> list[tuple[str, list[int]]]:
    return [(name, list(t.shape)) for name, t in module.state_dict().items()]


@pytest.mark.parametrize("part", ["rgb_encoder", "rgb_neck", "rgb_mlp", "flow_encoder", "flow_mlp"])
def test_r18_tensors_as_published(shared_dir: Path, part: str) -> None:
    listed = json.loads((shared_dir / "golden" / "losses_arch.json").read_text())[part]
    paper = ModelConfig()
    with torch.device("meta"):
        modules: dict[str, nn.Module] = {
            "rgb_encoder": build_rgb_encoder(paper),
            "rgb_neck": MotionNeck((128, 256, 512), 128, num_pconv=2, stride=(2, 2, 2)),
            "rgb_mlp": ClipHead(512, 128),
            "flow_encoder": build_flow_encoder(paper),
            "flow_mlp": ClipHead(128, 128),
        }
    module = modules[part]
    assert tensors(module) == [(name, shape) for name, shape in listed["tensors"]]
    assert sum(p.numel() for p in module.parameters()) == listed["params"]


def test_r18_is_torchvisions_network() -> None:
    """The same seed draws the same weights, leaves the same random state, and a clip gets the same features."""
    from torchvision.models.video import r3d_18

    networks, states = [], []
    with torch.random.fork_rng():
        for build in (partial(r3d_18, num_classes=1), partial(build_rgb_encoder, ModelConfig())):
            torch.manual_seed(5)
            networks.append(build().eval())
            states.append(torch.random.get_rng_state())
        clip = torch.randn(1, 3, 4, 32, 32)
    theirs, ours = networks
    assert torch.equal(*states)
    theirs.fc = nn.Identity()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(mine, theirs.state_dict()[name]) for name, mine in ours.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(ours(clip), theirs(clip))


def test_r50_of_a_seed_stays_as_it_was() -> None:
    """Sums of weights, one for each of the stages; a checkpoint of a seed can be compared with a later run's."""
    weights = untrained_encoder(ModelConfig(backbone="r50", rgb_width=0.25), seed=7).state_dict()
    sums = [round(float(weights[f"layer{stage}.0.conv1.0.weight"].double().sum()), 4) for stage in (1, 2, 3, 4)]
    assert sums == R50_SUMS


@pytest.mark.parametrize(
    ("backbone", "crop_px", "rgb_shapes", "flow_shape"),
    [
        ("r18", 112, [(128, 4, 28, 28), (256, 2, 14, 14), (512, 1, 7, 7)], (128, 4, 7, 7)),
        ("r50", 224, [(512, 4, 28, 28), (1024, 4, 14, 14), (2048, 4, 7, 7)], (256, 4, 7, 7)),
    ],
)
def test_shapes_of_the_pyramid(
    backbone: str, crop_px: int, rgb_shapes: list[tuple[int, ...]], flow_shape: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        config = ModelConfig.model_validate({"backbone": backbone})
        rgb, flow = build_rgb_encoder(config), build_flow_encoder(config)
        levels = rgb.pyramid(torch.empty(1, 3, 8, crop_px, crop_px))
        fields = flow.pyramid(torch.empty(1, 3, 4, crop_px, crop_px))[-1]
    assert [tuple(level.shape[1:]) for level in levels] == rgb_shapes
    assert tuple(fields.shape[1:]) == flow_shape
    assert rgb.feature_dim == rgb_shapes[-1][0] and flow.feature_dim == flow_shape[0]


def test_r50_looks_across_time_in_the_last_two_stages_only() -> None:
    with torch.device("meta"):
        encoder = build_rgb_encoder(ModelConfig(backbone="r50"))
    kernels = [
        {block.conv1[0].kernel_size for block in stage}
        for stage in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)
    ]
    assert kernels == [{(1, 1, 1)}, {(1, 1, 1)}, {(3, 1, 1)}, {(3, 1, 1)}]


@pytest.mark.parametrize("backbone", ["r18", "r50"])
def test_d19_reading_every_second_field_equals_the_strided_stem(backbone: str) -> None:
    config = ModelConfig.model_validate({"backbone": backbone, "flow_width": 0.5})
    encoder = build_flow_encoder(config).eval()
    flow_B3THW = torch.rand(2, 3, 8, 32, 32)
    with torch.no_grad():
        four_fields = encoder(flow_B3THW[:, :, ::FIELD_STEP])
        encoder.stem[0].stride = (2, 2, 2)  # the published stem, over all eight fields
        assert torch.equal(encoder(flow_B3THW), four_fields)


def test_narrow_network_has_the_same_form() -> None:
    encoder = build_rgb_encoder(NARROW)
    assert encoder.pyramid_dims == (16, 32, 64) and encoder.feature_dim == 64
    assert list(encoder.state_dict()) == list(build_rgb_encoder(ModelConfig(rgb_width=0.25)).state_dict())
    assert encoder(torch.randn(2, 3, 8, 40, 40)).shape == (2, 64)
    assert build_flow_encoder(NARROW)(torch.rand(2, 3, 4, 40, 40)).shape == (2, 64)


def test_untrained_encoder_is_a_function_of_the_seed() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (untrained_encoder(NARROW, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.stem[0].weight, again.stem[0].weight)
    assert not torch.equal(first.stem[0].weight, other.stem[0].weight)
    assert not first.training


def test_reading_an_encoder_does_not_load_the_compiler(tmp_path: Path) -> None:
    """`torch._dynamo`, which torchvision imports, takes longer than all else that an embedding process imports."""
    model = ModelConfig.model_validate({"rgb_width": 0.0625})
    path = write_encoder(build_rgb_encoder(model), model, tmp_path / "encoder.safetensors", card={})
    code = (
        "import pathlib, sys, mscl.embedding.process; from mscl.models.files import read_encoder; "
        f"read_encoder(pathlib.Path({str(path)!r})); "
        "print({'torch', 'torchvision', 'torch._dynamo'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "{'torch'}"


def test_gradients_are_added_up_in_the_order_of_torchvisions_blocks() -> None:
    """To the last bit: a training multiplies what rounding changes, and a seed's scores are to stay what they are."""
    config = ModelConfig.model_validate({"backbone": "r18", "rgb_width": 0.125})
    clip = torch.rand(2, 3, 8, 24, 24, generator=torch.Generator().manual_seed(0))

    def in_torchvisions_order(block: Block, x_BCTHW: Tensor) -> Tensor:
        conv, norm = block.conv2  # type: ignore[misc]
        y_BCTHW: Tensor = norm(conv(block.conv1(x_BCTHW)))  # type: ignore[operator]
        y_BCTHW += x_BCTHW if block.downsample is None else block.downsample(x_BCTHW)
        return F.relu_(y_BCTHW)

    def gradients(*, theirs: bool) -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        network = build_rgb_encoder(config)
        for module in network.modules():
            if theirs and isinstance(module, Block):
                module.forward = partial(in_torchvisions_order, module)  # type: ignore[method-assign]
        # Every level is read, as the neck does: what reaches a block comes from three places.
        loss = torch.stack([level.square().mean(dim=(0, 2, 3, 4)).std() for level in network.pyramid(clip)]).sum()
        return torch.autograd.grad(loss, list(network.parameters()))

    for mine, expected in zip(gradients(theirs=False), gradients(theirs=True), strict=True):
        assert torch.equal(mine, expected)
