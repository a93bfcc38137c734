"""`mscl search`, `predict` and `export`: on a small set that the real stages made, with an untrained network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from shutil import copy, copytree, rmtree

import numpy as np
import pytest
import torch

from flows.cli import app as console
from mscl.config import ExperimentConfig, load_config
from mscl.embedding.encoder_input import load_encoder
from mscl.embedding.index import open_index
from mscl.embedding.video_features import embed
from mscl.errors import AssumptionWarning
from mscl.finetune.classifier import Classifier, save_classifier
from mscl.models.encoders import untrained_encoder
from mscl.models.files import EXPORT_NAME, write_encoder
from mscl.models.weight_files import read_safetensors, write_safetensors
from mscl.pipeline import BY_NAME, execute, latest_inputs
from storage.errors import DamagedError
from storage.features import read_features, write_features
from storage.result_folder import Result
from storage.workspace import Workspace
from tests.tiny import copy_stages

SOME_FAILED, USER_ERROR = 1, 2
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mscl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs the command in this process: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path | int) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["mscl", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            console.main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def workspace(tiny: Path, tiny_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos of two classes, ingested, extracted and embedded, and a classifier of them."""
    config = load_config(str(tiny))
    folder = tmp_path_factory.mktemp("look") / "workspace"
    place = Workspace(copy_stages(tiny_workspace, folder, ("ingest", "extract")))
    done: dict[str, Result] = {}
    for name in ("ingest", "extract"):
        done[name] = execute(BY_NAME[name], place, config, done).result
    done["pretrain"] = _encoder(place, config, done)
    embedded = execute(BY_NAME["embed"], place, config, done).result
    assert len(read_features(embedded.folder / "trained.zarr").ids) == 12
    _classifier(place, config, done)
    return place.root


def _encoder(place: Workspace, config: ExperimentConfig, inputs: dict[str, Result]) -> Result:
    keys = {name: result.key for name, result in inputs.items()}
    settings = {"pretrain": config.pretrain.model_dump(mode="json")}
    with place.claim("pretrain", "e" * 16) as folder:
        write_encoder(
            untrained_encoder(config.pretrain.model, seed=0), config.pretrain.model, folder / EXPORT_NAME, card={}
        )
        return place.commit(
            "pretrain", "e" * 16, version=1, config=settings, inputs=keys, timings={},
            metrics={"checkpoint": "encoder.safetensors"},
        )  # fmt: skip


def _classifier(place: Workspace, config: ExperimentConfig, inputs: dict[str, Result]) -> Result:
    keys = {name: result.key for name, result in inputs.items()}
    torch.manual_seed(0)
    classifier = Classifier(untrained_encoder(config.pretrain.model, seed=0), 2, dropout=0.0)
    with place.claim("finetune", "f" * 16) as folder:
        save_classifier(
            folder / "classifier.safetensors", classifier, classes=("MoveLeft", "MoveRight"),
            model=config.pretrain.model, finetune=config.finetune,
            encoder_input=config.finetune.test_input(config.flow.recipe, max_segment_seconds=10),
        )  # fmt: skip
        runs = {"runs": [{"split": 1, "seed": 0}, {"split": 1, "seed": 1}]}
        return place.commit("finetune", "f" * 16, version=1, config={}, inputs=keys, timings={}, metrics=runs)


@pytest.fixture
def videos(tiny: Path, tmp_path: Path) -> list[Path]:
    """A copy of a video of the set under another name, a file that is none, and one that is not there."""
    copy(next((tiny.parent / "data").rglob("v_MoveLeft_g01_c01.mp4")), tmp_path / "mine.mp4")
    (tmp_path / "notes.mp4").write_text("no video")
    return [Path("mine.mp4"), Path("notes.mp4"), Path("gone.mp4")]


