"""Defects at native size on large and elongated images: contract, modes, time and memory, counted from written files.

    python benchmarks/native_size.py --out DIR [--json FILE] [--cases part strip ...] [--count 3] [--run shipped]

Makes the data (below), then generates each case twice with the generator, with and without real references, each run in
a process of its own whose peak resident memory is its `ru_maxrss`; a run on images of 256 pixels is the yardstick for
what interpreter, model and maps take. The files are then compared here with their targets, by OpenCV and Pillow alone.
OUT/crops holds native crops around the defects to look at: the target, the image, the image with the mask's outline.

What the images are: `data.parts` renders up to 2048 pixels. The 4000x3000 part is rendered at 2048, enlarged 1.46 times
and given grain at native size, its sides filled with the background; the 16-bit grey image is rendered at 2048, its low
bits are noise; strip, RGBA image and photograph are rendered at their size and cut; the 8192x8192 texture is a
procedural tile of 2048, repeated, with uneven light and grain over the whole. References of rendered cases are rendered
defects, those of the texture drawn scratches and stains: stand-ins for photographs of real ones.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

CASES = ("part", "grey16", "strip", "rgba", "photo", "texture")
DEFECTS = ("scratch", "contamination")
CROP = 360


def save(path: Path, pixels: np.ndarray) -> None:
    """Write native pixels in RGB order as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    assert cv2.imwrite(str(path), np.ascontiguousarray(order))


def with_grain(pixels: np.ndarray, seed: int, sigma: float = 3.0) -> np.ndarray:
    """Add noise of native size, some rows at a time."""
    rng, out = np.random.default_rng(seed), pixels.copy()
    for top in range(0, len(out), 512):
        rows = out[top : top + 512]
        noise = rng.standard_normal(rows.shape[:2], np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), 0.7) * np.float32(sigma * 2)
        rows[:] = np.clip(rows + (noise if rows.ndim == 2 else noise[..., None]), 0, 255)
    return out


