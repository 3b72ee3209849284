"""`anomalyhybrid report`: one HTML file that says what a generated set holds, counted from its files."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from anomalyhybrid.data.files import existing_folder, write_text_atomic
from anomalyhybrid.data.headers import at_a_time
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.contents import REPORT, folders_of_inputs, other_files
from anomalyhybrid.generation.depth_rows import DEPTH_ROWS, read_depth_rows
from anomalyhybrid.generation.manifest import read_dataset, read_rows
from anomalyhybrid.generation.rejected import read_rejected
from anomalyhybrid.generation.report import SetFiles, render_set_report
from anomalyhybrid.generation.report_checks import check_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A written report.

    Attributes:
        path: The HTML file.
        images: Rows of the manifest.
        faults: Missing or damaged files, broken mask contracts, with the image's id; empty for a sound set.
    """

    path: Path
    images: int
    faults: tuple[str, ...]


def report_set(
    dataset: Path, out: Path | None = None, *, limit: int = 60, report: Callable[[int, int], None] | None = None
) -> Reported:
    """Write the report of a generated set of any kind.

    Every image, mask and target is read. Faults of files are part of the report, and none of them stops it.

    Args:
        dataset: Folder of the set.
        out: The HTML file; an earlier one is replaced. None for ``report.html`` in the set.
        limit: Defects or hybrids shown at most, spread over all kinds.
        report: Given images done and in all.

    Raises:
        ConfigError: The limit is below 1.
        DataError: No set, records that cannot be read, or the file cannot be written.
    """
    if limit < 1:
        raise ConfigError(f"limit is {limit}; it must be at least 1")
    dataset = existing_folder(dataset)
    path = dataset / REPORT if out is None else out
    about = read_dataset(dataset)
    rows = list({row.id: row for row in read_rows(dataset)}.values())
    has_depth = (dataset / DEPTH_ROWS).is_file()
    depth = {row.id: row for row in read_depth_rows(dataset)} if has_depth else {}
    more = {name: (row.depth, row.preview) for name, row in depth.items()}
    with ThreadPoolExecutor(at_a_time(dataset / row.image for row in rows)) as threads:
        checked = []
        for one in threads.map(lambda row: check_row(row, dataset, about, more.get(row.id, ())), rows):
            checked.append(one)
            if report is not None:
                report(len(checked), len(rows))
    known = {name for names in more.values() for name in names}
    inputs = tuple(f"{folder}/" for folder in folders_of_inputs(about))
    others = [name for name in other_files(dataset, about, rows) if not (name in known or name.startswith(inputs))]
    others = [name for name in others if (dataset / name).resolve() != path.resolve()]
    previews = {name: row.preview for name, row in depth.items()}
    found = SetFiles(
        folder=dataset,
        about=about,
        checked=checked,
        previews=previews,
        left_out=read_rejected(dataset),
        others=others,
    )
    write_text_atomic(path, render_set_report(found, limit=limit))
    return Reported(path=path, images=len(rows), faults=tuple(found.faults))