def test_a_copy_of_an_indexed_video_finds_it_first_and_bad_files_are_named(
    mscl: Command, workspace: Path, videos: list[Path]
) -> None:
    latin1 = Path(os.fsdecode(b"caf\xe9.mp4"))
    copy(videos[0], latin1)
    code, out, err = mscl("search", *videos, latin1, "--k", 3, "-w", workspace)
    assert code == SOME_FAILED
    assert "v_MoveLeft_g01_c01.mp4" in next(line for line in out.splitlines() if line.split()[:1] == ["1"])
    assert len([line for line in out.splitlines() if line.split()[:1] in (["1"], ["2"], ["3"], ["4"])]) == 6
    assert [line.split(":")[1].strip() for line in err.splitlines()] == ["notes.mp4", "gone.mp4"]
    assert err.count("could not be read: ") == 2 and "caf\\udce9.mp4" in out
    page = Path("search.html").read_text()
    assert page.count("data:image/jpeg") == 8 and "caf\\udce9.mp4" in page
    assert "gone.mp4 could not be read: no such file" in page and "noise looks strong where nothing moves" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_search_for_nothing_leaves_an_earlier_page(mscl: Command, workspace: Path, videos: list[Path]) -> None:
    Path("search.html").write_text("earlier")
    code, out, _ = mscl("search", videos[1], "-w", workspace)
    assert code == SOME_FAILED and "Page" not in out
    assert Path("search.html").read_text() == "earlier"
    Path("search.html").rename("earlier.html")
    Path("search.html").mkdir()  # as little a place for a page as a folder that may only be read
    code, out, err = mscl("search", videos[0], "-k", "1", "--workspace", workspace)
    assert code == 0 and "Searched" in out and "mscl: no page: cannot write search.html" in err
    code, out, err = mscl("search", videos[0], "-k", "1", "--workspace", workspace, "--out", "search.html")
    assert code == USER_ERROR and "Searched" in out and "cannot write search.html" in err  # it was asked for


def test_search_for_machines(mscl: Command, workspace: Path, videos: list[Path]) -> None:
    code, out, _ = mscl("search", *videos[:2], "-k", 50, "-w", workspace, "--json")
    assert code == SOME_FAILED
    found, failed = json.loads(out)
    assert len(found["neighbours"]) == 12
    assert found["neighbours"][0]["cosine"] > 0.97
    assert found["neighbours"][0]["class"] == "MoveLeft"
    assert Path(found["neighbours"][0]["path"]).is_file()
    assert failed["video"] == "notes.mp4" and failed["error"]


def test_predict_says_classes_and_shows_where_it_looked(mscl: Command, workspace: Path, videos: list[Path]) -> None:
    Path("other").mkdir()
    twin = Path(copy(videos[0], "other"))
    code, out, err = mscl("predict", *videos, twin, "-w", workspace, "--grad-cam", "--flow")
    assert code == SOME_FAILED
    assert "MoveLeft" in out and "MoveRight" in out and "split 1, seed 0, the first of 2 trainings" in out
    assert err.count("\n") == 2
    pictures = sorted(path.name for path in Path("predictions").glob("*.png"))
    assert pictures == ["mine-2.png", "mine.png"]
    assert Path("predictions/mine.png").read_bytes() == Path("predictions/mine-2.png").read_bytes()
    page = Path("predictions/index.html").read_text()
    assert page.count("data:image/jpeg") == 2 and "Grad-CAM" in page
    assert ">mine.mp4</h2>" in page and ">other/mine.mp4</h2>" in page and ">gone.mp4</h2>" in page


def test_predict_for_machines_without_pictures(mscl: Command, workspace: Path, videos: list[Path]) -> None:
    code, out, err = mscl("predict", videos[0], "-w", workspace, "--json")
    assert code == 0 and not err
    (found,) = json.loads(out)
    assert sum(one["probability"] for one in found["classes"]) == pytest.approx(1, abs=1e-4)
    assert not Path("predictions").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predict", "-w", "empty"], "no finished result of finetune"),
        (["search", "-w", "empty"], "no finished result of embed"),
        (["predict", "--key", "eeee"], "was not made from a result of finetune"),
        (["predict", "--device", "tpu"], "--device is 'tpu'; give one of auto, cpu, cuda"),
        (["search", "--key", "0123"], "'0123'"),
    ],
)
def test_what_is_missing_is_one_line(
    mscl: Command, workspace: Path, videos: list[Path], arguments: list[str], expected: str
) -> None:
    command, *options = arguments
    place = [] if "-w" in options else ["-w", workspace]
    code, _, err = mscl(command, videos[0], *options, *place)
    assert code == USER_ERROR
    assert err.startswith("mscl: ") and err.count("\n") == 1
    assert expected in err


