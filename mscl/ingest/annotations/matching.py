"""Which files the rows of the lists are, and what had to be done to tell."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from mscl.errors import DataError
from mscl.ingest.annotations.class_names import as_folder
from mscl.ingest.annotations.index import VideoIndex, folded, is_text
from mscl.ingest.annotations.recognise import FoundLists
from mscl.ingest.annotations.samples import ListedVideo, Listing, Sample


@dataclass
class Matched:
    """Which files the lists' rows are, and what was done to tell."""

    samples: dict[str, Sample] = field(default_factory=dict)
    """By the path of the video."""
    missing: list[str] = field(default_factory=list)
    elsewhere: int = 0
    respelt: int = 0
    repeated: int = 0
    both: int = 0
    """Of val and of test."""

    def notes(self, found: FoundLists, index: VideoIndex) -> Iterator[str]:
        """What a user must know of it, a line each."""
        if self.repeated:
            yield f"{self.repeated} videos are listed more than once: counted once"
        if self.both:
            yield f"{self.both} videos are in the lists of val and of test: they are test videos"
        if self.respelt:
            yield f"{self.respelt} videos are spelled otherwise than listed (accents or capitals): found all the same"
        if self.elsewhere and found.format not in ("kinetics", "ssv2", "diving48", "jester"):
            yield f"{self.elsewhere} videos lie under another folder or file type than listed: found by their names"
        if index.ambiguous:
            yield (
                f"{len(index.ambiguous)} listed videos are not where the lists say, and several files could be meant: "
                f"{index.ambiguous[0]} and others count as missing"
            )
        if odd := [video for video in self.samples if not is_text(video)]:
            yield (
                f"{len(odd)} videos have names that are not UTF-8 and cannot be used, the first: {odd[0]}; rename "
                "them, for example with `convmv -f latin1 -t utf8 -r --notest`"
            )
        if index.unreadable:
            yield f"{len(index.unreadable)} folders may not be read and are left out, the first: {index.unreadable[0]}"


def matched_files(rows: list[ListedVideo], index: VideoIndex, listing: Listing, found: FoundLists) -> Matched:
    """One sample of each video that a row names, in the order of the rows.

    Raises:
        DataError: a video is listed twice, in different ways.
    """
    return _match(rows, _find_videos(rows, index, listing), found)


def _match(rows: Sequence[ListedVideo], videos: Sequence[str | None], found: FoundLists) -> Matched:
    matched = Matched()
    sources: dict[str, str] = {}
    for row, video in zip(rows, videos, strict=True):
        if video is None:
            matched.missing.append(row.paths[0])
            continue
        sample = Sample(video, row.class_name, row.split, row.splits, row.seconds)
        first = matched.samples.setdefault(video, sample)
        if first is sample:
            sources[video] = row.source
            if video not in row.paths:
                same = any(folded(video) == folded(path) for path in row.paths)
                matched.respelt, matched.elsewhere = matched.respelt + same, matched.elsewhere + (not same)
        elif first.class_name == sample.class_name and {first.split, sample.split} == {"val", "test"}:
            # VideoMAE's lists: the videos of val.csv are those of test.csv.
            matched.samples[video] = replace(sample, split="test")
            matched.both += 1
        elif first != sample:
            lines = f" ({sources[video]}; {row.source})" if row.source else ""
            raise DataError(
                f"{video} is listed twice in the {found.kind} lists of {found.where}: as {first.class_name!r} in "
                f"{_where(first)} and as {row.class_name!r} in {_where(sample)}; keep one line{lines}"
            )
        else:
            matched.repeated += 1
    return matched


def _find_videos(rows: list[ListedVideo], index: VideoIndex, listing: Listing) -> list[str | None]:
    """The video of every row; one that is listed under its own path is never taken for another that is missing."""
    index.ambiguous.clear()
    exact = [next((path for path in row.paths if index.exact(path) is not None), None) for row in rows]
    taken = {path for path in exact if path is not None}
    folders = {as_folder(name) for name in listing.classes}
    return [path or _find_video(row, index, taken, folders) for row, path in zip(rows, exact, strict=True)]


def _find_video(row: ListedVideo, index: VideoIndex, taken: set[str], folders: set[str]) -> str | None:
    for path in row.paths:
        if video := index.find(path, taken=taken):
            return video
    for name in row.also:
        video = index.find(name, taken=taken)
        above = {as_folder(part) for part in video.split("/")[:-1]} if video else set()
        # In the folder of another class it is another video.
        if video and not (above & folders) - {as_folder(row.class_name or "")}:
            return video
    return None


def _where(sample: Sample) -> str:
    return " / ".join(sample.splits) or sample.split
