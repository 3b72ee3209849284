"""Good images and a cache folder for the data set and the augmenter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyhybrid.data.loading import load_image, to_rgb_u8
from anomalyhybrid.data.reading import read_data


@pytest.fixture(autouse=True)
def _own_cache(maps_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(maps_cache))


@pytest.fixture(scope="session")
def good_images(products: Path) -> torch.Tensor:
    """The four good nuts, float (4, 3, 64, 64) in [0, 1]."""
    records = read_data(products / "nut").normals()
    pixels = [torch.tensor(to_rgb_u8(load_image(record.path).pixels)).permute(2, 0, 1) for record in records]
    return torch.stack(pixels).float() / 255
