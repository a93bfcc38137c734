"""Embedding of variants, and the tables made of them, on a tiny dataset."""

import json
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import numpy as np
import pytest
import torch

from mscl.config import ClipConfig, EmbedConfig, ModelConfig, ProbeConfig, RetrieveConfig, RuntimeConfig
from mscl.embedding.dataset_features import embed_variants, embedded_batches, evaluation_clips
from mscl.embedding.feature_files import read_variants, tokens_name
from mscl.embedding.variants import VARIANTS
from mscl.errors import DataError
from mscl.models.encoders import untrained_encoder
from mscl.progress import Silent
from mscl.score.labels import train_and_test, unfit
from mscl.score.probe_and_retrieve import probe_variants, retrieve_variants
from storage.errors import DamagedError
from storage.features import read_tokens

RUNTIME = RuntimeConfig(device="cpu", loader_workers=0)
CLIP = ClipConfig(length=4, stride=1)
TINY = ModelConfig(rgb_width=0.0625)


def _manifest(run: Any) -> Any:
    from storage.manifest import read_manifest

    return read_manifest(run.manifest).ok()


@pytest.fixture(scope="module")
def embedded(patch_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("embed")
    encoder = untrained_encoder(TINY, seed=0)
    metrics = embed_variants(
        encoders={"trained": encoder, "untrained": untrained_encoder(TINY, seed=1)},
        manifest=_manifest(patch_run), frame_store=patch_run.extract / "frames", output=output,
        clip=CLIP, config=EmbedConfig(clips=2, crop_px=16, batch_size=8, tokens=True), runtime=RUNTIME,
        progress=Silent(),
    )  # fmt: skip
    assert metrics["videos"] == 18
    assert metrics["feature_dim"] == encoder.feature_dim
    return output


def test_every_variant_is_written_with_ids_labels_and_splits(embedded: Path, patch_run: Any) -> None:
    variants = read_variants(embedded)
    assert tuple(variants) == tuple(VARIANTS)
    manifest = _manifest(patch_run)
    for features in variants.values():
        assert features.ids == [str(name) for name in manifest.column("segment_id")]
        np.testing.assert_array_equal(features.labels_N, manifest.column("label"))
        assert features.features_ND.shape[0] == 18


def test_feature_is_the_mean_over_the_clips_of_the_encoder_output(embedded: Path, patch_run: Any) -> None:
    from mscl.video.normalise import normalise_rgb

    clips = evaluation_clips(patch_run.extract / "frames", _manifest(patch_run), clip=CLIP, clips=2, crop_px=16)
    batch = clips.load(0, np.array([7]))
    with torch.no_grad():
        expected = untrained_encoder(TINY, seed=0)(normalise_rgb(batch.rgb_BKTHW3[0])).mean(dim=0).numpy()
    np.testing.assert_allclose(read_variants(embedded)["trained"].features_ND[7], expected, rtol=1e-4, atol=1e-5)


def test_features_are_the_mean_of_the_tokens(embedded: Path) -> None:
    for name, features in read_variants(embedded).items():
        tokens_SND = read_tokens(embedded / tokens_name(name), ids=features.ids)
        assert tokens_SND.dtype == np.float16 and len(tokens_SND) == 18
        np.testing.assert_allclose(tokens_SND.mean(1, dtype=np.float32), features.features_ND, rtol=5e-3, atol=1e-3)
    with pytest.raises(DamagedError, match="of 18 other segments than the 1 asked for"):
        read_tokens(embedded / tokens_name("trained"), ids=["x"])


def test_the_attentive_probe_scores_every_variant(patch_run: Any, embedded: Path, tmp_path: Path) -> None:
    manifests = {1: _manifest(patch_run)}
    config = ProbeConfig(head="attentive", epochs=2, seeds=(0, 1))
    probe = probe_variants(embedded, tmp_path, manifests=manifests, config=config)
    assert set(probe.variants) == set(VARIANTS) and probe.head == "attentive"
    runs = probe.variants["trained"].runs
    assert [run.seed for run in runs] == [0, 1] and runs[0].details.epochs == 2
    copytree(embedded, tmp_path / "without", ignore=ignore_patterns("*.tokens.zarr"))
    with pytest.raises(DataError, match=r"no tokens for probe.head=attentive; embed again with embed.tokens=true"):
        probe_variants(tmp_path / "without", tmp_path, manifests=manifests, config=config)


def test_embedding_leaves_the_encoder_as_it_was(patch_run: Any) -> None:
    encoder = untrained_encoder(TINY, seed=0).train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    clips = evaluation_clips(
        patch_run.extract / "frames", _manifest(patch_run), clip=CLIP, clips=1, crop_px=16, shown="middle"
    )
    batches = embedded_batches(encoder, clips, videos_per_batch=4, workers=0, device=torch.device("cpu"))
    features_BD = [part["features"] for part in batches]
    assert sum(map(len, features_BD)) == 18
    assert encoder.training
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_damaged_weights_are_named_before_features_are_written(patch_run: Any, tmp_path: Path) -> None:
    encoder = untrained_encoder(TINY, seed=0)
    with torch.no_grad():
        next(encoder.parameters()).fill_(float("nan"))
    with pytest.raises(DataError, match="not finite.*lower learning rate"):
        embed_variants(
            encoders={"trained": encoder}, manifest=_manifest(patch_run), frame_store=patch_run.extract / "frames",
            output=tmp_path, clip=CLIP, config=EmbedConfig(clips=1, crop_px=16), runtime=RUNTIME, progress=Silent(),
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_probe_and_retrieval_score_every_variant_beside_chance(patch_run: Any, embedded: Path, tmp_path: Path) -> None:
    manifests = {1: _manifest(patch_run)}
    probe = probe_variants(embedded, tmp_path, manifests=manifests, config=ProbeConfig(), notes=["a note"])
    assert set(probe.variants) == set(VARIANTS) and probe.notes == ("a note",)
    assert probe.variants["trained"].top1.chance == 0.5
    full = json.loads((tmp_path / "metrics.json").read_text())
    assert np.sum(full["trained"]["confusion"]) == 6
    metrics = retrieve_variants(
        embedded, tmp_path, manifests=manifests, config=RetrieveConfig(ks=(1, 5, 50), neighbours=3)
    )
    recall = metrics.variants["trained"].recall
    assert recall[1].chance == pytest.approx(0.5)
    assert (metrics.num_query, metrics.num_gallery) == (6, 12)
    assert set(recall) == {1, 5}
    found = json.loads((tmp_path / "neighbours.json").read_text())["trained"]
    assert found["query_rows"] == list(range(12, 18))
    assert np.shape(found["gallery_rows"]) == (6, 3)
    assert np.max(found["gallery_rows"]) < 12


def test_no_features_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run the embed stage"):
        read_variants(tmp_path)


@pytest.mark.parametrize(
    ("split", "labels", "reason"),
    [
        (["train", "test"], [-1, -1], "no video has a label"),
        (["test", "test"], [0, 1], "train split"),
        (["train", "train", "test"], [0, 1, -1], "test split"),
        (["train", "test"], [0, 0], "one class"),
        (["train", "train", "test"], [0, 1, 2], "no class in common"),
        (["train", "train", "test"], [0, 1, 1], ""),
    ],
)
def test_why_a_dataset_cannot_score(split: list[str], labels: list[int], reason: str) -> None:
    found = unfit(split, np.array(labels))
    assert (reason in found) if reason else (found == "")


def test_validation_stands_in_for_a_test_split_without_labels() -> None:
    train, test = train_and_test(["train", "val", "test", "train"], np.array([0, 1, -1, 1]))
    assert train.tolist() == [0, 3]
    assert test.tolist() == [1]
