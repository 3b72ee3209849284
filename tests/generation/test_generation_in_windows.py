"""Generation in windows: the mask contract at full size, every mode, control, and the same image made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from set_files import as_mode, check_contract, contents, data_root, read_mask, read_png, rows_of

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.data.loading import load_image, save_png
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.data.windows import Borders, Window
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.compose import Composed, compose, native_region, native_tensor, put_back
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, MANIFEST
from anomalyhybrid.manipulate.symmetry import Symmetry
from anomalyhybrid.recipes.job import symmetry_in_windows
from anomalyhybrid.recipes.preview import preview
from anomalyhybrid.recipes.regeneration import regenerate

Make = Callable[..., Path]
MODES = ("grey8", "grey16", "rgb8", "rgb16", "rgba8", "rgba16")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rendered category of 300 pixels, with one defect of each kind."""
    root = tmp_path_factory.mktemp("large")
    write_dataset(root, product="nut", product_seed=1, seed=5, train_good=3, defects_per_kind=1, size=300)
    return root / "nut"


@pytest.fixture(scope="module")
def modes(tmp_path_factory: pytest.TempPathFactory, large: Path) -> Path:
    """Images of each mode and different sizes; noise in the low bytes and in alpha."""
    folder = tmp_path_factory.mktemp("modes") / "nut"
    rng = np.random.default_rng(0)
    for number, mode in enumerate(MODES):
        rgb = load_image(sorted((large / "train" / "good").iterdir())[number % 3]).pixels
        rgb = rgb[: (300, 260, 130)[number % 3], : (280, 300, 299)[number % 3]]
        (folder / "train" / "good").mkdir(parents=True, exist_ok=True)
        save_png(folder / "train" / "good" / f"{mode}.png", as_mode(rgb, mode, rng))
    return folder


def _inside(row: dict, mask: np.ndarray) -> bool:
    x, y, width, height = row["window"]
    outside = mask.copy()
    outside[y : y + height, x : x + width] = False
    return not outside.any()


@pytest.mark.parametrize("real", [False, True])
def test_every_mode_keeps_the_contract_at_full_size(
    tmp_path: Path, make_set: Make, modes: Path, large: Path, real: bool
) -> None:
    out = make_set(
        tmp_path / "set", modes, base_set=(large,) if real else (), count=14, normals=2, normals_as="patch", window=96
    )
    rows = check_contract(out)
    assert {row["window"][2] for row in rows} == {96}
    assert len({Path(row["target"]).stem for row in rows}) >= 4
    assert all(_inside(row, read_mask(out, row)) for row in rows)
    assert len({tuple(row["window"]) for row in rows}) > 6
    assert all((row["reference"] != row["target"]) or not real for row in rows)
    for row in rows_of(out):
        target, image = read_png(data_root(out) / row["target"]), read_png(out / row["image"])
        assert (image.shape, image.dtype) == (target.shape, target.dtype)
        if row["label_mask"] is None:
            differs = (image != target).reshape(*image.shape[:2], -1).any(axis=2)
            assert differs.any()
            assert _inside(row, differs)
    assert json.loads((out / DATASET).read_text())["config"]["window"] == 96


def test_several_defects_in_the_allowed_part_of_one_window(tmp_path: Path, make_set: Make, large: Path) -> None:
    roi = tmp_path / "roi.json"
    roi.write_text("[[0.5, 0], [1, 0], [1, 1], [0.5, 1]]")
    out = make_set(
        tmp_path / "set", large, count=5, normals=0, window=120, roi=str(roi), per_image=(2, 3), extent=(0.05, 0.15)
    )
    rows = check_contract(out)
    for row in rows:
        mask = read_mask(out, row)
        assert not mask[:, :150].any()
        assert _inside(row, mask)
    assert max(len(row["parts"]) for row in rows) >= 2


def test_named_defects_of_a_gated_set_have_windows_of_their_own(tmp_path: Path, make_set: Make, large: Path) -> None:
    """An entry with its own region of interest takes other windows than the set's; duplicates are looked for in all."""
    (tmp_path / "corner.json").write_text("[[0.62, 0.3], [0.9, 0.3], [0.9, 0.6], [0.62, 0.6]]")
    (tmp_path / "defects.json").write_text(json.dumps({"corner": {"roi": "corner.json"}, "anything": {}}))
    settings = {"window": 64, "gate": "on", "gate_strictness": 0.3, "max_attempts": 3, "batch_size": 4}
    out = make_set(tmp_path / "set", large, count=6, normals=0, taxonomy=str(tmp_path / "defects.json"), **settings)
    rows = check_contract(out)
    assert {row["defect"] for row in rows} == {"corner", "anything"}
    assert len({(row["target"], *row["window"]) for row in rows}) > 1


