"""The fixed work list of a set, and the place of every image in it: memory of a few bytes an image (ADR-018)."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from anomalyhybrid.generation.additions import first_number, number_of
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import MANIFEST, Row, iter_rows, row_at, rows_with_offsets, write_rows
from anomalyhybrid.generation.rejected import Rejected

Chunk = tuple[str, bool, list[int]]
"""Category, whether defects (else good images), numbers of the images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """What is made, in which order.

    Attributes:
        categories: Names.
        config: Settings.
        description: Of the images in `dataset.json`, where they are added to a set: says where numbers begin.
    """

    categories: Sequence[str]
    config: GenerateConfig
    description: Mapping[str, Any]

    @property
    def images(self) -> int:
        """Images asked for."""
        return len(self.categories) * (self.config.count + self.config.normals)

    @property
    def places(self) -> int:
        """Places of all images that may be made: those asked for, then the quality gate's spare ones."""
        return self.images + len(self.categories) * (self.config.most_numbers - self.config.count)

    def first_number(self, category: str, is_defect: bool) -> int:
        """Number of a category's first image of a kind."""
        return first_number(self.description, category, is_defect)

    def chunks(self) -> Iterator[Chunk]:
        """The work list."""
        for category in self.categories:
            for is_defect, total in ((True, self.config.count), (False, self.config.normals)):
                yield from self._cut(category, is_defect, 0, total)

    def spare_chunks(self, category: str) -> Iterator[Chunk]:
        """Chunks of further defect images, with higher numbers, for those that the quality gate rejects (ADR-014)."""
        yield from self._cut(category, True, self.config.count, self.config.most_numbers)

    def _cut(self, category: str, is_defect: bool, begin: int, end: int) -> Iterator[Chunk]:
        first, size = self.first_number(category, is_defect), self.config.batch_size
        for start in range(begin, end, size):
            yield category, is_defect, list(range(first + start, first + min(start + size, end)))

    def place(self, category: str, is_defect: bool, number: int) -> int:
        """Place of an image in the work list, from 0; -1 of one that this list does not make."""
        if category not in self.categories:
            return -1
        own, config = self.categories.index(category), self.config
        offset = number - self.first_number(category, is_defect)
        if 0 <= offset < (config.count if is_defect else config.normals):
            return own * (config.count + config.normals) + offset + (0 if is_defect else config.count)
        if is_defect and config.count <= offset < config.most_numbers:
            return self.images + own * (config.most_numbers - config.count) + offset - config.count
        return -1

    def place_of(self, image: Row | Rejected) -> int:
        """As `place`, of a row; images that were left out are defects."""
        return self.place(image.category, getattr(image, "label_mask", "") is not None, number_of(image))

    def are_done(self, chunk: Chunk, done: bytearray) -> bool:
        """Whether all images of a chunk are marked, each at its place."""
        category, is_defect, numbers = chunk
        return all(done[self.place(category, is_defect, number)] for number in numbers)


def sort_rows(folder: Path, order: WorkOrder, name: str = MANIFEST) -> None:
    """Sort a manifest by the work list, after the images that it does not make; of repeated rows the last stays.

    One that is in order is only read. Memory is eight bytes an image.

    Args:
        folder: Of the set.
        order: The work list.
        name: The manifest's path in the folder.
    """
    last = -1
    for row in iter_rows(folder, name):
        place = order.place_of(row)
        if place <= last and (place >= 0 or last >= 0):
            break
        last = place
    else:
        return
    found = array("q", [-1]) * order.places
    earlier = array("q")
    for begins, row in rows_with_offsets(folder, name):
        place = order.place_of(row)
        if place < 0:
            earlier.append(begins)
        else:
            found[place] = begins
    with (folder / name).open("rb") as stream:
        write_rows(folder, (row_at(stream, begins) for begins in chain(earlier, found) if begins >= 0), name)
