"""`generate --overwrite`: the new set is made beside the old one and takes its place when it is complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from anomalyhybrid.data.files import existing_folder, raise_problems
from anomalyhybrid.data.new_folder import making_folder, new_folder
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.contents import other_files
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, read_dataset, read_rows
from anomalyhybrid.recipes.sources import Announce


@contextmanager
def overwriting(out: Path, inputs: Sequence[Path | str], *, resume: bool, announce: Announce) -> Iterator[Path]:
    """Give the folder in which a recipe makes a set of any kind that is to take the place of the one in `out`.

    Until then `out` is as it was. After an error or Ctrl-C what is made so far stays in the hidden folder, and `resume`
    goes on there.

    Args:
        out: Folder of the set; absent, empty, or with nothing in it but a set.
        inputs: Files and folders that the new set is made from; empty text is none.
        resume: Go on with what was left; the recipe resumes too.
        announce: Told where unfinished work lies.

    Raises:
        DataError: `out` holds something else or an input, nothing is left to resume, or a folder cannot be put in
            place.
    """
    out = out.resolve()
    _check_replaceable(out)
    for path in inputs:
        if path and Path(path).expanduser().resolve().is_relative_to(out):
            raise DataError(f"{path} lies in {out}, which --overwrite would replace; move it, or give another --out")
    making = making_folder(out)
    if resume and not (making / DATASET).is_file():
        raise DataError(f"no new set for {out} was begun; start without --resume")
    if not resume:
        shutil.rmtree(making, ignore_errors=True)
    try:
        with new_folder(out, making) as folder:
            yield folder
    except BaseException:
        if (making / DATASET).is_file():
            announce(
                f"{out} is as it was. What is made of the new set is in {making}: --overwrite --resume goes on there; "
                "delete it if you do not want it"
            )
        else:
            shutil.rmtree(making, ignore_errors=True)
        raise


def _check_replaceable(out: Path) -> None:
    """Refuse a folder that holds other things than a set.

    Raises:
        DataError: Names them.
    """
    if not out.exists() or not any(existing_folder(out).iterdir()):
        return
    if not (out / DATASET).is_file():
        raise DataError(
            f"{out} holds files but no set ({DATASET} is missing), and --overwrite would delete them; give another "
            "--out"
        )
    about = read_dataset(out)
    rows = read_rows(out) if (out / MANIFEST).is_file() else []
    raise_problems(
        f"{out} holds files that are not the set's, and --overwrite would delete them; move them away, or give "
        "another --out:",
        other_files(out, about, rows),
    )
