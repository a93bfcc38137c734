"""Retrieval against brute force, closed forms and hand-made rankings."""

from itertools import permutations
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mscl.embedding import search
from mscl.embedding.search import nearest
from mscl.errors import DataError
from mscl.score.retrieval import (
    average_precision,
    average_precision_chance,
    prepare,
    recall_chance,
    retrieve,
)


def _circle(degrees: list[float]) -> np.ndarray:
    """Unit vectors at these angles."""
    angle_rad = np.deg2rad(degrees)
    return np.stack([np.cos(angle_rad), np.sin(angle_rad)], axis=1).astype(np.float32)


def test_prepare_centres_by_the_own_mean_and_normalises() -> None:
    features = np.array([[1, 0], [3, 0], [2, 5]], np.float32)
    prepared = prepare(features)
    expected = features - [2, 5 / 3]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(prepared, expected, rtol=1e-6)


def test_features_that_are_all_alike_score_chance_and_are_said() -> None:
    """In the order of the classes, as datasets have them, mAP was .25 where chance is .156."""
    gallery_labels, query_labels = np.repeat(np.arange(8), 16), np.repeat(np.arange(8), 4)
    result = retrieve(np.ones((32, 4)), query_labels, np.ones((128, 4)), gallery_labels)
    assert result.mean_ap == pytest.approx(result.mean_ap_chance, abs=0.03)
    assert result.recall[10] > 0.5
    assert any(note.startswith("warning: to 32 of 32 test videos the first 50 train") for note in result.notes)


def test_prepare_leaves_equal_features_at_zero() -> None:
    assert not prepare(np.full((7, 3), 0.1, np.float32)).any()


def test_splits_are_centred_apart_so_an_offset_between_them_does_not_matter() -> None:
    gallery = _circle([0, 90, 180, 270])
    query = gallery + np.float32([100, -50])
    labels = np.arange(4)
    result = retrieve(query, labels, gallery, labels, ks=(1,))
    assert result.recall == {1: 1.0}
    np.testing.assert_array_equal(result.neighbours_QK[:, 0], labels)


def test_the_own_mean_of_a_test_split_of_one_class_takes_its_class_away() -> None:
    """Two classes of the gallery lie at +-1 on an axis and differ in nothing else; all queries are of the first."""
    draws = np.random.default_rng(0)
    gallery_labels, query_labels = np.arange(40) % 2, np.zeros(30, np.int64)

    def features(labels: np.ndarray) -> np.ndarray:
        noise = 0.1 * draws.normal(size=(len(labels), 4))
        return (noise + np.outer(1 - 2 * labels, [1, 0, 0, 0]) + [9, 0, 0, 0]).astype(np.float32)

    query, gallery = features(query_labels), features(gallery_labels)
    found = {
        centre: retrieve(query, query_labels, gallery, gallery_labels, ks=(1,), centre=centre)
        for centre in ("own", "gallery", "none")
    }
    assert found["gallery"].recall[1] == 1.0 and found["own"].recall[1] < 0.8
    uncentred = [row / np.linalg.norm(row) for row in gallery]
    nearest_0 = int(np.argmax(uncentred @ (query[0] / np.linalg.norm(query[0]))))
    assert found["none"].neighbours_QK[0, 0] == nearest_0
    assert found["gallery"].notes == found["none"].notes == ()
    said, warned = found["own"].notes
    assert "centred by the mean of the test split" in said and "retrieve.centre=gallery" in said
    assert "warning: the mean of 30 test videos of one class is no neutral point" in warned


def test_a_hundred_test_videos_of_several_classes_are_centred_without_a_warning() -> None:
    features, labels = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32), np.arange(100) % 2
    (said,) = retrieve(features, labels, features, labels, ks=(1,)).notes
    assert "centred by the mean of the test split" in said
    assert (
        "warning: the mean of 99 test videos is"
        in retrieve(features[1:], labels[1:], features, labels, ks=(1,)).notes[1]
    )


