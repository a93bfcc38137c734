"""Encoders given away: programs that give the same features, folders and the hub's cache, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mscl
from mscl.embedding import export_formats
from mscl.embedding.exchange import pull_encoder, push_encoder
from mscl.embedding.export import export_encoder, named_checkpoint
from mscl.errors import AssumptionWarning, CheckpointError, UserError
from mscl.extract.config import FlowConfig
from mscl.models.config import ModelConfig
from mscl.models.encoders import untrained_encoder
from mscl.models.files import EXPORT_NAME, write_encoder
from mscl.models.hub import hub_folder
from mscl.models.weight_files import read_safetensors
from mscl.video.config import ClipConfig
from mscl.video.frame_recipe import EncoderInput
from storage.errors import DamagedError
from storage.workspace import Workspace

TINY = ModelConfig(rgb_width=0.0625)
INPUT = EncoderInput(
    recipe=FlowConfig().recipe, max_segment_seconds=10, clip=ClipConfig(length=4, stride=1), clips=2, crop_px=16
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An encoder taken in and its probe."""
    place = Workspace(tmp_path / "workspace")
    encoder = untrained_encoder(TINY, seed=0)
    encoder.input = INPUT
    results = {
        "pretrain": ({}, {"checkpoint": EXPORT_NAME}, {"pretrain": {"epochs": 3}}),
        "probe": ({"pretrain": "aaaa"}, {"trained": {"top1": 0.5, "top1_interval": [0.25, 0.75], "runs": [1]}}, {}),
    }
    for key, (stage, (inputs, metrics, config)) in zip(("aaaa", "bbbb"), results.items(), strict=True):
        with place.claim(stage, key) as folder:
            if stage == "pretrain":
                write_encoder(encoder, TINY, folder / EXPORT_NAME, card={})
            place.commit(stage, key, version=1, config=config, inputs=inputs, metrics=metrics, timings={})
    return place


def test_a_program_of_torch_export_and_onnx_give_the_encoder_s_features(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="extra `onnx` is not installed")
    export_encoder("aaaa", tmp_path / "e.pt2", workspace=workspace, to="torch-export")
    export_encoder("aaaa", tmp_path / "e.onnx", workspace=workspace)
    encoder = mscl.load_encoder(workspace.folder("pretrain", "aaaa") / EXPORT_NAME)
    clips = torch.randn(5, 3, 4, 16, 16)
    with torch.inference_mode():
        wanted = encoder(clips)
    extra = {"card.json": ""}
    with torch.inference_mode():
        found = torch.export.load(tmp_path / "e.pt2", extra_files=extra).module()(clips)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"clips": clips.numpy()})
    np.testing.assert_allclose(features, wanted.numpy(), rtol=1e-4, atol=1e-4)
    card = json.loads(extra["card.json"])
    assert card == json.loads(session.get_modelmeta().custom_metadata_map["card"])
    assert card["clips"] == ["any number", 3, 4, 16, 16] and card["encoder_input"] == INPUT.model_dump(mode="json")
    assert card["lineage"] == {"pretrain": "aaaa"} and card["recipe"] == {"pretrain": {"epochs": 3}}
    assert card["scores"] == {"bbbb": {"stage": "probe", "trained": {"top1": 0.5, "top1_interval": [0.25, 0.75]}}}
    monkeypatch.setattr(export_formats, "TOLERANCE", -1.0)
    with pytest.raises(CheckpointError, match=r"other\.pt2 is not written: its features lie .* and at most -1 is"):
        export_formats.write_torch_export(encoder, tmp_path / "other.pt2", card={})
    assert not (tmp_path / "other.pt2").exists()


def test_results_of_an_encoder_that_is_another_by_now_say_nothing_of_this_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    with workspace.claim("probe", "cccc"):
        workspace.commit(
            "probe", "cccc", version=1, config={}, inputs={"pretrain": "aaaa"}, metrics={"trained": {"top1": 1.0}},
            timings={}, contents={"pretrain": "of the encoder before"},
        )  # fmt: skip
    done = export_encoder("aaaa", tmp_path / "e.safetensors", workspace=workspace)
    assert list(read_safetensors(done.path)[1]["scores"]) == ["bbbb"]
    with pytest.raises(UserError, match="probe cccc was made from another pretrain aaaa than is there now"):
        export_encoder("cccc", tmp_path / "other.safetensors", workspace=workspace)


def test_scores_in_a_card_say_of_which_videos_and_by_which_protocol(workspace: Workspace, tmp_path: Path) -> None:
    with workspace.claim("ingest", "dddd"):
        config = {"data": {"root": "/home/somebody/HMDB51"}}
        workspace.commit("ingest", "dddd", version=1, config=config, inputs={}, metrics={}, timings={})
    with workspace.claim("probe", "eeee"):
        workspace.commit(
            "probe", "eeee", version=1, config={}, inputs={"pretrain": "aaaa", "ingest": "dddd"}, timings={},
            metrics={"protocol": "linear", "trained": {"top1": 0.25, "top1_interval": [0.125, 0.5]}},
        )  # fmt: skip
    done = export_encoder("aaaa", tmp_path / "e.safetensors", workspace=workspace)
    scores = read_safetensors(done.path)[1]["scores"]
    said = {name: scores["eeee"][name] for name in ("stage", "videos", "protocol")}
    assert said == {"stage": "probe", "videos": "HMDB51", "protocol": "linear"}


