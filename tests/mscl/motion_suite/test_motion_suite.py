"""The motion suite as a tool: what an encoder's scores say, encoders by every name, and those that do not fit."""

import json
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from mscl.config import ClipConfig
from mscl.demo.parts import PARTS
from mscl.embedding.encoder_input import assumed_input
from mscl.errors import CheckpointError, DataError, UserError
from mscl.models.config import ModelConfig
from mscl.models.encoders import untrained_encoder
from mscl.models.files import write_encoder
from mscl.motion_suite.named_encoders import NamedEncoder, named_encoder, named_encoders
from mscl.motion_suite.page import FIGURE, PAGE, SCORES, replaced_by, scores_table, write_page
from mscl.motion_suite.part_features import SHOWN, UNTRAINED, fitted_input
from mscl.motion_suite.run_suite import score_encoders, videos_folder
from mscl.motion_suite.suite_scores import LabelledPart, labellings, part_names, part_scores, verdict
from mscl.progress import Silent
from mscl.video.frame_recipe import EncoderInput
from storage.workspace import Workspace

DEMO = assumed_input(crop_px=24).model_copy(update={"clip": ClipConfig(length=8, stride=2)})
DEMO = DEMO.model_copy(update={"recipe": DEMO.recipe.model_copy(update={"gap_frames": 1})})
SIZES = {"seed": 0, "train_per_class": 4, "test_per_class": 3, "side_px": 32, "slower": 1}


class Flicker(nn.Module):
    """Sees how much a picture changes from frame to frame, and nothing else."""

    def forward(self, x_B3THW: Tensor) -> Tensor:
        return x_B3THW.diff(dim=2).abs().mean(dim=(1, 3, 4))


def named(encoder: nn.Module, encoder_input: EncoderInput = DEMO, name: str = "flicker") -> NamedEncoder:
    return NamedEncoder(name, encoder, lambda: encoder, encoder_input)


def test_one_command_scores_every_part_with_every_control(tmp_path: Path) -> None:
    found = score_encoders(
        [named(Flicker())], tmp_path / "suite", parts=("order", "kind"), **SIZES, device=torch.device("cpu"),
        progress=Silent(),
    )  # fmt: skip
    scores = found["flicker"]
    assert [one.part for one in scores] == ["order", "kind"]
    for one in scores:
        assert set(one.controls) == {"first", "middle", "last", "shuffled", UNTRAINED}
        # Nothing flickers where a frame is repeated: what is left is a guess.
        assert all(one.controls[c].value == one.controls["first"].value for c in ("middle", "last"))
        assert one.moving.num_videos == 24
    assert {path.name for path in (tmp_path / "suite").iterdir()} == {"direction", "order", "kind"}
    page = write_page(tmp_path / "results", found, settings={"seed": 0})
    assert page.name == PAGE and (tmp_path / "results" / FIGURE).read_text().startswith("<svg")
    assert verdict("flicker", scores) in page.read_text() and "| order |" in page.read_text()
    record = json.loads((tmp_path / "results" / SCORES).read_text())
    assert len(record["encoders"]["flicker"]) == 2 and record["settings"] == {"seed": 0}
    assert "labels reached, measured once on the suite at its usual size, not in this run" in page.read_text()
    assert len(scores_table(found | {"x" * 80: scores}).rows) == 6
    alike = [f"/home/me/videos/workspace/pretrain/{key}/encoder.safetensors" for key in "ab"]
    heads = [row[0] for row in scores_table(dict.fromkeys(alike, scores)).rows if row[1] == ""]
    assert heads == alike


def test_scores_that_another_run_would_replace_are_named(tmp_path: Path) -> None:
    def lost(*encoders: str, parts: tuple[str, ...] = (), seed: int = 0) -> list[str]:
        return replaced_by(tmp_path, encoders, parts=parts, settings={"seed": seed})

    assert lost("mine") == []
    records = [{"part": "order"}, {"part": "kind"}]
    (tmp_path / SCORES).write_text(
        json.dumps({"settings": {"seed": 0}, "encoders": {"r3d_18": records, "mine": records}})
    )
    assert lost("mine") == ["r3d_18"] and lost("r3d_18", "mine", "third") == []
    assert lost("r3d_18", "mine", seed=1) == lost("r3d_18", "mine", parts=("order",)) == ["r3d_18", "mine"]
    assert lost("r3d_18", "mine", parts=("order", "kind")) == []
    (tmp_path / SCORES).write_text("no JSON")
    assert lost("mine") == []


