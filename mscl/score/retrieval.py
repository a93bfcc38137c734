"""Nearest-neighbour retrieval (METHOD 1.8): query = test split, gallery = train split.

Features are centred, by default each split by its own mean, and L2-normalised; neighbours are exact, by
cosine. R@k is the share of queries that find their label among their k nearest. Chance is the
expectation of the same number over random orders of the same gallery, in closed form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mscl.array_types import Floats, Ints
from mscl.embedding.approximate_search import is_approximate, nearest_by_faiss
from mscl.embedding.search import nearest, similarity_blocks
from mscl.errors import DataError
from mscl.score.intervals import Interval, mean_interval

Centre = Literal["gallery", "own", "none"]

FEW_TO_CENTRE_BY = 100
"""Under so many test videos their own mean is no neutral point."""


@dataclass(frozen=True)
class Retrieval:
    """Scores of one set of features; fractions in 0..1."""

    recall: dict[int, float]
    """k -> R@k, for every k that the gallery is large enough for."""
    recall_interval: dict[int, Interval | None]
    recall_chance: dict[int, float]
    mean_ap: float
    """Mean average precision over the whole ranking, over queries whose label the gallery has."""
    mean_ap_interval: Interval | None
    mean_ap_chance: float
    neighbours_QK: Ints
    """Gallery rows nearest to each query, best first."""
    similarity_QK: Floats
    """Their cosines."""
    hit_QK: npt.NDArray[np.bool_]
    """Whether one of the first 1, 2, ... neighbours has the query's label."""
    precision_Q: npt.NDArray[np.float64]
    """Average precision of every query; NaN where the gallery lacks its label."""
    notes: tuple[str, ...]
    """What a reader of the numbers must know: k left out, labels that one side lacks."""


def prepare(features_ND: Floats, *, mean_D: Floats | None = None) -> Floats:
    """Centre and L2-normalise; a feature equal to the mean stays zero.

    Args:
        mean_D: what is taken off; None: the features' own mean.

    Raises:
        DataError: features that are not finite.
    """
    features = np.asarray(features_ND, dtype=np.float32)
    if features.ndim != 2 or len(features) == 0:
        raise DataError(f"features must be (N, D) with N of at least 1, got shape {features.shape}")
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features).all(axis=1)).sum())
        raise DataError(f"{bad} of {len(features)} features are not finite; the encoder is damaged or diverged")
    centred = features - (_mean(features) if mean_D is None else mean_D)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    # What is left of equal features is rounding, not direction.
    tiny = 1e-6 * max(1.0, float(np.abs(features).max()))
    return np.where(norm > tiny, centred / np.maximum(norm, tiny), 0).astype(np.float32)


def _mean(features_ND: Floats) -> Floats:
    mean: Floats = features_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def prepared(query_ND: Floats, gallery_ND: Floats, centre: Centre) -> tuple[Floats, Floats]:
    """Both sides, centred as asked for and L2-normalised."""
    if centre == "own":
        return prepare(query_ND), prepare(gallery_ND)
    mean_D = np.zeros(gallery_ND.shape[1], np.float32) if centre == "none" else _mean(gallery_ND)
    return prepare(query_ND, mean_D=mean_D), prepare(gallery_ND, mean_D=mean_D)


def centring_notes(query_labels: Ints, centre: Centre) -> list[str]:
    """What a reader must know where the queries are centred by their own mean."""
    if centre != "own":
        return []
    notes = [
        "test videos are centred by the mean of the test split, as papers do it: what a video finds depends on the "
        "other test videos (retrieve.centre=gallery takes the train split's mean)"
    ]
    few = len(query_labels) < FEW_TO_CENTRE_BY
    one = len(np.unique(query_labels)) == 1
    if few or one:
        what = f"{len(query_labels)} test videos" + (" of one class" if one else "")
        notes.append(
            f"warning: the mean of {what} is no neutral point and takes away what they share; "
            "set retrieve.centre=gallery"
        )
    return notes


