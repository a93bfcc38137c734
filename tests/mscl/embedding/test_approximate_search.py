"""FAISS beside the exact search."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from mscl.embedding.approximate_search import nearest_by_faiss
from mscl.embedding.search import nearest
from mscl.errors import ConfigError
from mscl.score.retrieval import retrieve

needs_faiss = pytest.mark.skipif(
    find_spec("faiss") is None,
    reason="FAISS is not installed (extra `faiss`)",
)


def _unit(rows: int, *, around: int, seed: int) -> np.ndarray:
    """Unit vectors in `around` clusters, as features of videos lie."""
    draws = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(around, 24))
    vectors = centres[draws.integers(0, around, rows)] + 0.4 * draws.normal(size=(rows, 24))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@needs_faiss
def test_small_galleries_are_searched_exactly() -> None:
    query, gallery = _unit(200, around=30, seed=1), _unit(3000, around=30, seed=2)
    similarity, rows = nearest_by_faiss(query, gallery, 10)
    exact_similarity, exact_rows = nearest(query, gallery, 10)
    np.testing.assert_array_equal(rows, exact_rows)
    np.testing.assert_allclose(similarity, exact_similarity, rtol=1e-5)


@needs_faiss
def test_retrieval_scores_alike_with_either_index() -> None:
    query, gallery = _unit(40, around=5, seed=1), _unit(300, around=5, seed=2)
    labels = np.random.default_rng(4)
    query_labels, gallery_labels = labels.integers(0, 5, 40), labels.integers(0, 5, 300)
    exact, faiss = (
        retrieve(query, query_labels, gallery, gallery_labels, ks=(1, 10), index=index) for index in ("exact", "faiss")
    )
    assert faiss.recall == exact.recall
    assert faiss.mean_ap == exact.mean_ap
    np.testing.assert_array_equal(faiss.neighbours_QK, exact.neighbours_QK)


@needs_faiss
def test_lists_find_nearly_all_and_all_lists_find_all() -> None:
    query, gallery = _unit(200, around=30, seed=1), _unit(6000, around=30, seed=2)
    _, exact = nearest(query, gallery, 10)
    _, some = nearest_by_faiss(query, gallery, 10, lists=64)
    shared = np.mean([len(set(a) & set(b)) for a, b in zip(some.tolist(), exact.tolist(), strict=True)]) / 10
    assert shared > 0.9
    _, all_lists = nearest_by_faiss(query, gallery, 10, lists=64, probes=64)
    np.testing.assert_array_equal(all_lists, exact)


@needs_faiss
def test_queries_in_sparse_cells_still_get_all_their_neighbours() -> None:
    query, gallery = _unit(50, around=30, seed=1), _unit(3000, around=30, seed=2)
    _, rows = nearest_by_faiss(query, gallery, 500, lists=64, probes=1)
    assert (rows >= 0).all()
    assert all(len(set(found)) == 500 for found in rows.tolist())


def test_without_faiss_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"pip install -e .\.\[faiss\]"):
        nearest_by_faiss(np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), 1)
