"""What lies in a set's folder: its own files, and others."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalyhybrid.data.files import is_system_name, natural_key
from anomalyhybrid.generation.additions import descriptions
from anomalyhybrid.generation.depth_rows import DEPTH_ROWS
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, Row
from anomalyhybrid.generation.rejected import REJECTED
from anomalyhybrid.generation.shards import SHARDS

REPORT = "report.html"
"""Name of a set's report, by default in its folder."""
_AT_ROOT = (MANIFEST, DATASET, DEPTH_ROWS, REJECTED, REPORT, "preview.png", "sheet.html")
_FOLDERS = ("test", "train", "ground_truth", "depth", "preview")


def folders_of_inputs(about: Mapping[str, Any]) -> list[str]:
    """Folders of the set, relative to it, that hold what it was made from."""
    given = [path for one in descriptions(about) for key in ("data", "base_set") for path in one.get(key, ())]
    return [path for path in given if not os.path.isabs(path)]


def other_files(dataset: Path, about: Mapping[str, Any], rows: Sequence[Row] = ()) -> list[str]:
    """Find files in a set's folder that `generate` did not make.

    Its own are its records, sheets and report, the files that rows name, and those in its folders whose names are ids
    (an unfinished set has some that no row names yet). Half-written files and an operating system's do not count.

    Args:
        dataset: Folder of the set.
        about: Content of `dataset.json`.
        rows: Rows whose files count as the set's own whatever their names.

    Returns:
        Paths relative to the folder, in natural order; links to folders are files here.
    """
    named = {path for row in rows for path in (row.image, row.label_mask) if path}
    categories = dict.fromkeys(name for one in descriptions(about) for name in one.get("categories", ()))
    ids = re.compile(rf"({'|'.join(map(re.escape, categories))})_[nh]?[0-9]{{6,}}(_mask|_info_depth)?\.[A-Za-z]+")
    found = []
    for folder, folders, files in os.walk(dataset):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *links):
            relative = Path(folder, name).relative_to(dataset)
            parts = relative.parts[1:] if relative.parts[0] in categories else relative.parts
            own = name.startswith(".tmp-") or is_system_name(name) or relative.as_posix() in named
            own = own or (len(relative.parts) == 1 and name in _AT_ROOT) or relative.parts[0] == SHARDS
            own = own or (len(parts) > 1 and parts[0] in _FOLDERS and ids.fullmatch(name) is not None)
            if not own:
                found.append(relative.as_posix())
    return sorted(found, key=natural_key)
