"""Errors of the stores: what is wrong, in which file, and what to do about it."""


class StorageError(ValueError):
    """A file or value that cannot be stored or read as asked."""


class DamagedError(StorageError):
    """A stored file is missing, short or does not have the content that was written; the message names the file."""


class UnreadableError(StorageError):
    """A file that is there and may not be read, another user's for example: nothing is known of it, damage neither."""


class LockedError(StorageError):
    """Somebody else is working on the same result."""


class NoLocksError(StorageError, OSError):
    """A file cannot be locked where it lies: the file system, or the whole system, has no flock."""
