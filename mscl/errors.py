"""Errors that a user can mend: the console prints them as one line, without a traceback."""

from kernels.errors import KernelInputError
from storage.errors import StorageError


class UserError(ValueError):
    """Input or configuration that cannot be used; the message says what, where, and what to do."""


class ConfigError(UserError):
    """A setting, preset or override that does not exist or does not fit."""


class DataError(UserError):
    """Videos, annotation files or datasets that cannot be used as asked."""


class CheckpointError(UserError):
    """A checkpoint that does not fit the model or the run that asks for it."""


class CardError(UserError):
    """A GPU failed; another one may do its work. Goes from process to process as its two arguments."""

    def __init__(self, device: str, reason: str) -> None:
        super().__init__(device, reason)
        self.device = device
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.device} failed ({self.reason}); what is done is kept. Look at `nvidia-smi` and run the same "
            "command again, with runtime.gpus if that GPU is to be left out"
        )


class CardMemoryError(UserError):
    """The memory of a GPU does not suffice."""


def one_line(error: BaseException, *, named: bool = False) -> str:
    """The text of a stranger's error, whatever it looks like, as a part of ours; `named`: after the error's class."""
    text = " ".join(str(error).split())[:300].rstrip(".")
    return f"{type(error).__name__}: {text}" if named else text


class AssumptionWarning(UserWarning):
    """Something that decides a result was not said, or contradicts what is known; the message names every value."""


USER_ERRORS: tuple[type[ValueError], ...] = (UserError, StorageError, KernelInputError)
"""All that a caller can mend: `except USER_ERRORS`. Stores and kernels know no mscl and have bases of their own."""
