"""Videos with the same bytes: which are left out, and which test videos were trained on."""

from dataclasses import dataclass, field

from mscl.ingest.annotations import Annotations, Sample
from mscl.video.video_info import VideoInfo
from storage.manifest import USABLE_VERDICTS


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
        for place, sample in enumerate(group):
            earlier = group[:place]
            odd = next((other for other in group if other.class_name != sample.class_name), None)
            if odd is not None:
                twins.other_class[sample.video] = odd.video
            trained = next((other for other in group if _trains_what_tests(other, sample)), None)
            if annotations.splits_given and _tests(sample):
                if trained is not None:
                    kept = twins.tested_and_trained if keep_tests else twins.duplicates
                    kept[sample.video] = trained.video
                continue
            same = [other for other in earlier if not (annotations.splits_given and _tests(other))]
            if same:
                twins.duplicates[sample.video] = same[0].video
    return twins


def _parts(sample: Sample) -> tuple[str, ...]:
    return sample.splits or (sample.split,)


def _tests(sample: Sample) -> bool:
    return any(part in ("test", "val") for part in _parts(sample))


def _trains_what_tests(trained: Sample, tested: Sample) -> bool:
    """Whether there is a split in which the first is a train video and the second a test video."""
    pairs = zip(_parts(trained), _parts(tested), strict=True)
    return trained is not tested and any(a == "train" and b in ("test", "val") for a, b in pairs)
