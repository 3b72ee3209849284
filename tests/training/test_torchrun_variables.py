"""The variables that torchrun sets: read once for training and for sharded sets."""

from __future__ import annotations

import pytest

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.torchrun import VARIABLES, Place, read_place
from anomalyhybrid.training.processes import join_processes

TOLD = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}


def test_a_place_is_read() -> None:
    assert read_place(environment={}) is None
    assert read_place(VARIABLES, TOLD) == Place(rank=5, local=1, count=8)
    assert read_place(VARIABLES, {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}) == Place(0, 0, 1)
    assert read_place(environment={"RANK": "0", "WORLD_SIZE": "1"}) is None
    with pytest.raises(ConfigError, match="LOCAL_RANK is not set; start several processes with torchrun"):
        read_place(environment={"RANK": "1", "WORLD_SIZE": "2"})
    with pytest.raises(ConfigError, match="WORLD_SIZE is '', but RANK, LOCAL_RANK, WORLD_SIZE is not set"):
        read_place(environment={"WORLD_SIZE": ""})
    with pytest.raises(ConfigError, match="RANK is 8, but WORLD_SIZE is 8; give ranks from 0 to 7"):
        read_place(VARIABLES, TOLD | {"RANK": "8"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RANK", "x"), ("RANK", "-1"), ("WORLD_SIZE", "two"), ("WORLD_SIZE", "0"), ("LOCAL_RANK", "1.5"),
        ("MASTER_PORT", "http"), ("MASTER_PORT", "70000"), ("LOCAL_WORLD_SIZE", "many"),
    ],
)  # fmt: skip
def test_bad_values_are_named_before_anything_is_started(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, good in TOLD.items():
        monkeypatch.setenv(variable, good)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name} is '{value}' in the environment; torchrun sets a whole number"):
        join_processes()
