"""What would leave nothing to score, said before videos are decoded and encoders are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mscl.config import ExperimentConfig
from mscl.errors import ConfigError, DataError
from mscl.score.superclasses import Superclasses, by_superclass, superclass_of
from storage.result_folder import Result


def check_test_videos(
    config: ExperimentConfig,
    results: Mapping[str, Result],
    *,
    splits: Sequence[int],
    superclasses: Superclasses | None = None,
) -> None:
    """Refuse a dataset with labels whose train and test videos give no score; one without labels trains all the same.

    Asks the manifest where it is there, else the annotations. `splits`: those that are scored; empty: `data.split`.

    Raises:
        ConfigError: superclasses of other classes than the dataset's.
        StorageError: an official split that the dataset does not have.
        DataError: with the reason, and what would help; groups that the settings name and no test video has.
    """
    from mscl.score.groups import Grouping
    from mscl.score.labels import evaluable_splits, manifests_of_splits, unfit

    classes: Sequence[str]
    by_coarser = ""
    if "ingest" in results:
        manifests = manifests_of_splits(results["ingest"].folder, splits, chosen=config.data.split)
        has_labels = any((manifest.column("label") >= 0).any() for manifest in manifests.values())
        reason, classes = evaluable_splits(manifests), next(iter(manifests.values())).classes
        if superclasses and not reason:
            coarser = {split: by_superclass(manifest, superclasses) for split, manifest in manifests.items()}
            by_coarser = evaluable_splits(coarser)
        format = str(results["ingest"].record.metrics.get("format", ""))
        tested = [row.video for manifest in manifests.values() for row in manifest.ok().rows() if row.split == "test"]
    else:
        from mscl.ingest.annotations import read_annotations
        from mscl.ingest.annotations.index import as_text

        annotations = read_annotations(config.data)
        classes = annotations.classes
        label = {name: number for number, name in enumerate(classes)}
        labels = [label.get(sample.class_name or "", -1) for sample in annotations.samples]
        has_labels = any(number >= 0 for number in labels)
        in_split = [sample.split for sample in annotations.samples]
        reason = unfit(in_split, labels)
        if superclasses and not reason:
            of_class, names = superclass_of(classes, superclasses), list(superclasses)
            above = [names.index(of_class[classes[number]]) if number >= 0 else -1 for number in labels]
            by_coarser = unfit(in_split, above)
        format = annotations.format
        tested = [as_text(sample.video) for sample in annotations.samples if sample.split == "test"]
    if has_labels and reason:
        raise DataError(
            f"nothing can be scored in the end: {reason}; give lists, data.test_pattern or data.test_fraction with "
            "test videos, keep more of data.classes, or end before the scores with --until embed"
        )
    if has_labels:
        Grouping.of(config.data, format=format).names(tested)  # refuses what gives none of them a group
        if by_coarser:
            raise ConfigError(f"superclasses {', '.join(superclasses or ())}: {by_coarser}; take others, or none")
