"""A short seeded part of the fuzz storm (`video_fuzz.py --count N` is the whole)."""

from pathlib import Path

from tests.faults.video_fuzz import fuzz, write_mutants, write_sample_videos


def test_mutants_each_get_a_verdict(tmp_path: Path) -> None:
    videos = write_sample_videos(tmp_path)
    (tmp_path / "mutants").mkdir()
    findings = fuzz(videos, tmp_path / "mutants", count=30, seed=0)
    assert len(findings) == 30
    assert not [(path.name, info) for path, info in findings if info.verdict in ("crashed", "timeout")]
    assert len({info.verdict for _, info in findings}) >= 3


def test_mutants_of_real_videos_each_get_a_verdict(tmp_path: Path, shared_dir: Path) -> None:
    videos = sorted(p for p in (shared_dir / "data" / "hard_videos").iterdir() if 1000 < p.stat().st_size < 200_000)
    findings = fuzz(videos, tmp_path, count=25, seed=1)
    assert not [(path.name, info) for path, info in findings if info.verdict in ("crashed", "timeout")]


def test_the_same_seed_gives_the_same_mutants(tmp_path: Path) -> None:
    videos = write_sample_videos(tmp_path)
    for name in "ab":
        (tmp_path / name).mkdir()
    first, second = (write_mutants(videos, tmp_path / name, count=5, seed=3) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
