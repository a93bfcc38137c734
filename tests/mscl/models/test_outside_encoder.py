"""Encoders of other programs: their own features behind our normalisation, their files, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torchvision.models import get_model, get_model_weights

import mscl
from mscl.config import load_config
from mscl.errors import AssumptionWarning, CheckpointError, UserError
from mscl.models.clip_contract import Contract
from mscl.models.external_encoder import external_encoder_digest, named_file
from mscl.models.files import EncoderFile, read_encoder, write_encoder
from mscl.models.outside_encoder import ClipSettings, Origin, OutsideEncoder, build_outside, check_clip
from mscl.models.torchvision_networks import torchvision_origin
from mscl.models.transformers_networks import TransformersNetwork
from mscl.models.weight_files import read_safetensors, write_safetensors
from mscl.pretrain.preflight import preflight
from mscl.video.config import IMAGENET_MEAN, IMAGENET_STD
from tests.mscl.models.small_transformers import small_network
from tests.mscl.written_videos import write_frames

OWN = "tests.mscl.models.own_networks:means"


def channels(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(3, 1, 1, 1)


def ours(picture: Tensor) -> Tensor:
    """As our loaders normalise."""
    return (picture - channels(IMAGENET_MEAN)) / channels(IMAGENET_STD)


def outside(name: str) -> OutsideEncoder:
    encoder = named_file(name).encoder
    assert isinstance(encoder, OutsideEncoder)
    return encoder


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18", "swin3d_t"])
def test_torchvisions_networks_by_their_weights(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    theirs = get_model(name, weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    encoder = outside(str(tmp_path / "w.pth"))
    assert encoder.origin.name == name and not encoder.training
    preset = get_model_weights(name).DEFAULT.transforms()
    picture = torch.rand(1, 3, 4, 32, 32)
    head = next(h for h in ("fc", "classifier", "head") if hasattr(theirs, h))
    setattr(theirs, head, torch.nn.Identity())
    with torch.inference_mode():
        expected = theirs((picture - channels(preset.mean)) / channels(preset.std))
        features, tokens = encoder(ours(picture)), encoder.tokens(ours(picture))
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4)
    assert features.shape == (1, encoder.feature_dim) and tokens.shape[::2] == (1, encoder.feature_dim)
    torch.testing.assert_close(tokens.mean(dim=1), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "tokens", "says"),
    [
        ("mvit_v2_s", 8 * 7 * 7, r"of 16 frames of 224 px and no others, .* 8 frames of 112 px; set a=16 b=224"),
        ("s3d", 2 * 7 * 7, r"of at least 14 frames of at least 224 px .* 8 frames of 112 px; set a=128 b=224"),
    ],
)
def test_torchvisions_networks_that_take_no_small_clips(name: str, tokens: int, says: str) -> None:
    encoder = build_outside(*torchvision_origin(name))
    with pytest.raises(UserError, match=says):
        check_clip(encoder, frames=8, crop_px=112, settings=ClipSettings("a", "b"))
    encoder, clip = encoder.to("meta"), torch.rand(1, 3, 16, 224, 224, device="meta")
    assert encoder(clip).shape == (1, encoder.feature_dim)
    assert encoder.tokens(clip).shape == (1, tokens, encoder.feature_dim)


@pytest.mark.parametrize("kind", ["videomae", "vjepa2", "timesformer"])
def test_video_encoders_of_transformers_out_of_a_folder(tmp_path: Path, kind: str) -> None:
    theirs = small_network(kind)
    folder = tmp_path / "model"
    theirs.save_pretrained(folder)
    with pytest.warns(AssumptionWarning, match="does not say with which mean"):
        outside(str(folder))
    before = external_encoder_digest(str(folder))
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.2, 0.25]}')
    encoder = outside(str(folder))
    assert external_encoder_digest(str(folder)) != before
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json cannot be used"):
        (folder / "video_preprocessor_config.json").write_text('{"image_mean": [0.5], "image_std": [0.2]}')
        outside(str(folder))
    (folder / "video_preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_normalize": false}'
    )
    assert outside(str(folder)).contract.std == (1, 1, 1)
    (folder / "video_preprocessor_config.json").unlink()
    picture = torch.rand(2, 3, 4, 16, 16)
    clip = ((picture - 0.5) / channels([0.25, 0.2, 0.25])).transpose(1, 2)
    with torch.inference_mode():
        last = theirs(clip, skip_predictor=True) if kind == "vjepa2" else theirs(clip)
        tokens = last.last_hidden_state
        expected = tokens[:, 0] if kind == "timesformer" else tokens.mean(dim=1)
        torch.testing.assert_close(encoder(ours(picture)), expected, rtol=1e-4, atol=1e-5)
    # In a file of ours it is the same, and says the same of its videos.
    path = write_encoder(encoder, None, tmp_path / "a.safetensors", card={})
    again = read_encoder(path).encoder
    assert again.input == encoder.input and again.feature_dim == 24
    with torch.inference_mode():
        torch.testing.assert_close(again(ours(picture)), encoder(ours(picture)), rtol=0, atol=0)
        one, other = (read_encoder(path).untrained(seed=3)(ours(picture)) for _ in range(2))
        assert torch.equal(one, other) and not torch.allclose(one, again(ours(picture)))
        longer = torch.rand(1, 3, 8, 16, 16)
        if kind != "videomae":
            assert torch.isfinite(encoder(longer)).all()
    wanted = r"clip\.length=4 embed\.crop_px=16" if kind == "videomae" else r"embed\.crop_px=16"
    overrides = [f"pretrain.encoder={folder}", "finetune.enabled=false"]
    with pytest.raises(UserError, match=f"and no others, .*; set {wanted}"):
        preflight(load_config("demo", overrides), {})
    preflight(load_config("demo", [*overrides, "clip.length=4", "embed.crop_px=16"]), {})


@pytest.mark.parametrize("frames", [2, 6, 8])
def test_timesformer_reads_other_clips_as_one_that_was_made_for_them(frames: int) -> None:
    """It took places for times, where the tokens of another number of frames divide, and was a traceback else."""
    network = TransformersNetwork(small_network("timesformer"), "timesformer")
    other = small_network("timesformer", num_frames=frames)
    weights = dict(network.network.state_dict())
    times_1TC = weights["embeddings.time_embeddings"].normal_()
    times_1CT = torch.nn.functional.interpolate(times_1TC.transpose(1, 2), size=frames, mode="nearest")
    other.load_state_dict(weights | {"embeddings.time_embeddings": times_1CT.transpose(1, 2)})
    clip = torch.rand(2, 3, frames, 16, 16)
    with torch.inference_mode():
        expected = other(clip.transpose(1, 2)).last_hidden_state
        torch.testing.assert_close(network.tokens(clip), expected[:, 1:], rtol=1e-4, atol=1e-5)


def test_frames_that_a_network_would_leave_out_are_refused() -> None:
    network = small_network("vjepa2")
    origin = Origin(kind="transformers", name="vjepa2", config=network.config.to_dict())
    encoder = OutsideEncoder(
        TransformersNetwork(network, "vjepa2"), origin, Contract.of_clips(length=4, step_frames=4, crop_px=16)
    )
    settings = ClipSettings("clip.length", "embed.crop_px")
    with pytest.raises(UserError, match=r"vjepa2 reads 2 frames .* the last 1 of 5; set clip\.length=4"):
        check_clip(encoder, frames=5, crop_px=16, settings=settings)
    for frames in (1, 2, 6):
        check_clip(encoder, frames=frames, crop_px=16, settings=settings)


def test_a_folder_that_lacks_weights_or_is_another_model(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    small_network("videomae").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop(next(name for name in weights if "layer.1" in name))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 of the encoder's tensors .*layer.1"):
        named_file(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="is a 'bert' of transformers, and .* videomae, vjepa2, timesformer"):
        named_file(str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"is no model of transformers: config\.json cannot be used"):
        named_file(str(tmp_path))


def test_without_transformers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "videomae"}')
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'mscl-pipeline\[transformers\]'"):
        named_file(str(tmp_path))


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    encoder = outside(OWN)
    assert external_encoder_digest(OWN) == external_encoder_digest(OWN)
    picture = torch.rand(2, 3, 4, 16, 16)
    with torch.inference_mode():
        maps = encoder.network.network((picture - 0.5) / 0.25)
        torch.testing.assert_close(encoder(ours(picture)), maps.mean(dim=(2, 3, 4)), rtol=1e-4, atol=1e-5)
    assert encoder.tokens(ours(picture)).shape == (2, 4 * 16 * 16, 6)
    path = write_encoder(encoder, None, tmp_path / "own.safetensors", card={})
    with pytest.raises(CheckpointError, match="code of somebody's own, .*own_code=True"):
        read_encoder(path)
    again = read_encoder(path, own_code=True).encoder
    with torch.inference_mode():
        torch.testing.assert_close(again(ours(picture)), encoder(ours(picture)), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:f", "there is no module 'no_such_module' to import"),
        ("tests.mscl.models.own_networks:absent", "has no attribute 'absent'"),
        ("tests.mscl.models.own_networks:no_network", "gives a int; it is to give a torch.nn.Module"),
        ("torch.nn:Identity", "does not say what its videos go through"),
        ("tests.mscl.models.own_networks:a_row_a_frame", r"gives \(4, 3\) of 1 clip; the first number is to be 1"),
        ("tests.mscl.models.own_networks:whole_numbers", r"gives torch\.int64; it is to give floating point numbers"),
    ],
)
def test_a_function_that_cannot_be_used_is_one_line(name: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as refused:
        named_file(name)
    assert "\n" not in str(refused.value)


def test_rows_of_other_clips_are_not_taken_for_a_clips_own() -> None:
    encoder = outside("tests.mscl.models.own_networks:one_row")
    with pytest.raises(UserError, match=r"own_networks:one_row gives \(1, 3\) of 2 clips; the first number is to be 2"):
        encoder(torch.rand(2, 3, 4, 16, 16))


@pytest.mark.parametrize("function", ["learnt", "kept"])
def test_the_untrained_control_of_a_function_has_not_the_weights_that_it_loads(function: str) -> None:
    encoder = outside(f"tests.mscl.models.own_networks:{function}")
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    one, other = (EncoderFile(encoder, None).untrained(seed=seed) for seed in (3, 3))
    drawn, again = one.state_dict(), other.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert all(torch.equal(tensor, again[name]) for name, tensor in drawn.items()), "one seed, one network"
    same = {name.rpartition("network.")[2] for name, tensor in drawn.items() if torch.equal(tensor, before[name])}
    assert same <= {"table", "norm.bias", "norm.running_var", "norm.num_batches_tracked"}
    assert not drawn["network.network.norm.running_mean"].any()
    assert sorted(drawn["network.network.place"].flatten()) == sorted(before["network.network.place"].flatten())


def test_a_network_without_anything_learnt_embeds(tmp_path: Path) -> None:
    encoder = outside("tests.mscl.models.own_networks:colours")
    assert mscl.embed(write_frames(tmp_path / "a.mp4"), encoder).features_ND.shape == (1, 3)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}, "are not those of pictures in 0..1; divide"),
        ({"std": (0.0, 0.2, 0.2)}, "are not those of pictures in 0..1"),
        ({"frames": (8, 16)}, "its own clips have 4 frames, and it takes 8 to 16"),
        ({"px": (32, None)}, "its own clips have 16 px, and it takes 32 to any"),
        ({"short_side_px": 12}, "crops of 16 px are larger than the short side of pictures, 12"),
    ],
)
def test_a_contract_that_cannot_be_kept_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Contract.of_clips(**{"length": 4, "step_frames": 1, "crop_px": 16} | settings)


def test_a_card_of_a_newer_version_is_one_line(tmp_path: Path) -> None:
    encoder = outside(OWN)
    path = write_encoder(encoder, None, tmp_path / "a.safetensors", card={})
    tensors, card = read_safetensors(path)
    write_safetensors(path, tensors, card | {"format": "mscl-outside-encoder-9"})
    with pytest.raises(CheckpointError, match="format 'mscl-outside-encoder-9'.*update mscl-pipeline"):
        read_encoder(path, own_code=True)
