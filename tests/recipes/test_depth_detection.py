"""Table 4's rows: colour, depth, and the mean of both maps, of two detectors."""

from __future__ import annotations

import math

import pytest
import torch

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.depth_samples import DepthSamples
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.evaluation.segmenter import SegmenterConfig
from anomalyhybrid.recipes.evaluation.depth_detection import (
    MODALITIES,
    NO_GOOD_IMAGE,
    detect_with_depth,
    figures_of_maps,
)

SIZE = 32


def samples(count: int, seed: int) -> DepthSamples:
    """Noise; every second image has a square that depth shows plainly and colour not at all."""
    generator = torch.Generator().manual_seed(seed)
    color = torch.randint(90, 160, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    depth = torch.randint(90, 120, (count, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    mask = torch.zeros(count, 1, SIZE, SIZE, dtype=torch.uint8)
    for index in range(0, count, 2):
        top, left = torch.randint(4, 16, (2,), generator=generator).tolist()
        mask[index, 0, top : top + 12, left : left + 12] = 255
    kind = torch.tensor([0 if index % 2 == 0 else GOOD_KIND for index in range(count)])
    return DepthSamples(Samples(color, mask, kind, ("dent",)), torch.where(mask > 0, depth + 110, depth))


def test_three_rows_of_two_detectors() -> None:
    test = samples(10, 1)
    config = SegmenterConfig(size=SIZE, epochs=10, samples_per_epoch=32, batch_size=4, width=4, learning_rate=3e-3)
    found = detect_with_depth(samples(16, 0), test, config, method="ours", category="part", notes=("a note",))
    assert [row.method for row in found.rows] == [f"ours, {name}" for name in MODALITIES]
    color, depth, both = found.rows
    assert depth.figures["pixel_auroc"] > 0.95 > color.figures["pixel_auroc"]  # four seeds: 1.00; 0.63 to 0.87
    assert color.samples == {
        "good training images": 8,
        "defective training images": 8,
        "good test images": 5,
        "defective test images": 5,
    }
    assert "a note" in both.notes
    mean = (found.maps_u8[0].float() + found.maps_u8[1].float()) / 2
    assert float((mean - found.maps_u8[2].float()).abs().max()) <= 1
    assert both.figures["pixel_auroc"] > color.figures["pixel_auroc"]


def test_figures_of_perfect_maps() -> None:
    test = samples(6, 2).color
    figures = figures_of_maps((test.mask_u8 > 127).float(), test)
    assert (figures.pixel.auroc, figures.pixel.ap, figures.image.auroc) == (1.0, 1.0, 1.0)
    with pytest.raises(DataError, match="5 maps for 6"):
        figures_of_maps(torch.zeros(5, 1, SIZE, SIZE), test)


def test_without_good_images_pixels_alone_are_measured() -> None:
    every = samples(8, 3)
    test = every.where(every.color.kind != GOOD_KIND)
    figures = figures_of_maps((test.color.mask_u8 > 127).float(), test.color)
    assert (figures.pixel.auroc, figures.pixel.ap, figures.good) == (1.0, 1.0, 0)
    assert all(math.isnan(value) for value in (figures.image.auroc, figures.image.ap, figures.image.f1_max))
    with pytest.raises(DataError):
        figures_of_maps(torch.zeros(4, 1, SIZE, SIZE), every.color.good)


def test_detectors_of_defects_alone_say_that_image_figures_are_not_defined() -> None:
    every = samples(12, 4)
    defects = every.where(every.color.kind != GOOD_KIND)
    config = SegmenterConfig(size=SIZE, epochs=1, samples_per_epoch=8, batch_size=4, width=4, good_share=0.0)
    found = detect_with_depth(defects, defects, config, method="ours", category="road")
    assert all(NO_GOOD_IMAGE in row.notes for row in found.rows)
    assert all(math.isnan(row.figures["image_auroc"]) and row.figures["pixel_auroc"] > 0 for row in found.rows)
    assert found.rows[0].samples["good test images"] == 0
    with_good = detect_with_depth(every, every, config, method="ours", category="road")
    assert all(NO_GOOD_IMAGE not in row.notes for row in with_good.rows)
