"""How benchmarks write their figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomalyhybrid.data.files import make_folder, write_text_atomic


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write figures as JSON, all or nothing, so that a killed process leaves the last complete state."""
    make_folder(path.parent)
    write_text_atomic(path, json.dumps(result, indent=2) + "\n")
