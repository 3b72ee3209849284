"""`anomalyhybrid export-model`: a trained generator for other runtimes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from anomalyhybrid.cli.arguments import Flag, absolute, check_output


def export_model(
    run: str, *, format: Literal["onnx", "openvino"], out: Path, overwrite: Flag = False, config: Path | None = None
) -> None:
    """Write a generator and its shipped extractors as ONNX or OpenVINO graphs, and model.json that describes them.

    The batch's size is left open; images have the side of training.

    Args:
        run: Folder of a training run, a .safetensors file, or 'shipped' for the generator inside the package.
        format: Of the graphs: onnx needs the extra [onnx], openvino the extra [openvino].
        out: Folder for the graphs.
        overwrite: Replace an earlier export.
        config: YAML file with any of these settings; flags win over it.
    """
    out = check_output(out)
    from anomalyhybrid.recipes.export_model import DESCRIPTION
    from anomalyhybrid.recipes.export_model import export_model as run_export

    names = run_export(
        run if run == "shipped" else absolute(run),
        out,
        format=format,
        overwrite=overwrite,
        announce=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(f"exported {', '.join(names)} to {out}; {DESCRIPTION} says what they take and give")
