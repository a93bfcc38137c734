"""Clips as WebDataset shards: tar files in which neighbouring files of one name are one sample."""

from __future__ import annotations

import json
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mscl.array_types import Ints
from mscl.clips.dataset import StoredClips
from mscl.clips.npz import npz_file
from mscl.clips.screened import ScreenedClips, Starts, rows_of_split
from storage.atomic import write_atomic

_ORDER_SEED = 0
_BLOCK_BYTES = 512


class ClipShards:
    """Shards of some clips. The order is drawn once, for those who read tar files shuffle only what lies close."""

    noun = "clips"

    def __init__(self, stores: ScreenedClips, *, split: str, starts: Starts, clips_per_shard: int) -> None:
        manifest = stores.manifest()
        segments_N, starts_N = stores.starts(rows_of_split(manifest, split), starts, stores.clip)
        self._clips = StoredClips(stores, manifest, segments_N=segments_N, starts_N=starts_N, clip=stores.clip)
        self._flow, self._frames = stores.flow(), stores.frames()
        self._order: Ints = np.random.default_rng(_ORDER_SEED).permutation(len(self._clips))
        self._starts = starts
        self._per_shard = clips_per_shard

    def __len__(self) -> int:
        return -(-len(self._order) // self._per_shard)

    def plan(self) -> dict[str, Any]:
        """What decides the shards."""
        return {
            "clip": self._clips.clip.model_dump(), "starts": self._starts, "clips_per_shard": self._per_shard,
            "clips": len(self._clips),
        }  # fmt: skip

    def name(self, shard: int) -> str:
        """File of a shard."""
        return f"clips-{shard:06d}.tar"

    def size(self, shard: int) -> int:
        """Clips in a shard."""
        return len(self._numbers(shard))

    def write(self, shard: int, path: Path) -> None:
        """Write a shard, whole or not at all."""
        write_atomic(path, _tar(member for number in self._numbers(shard).tolist() for member in self._sample(number)))

    def finish(self, folder: Path) -> None:
        """Nothing more: every clip says all of itself."""

    def _numbers(self, shard: int) -> Ints:
        """Numbers of the clips of a shard, as they lie in it."""
        return self._order[shard * self._per_shard : (shard + 1) * self._per_shard]

    def _sample(self, number: int) -> Iterator[tuple[str, bytes]]:
        """(name, content) of a clip's files; a name's first point ends the key of the sample."""
        facts, indices_T = self._clips.facts(number), self._clips.indices(number)
        segment = facts["segment"]
        key = f"{segment:08d}-{facts['start_frame']:06d}"
        if facts["label"] >= 0:
            yield f"{key}.cls", str(facts["label"]).encode()
        yield f"{key}.json", json.dumps(_plain(facts), indent=1, ensure_ascii=False).encode()
        for place, index in enumerate(indices_T.tolist()):
            yield f"{key}.frame{place:02d}.jpg", self._frames.jpeg(segment, index)
        yield f"{key}.flow.npz", npz_file({"flow": self._flow.clip(segment, indices_T).transpose(3, 0, 1, 2)})


def _plain(value: Any) -> Any:
    """As JSON has it, which knows no NaN."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _tar(members: Iterator[tuple[str, bytes]]) -> Iterator[bytes]:
    """A tar file of these, piece by piece: a shard is never in memory as a whole."""
    for name, content in members:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        yield info.tobuf(tarfile.USTAR_FORMAT)
        yield content
        yield bytes(-len(content) % _BLOCK_BYTES)
    yield bytes(2 * _BLOCK_BYTES)