def retrieve(
    query_ND: Floats,
    query_labels: Ints,
    gallery_ND: Floats,
    gallery_labels: Ints,
    *,
    ks: Sequence[int] = (1, 5, 10, 20, 50),
    neighbours: int = 10,
    index: Literal["exact", "faiss"] = "exact",
    centre: Centre = "own",
    query_groups: Ints | None = None,
) -> Retrieval:
    """Rank the gallery for every query and score the ranking.

    `index="faiss"` finds neighbours, and so R@k, approximately in a large gallery; mAP ranks all of it in any case.
    Queries of one of `query_groups` vary together in the intervals.
    A k above the gallery's size asks for more than there is: it is left out, and a note says so.
    A query whose label no gallery item has counts as a miss in R@k and not at all in mAP.
    Gallery items that are equally near come in one random order, the same for all queries and at every call.

    Raises:
        DataError: an empty side, unlabelled items (label < 0), sizes that do not fit, or no label in common.
    """
    _check(query_ND, query_labels, gallery_ND, gallery_labels)
    query, gallery = prepared(query_ND, gallery_ND, centre)
    used = sorted({k for k in ks if k <= len(gallery)})
    notes = centring_notes(query_labels, centre)
    notes += [f"R@{k} left out: the gallery has {len(gallery)} items" for k in sorted(set(ks) - set(used))]
    if absent := sorted(set(query_labels.tolist()) - set(gallery_labels.tolist())):
        lost = int(np.isin(query_labels, absent).sum())
        notes.append(
            f"{lost} of {len(query)} test videos are of classes without a train video ({len(absent)}): misses in R@k, "
            "and no part of mAP"
        )
    depth = min(len(gallery), max([neighbours, *used]))
    find = nearest if index == "exact" else nearest_by_faiss
    if index == "faiss" and is_approximate(len(gallery)):
        notes.append(
            "neighbours, and so R@k, were searched in a part of the gallery alone and may miss nearer ones "
            "(retrieve.index=exact misses none)"
        )
    # Datasets are sorted by class. In that order features that are all alike would have an average precision far above
    # chance, so equally near items come in one that knows nothing of classes.
    order_G = np.random.default_rng(0).permutation(len(gallery))
    gallery, gallery_labels = gallery[order_G], gallery_labels[order_G]
    similarity_QK, place_QK = find(query, gallery, depth)
    hit_QK = np.logical_or.accumulate(gallery_labels[place_QK] == query_labels[:, None], axis=1)
    precision_Q = average_precision(query, query_labels, gallery, gallery_labels)
    if depth > 1 and (alike := int((similarity_QK[:, 0] == similarity_QK[:, -1]).sum())):
        notes.append(
            f"warning: to {alike} of {len(query)} test videos the first {depth} train videos are all equally near, and "
            "come in random order: the encoder gives many videos one feature"
        )
    known = np.isfinite(precision_Q)
    precision = precision_Q[known]
    counts = _class_counts(query_labels, gallery_labels)
    return Retrieval(
        recall={k: float(hit_QK[:, k - 1].mean()) for k in used},
        recall_interval={k: mean_interval(hit_QK[:, k - 1], query_groups) for k in used},
        recall_chance={k: recall_chance(counts, len(gallery), k) for k in used},
        mean_ap=float(precision.mean()),
        mean_ap_interval=mean_interval(precision, None if query_groups is None else query_groups[known]),
        mean_ap_chance=average_precision_chance(counts[counts > 0], len(gallery)),
        neighbours_QK=order_G[place_QK[:, :neighbours]],
        similarity_QK=similarity_QK[:, :neighbours],
        hit_QK=hit_QK,
        precision_Q=precision_Q,
        notes=tuple(notes),
    )


