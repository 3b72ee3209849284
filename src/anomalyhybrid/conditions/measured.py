"""Depth that was measured (3-D sensors): of 3-D data sets, or from a folder of files paired by relative stem."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalyhybrid.data.depth_files import DEPTH_SUFFIXES, DepthImage, read_depth
from anomalyhybrid.data.depth_units import check_units, depth_stats
from anomalyhybrid.data.files import raise_problems
from anomalyhybrid.data.loading import load_image
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import ConfigError, DataError

MEASURED = ("measured", "measured_disparity")
"""Names of both kinds of measured depth: distances, and values that are larger nearer."""

_LEAST_RANGE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDepth:
    """Measured depth maps in place of an extractor: 16-bit PNG or float TIFF, one channel, or x, y, z."""

    folder: Path | None = None
    """Holds ``<relative path of the image without suffix>.png`` (or .tif, .tiff); None takes the depth that the
    data set itself has for each image (``Record.depth_path``)."""
    nearer_is_larger: bool = False
    """True for disparity-like values; False for distances, which are turned round."""

    @property
    def name(self) -> str:
        """Id for manifests and generator files; the files themselves are not part of it."""
        return "measured_disparity" if self.nearer_is_larger else "measured"

    def path_of(self, record: Record) -> Path:
        """Find the depth file of a record: in the folder where one is given, else the data set's own.

        Args:
            record: The image.

        Returns:
            The file.

        Raises:
            DataError: If there is none, or more than one.
        """
        if self.folder is not None:
            return self.path_for(Path(record.relative))
        if record.depth_path is None:
            raise DataError(
                f"no measured depth for {record.path}: its data set has none. Give the folder of the depth files "
                "(--depth-weights), or choose another depth extractor."
            )
        return record.depth_path

    def path_for(self, relative: Path) -> Path:
        """Find the depth file of an image in the folder.

        Args:
            relative: The image's path relative to the image folder; its suffix does not count. Leading folders may
                be missing from the depth folder as long as the image's own folder is there.

        Returns:
            The one file with that stem.

        Raises:
            ConfigError: If no folder was given.
            DataError: If there is none or more than one.
        """
        if self.folder is None:
            raise ConfigError("measured depth without folder= belongs to records: use path_of, load or read_record.")
        stem = self.folder / relative.with_suffix("")
        tails = [relative.parts[start:] for start in range(max(1, len(relative.parts) - 1))]
        for tail in tails:  # a second data folder or a base set puts folders before the path: look without them too
            near = self.folder.joinpath(*tail).with_suffix("")
            found = [path for suffix in DEPTH_SUFFIXES if (path := near.with_name(near.name + suffix)).is_file()]
            if len(found) > 1:
                names = ", ".join(path.name for path in found)
                raise DataError(f"more than one depth file for {relative} in {self.folder}: {names}. Keep one.")
            if found:
                return found[0]
        raise DataError(
            f"no depth file for {relative}: expected {stem} with one of {', '.join(DEPTH_SUFFIXES)}. Add the "
            "file, or choose another depth extractor."
        )

    def load(self, record: Record, *, shape: tuple[int, int] | None = None) -> DepthImage:
        """Read the depth of a record in the file's own unit; see ``data.depth_files.read_depth``.

        Raises:
            DataError: As for ``path_of`` and ``read_depth``.
        """
        return read_depth(self.path_of(record), shape=shape, nearer_is_larger=self.nearer_is_larger)

    def check_units(self, records: Sequence[Record], *, heights: Sequence[float] = ()) -> None:
        """Read the depth of all records, and compare their units with each other and with heights.

        Raises:
            ConfigError: A height that these data cannot have or show.
            DataError: Two units, or as for ``load``.
        """
        with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
            stats = list(threads.map(lambda record: depth_stats(self.load(record)), records))
        check_units({r.relative: one for r, one in zip(records, stats, strict=True)}, heights=heights)

    def readable(
        self, records: Sequence[Record], *, on_skip: Callable[[Record, DataError], None] | None = None
    ) -> list[Record]:
        """Records whose depth file is there, can be read, and is of its image's size.

        Args:
            records: Readable images.
            on_skip: Called for each record left out, in order, with the reason; None raises instead.

        Raises:
            DataError: Lists the files that fail (unless they are skipped), or says that none is left.
        """

        def problem(record: Record) -> DataError | None:
            try:
                pixels = load_image(record.path).pixels
                self.load(record, shape=(pixels.shape[0], pixels.shape[1]))
            except DataError as error:
                return error
            return None

        with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
            problems = list(threads.map(problem, records))
        found = [str(error) for error in problems if error is not None]
        if on_skip is None:
            raise_problems("some depth cannot be used; mend or remove it, or skip unreadable images:", found)
        elif records and len(found) == len(records):
            raise_problems("no image with depth is left; all fail:", found)
        else:
            for record, error in zip(records, problems, strict=True):
                if error is not None:
                    on_skip(record, error)
        return [record for record, error in zip(records, problems, strict=True) if error is None]

    def read_record(self, record: Record, *, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Read the depth of a record in the project's convention; see ``normalised``.

        Args:
            record: The image.
            shape: Height and width of the image; the depth map must have the same.

        Returns:
            float32 (H, W) in [0, 1], 1 nearest.

        Raises:
            DataError: As for ``path_of`` and ``read_depth``.
        """
        return normalised(self.load(record, shape=shape))

    def read(self, relative: Path, *, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Read one depth map of the folder in the project's convention; see ``normalised``.

        Args:
            relative: The image's path relative to the image folder.
            shape: Height and width of the image; the depth map must have the same.

        Returns:
            float32 (H, W) in [0, 1], 1 nearest.

        Raises:
            ConfigError: If no folder was given.
            DataError: If the file is missing or unreadable, has another size, or holds no valid value.
        """
        return normalised(read_depth(self.path_for(relative), shape=shape, nearer_is_larger=self.nearer_is_larger))


def normalised(depth: DepthImage) -> NDArray[np.float32]:
    """Bring measured values to [0, 1], 1 nearest; inverse depth for distances, so that extractors agree.

    Args:
        depth: The depth; zeros, NaN and infinities are no measurement and become the farthest valid value.

    Returns:
        float32 (H, W); zeros where the valid depth is constant.
    """
    known = depth.values[depth.valid].astype(np.float64)
    if not depth.nearer_is_larger:
        known = 1.0 / known
    low, span = known.min(), float(np.ptp(known))
    result = np.zeros(depth.values.shape, np.float32)
    if span > _LEAST_RANGE * max(abs(low), 1.0):
        result[depth.valid] = ((known - low) / span).astype(np.float32)
    return result
