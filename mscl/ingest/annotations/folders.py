"""Class folders, with or without train and test folders above them; and videos without labels."""

import hashlib
import re
from collections import defaultdict

from mscl.errors import DataError
from mscl.ingest.annotations.index import VideoIndex, as_text, one_spelling
from mscl.ingest.annotations.samples import ListedVideo, Listing, Split

_SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_UCF_GROUP = re.compile(r"v_\w+_g\d+_c\d+\.")


def read_unlabelled(index: VideoIndex) -> Listing:
    """Every video under the root, without a class."""
    index.refuse_links_outside()
    return Listing([ListedVideo((video,), None, "unlabelled") for video in index.videos], [])


def read_folders(index: VideoIndex, *, test_pattern: str, test_fraction: float) -> Listing:
    """`class/video`, or `train/class/video` and so on where every top folder is named after a split.

    Without split folders the test split is what `test_pattern` matches, else `test_fraction` of every class by the
    digest of the relative path; at least one video of a class stays in either split.
    """
    index.refuse_links_outside()
    by_top: dict[str, list[str]] = defaultdict(list)
    loose = 0
    for video in index.videos:
        top, slash, _ = video.partition("/")
        if slash:
            by_top[top].append(video)
        else:
            loose += 1
    notes = [f"{loose} videos that are in no class folder are left out"] if loose else []
    splits = _split_folders(by_top, index, notes)
    if splits:
        if test_pattern:
            raise DataError(
                f"data.test_pattern {test_pattern!r} is for class folders alone, and {', '.join(sorted(splits))} in "
                f"data.root {index.root} say what is tested: leave it out, or give one of these as data.root"
            )
        rows, loose = [], 0
        for top, split in splits.items():
            for video in by_top[top]:
                parts = video.split("/")
                loose += len(parts) < 3
                if len(parts) >= 3:
                    rows.append(ListedVideo((video,), one_spelling(as_text(parts[1])), split))
        if loose:
            notes.append(f"{loose} videos directly in {', '.join(sorted(splits))} are in no class folder and left out")
        return Listing(rows, sorted({row.class_name or "" for row in rows}), notes)
    by_class: dict[str, list[str]] = defaultdict(list)
    for top, videos in by_top.items():
        by_class[one_spelling(as_text(top))] += videos
    if test_pattern:
        return Listing(_by_pattern(by_class, test_pattern), sorted(by_class), notes)
    return _by_fraction(by_class, test_fraction, notes)


def _split_folders(by_top: dict[str, list[str]], index: VideoIndex, notes: list[str]) -> dict[str, Split]:
    """Top folders that are splits: named after one, and with class folders in them. Empty: they are classes.

    Raises:
        DataError: a folder of one split beside others, which may be classes as well as not.
    """
    named = {top: _SPLIT_FOLDERS[top.lower()] for top in by_top if top.lower() in _SPLIT_FOLDERS}
    splits = {top: split for top, split in named.items() if any(video.count("/") >= 2 for video in by_top[top])}
    others = sorted(by_top.keys() - splits.keys())
    if not splits or not others:
        return splits
    if "train" in splits.values() and len(set(splits.values())) > 1:
        count = sum(len(by_top[top]) for top in others)
        notes.append(f"{count} videos in {', '.join(others)}, beside the folders of the splits, are left out")
        return splits
    raise DataError(
        f"data.root {index.root} holds {', '.join(sorted(splits))} with folders in it, and beside it "
        f"{', '.join(others[:5])}: whether these are splits or classes cannot be told; give a folder with train and "
        "test alone or with classes alone as data.root, or lists as data.annotations"
    )


def _by_pattern(by_class: dict[str, list[str]], pattern: str) -> list[ListedVideo]:
    try:
        matches = re.compile(pattern).search
    except re.error as error:
        raise DataError(f"data.test_pattern {pattern!r} is no regular expression: {error}") from error
    rows = [
        ListedVideo((video,), name, "test" if matches(video) else "train")
        for name, videos in by_class.items() for video in videos
    ]  # fmt: skip
    matched = sum(row.split == "test" for row in rows)
    if rows and matched in (0, len(rows)):
        example = rows[0].paths[0]
        raise DataError(
            f"data.test_pattern {pattern!r} matches {matched} of {len(rows)} videos (paths are like {example!r}); "
            "it must match some and not all"
        )
    return rows


def _by_fraction(by_class: dict[str, list[str]], fraction: float, notes: list[str]) -> Listing:
    rows: list[ListedVideo] = []
    alone: list[str] = []
    for name, videos in by_class.items():
        number = round(fraction * len(videos))
        if fraction > 0:
            number = min(max(number, 1), len(videos) - 1)
        if len(videos) == 1:
            alone.append(name)
        test = set(sorted(videos, key=_digest)[:number])
        rows += [ListedVideo((video,), name, "test" if video in test else "train") for video in videos]
    if alone:
        notes.append(f"{_named(alone)} with one video: it stays in the train split")
    if rows and all(_UCF_GROUP.search(row.paths[0]) for row in rows):
        notes.append(
            "the names are UCF101's: clips of one group (gNN) show the same scene and may be in both splits here; "
            "data.annotations with the official lists, or a data.test_pattern on the group, keeps them apart"
        )
    return Listing(rows, sorted(by_class), notes, splits_given=False)


def _digest(video: str) -> bytes:
    return hashlib.sha256(video.encode("utf-8", "surrogateescape")).digest()


def _named(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} class{'es' if len(names) > 1 else ''} ({shown})"
