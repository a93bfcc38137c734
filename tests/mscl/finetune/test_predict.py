"""Predictions for video files, and where the classifier looks."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from mscl.demo.dataset import encode_h264
from mscl.errors import AssumptionWarning, CheckpointError, UserError
from mscl.finetune.classifier import Classifier, Trained, load_classifier, save_classifier
from mscl.finetune.config import FinetuneConfig
from mscl.finetune.predict import explain, grad_cam, predict_videos
from mscl.models.clip_contract import Contract
from mscl.models.config import ModelConfig
from mscl.models.encoders import untrained_encoder
from mscl.models.weight_files import write_safetensors
from mscl.video.file_clips import file_clips
from tests.mscl.encoder_inputs import encoder_input

TINY = ModelConfig(rgb_width=0.0625)
CONFIG = FinetuneConfig(frames=4, test_crop_px=24, test_clips=2)
INPUT = CONFIG.test_input(encoder_input(gap_frames=2).recipe, max_segment_seconds=1.0, cuts="ignore")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The second is broken; they have two segments."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    for path, scale in ((paths[0], 4), (paths[2], 5)):
        frames = (np.full((32, 48, 3), 20 + scale * number, np.uint8) for number in range(40))
        encode_h264(path, frames, fps=25, height=32, width=48)
    paths[1].write_bytes(b"no video at all")
    return paths


@pytest.fixture
def trained() -> Trained:
    torch.manual_seed(0)
    classifier = Classifier(untrained_encoder(TINY, seed=0), 7, dropout=0.5).eval()
    with torch.no_grad():
        classifier.head.weight.mul_(100)  # to tell clips apart
    return Trained(classifier, tuple("abcdefg"), CONFIG, INPUT)


def test_predict_goes_on_after_a_bad_video(trained: Trained, videos: list[Path]) -> None:
    first, broken, last = predict_videos(trained, videos, best=3)
    assert broken.failed and broken.video == videos[1]
    for prediction in (first, last):
        assert len(prediction.classes) == 3
        assert list(prediction.probabilities) == sorted(prediction.probabilities, reverse=True)
    everything = next(predict_videos(trained, videos[:1], best=50))
    assert sum(everything.probabilities) == pytest.approx(1, abs=1e-5)


def test_a_long_video_has_the_mean_probabilities_of_its_segments(trained: Trained, videos: list[Path]) -> None:
    segments = [torch.from_numpy(clips)[None] for clips in file_clips(videos[0], INPUT)]
    assert [tuple(clips.shape[:3]) for clips in segments] == [(1, 2, 4)] * 2
    each = [trained.classifier.probabilities(clips)[0] for clips in segments]
    assert (each[0] - each[1]).abs().max() > 1e-3
    (said,) = predict_videos(trained, videos[:1], best=7)
    by_class = dict(zip(said.classes, said.probabilities, strict=True))
    np.testing.assert_allclose([by_class[name] for name in "abcdefg"], torch.stack(each).mean(dim=0), atol=1e-6)


def test_the_clip_that_is_shown_is_the_middle_one_with_its_flow(trained: Trained, videos: list[Path]) -> None:
    shown = explain(trained, videos[0])
    assert shown.clip_THW3.shape == (4, 24, 24, 3)
    assert shown.heat_THW is not None and shown.heat_THW.shape == (4, 24, 24)
    assert shown.flow_THW2 is not None and shown.flow_THW2.shape == (4, 24, 24, 2)


def test_grad_cam_points_at_what_the_class_depends_on(trained: Trained) -> None:
    clip = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    for level in ("L2", "L3", "L4"):
        heat = grad_cam(trained.classifier, clip, label=2, level=level)
        assert heat.shape == (8, 32, 32)
        assert heat.min() >= 0 and heat.max() <= 1
    with pytest.raises(ValueError, match="L9"):
        grad_cam(trained.classifier, clip, level="L9")
    assert all(parameter.grad is None for parameter in trained.classifier.parameters())
    assert not trained.classifier.training


def test_a_classifier_s_file_says_what_its_videos_went_through(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, trained.classifier, classes=trained.classes, model=TINY, finetune=CONFIG, encoder_input=INPUT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_classifier(path)
    assert (loaded.input, loaded.classes, loaded.finetune) == (INPUT, trained.classes, CONFIG)


def test_what_is_assumed_of_an_older_classifier_is_said(trained: Trained, tmp_path: Path) -> None:
    """Format 1 had JSON texts in its metadata, and less and less of the recipe the older it was."""
    card = {
        "format": "mscl-classifier-1", "classes": json.dumps(trained.classes), "model": TINY.model_dump_json(),
        "finetune": CONFIG.model_dump_json(), "source": json.dumps({"gap_frames": 1, "stored_px": 64}),
    }  # fmt: skip
    write_safetensors(tmp_path / "old.safetensors", trained.classifier.state_dict(), card)
    says = "assumed: span_frames 8, computed_px 256, jpeg_quality 90, max_segment_seconds 10.0"
    with pytest.warns(AssumptionWarning, match=f"old.safetensors does not say all .*; {says}. Fine-tune again"):
        loaded = load_classifier(tmp_path / "old.safetensors")
    recipe = loaded.input.recipe
    assert (recipe.gap_frames, recipe.span_frames, recipe.stored_px) == (1, 8, 64)


@pytest.mark.parametrize(
    ("own_code", "says"),
    [(True, "^nosuch:net: there is no module 'nosuch'"), (False, "^the network in .* is built by")],
)
def test_what_a_sound_classifier_lacks_here_is_not_said_of_its_file(
    trained: Trained, tmp_path: Path, own_code: bool, says: str
) -> None:
    card = {
        "format": "mscl-classifier-2", "classes": ["a", "b"], "finetune": CONFIG.model_dump(mode="json"),
        "origin": {"kind": "function", "name": "nosuch:net"}, "encoder_input": INPUT.model_dump(mode="json"),
        "contract": Contract.of_clips(length=4, step_frames=1, crop_px=16).model_dump(mode="json"),
    }  # fmt: skip
    write_safetensors(tmp_path / "own.safetensors", trained.classifier.state_dict(), card)
    with pytest.raises(UserError, match=says):
        load_classifier(tmp_path / "own.safetensors", own_code=own_code)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": None}, "is no classifier of this program"),
        ({"finetune": {"frames": 0}}, "is no classifier of this program"),
        ({"finetune": {"of_tomorrow": 1}}, "does not know: of_tomorrow; a newer version made it, so update"),
        ({"model": [[[]]]}, "is no classifier of this program"),
        ({"encoder_input": {}}, "is no classifier of this program"),
        ({"model": ModelConfig().model_dump()}, "of another architecture"),
        ({"classes": ["a"]}, "of another architecture"),
        ({"format": "mscl-classifier-9"}, "holds 'mscl-classifier-9', not 'mscl-classifier-2'"),
    ],
)
def test_a_bad_card_is_one_line(trained: Trained, tmp_path: Path, changes: dict[str, object], says: str) -> None:
    card = {
        "format": "mscl-classifier-2", "classes": list("abcdefg"), "model": TINY.model_dump(mode="json"),
        "finetune": CONFIG.model_dump(mode="json"), "encoder_input": INPUT.model_dump(mode="json"),
    }  # fmt: skip
    write_safetensors(tmp_path / "bad.safetensors", trained.classifier.state_dict(), card | changes)
    with pytest.raises(CheckpointError, match=says) as error:
        load_classifier(tmp_path / "bad.safetensors")
    assert "bad.safetensors" in str(error.value) and "\n" not in str(error.value)
