"""The commands: thin over `recipes`, where Python code finds the same; heavy imports wait for the call."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from anomalyhybrid.cli.settings import check_finite
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.training.config import TrainConfig

Folders = Annotated[list[Path], Parameter(consume_multiple=True, negative_iterable=())]
Flag = Annotated[bool, Parameter(negative=())]
Trained = Annotated[TrainConfig, Parameter(name="*", consume_multiple=True, negative_iterable=())]
Generated = Annotated[GenerateConfig, Parameter(name="*", consume_multiple=True, negative_iterable=())]
Evaluated = Annotated[EvaluateConfig, Parameter(name="*", consume_multiple=True, negative_iterable=())]

_TRAIN = TrainConfig()
_GENERATE = GenerateConfig()
_EVALUATE = EvaluateConfig()


def _given(data: Sequence[Path] | None) -> list[Path]:
    if not data:
        raise ConfigError("no data folder given; name one as an argument, or as 'data: [FOLDER]' in --config")
    return _expanded(data)


def _expanded(folders: Sequence[Path] | None) -> list[Path]:
    return [folder.expanduser() for folder in folders or ()]


def _expanded_one(folder: Path | None) -> Path | None:
    return None if folder is None else folder.expanduser()


def _absolute(path: str) -> str:
    """A path in text, absolute and with ``~`` expanded, so that records of it hold in any folder; empty stays so."""
    return os.path.abspath(Path(path).expanduser()) if path else ""


def check_output(out: Path) -> Path:
    """Find out before long work that an output folder cannot be written.

    Args:
        out: The folder; it need not exist.

    Returns:
        Its absolute path, ``~`` expanded.

    Raises:
        DataError: It is a file, or the user may not write there.
    """
    out = Path(os.path.abspath(out.expanduser()))
    if out.exists() and not out.is_dir():
        raise DataError(f"output {out} is a file; give a folder")
    nearest = next(folder for folder in (out, *out.parents) if folder.exists())
    if not nearest.is_dir():
        raise DataError(f"output {out} lies below the file {nearest}; give another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise DataError(f"output {out} cannot be written: {nearest} is read-only for this user; give another folder")
    return out


def prepare(
    data: Folders | None = None,
    *,
    base_set: Folders | None = None,
    edge: Literal["lite", "pidinet"] = _TRAIN.edge,
    depth: Literal["lite", "depth_anything", "fastdepth"] = "lite",
    edge_weights: str = "",
    depth_weights: str = "",
    size: int = _TRAIN.size,
    cache: Path | None = None,
    skip_unreadable: Flag = False,
    config: Path | None = None,
) -> None:
    """Check every image and mask, and extract edge and depth maps so that training starts at once.

    Args:
        data: Folders of good images, or folders in MVTec AD layout.
        base_set: Folders of a few real defects with masks.
        edge: Edge extractor.
        depth: Depth extractor.
        edge_weights: Weight file of the edge extractor; needed for pidinet.
        depth_weights: Weight file or folder of the depth extractor.
        size: Side of the maps in pixels.
        cache: Folder for the maps; by default the user's cache folder.
        skip_unreadable: Leave out images that cannot be read instead of stopping; each is named.
        config: YAML file with any of these settings; flags win over it.
    """
    from anomalyhybrid.cli.progress import Progress
    from anomalyhybrid.recipes.preparation import prepare as run_prepare

    with Progress("preparing", "images") as progress:
        run_prepare(
            _given(data),
            base_set=_expanded(base_set),
            cache=_expanded_one(cache),
            edge=edge,
            depth=depth,
            edge_weights=_absolute(edge_weights),
            depth_weights=_absolute(depth_weights),
            size=size,
            skip_unreadable=skip_unreadable,
            announce=progress.announce,
            report=progress.show,
        )


def train(
    data: Folders | None = None,
    *,
    out: Path,
    base_set: Folders | None = None,
    resume: Flag = False,
    skip_unreadable: Flag = False,
    cache: Path | None = None,
    config: Path | None = None,
    settings: Trained = _TRAIN,
) -> None:
    """Train one generator on one or several categories; it starts from the shipped one unless told otherwise.

    Args:
        data: Folders of good images, or folders in MVTec AD layout.
        out: Folder of the run.
        base_set: Folders of a few real defects with masks.
        resume: Go on from the run's checkpoint; the result is as if it had never stopped.
        skip_unreadable: Leave out images that cannot be read instead of stopping; each is named.
        cache: Folder for edge and depth maps; by default the user's cache folder.
        config: YAML file with any of these settings; flags win over it.
    """
    check_finite(settings)
    settings = replace(
        settings,
        start=settings.start if settings.start in ("auto", "scratch") else _absolute(settings.start),
        edge_weights=_absolute(settings.edge_weights),
        depth_weights=_absolute(settings.depth_weights),
        vgg_weights=_absolute(settings.vgg_weights),
    )
    folders = _given(data)
    out = check_output(out)
    from anomalyhybrid.cli.progress import Progress
    from anomalyhybrid.recipes.training import train as run_train

    with Progress("training", "steps") as progress:

        def report(row: dict) -> None:
            shown = [f"{name} {row[name]:.3g}" for name in row if name.startswith(("fusion_mask", "edit_response"))]
            progress.show(
                int(row["step"]),
                settings.steps,
                images_per_s=row.get("img_per_s"),
                batch=settings.batch_size,
                note=", ".join(shown),
            )

        folder = run_train(
            folders,
            out,
            base_set=_expanded(base_set),
            config=settings,
            resume=resume,
            skip_unreadable=skip_unreadable,
            cache=_expanded_one(cache),
            announce=progress.announce,
            report=report,
        )
    print(f"run saved in {folder}")
    words = ["generate", str(folder), "--data", *map(str, folders), "--out", "OUT"]
    print(f"next: {shlex.join(['anomalyhybrid', *words])}")


def generate(
    run: str,
    *,
    data: Folders | None = None,
    out: Path,
    base_set: Folders | None = None,
    resume: Flag = False,
    skip_unreadable: Flag = False,
    cache: Path | None = None,
    config: Path | None = None,
    settings: Generated = _GENERATE,
) -> None:
    """Generate defects with exact masks, and good images, in MVTec AD layout with a manifest.

    Args:
        run: Folder of a training run, a .safetensors file, or 'shipped' for the generator inside the package.
        data: Folders of good images, or folders in MVTec AD layout.
        out: Folder of the generated set.
        base_set: Folders of a few real defects with masks whose structure is drawn on.
        resume: Make only the images that are still missing; the result is as if it had never stopped.
        skip_unreadable: Leave out images that cannot be read instead of stopping; each is named.
        cache: Folder for edge and depth maps; by default the user's cache folder.
        config: YAML file with any of these settings; flags win over it.
    """
    check_finite(settings)
    settings = replace(
        settings,
        edge_weights=_absolute(settings.edge_weights),
        depth_weights=_absolute(settings.depth_weights),
    )
    run = run if run == "shipped" else _absolute(run)
    folders = _given(data)
    out = check_output(out)
    from anomalyhybrid.cli.progress import Progress
    from anomalyhybrid.recipes.generation import generate as run_generate

    with Progress("generating", "images") as progress:
        summary = run_generate(
            run,
            folders,
            out,
            base_set=_expanded(base_set),
            config=settings,
            resume=resume,
            skip_unreadable=skip_unreadable,
            cache=_expanded_one(cache),
            announce=progress.announce,
            report=progress.show,
        )
    print(f"generated set in {out}")
    for category, figures in summary.items():
        print(f"  {category}")
        for name, value in figures.items():
            shown = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else value
            print(f"    {name.replace('_', ' ')}: {shown}")


def regenerate(dataset: Path, *, id: Annotated[str, Parameter(name="--id")], out: Path) -> None:
    """Make one image of a generated set again, exactly.

    Args:
        dataset: Folder of the generated set.
        id: The image's id in manifest.jsonl.
        out: Folder for the image and its mask.
    """
    out = check_output(out)
    from anomalyhybrid.recipes.regeneration import regenerate as run_regenerate

    print(run_regenerate(dataset, id, out, announce=_to_stderr))


def evaluate(
    data: Folders | None = None,
    *,
    out: Path,
    run: str = "shipped",
    zero_run: str = "shipped",
    skip_unreadable: Flag = False,
    cache: Path | None = None,
    config: Path | None = None,
    settings: Evaluated = _EVALUATE,
) -> None:
    """Measure generated defects beside honest baselines, as a table of the paper; finished rows are kept.

    Run the same command again to go on where it stopped, or several times at once to share the work.

    Args:
        data: Folders in MVTec AD layout, with test/ and ground_truth/.
        out: Folder of rows, generated sets, result and report.
        run: Folder of a training run, a .safetensors file, or 'shipped': the generator of the few-shot methods.
        zero_run: The same for the zero-shot method; it must not have been trained on real defects.
        skip_unreadable: Leave out images that cannot be read instead of stopping; each is named.
        cache: Folder for edge and depth maps; by default the user's cache folder.
        config: YAML file with any of these settings; flags win over it.
    """
    check_finite(settings)
    paths = {name: _absolute(getattr(settings, name)) for name in settings.paths()}
    settings = replace(settings, **paths)
    run, zero_run = (path if path == "shipped" else _absolute(path) for path in (run, zero_run))
    folders = _given(data)
    out = check_output(out)
    from anomalyhybrid.cli.progress import Progress
    from anomalyhybrid.evaluation.report_text import text_table
    from anomalyhybrid.recipes.evaluation.run import evaluate as run_evaluate

    with Progress("evaluating", "rows") as progress:
        result = run_evaluate(
            folders,
            out,
            run=run,
            zero_run=zero_run,
            config=settings,
            skip_unreadable=skip_unreadable,
            cache=_expanded_one(cache),
            announce=progress.announce,
            report=lambda done, total, note: progress.show(done, total, images_per_s=0.0, note=note),
        )
    print(text_table(result))
    print(f"look at {out / 'report.html'}")


def demo(*, out: Path = Path("demo_output")) -> None:
    """Make defects on two rendered products that the shipped generator never saw, and a page that shows them.

    Args:
        out: Folder for everything; an earlier demo in it is replaced.
    """
    out = check_output(out)
    from anomalyhybrid.cli.progress import Progress
    from anomalyhybrid.recipes.demo import demo as run_demo

    with Progress("generating", "images") as progress:
        lines = run_demo(out, announce=progress.announce, report=progress.show)
    print("\n".join(lines))


def doctor(*, cache: Path | None = None) -> None:
    """Say what is installed, which device is used, which weights are where, and what to do about the rest.

    Args:
        cache: Cache folder to look at; by default the user's.
    """
    from anomalyhybrid.cli.doctor import report

    print("\n".join(report(cache=cache)))


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
