"""Whether batches divide into processes, micro-batches and groups: asked before anything is computed."""

from mscl.errors import ConfigError
from mscl.pretrain.config import PretrainConfig


def check_divisions(config: PretrainConfig, *, processes: int, cuda: bool) -> None:
    """Refuse batches that do not divide among all `processes`, and what these have no batch norm or no keys for.

    Raises:
        ConfigError: with both numbers.
    """
    if config.loss.flow and config.loss.enqueue == "released" and config.accumulate > 1:
        raise ConfigError(
            "pretrain.loss.enqueue=released reads the flow queue after the keys of the whole batch went in, and with "
            f"pretrain.accumulate={config.accumulate} the first loss comes before the last key; "
            "set pretrain.accumulate=1"
        )
    parts = processes * config.accumulate
    if config.batch_size % parts:
        raise ConfigError(
            f"pretrain.batch_size {config.batch_size} does not divide into {processes} processes x "
            f"{config.accumulate} micro-batches; take a multiple of {parts}"
        )
    micro = config.batch_size // parts
    if micro % config.bn_splits or micro // config.bn_splits < 2:
        raise ConfigError(
            f"a micro-batch of {micro} clips does not divide into pretrain.bn_splits {config.bn_splits} groups of at "
            "least 2; lower bn_splits or accumulate, or raise batch_size"
        )
    if config.bn == "sync" and processes > 1 and not cuda:
        raise ConfigError("pretrain.bn sync needs CUDA (torch has no SyncBatchNorm on CPU); take shuffle or local")
