"""Errors of the numerics that a caller can mend."""


class KernelInputError(ValueError):
    """Arrays, sizes or settings that a kernel cannot use; the message says what was given and what to do."""
