"""Which results a stage run alone reads: those given, and what belongs to them."""

from pathlib import Path

import pytest

from mscl.errors import UserError
from mscl.pipeline import BY_NAME, latest_inputs
from storage.record import content_of
from storage.result_folder import Result
from storage.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def made(place: Workspace, stage: str, key: str, *inputs: Result, text: str = "") -> Result:
    """A finished result with one file, made from others."""
    with place.claim(stage, key) as folder:
        (folder / "file").write_text(text)
        return place.commit(
            stage, key, version=1, config={}, inputs={one.record.stage: one.key for one in inputs}, metrics={},
            timings={}, contents={one.record.stage: content_of(one.record) for one in inputs},
        )  # fmt: skip


def test_results_given_of_two_lineages_are_refused(place: Workspace) -> None:
    ingest = made(place, "ingest", "1111")
    first, second = made(place, "pretrain", "2222", ingest), made(place, "pretrain", "3333", ingest)
    embed = made(place, "embed", "4444", ingest, first)
    probe = BY_NAME["probe"]
    assert latest_inputs(place, probe, given={"pretrain": first.key})["embed"] == embed
    with pytest.raises(UserError, match="two lineages: pretrain 2222 of the first, 3333 of pretrain 3333; give"):
        latest_inputs(place, probe, given={"embed": embed.key, "pretrain": second.key})
    assert "embed" not in latest_inputs(place, probe, given={"pretrain": second.key})


def test_a_result_given_whose_own_input_is_another_by_now_is_refused(place: Workspace) -> None:
    ingest = made(place, "ingest", "1111")
    pretrain = made(place, "pretrain", "2222", ingest)
    embed = made(place, "embed", "4444", ingest, pretrain)
    made(place, "pretrain", "2222", ingest, text="trained again")
    with pytest.raises(UserError, match="embed 4444 was made from another pretrain 2222 than is there now"):
        latest_inputs(place, BY_NAME["probe"], given={"embed": embed.key})
