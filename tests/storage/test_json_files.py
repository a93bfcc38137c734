"""JSON files: plain values in, the same values out, and one clear line for what is none."""

from pathlib import Path

import pytest

from storage.atomic import digest_file
from storage.errors import DamagedError, StorageError
from storage.json_files import read_json, read_json_object, write_json


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    digest = write_json(path, {"top1": 0.5, "runs": [1, None]})
    assert read_json_object(path) == {"top1": 0.5, "runs": [1, None]}
    assert digest == digest_file(path)
    assert path.read_bytes().endswith(b"\n")
    for value in (float("nan"), {"a": object()}):
        with pytest.raises(StorageError, match="only plain values"):
            write_json(path, value)
    assert read_json(path)["top1"] == 0.5  # a refused write loses nothing


@pytest.mark.parametrize(("text", "says"), [(None, "cannot read"), ("{", "is not JSON"), ("[1]", "a JSON list")])
def test_what_is_no_object_is_named(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "card.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DamagedError, match=rf"card\.json.*{says}|{says}.*card\.json"):
        read_json_object(path)
