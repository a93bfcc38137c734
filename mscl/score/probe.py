"""Classifiers on frozen features: logistic regression on standardised ones, or a vote of the nearest."""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mscl.embedding.search import nearest
from mscl.errors import DataError
from mscl.score.classification import Classification, classification
from mscl.score.classifier_scores import Details
from mscl.score.config import ProbeConfig

_MAX_ITERATIONS = 2000
_THREADS_PAY = 100e6
"""Items x features x classes from which on a fit may use several threads: of less they wait for one another, on a busy
machine six times as long as one thread works (benchmarks/probe.py)."""


@dataclass(frozen=True)
class Probe:
    """Scores of the classifier, and how it was chosen."""

    scores: Classification
    details: Details
    warnings: tuple[str, ...] = ()
    """What the solver and the cross-validation complained about; empty when all is well."""


def knn_probe(
    train_ND: npt.NDArray[np.float32],
    train_labels: npt.NDArray[np.int64],
    test_ND: npt.NDArray[np.float32],
    test_labels: npt.NDArray[np.int64],
    *,
    num_classes: int,
    config: ProbeConfig,
    train_groups: npt.NDArray[np.int64] | None = None,
    test_groups: npt.NDArray[np.int64] | None = None,
) -> Probe:
    """Vote of the `k` train items nearest by cosine, each with weight exp(cosine / temperature) (Wu et al., CVPR 2018).

    Features are L2-normalised and otherwise as they are; nothing is learnt or chosen.

    Raises:
        DataError: as `linear_probe`.
    """
    _check(train_ND, train_labels, test_ND)
    k = min(config.k, len(train_ND))
    similarity_QK, index_QK = nearest(_unit(test_ND), _unit(train_ND), k)
    # Relative to the nearest: exp(1 / temperature) alone may leave float32.
    weight_QK = np.exp((similarity_QK - similarity_QK[:, :1]).astype(np.float64) / config.temperature)
    votes_QC = np.zeros((len(test_ND), num_classes))
    np.add.at(votes_QC, (np.arange(len(test_ND))[:, None], train_labels[index_QK]), weight_QK)
    probabilities = (votes_QC / votes_QC.sum(axis=1, keepdims=True)).astype(np.float32)
    notes = () if k == config.k else (f"{k} neighbours vote instead of {config.k}: that many train videos there are",)
    return Probe(classification(probabilities, test_labels, groups_N=test_groups), Details(k=k), notes)


def _unit(features_ND: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(features_ND, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = features_ND / np.maximum(length, np.finfo(np.float32).tiny)
    return unit


def linear_probe(
    train_ND: npt.NDArray[np.float32],
    train_labels: npt.NDArray[np.int64],
    test_ND: npt.NDArray[np.float32],
    test_labels: npt.NDArray[np.int64],
    *,
    num_classes: int,
    config: ProbeConfig,
    train_groups: npt.NDArray[np.int64] | None = None,
    test_groups: npt.NDArray[np.int64] | None = None,
) -> Probe:
    """Fit on train, score on test. The test split takes no part in any choice: features are standardised
    by the train split's mean and deviation, the regularisation is chosen by cross-validation on it, whose folds keep
    the videos of one of `train_groups` together. Those of one of `test_groups` vary together in the intervals.

    Raises:
        DataError: an empty split, fewer than two train classes, or features that are not finite.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    _check(train_ND, train_labels, test_ND)
    notes: list[str] = []
    # A fold takes whole groups: a class needs as many of them as there are folds.
    units = np.stack([train_labels, np.arange(len(train_labels)) if train_groups is None else train_groups], axis=1)
    smallest = int(np.unique(np.unique(units, axis=0)[:, 0], return_counts=True)[1].min())
    item = "item" if train_groups is None else "group"
    folds = min(config.folds, smallest)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MAX_ITERATIONS))
    threads = None if train_ND.size * num_classes >= _THREADS_PAY else 1
    with threadpool_limits(threads), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Of many classes of few videos: labels are classes here, and never numbers to regress on.
        warnings.filterwarnings("ignore", ".*could represent a regression problem", UserWarning)
        if folds < 2 or len(config.l2) == 1:
            l2 = sorted(config.l2)[len(config.l2) // 2]
            folds = 0
            if len(config.l2) > 1:
                notes.append(f"the smallest train class has {smallest} {item}: no cross-validation, l2 {l2} was taken")
            model.set_params(logisticregression__C=1 / l2).fit(train_ND, train_labels)
        else:
            if folds < config.folds:
                notes.append(
                    f"the smallest train class has {smallest} {item}s: {folds} folds instead of {config.folds}"
                )
            kind = StratifiedKFold if train_groups is None else StratifiedGroupKFold
            splitter = kind(folds, shuffle=True, random_state=config.seed)
            # Strongest first: of equal candidates the search keeps the first, the simplest model.
            grid = {"logisticregression__C": [1 / l2 for l2 in sorted(config.l2, reverse=True)]}
            search = GridSearchCV(model, grid, cv=splitter).fit(train_ND, train_labels, groups=train_groups)
            model, l2 = search.best_estimator_, 1 / search.best_params_["logisticregression__C"]
    unfinished = sum(issubclass(w.category, ConvergenceWarning) for w in caught)
    if unfinished:
        notes.append(f"{unfinished} of the fits did not converge within {_MAX_ITERATIONS} iterations")
    notes += sorted({str(w.message) for w in caught if not issubclass(w.category, ConvergenceWarning)})
    probabilities = np.zeros((len(test_ND), num_classes), np.float32)
    # A class that the train split lacks has no column in the model: its probability is 0.
    probabilities[:, model.classes_] = model.predict_proba(test_ND)
    return Probe(
        classification(probabilities, test_labels, groups_N=test_groups),
        Details(l2=float(l2), folds=folds, train_accuracy=float(model.score(train_ND, train_labels))),
        tuple(notes),
    )


def _check(
    train_ND: npt.NDArray[np.float32], train_labels: npt.NDArray[np.int64], test_ND: npt.NDArray[np.float32]
) -> None:
    check_split(train_labels, num_test=len(test_ND))
    for name, features in (("train", train_ND), ("test", test_ND)):
        if not np.isfinite(features).all():
            raise DataError(f"probe: features of the {name} split are not finite; the encoder diverged")


def check_split(train_labels: npt.NDArray[np.int64], *, num_test: int) -> None:
    """Refuse what no classifier can be made of, or tested on.

    Raises:
        DataError: an empty split, train items without a label, or fewer than two train classes.
    """
    for name, number in (("train", len(train_labels)), ("test", num_test)):
        if number == 0:
            raise DataError(f"probe: the {name} split is empty; check the split of the dataset")
    if (train_labels < 0).any():
        raise DataError(f"probe: {int((train_labels < 0).sum())} train items have no label")
    if len(np.unique(train_labels)) < 2:
        raise DataError("probe: the train split has one class; a classifier needs at least two")
