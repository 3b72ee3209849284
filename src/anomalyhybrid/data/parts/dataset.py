"""Write rendered parts as a data set in the MVTec AD layout."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from anomalyhybrid.data.parts.defects import DEFECTS
from anomalyhybrid.data.parts.products import PRODUCTS
from anomalyhybrid.data.parts.render import RenderedPart, check_name, render
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.seeding import derive


def write_dataset(
    root: Path,
    *,
    product: str,
    product_seed: int,
    seed: int,
    train_good: int,
    test_good: int = 0,
    defects_per_kind: int = 0,
    size: int = 256,
    with_depth: bool = False,
) -> Path:
    """Write one category: train/good, test/good, test/<defect>, ground_truth/<defect>.

    Args:
        root: Folder that holds the categories; made when absent.
        product: One of `PRODUCTS`; also the name of the category's folder.
        product_seed: Which product of that kind.
        seed: Root of the image and defect seeds.
        train_good: Number of good training pictures.
        test_good: Number of good test pictures.
        defects_per_kind: Number of test pictures for each of `DEFECTS`.
        size: Side of the pictures in pixels.
        with_depth: Also write depth/<same relative path>.png, 16 bit, 65535 nearest.

    Returns:
        The category's folder.

    Raises:
        ConfigError: A name, size or count is not allowed.
        DataError: A file could not be written.
    """
    check_name("product", product, PRODUCTS)
    for name, count in (
        ("train_good", train_good),
        ("test_good", test_good),
        ("defects_per_kind", defects_per_kind),
    ):
        if count < 0:
            raise ConfigError(f"{name} is {count}; give 0 or more")
    folder = Path(root) / product
    plan = [("train", "good", train_good), ("test", "good", test_good)]
    plan += [("test", defect, defects_per_kind) for defect in DEFECTS]
    for split, defect, count in plan:
        for index in range(count):
            part = render(
                product,
                product_seed=product_seed,
                image_seed=derive(seed, split, defect, index),
                size=size,
                defect=defect,
                defect_seed=derive(seed, split, defect, index, "defect"),
            )
            _write_part(folder, f"{split}/{defect}/{index:03d}", part, with_depth=with_depth)
    return folder


def _write_part(folder: Path, name: str, part: RenderedPart, *, with_depth: bool) -> None:
    _write_png(folder / f"{name}.png", part.image_u8[..., ::-1])
    if part.defect != "good":
        mask_u8 = part.label_mask.astype(np.uint8) * 255
        _write_png(folder / "ground_truth" / part.defect / f"{Path(name).name}_mask.png", mask_u8)
    if with_depth:
        _write_png(folder / "depth" / f"{name}.png", np.round(part.depth * 65535).astype(np.uint16))


def _write_png(path: Path, pixels: np.ndarray) -> None:
    """Write under a temporary name and rename, so that a file that exists is complete."""
    done, code = cv2.imencode(".png", np.ascontiguousarray(pixels))
    if not done:
        raise DataError(f"cannot encode {path}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(code.tobytes())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error}; check the folder and the free space") from error
