"""The whole pipeline on real H.264 videos, without Prefect: what is there in the end, and what a second run does.

The one workspace of the session, with fine-tuning; and the first stages over videos that move in four directions.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from markdown_it import MarkdownIt

import mscl
from mscl.config import EmbedConfig, ExperimentConfig, load_config
from mscl.demo.dataset import write_demo_dataset
from mscl.embedding.dataset_features import evaluation_clips
from mscl.embedding.index import open_index
from mscl.embedding.variants import VARIANTS
from mscl.errors import DataError
from mscl.finetune.classifier import load_classifier
from mscl.finetune.predict import predict_videos
from mscl.models.files import read_encoder
from mscl.pipeline import BY_NAME, Outcome, execute, latest_inputs, run_pipeline, stages_for
from mscl.pipeline.repair import config_of
from storage.manifest import read_manifest
from storage.result_folder import made_with
from storage.verify import verify_result
from storage.workspace import Workspace
from tests.mscl.cosines import least_cosine
from tests.ranks_here import ranks_here
from tests.tiny import FINETUNE

FAR = {"MoveRight": (0, 1), "MoveLeft": (0, -1), "MoveDown": (1, 1), "MoveUp": (1, -1)}
"""Class -> component of its flow and sign."""


@pytest.fixture(scope="module")
def videos(tiny: Path) -> Path:
    return tiny.parent / "data" / "videos"


@pytest.fixture(scope="module")
def config(tiny: Path) -> ExperimentConfig:
    return load_config(str(tiny), FINETUNE)


@pytest.fixture(scope="module")
def told(tiny_workspace: Path) -> dict[str, Any]:
    """What the run without fine-tuning said and reused."""
    return dict(json.loads((tiny_workspace.parent / "told.json").read_text()))


@pytest.fixture(scope="module")
def workspace(tiny_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(shutil.copytree(tiny_workspace, tmp_path_factory.mktemp("pipeline") / "workspace"))


@pytest.fixture(scope="module")
def outcomes(workspace: Workspace, config: ExperimentConfig) -> dict[str, Outcome]:
    with ranks_here():
        return run_pipeline(workspace, config)


@pytest.fixture(scope="module")
def directions(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """Two videos of each class, and one of them is bad; nothing is trained."""
    made = write_demo_dataset(tmp_path_factory.mktemp("directions"), train_per_class=1, test_per_class=1)
    (made.videos / "MoveLeft" / "v_MoveLeft_g01_c01.mp4").write_bytes(b"")
    overrides = ["flow.segments_per_shard=2", "runtime.workers=1", f"data.root={made.videos}"]
    overrides += ["pretrain.encoder=random", "embed.clips=1", "embed.controls=false", "runtime.loader_workers=0"]
    return load_config("demo", [*overrides, f"data.classes={','.join(FAR)}"])


@pytest.fixture(scope="module")
def extracted(directions: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    workspace = Workspace(tmp_path_factory.mktemp("extracted"))
    return run_pipeline(workspace, directions, stages=stages_for("probe", "retrieve"))


def test_every_stage_left_a_record(outcomes: dict[str, Outcome], workspace: Workspace, told: dict[str, Any]) -> None:
    assert list(told["reused"]) == list(outcomes) == list(BY_NAME)
    assert not any(told["reused"].values())
    assert {name for name, outcome in outcomes.items() if not outcome.reused} == {"finetune", "report"}
    assert all(verify_result(outcome.result.folder, outcome.result.record) == [] for outcome in outcomes.values())
    lineage = [result.record.stage for result in workspace.lineage(outcomes["retrieve"].result)]
    assert lineage.index("ingest") < lineage.index("extract") < lineage.index("pretrain") < lineage.index("retrieve")


def test_the_bad_video_has_a_verdict_and_is_nowhere_else(extracted: dict[str, Outcome]) -> None:
    record = extracted["ingest"].result.record
    assert record.metrics["verdicts"] == {"ok": 7, "unreadable": 1}
    manifest = read_manifest(extracted["ingest"].result.folder / "manifest.parquet")
    [bad] = [row for row in manifest.rows() if row.verdict != "ok"]
    assert "MoveLeft" in bad.video and bad.reason
    metrics = {name: outcome.result.record.metrics for name, outcome in extracted.items()}
    assert metrics["extract"]["segments"] == metrics["embed"]["videos"] == 7
    chosen = pq.read_table(extracted["screen"].result.folder / "screen.parquet")
    assert len(chosen) == 7
    assert metrics["retrieve"]["sizes"] == {"query": 4, "gallery": 3} and metrics["probe"]["trained"]["num_test"] == 4


def test_the_flow_store_opens_with_plain_zarr_and_holds_motion(extracted: dict[str, Outcome]) -> None:
    group = zarr.open_group(extracted["extract"].result.folder / "flow.zarr", mode="r")
    flow = group["flow"]
    assert flow.dtype == np.int16 and flow.shape[0] == 7
    manifest = read_manifest(extracted["ingest"].result.folder / "manifest.parquet").ok()
    agree = []
    for segment in range(7):
        component, sign = FAR[str(manifest.row(segment).class_name)]
        values = np.asarray(flow[segment], dtype=np.float64)[:, component]
        agree.append(sign * values[np.abs(values) > 8].sum() > 0)  # more than half a pixel of motion
    assert np.mean(agree) > 0.8


def test_every_loss_term_was_logged(outcomes: dict[str, Outcome]) -> None:
    rows = (outcomes["pretrain"].result.folder / "metrics.jsonl").read_text().splitlines()
    terms = {
        "rgb", "flow", "rotated", "rgb_to_flow", "flow_to_rgb", "rgb_to_rotated", "rotated_to_rgb", "local_motion",
    }  # fmt: skip
    assert terms <= set(json.loads(rows[-1]))


def test_the_run_says_how_many_steps_it_makes_and_why(outcomes: dict[str, Outcome], told: dict[str, Any]) -> None:
    steps = outcomes["pretrain"].result.record.metrics["steps"]
    expected = f"pre-training: 2 epochs (pretrain.epochs) x {steps // 2} steps = {steps} steps"
    assert told["said"].count(expected) == 1


def test_scores_stand_beside_their_controls(outcomes: dict[str, Outcome]) -> None:
    for stage in ("probe", "retrieve"):
        metrics = outcomes[stage].result.record.metrics
        assert {*VARIANTS, "chance"} <= set(metrics)
    assert outcomes["probe"].result.record.metrics["chance"]["uniform"] == pytest.approx(1 / 2)


def test_the_report_is_one_page(outcomes: dict[str, Outcome]) -> None:
    page = (outcomes["report"].result.folder / "report.html").read_text()
    assert "<html" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_again_does_nothing(outcomes: dict[str, Outcome], workspace: Workspace, config: ExperimentConfig) -> None:
    again = run_pipeline(workspace, config)
    assert all(outcome.reused for outcome in again.values())
    assert {n: o.result.key for n, o in again.items()} == {n: o.result.key for n, o in outcomes.items()}


def test_any_result_can_be_made_again_from_what_the_records_say(
    outcomes: dict[str, Outcome], workspace: Workspace
) -> None:
    for name, outcome in outcomes.items():
        settings, keys = made_with(outcome.result.folder)
        inputs = {parent: outcomes[parent].result for parent in keys}
        again = config_of(workspace, settings, inputs, source=name)
        assert BY_NAME[name].key(again, inputs) == outcome.result.key, name


def test_a_changed_setting_redoes_what_depends_on_it(
    outcomes: dict[str, Outcome], workspace: Workspace, tiny: Path
) -> None:
    changed = load_config(str(tiny), [*FINETUNE, "probe.folds=2"])
    redone = {name for name, o in run_pipeline(workspace, changed).items() if not o.reused}
    assert redone == {"probe", "report"}


def test_one_stage_alone_finds_its_inputs(outcomes: dict[str, Outcome], workspace: Workspace, tiny: Path) -> None:
    changed = load_config(str(tiny), ["screen.select=all"])
    stage = BY_NAME["screen"]
    outcome = execute(stage, workspace, changed, latest_inputs(workspace, stage, given={}))
    assert not outcome.reused
    assert outcome.result.record.inputs == {name: outcomes[name].result.key for name in ("ingest", "extract", "motion")}
    assert outcome.result.record.metrics["chosen"] == outcome.result.record.metrics["candidates"]


def test_extraction_does_not_depend_on_the_number_of_workers(
    extracted: dict[str, Outcome], tmp_path: Path, directions: ExperimentConfig
) -> None:
    two = directions.model_copy(update={"runtime": directions.runtime.model_copy(update={"workers": 2})})
    inputs = {"ingest": extracted["ingest"].result}
    again = execute(BY_NAME["extract"], Workspace(tmp_path), two, inputs)
    assert again.result.record.files == extracted["extract"].result.record.files


def test_a_file_gives_the_clips_and_the_prediction_of_its_stored_frames(
    outcomes: dict[str, Outcome], workspace: Workspace, config: ExperimentConfig
) -> None:
    index = open_index(workspace)
    stored = evaluation_clips(
        outcomes["extract"].result.folder / "frames", index.manifest, clip=config.clip, clips=1,
        crop_px=config.embed.crop_px,
    )  # fmt: skip
    for row in (0, 11):
        expected = stored.load(0, np.array([row])).rgb_BKTHW3[0, 0].numpy()
        np.testing.assert_array_equal(index.clip_of(index.path(row)), expected)
    table = pq.read_table(outcomes["finetune"].result.folder / "predictions.parquet", partitioning=None).to_pylist()
    trained = load_classifier(outcomes["finetune"].result.folder / "classifier.safetensors")
    tested = [Path(config.data.root) / row["video"] for row in table[:3]]
    for said, row in zip(predict_videos(trained, tested, best=2), table, strict=False):
        by_class = dict(zip(said.classes, said.probabilities, strict=True))
        assert [by_class[name] for name in trained.classes] == pytest.approx(row["probabilities"], abs=1e-3)


def test_a_trained_encoder_gives_the_pipeline_s_own_features_with_nothing_else(
    outcomes: dict[str, Outcome], workspace: Workspace, config: ExperimentConfig
) -> None:
    index = open_index(workspace)
    pretrained = outcomes["pretrain"].result
    encoder = mscl.load_encoder(pretrained.folder / pretrained.record.metrics["checkpoint"])
    assert encoder.recipe == config.flow.recipe and encoder.clip == config.clip
    assert encoder.input == index.encoder_input == index.load_encoder().input
    # The file holds what decided the training, and nothing that an embed stage may choose otherwise.
    own = read_encoder(pretrained.folder / pretrained.record.metrics["checkpoint"]).encoder.input
    assert own is not None and own.crop_px == config.pretrain.augment.crop_px
    assert own.of_training and own.clips == EmbedConfig().clips != config.embed.clips
    kept = json.loads((outcomes["embed"].result.folder / "encoder_input.json").read_text())
    assert kept == index.encoder_input.model_dump(mode="json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedded = mscl.embed([index.path(row) for row in range(len(index.manifest))], encoder)
    assert not embedded.failed
    assert least_cosine(embedded.features_ND, index.features.features_ND) > 0.9999


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.root=/no/such/folder"], "/no/such/folder"),
        (["data.root="], "data.root"),
    ],
)
def test_a_wrong_root_is_one_clear_line(tmp_path: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(DataError, match=says):
        run_pipeline(Workspace(tmp_path), load_config("demo", overrides))


def test_an_empty_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match="videos"):
        run_pipeline(Workspace(tmp_path / "w"), load_config("demo", [f"data.root={tmp_path}/videos"]))


def test_the_examples_of_the_documentation_run(
    outcomes: dict[str, Outcome], workspace: Workspace, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "python.md"
    examples = [part.content for part in MarkdownIt().parse(page.read_text()) if part.info == "python"]
    assert len(examples) >= 5
    (tmp_path / "workspace").symlink_to(workspace.root)
    (tmp_path / "videos").mkdir()
    first, second = sorted((videos / "MoveRight").iterdir())[:2]
    shutil.copy(first, tmp_path / "videos" / "a.mp4")
    shutil.copy(second, tmp_path / "videos" / "b.mp4")
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, str(page), "exec"), names)
    assert names["embedded"].features_ND.shape[0] == 2 and list(names["embedded"].failed) == [Path("videos/broken.mp4")]
    # The video itself is in the set, so it is its own nearest neighbour.
    nearest = names["neighbours"].found[0][0]
    assert Path(names["index"].path(nearest.row)).name == first.name and nearest.similarity > 0.9999
    assert names["differences"].shape == (4,) and names["differences"][-1] == 0
