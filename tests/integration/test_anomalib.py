"""Inside anomalib itself: `Draem.augmenter` under a Lightning trainer, and the synthetic split."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch

from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.integration import DefectAugmenter

pytest.importorskip("anomalib", reason="anomalib is not installed")


@pytest.fixture
def augmenter(tiny_run: Path) -> DefectAugmenter:
    return DefectAugmenter(tiny_run, probability=1.0, config=GenerateConfig(max_attempts=2))


def test_draem_trains_with_it(
    tmp_path: Path, augmenter: DefectAugmenter, products: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomalib.data import Folder
    from anomalib.models import Draem
    from lightning.pytorch import Trainer

    monkeypatch.chdir(tmp_path)
    (tmp_path / "dtd").mkdir()
    image_size = {"pre_processor": Draem.configure_pre_processor((64, 64))}
    model = Draem(dtd_dir=tmp_path / "dtd", visualizer=False, **image_size)
    model.augmenter = augmenter
    given = []
    augmenter.register_forward_hook(lambda module, inputs, output: given.append((inputs[0], *output)))
    before = next(model.model.parameters()).clone()
    data = Folder(
        name="nut", root=products / "nut", normal_dir="train/good", train_batch_size=4, num_workers=0,
        test_split_mode="none", val_split_mode="none",
    )  # fmt: skip
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, limit_val_batches=0
    )
    trainer.fit(model, datamodule=data)
    ((image, augmented, masks),) = given
    assert image.shape == (4, 3, 64, 64)
    assert torch.equal(augmented * (1 - masks), image * (1 - masks))
    assert all(mask.any() for mask in masks)
    assert not torch.equal(next(model.model.parameters()), before)
    assert not any("augmenter" in name for name in model.state_dict())


def test_the_synthetic_split_is_made_by_it(tmp_path: Path, augmenter: DefectAugmenter, products: Path) -> None:
    import pandas as pd
    from anomalib.data.utils.synthetic import make_synthetic_dataset

    good = sorted((products / "nut/train/good").iterdir())
    samples = pd.DataFrame(
        {"image_path": map(str, good), "label": "normal", "label_index": 0, "mask_path": "", "split": "train"}
    )
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    with patch("anomalib.data.utils.synthetic.PerlinAnomalyGenerator", return_value=augmenter):
        made = make_synthetic_dataset(samples, images, masks, 1.0)
    assert list(made.label_index) == [1] * 4
    left = {path: cv2.imread(str(path)) for path in good}
    for row in made.itertuples():
        image, mask = cv2.imread(str(row.image_path)), cv2.imread(str(row.mask_path), cv2.IMREAD_GRAYSCALE)
        assert set(np.unique(mask)) == {0, 255}
        fits = [path for path, pixels in left.items() if np.array_equal(pixels[mask == 0], image[mask == 0])]
        assert len(fits) == 1  # bit for bit outside, and of this good image alone
        assert (left.pop(fits[0])[mask > 0] != image[mask > 0]).any()