def average_precision(
    query_ND: Floats, query_labels: Ints, gallery_ND: Floats, gallery_labels: Ints
) -> npt.NDArray[np.float64]:
    """Average precision of every query over its whole ranking, ties in gallery order.

    Returns (Q,) float64, NaN for a query whose label no gallery item has.
    """
    found = np.full(len(query_ND), np.nan)
    for start, scores_QG in similarity_blocks(query_ND, gallery_ND):
        for row, scores_G in enumerate(scores_QG):
            ranks = _ranks(scores_G, np.flatnonzero(gallery_labels == query_labels[start + row]))
            if len(ranks):
                found[start + row] = (np.arange(1, len(ranks) + 1) / ranks).mean()
    return found


def _ranks(scores_G: Floats, relevant: Ints) -> Ints:
    """Ranks (from 1, ascending) of the relevant items when scores fall, ties in gallery order."""
    # Sorting values takes a tenth of the time of sorting places; without ties the values say the ranks.
    ascending = np.sort(scores_G)
    values = scores_G[relevant]
    not_above = np.searchsorted(ascending, values, side="right")
    if np.array_equal(np.searchsorted(ascending, values, side="left"), not_above - 1):
        return np.sort(len(scores_G) - not_above + 1)
    place = np.empty(len(scores_G), np.int64)
    place[np.argsort(-scores_G, kind="stable")] = np.arange(1, len(scores_G) + 1)
    return np.sort(place[relevant])


def recall_chance(relevant_Q: Ints, gallery_size: int, k: int) -> float:
    """Expected R@k when the gallery is ordered at random.

    A query with n relevant items among G misses all of them with probability C(G - n, k) / C(G, k)
    (hypergeometric); `relevant_Q` holds n for every query.
    """
    counts, weight = np.unique(relevant_Q, return_counts=True)
    drawn = np.arange(k)
    miss = [float(np.prod(np.clip(gallery_size - n - drawn, 0, None) / (gallery_size - drawn))) for n in counts]
    return float(np.average(1 - np.array(miss), weights=weight))


def average_precision_chance(relevant_Q: Ints, gallery_size: int) -> float:
    """Expected average precision of a random order, mean over queries with n = `relevant_Q` relevant items.

    E[AP] = (1/G) * sum_i (1 + (i - 1)(n - 1)/(G - 1)) / i: the item at rank i is relevant with probability
    n/G, and then each of the i - 1 items above it with probability (n - 1)/(G - 1).
    """
    counts, weight = np.unique(relevant_Q, return_counts=True)
    harmonic = float((1 / np.arange(1, gallery_size + 1)).sum())
    share = (counts - 1) / max(gallery_size - 1, 1)
    return float(np.average(share + (1 - share) * harmonic / gallery_size, weights=weight))


def _class_counts(query_labels: Ints, gallery_labels: Ints) -> Ints:
    labels, counts = np.unique(gallery_labels, return_counts=True)
    table = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    return np.array([table.get(label, 0) for label in query_labels.tolist()], dtype=np.int64)


def _check(query_ND: Floats, query_labels: Ints, gallery_ND: Floats, gallery_labels: Ints) -> None:
    for name, features, labels in (("query", query_ND, query_labels), ("gallery", gallery_ND, gallery_labels)):
        if len(features) == 0:
            split = "test" if name == "query" else "train"
            raise DataError(f"retrieval: the {name} ({split} split) is empty; check the split of the dataset")
        if len(features) != len(labels):
            raise DataError(f"retrieval: {len(features)} {name} features but {len(labels)} labels")
        if (unlabelled := int((labels < 0).sum())) > 0:
            raise DataError(f"retrieval: {unlabelled} of {len(labels)} {name} items have no label")
    if query_ND.shape[1] != gallery_ND.shape[1]:
        raise DataError(
            f"retrieval: query features have {query_ND.shape[1]} channels, gallery features {gallery_ND.shape[1]}; "
            "embed both with the same encoder"
        )
    if not set(query_labels.tolist()) & set(gallery_labels.tolist()):
        raise DataError("retrieval: test and train split have no class in common; check the split of the dataset")
