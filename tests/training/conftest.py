"""What every test of training needs: cheap trainers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tiny_runs import cheap_trainers

from anomalyhybrid.training import loop


@pytest.fixture(scope="module", autouse=True)
def cheap() -> Iterator[None]:
    """Full-size trainers come back after each module."""
    before = loop.DiscriminatorConfig, loop.PROBES
    cheap_trainers()
    yield
    loop.DiscriminatorConfig, loop.PROBES = before
