"""Nearest segments of an indexed set."""

import numpy as np
import pytest

import mscl
from mscl.errors import DataError
from storage.features import Features


def test_search_finds_the_segment_itself_first() -> None:
    features = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    index = Features([f"v{i}" for i in range(20)], np.arange(20) % 3, ["train"] * 20, features, {})
    found = mscl.search(features[[4, 9]], index, k=3)
    assert [row[0].segment_id for row in found] == ["v4", "v9"]
    assert found[0][0].similarity == pytest.approx(1, abs=1e-5)
    assert len(found[0]) == 3
    with pytest.raises(DataError, match="5 features, the index 6"):
        mscl.search(features[:1, :5], index)
    with pytest.raises(DataError, match="with 1 values that are not finite"):
        mscl.search(np.where(np.arange(6) == 2, np.nan, features[:1]), index)
    with pytest.raises(DataError, match=r"of shape \(6,\) .*give a row"):
        mscl.search(features[0], index)
    assert mscl.search(features[[4]].tolist(), index, k=1)[0][0].segment_id == "v4"
    for wrong in (0, 2.5, "3"):
        with pytest.raises(DataError, match=f"k = {wrong!r}: give a whole number, 1 or more"):
            mscl.search(features[:1], index, k=wrong)  # type: ignore[arg-type]
    assert len(mscl.search(features[:1], index, k=np.int64(2))[0]) == 2  # type: ignore[arg-type]
