"""Embedding, searching and classifying video files that are in no store."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
import torch

import mscl
from mscl.config import ClipConfig, DecodeLimits, FinetuneConfig, ModelConfig
from mscl.demo.dataset import encode_h264
from mscl.errors import DataError
from mscl.finetune.classifier import Classifier, Trained
from mscl.finetune.predict import grad_cam, predict_videos
from mscl.models.encoders import untrained_encoder
from mscl.video import file_clips as video_files
from mscl.video.decoding import decode, shrunk, stored_size
from mscl.video.file_clips import each_file, file_clips
from storage.features import Features
from storage.frame_store import encode_jpeg

TINY = ModelConfig(rgb_width=0.0625)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three videos whose frame number is their brightness; the second is broken."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    for path, scale in ((paths[0], 4), (paths[2], 5)):
        frames = (np.full((32, 48, 3), 20 + scale * number, np.uint8) for number in range(40))
        encode_h264(path, frames, fps=25, height=32, width=48)
    paths[1].write_bytes(b"no video at all")
    return paths


def test_clips_hold_every_second_frame_in_order(videos: list[Path]) -> None:
    clips = file_clips(videos[0], clips=1, length=4, stride=3, gap_frames=2, crop_px=24)
    assert clips.shape == (1, 4, 24, 24, 3)
    # 20 indices; a clip spans 10, so it starts at 5 and reads 5, 8, 11, 14, that is frames 10, 16, 22, 28.
    expected = 20 + 4 * np.array([10, 16, 22, 28])
    np.testing.assert_allclose(clips[0].mean(axis=(1, 2, 3)), expected, atol=4)


def test_frames_are_those_that_extraction_would_store(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    draws = np.random.default_rng(0)
    encode_h264(path, (draws.integers(0, 255, (60, 80, 3), np.uint8) for _ in range(9)), fps=25, height=60, width=80)
    clip = file_clips(
        path, clips=1, length=4, stride=2, gap_frames=1, crop_px=16, short_side_px=16, stored_px=16, computed_px=32,
        jpeg_quality=75,
    )[0]  # fmt: skip
    # 43 x 32 px at first: stored with the video's own aspect it is 21 px wide, with that of the copy it would be 22.
    height, width = stored_size(60, 80, 16)
    assert (height, width) == (16, 21)
    frames = list(decode(path, limits=DecodeLimits(), short_side=32))
    assert frames[0].shape == (32, 43, 3)
    small = [shrunk(frame, height, width) for frame in frames]
    averaged = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    assert np.abs(np.stack(small).astype(float) - np.stack(averaged)).mean() < 5  # noise of 74 grey levels; no alias
    stored = [simplejpeg.decode_jpeg(encode_jpeg(frame, quality=75), colorspace="RGB") for frame in small]
    # Nine indices: a clip of four, two apart, starts at 1; its centre is cut from columns 2 or 3 on.
    expected = [[stored[index][:, left : left + 16] for index in (1, 3, 5, 7)] for left in (2, 3)]
    assert any(np.array_equal(clip, np.stack(one)) for one in expected)


def test_long_videos_give_the_same_clips(videos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"clips": 3, "length": 4, "stride": 2, "gap_frames": 1, "crop_px": 24}
    whole = file_clips(videos[0], **settings)
    for kept in (7, 40):
        monkeypatch.setattr(video_files, "_KEPT_FRAMES", kept)
        np.testing.assert_array_equal(file_clips(videos[0], **settings), whole)


def test_a_bad_file_comes_as_its_error_and_the_others_go_on(videos: list[Path]) -> None:
    found = list(each_file(videos, lambda path: file_clips(path, clips=1, length=2, stride=1, gap_frames=1, crop_px=8)))
    assert [path for path, _ in found] == videos
    assert [isinstance(value, Exception) for _, value in found] == [False, True, False]


def test_embed_gives_the_mean_over_clips_and_names_what_failed(videos: list[Path]) -> None:
    from mscl.video.normalise import normalise_rgb

    encoder = untrained_encoder(TINY, seed=0)
    clip = ClipConfig(length=4, stride=1)
    result = mscl.embed(videos, encoder, clips=2, clip=clip, gap_frames=1, crop_px=24)
    assert result.videos == [videos[0], videos[2]]
    assert list(result.failed) == [videos[1]]
    cut = file_clips(videos[2], clips=2, length=4, stride=1, gap_frames=1, span_frames=8, crop_px=24)
    with torch.no_grad():
        expected = encoder(normalise_rgb(torch.from_numpy(cut))).mean(dim=0).numpy()
    np.testing.assert_allclose(result.features_ND[1], expected, rtol=1e-4, atol=1e-5)
    assert mscl.embed([videos[1]], encoder).features_ND.shape == (0, encoder.feature_dim)


def test_search_finds_the_segment_itself_first() -> None:
    features = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    index = Features([f"v{i}" for i in range(20)], np.arange(20) % 3, ["train"] * 20, features, {})
    found = mscl.search(features[[4, 9]], index, k=3)
    assert [row[0].segment_id for row in found] == ["v4", "v9"]
    assert found[0][0].similarity == pytest.approx(1, abs=1e-5)
    assert len(found[0]) == 3
    with pytest.raises(DataError, match="5 features, the index 6"):
        mscl.search(features[:1, :5], index)


def _trained() -> Trained:
    torch.manual_seed(0)
    config = FinetuneConfig(frames=4, test_crop_px=24, test_clips=2)
    classifier = Classifier(untrained_encoder(TINY, seed=0), 7, dropout=0.5).eval()
    return Trained(classifier, tuple("abcdefg"), config, {"gap_frames": 2})


def test_predict_goes_on_after_a_bad_video(videos: list[Path]) -> None:
    first, broken, last = predict_videos(_trained(), videos, best=3)
    assert broken.failed and broken.video == videos[1]
    for prediction in (first, last):
        assert len(prediction.classes) == 3
        assert list(prediction.probabilities) == sorted(prediction.probabilities, reverse=True)
    everything = next(predict_videos(_trained(), videos[:1], best=50))
    assert sum(everything.probabilities) == pytest.approx(1, abs=1e-5)


def test_grad_cam_points_at_what_the_class_depends_on() -> None:
    trained = _trained()
    clip = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    for level in ("L2", "L3", "L4"):
        heat = grad_cam(trained.classifier, clip, label=2, level=level)
        assert heat.shape == (8, 32, 32)
        assert heat.min() >= 0 and heat.max() <= 1
    with pytest.raises(ValueError, match="L9"):
        grad_cam(trained.classifier, clip, level="L9")
    assert all(parameter.grad is None for parameter in trained.classifier.parameters())
    assert not trained.classifier.training


def test_import_is_light() -> None:
    code = "import sys, mscl; assert 'torch' not in sys.modules; mscl.Workspace; mscl.embed; print(dir(mscl)[-1])"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    with pytest.raises(AttributeError, match="no attribute 'emded'"):
        mscl.emded  # noqa: B018
