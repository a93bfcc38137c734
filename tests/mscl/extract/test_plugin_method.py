"""Flow methods of others in extract: which names are taken, what is in the key, and an error that names the video."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mscl.config import DecodeLimits, FlowConfig
from mscl.errors import ConfigError, DataError
from mscl.extract.plugin_marks import plugin_marks
from mscl.extract.preflight import check_weights
from mscl.extract.shard import ShardTask, _computed
from mscl.extract.video_pass import Segment


def too_small(first_BHW3: Tensor, second_BHW3: Tensor) -> Tensor:
    return torch.zeros(*first_BHW3.shape[:2], 2)


def ones(first_BHW3: Tensor, second_BHW3: Tensor) -> Tensor:
    return torch.ones(*first_BHW3.shape[:3], 2)


def fields(method: str) -> np.ndarray:
    flow = FlowConfig(method=method, gap_frames=1, span_frames=1)
    segment = Segment(Path("clips/a.mp4"), 0, 3, 32, 48, 0)
    frames = iter(np.zeros((3, 32, 48, 3), np.uint8))
    task = ShardTask(0, (segment,), flow, DecodeLimits(), Path())
    return np.stack(list(_computed(frames, segment, task, [], lambda _: None)))


def test_ones_own_function_makes_the_fields() -> None:
    np.testing.assert_array_equal(fields(f"{__name__}:ones"), np.ones((2, 32, 48, 2)))


def test_a_wrong_shape_names_the_video_the_method_and_both_shapes() -> None:
    with pytest.raises(DataError, match=r"a\.mp4: .*:too_small returns \(2, 32, 2\).*of shape \(2, 32, 48, 3"):
        fields(f"{__name__}:too_small")


def test_names_of_methods_and_what_is_refused_early(tmp_path: Path) -> None:
    for method in ("tvl1", "denseflow", "ptlflow:sea_raft_s", "my.flow:Net.find"):
        assert FlowConfig(method=method).method == method
    for method in ("raft", "a:b:c", "my flow:find", ":find", "my:"):
        with pytest.raises(ValidationError, match=r"no flow method is called .*ptlflow:NAME or module:function"):
            FlowConfig(method=method)
    with pytest.raises(ConfigError, match=r"flow\.method: .*no_such_module"):
        check_weights(FlowConfig(method="no_such_module:find"))
    check_weights(FlowConfig(method=f"{__name__}:ones"))


def test_results_of_before_a_setting_keep_their_keys() -> None:
    raft = FlowConfig(method="raft_small")
    assert "raft_bf16" not in raft.noted()
    assert raft.model_copy(update={"raft_bf16": True}).noted()["raft_bf16"] is True


def test_the_key_knows_the_code_and_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_flow.py").write_text("find = 1\n")
    (tmp_path / "w.pth").write_bytes(b"1")
    flow = FlowConfig(method="own_flow:find", weights=str(tmp_path / "w.pth"))
    first = plugin_marks(flow)
    (tmp_path / "own_flow.py").write_text("find = 2\n")
    second = plugin_marks(flow)
    (tmp_path / "w.pth").write_bytes(b"2")
    assert first["code"] != second["code"] == plugin_marks(flow)["code"]
    assert first["weights"] == second["weights"] != plugin_marks(flow)["weights"]
    assert "weights" not in FlowConfig().noted() and flow.noted()["weights"]


def test_the_key_knows_the_code_of_a_package_in_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install -e .` gives it a version, which stays when the code changes."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "flow_in_work-1.0.dist-info").mkdir()
    (tmp_path / "flow_in_work-1.0.dist-info" / "METADATA").write_text("Name: flow-in-work\nVersion: 1.0\n")
    (tmp_path / "flow_in_work.py").write_text("find = 1\n")
    flow = FlowConfig(method="flow_in_work:find")
    first = plugin_marks(flow)
    (tmp_path / "flow_in_work.py").write_text("find = 2\n")
    assert first["version"] == "1.0" and first["code"] and first["code"] != plugin_marks(flow)["code"]
