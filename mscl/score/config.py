"""What is measured on frozen features (METHOD 1.8)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from mscl.config.base import PositiveInt, Section


def _different(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{', '.join(map(str, numbers))} names one number twice; a mean would count it twice")
    return numbers


Splits = Annotated[tuple[Annotated[int, Field(ge=1, le=3)], ...], AfterValidator(_different)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], AfterValidator(_different)]


Superclasses = dict[str, tuple[str, ...]]


class ProbeConfig(Section):
    """Classifier on frozen features, one feature a video."""

    before: ClassVar[Mapping[str, Any]] = {
        "superclasses": {}, "epochs": 20, "lr": 0.001, "weight_decay": 0.01, "batch_size": 64
    }  # fmt: skip

    protocol: str = ""
    """Name of the protocol whose settings these are; the report says where they depart from it."""
    head: Literal["linear", "knn", "attentive"] = "linear"
    """`linear`: logistic regression. `knn`: vote of the nearest train videos. `attentive`: a learnt question attends to
    the tokens of all clips of a video, then a linear layer (V-JEPA, Bardes et al. 2024); it reads what
    `embed.tokens=true` keeps."""
    l2: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.1, 1.0, 10.0, 100.0), min_length=1)
    """Candidates of the regularisation strength 1/C, chosen by cross-validation on the train split."""
    folds: int = Field(default=3, ge=2)
    """`linear`: parts of the cross-validation that chooses `l2`; fewer where a class has fewer train videos."""
    k: PositiveInt = 20
    """`knn`: neighbours that vote, with weight exp(cosine / temperature) (Wu et al., CVPR 2018)."""
    temperature: float = Field(default=0.07, gt=0)
    """`knn` only."""
    splits: Splits = ()
    """Official splits to average over; empty: `data.split` alone. A dataset with one split is scored on that."""
    epochs: PositiveInt = 20
    """`attentive`: passes over the train split."""
    lr: float = Field(default=0.001, gt=0)
    """`attentive`: learning rate of AdamW, which falls to 0 along a cosine."""
    weight_decay: float = Field(default=0.01, ge=0)
    """`attentive`: of AdamW."""
    batch_size: PositiveInt = 64
    """`attentive`: videos a step."""
    seed: int = Field(default=0, ge=0)
    """`linear`: deals the folds of the cross-validation. `attentive`: first weights and order of the videos."""
    seeds: Seeds = ()
    """Several: each does anew what `seed` decides, and the scores are averaged. Empty: `seed` alone."""
    superclasses: Superclasses = Field(default={})
    """Classes put together under a name, as in `{turn: [TurnLeft, TurnRight], move: [MoveUp]}`: the same features are
    scored by these labels, too. Every class is in one of them."""

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Seeds to run; one for `knn`, where nothing is random."""
        return (self.seeds or (self.seed,))[: 1 if self.head == "knn" else None]


class RetrieveConfig(Section):
    """Nearest neighbours by cosine: query = test split, gallery = train split."""

    before: ClassVar[Mapping[str, Any]] = {"superclasses": {}}

    protocol: str = ""
    """Name of the protocol whose settings these are; the report says where they depart from it."""
    ks: tuple[PositiveInt, ...] = Field(default=(1, 5, 10, 20, 50), min_length=1)
    """R@k is reported for each of these k: the share of queries with a video of their class among the k nearest."""
    neighbours: PositiveInt = 10
    """Neighbours kept per query, for the pictures."""
    centre: Literal["gallery", "own", "none"] = "own"
    """What is taken off the features before they are compared. `own`: each split's own mean, as for published scores,
    so that a query's neighbours depend on the other queries. `gallery`: the train split's mean off both. `none`:
    nothing."""
    index: Literal["exact", "faiss"] = "exact"
    """`faiss` (extra of that name): approximate above 100,000 gallery items, for galleries over a million."""
    splits: Splits = ()
    """Official splits to average over; empty: `data.split` alone. A dataset with one split is scored on that."""
    superclasses: Superclasses = Field(default={})
    """As `probe.superclasses`."""
