"""Videos with the same bytes: which are left out, and which test videos were trained on."""

from dataclasses import dataclass, field

from mscl.ingest.annotations import Annotations, Sample
from mscl.video.video_info import VideoInfo
from storage.manifest import USABLE_VERDICTS

_TESTED = ("test", "val")


@dataclass
class Twins:
    """Findings by relative path."""

    duplicates: dict[str, str] = field(default_factory=dict)
    """Left out -> the one that stays."""
    tested_and_trained: dict[str, str] = field(default_factory=dict)
    """Test videos that stay -> the train video with the same bytes."""
    other_class: dict[str, str] = field(default_factory=dict)
    """Videos -> one with the same bytes and another class."""

    def notes(self) -> list[str]:
        """What a user should know."""
        notes = []
        if self.tested_and_trained:
            video, twin = next(iter(self.tested_and_trained.items()))
            notes.append(
                f"{len(self.tested_and_trained)} test videos have the bytes of a train video, the first: {video} those "
                f"of {twin}; they stay, as the lists say, and flatter the scores: data.test_twins=drop leaves them out"
            )
        if self.other_class:
            video, twin = next(iter(self.other_class.items()))
            notes.append(
                f"{len(self.other_class)} videos have the bytes of a video of another class, the first: {video} those "
                f"of {twin}; one of the labels is wrong"
            )
        return notes


def find_twins(annotations: Annotations, infos: dict[str, VideoInfo], *, keep_tests: bool) -> Twins:
    """Videos with the same bytes among those that can be used.

    A second copy is left out where it is trained on. Test videos of lists are all scored, whatever their twins, unless
    `keep_tests` is False; where the split is our own, no copy is used twice.
    """
    twins = Twins()
    by_digest: dict[str, list[Sample]] = {}
    for sample in annotations.samples:
        if infos[sample.video].verdict in USABLE_VERDICTS:
            by_digest.setdefault(infos[sample.video].digest, []).append(sample)
    for group in by_digest.values():
        odd = next((sample for sample in group if sample.class_name != group[0].class_name), None)
        trained_in: dict[int, int] = {}  # place of an official split -> of the first video that it trains on
        for place, sample in enumerate(group):
            for split, part in enumerate(_parts(sample)):
                if part == "train":
                    trained_in.setdefault(split, place)
        stays: Sample | None = None
        for sample in group:
            if odd is not None:
                other = odd if sample.class_name == group[0].class_name else group[0]
                twins.other_class[sample.video] = other.video
            if annotations.splits_given and _tests(sample):
                tested = [split for split, part in enumerate(_parts(sample)) if part in _TESTED]
                if places := [trained_in[split] for split in tested if split in trained_in]:
                    kept = twins.tested_and_trained if keep_tests else twins.duplicates
                    kept[sample.video] = group[min(places)].video
            elif stays is None:
                stays = sample
            else:
                twins.duplicates[sample.video] = stays.video
    return twins


def _parts(sample: Sample) -> tuple[str, ...]:
    return sample.splits or (sample.split,)


def _tests(sample: Sample) -> bool:
    return any(part in _TESTED for part in _parts(sample))
