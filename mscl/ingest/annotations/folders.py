"""Class folders, with or without train and test folders above them; and videos without labels."""

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from mscl.errors import DataError
from mscl.ingest.annotations.class_names import class_spelling, in_order
from mscl.ingest.annotations.index import VideoIndex, as_text, one_spelling
from mscl.ingest.annotations.samples import ListedVideo, Listing, Split
from mscl.ingest.annotations.split_names import split_of_name

_SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_DOCUMENTS = frozenset((
    "", ".csv", ".doc", ".docx", ".htm", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".pdf", ".py", ".rst",
    ".sh", ".toml", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml",
))  # fmt: skip
"""Types of what lies beside classes and is none."""
_RARE_VIDEOS = frozenset((
    ".264", ".265", ".amv", ".av1", ".crdownload", ".dv", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2p", ".m2t",
    ".m4s", ".mjpg", ".mod", ".mpe", ".mpv", ".nut", ".obu", ".part", ".qt", ".tod",
))  # fmt: skip
"""Types of videos, and of unfinished downloads, that are in no class folder for being there."""
_UCF_GROUP = re.compile(r"v_\w+_g\d+_c\d+\.")


def read_unlabelled(index: VideoIndex) -> Listing:
    """Every video under the root, without a class."""
    index.refuse_links_outside()
    rows = [ListedVideo((video,), None, "unlabelled") for video in index.videos]
    return Listing(rows, [], list(_left_out_files(index.others.values())))


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
    by_class: dict[str, list[str]] = defaultdict(list)
    if splits:
        if test_pattern:
            raise DataError(
                f"data.test_pattern {test_pattern!r} is for class folders alone, and {', '.join(sorted(splits))} in "
                f"data.root {index.root} say what is tested: leave it out, or give one of these as data.root"
            )
        loose = 0
        for top in splits:
            for video in by_top[top]:
                parts = video.split("/")
                loose += len(parts) < 3
                if len(parts) >= 3:
                    by_class[f"{top}/{parts[1]}"].append(video)
        if loose:
            notes.append(f"{loose} videos directly in {', '.join(sorted(splits))} are in no class folder and left out")
    else:
        by_class = by_top
        if not test_pattern:
            _refuse_splits_below(by_class, index)
    notes += _doubts(by_class, index, splits)
    if splits:
        rows = [
            ListedVideo((video,), _class_of(folder), splits[folder.partition("/")[0]])
            for folder, videos in by_class.items()
            for video in videos
        ]
        return Listing(rows, in_order({row.class_name or "" for row in rows}), notes)
    by_name: dict[str, list[str]] = defaultdict(list)
    for folder, videos in by_class.items():
        by_name[_class_of(folder)] += videos
    if test_pattern:
        return Listing(_by_pattern(by_name, test_pattern), in_order(by_name), notes)
    return _by_fraction(by_name, test_fraction, notes)


def _refuse_splits_below(by_class: Mapping[str, list[str]], index: VideoIndex) -> None:
    """Refuse `class/train/video` and `class/test/video`, which our own split would mix."""
    for folder, videos in sorted(by_class.items()):
        below = {video[len(folder) + 1 :].partition("/")[0] for video in videos if video.count("/") > 1}
        found = {name: _SPLIT_FOLDERS[name.lower()] for name in below if name.lower() in _SPLIT_FOLDERS}
        if len(set(found.values())) > 1:
            tested = next((name for name in sorted(found) if found[name] == "test"), max(found))
            raise DataError(
                f"data.root {index.root} holds {' and '.join(f'{folder}/{name}' for name in sorted(found))}: if "
                f"{folder} is a class, set data.test_pattern=/{tested}/; if it holds the dataset, give it as data.root"
            )


def _class_of(folder: str) -> str:
    name = as_text(folder.rpartition("/")[2])
    return class_spelling(name) or name