def test_a_fine_tuned_result_is_not_taken_for_the_encoder_that_it_began_with(
    workspace: Workspace, tmp_path: Path
) -> None:
    for key, metrics in (("ffff", {"top1": 0.9, "epochs": 2}), ("eeee", {"skipped": "finetune.enabled is false"})):
        with workspace.claim("finetune", key):
            inputs = {"pretrain": "aaaa"}
            workspace.commit("finetune", key, version=1, config={}, inputs=inputs, metrics=metrics, timings={})
    with pytest.raises(UserError, match="finetune ffff trained an encoder of its own.*began with give pretrain aaaa"):
        named_checkpoint("ffff", workspace=workspace)
    checkpoint, _ = named_checkpoint("eeee", workspace=workspace)
    assert checkpoint == workspace.folder("pretrain", "aaaa") / EXPORT_NAME


def test_another_training_s_file_in_its_place_is_not_given_away(workspace: Workspace, tmp_path: Path) -> None:
    other = untrained_encoder(TINY, seed=1)
    other.input = INPUT
    place = workspace.folder("pretrain", "aaaa") / EXPORT_NAME
    place.unlink()
    write_encoder(other, TINY, place, card={})  # as long, and sound in itself
    advice = f"mscl verify aaaa --repair --workspace {workspace.root}`"
    with pytest.raises(DamagedError, match=advice):
        export_encoder("aaaa", tmp_path / "e.safetensors", workspace=workspace)
    with pytest.raises(DamagedError, match="pretrain aaaa is damaged"):
        push_encoder("aaaa", str(tmp_path / "pushed"), workspace=workspace)


def test_an_ending_and_a_format_that_differ_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no format is called 'pt'; choose one of safetensors"):
        export_encoder("ab", str(tmp_path / "a.pt2"), workspace=workspace, to="pt")
    for name, to, says in (("e.onnx", "torch-export", "ends in .pt2"), ("e.bin", "", "safetensors, .pt2, .onnx")):
        with pytest.raises(UserError, match=says):
            export_encoder("aaaa", tmp_path / name, workspace=workspace, to=to)


def test_without_the_extras_they_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    modules = __import__("sys").modules
    monkeypatch.setitem(modules, "onnxruntime", None)
    monkeypatch.setitem(modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'mscl-pipeline\[onnx\]'"):
        export_formats.write_onnx(untrained_encoder(TINY, seed=0), tmp_path / "e.onnx", card={})
    with pytest.raises(UserError, match=r"pip install 'mscl-pipeline\[hub\]'"):
        mscl.load_encoder("hub:owner/name")


def test_a_folder_is_pushed_to_and_pulled_from(workspace: Workspace, tmp_path: Path) -> None:
    place = tmp_path / "given"
    push_encoder("aaaa", str(place), workspace=workspace)
    assert '"top1": 0.5' in (place / "README.md").read_text()
    again = mscl.load_encoder(place)
    assert again.input == INPUT
    assert pull_encoder(str(place), tmp_path / "got.safetensors").read_bytes() == (place / EXPORT_NAME).read_bytes()
    with pytest.raises(UserError, match="is there already"):
        push_encoder("aaaa", str(place), workspace=workspace)
    with pytest.raises(CheckpointError, match="has no encoder.safetensors"):
        pull_encoder(str(tmp_path), tmp_path / "none.safetensors")
    with pytest.raises(UserError, match=r"ends in \.safetensors"):
        pull_encoder(str(place), tmp_path / "got.onnx")
    own = tmp_path / "project"
    own.mkdir()
    (own / "README.md").write_text("mine")
    with pytest.raises(UserError, match=r"README\.md is there already"):
        push_encoder("aaaa", str(own), workspace=workspace)
    assert [path.read_text() for path in own.iterdir()] == ["mine"]
    content = bytearray((place / EXPORT_NAME).read_bytes())
    content[-1] ^= 1
    (place / EXPORT_NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        pull_encoder(str(place), tmp_path / "damaged.safetensors")


def test_a_push_that_was_killed_before_its_page_goes_on(workspace: Workspace, tmp_path: Path) -> None:
    place = tmp_path / "given"
    push_encoder("aaaa", str(place), workspace=workspace)
    page, encoder = (place / "README.md").read_bytes(), (place / EXPORT_NAME).read_bytes()
    (place / "README.md").unlink()
    push_encoder("aaaa", str(place), workspace=workspace)
    assert (place / "README.md").read_bytes() == page and (place / EXPORT_NAME).read_bytes() == encoder
    (place / "README.md").unlink()
    (place / EXPORT_NAME).write_bytes(b"another encoder")
    with pytest.raises(UserError, match=r"encoder\.safetensors is there already"):
        push_encoder("aaaa", str(place), workspace=workspace)
    assert [path.read_bytes() for path in place.iterdir()] == [b"another encoder"]


def test_the_hub_s_cache_is_read_offline(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants: Any = pytest.importorskip("huggingface_hub.constants", reason="extra `hub` is not installed")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    commit = "0123456789" * 4
    kept = tmp_path / "cache" / "models--owner--name"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    push_encoder("aaaa", str(kept / "snapshots" / commit), workspace=workspace)
    assert mscl.load_encoder("hub:owner/name").input == INPUT
    assert pull_encoder("hub:owner/name@main", tmp_path / "got.safetensors").is_file()
    with pytest.raises(
        CheckpointError, match="hub:owner/absent could not be fetched: .*or give a local folder"
    ) as said:
        mscl.load_encoder("hub:owner/absent")
    assert "\n" not in str(said.value)
    with pytest.raises(CheckpointError, match="hub:owner/name did not take the encoder: .*offline"):
        push_encoder("aaaa", "hub:owner/name", workspace=workspace)
    with pytest.raises(UserError, match="write hub:owner/name"):
        mscl.load_encoder("hub:a/b/c")
    hub_folder.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.warns(AssumptionWarning, match="hub:owner/name: the hub does not answer .* commit 012345678901, is"):
        assert mscl.load_encoder("hub:owner/name").input == INPUT
    hub_folder.cache_clear()
