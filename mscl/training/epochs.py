"""Steps of an epoch, for the command, too, which does without PyTorch while its ranks train."""

from mscl.errors import DataError


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """Whole global batches in an epoch; the incomplete last one is dropped.

    Raises:
        DataError: not even one.
    """
    if batch_size < 1 or num_samples < batch_size:
        raise DataError(
            f"batch_size {batch_size} is larger than the {num_samples} segments to train on; "
            "lower batch_size or screen less strictly"
        )
    return num_samples // batch_size
