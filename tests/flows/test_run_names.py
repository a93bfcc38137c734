"""What a run is called, and where its videos are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.artifacts import run_link
from flows.cli.run_and_stage import preset_for_flow
from flows.form import AS_PRESET
from flows.parameters import resolve
from flows.pools import parameters_of
from flows.run_names import preset_title, special
from mscl.config import ExperimentConfig, load_config
from mscl.config.presets import layers_of
from mscl.errors import ConfigError, UserError
from storage.result_folder import Result
from storage.workspace import Workspace


def test_a_name_says_what_differs_from_the_preset_and_not_where_the_data_are() -> None:
    changes = ["pretrain.optim.lr=0.01", "data.root=/videos/UCF-101", "data.split=2", "runtime.workers=3"]
    config = load_config("demo", changes)
    assert special(config, preset="demo") == ["split=2", "lr=0.01"]
    both = load_config("demo", ["pretrain.optim.lr=0.01", "finetune.optim.lr=0.02"])
    assert special(both, preset="demo") == ["pretrain.optim.lr=0.01", "finetune.optim.lr=0.02"]
    scores = load_config("demo", ["pretrain.seed=20", "finetune.enabled=false"])
    assert special(scores, preset="demo") == ["seed=20", "finetune.enabled=false"]
    assert special(load_config("demo", ["finetune.epochs=20"]), preset="demo") == ["finetune.epochs=20"]
    many = load_config("demo", [f"data.{name}" for name in ("split=2", "test_fraction=0.5", "partial=drop")])
    assert special(many, preset="ucf101")[-1].endswith(" more")
    assert special(load_config("ucf101"), preset="ucf101") == []


def test_a_preset_s_file_is_called_without_its_folder() -> None:
    assert preset_title("/some/where/mine.yaml") == "mine"
    assert preset_title("ucf101+linear") == "ucf101+linear"


def test_a_file_s_path_may_hold_a_plus_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's runs name an overlay's file by its whole path, whatever its folder is called."""
    (tmp_path / "a+b").mkdir()
    monkeypatch.chdir(tmp_path / "a+b")
    Path("few+more.yaml").write_text("probe: {k: 3}\n")
    whole = preset_for_flow("demo+few+more.yaml+linear")
    assert whole == f"demo+{tmp_path}/a+b/few+more.yaml+linear"
    assert layers_of(whole) == ["demo", f"{tmp_path}/a+b/few+more.yaml", "linear"]
    assert load_config(whole) == load_config("demo+few+more.yaml+linear")
    Path("mine.yaml").write_text("base: demo+few+more.yaml\n")
    assert load_config(str(tmp_path / "a+b" / "mine.yaml")).probe.k == 3


def test_folders_have_parameters_of_their_own_and_may_not_be_given_twice() -> None:
    config = resolve("demo", {"data": {"split": 2}}, data_root="/videos", annotations="/lists")
    assert (config.data.root, config.data.annotations, config.data.split) == ("/videos", "/lists", 2)
    assert resolve("demo", {"data": AS_PRESET, "clip": AS_PRESET}) == load_config("demo")
    assert resolve("demo", {"data": {"root": "/videos"}}, data_root="/videos/").data.root == "/videos/"
    with pytest.raises(ConfigError, match=r"data_root is '/a' and data.root is '/b'; give one of them"):
        resolve("demo", {"data": {"root": "/b"}}, data_root="/a")


def test_stages_that_there_are_not_are_refused_in_pools_and_pauses() -> None:
    for setting in ({"pools": {"pretrian": "gpu"}}, {"pause_before": ["pretrian"]}):
        with pytest.raises(UserError, match="unknown stage 'pretrian'"):
            resolve("demo", {"runtime": setting})


def test_a_run_on_another_pool_has_the_same_settings_and_sends_nothing_on(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: demo+kind\ndata: {annotations: lists}\nruntime: {pools: {pretrain: gpu}, retries: 2}\n")
    config = load_config(str(mine), ["data.root=/videos", "pretrain.epochs=3", "probe.superclasses={}"])
    asked = parameters_of(Workspace(tmp_path / "ws"), config, {}, force=True, preset=str(mine))
    preset, places = asked["preset"], {name: asked[name] for name in ("data_root", "annotations")}
    sections = {name: asked[name] for name in ExperimentConfig.model_fields}
    there = resolve(preset, sections, **places)
    assert there.runtime.pools == {} and there.runtime.retries == 0
    assert there.model_copy(update={"runtime": config.runtime}) == config
    emptied = load_config(str(mine), ["data.root=/videos", "data.annotations="])
    with pytest.raises(ConfigError, match="data.annotations is empty and .* has 'lists', which a run on another"):
        parameters_of(Workspace(tmp_path / "ws"), emptied, {}, force=False, preset=str(mine))


def test_a_result_that_was_made_again_without_prefect_names_no_run(tmp_path: Path) -> None:
    place, key = Workspace(tmp_path / "ws"), "1" * 16

    def made() -> Result:
        return place.commit("ingest", key, version=1, config={}, inputs={}, metrics={}, timings={})

    with place.claim("ingest", key) as folder:
        first = made()
        note = {"page": "http://127.0.0.1:4200/runs/x", "made": first.record.created_at.isoformat()}
        (folder / ".made-by.json").write_text(json.dumps(note))
        assert run_link(first) == "[run](http://127.0.0.1:4200/runs/x)"
        assert run_link(made()) == "-"
