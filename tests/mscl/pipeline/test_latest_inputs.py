"""Which results a stage run alone reads: those given, and what belongs to them; and what is said of them."""

from pathlib import Path
from typing import Any

import pytest

from mscl.config import load_config
from mscl.errors import UserError
from mscl.pipeline import BY_NAME, latest_inputs, other_settings, reads
from storage.record import content_of
from storage.result_folder import Result
from storage.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def made(
    place: Workspace, stage: str, key: str, *inputs: Result, text: str = "", config: dict[str, Any] | None = None
) -> Result:
    """A finished result with one file, made from others."""
    with place.claim(stage, key) as folder:
        (folder / "file").write_text(text)
        return place.commit(
            stage, key, version=1, config=config or {}, inputs={one.record.stage: one.key for one in inputs},
            metrics={}, timings={}, contents={one.record.stage: content_of(one.record) for one in inputs},
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


def test_a_result_given_under_the_name_of_another_stage_is_refused(place: Workspace) -> None:
    ingest = made(place, "ingest", "1111")
    made(place, "extract", "2222", ingest)
    with pytest.raises(UserError, match="1111 is given for extract, and is a result of ingest; give it as that"):
        latest_inputs(place, BY_NAME["motion"], given={"extract": "1111"})


def test_of_two_datasets_the_one_in_data_root_is_read(place: Workspace) -> None:
    """The latest was taken, and its result was named after the other dataset."""
    roots = {"1111": "/sets/a", "2222": "/sets/b"}
    ingests = [made(place, "ingest", key, config={"data": {"root": root}}) for key, root in roots.items()]
    extracts = [made(place, "extract", key[0] * 3 + "e", one) for key, one in zip(roots, ingests, strict=True)]
    motion = BY_NAME["motion"]

    def read(root: str, **given: str) -> str:
        config = load_config("demo", [f"data.root={root}"])
        return latest_inputs(place, motion, given=given, config=config)["extract"].key

    assert [read("/sets/a"), read("/sets/a/"), read("/sets/b"), read("")] == ["111e", "111e", "222e", "222e"]
    assert read("/sets/b", extract="111e") == "111e"
    with pytest.raises(
        UserError, match="data.root is /moved, and .* has results of the videos in /sets/a, /sets/b; give"
    ):
        read("/moved")
    assert latest_inputs(place, BY_NAME["ingest"], given={}, config=load_config("demo", ["data.root=/new"])) == {}
    config = load_config("demo", ["data.root=/sets/b", "data.classes=x"])
    assert other_settings(config, place.lineage(extracts[0])) == [
        "ingest 1111 was made with data.root='/sets/a', not '/sets/b'"
    ]
    alone = Workspace(place.root.parent / "alone")
    made(alone, "extract", "444e", made(alone, "ingest", "4444", config={"data": {"root": "/sets/a"}}))
    moved = latest_inputs(alone, motion, given={}, config=load_config("demo", ["data.root=/moved"]))
    assert moved["extract"].key == "444e"
    third = made(place, "ingest", "3333", config={"data": {"root": "/sets/c", "classes": ["y"], "split": [1, 2, 3]}})
    no_extract = load_config("demo", ["data.root=/sets/c", "data.classes=x"])
    assert "extract" not in latest_inputs(place, motion, given={}, config=no_extract)
    assert other_settings(no_extract, [third]) == ["ingest 3333 was made with data.classes=['y'], not ['x']"]


def test_a_result_given_whose_own_input_is_another_by_now_is_refused(place: Workspace) -> None:
    ingest = made(place, "ingest", "1111")
    pretrain = made(place, "pretrain", "2222", ingest)
    embed = made(place, "embed", "4444", ingest, pretrain)
    made(place, "pretrain", "2222", ingest, text="trained again")
    with pytest.raises(UserError, match="embed 4444 was made from another pretrain 2222 than is there now"):
        latest_inputs(place, BY_NAME["probe"], given={"embed": embed.key})


def test_what_was_made_with_other_settings_than_those_given_is_said(place: Workspace) -> None:
    ingest = made(place, "ingest", "1111", config={"data": {"root": "/videos"}, "min_frames": 2})
    extract = made(place, "extract", "2222", ingest, config={"flow": {"method": "denseflow", "gap_frames": 1}})
    pretrain = made(place, "pretrain", "3333", extract, config={"pretrain": {"epochs": 7, "optim": {"lr": 0.5}}})
    config = load_config("demo", [])
    assert other_settings(config, place.lineage(ingest, extract)) == [
        "extract 2222 was made with flow.method='denseflow', not 'tvl1'"
    ]
    said = other_settings(load_config("demo", ["flow.method=dis"]), place.lineage(pretrain))
    assert said == [
        "extract 2222 was made with flow.method='denseflow', not 'dis'",
        "pretrain 3333 was made with pretrain.optim.lr=0.5, not 0.003",
    ]


def test_starts_that_were_chosen_for_other_clips_are_refused(place: Workspace) -> None:
    pretrain = BY_NAME["pretrain"]
    assert pretrain.preflight is not None
    screen = made(place, "screen", "1111", config={"clip": {"length": 8, "stride": 2}})
    pretrain.preflight(load_config("demo", ["runtime.device=cpu", "clip.stride=2"]), {"screen": screen})
    says = "screen 1111 chose starts of clips of 8 with stride 2, and clip.length is 8, clip.stride 4; run"
    with pytest.raises(UserError, match=says):
        pretrain.preflight(load_config("demo", ["runtime.device=cpu", "clip.stride=4"]), {"screen": screen})


def test_what_a_run_has_made_was_made_with_its_settings(tiny: Path, tiny_workspace: Path) -> None:
    place = Workspace(tiny_workspace)
    inputs = latest_inputs(place, BY_NAME["report"], given={})
    assert {"extract", "pretrain", "probe"} <= inputs.keys()
    assert other_settings(load_config(str(tiny), []), place.lineage(*inputs.values())) == []


def test_it_is_said_of_which_videos_the_results_are_that_a_stage_reads(place: Workspace) -> None:
    ingest = made(place, "ingest", "1111", config={"data": {"root": "/a/UCF-101"}})
    extract, alone = made(place, "extract", "2222", ingest), made(place, "pretrain", "3333")
    assert reads({"extract": extract}, [ingest, extract]) == "extract 2222, of /a/UCF-101"
    both = {"ingest": ingest, "extract": extract}
    assert reads(both, [ingest, extract]) == "ingest 1111, extract 2222, of /a/UCF-101"
    assert reads({"pretrain": alone}, [alone]) == "pretrain 3333"
