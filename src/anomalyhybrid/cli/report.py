"""`anomalyhybrid report`: one HTML file that says what a generated set holds."""

from __future__ import annotations

import sys
from pathlib import Path

from anomalyhybrid.cli.arguments import check_output, expanded_one
from anomalyhybrid.errors import DataError

_NAMED = 5  # faults said on the terminal; all are in the report
FAULTS = 1
"""Exit code of a set with faults, whose report is written."""


def report(dataset: Path, *, out: Path | None = None, limit: int = 60, config: Path | None = None) -> int:
    """Write one HTML file about a generated set: sheets, counts, areas, positions, contract, gate, provenance.

    All figures are counted from the set's files. The file needs no network and no other file. Exit code 1 when files of
    the set are missing or damaged or pixels outside a mask changed: the report is written and names them.

    Args:
        dataset: Folder of the generated set.
        out: The HTML file, report.html in the set by default; an earlier one is replaced.
        limit: Defects shown at most, spread over all kinds.
        config: YAML file with any of these settings; flags win over it.
    """
    target = expanded_one(out)
    if target is not None:
        check_output(target.parent)
        if target.is_dir():
            raise DataError(f"--out {target} is a folder; give a file in it")
        if not target.parent.is_dir():
            raise DataError(f"--out {target}: the folder {target.parent} does not exist; make it first")
    from anomalyhybrid.cli.progress import Progress
    from anomalyhybrid.recipes.report import report_set

    with Progress("checking", "images") as progress:
        done = report_set(dataset.expanduser(), target, limit=limit, report=progress.show)
    print(f"report on {done.images} images in {done.path}")
    if not done.faults:
        return 0
    for fault in done.faults[:_NAMED]:
        print(fault, file=sys.stderr)
    more = len(done.faults) - _NAMED
    print(f"{f'and {more} more; ' if more > 0 else ''}the set has {len(done.faults)} faults; the report names all",
          file=sys.stderr)  # fmt: skip
    return FAULTS