def test_an_index_of_another_encoder_or_of_nothing(workspace: Path, tiny: Path, tmp_path: Path, mscl: Command) -> None:
    changed = tmp_path / "changed"
    copytree(workspace, changed)
    place = Workspace(changed)
    video = next((tiny.parent / "data").rglob("*.mp4"))
    (embedded,) = place.results("embed")
    good = read_features(embedded.folder / "trained.zarr")
    for key, features_ND, ids, expected in (
        ("a" * 16, good.features_ND[:, :7], good.ids, "another encoder made it"),
        ("b" * 16, good.features_ND[:0], [], "holds no video"),
    ):
        with place.claim("embed", key) as folder:
            write_features(
                folder / "trained.zarr", ids=ids, labels=good.labels_N[: len(ids)], split=good.split[: len(ids)],
                features_ND=features_ND,
            )  # fmt: skip
            record = embedded.record
            place.commit("embed", key, version=1, config=record.config, inputs=record.inputs, metrics={}, timings={})
        code, _, err = mscl("search", video, "-w", changed)
        assert code == USER_ERROR
        assert expected in err and err.count("\n") == 1


def test_a_skipped_finetuning_says_why(mscl: Command, tmp_path: Path) -> None:
    place = Workspace(tmp_path / "skipped")
    with place.claim("finetune", "d" * 16):
        place.commit("finetune", "d" * 16, version=1, config={}, inputs={}, timings={},
                     metrics={"skipped": "finetune.enabled is false"})  # fmt: skip
    code, _, err = mscl("predict", "x.mp4", "-w", place.root)
    assert code == USER_ERROR
    assert "finetune.enabled is false" in err


def test_an_encoder_is_exported_with_what_its_videos_went_through(mscl: Command, workspace: Path) -> None:
    place = Workspace(workspace)
    (embedded,) = place.results("embed")
    code, out, err = mscl("export", embedded.key, "a.safetensors", "-w", workspace)
    assert (code, err) == (0, "")
    assert "wrote a.safetensors: the encoder of " in out and "its videos: gap_frames 1, " in out
    encoder = load_encoder("a.safetensors")
    index = open_index(place)
    assert encoder.input == index.encoder_input
    video = index.path(0)
    np.testing.assert_allclose(embed([video], encoder).features_ND[0], index.features.features_ND[0], rtol=1e-3)
    _, card = read_safetensors(Path("a.safetensors"))
    assert card["lineage"]["embed"] == embedded.key and card["lineage"]["pretrain"] == "e" * 16
    Path("[").mkdir()
    odd = "[/b] [id] \x1b[31m.safetensors"
    code, out, err = mscl("export", "a.safetensors", odd)  # a file: what it says goes along
    assert (code, err) == (0, "") and "wrote [/b] [id] \\x1b[31m.safetensors" in out and "\x1b" not in out
    assert load_encoder(odd).input == encoder.input


