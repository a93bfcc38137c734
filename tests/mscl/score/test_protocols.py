"""Splits, videos and heads of the protocols that work on features; and what is said of a dataset."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mscl.config import ProbeConfig, RetrieveConfig
from mscl.errors import DataError
from mscl.score.attentive import VideoTokens
from mscl.score.classifier_scores import Details
from mscl.score.labels import manifests_of_splits, notes_on
from mscl.score.probe import knn_probe
from mscl.score.probe_and_retrieve import probe_variants, retrieve_variants
from mscl.score.retrieval_scores import RetrievalMetrics
from mscl.score.videos import Videos
from mscl.video.clip_indices import Shown
from storage.errors import StorageError
from storage.features import write_features
from storage.json_files import read_json
from storage.layout import Ingested
from storage.manifest import Manifest, SegmentRow, write_manifest
from storage.splits import write_splits

CLASSES = ("a", "b")


def _dataset(folder: Path, *, splits: bool = True) -> Path:
    """Four videos of each class; the last of each has three segments. Split 2 swaps train and test."""
    rows, second = [], []
    for number in range(8):
        label, test = number % 2, number >= 4
        for part in range(3 if number >= 6 else 1):
            name = f"{CLASSES[label]}/v{number}.mp4"
            rows.append(
                SegmentRow(
                    segment_id=f"{name}#{part}", video=name, class_name=CLASSES[label], label=label,
                    split="test" if test else "train",
                )
            )  # fmt: skip
            second.append("train" if test else "test")
    write_manifest(Ingested(folder).manifest_path, rows, classes=CLASSES)
    if splits:
        write_splits(folder, {1: [row.split for row in rows], 2: second})
    return folder


def _features(folder: Path, manifest: Manifest, features: np.ndarray, *, variant: str = "trained") -> Path:
    write_features(
        folder / f"{variant}.zarr",
        ids=[str(name) for name in manifest.column("segment_id")],
        labels=manifest.column("label"),
        split=[str(name) for name in manifest.column("split")],
        features_ND=features.astype(np.float32),
    )
    return folder


def test_a_dataset_with_one_split_is_scored_on_it(tmp_path: Path) -> None:
    folder = _dataset(tmp_path, splits=False)
    assert list(manifests_of_splits(folder, (1, 2, 3), chosen=1)) == [1]
    folder = _dataset(tmp_path)
    assert list(manifests_of_splits(folder, (1, 2), chosen=1)) == [1, 2]
    assert list(manifests_of_splits(folder, (), chosen=2)) == [2]
    with pytest.raises(StorageError, match="no split 3; its official splits are 1, 2"):
        manifests_of_splits(folder, (1, 2, 3), chosen=1)


def test_videos_of_segments(tmp_path: Path) -> None:
    manifest = manifests_of_splits(_dataset(tmp_path), (), chosen=1)[1]
    videos = Videos.of(manifest)
    assert len(videos) == 8 and videos.names[6:] == ("a/v6.mp4", "b/v7.mp4")
    assert videos.first_V.tolist() == [0, 1, 2, 3, 4, 5, 6, 9]
    np.testing.assert_array_equal(videos.labels_V, np.arange(8) % 2)
    values = np.arange(12, dtype=np.float32)[:, None]
    assert videos.mean(values)[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 7, 10]
    assert videos.segments(np.array([7])).tolist() == [9, 10, 11]


@pytest.mark.parametrize(("variant", "own"), [("first", 0), ("middle", 1), ("last", 2)])
def test_a_control_of_one_frame_is_one_segment_of_a_long_video(tmp_path: Path, variant: Shown, own: int) -> None:
    """The mean over its segments would be of a frame of each, and these tell what went on between them."""
    manifest = manifests_of_splits(_dataset(tmp_path), (), chosen=1)[1]
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    _features(tmp_path, manifest, features, variant=f"trained_{variant}")
    of_the_frame = features.copy()
    of_the_frame[6:9], of_the_frame[9:12] = features[6 + own], features[9 + own]
    _features(tmp_path, manifest, of_the_frame)
    retrieve_variants(tmp_path, tmp_path, manifests={1: manifest}, config=RetrieveConfig(ks=(1,)))
    found = read_json(tmp_path / "neighbours.json")
    assert found[f"trained_{variant}"] == found["trained"]
    tokens = VideoTokens.of(features[:, None].astype(np.float16), Videos.of(manifest).as_shown(variant), np.arange(8))
    assert [rows.tolist() for rows in tokens.segments] == [*([row] for row in range(6)), [6 + own], [9 + own]]


def test_frames_of_several_segments_show_what_one_frame_cannot(tmp_path: Path) -> None:
    """Places on a circle, uniform in every frame; in one class they go on by a third of it from segment to segment."""
    draws, rows, found = np.random.default_rng(0), [], []
    for number in range(160):
        label, start = number % 2, draws.uniform(0, 2 * np.pi)
        for part in range(3):
            video = f"{CLASSES[label]}/{number}.mp4"
            split = "test" if number < 80 else "train"
            rows.append(SegmentRow(f"{video}#{part}", video, CLASSES[label], label, split))
            found.append(np.maximum(np.cos(start + label * part * 2 * np.pi / 3 - np.arange(8) * np.pi / 4), 0))
    write_manifest(Ingested(tmp_path).manifest_path, rows, classes=CLASSES)
    manifest = Ingested(tmp_path).manifest()
    for variant in ("trained", "trained_first"):
        _features(tmp_path, manifest, np.array(found), variant=variant)
    config = RetrieveConfig(ks=(1,), centre="none")
    metrics = retrieve_variants(tmp_path, tmp_path, manifests={1: manifest}, config=config)
    r1 = {name: scores.recall[1].value for name, scores in metrics.variants.items()}
    assert r1["trained"] == 1.0 and r1["trained_first"] < 0.6


def test_probe_counts_videos_and_averages_splits(tmp_path: Path) -> None:
    manifests = manifests_of_splits(_dataset(tmp_path), (1, 2), chosen=1)
    # Told apart by their sign; in one segment of the long video of class b it says a, and the mean does not.
    features = np.random.default_rng(0).normal(scale=0.1, size=(12, 1))
    features[:, 0] += np.where(manifests[1].column("label") == 0, 3.0, -3.0)
    features[9, 0] = 2.0
    embedded = _features(tmp_path, manifests[1], features)
    config = ProbeConfig(l2=(1.0,), folds=2, splits=(1, 2), seeds=(0, 1))
    metrics = probe_variants(embedded, tmp_path, manifests=manifests, config=config)
    scores = metrics.variants["trained"]
    assert scores.top1.value == 1.0 and scores.num_test == 8
    assert scores.top1.interval is None and scores.top1.decides_nothing  # eight videos
    assert [(run.split, run.seed, run.num_test) for run in scores.runs] == [
        (1, 0, 4), (1, 1, 4), (2, 0, 4), (2, 1, 4),
    ]  # fmt: skip


def test_retrieval_counts_videos_and_averages_splits(tmp_path: Path) -> None:
    manifests = manifests_of_splits(_dataset(tmp_path), (1, 2), chosen=1)
    features = np.random.default_rng(1).normal(size=(12, 4))
    embedded = _features(tmp_path, manifests[1], features)
    config = RetrieveConfig(ks=(1, 2), neighbours=2)
    both = retrieve_variants(embedded, tmp_path, manifests=manifests, config=config)
    each = [
        retrieve_variants(embedded, tmp_path, manifests={1: manifest}, config=config) for manifest in manifests.values()
    ]
    for name, score in both.variants["trained"].named().items():
        assert score.value == pytest.approx(np.mean([one.variants["trained"].named()[name].value for one in each]))
        assert score.num_videos == 8
    assert (both.num_query, both.num_gallery) == (4, 4)
    assert [run.split for run in both.variants["trained"].runs] == [1, 2]
    again = RetrievalMetrics.read(both.as_record())
    assert again.as_record() == both.as_record()


def test_features_of_other_videos_are_refused(tmp_path: Path) -> None:
    manifest = manifests_of_splits(_dataset(tmp_path), (), chosen=1)[1]
    embedded = _features(tmp_path, manifest, np.zeros((12, 2)))
    with pytest.raises(DataError, match="12 other segments than the 11 of the manifest"):
        probe_variants(embedded, tmp_path, manifests={1: manifest.select(np.arange(11))}, config=ProbeConfig())


def test_knn_votes_by_hand() -> None:
    angles = np.deg2rad([0, 10, 90, 100, 5])
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    train, query = 7 * unit[:4], unit[4:]  # lengths do not matter
    labels, config = np.array([0, 1, 1, 1]), ProbeConfig(head="knn", k=2, temperature=0.07)
    probe = knn_probe(train, labels, query, np.array([0]), num_classes=3, config=config)
    # Both at 5 degrees: a tie, half and half.
    assert probe.details == Details(k=2) and probe.warnings == ()
    three = config.model_copy(update={"k": 3, "temperature": 1.0})
    weights = np.exp(np.cos(np.deg2rad([5, 5, 85])))
    told = knn_probe(train, labels, query, np.array([0]), num_classes=3, config=three)
    assert weights[0] < weights[1:].sum() and told.scores.top1 == 0.0
    many = knn_probe(train, labels, query, np.array([1]), num_classes=3, config=config.model_copy(update={"k": 9}))
    assert many.details == Details(k=4) and "4 neighbours vote instead of 9" in many.warnings[0]


def test_a_small_temperature_does_not_leave_floats() -> None:
    features = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    labels = np.arange(30) % 3
    config = ProbeConfig(head="knn", k=30, temperature=1e-4)
    probe = knn_probe(features, labels, features, labels, num_classes=3, config=config)
    assert probe.scores.top1 == 1.0  # each is its own nearest


def _manifest(rows: list[tuple[str, int, str]], tmp_path: Path, classes: tuple[str, ...] = ("a", "b", "c")) -> Manifest:
    from storage.manifest import read_manifest

    segments = [
        SegmentRow(segment_id=f"{name}#0", video=name, class_name=classes[label] if label >= 0 else "", label=label,
                   split=split)
        for name, label, split in rows
    ]  # fmt: skip
    write_manifest(Ingested(tmp_path).manifest_path, segments, classes=classes)
    return read_manifest(Ingested(tmp_path).manifest_path)


TRAIN = [("1", 0, "train"), ("2", 1, "train")]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("3", 0, "test"), ("4", 1, "test")], []),
        (
            [("3", 0, "test"), ("4", 2, "test"), ("5", 2, "test")],
            [
                "1 class (c) is in the test split and not in the train split: 2 test videos count as wrong",
                "1 class (b) is in the train split and not in the test split: never tested",
            ],
        ),
        (
            [("3", 0, "test"), ("4", 1, "test"), ("5", -1, "test")],
            ["1 of 3 videos of the test split have no label: left out"],
        ),
        (
            [("3", 0, "val"), ("4", 1, "val"), ("5", -1, "test")],
            ["the 1 videos of the test split have no labels: scored on the val split"],
        ),
    ],
)
def test_what_a_reader_must_know_is_a_line_each(
    tmp_path: Path, rows: list[tuple[str, int, str]], says: list[str]
) -> None:
    found = notes_on({1: _manifest(TRAIN + rows, tmp_path)})
    if not any(label == 2 for _, label, _ in rows):  # as where none of a class can be read
        says = [
            "1 class (c) is without a usable video in the train and test split, and counted in what a guess among "
            "3 classes would score",
            *says,
        ]
    assert found == says


def test_test_videos_that_pretraining_saw_are_counted(tmp_path: Path) -> None:
    manifests = manifests_of_splits(_dataset(tmp_path), (1, 2), chosen=1)
    assert notes_on(manifests, pretrained=manifests[1]) == [
        "split 2: pre-training saw 4 of the 4 test videos, without their labels"
    ]


def test_no_common_class_is_refused(tmp_path: Path) -> None:
    manifest = _manifest([*TRAIN, ("3", 2, "test")], tmp_path)
    embedded = _features(tmp_path, manifest, np.zeros((3, 2)))
    settings: dict[str, Any] = {"manifests": {1: manifest}}
    with pytest.raises(DataError, match="no class in common"):
        probe_variants(embedded, tmp_path, config=ProbeConfig(), **settings)
    with pytest.raises(DataError, match="no class in common"):
        retrieve_variants(embedded, tmp_path, config=RetrieveConfig(), **settings)


def test_retrieval_agrees_with_torchmetrics() -> None:
    import torch
    from torchmetrics.retrieval import RetrievalHitRate, RetrievalMAP

    from mscl.score.retrieval import prepare, retrieve

    draws = np.random.default_rng(3)
    query, gallery = (draws.normal(size=(count, 6)).astype(np.float32) for count in (20, 60))
    labels = [draws.integers(0, 7, count) for count in (20, 60)]
    result = retrieve(query, labels[0], gallery, labels[1], ks=(1, 5, 10))
    # torchmetrics takes scores of 0 and less for "not found" and leaves them out of the mean; the ranking is the same.
    cosine = 2 + torch.from_numpy(prepare(query) @ prepare(gallery).T)
    target = torch.from_numpy(labels[0][:, None] == labels[1])
    number = torch.arange(20)[:, None].expand(20, 60)
    for k, recall in result.recall.items():
        assert recall == pytest.approx(float(RetrievalHitRate(top_k=k)(cosine.ravel(), target.ravel(), number.ravel())))
    assert result.mean_ap == pytest.approx(float(RetrievalMAP()(cosine.ravel(), target.ravel(), number.ravel())))
