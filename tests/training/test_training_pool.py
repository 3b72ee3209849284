"""The pool draws categories evenly, pairs defects by category, and pairs scenes by index."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import image_set

from anomalyhybrid.errors import DataError
from anomalyhybrid.manipulate.reference import Reference
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.seeding import stream
from anomalyhybrid.training.pool import TrainingPool, gather

DRAWN = 3000


def draws(seed: int = 0) -> Draws:
    return Draws.from_stream(stream(seed, "pool"), DRAWN, columns=4)


def category(images: Reference) -> torch.Tensor:
    """Read the category back from the red channel."""
    red = ((images.color[:, 0, 0, 0] + 1) * 127.5).round()
    return ((red - 20) / 40).long()


def number(images: Reference) -> torch.Tensor:
    """A value that tells images apart."""
    return (images.color[:, 1] * torch.linspace(1, 2, images.color.shape[-1])).sum(dim=(1, 2))


def test_categories_are_drawn_evenly_and_their_images_evenly() -> None:
    pool = TrainingPool(image_set([0] * 7 + [1] + [2] * 2, size=16), None, 3)
    normals, base, has_base = pool.draw(draws())
    assert base is None
    assert not has_base.any()
    shares = torch.bincount(category(normals), minlength=3) / DRAWN
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.035)
    _, counts = number(normals)[category(normals) == 0].round(decimals=2).unique(return_counts=True)
    assert len(counts) == 7
    assert float(counts.min()) > 0.7 * DRAWN / 21


def test_defects_are_of_the_images_category_where_there_are_some() -> None:
    normals = image_set([0, 0, 1, 2, 2], size=16)
    base = image_set([0, 2, 2, 2], defective=True, seed=1, size=16)
    good, defects, has_base = TrainingPool(normals, base, 3).draw(draws())
    assert defects is not None
    assert torch.equal(has_base, category(good) != 1)
    assert torch.equal(category(defects)[has_base], category(good)[has_base])
    assert bool((defects.region_mask.sum(dim=(1, 2, 3)) == 16).all())
    assert not good.region_mask.any()
    assert len(number(defects).round(decimals=2).unique()) == 4


def test_an_empty_base_set_is_none() -> None:
    pool = TrainingPool(image_set([0, 1], size=16), image_set([0], size=16)[:0], 2)
    assert pool.draw(draws())[1] is None


def test_a_category_without_good_images_is_refused() -> None:
    with pytest.raises(DataError, match="no good image"):
        TrainingPool(image_set([0, 2], size=16), None, 3)


def test_a_sample_gets_the_same_images_in_any_batch_and_after_a_move() -> None:
    pool = TrainingPool(image_set([0, 0, 1], size=16), image_set([1, 1], seed=1, size=16), 2).to(torch.device("cpu"))
    many = pool.draw(Draws.from_streams([stream(0, index) for index in range(6)]))
    for index in range(6):
        one = pool.draw(Draws.from_streams([stream(0, index)]))
        assert torch.equal(one[0].color, many[0].color[index : index + 1])
        assert one[1] is not None
        assert many[1] is not None
        assert torch.equal(one[1].depth, many[1].depth[index : index + 1])


def test_pairs_are_the_same_scene() -> None:
    good, bad = image_set([0] * 5, size=16), image_set([0] * 5, defective=True, seed=3, size=16)
    pool = TrainingPool(good, None, 1, pairs=(good, bad))
    assert TrainingPool(good, None, 1).draw_pairs(draws()) is None
    drawn = pool.to(torch.device("cpu")).draw_pairs(draws())
    assert drawn is not None
    table = {
        round(float(first), 2): round(float(second), 2)
        for first, second in zip(
            number(gather(good, torch.arange(5))), number(gather(bad, torch.arange(5))), strict=True
        )
    }
    seen = {
        (round(float(first), 2), round(float(second), 2))
        for first, second in zip(number(drawn[0]), number(drawn[1]), strict=True)
    }
    assert seen == set(table.items())


def test_gathered_values_are_the_models() -> None:
    images = image_set([0, 1], defective=True, size=16)
    picked = gather(images, torch.tensor([1]))
    torch.testing.assert_close((picked.color + 1) * 127.5, images.color_u8[1:].float(), atol=1e-3, rtol=0)
    torch.testing.assert_close((picked.depth + 1) * 127.5, images.depth_u8[1:].float(), atol=1e-3, rtol=0)
    torch.testing.assert_close((picked.edge + 1) * 127.5, images.edge_u8[1:].float(), atol=1e-3, rtol=0)
    assert set(picked.region_mask.unique().tolist()) == {0.0, 1.0}
