"""Settings checked against the literals that declare them; free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args, get_type_hints

from anomalyhybrid.errors import ConfigError

WindowSetting = Literal["auto", "whole"] | int
"""`auto`, `whole`, or the side of the windows in native pixels (docs/adr/013)."""


def check_choices(settings: Any, prefix: str, names: Sequence[str]) -> None:
    """Refuse a value that a field's `Literal` does not name, where settings were built from Python.

    Args:
        settings: A configuration dataclass.
        prefix: What messages call it, for example ``train``.
        names: Fields that are declared as literals.

    Raises:
        ConfigError: The field, its value and what is allowed.
    """
    hints = get_type_hints(type(settings))
    for name in names:
        value = getattr(settings, name)
        if value not in (allowed := get_args(hints[name])):
            raise ConfigError(f"{prefix}.{name} is {value!r}; it must be one of {', '.join(allowed)}")
