"""Encoders in files: checkpoints, exports with their card, released names, and refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mscl.errors import CheckpointError
from mscl.models.config import ModelConfig
from mscl.models.encoders import VideoEncoder, untrained_encoder
from mscl.models.files import ENCODER_PREFIX, export_encoder, load_rgb_encoder

TINY = ModelConfig(rgb_width=0.0625)


def checkpoint(path: Path, encoder: VideoEncoder) -> Path:
    model = {ENCODER_PREFIX + name: t for name, t in encoder.state_dict().items()}
    model["key_rgb.encoder.stem.0.weight"] = torch.zeros(1)
    torch.save({"step": 7, "model": model, "model_config": TINY.model_dump_json()}, path)
    return path


def states_equal(a: VideoEncoder, b: VideoEncoder) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_export_round_trip(tmp_path: Path) -> None:
    encoder = untrained_encoder(TINY, seed=3)
    path = export_encoder(
        checkpoint(tmp_path / "a.pt", encoder), tmp_path / "export", card={"metrics": {"R@1": 0.5}, "lineage": ["abc"]}
    )
    loaded = load_rgb_encoder(path)
    assert states_equal(encoder, loaded) and not loaded.training
    card = json.loads((path.parent / "encoder.json").read_text())
    assert card["metrics"] == {"R@1": 0.5} and card["steps"] == 7 and card["feature_dim"] == 32
    assert card["model_config"]["rgb_width"] == 0.0625
    (path.parent / "encoder.json").unlink()
    assert states_equal(encoder, load_rgb_encoder(path)), "the one file is enough"


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("config", [TINY, ModelConfig()])
def test_released_names_round_trip(tmp_path: Path, wrapped: bool, config: ModelConfig) -> None:
    encoder = untrained_encoder(config, seed=1)
    state: dict[str, Any] = {f"recognizer.encoder_q.{name}": t for name, t in encoder.state_dict().items()}
    state |= {"recognizer.encoder_k.stem.0.weight": torch.zeros(1), "recognizer.queue": torch.zeros(4, 8)}
    state |= {"recognizer.encoder_q.fc.weight": torch.zeros(3, 3)}
    torch.save({"state_dict": state, "meta": {"epoch": 3}} if wrapped else state, tmp_path / "epoch_3.pth")
    assert states_equal(encoder, load_rgb_encoder(tmp_path / "epoch_3.pth"))


def test_released_names_are_those_of_the_golden_list(shared_dir: Path, tmp_path: Path) -> None:
    listed = json.loads((shared_dir / "golden" / "losses_arch.json").read_text())["rgb_encoder"]["tensors"]
    state: dict[str, Tensor] = {}
    for name, shape in listed:
        dtype = torch.int64 if name.endswith("num_batches_tracked") else torch.float32
        state[f"recognizer.encoder_q.{name}"] = torch.ones(shape, dtype=dtype)
    torch.save({"state_dict": state}, tmp_path / "released.pth")
    encoder = load_rgb_encoder(tmp_path / "released.pth")
    assert all(bool((t == 1).all()) for t in encoder.state_dict().values())


def test_what_is_no_encoder_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_rgb_encoder(tmp_path / "absent.pt")
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="no pre-training checkpoint"):
        load_rgb_encoder(tmp_path / "other.pt")
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="other.safetensors cannot be read"):
        load_rgb_encoder(tmp_path / "other.safetensors")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_rgb_encoder(tmp_path / "list.pt")


class Hostile:
    def __reduce__(self) -> Any:
        return print, ("executed",)


def test_nothing_in_a_checkpoint_executes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Hostile()}, tmp_path / "hostile.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_rgb_encoder(tmp_path / "hostile.pt")
    assert "executed" not in capsys.readouterr().out


def test_the_encoder_can_be_exported_as_a_graph() -> None:
    encoder = untrained_encoder(TINY, seed=0)
    clip = torch.rand(1, 3, 8, 16, 16)
    graph = torch.export.export(encoder, (clip,)).module()
    with torch.no_grad():
        torch.testing.assert_close(graph(clip), encoder(clip))
