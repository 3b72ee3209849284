"""Errors that a user can act on: each message gives the value, what is allowed and what to do."""

import errno

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = {errno.ENOTDIR: "a file is where a folder is needed", errno.EISDIR: "a folder is where a file is needed"}


class AnomalyHybridError(Exception):
    """Base of every error that is the caller's to mend; the CLI prints it and exits with code 2."""


class ConfigError(AnomalyHybridError):
    """A setting has a value that is not allowed, or is not known."""


class DataError(AnomalyHybridError):
    """A data folder, image, mask or output folder is not usable."""


class WeightsError(AnomalyHybridError):
    """A weight file is missing, is not the expected one, or does not fit the network."""


class WeightsNotFoundError(WeightsError):
    """A weight file is in none of the places where it is looked for."""


class CheckpointError(AnomalyHybridError):
    """A training checkpoint is missing, incomplete or belongs to another configuration."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether the host or a GPU had no memory left."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def outside_cause(error: Exception) -> str | None:
    """Word an error of the machine (disk, permissions, memory); None for a fault of the program."""
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    # writers in other languages (safetensors, torch) give the reason in their text alone
    if number in _DISK_FULL or "No space left on device" in text:
        return f"the disk is full or its quota used up{where}; free some space and run again"
    if number in _FORBIDDEN or "Permission denied" in text or "Read-only file system" in text:
        return f"a file or folder may not be written or read by this user{where or f': {text}'}; choose another"
    if number in _IN_THE_WAY:
        return f"{_IN_THE_WAY[number]}{where}; move it or choose another path"
    if is_out_of_memory(error):
        detail = (text or "no detail").splitlines()[0]
        return f"out of memory; use a smaller --batch-size or --size ({detail})"
    return None
