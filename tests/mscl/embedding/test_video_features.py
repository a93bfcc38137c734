"""Embedding video files: what the encoder says of its videos is done, and what else is done is said."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mscl
from mscl.demo.dataset import encode_h264
from mscl.embedding.export import export_encoder
from mscl.errors import AssumptionWarning, ConfigError, DataError, UserError
from mscl.models.config import ModelConfig
from mscl.models.encoders import VideoEncoder, untrained_encoder
from mscl.models.files import ENCODER_PREFIX, write_encoder
from mscl.video.config import ClipConfig
from mscl.video.file_clips import file_clips
from mscl.video.frame_recipe import EncoderInput
from mscl.video.normalise import normalise_rgb
from storage.workspace import Workspace
from tests.mscl.encoder_inputs import encoder_input
from tests.mscl.written_videos import write_frames

TINY = ModelConfig(rgb_width=0.0625)
INPUT = encoder_input(clips=2, stride=2, stored_px=32, computed_px=48, max_segment_seconds=0.8)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Textures that move; the second is broken, the last has two segments."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    for path, frames in ((paths[0], 20), (paths[2], 37)):
        texture = np.random.default_rng(frames).integers(0, 255, (12, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        encode_h264(path, (np.roll(texture, 2 * n, 1) for n in range(frames)), fps=25, height=48, width=64)
    paths[1].write_bytes(b"no video at all")
    return paths


@pytest.fixture
def encoder() -> VideoEncoder:
    """Says what its videos went through."""
    made = untrained_encoder(TINY, seed=0)
    made.input = INPUT
    return made


def mean_over_clips(encoder: VideoEncoder, video: Path, settings: EncoderInput) -> Any:
    clips_NTHW3 = np.concatenate(list(file_clips(video, settings)))  # as many of each segment
    with torch.no_grad():
        return encoder(normalise_rgb(torch.from_numpy(clips_NTHW3))).mean(dim=0).numpy()


def test_nothing_but_videos_and_encoder_is_needed(encoder: VideoEncoder, videos: list[Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = mscl.embed(videos, encoder)
    assert result.videos == [videos[0], videos[2]]
    assert list(result.failed) == [videos[1]]
    one = mscl.embed(str(videos[0]), encoder)  # a name is no list of its letters
    assert one.videos == videos[:1] and not one.failed
    for row, video in enumerate(result.videos):
        expected = mean_over_clips(encoder, video, INPUT)
        np.testing.assert_allclose(result.features_ND[row], expected, rtol=1e-4, atol=1e-5)
    assert mscl.embed([videos[1]], encoder).features_ND.shape == (0, encoder.feature_dim)


def test_a_video_that_is_cut_short_is_embedded_and_said(encoder: VideoEncoder, videos: list[Path]) -> None:
    cut, short = (videos[0].parent / name for name in ("cut.mkv", "short.mp4"))
    frames = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8)
    whole = write_frames(cut, frames).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    write_frames(short, frames[:5])
    with pytest.warns(AssumptionWarning) as said:
        result = mscl.embed([cut, videos[0], short], encoder)
    assert result.videos == [cut, videos[0], short]
    assert sorted(str(one.message).partition(" is used as far as it goes: ")[::2] for one in said) == [
        (str(cut), "the container promises 0.80 s and holds 0.40 s"),
        (str(short), "1 of 1 segments are shorter than a clip, which takes 7 frames 1 apart: clips of them begin again "
         "at the first frame"),
    ]  # fmt: skip


def test_what_contradicts_the_encoder_is_done_and_said_with_both_values(
    encoder: VideoEncoder, videos: list[Path]
) -> None:
    settings = encoder_input(clips=3, stride=1, stored_px=32, computed_px=48, max_segment_seconds=0.8, gap_frames=2)
    with pytest.warns(AssumptionWarning) as said:
        result = mscl.embed(videos[:1], encoder, clips=3, clip=ClipConfig(length=4, stride=1), gap_frames=2)
    assert [str(one.message) for one in said] == [
        "embedding with gap_frames 2, clip.stride 1; the encoder was trained with gap_frames 1, clip.stride 2"
    ]
    assert said[0].filename == __file__
    expected = mean_over_clips(encoder, videos[0], settings)
    np.testing.assert_allclose(result.features_ND[0], expected, rtol=1e-4, atol=1e-5)
    with warnings.catch_warnings():  # the same as the encoder says, and how many views: no contradiction
        warnings.simplefilter("error")
        mscl.embed(videos[:1], encoder, recipe=INPUT.recipe, clip=INPUT.clip, crop_px=24, crops=3)


def test_an_encoder_that_says_nothing_is_embedded_with_the_paper_s_settings_and_they_are_said(
    videos: list[Path],
) -> None:
    encoder = untrained_encoder(TINY, seed=0)
    assert encoder.recipe is None and encoder.clip is None
    with pytest.warns(AssumptionWarning, match=r"assumed: gap_frames 2, span_frames 8, computed_px 256, stored_px 128, "
                      r"jpeg_quality 90, clip\.length 8, clip\.stride 8, crop_px 112$"):  # fmt: skip
        mscl.embed(videos[:1], encoder, clips=1)
    with pytest.warns(AssumptionWarning, match=r"assumed: span_frames 8, computed_px 256, jpeg_quality 90$"):
        mscl.embed(videos[:1], encoder, clip=INPUT.clip, crop_px=24, gap_frames=1, stored_px=32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mscl.embed(videos[:1], encoder, recipe=INPUT.recipe, clip=INPUT.clip, crop_px=24)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"gap": 2}, "gap: Extra inputs are not permitted .given 2.; of the frames it takes gap_frames, span_frames"),
        ({"gap_frames": 0}, "gap_frames: Input should be greater than or equal to 1 .given 0."),
        ({"crops": 2}, "crops: Input should be 1 or 3 .given 2."),
        ({"precision": "fp64"}, "precision 'fp64'; give one of auto, fp32"),
        ({"recipe": {"gap_frames": 2}}, "recipe is a dict; give an mscl.FrameRecipe"),
        ({"limits": {"max_frames": 9}}, "limits is a dict; give a mscl.config.DecodeLimits"),
    ],
)
def test_a_wrong_setting_is_named(encoder: VideoEncoder, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"mscl.embed: {says}"):
        mscl.embed([], encoder, **wrong)
    with pytest.raises(UserError, match="the encoder is a str; give what mscl.load_encoder returns"):
        mscl.embed([], "encoder.safetensors")  # type: ignore[arg-type]


def test_the_caller_s_encoder_comes_back_as_it_was(videos: list[Path]) -> None:
    encoder = untrained_encoder(ModelConfig(), seed=0).train()
    encoder.layer2.eval()  # frozen by its owner
    encoder.stem[0].weight.requires_grad_(False)
    encoder.input = encoder_input(crop_px=16, length=2)
    tensors = {name: (tensor, tensor.data_ptr(), tensor.stride()) for name, tensor in encoder.state_dict().items()}
    values = {name: tensor.clone() for name, (tensor, _, _) in tensors.items()}
    modes = [module.training for module in encoder.modules()]
    for paths in (videos[:1], [videos[1]]):
        mscl.embed(paths, encoder)
    with pytest.raises(TypeError):
        mscl.embed([None], encoder)  # type: ignore[list-item]
    for name, now in encoder.state_dict().items():
        assert (now.data_ptr(), now.stride()) == tensors[name][1:], name
        assert torch.equal(now, values[name]), name
    assert [module.training for module in encoder.modules()] == modes
    assert [name for name, parameter in encoder.named_parameters() if not parameter.requires_grad] == ["stem.0.weight"]
    assert not any(parameter.is_inference() for parameter in encoder.parameters())


@pytest.mark.parametrize(("dtype", "near"), [(torch.float16, 0.01), (torch.bfloat16, 0.05), (torch.float64, 1e-4)])
def test_an_encoder_of_another_float_type_embeds_in_it(
    encoder: VideoEncoder, videos: list[Path], dtype: torch.dtype, near: float
) -> None:
    wanted = mscl.embed(videos[:1], encoder).features_ND
    found = mscl.embed(videos[:1], encoder.to(dtype)).features_ND
    assert found.dtype == np.float32 and encoder.stem[0].weight.dtype == dtype
    np.testing.assert_allclose(found, wanted, atol=near * np.abs(wanted).max())


def test_a_damaged_encoder_is_an_error(encoder: VideoEncoder, videos: list[Path]) -> None:
    with torch.no_grad():
        encoder.layer4[0].conv1[0].weight.fill_(float("nan"))
    with pytest.raises(DataError, match="a.mp4 are not finite"):
        mscl.embed(videos[:1], encoder)


def test_an_exported_encoder_says_what_its_videos_went_through(encoder: VideoEncoder, tmp_path: Path) -> None:
    path = write_encoder(encoder, TINY, tmp_path / "encoder.safetensors", card={})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = mscl.load_encoder(str(path))
    assert loaded.input == INPUT
    assert loaded.recipe == INPUT.recipe and loaded.clip == ClipConfig(length=4, stride=2)


def test_a_training_does_not_say_how_videos_were_embedded(encoder: VideoEncoder, tmp_path: Path) -> None:
    encoder.input = INPUT.model_copy(update={"of_training": True})
    path = write_encoder(encoder, TINY, tmp_path / "encoder.safetensors", card={})
    with pytest.warns(AssumptionWarning) as said:
        loaded = mscl.load_encoder(path)
    assert str(said[0].message).startswith(
        f"{path} says how the videos of its training were prepared, not how they were embedded; assumed: "
        f"clips {INPUT.clips}, crop_px {INPUT.crop_px}, crops 1. "
    )
    assert said[0].filename == __file__
    assert loaded.recipe == INPUT.recipe  # what it does say goes along
    with pytest.warns(AssumptionWarning, match="not how they were embedded"):
        export_encoder(str(path), tmp_path / "again.safetensors", workspace=Workspace(tmp_path / "workspace"))
    with pytest.warns(AssumptionWarning, match="not how they were embedded"):  # and stays an assumption
        mscl.load_encoder(tmp_path / "again.safetensors")


def test_what_is_assumed_of_an_older_checkpoint_is_said(encoder: VideoEncoder, tmp_path: Path) -> None:
    state = {ENCODER_PREFIX + name: tensor for name, tensor in encoder.state_dict().items()}
    old = {"step": 3, "model": state, "model_config": TINY.model_dump_json(), "config": '{"augment": {"crop_px": 40}}'}
    torch.save(old, tmp_path / "old.pt")
    with pytest.warns(AssumptionWarning) as said:
        loaded = mscl.load_encoder(tmp_path / "old.pt")
    assert str(said[0].message) == (
        f"{tmp_path / 'old.pt'} does not say how the videos of its training were prepared; assumed: gap_frames 2, "
        "span_frames 8, computed_px 256, stored_px 128, jpeg_quality 90, clip.length 8, clip.stride 8, "
        "max_segment_seconds 10.0, cuts split, clips 10, crop_px 40, crops 1. Give mscl.embed what differs"
    )
    assert said[0].filename == __file__
    assert loaded.recipe is not None and loaded.recipe.gap_frames == 2
