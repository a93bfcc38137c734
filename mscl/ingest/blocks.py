"""What ingest has to show: verdicts, classes by split, and the videos that were left out."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from mscl.display.blocks import Block, Note, Table
from mscl.stage.view import Stages

if TYPE_CHECKING:
    from storage.manifest import Manifest

_MAX_ROWS = 30


def ingest_blocks(stages: Stages) -> list[Block]:
    """Verdicts, classes by split, and the videos that were left out with the reason."""
    from storage.layout import Ingested
    from storage.splits import split_numbers

    manifest = Ingested(stages["ingest"].folder).manifest()
    counts = Counter(str(verdict) for verdict in manifest.column("verdict"))
    total = sum(counts.values())
    blocks: list[Block] = [
        Table(
            ("verdict", "segments", "share"),
            tuple((name, f"{count:,}", f"{count / total:.1%}") for name, count in counts.most_common()),
            caption="What the decoder found",
        )
    ]
    if missing := stages["ingest"].metrics.get("missing"):
        blocks.append(Note(f"{missing:,} more videos are listed and not there; missing.txt of this result names them."))
    blocks += [Note(note) for note in stages["ingest"].metrics.get("notes", ())]
    classes = _class_table(manifest)
    if classes:
        splits = tuple(classes[0][1])
        rows = [(name or "(no class)", *(f"{by[split]:,}" for split in splits)) for name, by in classes[:_MAX_ROWS]]
        sums = ("all", *(f"{sum(by[split] for _, by in classes):,}" for split in splits))
        more = f", the first {_MAX_ROWS} of {len(classes)}" if len(classes) > _MAX_ROWS else ""
        numbers = split_numbers(stages["ingest"].folder)
        which = f", in official split {numbers[0]} of {', '.join(map(str, numbers))}" if len(numbers) > 1 else ""
        caption = f"Usable segments by class and split{which}{more}"
        blocks.append(Table(("class", *splits), (*rows, sums), caption=caption))
    bad = np.flatnonzero(
        np.asarray(
            [
                str(verdict) != "ok" or bool(reason)
                for verdict, reason in zip(manifest.column("verdict"), manifest.column("reason"), strict=True)
            ]
        )
    )
    if len(bad):
        rows_bad = tuple(
            (row.video, row.verdict, row.reason) for row in (manifest.row(int(i)) for i in bad[:_MAX_ROWS])
        )
        more = f", the first {_MAX_ROWS} of {len(bad)}" if len(bad) > _MAX_ROWS else ""
        blocks.append(Table(("video", "verdict", "reason"), rows_bad, caption=f"Not quite right{more}", words=True))
    return blocks


def _class_table(manifest: "Manifest") -> list[tuple[str, dict[str, int]]]:
    """Class -> split -> usable segments, in label order; unlabelled last."""
    usable = manifest.ok()
    counts = Counter(zip(map(str, usable.column("class_name")), map(str, usable.column("split")), strict=True))
    names = [*map(str, manifest.classes), *([""] if any(name == "" for name, _ in counts) else [])]
    order = {"train": 0, "val": 1, "test": 2}
    splits = sorted({split for _, split in counts}, key=lambda split: (order.get(split, 9), split))
    return [(name, {split: counts[name, split] for split in splits}) for name in names]