@pytest.mark.parametrize("real", [False, True])
def test_the_same_image_again(tmp_path: Path, make_set: Make, large: Path, real: bool) -> None:
    settings = {"base_set": (large,) if real else (), "normals_as": "patch", "window": 100, "batch_size": 4}
    out = make_set(tmp_path / "a", large, **settings)
    assert contents(out) == contents(make_set(tmp_path / "b", large, **settings))
    for row in (rows_of(out)[3], rows_of(out)[-1]):
        told: list[str] = []
        path = regenerate(out, row["id"], tmp_path / row["id"], announce=told.append)
        assert path.read_bytes() == (out / row["image"]).read_bytes()
        assert not any("warning" in text for text in told)
    whole = contents(out)
    (out / rows_of(out)[1]["image"]).unlink()
    assert contents(make_set(out, large, resume=True, **settings)) == whole


def test_auto_leaves_small_images_whole(tmp_path: Path, make_set: Make, products: Path) -> None:
    sets = [make_set(tmp_path / name, products / "nut", window=name, count=4) for name in ("auto", "whole")]
    first, second = (contents(one) for one in sets)
    assert all("window" not in row for row in rows_of(sets[0]))
    assert {name for name in first if first[name] != second[name]} == {DATASET}


def test_auto_takes_windows_of_large_and_of_elongated_images(tmp_path: Path, make_set: Make, large: Path) -> None:
    strip = tmp_path / "nut"
    for path in (large / "train" / "good").iterdir():
        (strip / "train" / "good").mkdir(parents=True, exist_ok=True)
        save_png(strip / "train" / "good" / path.name, load_image(path).pixels[100:180, :200])
    out = make_set(tmp_path / "strip", strip, count=4, normals=0)
    assert {row["window"][2] for row in check_contract(out)} == {80}
    out = make_set(tmp_path / "large", large, count=4, normals=0)
    assert {row["window"][2] for row in check_contract(out)} == {256}, "4 times the model's 64"


@pytest.mark.parametrize(
    ("settings", "say"),
    [
        ({"composition": "full", "normals": 0}, r"composition is 'full'.*windows of 100x100.*--window whole"),
        ({"normals_as": "full"}, r"normals_as is 'full'.*use 'patch'"),
        ({"normals_as": "both"}, r"normals_as is 'both'.*use 'patch'"),
    ],
)
def test_whole_images_are_not_redrawn_in_windows(
    tmp_path: Path, make_set: Make, large: Path, settings: dict, say: str
) -> None:
    with pytest.raises(ConfigError, match=say):
        make_set(tmp_path / "set", large, window=100, **settings)
    assert not (tmp_path / "set" / MANIFEST).exists()
    make_set(tmp_path / "whole", large, window="whole", count=1, **({"normals": 1} | settings))


@pytest.mark.parametrize("window", [0, 31, -1, "all", 40.0])
def test_settings_that_are_no_window(window: object) -> None:
    with pytest.raises(ConfigError, match=r"generate\.window is .*give auto, whole, or the side"):
        GenerateConfig(window=window)  # type: ignore[arg-type]


def test_sets_from_before_windows_stay_whole() -> None:
    assert GenerateConfig.from_json({"count": 3}).window == "whole"
    assert GenerateConfig.from_json({"window": 300}).window == 300