def test_queries_of_one_group_vary_together() -> None:
    features, labels = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32), np.arange(60) % 2
    alone, together = (
        retrieve(features, labels, features[::-1].copy(), labels, ks=(1, 5), query_groups=groups)
        for groups in (None, np.arange(60) // 30)
    )
    assert alone.recall == together.recall and alone.recall_interval[1] is not None
    assert together.recall_interval == {1: None, 5: None} and together.mean_ap_interval is None


def test_recall_and_average_precision_of_a_known_ranking() -> None:
    # Symmetric about the origin, so centring changes nothing. Seen from 0 degrees the gallery ranks 10, -60, 130, 180.
    gallery = _circle([10, -60, 130, 180])
    order = np.argsort(-(_circle([0]) @ gallery.T)[0])
    np.testing.assert_array_equal(order, [0, 1, 2, 3])
    labels = np.array([7, 3, 3, 7])
    precision = average_precision(_circle([0]), np.array([3]), gallery, labels)
    # Relevant at ranks 2 and 3: (1/2 + 2/3) / 2.
    assert precision[0] == pytest.approx((1 / 2 + 2 / 3) / 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.booleans(), st.integers(0, 1000))
def test_average_precision_is_that_of_a_full_stable_sort(size: int, classes: int, ties: bool, seed: int) -> None:
    draws = np.random.default_rng(seed)
    gallery = draws.normal(size=(size, 3)).astype(np.float32)
    if ties:
        gallery = np.round(gallery)
    query, labels = np.round(draws.normal(size=(4, 3)).astype(np.float32)), draws.integers(0, classes, size)
    query_labels = draws.integers(0, classes, 4)
    found = average_precision(query, query_labels, gallery, labels)
    for row, (scores, label) in enumerate(zip(query @ gallery.T, query_labels, strict=True)):
        right = labels[np.argsort(-scores, kind="stable")] == label
        expected = (np.cumsum(right) / np.arange(1, size + 1))[right].mean() if right.any() else np.nan
        np.testing.assert_allclose(found[row], expected)


def test_recall_counts_any_of_the_first_k() -> None:
    draws = np.random.default_rng(0)
    query, gallery = draws.normal(size=(40, 5)).astype(np.float32), draws.normal(size=(60, 5)).astype(np.float32)
    query_labels, gallery_labels = draws.integers(0, 6, 40), draws.integers(0, 6, 60)
    result = retrieve(query, query_labels, gallery, gallery_labels, ks=(1, 5, 20), neighbours=3)
    scores = prepare(query) @ prepare(gallery).T
    order = np.argsort(-scores, axis=1)
    for k in (1, 5, 20):
        expected = (gallery_labels[order[:, :k]] == query_labels[:, None]).any(axis=1).mean()
        assert result.recall[k] == pytest.approx(expected)
        low, high = result.recall_interval[k]
        assert low <= result.recall[k] <= high
    np.testing.assert_array_equal(result.neighbours_QK, order[:, :3])


def test_k_above_the_gallery_is_left_out_and_said() -> None:
    features, labels = _circle([0, 120, 240]), np.array([0, 1, 2])
    result = retrieve(features, labels, features, labels, ks=(1, 3, 50), neighbours=10)
    assert sorted(result.recall) == [1, 3]
    assert result.recall[3] == 1.0
    assert result.neighbours_QK.shape == (3, 3)
    assert any("R@50" in note and "3 items" in note for note in result.notes)


def test_a_search_that_may_miss_neighbours_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mscl.score.retrieval.nearest_by_faiss", nearest)
    features, labels = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), np.arange(20) % 2

    def said(index: Literal["exact", "faiss"]) -> bool:
        notes = retrieve(features, labels, features, labels, ks=(1,), index=index).notes
        return any("may miss nearer ones" in note for note in notes)

    assert not said("exact") and not said("faiss"), "a small gallery is searched whole"
    monkeypatch.setattr("mscl.embedding.approximate_search._EXACT_UP_TO", 10)
    assert said("faiss") and not said("exact")


def test_label_absent_from_the_gallery_is_a_miss_and_no_part_of_map() -> None:
    features = _circle([0, 90, 180, 270])
    result = retrieve(features, np.array([0, 1, 2, 9]), features, np.array([0, 1, 2, 3]), ks=(1,))
    assert result.recall[1] == 0.75
    assert result.mean_ap == pytest.approx(1.0)
    said = "1 of 4 test videos are of classes without a train video (1): misses in R@k, and no part of mAP"
    assert said in result.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gallery_ND": np.zeros((0, 2), np.float32), "gallery_labels": np.zeros(0, int)}, "gallery.*empty"),
        ({"query_labels": np.array([-1, 0, 1])}, "1 of 3 query items have no label"),
        ({"query_labels": np.array([7, 8, 9])}, "no class in common"),
        ({"query_ND": np.zeros((3, 4), np.float32)}, "4 channels, gallery features 2"),
        ({"query_ND": np.full((3, 2), np.nan, np.float32)}, "not finite"),
    ],
)
def test_unfit_input_is_one_clear_line(change: dict[str, np.ndarray], message: str) -> None:
    features, labels = _circle([0, 120, 240]), np.array([0, 1, 2])
    given = {"query_ND": features, "query_labels": labels, "gallery_ND": features, "gallery_labels": labels}
    with pytest.raises(DataError, match=message):
        retrieve(**(given | change))