def rendered(product: str, size: int) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Two good pictures and one of each defect: name of the defect, image, its mask, the object."""
    from anomalyhybrid.data.parts import render, render_pair

    found = []
    for seed in (1, 2):
        part = render(product, product_seed=7, image_seed=seed, size=size)
        found.append(("good", part.image_u8, part.label_mask, part.object_mask))
    for seed, defect in enumerate(DEFECTS, start=3):
        settings = {"product_seed": 7, "image_seed": seed, "defect": defect, "defect_seed": seed}
        _, part = render_pair(product, size=size, **settings)
        found.append((defect, part.image_u8, part.label_mask, part.object_mask))
    return found


def place(root: Path, number: int, defect: str, image: np.ndarray, mask: np.ndarray, suffix: str = ".png") -> Path:
    """Where an image of an MVTec AD tree goes; masks are written."""
    if defect == "good":
        return root / "train" / "good" / f"{number}{suffix}"
    save(root / "ground_truth" / defect / f"{number}_mask.png", mask.astype(np.uint8) * 255)
    return root / "test" / defect / f"{number}{suffix}"


def make_part(root: Path) -> None:
    """4000x3000 RGB."""
    for number, (defect, image, mask, _) in enumerate(rendered("board", 2048)):
        large = cv2.resize(image, (3000, 3000), interpolation=cv2.INTER_CUBIC)
        large = cv2.copyMakeBorder(large, 0, 0, 500, 500, cv2.BORDER_REPLICATE)
        wide = cv2.resize(mask.astype(np.uint8), (3000, 3000), interpolation=cv2.INTER_NEAREST)
        wide = cv2.copyMakeBorder(wide, 0, 0, 500, 500, cv2.BORDER_CONSTANT) > 0
        save(place(root, number, defect, large, wide), with_grain(large, number))


def make_grey16(root: Path) -> None:
    """2448x2048, one channel of 16 bits."""
    for number, (defect, image, mask, _) in enumerate(rendered("plate", 2048)):
        grey = cv2.copyMakeBorder(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 0, 0, 200, 200, cv2.BORDER_REPLICATE)
        wide = cv2.copyMakeBorder(mask.astype(np.uint8), 0, 0, 200, 200, cv2.BORDER_CONSTANT) > 0
        low = np.random.default_rng(number).integers(0, 256, grey.shape, dtype=np.uint16)
        save(place(root, number, defect, grey, wide), grey.astype(np.uint16) * 256 + low)


def make_strip(root: Path) -> None:
    """1250x500 RGB, cut where the defect is."""
    for number, (defect, image, mask, _) in enumerate(rendered("tread", 1250)):
        rows = np.nonzero(mask.any(axis=1))[0]
        middle = 625 if not len(rows) else int(rows.mean())
        top = min(max(0, middle - 250), 750)
        cut = slice(top, top + 500)
        save(place(root, number, defect, image, mask[cut]), image[cut])


def make_rgba(root: Path) -> None:
    """1600x1400 with the object as alpha, soft at its border."""
    for number, (defect, image, mask, product) in enumerate(rendered("capsule", 1600)):
        alpha = cv2.GaussianBlur(product.astype(np.uint8) * 255, (0, 0), 2)
        rows = slice(100, 1500)
        save(place(root, number, defect, image, mask[rows]), np.dstack([image, alpha])[rows])


def make_photo(root: Path) -> None:
    """JPEG of 1600x1200 that lies on its side, with an sRGB profile; upright it has 1200x1600."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, (defect, image, mask, _) in enumerate(rendered("nut", 1600)):
        columns = slice(200, 1400)
        path = place(root, number, defect, image, mask[:, columns], ".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        lying = np.rot90(image[:, columns]).copy()
        Image.fromarray(lying).save(path, quality=95, exif=exif, icc_profile=profile)


def make_texture(root: Path) -> None:
    """8192x8192 RGB without a background."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft2(rng.standard_normal((2048, 2048)))
    high, wide = np.fft.fftfreq(2048)[:, None], np.fft.rfftfreq(2048)[None]
    radius = np.hypot(high, wide) + 1e-4
    tile = np.fft.irfft2(spectrum * radius**-0.9 * np.exp(-((radius / 0.2) ** 2)))
    tile = np.tanh((tile - tile.mean()) / tile.std())
    colour = np.array([150, 112, 80], np.float32) + tile[..., None].astype(np.float32) * [38, 32, 26]
    tile_u8 = np.clip(colour, 0, 255).astype(np.uint8)
    for number, defect in enumerate(("good", "scratch", "stain")):
        image = np.tile(np.roll(tile_u8, (331 * number, 517 * number), (0, 1)), (4, 4, 1))
        light = np.linspace(0.9, 1.08, 8192, dtype=np.float32)[None, :, None]
        for top in range(0, 8192, 512):
            image[top : top + 512] = np.clip(image[top : top + 512] * light, 0, 255)
        image, mask = with_grain(image, number, 2.0), np.zeros((8192, 8192), np.uint8)
        if defect == "scratch":
            points = np.stack([3000 + np.arange(260), 5000 + 30 * np.sin(np.arange(260) / 40)], 1).astype(np.int32)
            cv2.polylines(mask, [points], False, 255, 5)
            image[mask > 0] = np.clip(image[mask > 0] * 0.45, 0, 255)
        elif defect == "stain":
            cv2.ellipse(mask, (6100, 2200), (70, 45), 25, 0, 360, 255, -1)
            image[mask > 0] = np.clip(image[mask > 0] * 0.6 + np.array([10, 25, 40]), 0, 255)
        save(place(root, number, defect, image, mask > 0), image)


MAKERS: dict[str, Callable[[Path], None]] = {
    "part": make_part, "grey16": make_grey16, "strip": make_strip, "rgba": make_rgba, "photo": make_photo,
    "texture": make_texture,
}  # fmt: skip


def make_small(root: Path) -> None:
    """The yardstick: 256x256 RGB."""
    for number, (defect, image, mask, _) in enumerate(rendered("nut", 256)):
        save(place(root, number, defect, image, mask), image)


def child(given: argparse.Namespace) -> None:
    """Make the data of a case, or one set; a set prints its time and peak memory."""
    data = given.out / "data" / given.child
    if given.make:
        (make_small if given.child == "small" else MAKERS[given.child])(data)
        return
    from anomalyhybrid.generation.config import GenerateConfig
    from anomalyhybrid.recipes.generation import generate

    name = "references" if given.references else "procedural"
    config = GenerateConfig(count=given.count, normals=1, normals_as="patch", seed=given.seed, batch_size=given.count)
    with tempfile.TemporaryDirectory() as cache:
        started = time.monotonic()
        generate(
            given.run, [data], given.out / "sets" / given.child / name, base_set=[data] if given.references else (),
            config=config, cache=Path(cache), announce=lambda text: None,
        )  # fmt: skip
        seconds = time.monotonic() - started
    print(json.dumps({"seconds": seconds, "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


def in_process(given: argparse.Namespace, case: str, *more: str) -> str:
    """Run this file for one case in a process of its own; what it prints."""
    common = ["--out", str(given.out), "--count", str(given.count), "--seed", str(given.seed), "--run", given.run]
    command = [sys.executable, __file__, *common, "--child", case, *more]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def read(path: Path) -> np.ndarray:
    """Pixels by OpenCV, upright; of JPEG by Pillow, whose decoder the package uses too."""
    if path.suffix == ".jpg":
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image))[..., ::-1]
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, path
    return pixels


def profile_of(path: Path) -> bytes | None:
    """The embedded colour profile."""
    with Image.open(path) as image:
        return image.info.get("icc_profile")


def grain(pixels: np.ndarray, mask: np.ndarray) -> float:
    """Fine detail inside a mask, two pixels from its border: mean absolute Laplacian of the 8-bit grey picture."""
    grey = pixels if pixels.ndim == 2 else pixels[..., :3].mean(axis=2)
    detail = np.abs(cv2.Laplacian(grey.astype(np.float32) / (257 if pixels.dtype == np.uint16 else 1), cv2.CV_32F))
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return float(detail[inner if inner.any() else mask].mean())


def compared(folder: Path, row: dict, data_root: Path, crops: Path) -> dict:
    """One image beside its target, from the files alone."""
    target, image = read(data_root / row["target"]), read(folder / row["image"])
    same_mode = target.shape == image.shape and target.dtype == image.dtype
    differs = (image != target).reshape(*image.shape[:2], -1).any(axis=2)
    x, y, width, height = row["window"] or (0, 0, image.shape[1], image.shape[0])
    found = {
        "id": row["id"], "defect": row["defect"], "shape": list(image.shape), "dtype": str(image.dtype),
        "mode_kept": same_mode, "window": row.get("window"), "accepted": row["accepted"],
        "alpha_kept": bool(np.array_equal(image[..., 3], target[..., 3])) if image.shape[2:] == (4,) else None,
        "profile_kept": profile_of(folder / row["image"]) == profile_of(data_root / row["target"]),
        "manifest_changed_outside": row["changed_outside"], "change_inside": row["change_inside"],
        "changed_pixels": int(differs.sum()),
    }  # fmt: skip
    where = np.s_[y : y + height, x : x + width]
    if row["label_mask"] is None:
        return found | {"changed_outside": int(differs.sum() - differs[where].sum())}  # of the window: it has no mask
    mask = read(folder / row["label_mask"]) > 0
    rows, columns = np.nonzero(mask)
    write_crop(crops, target, image, mask, (int(np.median(rows)), int(np.median(columns))))
    part = mask[where]
    return found | {
        "changed_outside": int((differs & ~mask).sum()),
        "mask_pixels": int(mask.sum()),
        "mask_in_window": bool(part.sum() == mask.sum()),
        "grain_inside": round(grain(image[where], part), 2),
        "grain_before": round(grain(target[where], part), 2),
    }


def write_crop(path: Path, target: np.ndarray, image: np.ndarray, mask: np.ndarray, centre: tuple[int, int]) -> None:
    """Native pixels around a defect: target, image, image with the outline."""
    starts = [min(max(0, at - CROP // 2), max(0, size - CROP)) for at, size in zip(centre, mask.shape, strict=True)]
    where = np.s_[starts[0] : starts[0] + CROP, starts[1] : starts[1] + CROP]
    shown = []
    for pixels in (target[where], image[where], image[where]):
        small = (pixels // 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
        shown.append(cv2.cvtColor(small, cv2.COLOR_GRAY2BGR) if small.ndim == 2 else small[..., :3].copy())
    outlines, _ = cv2.findContours(mask[where].astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown[2], outlines, -1, (0, 0, 255), 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.hstack(shown))


def measured(given: argparse.Namespace, case: str, references: bool) -> dict:
    """Generate one set and compare its files."""
    figures = json.loads(in_process(given, case, *(["--references"] if references else [])))
    name = "references" if references else "procedural"
    folder = given.out / "sets" / case / name
    about = json.loads((folder / "dataset.json").read_text())
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    root = folder / about["data_root"]
    images = [
        compared(folder, {"window": None} | row, root, given.out / "crops" / f"{case}_{name}_{row['id']}.png")
        for row in rows
    ]
    decoded = max(int(np.prod(one["shape"])) * np.dtype(one["dtype"]).itemsize for one in images)
    return {
        "case": case,
        "references": references,
        "seconds": round(figures["seconds"], 1),
        "peak_mib": round(figures["peak_kib"] / 1024),
        "decoded_image_mib": round(decoded / 2**20, 1),
        "changed_outside": sum(one["changed_outside"] for one in images),
        "all_modes_kept": all(one["mode_kept"] and one["alpha_kept"] is not False for one in images),
        "all_profiles_kept": all(one["profile_kept"] for one in images),
        "images": images,
    }


def main() -> None:
    """Parse flags, run the cases, write the JSON."""
    parser = argparse.ArgumentParser(description="Defects at native size")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", default="shipped")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--references", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given)
        return
    results = []
    for case in ("small", *given.cases):
        if not (given.out / "data" / case).exists():
            in_process(given, case, "--make")
        for references in (False, True):
            results.append(measured(given, case, references))
            print({name: value for name, value in results[-1].items() if name != "images"}, flush=True)
    small = max(one["peak_mib"] for one in results if one["case"] == "small")
    for one in results:
        one["peak_over_small_mib"] = one["peak_mib"] - small
        one["peak_over_small_per_decoded_image"] = round(one["peak_over_small_mib"] / one["decoded_image_mib"], 1)
    settings = {"count": given.count, "seed": given.seed, "run": given.run, "window": "auto", "normals": "1 in patches"}
    from anomalyhybrid import __version__

    record = {
        "what": (__doc__ or "").split("\n\n")[-1].replace("\n", " ").strip(),
        "command": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python benchmarks/native_size.py",
        "version": __version__,
        "processors": os.cpu_count(),
        "settings": settings,
        "results": results,
    }
    path = given.json or given.out / "native_size.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"written {path}")


if __name__ == "__main__":
    main()
