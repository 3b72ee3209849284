"""`anomalyhybrid select`: the most varied defects of a generated set, as a set of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from anomalyhybrid.cli.arguments import Flag, check_output


def select(
    dataset: Path,
    *,
    count: int,
    out: Path,
    types: Literal["set", "equal"] = "set",
    overwrite: Flag = False,
    config: Path | None = None,
) -> None:
    """Choose the defects of a generated set that differ most from each other; the set stays as it is.

    They are compared by look, colour, size, place, shape, and what gave them their structure. Good images are all
    kept, rejected ones never chosen. The result is a set like any other, but nothing is added to it: add to the set it
    comes from.

    Args:
        dataset: Folder of the generated set.
        count: Defect images of each category.
        out: Folder of the selection.
        types: Keep the proportions of the set's defect types, or take them equally often.
        overwrite: Replace an earlier selection.
        config: YAML file with any of these settings; flags win over it.
    """
    out = check_output(out)
    from anomalyhybrid.cli.progress import Progress
    from anomalyhybrid.recipes.selection import select as run_select

    with Progress("selecting", "images") as progress:
        done = run_select(
            dataset.expanduser(), out, count=count, types=types, overwrite=overwrite, report=progress.show
        )
    rejected = f"; {done.left_out} rejected images were not considered" if done.left_out else ""
    print(f"selected {done.defects} of {done.of} defects, with {done.good} good images, in {out}{rejected}")