def test_a_turned_photograph_with_a_profile(tmp_path: Path, make_set: Make, large: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "nut"
    folder.mkdir()
    for path in (large / "train" / "good").iterdir():
        pixels = load_image(path).pixels[:200]
        Image.fromarray(pixels).save(folder / f"{path.stem}.jpg", quality=95, exif=exif, icc_profile=profile)
    out = make_set(tmp_path / "set", folder, count=4, normals=2, normals_as="patch", window=96)
    for row in rows_of(out):
        target = load_image(data_root(out) / row["target"]).pixels
        assert target.shape == (300, 200, 3), "upright"
        with Image.open(out / row["image"]) as image:
            image.load()
            assert image.info["icc_profile"] == profile
            assert image.getexif().get(0x0112, 1) == 1
            differs = (np.asarray(image) != target).any(axis=2)
        if row["label_mask"] is not None:
            assert not (differs & ~read_mask(out, row)).any()
        assert _inside(row, differs)


def test_real_defects_are_pasted_at_native_scale(tmp_path: Path, make_set: Make) -> None:
    """A region of 40 pixels stays about so large although its image is less than half as large as the windows."""
    rng = np.random.default_rng(0)
    good = tmp_path / "cloth"
    (good / "train" / "good").mkdir(parents=True)
    for number in range(2):
        ground = cv2.GaussianBlur(rng.normal(128, 40, (300, 300)).astype(np.float32), (0, 0), 2).clip(0, 255)
        save_png(good / "train" / "good" / f"{number}.png", ground.astype(np.uint8))
    base = tmp_path / "base" / "cloth"
    for folder in ("test/band", "ground_truth/band", "train/good"):
        (base / folder).mkdir(parents=True)
    pixels = cv2.GaussianBlur(rng.normal(128, 40, (110, 110)).astype(np.float32), (0, 0), 2).clip(0, 255)
    mask = np.zeros((110, 110), bool)
    mask[34:74, 34:74] = True
    stripes = np.where(np.arange(110) // 4 % 2, 255, 0)[None].repeat(110, 0)
    pixels = np.where(mask, stripes, pixels).astype(np.uint8)
    save_png(base / "test/band/0.png", pixels)
    save_png(base / "ground_truth/band/0_mask.png", mask)
    save_png(base / "train/good/0.png", pixels)
    out = make_set(
        tmp_path / "set", good, base_set=(base,), count=8, normals=0, window=256, turn=0.0, appearance="reference",
        operations=("replace",), mixture=0.0,
    )  # fmt: skip
    areas = [read_mask(out, row).sum() for row in rows_of(out)]
    assert np.median(areas) == pytest.approx(1600, rel=0.5)
    assert max(areas) < 1600 * 1.5**2 * 1.2, "free placements are at most 1.4 times as large"


def test_a_preview_shows_windows(tmp_path: Path, tiny_run: Path, large: Path, maps_cache: Path) -> None:
    sheet = preview(
        str(tiny_run), [large], tmp_path, count=3, config=GenerateConfig(window=100), cache=maps_cache / "conditions",
        announce=lambda text: None,
    )  # fmt: skip
    assert load_image(sheet).pixels.std() > 10


def test_put_back_counts_over_the_whole_image() -> None:
    image = np.random.default_rng(0).integers(0, 200, (600, 300, 3), dtype=np.uint8)
    window = Window(100, 270, 64, 64)
    region = torch.zeros(1, 1, 32, 32)
    region[..., 8:16, 8:16] = 1
    cut = window.crop(image)
    part = compose(cut, native_tensor(255 - cut), region, "region")
    whole = put_back(image, window, part)
    assert whole.changed_outside == 0
    assert whole.label_mask.sum() == part.label_mask.sum() > 0
    assert whole.label_mask[270 + 16 : 270 + 32, 100 + 16 : 100 + 32].all()
    assert np.array_equal(whole.pixels[whole.label_mask], part.pixels[part.label_mask])
    spoiled = Composed(part.pixels + np.uint8(1), part.label_mask, 0, 0.0)
    assert put_back(image, window, spoiled).changed_outside == 64 * 64 - part.label_mask.sum()


def _set(pictures: np.ndarray, on_object: bool) -> ImageSet:
    color = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    mask = torch.full_like(color[:, :1], 255)
    mask[:, :, :4] = 255 if on_object else 0
    return ImageSet(color, mask, mask, mask, mask, torch.zeros(len(color), dtype=torch.long))


def test_symmetry_in_windows() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    assert symmetry_in_windows(_set(noise, True)) == Symmetry(flip_x=True, flip_y=True, half_turn=True, any_turn=True)
    brushed = np.repeat(noise[:, :, :1], 64, axis=2)
    assert not symmetry_in_windows(_set(brushed, True)).any_turn
    none = Symmetry(flip_x=False, flip_y=False, half_turn=False, any_turn=False)
    assert symmetry_in_windows(_set(noise, False)) == none, "part of a product"


def test_what_a_window_cuts_fades_out_at_borders_inside_the_image_alone() -> None:
    target = np.full((128, 128), 100, np.uint8)
    region = torch.zeros(1, 1, 32, 32)
    region[..., 8:24] = 1  # from the top to the bottom
    white = torch.ones(1, 3, 128, 128)
    composed = compose(target, white, region, "region", inner=Borders(True, False, True, True))
    change = composed.pixels[:, 64].astype(int) - 100
    assert change[-1] == 155, "the image's own border"
    assert change[8:].min() == 155, "an eighth of a window's side away"
    assert 0 < change[2] < change[4] < 155
    assert change[0] == 0
    assert not composed.label_mask[0].any()
    assert np.array_equal(composed.label_mask[4:], (composed.pixels != target)[4:])
    assert composed.changed_outside == 0
    inside = torch.zeros(1, 1, 32, 32)
    inside[..., 1:31, 8:24] = 1
    whole = compose(target, white, inside, "region", inner=Borders(True, True, True, True))
    assert whole.pixels[64, 64] == whole.pixels[14, 64] == 255, "what is not cut does not fade"


def test_outlines_in_windows_are_round() -> None:
    """A disc of the model's pixels, enlarged 8 times, has nearly a disc's perimeter; its steps have a square's."""
    y, x = np.mgrid[:32, :32] - 15.5
    disc = torch.from_numpy((x**2 + y**2 < 100).astype(np.float32))[None, None]

    def longest_step(rounded: bool) -> float:
        mask = native_region(disc, 256, 256, rounded=rounded)[0, 0].numpy().astype(np.uint8)
        outline = max(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)[:, 0]
        return float(np.ptp(np.hypot(*(outline - 127.5).T)))

    assert longest_step(True) < 0.75 * longest_step(False)
    assert native_region(disc, 256, 256, rounded=True).sum() == pytest.approx(64 * float(disc.sum()), rel=0.03)
