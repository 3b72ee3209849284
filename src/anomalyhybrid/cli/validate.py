"""`anomalyhybrid validate`: check a data folder before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from anomalyhybrid.cli.arguments import Folders, check_output, expanded, expanded_one, given_folders
from anomalyhybrid.errors import DataError


def validate(
    data: Folders | None = None,
    *,
    base_set: Annotated[Folders | None, Parameter(name=("--base-set", "--base"))] = None,
    json: Path | None = None,
    config: Path | None = None,
) -> None:
    """Check a data folder before anything runs, and say what to do; exit code 2 when a command would stop.

    Args:
        data: Folders of good images, or folders in MVTec AD, MVTec 3D-AD or Eyecandies layout, or rgb/ beside depth/.
        base_set: Folders of a few real defects with masks.
        json: File for all findings with all their files; an earlier one is replaced.
        config: YAML file with any of these settings; flags win over it.
    """
    folders = given_folders(data)
    target = expanded_one(json)
    if target is not None:
        check_output(target.parent)
        if target.is_dir():
            raise DataError(f"--json {target} is a folder; give a file in it")
        if not target.parent.is_dir():
            raise DataError(f"--json {target}: the folder {target.parent} does not exist; make it first")
    from anomalyhybrid.cli.progress import Progress
    from anomalyhybrid.recipes.validation import validate as run_validate
    from anomalyhybrid.recipes.validation_text import describe, save_json

    with Progress("checking", "images") as progress:
        result = run_validate(folders, base_set=expanded(base_set), report=progress.show)
    print("\n".join(describe(result)), flush=True)
    if target is not None:
        save_json(result, target)
    if errors := result.count("error"):
        raise DataError(f"the data have {errors} {'fault' if errors == 1 else 'faults'} at which a command would stop")
