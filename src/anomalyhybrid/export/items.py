"""What is exported: the rows of a generated set whose files were found inside it."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from anomalyhybrid.data.decoding import read_bytes
from anomalyhybrid.data.files import make_folder, natural_key, raise_problems, resolve_inside, write_bytes_atomic
from anomalyhybrid.data.loading import load_image, load_mask
from anomalyhybrid.data.records import GOOD, Split
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.manifest import MANIFEST, Row, iter_rows, row_at, rows_with_offsets

Tick = Callable[[], None]
"""Called after each image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image of a generated set.

    Attributes:
        row: What the manifest says.
        image: Its file.
        label_mask: File of its label mask; None for good images and for hybrids.
        split: Side of the MVTec AD tree that it lies on.
    """

    row: Row
    image: Path
    label_mask: Path | None
    split: Split

    @property
    def is_good(self) -> bool:
        """Whether the image shows no defect."""
        return self.row.defect == GOOD

    @property
    def image_name(self) -> str:
        """File name: the id, with the ending that the set gives the image."""
        return self.row.id + self.image.suffix

    def read_mask(self) -> np.ndarray:
        """Load the label mask, bool (H, W) of the image's size; of good images all False.

        Raises:
            DataError: Unreadable, empty though the image is defective, or of another size than the image.
        """
        height, width = load_image(self.image).pixels.shape[:2]
        if self.label_mask is None:
            return np.zeros((height, width), bool)
        return load_mask(self.label_mask, shape=(height, width))


class Items(Collection[Item]):
    """Items of one category, in the manifest's order; each is read when it is asked for, so that few are in memory."""

    def __init__(self, dataset: Path) -> None:
        self._dataset = dataset
        self._offsets = array("q")
        self.good = 0
        """How many show no defect."""

    def add(self, offset: int, item: Item) -> None:
        """Append the image whose row begins at this byte of the manifest."""
        self._offsets.append(offset)
        self.good += item.is_good

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[Item]:
        yield from self.at(range(len(self)))

    def __contains__(self, item: object) -> bool:
        return any(own == item for own in self)

    def ids(self) -> Iterator[str]:
        """Their ids, without a look at the files."""
        with (self._dataset / MANIFEST).open("rb") as manifest:
            for offset in self._offsets:
                yield row_at(manifest, offset).id

    def at(self, places: Iterable[int]) -> Iterator[Item]:
        """Items at these places, one after the other."""
        with (self._dataset / MANIFEST).open("rb") as manifest:
            for place in places:
                yield _item(self._dataset, row_at(manifest, self._offsets[place]))


Groups = Mapping[str, Items]
"""Items of each category, in the manifest's order."""


def digests(texts: Iterable[str], count: int) -> np.ndarray:
    """SHA-256 of each text, bytes (N,), to sort and compare by."""
    return np.fromiter((hashlib.sha256(text.encode()).digest() for text in texts), np.dtype("S32"), count)


def _last_rows(dataset: Path) -> Iterator[int]:
    """Where rows begin in the manifest; of repeated rows of one id the last, in the first one's place."""
    offsets, ids = array("q"), bytearray()
    for offset, row in rows_with_offsets(dataset):
        offsets.append(offset)
        ids += hashlib.sha256(row.id.encode()).digest()
    if not offsets:
        return
    _, first, same = np.unique(np.frombuffer(ids, np.dtype("S32")), return_index=True, return_inverse=True)
    last = np.zeros(len(first), np.int64)
    np.maximum.at(last, same, np.arange(len(offsets)))
    for position in np.argsort(first):
        yield offsets[int(last[position])]


def read_items(dataset: Path, *, include_rejected: bool) -> tuple[dict[str, Items], int]:
    """Read what a set holds and check that every file is there.

    Memory is below 200 bytes an image.

    Args:
        dataset: Folder of the set.
        include_rejected: Keep rows that the quality check did not accept.

    Returns:
        ``(items by category, number of rejected rows left out)``; of repeated rows of one id the last counts.

    Raises:
        DataError: No set, no image left, names that are no file names, or a list of files that are missing or lie
            outside the set.
    """
    groups: dict[str, Items] = {}
    problems: list[str] = []
    total = kept = 0
    next(iter_rows(dataset), None)  # a folder without a manifest
    with (dataset / MANIFEST).open("rb") as manifest:
        for offset in _last_rows(dataset):
            row = row_at(manifest, offset)
            total += 1
            if not (row.accepted or include_rejected):
                continue
            kept += 1
            try:
                item = _item(dataset, row)
                groups.setdefault(row.category, Items(dataset)).add(offset, item)
            except DataError as error:
                problems.append(str(error))
    if not kept:
        reason = f"all {total} images are rejected; --all takes them" if total else "its manifest is empty"
        raise DataError(f"{dataset} holds nothing to take: {reason}")
    raise_problems(f"{dataset} is not whole; put the files back, or finish it with generate --resume:", problems)
    return groups, total - kept


def _item(dataset: Path, row: Row) -> Item:
    for name in (row.category, row.defect, row.id):
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
            raise DataError(f"{row.id}: {name!r} cannot be a file name; the manifest was changed by hand")
    image = _found(dataset, row, "image", row.image)
    mask = None if row.label_mask is None else _found(dataset, row, "label mask", row.label_mask)
    if row.defect == GOOD and row.label_mask is not None:
        raise DataError(f"{row.id}: a good image with a label mask; the manifest was changed by hand")
    folders = PurePosixPath(row.image).parts[:-1]
    split = "train" if row.defect == GOOD and folders[-2:-1] != ("test",) else "test"
    return Item(row=row, image=image, label_mask=mask, split=split)


def _found(dataset: Path, row: Row, what: str, relative: str) -> Path:
    path = resolve_inside(dataset, relative)
    if not path.is_file():
        raise DataError(f"{row.id}: its {what} {relative} is missing")
    return path


def check_masks(groups: Groups, what: str) -> None:
    """Refuse defects without label masks, which a format would show as good or leave undefined.

    Args:
        groups: The items.
        what: The format.

    Raises:
        DataError: Names the formats that take them.
    """
    bare = [item.row.id for items in groups.values() for item in items if not item.is_good and item.label_mask is None]
    if bare:
        raise DataError(
            f"{len(bare)} defective images have no label mask ({bare[0]}; hybrids have none), which {what} needs; "
            "export them as imagefolder or webdataset"
        )


def defect_names(items: Collection[Item]) -> list[str]:
    """Defect types of a category, without good images, in natural order."""
    return sorted({item.row.defect for item in items if not item.is_good}, key=natural_key)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file byte by byte, making the folder.

    Raises:
        DataError: The source cannot be read or is empty, or the target not be written.
    """
    make_folder(target.parent)
    write_bytes_atomic(target, read_bytes(source))


def provenance(item: Item) -> dict:
    """The manifest's row without the paths of its files, and what the image shows.

    Returns:
        Its entries, ``label`` (defect type or ``good``) and ``is_anomalous``.
    """
    kept = {name: value for name, value in asdict(item.row).items() if name not in ("image", "label_mask", "defect")}
    return {"label": item.row.defect, "is_anomalous": not item.is_good} | kept
