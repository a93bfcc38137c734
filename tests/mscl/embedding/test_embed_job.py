"""Embedding shared by processes, and going on after a kill."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mscl.config import ClipConfig, EmbedConfig, ModelConfig, RuntimeConfig
from mscl.embedding import process as embed_main
from mscl.embedding.dataset_features import embed_share
from mscl.embedding.feature_files import read_variants
from mscl.embedding.job import EmbedJob, run_embedding
from mscl.embedding.variants import VARIANTS
from mscl.models.encoders import untrained_encoder
from mscl.models.files import EXPORT_NAME, write_encoder
from mscl.progress import Silent
from storage.blocks import pack_arrays, unpack_arrays
from storage.manifest import read_manifest

TINY = ModelConfig(rgb_width=0.0625)


class Counted(Silent):
    """Progress that adds up."""

    def __init__(self) -> None:
        self.count = 0

    def advance(self, n: int = 1, **info: float | str) -> None:
        self.count += n


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(
        untrained_encoder(TINY, seed=0), TINY, tmp_path_factory.mktemp("encoder") / EXPORT_NAME, card={}
    )


def _job(run: Any, encoder: Path, output: Path, **runtime: Any) -> EmbedJob:
    return EmbedJob(
        checkpoint=str(encoder), seed=1, manifest_path=str(run.manifest),
        frame_store=str(run.extract / "frames"), output_folder=str(output), clip=ClipConfig(length=4, stride=1),
        embed=EmbedConfig(clips=2, crop_px=16, batch_size=8),
        runtime=RuntimeConfig(device="cpu", loader_workers=0, threads=1, **runtime),
    )  # fmt: skip


def test_two_ranks_give_the_features_of_one(patch_run: Any, encoder: Path, tmp_path: Path) -> None:
    progress = Counted()
    alone = run_embedding(_job(patch_run, encoder, tmp_path / "1", processes=1), progress=Silent())
    together = run_embedding(_job(patch_run, encoder, tmp_path / "2", processes=2), progress=progress)
    assert progress.count == 6 * 18
    for key in ("videos", "feature_dim"):
        assert alone[key] == together[key]
    assert {key for key in together if key.endswith("per_second")} == {key for key in alone if key.endswith("second")}
    one, two = read_variants(tmp_path / "1"), read_variants(tmp_path / "2")
    assert list(one) == list(two) == list(VARIANTS)
    for name in one:
        assert one[name].ids == two[name].ids
        np.testing.assert_array_equal(one[name].features_ND, two[name].features_ND)
    assert sorted(path.name for path in (tmp_path / "2").iterdir()) == sorted(f"{name}.zarr" for name in one)


def test_finished_parts_are_not_computed_again_and_damaged_ones_are(
    patch_run: Any, encoder: Path, tmp_path: Path
) -> None:
    job = _job(patch_run, encoder, tmp_path, processes=1)
    manifest = read_manifest(patch_run.manifest).ok()
    half = {"encoders": job.encoders(), "manifest": manifest, "frame_store": patch_run.extract / "frames",
            "output": tmp_path, "clip": job.clip, "config": job.embed, "runtime": job.runtime,
            "device": torch.device("cpu")}  # fmt: skip
    embed_share(**half, rank=1, world_size=2)
    part, cut = sorted((tmp_path / ".parts" / "trained").iterdir())[:2]
    seven = np.full_like(unpack_arrays(part.read_bytes(), where="part")["features"], 7)  # to be recognised
    part.write_bytes(pack_arrays({"features": seven}))
    cut.write_bytes(cut.read_bytes()[:-9])
    flipped = sorted((tmp_path / ".parts" / "untrained").iterdir())[0]
    content = bytearray(flipped.read_bytes())
    content[-20] ^= 1  # another feature, were there no checksum
    flipped.write_bytes(content)
    progress = Counted()
    metrics = run_embedding(job, progress=progress)
    assert 0 < progress.count < 6 * 18
    assert not any("per_second" in name for name in metrics), "half of it was computed before"
    found = read_variants(tmp_path)
    assert (found["trained"].features_ND == 7).all(axis=1).sum() == 4
    run_embedding(_job(patch_run, encoder, tmp_path / "whole", processes=1), progress=Counted())
    whole = read_variants(tmp_path / "whole")
    np.testing.assert_array_equal(found["untrained"].features_ND, whole["untrained"].features_ND)
    assert (found["trained"].features_ND == whole["trained"].features_ND).all(axis=1).sum() == 14


def test_a_store_that_a_killed_run_left_half_written_is_written_again(
    patch_run: Any, encoder: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_embedding(_job(patch_run, encoder, whole, processes=1), progress=Counted())
    shutil.copytree(whole, killed)
    half = killed / "trained_last.zarr"
    (half / "zarr.json").rename(half / "ids" / ".staged-1-zarr.json")  # what a group's writing ends with
    metrics = run_embedding(_job(patch_run, encoder, killed, processes=1), progress=Counted())
    assert metrics["trained_last_videos_per_second"] > 0
    assert "trained_videos_per_second" not in metrics
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert sorted(path.relative_to(killed) for path in killed.rglob("*") if path.is_file()) == files
    assert all((killed / name).read_bytes() == (whole / name).read_bytes() for name in files)


def test_a_rank_that_cannot_read_the_encoder_says_so_in_one_line(
    patch_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _job(patch_run, tmp_path / "gone.safetensors", tmp_path).save(tmp_path / "job.json")
    assert embed_main.main([str(tmp_path / "job.json")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "gone.safetensors" in said and said.count("\n") == 1
