"""From the configuration to the samples of the dataset."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from mscl.addresses import is_url
from mscl.errors import DataError
from mscl.ingest.annotations.class_names import class_spelling
from mscl.ingest.annotations.folders import read_folders, read_unlabelled
from mscl.ingest.annotations.index import VideoIndex, as_text, folded
from mscl.ingest.annotations.lists_at_hand import given_lists, lists_at_hand
from mscl.ingest.annotations.matching import matched_files
from mscl.ingest.annotations.recognise import (
    FoundLists,
    expected_files,
    find_lists,
    given_paths,
    read_lists,
    unknown_tables,
)
from mscl.ingest.annotations.samples import Annotations, Listing
from mscl.ingest.annotations.split_names import number_of_split
from mscl.ingest.annotations.trees import folders_of_videos_beside, tree_of
from mscl.ingest.config import DataConfig
from mscl.stage.config import RuntimeConfig
from mscl.video.places import place_of
from storage.user_paths import user_path

_FEW_CLASSES = 3
"""So many may have a video each: somebody tries things out."""


def read_annotations(config: DataConfig) -> Annotations:
    """Videos, classes and splits of the dataset that `config` describes.

    Videos that the lists name and the root lacks are counted and listed, and only fatal if all are missing.
    Classes of which nothing is there, or that `config.classes` does not name, are left out; the labels of the
    others keep their order, without gaps.

    Raises:
        DataError: no root, no videos, no lists of the format asked for, lists that are not of their form, paths that
            leave the root, an unknown class, all videos missing.
    """
    if not config.root:
        raise DataError("data.root is not set; give the folder that holds the videos: data.root=DIR")
    # Nothing is fetched into the cache here, so it does not matter which one that is.
    root = place_of(config.root, RuntimeConfig()) if is_url(config.root) else user_path(config.root)
    index = VideoIndex(tree_of(root))
    by_folders = config.format in ("folders", "unlabelled")
    with lists_at_hand(config.annotations, root, in_root=not by_folders) as lists:
        if any(map(is_url, given_lists(config.annotations))):
            config = config.model_copy(update={"annotations": ",".join(map(str, lists.given))})
        try:
            annotations = _read(config, index, lists.root)
        except DataError as error:
            raise DataError(lists.shown(str(error))) from error
    return replace(annotations, notes=(*lists.notes, *map(lists.shown, annotations.notes)))


def _read(config: DataConfig, index: VideoIndex, root: Path) -> Annotations:
    for path in given_paths(config.annotations):
        if not _exists(path):
            raise DataError(f"data.annotations {path} does not exist, or cannot be looked at; check the path")
    if config.format in ("folders", "unlabelled"):
        return _from_folders(config, index, config.format, root)
    found = find_lists(config, root)
    if found is None and config.format != "auto":
        where = config.annotations or f"{root}, the folders in it, or beside it"
        raise DataError(
            f"no lists of the format {config.format} in {where}: looked for {expected_files(config.format)}; "
            "give their folder as data.annotations"
        )
    if found is None and config.annotations:
        raise DataError(
            f"data.annotations {config.annotations} holds no lists that are known by their names; "
            "set data.format, or give the file itself"
        )
    if found is None:
        format = _folder_format(index)
        folders = _from_folders(config, index, format, root)
        guessed = [_no_labels(index)] if format == "unlabelled" else []
        notes = (*guessed, *folders.notes, *unknown_tables(root, beside=format == "unlabelled"))
        return replace(folders, notes=notes)
    try:
        listing = read_lists(found, config.split, index)
    except DataError as error:
        if config.annotations:
            raise
        where = "in" if found.inside else "beside"
        raise DataError(
            f"{error} (this list was found {where} data.root: if it is another dataset's, set data.annotations or "
            "data.format=folders)"
        ) from error
    if not found.inside and config.format == "auto" and (why := _not_of(root, config, index, listing, found)):
        folders = _from_folders(config, index, _folder_format(index), root)
        return replace(folders, notes=(why, *folders.notes))
    if config.test_pattern:
        raise DataError(
            f"data.test_pattern {config.test_pattern!r} is for class folders, and the {found.kind} lists of "
            f"{found.where} say what is tested: leave it out, or set data.format=folders"
        )
    annotations = _resolve(config, index, listing, found)
    if not annotations.samples:
        raise DataError(_all_missing(root, found, annotations))
    return annotations


def _not_of(root: Path, config: DataConfig, index: VideoIndex, listing: Listing, found: FoundLists) -> str:
    """Why lists beside the root, which nobody named, are not those of its videos, for a note; empty: they are.

    Raises:
        DataError: they may be, and they say other classes than the folders of the videos.
    """
    whole = _resolve(config.model_copy(update={"classes": ()}), index, listing, found)
    there, videos = len(whole.samples), len(index.videos)
    if 2 * there < min(videos, there + len(whole.missing)):
        named = f"{there} of the {videos}" if there else "none of the"
        return f"{found.kind} lists in {found.where} name {named} videos in {root}: not used"
    if found.format == "list" and len({_folder_of(video) for video in index.videos}) > 1:
        pairs = {(sample.class_name, _folder_of(sample.video)) for sample in whole.samples}
        if not len(pairs) == len({name for name, _ in pairs}) == len({folder for _, folder in pairs}):
            first = whole.samples[0]
            raise DataError(
                f"{found.files[0]}, found beside data.root {root}, names {there} of its {videos} videos and gives them "
                f"other classes than their folders ({first.video}: {first.class_name!r}), and which are meant cannot "
                f"be told: set data.annotations={found.where}, or data.format=folders"
            )
    return ""


def _folder_of(video: str) -> str:
    return video.rpartition("/")[0].rpartition("/")[2]


def _from_folders(config: DataConfig, index: VideoIndex, format: str, root: Path) -> Annotations:
    if not index.videos:
        index.refuse_links_outside()
        types = sorted({suffix for found in index.others.values() for suffix in found if suffix})
        also = f" (there are files of the types {', '.join(types[:8])}, which a list may name)" if types else ""
        raise DataError(f"data.root {index.root} holds no video files{also}; give the folder that holds them")
    if format == "unlabelled":
        listing = read_unlabelled(index)
    else:
        listing = read_folders(index, test_pattern=config.test_pattern, test_fraction=config.test_fraction)
    annotations = _resolve(config, index, listing, FoundLists(format, root, True))
    if not annotations.samples:
        raise DataError(
            f"data.root {index.root} holds {len(index.videos)} videos, none in a class folder; put them into "
            "folders named after their classes, or set data.format=unlabelled"
        )
    return annotations


def _folder_format(index: VideoIndex) -> str:
    return "folders" if any("/" in video for video in index.videos) else "unlabelled"


def _no_labels(index: VideoIndex) -> str:
    """What is said where nobody asked for videos without labels; one class of several is a slip of one folder."""
    said = "neither lists nor class folders: the videos have no labels, and nothing is scored"
    if isinstance(index.root, Path) and (beside := folders_of_videos_beside(index.root)):
        names = ", ".join([*beside[:3], *(["..."] if len(beside) > 3 else [])])
        return (
            f"{said}; folders beside data.root hold videos, too ({names}): if these are the classes, set "
            f"data.root={index.root.parent}; if not, data.format=unlabelled"
        )
    return f"{said} (data.format=unlabelled says that it is meant so)"


def _resolve(config: DataConfig, index: VideoIndex, listing: Listing, found: FoundLists) -> Annotations:
    kept = _kept_classes(config, listing, found)
    rows = [row for row in listing.rows if row.class_name is None or row.class_name in kept]
    matched = matched_files(rows, index, listing, found)
    samples, missing = matched.samples, matched.missing
    notes = [*listing.notes, *_without_effect(config, listing, found)]
    classes = tuple(name for name in listing.classes if name in kept)
    present = {sample.class_name for sample in samples.values()}
    absent = [name for name in classes if name not in present]
    if absent and samples:
        notes.append(
            f"{len(absent)} of {len(classes)} classes have no video here; the labels of the others are renumbered"
        )
        classes = tuple(name for name in classes if name in present)
    if len(classes) > _FEW_CLASSES and 2 * len(classes) > len(samples):
        notes.append(
            f"{len(classes)} classes for {len(samples)} videos, such as {classes[0]!r}: are these the classes?"
        )
    notes += matched.notes(found, index)
    for spelled, what in ((folded, "capitals"), (_letters, "blanks, signs or capitals")):
        alike = Counter(map(spelled, classes))
        if twice := [name for name in classes if alike[spelled(name)] > 1]:
            notes.append(f"classes that differ in {what} alone are kept apart: {', '.join(twice[:6])}")
            break
    left = len(set(index.videos).difference(samples))
    if left and samples and found.files and not config.classes:
        notes.append(f"{left:,} of the {len(index.videos):,} videos in data.root are in no list and left out")
    if missing:
        notes.append(
            f"{len(missing)} of {len(samples) + len(missing)} listed videos are missing, the first: {missing[0]}"
        )
    return Annotations(
        tuple(samples.values()),
        classes,
        found.format,
        tuple(missing),
        tuple(map(as_text, notes)),
        listing.split_numbers,
        listing.splits_given,
    )


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", " ", folded(name)).strip() or name


def _without_effect(config: DataConfig, listing: Listing, found: FoundLists) -> Iterator[str]:
    """Settings that are not at their defaults and decide nothing here, a line each."""
    defaults = DataConfig()
    if found.format == "unlabelled":
        if config.test_pattern:
            yield f"data.test_pattern {config.test_pattern!r} is not used: videos without classes are not tested"
    elif listing.splits_given and config.test_fraction != defaults.test_fraction:
        yield f"data.test_fraction {config.test_fraction} is not used: the {found.kind} splits are given"
    has_numbers = listing.split_numbers or any(number_of_split(file.name) for file in found.files)
    if config.split != defaults.split and not (has_numbers or found.format in ("ucf101", "hmdb51")):
        yield f"data.split {config.split} is not used: there are no official splits here"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _kept_classes(config: DataConfig, listing: Listing, found: FoundLists) -> set[str]:
    wanted = [class_spelling(name) for name in config.classes]
    unknown = [name for name in wanted if name not in listing.classes]
    if unknown:
        near = get_close_matches(unknown[0], listing.classes, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        shown = ", ".join(listing.classes[:10]) + (", ..." if len(listing.classes) > 10 else "")
        raise DataError(
            f"data.classes names {unknown[0]!r}: {hint}the {len(listing.classes)} classes of the {found.kind} "
            f"dataset in {found.where} are: {shown}"
        )
    return set(wanted or listing.classes)


def _all_missing(root: Path, found: FoundLists, annotations: Annotations) -> str:
    if not annotations.missing:
        said = "; ".join(annotations.notes)
        return f"the lists name no video to use ({said}); check data.split and data.classes, or set data.format"
    several = next((note for note in annotations.notes if "several files" in note), "")
    return (
        f"none of the {len(annotations.missing)} videos that the {found.kind} lists in {found.where} name is in "
        f"data.root {root}: the first is {annotations.missing[0]}; check data.root, or data.annotations"
        + (f" ({several})" if several else "")
    )
