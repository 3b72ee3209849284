"""Errors that a user can act on: each message gives the value, what is allowed and what to do."""


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
