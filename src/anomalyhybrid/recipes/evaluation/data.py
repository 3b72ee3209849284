"""Data of an evaluation: categories, their split, and their images at one size."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from anomalyhybrid.data.files import raise_problems
from anomalyhybrid.data.loading import check_images
from anomalyhybrid.data.near_duplicates import describe_groups, duplicate_groups, load_thumbnails, nearly_equal
from anomalyhybrid.data.reading import read_many
from anomalyhybrid.data.records import DataFolder, Record
from anomalyhybrid.data.splits import base_split, undivided
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.config import EvaluateConfig, nearest
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes.evaluation.pictures import Pictures, each

HELD_EVERY = 5  # of the good training images, this one of so many is never trained on
HELD_MOST = 40
FEW = 3  # images of a defect type below which the third is rounded up, which is said


@dataclass(frozen=True, slots=True, kw_only=True)
class CategorySource:
    """A category before its split.

    Attributes:
        category: Its name.
        records: Readable images: good training ones, and the test folder's.
        fingerprint: Of images, masks, defect types, and which defects are near-duplicates.
        pictures: Its loaded images, shared by all splits.
        groups: Number of the original of each defect, by its path: near-duplicates have one number.
        notes: What a reader has to know, whatever the split.
    """

    category: str
    records: tuple[Record, ...]
    fingerprint: str
    pictures: Pictures
    groups: Mapping[Path, int]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryData:
    """A category, split for one seed; all `Samples` are on the CPU and have the same `kinds`.

    Attributes:
        category: Its name.
        kinds: Names of the defect types.
        good_records: Good training images.
        held_records: Good training images that are never trained on: calibration, and good validation images.
        base_records: The base set without its validation part.
        validation_records: The validation part of the base set.
        test_records: Test images, good and defective.
        train_good: Samples of `good_records`.
        base: Samples of `base_records`.
        validation: Samples of `validation_records` with good ones; None without such a part.
        calibration: Samples of the held images that are not for validation; may be empty.
        test: Samples of `test_records`.
        fingerprint: Of all images and masks of the category.
        notes: What a reader of its rows has to know.
        pictures: Loads further images; gives `ImageSet`s for the baselines.
    """

    category: str
    kinds: tuple[str, ...]
    good_records: tuple[Record, ...]
    held_records: tuple[Record, ...]
    base_records: tuple[Record, ...]
    validation_records: tuple[Record, ...]
    test_records: tuple[Record, ...]
    train_good: Samples
    base: Samples
    validation: Samples | None
    calibration: Samples
    test: Samples
    fingerprint: str
    notes: tuple[str, ...]
    pictures: Pictures


def read_categories(
    data: Sequence[Path],
    config: EvaluateConfig,
    *,
    skip_unreadable: bool = False,
    announce: Callable[[str], None],
) -> tuple[CategorySource, ...]:
    """Read and check all images of the wanted categories.

    Args:
        data: Folders in MVTec AD layout, of one category or of several.
        config: `categories`, `size`.
        skip_unreadable: Leave unreadable images out, by name, instead of stopping.
        announce: Told what was found and what was left out.

    Returns:
        The categories in order, or in that of `config.categories`.

    Raises:
        ConfigError: A wanted category that the data lack.
        DataError: No test part, no defects, no good training image; unreadable images or masks; the same content
            among training or base images and test images.
    """
    folder = read_many(data)
    announce(folder.describe())
    for name in config.categories:
        if name not in folder.categories:
            raise ConfigError(f"evaluate.categories has {name!r}{nearest(name, folder.categories)}")
    wanted = config.categories or folder.categories
    for name in wanted:
        _check_parts(folder, name)

    def on_skip(record: Record, error: DataError) -> None:
        announce(f"skipped {record.relative}: {error}")

    found = []
    for name in wanted:
        records = [record for record in folder.records if record.category == name]
        records = check_images(records, skip_unreadable=skip_unreadable, on_skip=on_skip)
        source = _source(name, tuple(records), config.size)
        for text in source.notes:
            announce(f"{name}: {text}")
        found.append(source)
    return tuple(found)


def _check_parts(folder: DataFolder, category: str) -> None:
    """Refuse a category that cannot be evaluated."""
    if not folder.normals(category):
        where = "put some into train/good"
        if folder.layout == "rgb_depth":
            where = "add images without mask, or use the MVTec 3D-AD layout, whose test side has good images too"
        raise DataError(f"{category} holds no good training image, which every method needs; {where}")
    if not folder.defects(category):
        raise DataError(
            f"{category} holds no test defect; evaluation needs MVTec AD layout: test/<defect> with masks in "
            "ground_truth/<defect>, and test/good"
        )


def _source(category: str, records: tuple[Record, ...], size: int) -> CategorySource:
    hashes = each(lambda record: sha256_of(record.path), records)
    masks = each(lambda record: sha256_of(record.mask_path) if record.mask_path else "", records)
    lines = [f"{r.split}/{r.defect} {a} {b}\n" for r, a, b in zip(records, hashes, masks, strict=True)]
    train = {value: r.relative for r, value in zip(records, hashes, strict=True) if r.split == "train"}
    both = [
        f"{record.relative} is {train[value]}"
        for record, value in zip(records, hashes, strict=True)
        if record.split == "test" and value in train
    ]
    raise_problems(f"{category}: test images that are training images too; remove one of each:", both)
    groups = duplicate_groups(records)
    if repeated := describe_groups(records, groups):
        lines += [f"{number}\n" for number in groups.values()]  # they decide the split: older rows were of another
    return CategorySource(
        category=category,
        records=records,
        fingerprint=hashlib.sha256("".join(lines).encode()).hexdigest(),
        pictures=Pictures(size),
        groups=groups,
        notes=tuple(text.removeprefix(f"{category}: ") for text in (*repeated, *_equal_note(records))),
    )


def _equal_note(records: Sequence[Record]) -> tuple[str, ...]:
    """Say how many good test images nearly equal a good training image; they stay."""
    good = [record for record in records if record.is_good]
    test, train = ([r for r in good if r.split == side] for side in ("test", "train"))
    count = nearly_equal(load_thumbnails(test), load_thumbnails(train))
    return (f"{count} of {len(test)} good test images nearly equal a good training image",) if count else ()


def split_category(source: CategorySource, config: EvaluateConfig, seed: int) -> CategoryData:
    """Split a category (PROTOCOL: Split) and load its images.

    Every fifth good training image, at most 40, is held out. A type's base images are its first third, at least
    one, and whole groups of near-duplicates (`base_split`); `validation_share` of them, rounded down and never the
    last one, is the validation part.

    Args:
        source: The category.
        config: Split, validation share, size, quirks.
        seed: Of a random split.

    Returns:
        The split.

    Raises:
        DataError: Nothing is left to train on or to test on, or base and test overlap.
    """
    normals = [record for record in source.records if record.is_good and record.split == "train"]
    held = tuple(normals[HELD_EVERY - 1 :: HELD_EVERY][:HELD_MOST])
    good = tuple(record for record in normals if record not in held)
    base, test = base_split(source.records, variant=config.base_split, seed=seed, groups=source.groups)
    kinds = tuple(dict.fromkeys(record.defect for record in source.records if not record.is_good))
    if all(record.is_good for record in test):
        raise DataError(
            f"{source.category} has one defect of each type, which is the base set; nothing is left to test"
        )
    _check_contents(base, test)
    base, validation = _validation_part(base, config.validation_share, source.groups)
    checked = held[::2] if validation else ()
    calibration = tuple(record for record in held if record not in checked)
    pictures = source.pictures
    eroded = config.eroded_truth == "yes" or (config.eroded_truth == "auto" and config.mode == "as_published")
    return CategoryData(
        category=source.category,
        kinds=kinds,
        good_records=good,
        held_records=held,
        base_records=base,
        validation_records=validation,
        test_records=test,
        train_good=pictures.samples(good, kinds),
        base=pictures.samples(base, kinds),
        validation=pictures.samples((*checked, *validation), kinds) if validation else None,
        calibration=pictures.samples(calibration, kinds),
        test=pictures.samples(test, kinds, eroded=eroded),
        fingerprint=source.fingerprint,
        notes=_notes(source, validation, config),
        pictures=pictures,
    )


def _check_contents(base: Sequence[Record], test: Sequence[Record]) -> None:
    """Refuse base images whose content is on the test side under another name."""
    known = {sha256_of(record.path): record.relative for record in base}
    hashes = each(lambda record: sha256_of(record.path), test)
    both = [f"{r.relative} is {known[value]}" for r, value in zip(test, hashes, strict=True) if value in known]
    raise_problems("images of the base set are on the test side too; remove one of each:", both)


def _validation_part(
    base: Sequence[Record], share: float, groups: Mapping[Path, int]
) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Base set without and with the last images of each type, of which one stays; near-duplicates stay together."""
    counts = Counter(record.defect for record in base)
    left = {defect: min(int(count * share + 1e-9), count - 1) for defect, count in counts.items()}
    parts: dict[int, list[Record]] = defaultdict(list)
    for record in base:
        parts[groups[record.path]].append(record)
    held: set[Path] = set()
    for part in reversed(parts.values()):
        if len(part) <= left[part[0].defect]:
            left[part[0].defect] -= len(part)
            held |= {record.path for record in part}
    return tuple(r for r in base if r.path not in held), tuple(r for r in base if r.path in held)


def _notes(source: CategorySource, validation: Sequence[Record], config: EvaluateConfig) -> tuple[str, ...]:
    counts = Counter(record.defect for record in source.records if not record.is_good)
    notes = list(source.notes)
    if names := undivided(source.records, source.groups):
        notes.append(f"all images show one original, which is on both sides of the split: {', '.join(names)}")
    if few := [f"{defect} ({count})" for defect, count in counts.items() if count < FEW]:
        notes.append(
            f"defect types with fewer than {FEW} images: {', '.join(few)}; one image of each is base, the rest test"
        )
    if config.validation_share and not validation:
        notes.append("the base set is too small for a validation part; the last checkpoint was kept")
    return tuple(notes)


def with_kinds(samples: Samples, kinds: tuple[str, ...]) -> Samples:
    """Number a set's defect types by other names that include its own.

    Raises:
        ValueError: A type is not among the names.
    """
    numbers = torch.tensor([*(kinds.index(name) for name in samples.kinds), GOOD_KIND], device=samples.kind.device)
    return replace(samples, kind=numbers[samples.kind], kinds=kinds)