@pytest.mark.parametrize(("size", "relevant"), [(5, 1), (5, 2), (6, 4), (4, 4)])
def test_chance_is_the_mean_over_every_order(size: int, relevant: int) -> None:
    items = [1] * relevant + [0] * (size - relevant)
    orders = np.array(list(permutations(items)))
    for k in range(1, size + 1):
        expected = orders[:, :k].any(axis=1).mean()
        assert recall_chance(np.array([relevant]), size, k) == pytest.approx(expected)
    precision = np.cumsum(orders, axis=1) / np.arange(1, size + 1)
    expected_ap = ((precision * orders).sum(axis=1) / relevant).mean()
    assert average_precision_chance(np.array([relevant]), size) == pytest.approx(expected_ap)


def test_chance_averages_over_queries_of_unequal_classes() -> None:
    both = recall_chance(np.array([1, 3, 3]), 10, 2)
    single = [recall_chance(np.array([n]), 10, 2) for n in (1, 3, 3)]
    assert both == pytest.approx(np.mean(single))
    assert recall_chance(np.array([0]), 10, 10) == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 90), st.integers(1, 6), st.integers(0, 1000))
def test_blockwise_search_is_a_full_sort(queries: int, gallery: int, k: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    query_QD = draws.normal(size=(queries, 4)).astype(np.float32)
    gallery_GD = draws.normal(size=(gallery, 4)).astype(np.float32)
    k = min(k, gallery)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_BLOCK_QUERIES", 16)
        patch.setattr(search, "_BLOCK_GALLERY", 7)
        similarity, index = nearest(query_QD, gallery_GD, k)
    scores = query_QD @ gallery_GD.T
    np.testing.assert_allclose(similarity, -np.sort(-scores, axis=1)[:, :k], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(scores, index, 1), similarity, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(1, 60), st.integers(1, 9), st.integers(0, 1000))
def test_of_equal_products_the_first_rows_are_taken(queries: int, gallery: int, k: int, seed: int) -> None:
    # Products of small whole numbers are exact, and most of them are equal to others.
    draws = np.random.default_rng(seed)
    query_QD, gallery_GD = (draws.integers(-1, 2, (count, 3)).astype(np.float32) for count in (queries, gallery))
    k = min(k, gallery)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_BLOCK_QUERIES", 6)
        patch.setattr(search, "_BLOCK_GALLERY", 11)
        similarity, index = nearest(query_QD, gallery_GD, k)
    scores = query_QD @ gallery_GD.T
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_array_equal(similarity, np.take_along_axis(scores, expected, 1))


def test_a_gallery_of_one_vector_gives_its_first_rows() -> None:
    similarity, index = nearest(np.zeros((300, 4), np.float32), np.ones((1500, 4), np.float32), 9)
    assert not similarity.any()
    np.testing.assert_array_equal(index, np.tile(np.arange(9), (300, 1)))


def test_the_best_may_come_last() -> None:
    draws = np.random.default_rng(3)
    query = draws.normal(size=(700, 16)).astype(np.float32)
    gallery = np.sort(draws.normal(size=(5000, 16)).astype(np.float32), axis=0)
    _, index = nearest(query, gallery, 20)
    np.testing.assert_array_equal(index, np.argsort(-(query @ gallery.T), axis=1)[:, :20])


def test_a_gallery_is_read_from_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    draws = np.random.default_rng(4)
    query, gallery = (draws.normal(size=(count, 8)).astype(np.float32) for count in (5, 40))
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    np.testing.assert_array_equal(nearest(query, mapped, 3)[1], nearest(query, gallery, 3)[1])


def test_search_refuses_k_above_the_gallery() -> None:
    with pytest.raises(ValueError, match="k = 4.*size 3"):
        nearest(_circle([0]), _circle([0, 1, 2]), 4)
