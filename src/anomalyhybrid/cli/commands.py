"""The commands: thin over `recipes`, where Python code finds the same; heavy imports wait for the call."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from anomalyhybrid.cli.arguments import (
    Flag,
    Folders,
    absolute,
    check_output,
    expanded,
    expanded_one,
    given_folders,
)
from anomalyhybrid.cli.settings import check_finite
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.training.config import TrainConfig, TrainDepthConfig

Trained = Annotated[TrainConfig, Parameter(name="*", consume_multiple=True, negative_iterable=())]
TrainedDepth = Annotated[TrainDepthConfig, Parameter(name="*", consume_multiple=True, negative_iterable=())]
Evaluated = Annotated[EvaluateConfig, Parameter(name="*", consume_multiple=True, negative_iterable=())]

_TRAIN = TrainConfig()
_TRAIN_DEPTH = TrainDepthConfig()
_EVALUATE = EvaluateConfig()


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
            given_folders(data),
            base_set=expanded(base_set),
            cache=expanded_one(cache),
            edge=edge,
            depth=depth,
            edge_weights=absolute(edge_weights),
            depth_weights=absolute(depth_weights),
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

    def recipe() -> Callable[..., Path]:
        from anomalyhybrid.recipes.training import train as run_train

        return run_train

    _train(recipe, ("generate",), data, out, base_set, settings, resume, skip_unreadable, cache)


def train_depth(
    data: Folders | None = None,
    *,
    out: Path,
    base_set: Folders | None = None,
    resume: Flag = False,
    skip_unreadable: Flag = False,
    cache: Path | None = None,
    config: Path | None = None,
    settings: TrainedDepth = _TRAIN_DEPTH,
) -> None:
    """Train the second generator (AnomalyHybrid*), which reads depth from pictures, for 'generate --depth-run'.

    Args:
        data: Folders of good images with measured depth: MVTec 3D-AD, Eyecandies, or rgb/ beside depth/.
        out: Folder of the run.
        base_set: Folders of a few real defects with masks and depth.
        resume: Go on from the run's checkpoint; the result is as if it had never stopped.
        skip_unreadable: Leave out images that cannot be read instead of stopping; each is named.
        cache: Folder for edge and depth maps; by default the user's cache folder.
        config: YAML file with any of these settings; flags win over it.
    """

    def recipe() -> Callable[..., Path]:
        from anomalyhybrid.recipes.depth_level import train_depth_level

        return train_depth_level

    use = ("generate", "shipped", "--depth-run")
    _train(recipe, use, data, out, base_set, settings, resume, skip_unreadable, cache)


def _train(
    recipe: Callable[[], Callable[..., Path]],
    use: Sequence[str],
    data: list[Path] | None,
    out: Path,
    base_set: list[Path] | None,
    settings: TrainConfig,
    resume: bool,
    skip_unreadable: bool,
    cache: Path | None,
) -> None:
    """Check what was given, train, and say how the run is used."""
    check_finite(settings)
    settings = replace(
        settings,
        start=settings.start if settings.start in ("auto", "scratch") else absolute(settings.start),
        edge_weights=absolute(settings.edge_weights),
        depth_weights=absolute(settings.depth_weights),
        vgg_weights=absolute(settings.vgg_weights),
    )
    folders = given_folders(data)
    out = check_output(out)
    from anomalyhybrid.cli.progress import Progress

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

        run = recipe()(
            folders,
            out,
            base_set=expanded(base_set),
            config=settings,
            resume=resume,
            skip_unreadable=skip_unreadable,
            cache=expanded_one(cache),
            announce=progress.announce,
            report=report,
        )
    from anomalyhybrid.training.processes import join_processes

    if join_processes().is_main:  # of several processes one speaks
        print(f"run saved in {run}")
        _print_next(*use, run, "--data", *folders, "--out", "OUT")


def _print_next(*words: object) -> None:
    print(f"next: {shlex.join(['anomalyhybrid', *map(str, words)])}")


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
        data: Folders in MVTec AD, MVTec 3D-AD or Eyecandies layout, with a test side; for table 6 one folder of class
            folders, or of the images that the CSV files name.
        out: Folder of rows, generated sets, result and report.
        run: Folder of a training run, a .safetensors file, or 'shipped': the generator of the few-shot methods.
        zero_run: The same for the zero-shot method; it must not have been trained on real defects.
        skip_unreadable: Leave out images that cannot be read instead of stopping; each is named.
        cache: Folder for edge and depth maps; by default the user's cache folder.
        config: YAML file with any of these settings; flags win over it.
    """
    check_finite(settings)
    paths = {name: absolute(getattr(settings, name)) for name in settings.paths()}
    settings = replace(settings, **paths)
    run, zero_run = (path if path == "shipped" else absolute(path) for path in (run, zero_run))
    folders = given_folders(data)
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
            cache=expanded_one(cache),
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