def _doubts(by_class: Mapping[str, list[str]], index: VideoIndex, splits: Mapping[str, Split]) -> Iterator[str]:
    """What a user must know of which folders are taken as classes.

    Args:
        by_class: folder of the class, with that of its split -> its videos.
    """
    deep = {
        folder: sorted({video[len(folder) + 1 :].partition("/")[0] for video in videos})
        for folder, videos in by_class.items()
        if all("/" in video[len(folder) + 1 :] for video in videos)
    }
    if deep:
        first = min(deep)
        yield (
            f"{len(deep)} of the {len(by_class)} class folders hold videos in further folders alone, {first} in "
            f"{', '.join(deep[first][:3])}: their own names are the classes, and not those below; if those are, give a "
            "folder that holds them as data.root, or lists"
        )
    spellings: dict[str, set[str]] = defaultdict(set)
    for folder in by_class:
        spellings[_class_of(folder)].add(as_text(folder.rpartition("/")[2]))
    for names in spellings.values():
        if len(names) > 1:
            how = "blanks alone" if len(set(map(one_spelling, names))) > 1 else "how accents are written alone"
            yield f"folders that differ in {how} are one class: {', '.join(map(repr, sorted(names)))}"
    inside = [
        types
        for folder, types in index.others.items()
        if folder in by_class or folder.partition("/")[0] in by_class  # no folder is named below its second level
    ]
    yield from _left_out_files(inside)
    yield from _same_names(by_class)
    level = 2 if splits else 1
    without: dict[str, Counter[str]] = defaultdict(Counter)
    for folder, types in index.others.items():
        parts = folder.split("/")[:level]
        if folder and len(parts) == level and (not splits or parts[0] in splits):
            without["/".join(parts)] += types
    without = {
        folder: types for folder, types in without.items() if folder not in by_class and not types.keys() <= _DOCUMENTS
    }
    if without:
        shown = ", ".join(f"{folder} ({_types(types)})" for folder, types in sorted(without.items())[:5])
        yield (
            f"{len(without)} folders hold no file of a known video type and are no classes: {shown}; a list, "
            "data.annotations, may name files of any type"
        )


def _left_out_files(of_folders: Iterable[Counter[str]]) -> Iterator[str]:
    """Files that are videos by their types, which do not count without being listed."""
    types: Counter[str] = Counter()
    for found in of_folders:
        types += Counter({suffix: count for suffix, count in found.items() if suffix in _RARE_VIDEOS})
    if types:
        yield (
            f"{types.total()} files are left out for their types: {_types(types)}; a list, data.annotations, may name "
            "files of any type"
        )


def _same_names(by_class: Mapping[str, list[str]]) -> Iterator[str]:
    """Files of one name and several types, which may be one film: then it is trained on and tested, too."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for videos in by_class.values():
        for video in videos:
            by_name[os.path.splitext(video)[0]].append(video)
    twins = [videos for videos in by_name.values() if len(videos) > 1]
    if twins:
        yield (
            f"{len(twins)} names stand for files of several types, {' and '.join(twins[0])}: if they show the same, "
            "take one of them out, for each may be in another split"
        )


def _types(types: Counter[str]) -> str:
    most = sorted(types.items(), key=lambda item: (-item[1], item[0]))[:3]
    return ", ".join(f"{count} {suffix or 'without type'}" for suffix, count in most)


def _split_folders(by_top: dict[str, list[str]], index: VideoIndex, notes: list[str]) -> dict[str, Split]:
    """Top folders that are splits: named after one, and with class folders in them. Empty: they are classes.

    Raises:
        DataError: a folder of one split beside others, which may be classes as well as not.
    """
    named = {top: _SPLIT_FOLDERS[top.lower()] for top in by_top if top.lower() in _SPLIT_FOLDERS}
    splits = {top: split for top, split in named.items() if any(video.count("/") >= 2 for video in by_top[top])}
    others = sorted(by_top.keys() - splits.keys())
    spoken = {split_of_name(top) for top in by_top}
    if by_top and not splits and (named.keys() == by_top.keys() or (None not in spoken and len(spoken) > 1)):
        raise DataError(
            f"data.root {index.root} holds {', '.join(sorted(by_top)[:5])}: whether these are splits or classes cannot "
            "be told; give splits as folders train, val and test with class folders in them, or lists as "
            "data.annotations; or set data.format=unlabelled"
        )
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
        for name, videos in by_class.items()
        for video in videos
    ]
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
    return Listing(rows, in_order(by_class), notes, splits_given=False)


def _digest(video: str) -> bytes:
    return hashlib.sha256(video.encode("utf-8", "surrogateescape")).digest()


def _named(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} class{'es' if len(names) > 1 else ''} ({shown})"
