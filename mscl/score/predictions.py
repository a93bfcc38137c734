"""What a classifier said of each test video, as a Parquet table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mscl.array_types import Ints
from storage.manifest import write_table

PREDICTIONS = "predictions.parquet"


def write_predictions(
    path: Path, *, videos: Sequence[str], labels_V: Ints, probabilities_VC: npt.NDArray[np.float32]
) -> None:
    """One row a video: path, label, predicted label, probabilities of all classes."""
    columns = {
        "video": pa.array(list(videos), pa.string()),
        "label": pa.array(labels_V, pa.int32()),
        "predicted": pa.array(probabilities_VC.argmax(axis=1), pa.int32()),
        "probabilities": pa.FixedSizeListArray.from_arrays(
            pa.array(probabilities_VC.ravel(), pa.float32()), probabilities_VC.shape[1]
        ),
    }
    write_table(path, pa.table(columns))


def read_predictions(path: Path) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Labels (V,) and probabilities (V, C) that `write_predictions` wrote."""
    table = _read(path)
    flat = pc.list_flatten(table.column("probabilities")).to_numpy()
    return table.column("label").to_numpy().astype(np.int64), flat.reshape(table.num_rows, -1).astype(np.float32)


def predicted_videos(path: Path) -> list[str]:
    """Videos of the rows that `write_predictions` wrote."""
    return [str(name) for name in _read(path).column("video").to_pylist()]


def join_predictions(path: Path, runs: Mapping[tuple[int, int], Path]) -> None:
    """One table of the predictions of several runs, by (split, seed), with both as its first columns."""
    tables = []
    for (split, seed), source in runs.items():
        table = _read(source)
        table = table.add_column(0, "split", pa.array([split] * table.num_rows, pa.int32()))
        tables.append(table.add_column(1, "seed", pa.array([seed] * table.num_rows, pa.int64())))
    write_table(path, pa.concat_tables(tables))


def first_run_videos(path: Path) -> list[str]:
    """Videos that the first run of a table of `join_predictions` was tested on.

    Raises:
        FileNotFoundError: no such table.
    """
    table = _read(path)
    split, seed = table.column("split")[0].as_py(), table.column("seed")[0].as_py()
    mask = pc.and_(pc.equal(table.column("split"), split), pc.equal(table.column("seed"), seed))
    return [str(name) for name in table.filter(mask).column("video").to_pylist()]


def _read(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(path, partitioning=None)
