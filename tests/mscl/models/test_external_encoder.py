"""Encoders that are given instead of trained: torchvision's weights, our files, random ones, and refusals."""

from pathlib import Path

import pytest
import torch
import torchvision

from mscl.errors import CheckpointError
from mscl.models.config import ModelConfig
from mscl.models.encoders import untrained_encoder
from mscl.models.external_encoder import external_encoder, external_encoder_digest
from mscl.models.files import EXPORT_NAME, read_encoder, write_encoder

TINY = ModelConfig(rgb_width=0.0625)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    with pytest.raises(CheckpointError, match="holds another network"):
        read_encoder(path)


def test_another_backbone_or_width_names_both(tmp_path: Path) -> None:
    path = write_encoder(untrained_encoder(TINY, seed=0), TINY, tmp_path / EXPORT_NAME, card={})
    assert external_encoder(str(path), model=TINY, seed=0).feature_dim == 32
    for model, asked in ((ModelConfig(), "r18 at width 1"), (ModelConfig(backbone="r50"), "r50 at width 1")):
        with pytest.raises(CheckpointError, match=f"holds backbone r18 at width 0.0625, .* backbone {asked}"):
            external_encoder(str(path), model=model, seed=0)


def test_random_is_the_start_of_a_training(tmp_path: Path) -> None:
    given, start = external_encoder("random", model=TINY, seed=4), untrained_encoder(TINY, seed=4)
    for name, tensor in start.state_dict().items():
        torch.testing.assert_close(given.state_dict()[name], tensor, rtol=0, atol=0)
    assert external_encoder_digest("random") == "random"
    with pytest.raises(CheckpointError, match="absent.pth does not exist"):
        external_encoder_digest(str(tmp_path / "absent.pth"))


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_encoder(tmp_path / "model.pth")