def scored(shown: dict[str, float], *, orderless: float = 0.5, name: str = "direction") -> object:
    """Scores of an encoder whose features tell so large a share of the videos of two classes apart."""
    draws = np.random.default_rng(0)
    labels = np.tile([0, 1], 200)
    features = {}
    for what in (*SHOWN, UNTRAINED):
        known = draws.random(400) < shown.get(what, 0.0)
        features[what] = np.where(known, 2.0 * labels - 1, draws.choice([-1.0, 1.0], 400))[:, None].astype(np.float32)
    part = LabelledPart(name, PARTS["order"], ("a", "b"), (0, 1), 0.9, orderless)
    return part_scores(part, features, labels, np.arange(400) >= 200)


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({}, "is not seen to see motion: on direction "),
        ({"moving": 0.7, "first": 0.7}, "is not seen to see motion"),
        (
            {"moving": 0.7, "last": 0.65, "shuffled": 0.2},
            "do not score above chance and every single frame, in 99% intervals",
        ),
        ({"moving": 0.7, "shuffled": 0.7}, "sees motion: on direction .* is not seen to see its order in time"),
        ({"moving": 0.7, "shuffled": 0.1}, "sees motion: .* and its order in time on direction"),
    ],
)
def test_the_sentence_says_what_the_controls_leave(shown: dict[str, float], said: str) -> None:
    import re

    assert re.search(said, verdict("E", [scored(shown)]))  # type: ignore[list-item]


def test_chance_is_left_behind_in_the_same_intervals_as_single_frames() -> None:
    """41 of 64 are above .5 in a 95 % interval alone; single frames that are worse than a guess make up for nothing."""
    labels = np.tile([0, 1], 64)
    right = {"moving": 41} | dict.fromkeys((*SHOWN[1:], UNTRAINED), 10)
    features = {}
    for what, count in right.items():
        told = np.where(np.arange(128) % 64 < count, 1.0, -1.0) * (2 * labels - 1)
        features[what] = np.where(np.arange(128) < 64, 2 * labels - 1, told)[:, None].astype(np.float32)
    part = LabelledPart("direction", PARTS["order"], ("a", "b"), (0, 1), 0.9, 0.5)
    scores = part_scores(part, features, labels, np.arange(128) >= 64)
    assert scores.moving.value == 41 / 64 and scores.moving.interval is not None
    assert scores.moving.interval[0] > 0.5 and all(scores.above[name][0] > 0 for name in ("first", "middle", "last"))  # type: ignore[index]
    assert not scores.sees_motion and "is not seen to see motion" in verdict("E", [scores])


def test_too_few_videos_say_neither_that_motion_is_seen_nor_that_it_is_not() -> None:
    labels = np.tile([0, 1], 6)
    features = {what: np.zeros((12, 1), np.float32) for what in (*SHOWN, UNTRAINED)}
    part = LabelledPart("direction", PARTS["order"], ("a", "b"), (0, 1), 0.9, 0.5)
    scores = part_scores(part, features, labels, np.arange(12) >= 4)
    assert verdict("E", [scores]) == "E: 8 test videos decide nothing; give more, with --test-per-class."


def test_an_encoder_that_gives_all_videos_one_feature_shows_no_motion() -> None:
    labels = np.tile([0, 1], 40)
    features = {what: np.zeros((80, 1), np.float32) for what in (*SHOWN, UNTRAINED)}
    part = LabelledPart("direction", PARTS["order"], ("a", "b"), (0, 1), 0.9, 0.5)
    scores = part_scores(part, features, labels, np.arange(80) >= 40)
    assert verdict("E", [scores]).startswith("E is not seen to see motion: on direction")


