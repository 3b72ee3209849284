"""validate: every finding can occur, a clean tree gives none, and what is no data folder is the reader's to refuse."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from anomalyhybrid.data import checks
from anomalyhybrid.data.checks import check_mask, look, near_equal
from anomalyhybrid.data.findings import KINDS
from anomalyhybrid.data.near_duplicates import Thumbnails, nearly_equal
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.errors import DataError
from anomalyhybrid.recipes.validation import Validation, validate
from anomalyhybrid.recipes.validation_text import describe, save_json

_SIDE = 48


def texture(seed: int, *, side: int = _SIDE) -> np.ndarray:
    """Colour noise that is coarse enough to survive a thumbnail: no two seeds are alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST)


def disc(row: int, column: int, side: int = _SIDE) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return ((y - row) ** 2 + (x - column) ** 2 < 36).astype(np.uint8) * 255


def put(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    return path


def image(root: Path, name: str) -> Path:
    return root / "test" / "dent" / f"{name}.png"


def mask(root: Path, name: str) -> Path:
    return root / "ground_truth" / "dent" / f"{name}_mask.png"


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """A category without any fault: 9 and 2 good images, 3 defects of two types each."""
    root = tmp_path / "part"
    for number in range(9):
        put(root / "train" / "good" / f"{number}.png", texture(number))
    for number in range(2):
        put(root / "test" / "good" / f"{number}.png", texture(100 + number))
    for seed, kind in ((200, "dent"), (300, "hole")):
        for number in range(3):
            put(root / "test" / kind / f"{number}.png", texture(seed + number))
            put(root / "ground_truth" / kind / f"{number}_mask.png", disc(12 + 10 * number, 20))
    return root


def found(result: Validation) -> dict[str, tuple[str, ...]]:
    return {finding.kind: finding.files for finding in result.findings}


def test_a_clean_tree_gives_none(clean: Path) -> None:
    told: list[tuple[int, int]] = []
    result = validate([clean], report=lambda done, total: told.append((done, total)))
    assert result.findings == ()
    assert told == [(number, 17) for number in range(1, 18)]
    (one,) = result.summaries
    assert (one.category, one.train, one.test, one.defects, one.depth) == ("part", 9, 2, {"dent": 3, "hole": 3}, 0)
    assert (one.sizes, one.modes) == ({"48x48": 17}, {"rgb8": 17})
    assert describe(result)[-1].endswith("0 errors, 0 warnings, 0 notes")


def _truncate(root: Path) -> None:
    path = root / "train" / "good" / "3.png"
    path.write_bytes(path.read_bytes()[:-200])


def _antialias(root: Path) -> None:
    soft = cv2.GaussianBlur(disc(20, 20), (0, 0), 2)
    put(mask(root, "1"), soft)


def _object_and_far_defect(root: Path) -> None:
    picture = np.full((_SIDE, _SIDE, 3), 240, np.uint8)
    picture[4:28, 4:28] = (40, 60, 160)
    put(image(root, "1"), picture)
    put(mask(root, "1"), disc(40, 40))


def _same_defect_twice(root: Path) -> None:
    image(root, "2").write_bytes(image(root, "0").read_bytes())
    mask(root, "2").write_bytes(mask(root, "0").read_bytes())


def _remove_type(root: Path) -> None:
    for folder in ("test", "ground_truth"):
        (root / folder / "hole").rename(root.parent / f"{folder}_hole")


def _remove_defects(root: Path) -> None:
    _remove_type(root)
    for folder in ("test", "ground_truth"):
        (root / folder / "dent").rename(root.parent / f"{folder}_dent")


def _good(number: int) -> str:
    return f"train/good/{number}.png"


_GROUND = "ground_truth/dent/1_mask.png"
_CASES = {
    "unreadable": (_truncate, (_good(3),)),
    "image_without_mask": (lambda root: mask(root, "1").unlink(), ("test/dent/1.png",)),
    "mask_without_image": (lambda root: image(root, "1").unlink(), (_GROUND,)),
    "names": (lambda root: put(mask(root, "1").with_suffix(".bmp"), disc(9, 9)), ("test/dent/1.png",)),
    "mask_unreadable": (lambda root: mask(root, "1").write_bytes(b"no image"), (_GROUND,)),
    "mask_size": (lambda root: put(mask(root, "1"), disc(20, 20, side=40)), (_GROUND,)),
    "mask_empty": (lambda root: put(mask(root, "1"), np.zeros((_SIDE, _SIDE), np.uint8)), (_GROUND,)),
    "mask_grey": (_antialias, (_GROUND,)),
    "mask_large": (lambda root: put(mask(root, "1"), 255 - disc(20, 20)), (_GROUND,)),
    "off_object": (_object_and_far_defect, ("test/dent/1.png",)),
    "train_test_duplicate": (lambda root: put(root / "test/good/1.png", texture(4)), ("test/good/1.png",)),
    "good_duplicate": (lambda root: put(root / _good(7), texture(2)), (_good(7),)),
    "defect_duplicate": (_same_defect_twice, ("test/dent/2.png",)),
    "aspect_mix": (lambda root: put(root / _good(5), texture(5)[:32]), (_good(5),)),
    "size_mix": (lambda root: put(root / _good(5), texture(5, side=60)), (_good(5),)),
    "colour_mix": (lambda root: put(root / _good(5), texture(5)[..., 0]), (_good(5),)),
    "bit_depth_mix": (lambda root: put(root / _good(5), texture(5).astype(np.uint16) * 257), (_good(5),)),
    "few_good": (lambda root: [(root / _good(number)).unlink() for number in (1, 2)], ()),
    "few_of_a_type": (lambda root: (image(root, "1").unlink(), mask(root, "1").unlink()), ()),
    "one_type": (_remove_type, ()),
    "no_defects": (_remove_defects, ()),
}
_ELSEWHERE = {"depth_missing", "depth_unusable", "depth_partial", "base_category", "base_test_duplicate", "no_good"}
_FOLLOWING = {"image_without_mask": set(), "mask_without_image": {"few_of_a_type"}, "names": set()}


def test_every_kind_has_a_test() -> None:
    assert set(_CASES) | _ELSEWHERE == set(KINDS)


@pytest.mark.parametrize("kind", _CASES)
def test_one_fault_gives_its_finding_with_its_file(clean: Path, kind: str) -> None:
    spoil, files = _CASES[kind]
    spoil(clean)
    result = validate([clean])
    assert found(result)[kind] == files
    assert set(found(result)) - {kind} <= _FOLLOWING.get(kind, set())
    text = "\n".join(describe(result))
    assert f"{KINDS[kind].severity}: part: " in text
    assert KINDS[kind].advice in text
    assert all(name in text for name in files)


def test_all_faults_are_found_at_once(clean: Path) -> None:
    """Pairs that do not fit, which stop the readers, hide nothing else."""
    _truncate(clean)
    mask(clean, "0").unlink()
    put(mask(clean, "1"), np.zeros((_SIDE, _SIDE), np.uint8))
    put(clean / "ground_truth" / "hole" / "9_mask.png", disc(9, 9))
    result = validate([clean])
    assert found(result) == {
        "unreadable": (_good(3),),
        "image_without_mask": ("test/dent/0.png",),
        "mask_without_image": ("ground_truth/hole/9_mask.png",),
        "mask_empty": (_GROUND,),
    }
    assert result.count("error") == 4
    assert result.summaries[0].defects == {"dent": 3, "hole": 3}


def test_several_roots_name_files_below_their_common_folder(clean: Path, tmp_path: Path) -> None:
    other = tmp_path / "plain"
    for number in range(9):
        put(other / f"{number}.png", texture(500 + number))
    mask(clean, "0").unlink()
    result = validate([clean, other])
    assert found(result) == {"image_without_mask": ("part/test/dent/0.png",), "no_defects": ()}
    assert [(finding.category, finding.severity) for finding in result.findings] == [
        ("part", "error"),
        ("plain", "note"),
    ]


def test_many_files_are_counted_and_the_first_named(clean: Path) -> None:
    for number in range(4):
        (clean / _good(number)).write_bytes(b"")
    lines = describe(validate([clean]))
    assert lines[0] == "error: part: images cannot be used: 4"
    assert lines[1] == "    train/good/0.png: is empty (0 bytes); remove it or copy it again"
    assert lines[4] == "    and 1 more"


def test_what_a_grey_mask_loses_is_said(tmp_path: Path) -> None:
    levels = np.zeros((20, 20), np.uint8)
    levels[:10, :10], levels[10:, :10] = 255, 100  # 100 of 200 marked pixels are below half
    path = put(tmp_path / "m.png", levels)
    pixels, faults = check_mask(path, (20, 20))
    assert pixels is not None
    assert pixels.sum() == 100
    assert faults == [("mask_grey", "3 values; 50% of what is not 0 does not count")]


@pytest.mark.parametrize(("value", "kinds"), [(1, []), (255, []), (200, []), (100, ["mask_empty"])])
def test_two_valued_masks(tmp_path: Path, value: int, kinds: list[str]) -> None:
    path = put(tmp_path / "m.png", disc(20, 20) // 255 * value)
    assert [kind for kind, _ in check_mask(path, (_SIDE, _SIDE))[1]] == kinds


def test_the_rule_for_good_images_is_that_of_near_duplicates(tmp_path: Path) -> None:
    """As many as ``nearly_equal`` counts, of copies with more and more noise."""
    rng = np.random.default_rng(0)
    for number in range(12):
        put(tmp_path / "part/train/good" / f"{number}.png", texture(number))
        noisy = texture(number) + rng.normal(0, 4 * number, (_SIDE, _SIDE, 3))
        put(tmp_path / "part/test/good" / f"{number}.png", np.clip(noisy, 0, 255).astype(np.uint8))
    folder = read_data(tmp_path / "part")
    train, test = ([look(one) for one in folder.normals(split=side)] for side in ("train", "test"))
    pairs = near_equal(test, train)

    def rows(seen: list[checks.Seen]) -> Thumbnails:
        views = [one.view for one in seen if one.view is not None]
        both = (np.concatenate([getattr(view, name) for view in views]) for name in ("image", "mask"))
        return Thumbnails(image=next(both), mask=next(both))

    assert 1 < len(pairs) < 12
    assert len(pairs) == nearly_equal(rows(test), rows(train))
    assert all(i == j for i, j in pairs)


def test_images_of_an_aligned_product_are_not_alike_for_that(tmp_path: Path) -> None:
    """All correlate above 0.98; only what equals another in its own share counts."""
    base = texture(0).astype(np.float64)
    for number in range(9):
        own = 0.95 * base + 0.05 * texture(50 + (4 if number == 8 else number)).astype(np.float64)
        put(tmp_path / "plain" / f"{number}.png", np.clip(own + (number == 8), 0, 255).astype(np.uint8))
    assert found(validate([tmp_path / "plain"]))["good_duplicate"] == ("8.png",)


def test_two_equal_good_images_alone_are_found(tmp_path: Path) -> None:
    """Where nothing tells what is typical, equal pixels still count."""
    for name in ("a", "b"):
        put(tmp_path / "plain" / f"{name}.png", texture(1))
    assert found(validate([tmp_path / "plain"]))["good_duplicate"] == ("b.png",)


def _pairs(root: Path, depth_shape: tuple[int, int] = (_SIDE, _SIDE)) -> Path:
    for number in range(9):
        put(root / "rgb" / f"{number}.png", texture(number))
        depth = np.full(depth_shape if number == 4 else (_SIDE, _SIDE), 900 + number, np.uint16)
        put(root / "depth" / f"{number}.png", depth)
    return root


def test_depth_is_checked_where_the_layout_has_it(tmp_path: Path) -> None:
    assert set(found(validate([_pairs(tmp_path / "fine")]))) == {"no_defects"}
    wrong = found(validate([_pairs(tmp_path / "size", (40, 48))]))
    assert wrong["depth_unusable"] == ("depth/4.png",)
    root = _pairs(tmp_path / "gone")
    (root / "depth" / "2.png").unlink()
    (root / "rgb" / "7.png").unlink()
    assert found(validate([root]))["depth_missing"] == ("rgb/2.png", "depth/7.png")


def test_a_cloud_without_measurement_and_missing_depth_beside_mvtec_ad(clean: Path) -> None:
    for number in range(8):
        cloud = np.full((_SIDE, _SIDE), 0.0 if number == 3 else 1.5, np.float32)
        path = clean / "depth" / "train" / "good" / f"{number}.tiff"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, cloud)
    result = found(validate([clean]))
    assert result["depth_unusable"] == ("depth/train/good/3.tiff",)
    assert len(result["depth_partial"]) == 9
    assert result["depth_partial"][0] == _good(8)


def test_pairs_with_defects_alone_have_nothing_to_learn_from(tmp_path: Path) -> None:
    root = _pairs(tmp_path / "holes")
    for number in range(9):
        put(root / "ground_truth" / f"{number}.png", disc(10 + 3 * number, 20))
    assert {"no_good", "one_type"} == set(found(validate([root])))


def test_a_base_set_is_checked_too(clean: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    put(base / "dent" / "a.png", texture(201))  # the data's test/dent/1.png again
    put(base / "dent" / "a_mask.png", disc(22, 20))
    put(base / "dent" / "b.png", texture(900))
    put(base / "dent" / "b_mask.png", np.zeros((_SIDE, _SIDE), np.uint8))
    result = validate([clean], base_set=[base])
    assert found(result) == {"mask_empty": ("base/dent/b_mask.png",), "base_test_duplicate": ("base/dent/a.png",)}
    assert result.summaries[0].defects == {"dent": 5, "hole": 3}


def test_the_data_as_base_set_are_read_once(clean: Path) -> None:
    mask(clean, "1").unlink()
    told: list[int] = []
    result = validate([clean], base_set=[clean], report=lambda done, total: told.append(total))
    assert found(result) == {"image_without_mask": ("test/dent/1.png",)}
    assert set(told) == {17}


def test_a_base_set_of_other_categories(clean: Path, tmp_path: Path) -> None:
    two = tmp_path / "both"
    for name in ("part", "screw"):
        put(two / name / "test" / "dent" / "0.png", texture(700))
        put(two / name / "ground_truth" / "dent" / "0_mask.png", disc(30, 30))
    result = validate([clean], base_set=[two])
    assert [one.category for one in result.findings if one.kind == "base_category"] == ["screw"]


def test_what_is_no_data_folder_is_refused_by_the_reader(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        validate([tmp_path / "empty"])
    with pytest.raises(DataError, match="does not exist"):
        validate([tmp_path / "nowhere"])
    put(tmp_path / "half" / "test" / "dent" / "0.png", texture(0))
    put(tmp_path / "half" / "ground_truth" / "dent" / "0.png", disc(9, 9))
    with pytest.raises(DataError, match="no train/good"):
        validate([tmp_path / "half"])


def test_json_holds_all_files_and_is_equal_each_time(clean: Path, tmp_path: Path) -> None:
    for number in range(5):
        (clean / _good(number)).write_bytes(b"x")
    texts = []
    for _ in range(2):
        save_json(validate([clean]), tmp_path / "found.json")
        texts.append((tmp_path / "found.json").read_text())
    assert texts[0] == texts[1]
    content = json.loads(texts[0])
    (first, second) = content["findings"]
    assert (first["severity"], first["kind"], second["kind"]) == ("error", "unreadable", "few_good")
    assert first["files"] == [_good(number) for number in range(5)]
    assert content["categories"][0]["train"] == 9
    assert {path.name for path in tmp_path.iterdir()} == {"part", "found.json"}


def test_shared_data_sets(shared_dir: Path) -> None:
    """Tires have no fault at all; this also bounds the false alarms of the foreground and of near-duplicates."""
    root = shared_dir / "data" / "mvtec_3d_tire"
    if not root.is_dir():
        pytest.skip(f"{root} is absent")
    assert validate([root]).findings == ()