def test_what_embed_chose_last_is_what_the_encoder_of_its_workspace_says(
    mscl: Command, tiny: Path, workspace: Path
) -> None:
    place = Workspace(copytree(workspace, "again"))
    (before,) = place.results("embed")
    checkpoint = place.folder("pretrain", "e" * 16) / EXPORT_NAME
    assert load_encoder(checkpoint).input == open_index(place).encoder_input  # and nothing is assumed
    config = load_config(str(tiny), ["embed.crop_px=20"])
    execute(BY_NAME["embed"], place, config, latest_inputs(place, BY_NAME["embed"], given={}))
    index = open_index(place)
    with pytest.warns(AssumptionWarning, match=f"took crop_px 20, while embed {before.key} took crop_px 24"):
        encoder = load_encoder(checkpoint)
    assert encoder.input == index.encoder_input
    np.testing.assert_allclose(embed([index.path(0)], encoder).features_ND[0], index.features.features_ND[0], rtol=1e-3)
    code, _, err = mscl("export", before.key, "first.safetensors", "-w", place.root)
    assert (code, err) == (0, "")
    assert load_encoder("first.safetensors").input == open_index(place, before.key).encoder_input
    alone = copytree(checkpoint.parent, Path("alone"))
    # As long as before, and sound in itself, but with it queries would be of another space than the indexed features.
    checkpoint.unlink()
    write_encoder(untrained_encoder(config.pretrain.model, seed=1), config.pretrain.model, checkpoint, card={})
    with pytest.raises(DamagedError, match=f"pretrain {'e' * 16} is damaged: {EXPORT_NAME}"):
        index.load_encoder()
    # Out of its workspace the file alone speaks.
    with pytest.warns(AssumptionWarning, match="does not say how the videos of its training were prepared"):
        load_encoder(alone / EXPORT_NAME)


def test_what_is_assumed_of_an_older_result_is_said_when_it_is_exported(mscl: Command, workspace: Path) -> None:
    place = Workspace(copytree(workspace, "before-embed"))
    rmtree(place.root / "embed")
    code, _, err = mscl("export", "e" * 16, "a.safetensors", "-w", place.root)
    assert code == 0 and err.count("\n") == 1
    # The records say the rest.
    assumed = "assumed: clip.length 8, clip.stride 8, clips 10, crop_px 112, crops 1"
    assert err.startswith("mscl: ") and err.endswith(f"does not say all that its videos go through; {assumed}\n")
    assert load_encoder("a.safetensors").recipe == open_index(Workspace(workspace)).encoder_input.recipe


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.pt", "a.safetensors"], "absent.pt does not exist; check the path"),
        (["INGEST", "a.safetensors"], "was made without an encoder; give the key of a pretrain result"),
        (["e" * 16, "a.pt"], "a.pt is to be a file that ends in .safetensors, .pt2, .onnx"),
        (["e" * 16, "there.safetensors"], "there.safetensors is there already"),
        (["0123", "a.safetensors"], "'0123'"),
    ],
)
def test_what_cannot_be_exported_is_one_line(mscl: Command, workspace: Path, arguments: list[str], says: str) -> None:
    Path("there.safetensors").write_text("mine")
    (ingested,) = Workspace(workspace).results("ingest")
    named = [ingested.key if word == "INGEST" else word for word in arguments]
    code, _, err = mscl("export", *named, "-w", workspace)
    assert code == USER_ERROR
    assert says in err and err.count("\n") == 1
    assert Path("there.safetensors").read_text() == "mine" and not Path("a.safetensors").exists()


def test_a_classifier_that_does_not_say_everything_is_used_with_a_line_about_it(
    mscl: Command, workspace: Path, videos: list[Path], tmp_path: Path
) -> None:
    tensors, card = read_safetensors(workspace / "finetune" / ("f" * 16) / "classifier.safetensors")
    old = {name: json.dumps(card[name]) for name in ("classes", "model", "finetune")}
    old |= {"format": "mscl-classifier-1", "source": json.dumps({"gap_frames": 1, "span_frames": 1, "stored_px": 64})}
    place = Workspace(tmp_path / "older")
    with place.claim("finetune", "a" * 16) as folder:
        write_safetensors(folder / "classifier.safetensors", tensors, old)
        place.commit("finetune", "a" * 16, version=1, config={}, inputs={}, timings={}, metrics={})
    code, out, err = mscl("predict", videos[0], "-w", place.root)
    assert code == 0 and "MoveLeft" in out
    assert err.count("\n") == 1 and "assumed: computed_px 256, jpeg_quality 90, max_segment_seconds 10.0." in err