def test_encoders_whose_files_are_called_alike_keep_apart(tmp_path: Path) -> None:
    encoder = untrained_encoder(ModelConfig(rgb_width=0.0625), seed=3)
    encoder.input = DEMO
    files = [
        str(write_encoder(encoder, ModelConfig(rgb_width=0.0625), tmp_path / folder / "e.safetensors", card={}))
        for folder in "ab"
    ]
    found = named_encoders([*files, files[0]], workspace=Workspace(tmp_path / "workspace"))
    assert [one.name for one in found] == files
    assert [one.name for one in named_encoders(files[:1], workspace=Workspace(tmp_path / "w"))] == ["e.safetensors"]


def test_kind_is_a_labelling_of_direction() -> None:
    direction, kind = labellings(PARTS["direction"])
    assert (direction.name, kind.name, kind.classes) == ("direction", "kind", ("move", "turn", "zoom"))
    assert kind.label_of == (0, 0, 0, 0, 1, 1, 2, 2) and kind.orderless == 1


def test_an_unknown_part_is_refused_with_all_that_can_be_asked_for() -> None:
    with pytest.raises(DataError, match="unknown part 'sideways'.*direction, order, stills, shortcut, kind"):
        part_names(["kind", "sideways"])


def test_an_encoder_that_looks_at_more_than_the_videos_have_is_refused_with_both_values(tmp_path: Path) -> None:
    wide = DEMO.model_copy(update={"crop_px": 112})
    with pytest.raises(UserError, match=r"flicker looks at 112 px of pictures of 128 px.* have 32 px; give --side 128"):
        score_encoders([named(Flicker(), wide)], tmp_path / "s", **SIZES, device=torch.device("cpu"), progress=Silent())
    assert not (tmp_path / "s").exists()
    long = DEMO.model_copy(update={"clip": ClipConfig(length=8, stride=8)})
    with pytest.raises(UserError, match=r"spans 58 frames, and the videos of order have 20; give --slower 3"):
        fitted_input(named(Flicker(), long), PARTS["order"], side_px=64, slower=1)
    assert fitted_input(named(Flicker(), long), PARTS["order"], side_px=64, slower=3).clips == PARTS["order"].clips


def test_encoders_are_named_by_file_or_torchvision_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, model = Workspace(tmp_path / "workspace"), ModelConfig(rgb_width=0.0625)
    encoder = untrained_encoder(model, seed=3)
    encoder.input = DEMO
    file = write_encoder(encoder, model, tmp_path / "own.safetensors", card={})
    own = named_encoder(str(file), workspace=place)
    assert own.name == "own.safetensors" and own.input == DEMO and not own.assumed
    assert not torch.equal(next(own.encoder.parameters()), next(own.untrained().parameters()))

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = get_model_weights("mc3_18").DEFAULT.url
    network = get_model("mc3_18", weights=None).eval()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(network.state_dict(), tmp_path / "hub" / "checkpoints" / Path(url).name)
    theirs = named_encoder("mc3_18", workspace=place)
    assert (theirs.input.crop_px, theirs.input.short_side_px, theirs.input.clip.length) == (112, 128, 16)
    picture = torch.rand(1, 3, 4, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    kinetics = get_model_weights("mc3_18").DEFAULT.transforms()
    wanted = (picture - torch.tensor(kinetics.mean).view(3, 1, 1, 1)) / torch.tensor(kinetics.std).view(3, 1, 1, 1)
    with torch.inference_mode():
        expected = network.avgpool(network.layer4(network.layer3(network.layer2(network.layer1(network.stem(wanted))))))
        torch.testing.assert_close(theirs.encoder((picture - mean) / std), expected.flatten(1), rtol=1e-3, atol=1e-4)

    with pytest.raises(UserError, match="'nowhere' is no file, no key .* no video network .*r3d_18"):
        named_encoder("nowhere", workspace=place)

    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(CheckpointError, match="r3d_18 could not be fetched from https.*put the file into"):
        named_encoder("r3d_18", workspace=place)


def test_videos_of_other_settings_lie_in_a_folder_of_their_own() -> None:
    first = {"seed": 1, "train_per_class": 96, "test_per_class": 32, "side_px": 64, "slower": 1}
    places = {videos_folder(Path("suite"), **first | {name: value + 1}) for name, value in first.items()}
    assert len(places | {videos_folder(Path("suite"), **first)}) == len(first) + 1
