"""Copy `train/good` and the base third of every defect of MVTec-layout folders, squeezed to the model's size.

python benchmarks/pack_data.py OUT FOLDER [FOLDER ...] [--size 256] [--quality 93] [--with-test | --validation]

With `--with-test` the test side goes along, for `evaluate`; the split of the copy is that of the whole folder. With
`--validation` every fifth good training image becomes a good test image: the copy, evaluated, splits the base third
into a third to learn from and the rest to choose settings by; no image of the test side is in it.
"""

import argparse
from pathlib import Path

import cv2

from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, save_png, to_model_u8
from anomalyhybrid.data.near_duplicates import duplicate_groups
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.data.splits import base_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--quality", type=int, default=93)
    side = parser.add_mutually_exclusive_group()
    side.add_argument("--with-test", action="store_true")
    side.add_argument("--validation", action="store_true")
    parser.add_argument("--normals", type=int, default=None, help="good training images at most")
    given = parser.parse_args()
    for root in given.folders:
        folder = read_data(root)
        base, test = base_split(folder.records, variant="sorted", seed=0, groups=duplicate_groups(folder.records))
        normals = folder.normals()[: given.normals]
        held = set(normals[4::5] if given.validation else ())
        for record in [*normals, *base, *(test if given.with_test else ())]:
            pixels = load_image(record.path).pixels
            side = "test" if record in held else record.split
            kind = f"{side}/good" if record.is_good else f"test/{record.defect}"
            path = given.out / root.name / kind / f"{record.path.stem}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            rgb = to_model_u8(pixels, given.size)
            stored = rgb[:, :, 0] if pixels.ndim == 2 else rgb[:, :, ::-1]
            cv2.imwrite(str(path), stored, [cv2.IMWRITE_JPEG_QUALITY, given.quality])
            if record.mask_path is not None:
                mask = mask_to_model(load_mask(record.mask_path, shape=pixels.shape[:2]), given.size)
                label = given.out / root.name / "ground_truth" / record.defect / f"{record.path.stem}_mask.png"
                label.parent.mkdir(parents=True, exist_ok=True)
                save_png(label, mask)


if __name__ == "__main__":
    main()
