"""`anomalyhybrid train-depth` and `generate --depth-run`: from folders to AnomalyHybrid* and to sets with depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from anomalyhybrid.conditions.measured import MEASURED, MeasuredDepth
from anomalyhybrid.data.files import existing_folder
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.depth_config import DepthDefectConfig
from anomalyhybrid.recipes.depth_generation import generate_depth
from anomalyhybrid.recipes.depth_sets import with_readable_depth
from anomalyhybrid.recipes.depth_training import train_depth
from anomalyhybrid.recipes.job import load_model
from anomalyhybrid.recipes.sources import Announce, Sources, read_sources
from anomalyhybrid.training.config import TrainConfig
from anomalyhybrid.training.processes import join_processes


def train_depth_level(
    data: Sequence[Path],
    out: Path,
    *,
    base_set: Sequence[Path] = (),
    config: TrainConfig,
    resume: bool = False,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    announce: Announce,
    report: Callable[[dict], None] | None = None,
) -> Path:
    """Train AnomalyHybrid* on folders of good images with depth; see `train_depth`.

    Args:
        data: Folders of good images, with depth of their own unless ``config.depth_weights`` names a folder of it.
        out: The run's folder; must not hold a run unless `resume`.
        base_set: Folders of real defects with masks and depth.
        config: Settings; ``depth`` says what the depth files hold.
        resume: Continue the run in `out`.
        skip_unreadable: Leave unreadable images out, by name.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told in words what happens.
        report: Given each journal row.

    Returns:
        The run's folder.

    Raises:
        AnomalyHybridError: Something the caller can mend.
        KeyboardInterrupt: After Ctrl-C, once a checkpoint is written.
    """
    processes = join_processes()
    told = announce if processes.is_main else lambda text: None
    sources = read_sources(
        data,
        base_set,
        base_part=config.base_split,
        seed=config.seed,
        skip_unreadable=skip_unreadable,
        announce=told,
    )
    if config.depth in MEASURED and not config.depth_weights:
        _check_own_depth(sources, "--depth-weights")
        measured = MeasuredDepth(folder=None, nearer_is_larger=config.depth == "measured_disparity")
        sources = with_readable_depth(sources, measured, skip_unreadable=skip_unreadable, announce=told)
    return train_depth(
        sources.normals,
        sources.categories,
        out,
        base=sources.base,
        config=config,
        resume=resume,
        cache=cache,
        announce=announce,
        report=report,
    )


def generate_depth_level(
    run: str,
    data: Sequence[Path],
    out: Path,
    *,
    sister_run: str,
    base_set: Sequence[Path] = (),
    base_part: Literal["sorted", "random", "all"] = "all",
    depth: Literal["auto", "measured", "measured_disparity"] = "auto",
    depth_folder: Path | None = None,
    unit: str = "unit of the depth files",
    config: DepthDefectConfig,
    resume: bool = False,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    announce: Announce,
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """Generate defects in colour and measured depth together from folders; see `generate_depth`.

    Args:
        run: AnomalyHybrid: ``shipped``, a run folder, or a generator file.
        data: Folders of good images with depth.
        out: Folder of the set; must not hold one unless `resume`.
        sister_run: AnomalyHybrid*: a run folder or a generator file.
        base_set: Folders of real defects with masks and depth whose structure is drawn on.
        base_part: Which part of each defect's images is drawn on.
        depth: What the depth files hold; ``auto`` is what AnomalyHybrid* was trained with.
        depth_folder: Folder of the depth files; None for the data's own.
        unit: What the depth files count in, for the rows.
        config: Settings.
        resume: Finish a killed run's set, to the same result.
        skip_unreadable: Leave unreadable images out, by name.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told in words what happens.
        report: Given images done and in all.

    Returns:
        The summary that `dataset.json` keeps.

    Raises:
        AnomalyHybridError: Something the caller can mend.
    """
    kind = _kind_of(sister_run) if depth == "auto" else depth
    measured = MeasuredDepth(
        folder=None if depth_folder is None else existing_folder(depth_folder),
        nearer_is_larger=kind == "measured_disparity",
    )
    sources = read_sources(
        data, base_set, base_part=base_part, seed=config.seed, skip_unreadable=skip_unreadable, announce=announce
    )
    if depth_folder is None:
        _check_own_depth(sources, "--depth-folder")
    return generate_depth(
        run,
        sister_run,
        sources,
        out,
        measured=measured,
        unit=unit,
        config=config,
        resume=resume,
        skip_unreadable=skip_unreadable,
        cache=cache,
        announce=announce,
        report=report,
    )


def _kind_of(sister_run: str) -> str:
    """What the depth files held that AnomalyHybrid* was trained on.

    Raises:
        ConfigError: It was trained on an extractor's maps, which does not say.
    """
    kind = load_model(sister_run).metadata.get("depth", "")
    if kind not in MEASURED:
        raise ConfigError(
            f"{sister_run} was not trained on measured depth (but on {kind or 'unknown'} maps), so what your depth "
            "files hold must be said: --depth measured for distances, measured_disparity where larger is nearer"
        )
    return kind


def _check_own_depth(sources: Sources, flag: str) -> None:
    """Every image has depth of its own.

    Raises:
        DataError: Some have none; the first is named.
    """
    records = [*sources.normals, *sources.base]
    without = [record for record in records if record.depth_path is None]
    if without:
        raise DataError(
            f"{len(without)} of {len(records)} images have no measured depth, the first is {without[0].path}. Give an "
            "MVTec 3D-AD or Eyecandies folder, or rgb/ + depth/ (+ ground_truth/) with equal names, or name the "
            f"folder of the depth files with {flag}"
        )
