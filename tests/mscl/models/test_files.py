"""Encoders in files: checkpoints, exports with their card, released names, and refusals."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mscl.errors import CheckpointError
from mscl.models.config import ModelConfig
from mscl.models.encoders import VideoEncoder, untrained_encoder
from mscl.models.files import ENCODER_PREFIX, RELEASED_PREFIX, read_encoder, write_encoder
from tests.mscl.encoder_inputs import encoder_input

TINY = ModelConfig(rgb_width=0.0625)


def checkpoint(path: Path, encoder: VideoEncoder) -> Path:
    model = {ENCODER_PREFIX + name: t for name, t in encoder.state_dict().items()}
    model["key_rgb.encoder.stem.0.weight"] = torch.zeros(1)
    torch.save({"step": 7, "model": model, "model_config": TINY.model_dump_json()}, path)
    return path


def states_equal(a: VideoEncoder, b: VideoEncoder) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_an_export_holds_the_encoder_and_what_its_videos_go_through(tmp_path: Path) -> None:
    encoder = untrained_encoder(TINY, seed=3)
    encoder.input = encoder_input()
    path = write_encoder(encoder, TINY, tmp_path / "new" / "a.safetensors", card={"lineage": ["abc"], "steps": 7})
    found = read_encoder(path)
    assert states_equal(encoder, found.encoder) and not found.encoder.training
    assert (found.model, found.encoder.input, found.steps) == (TINY, encoder.input, 7)
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()["card"])
    assert card["lineage"] == ["abc"] and card["feature_dim"] == 32 and card["format"] == "mscl-encoder-2"
    assert card["encoder_input"]["recipe"]["gap_frames"] == 1


def test_files_of_older_versions_are_read_and_say_nothing_of_their_videos(tmp_path: Path) -> None:
    encoder = untrained_encoder(TINY, seed=3)
    found = read_encoder(checkpoint(tmp_path / "a.pt", encoder))
    assert states_equal(encoder, found.encoder)
    assert (found.encoder.input, found.crop_px, found.steps) == (None, None, 7)
    card = {"model_config": TINY.model_dump(mode="json"), "feature_dim": 32, "input": "float (B, 3, T, H, W)"}
    weights = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    save_file(weights, tmp_path / "b.safetensors", {"card": json.dumps(card)})
    assert states_equal(encoder, read_encoder(tmp_path / "b.safetensors").encoder)


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    encoder = untrained_encoder(TINY, seed=3)
    path = write_encoder(encoder, TINY, tmp_path / "a.safetensors", card={}).rename(tmp_path / "a.pt")
    assert states_equal(encoder, read_encoder(path).encoder)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("config", [TINY, ModelConfig()])
def test_released_names_round_trip(tmp_path: Path, wrapped: bool, config: ModelConfig) -> None:
    encoder = untrained_encoder(config, seed=1)
    state: dict[str, Any] = {f"recognizer.encoder_q.{name}": t for name, t in encoder.state_dict().items()}
    state |= {"recognizer.encoder_k.stem.0.weight": torch.zeros(1), "recognizer.queue": torch.zeros(4, 8)}
    state |= {"recognizer.encoder_q.fc.weight": torch.zeros(3, 3)}
    torch.save({"state_dict": state, "meta": {"epoch": 3}} if wrapped else state, tmp_path / "epoch_3.pth")
    assert states_equal(encoder, read_encoder(tmp_path / "epoch_3.pth").encoder)


def test_released_names_are_those_of_the_golden_list(shared_dir: Path, tmp_path: Path) -> None:
    listed = json.loads((shared_dir / "golden" / "losses_arch.json").read_text())["rgb_encoder"]["tensors"]
    state: dict[str, Tensor] = {}
    for name, shape in listed:
        dtype = torch.int64 if name.endswith("num_batches_tracked") else torch.float32
        state[f"recognizer.encoder_q.{name}"] = torch.ones(shape, dtype=dtype)
    torch.save({"state_dict": state}, tmp_path / "released.pth")
    encoder = read_encoder(tmp_path / "released.pth").encoder
    assert all(bool((t == 1).all()) for t in encoder.state_dict().values())


def _weights(**changes: Any) -> dict[str, Any]:
    state = {ENCODER_PREFIX + name: t for name, t in untrained_encoder(TINY, seed=0).state_dict().items()}
    return state | {ENCODER_PREFIX + name.replace("__", "."): value for name, value in changes.items()}


def _checkpoint(path: Path, **changes: Any) -> None:
    torch.save({"step": 7, "model": _weights(), "model_config": TINY.model_dump_json()} | changes, path)


def _export(path: Path, card: Any, **weights: Tensor) -> None:
    state = dict(untrained_encoder(TINY, seed=0).state_dict()) | weights
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()},
        path,
        {"card": card if isinstance(card, str) else json.dumps(card)},
    )


NARROW = {"model_config": TINY.model_dump(mode="json")}
STEM = "stem.0.weight"
BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "absent": (lambda path: None, "does not exist; check the path"),
    "folder": (lambda path: path.mkdir(), "is no file"),
    "pipe": (lambda path: os.mkfifo(path), "is no file"),
    "empty": (lambda path: path.touch(), "is damaged: it is empty"),
    "text": (lambda path: path.write_text("no weights at all"), "no PyTorch file of tensors and plain values alone"),
    "list": (lambda path: torch.save([1, 2], path), "holds a list, not a checkpoint"),
    "other keys": (lambda path: torch.save({"epoch": 3}, path), "holds no encoder; give a checkpoint or an export"),
    "number keys": (lambda path: torch.save({3: torch.zeros(1)}, path), "holds another network"),
    "state_dict": (lambda path: torch.save({"state_dict": [1]}, path), "holds a list for a state_dict"),
    "released": (lambda path: torch.save({RELEASED_PREFIX + STEM: "a"}, path), "another architecture"),
    "released width": (
        lambda path: torch.save({RELEASED_PREFIX + STEM: torch.zeros(100000, 1)}, path), "no checkpoint of the released"
    ),
    "pickled network": (lambda path: torch.save(torch.nn.Linear(1, 1), path), "save the state_dict"),
    "weights no dict": (lambda path: _checkpoint(path, model=[1]), "its weights are a list"),
    "no weights": (lambda path: _checkpoint(path, model={}), "another architecture"),
    "no tensor": (lambda path: _checkpoint(path, model=_weights(stem__0__weight="a")), "a str that is no dense tensor"),
    "sparse": (
        lambda path: _checkpoint(path, model=_weights(stem__0__weight=torch.zeros(4, 4).to_sparse())), "no dense tensor"
    ),
    "integers": (
        lambda path: _checkpoint(path, model=_weights(stem__0__weight=torch.ones(4, 3, 3, 7, 7, dtype=torch.int32))),
        "stem.0.weight: file .4, 3, 3, 7, 7. integer, model .4, 3, 3, 7, 7.",
    ),
    "shape": (lambda path: _checkpoint(path, model=_weights(stem__0__weight=torch.ones(4))), "1 of 120 tensors differ"),
    "not finite": (
        lambda path: _checkpoint(path, model=_weights(stem__1__bias=torch.tensor([0, 1, float("nan"), 0.0]))),
        "stem.1.bias is not finite; it comes from a training that diverged",
    ),
    "settings no text": (lambda path: _checkpoint(path, model_config=3), "is no pre-training checkpoint"),
    "settings no JSON": (lambda path: _checkpoint(path, model_config="{"), "is no pre-training checkpoint"),
    "settings deep": (lambda path: _checkpoint(path, model_config="[" * 10**5), "is no pre-training checkpoint"),
    "training settings deep": (lambda path: _checkpoint(path, config="[" * 10**5), "is no pre-training checkpoint"),
    "training settings odd": (lambda path: _checkpoint(path, config="[3]"), "is no pre-training checkpoint"),
    "input odd": (lambda path: _checkpoint(path, encoder_input="{}"), "recipe: Field required"),
    "huge settings": (lambda path: _checkpoint(path, model_config='{"rgb_width": 4}'), "100 of 120 tensors differ"),
    "export without card": (lambda path: save_file({"a": torch.zeros(1)}, path), "it has no 'model_config'"),
    "card no JSON": (lambda path: _export(path, "{"), "cannot be read"),
    "card no object": (lambda path: _export(path, "[3]"), "a list for a card"),
    "card deep": (lambda path: _export(path, "[" * 10**5), "cannot be read"),
    "card odd": (lambda path: _export(path, {"model_config": {"rgb_width": "wide"}}), "rgb_width: Input should be"),
    "card settings odd": (lambda path: _export(path, {"model_config": 3}), "is no encoder exported"),
    "card input odd": (lambda path: _export(path, NARROW | {"encoder_input": []}), "is no encoder exported"),
    "card of tomorrow": (lambda path: _export(path, {"model_config": {"of_tomorrow": 1}}), "newer version made it"),
    "export of others": (lambda path: _export(path, {"model_config": {}}), "another architecture"),
    "export not finite": (
        lambda path: _export(path, NARROW, **{STEM: torch.full((4, 3, 3, 7, 7), float("inf"))}), "is not finite"
    ),
    "classifier": (lambda path: _export(path, {"format": "mscl-classifier-2"}), "holds a classifier; for an encoder"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_encoder_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    write, says = BAD[kind]
    path = tmp_path / ("given.safetensors" if "card" in kind or "export" in kind else "given.pt")
    write(path)
    with pytest.raises(CheckpointError, match=says) as error:
        read_encoder(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    assert "weights_only" not in message and "trust" not in message and len(message) < 600


class Hostile:
    def __reduce__(self) -> Any:
        return print, ("executed",)


def test_nothing_in_a_checkpoint_executes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Hostile()}, tmp_path / "hostile.pt")
    with pytest.raises(CheckpointError, match="no PyTorch file of tensors and plain values alone"):
        read_encoder(tmp_path / "hostile.pt")
    assert "executed" not in capsys.readouterr().out
