"""The same videos by coarser labels: classes that are put together under a name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscl.errors import ConfigError

if TYPE_CHECKING:
    from storage.manifest import Manifest

Superclasses = Mapping[str, Sequence[str]]
RECORDED = "superclasses"
"""Name in a stage's metrics of what was scored by superclass: metrics of the same form."""


def with_superclasses(
    manifests: "Mapping[int, Manifest]",
    superclasses: Superclasses,
    score: "Callable[[Mapping[int, Manifest], Path], dict[str, Any]]",
    folder: Path,
) -> dict[str, Any]:
    """`score` of the manifests, which leaves files in `folder`; with superclasses, that of them in it, too."""
    record = score(manifests, folder)
    if not superclasses:
        return record
    below = folder / RECORDED
    below.mkdir(exist_ok=True)
    relabelled = {split: by_superclass(manifest, superclasses) for split, manifest in manifests.items()}
    return {**record, RECORDED: {"names": list(superclasses), **score(relabelled, below)}}


def superclass_of(classes: Sequence[str], superclasses: Superclasses) -> dict[str, str]:
    """Class -> the superclass that it is in.

    Raises:
        ConfigError: a class in none or in several superclasses, or one that the dataset does not have; one superclass.
    """
    of_class: dict[str, str] = {}
    for name, members in superclasses.items():
        for one in members:
            if one in of_class:
                raise ConfigError(f"superclasses: {one!r} is in {of_class[one]!r} and in {name!r}; put it into one")
            if one not in classes:
                raise ConfigError(
                    f"superclasses: {name!r} has {one!r}, which is no class of this dataset "
                    f"({', '.join(classes[:8])}); take superclasses of its classes, or none"
                )
            of_class[one] = name
    if left := [one for one in classes if one not in of_class]:
        raise ConfigError(f"superclasses: {', '.join(left[:5])} in none of {', '.join(superclasses)}; add them to one")
    if len(superclasses) < 2:
        raise ConfigError(f"superclasses: all classes are in {', '.join(superclasses)}; scores need at least two")
    return of_class


def by_superclass(manifest: "Manifest", superclasses: Superclasses) -> "Manifest":
    """The rows of a manifest with their superclass as label; unlabelled ones stay so.

    Raises:
        ConfigError: as `superclass_of`.
    """
    import pyarrow as pa

    from storage.manifest import Manifest

    of_class, names = superclass_of(manifest.classes, superclasses), list(superclasses)
    label_of = [names.index(of_class[one]) for one in manifest.classes]
    labels = [label_of[label] if label >= 0 else -1 for label in manifest.column("label").tolist()]
    table = manifest.table
    for column, values in (("label", labels), ("class_name", [names[x] if x >= 0 else "" for x in labels])):
        place = table.column_names.index(column)
        table = table.set_column(place, table.schema.field(column), pa.array(values, table.schema.field(column).type))
    return Manifest(table, names)
