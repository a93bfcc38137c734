"""How many videos cannot be used and why, in one line, with an example of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mscl.errors import DataError
from mscl.ingest.config import DataConfig
from storage.layout import Ingested
from storage.manifest import USABLE_VERDICTS

VideoVerdict = tuple[str, str, str]
"""(video, verdict, reason) of a row of the manifest."""


def left_out(rows: Iterable[VideoVerdict]) -> list[str]:
    """Lines for the user: videos that are not used, and those of which only a part is. Empty where all are whole."""
    videos = {video: (verdict, reason) for video, verdict, reason in by_video(rows)}
    counts = Counter(verdict for verdict, _ in videos.values())
    bad = sum(count for verdict, count in counts.items() if verdict not in USABLE_VERDICTS)
    lines = []
    if bad:
        why = kinds((video, *found) for video, found in videos.items())
        lines.append(f"{bad:,} of {len(videos):,} videos cannot be used: {why}")
    if part := counts["truncated"]:
        first = next(video for video, (verdict, _) in videos.items() if verdict == "truncated")
        lines.append(f"{part:,} of {len(videos):,} videos decode only in part, which is used (e.g. {first})")
    return lines


def by_video(rows: Iterable[VideoVerdict]) -> list[VideoVerdict]:
    """One of each video: its first segment that can be used, else its first; a good video may have short shots."""
    found: dict[str, VideoVerdict] = {}
    for row in rows:
        known = found.setdefault(row[0], row)
        if known[1] not in USABLE_VERDICTS and row[1] in USABLE_VERDICTS:
            found[row[0]] = row
    return list(found.values())


def kinds(rows: Iterable[VideoVerdict]) -> str:
    """`3 unreadable (e.g. a.avi: no moov atom); 1 short (e.g. b.avi: 2 frames)`."""
    examples: dict[str, str] = {}
    videos: dict[str, set[str]] = {}
    for video, verdict, reason in rows:
        if verdict not in USABLE_VERDICTS:
            examples.setdefault(verdict, f"{video}: {reason}")
            videos.setdefault(verdict, set()).add(video)
    return "; ".join(f"{len(videos[name]):,} {name} (e.g. {example})" for name, example in examples.items())


def left_out_of(folder: Path, metrics: Mapping[str, Any]) -> list[str]:
    """`left_out` of a finished ingest; its manifest is read only where the record says that there is something."""
    if set(metrics.get("verdicts", {})) <= {"ok"}:
        return []
    manifest = Ingested(folder).manifest()
    columns = (map(str, manifest.column(name)) for name in ("video", "verdict", "reason"))
    return left_out(zip(*columns, strict=True))


def refuse_too_bad(verdicts: Mapping[str, int], config: DataConfig, folder: Path) -> None:
    """Stop before the expensive stages where more videos are bad than may be.

    Args:
        verdicts: of the ingest result in `folder`, whose manifest is there -> how many videos have it.

    Raises:
        DataError: how many are bad, why, and how many may be.
    """
    total = sum(verdicts.values())
    good = sum(verdicts.get(name, 0) for name in USABLE_VERDICTS)
    if not total or (good and (total - good) / total <= config.max_bad_fraction):
        return
    rows = Ingested(folder).manifest().rows()
    table = kinds(by_video((row.video, row.verdict, row.reason) for row in rows))
    raise DataError(
        f"{total - good} of {total} videos cannot be used, more than data.max_bad_fraction {config.max_bad_fraction} "
        f"allows: {table}. All verdicts: {folder / 'manifest.parquet'}. Mend the videos or raise the fraction"
    )
