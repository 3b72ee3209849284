"""`anomalyhybrid generate`: local defects, global hybrids (--global), or colour and depth together (--depth-run)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

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
from anomalyhybrid.cli.shards import chosen_shard
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.depth_config import DepthDefectConfig
from anomalyhybrid.generation.hybrid_config import HybridConfig

_GENERATE = GenerateConfig()
_PATHS = ("edge_weights", "depth_weights", "roi", "forbid", "snippets", "masks", "taxonomy")  # settings that name files
_DEPTH = DepthDefectConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalOptions:
    """Flags of global generation; `HybridConfig` shares more with `GenerateConfig`, with defaults of its own."""

    globally: Annotated[bool, Parameter(name="--global", negative=())] = False
    """Hybrids of classes instead of defects: one image's appearance on another's structure. --data is one folder of
    class folders. Unless given, --count is 4 for each ordered pair of classes and --min-change 2."""
    pairs: str = ""
    """CSV 'reference,target[,decoder]' of images or classes; by default all ordered pairs of classes."""
    labels: str = ""
    """CSV of the HDR challenge that names the images and their subspecies, for a folder without class folders."""
    classes: tuple[str, ...] = ()
    """Classes to combine; all by default."""
    background: Literal["target", "generated"] = "target"
    """Outside the target's silhouette: its own pixels, or the generator's as in the paper."""
    target_depth: Literal["silhouette", "estimated"] = "silhouette"
    """The target's depth: level inside its silhouette, for flat specimens, or as estimated (the paper)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthOptions:
    """Flags of the depth level; `DepthDefectConfig` shares more with `GenerateConfig`, with defaults of its own."""

    depth_run: str = ""
    """Run of 'train-depth' (AnomalyHybrid*): defects in colour and measured depth together. --data has depth. Unless
    given, --extent is 0.08 0.28 and --min-change 8."""
    depth: Literal["auto", "measured", "measured_disparity"] = "auto"
    """What the depth files hold: distances, or values that are larger nearer; `auto` as --depth-run was trained."""
    depth_folder: str = ""
    """Folder of the depth files, paired by path; by default the data's own depth."""
    unit: str = "unit of the depth files"
    """What the depth files count in, for the rows; nothing is converted."""
    sign: Literal["auto", "dent", "protrusion", "hole", "flat"] = _DEPTH.sign
    """What the defects do to the depth; `auto` draws it, of real defects as their own depth says."""
    height: tuple[float, float] | Literal["auto"] = _DEPTH.height
    """Least and largest height in the unit of the files; `auto` takes a share of the object's relief."""
    auto_share: tuple[float, float] = _DEPTH.auto_share
    """Shares of the object's relief that `--height auto` draws from."""
    flat_share: float = _DEPTH.flat_share
    """Height of a flat defect as a share of the height that was drawn."""
    smooth: float = _DEPTH.smooth
    """Deviation of the Gaussian over the shape as a share of the image's side."""
    reference: Literal["edited", "measured"] = _DEPTH.reference
    """Depth that AnomalyHybrid* is given: with the manipulation, or as measured."""
    least_relief: float = _DEPTH.least_relief
    """Peak of the network's relief, as a share of the depth's range, below which its shape is not used."""


Local = Annotated[GenerateConfig, Parameter(name="*", consume_multiple=True, negative_iterable=())]
Global = Annotated[
    GlobalOptions, Parameter(name="*", group="Global hybrids", consume_multiple=True, negative_iterable=())
]
Deep = Annotated[DepthOptions, Parameter(name="*", group="Depth level", consume_multiple=True, negative_iterable=())]

_NO_GLOBAL = GlobalOptions()
_NO_DEPTH = DepthOptions()


def _shared(kind: type[HybridConfig] | type[DepthDefectConfig]) -> list[str]:
    """Settings that a kind of generation has in common with local generation."""
    own = {field.name for field in fields(kind)}
    return [field.name for field in fields(GenerateConfig) if field.name in own]


def other_defaults() -> dict[str, dict[str, Any]]:
    """Defaults of shared settings that differ from those shown, as in YAML, by the flag that brings them."""
    kinds = {"--global": HybridConfig(), "--depth-run": _DEPTH}
    return {
        flag: {
            name: list(value) if isinstance(value := getattr(kind, name), tuple) else value
            for name in _shared(type(kind))
            if getattr(kind, name) != getattr(_GENERATE, name)
        }
        for flag, kind in kinds.items()
    }


def generate(
    run: str,
    *,
    data: Folders | None = None,
    out: Path,
    base_set: Folders | None = None,
    resume: Flag = False,
    append: Flag = False,
    overwrite: Flag = False,
    skip_unreadable: Flag = False,
    shard: str = "",
    processes: int = 1,
    cache: Path | None = None,
    preview: int = 0,
    config: Path | None = None,
    settings: Local = _GENERATE,
    hybrids: Global = _NO_GLOBAL,
    deep: Deep = _NO_DEPTH,
) -> None:
    """Generate defects with exact masks, and good images, in MVTec AD layout with a manifest.

    With --global: hybrids of classes. With --depth-run: defects in colour and measured depth together.

    Args:
        run: Folder of a training run, a .safetensors file, or 'shipped' for the generator inside the package.
        data: Folders of good images, or folders in MVTec AD layout; with --global one folder of class folders.
        out: Folder of the generated set.
        base_set: Folders of a few real defects with masks whose structure is drawn on.
        resume: Make only the images that are still missing; the result is as if it had never stopped.
        append: Add to the finished set in --out, also with other data, settings or another generator; ids and random
            streams go on, and what is there stays. With --resume, finish such an addition.
        overwrite: Replace the set in --out when the new one is complete; until then the old one is left alone. With
            --resume, go on with what a stopped --overwrite has made.
        skip_unreadable: Leave out images that cannot be read instead of stopping; each is named.
        shard: Make this part of the set alone, like 2/8: the second of eight, which may run on other machines with the
            same --out. The last one to end puts the set together. Under torchrun each process takes its own part.
        processes: Make the set in so many processes of this machine; it is the same as from one.
        cache: Folder for edge and depth maps; by default the user's cache folder.
        preview: Draw so many candidates at the model's size as one sheet preview.png in --out, and no set.
        config: YAML file with any of these settings; flags win over it.
    """
    for group in (settings, hybrids, deep):
        check_finite(group)
    settings = replace(settings, **{name: absolute(getattr(settings, name)) for name in _PATHS})
    mode = _mode(hybrids, deep)
    _check_preview(preview, mode, {"--resume": resume, "--append": append, "--overwrite": overwrite})
    _check_append(append, overwrite, mode)
    given_flags = {"--preview": bool(preview), "--append": append, "--overwrite": overwrite}
    own, at_once = chosen_shard(shard, processes, mode, given_flags, gate=settings.gate == "on")
    shared: dict[str, Any] = {"base_set": expanded(base_set)}
    if mode == "global":
        shared = _for_hybrids(hybrids, settings, base_set)
    elif mode == "depth":
        shared |= _for_depth(deep, settings)
    else:
        shared |= {"config": settings}
    folders, given = given_folders(data), run if run == "shipped" else absolute(run)
    out = check_output(out)
    from anomalyhybrid.cli.progress import Progress

    with Progress("generating" if own is None else f"generating {own}", "images") as progress, ExitStack() as stack:
        shared |= {"resume": resume, "skip_unreadable": skip_unreadable, "cache": expanded_one(cache)}
        shared |= {"announce": progress.announce, "report": progress.show}
        if preview:
            del shared["resume"]
            sheet = _recipe("preview")(given, data=folders, out=out, count=preview, **shared)
            print(f"{preview} candidates in {sheet}; no set was made")
            return
        making = out
        if overwrite:
            from anomalyhybrid.recipes.overwriting import overwriting

            inputs = [*_inputs(run, settings, hybrids, deep), *folders, *shared.get("base_set", ())]
            making = stack.enter_context(overwriting(out, inputs, resume=resume, announce=progress.announce))
        if append:
            shared |= {"append": True}
        if own is not None:
            shared |= {"shard": own}
        summary = _recipe(mode, at_once)(given, data=folders, out=making, **shared)
    if own is not None and not summary:
        print(f"made shard {own} of the set in {out}")
        return
    print(f"generated set in {out}")
    print("\n".join(_lines(summary, "  ")))


def _recipe(mode: str, processes: int = 1) -> Any:
    """The function that does the work, imported when it is needed."""
    if processes > 1:
        from anomalyhybrid.recipes.local_processes import generate_in_processes

        return functools.partial(generate_in_processes, processes)
    if mode == "global":
        from anomalyhybrid.recipes.hybrids import generate_hybrids

        return generate_hybrids
    if mode == "depth":
        from anomalyhybrid.recipes.depth_level import generate_depth_level

        return generate_depth_level
    if mode == "preview":
        from anomalyhybrid.recipes.preview import preview

        return preview
    from anomalyhybrid.recipes.generation import generate

    return generate


def _inputs(run: str, settings: GenerateConfig, hybrids: GlobalOptions, deep: DepthOptions) -> list[str]:
    """Paths in settings that a set is made from; empty where they are not given."""
    given = [getattr(settings, name) for name in _PATHS]
    given += [hybrids.pairs, hybrids.labels, deep.depth_run, deep.depth_folder]
    return [*given, "" if run == "shipped" else run]


def _check_append(append: bool, overwrite: bool, mode: str) -> None:
    """Refuse to add where that cannot be done.

    Raises:
        ConfigError: Both flags at once, or hybrids or depth to be added.
    """
    if append and overwrite:
        raise ConfigError("--append keeps the set in --out and --overwrite replaces it; leave one of them out")
    if append and mode != "local":
        flag = {"global": "--global", "depth": "--depth-run"}[mode]
        raise ConfigError(f"--append has no meaning with {flag}: such sets cannot be added to; give a new --out")


def _check_preview(preview: int, mode: str, others: Mapping[str, bool]) -> None:
    """Refuse a preview where there is none.

    Raises:
        ConfigError: A negative number, a preview of hybrids or of depth, or of a set that is there.
    """
    if preview < 0:
        raise ConfigError(f"--preview is {preview}; give the number of candidates to show, like 16")
    wrong = [flag for flag, given in others.items() if given]
    if preview and (mode != "local" or wrong):
        other = wrong[0] if wrong else {"global": "--global", "depth": "--depth-run"}[mode]
        raise ConfigError(f"--preview has no meaning with {other}; leave one of them out")


def _mode(hybrids: GlobalOptions, deep: DepthOptions) -> Literal["local", "global", "depth"]:
    """Which of the three kinds of generation is asked for.

    Raises:
        ConfigError: Two at once, or flags of a kind that is not asked for.
    """
    if hybrids.globally and deep.depth_run:
        raise ConfigError("--global and --depth-run exclude each other: hybrids have no depth; leave one out")
    for options, plain, asked, flag in (
        (hybrids, _NO_GLOBAL, hybrids.globally, "--global"),
        (deep, _NO_DEPTH, bool(deep.depth_run), "--depth-run"),
    ):
        if not asked and (names := _changed(options, plain)):
            raise ConfigError(f"{_flag(names[0])} has a meaning only with {flag}; add that or leave it out")
    if hybrids.globally:
        return "global"
    return "depth" if deep.depth_run else "local"


def _for_hybrids(options: GlobalOptions, settings: GenerateConfig, base_set: list[Path] | None) -> dict[str, Any]:
    """Arguments of `generate_hybrids`.

    Raises:
        ConfigError: A base set, or settings that only local generation has.
    """
    if base_set:
        raise ConfigError("--base-set has no meaning with --global: hybrids take no defects; leave it out")
    config = HybridConfig.from_settings(
        settings, classes=options.classes, background=options.background, target_depth=options.target_depth
    )
    return {
        "pairs": Path(options.pairs).expanduser() if options.pairs else None,
        "labels": Path(options.labels).expanduser() if options.labels else None,
        "config": replace(config, **{name: getattr(settings, name) for name in _shared(HybridConfig)}),
    }


def _for_depth(options: DepthOptions, settings: GenerateConfig) -> dict[str, Any]:
    """Arguments of `generate_depth_level`.

    Raises:
        ConfigError: A setting that the depth level does not have was changed.
    """
    known, shared = {field.name for field in fields(DepthDefectConfig)}, _shared(DepthDefectConfig)
    if wrong := [name for name in _changed(settings, _GENERATE) if name not in (*shared, "base_split")]:
        raise ConfigError(
            f"generate.{wrong[0]} has no meaning with --depth-run; leave it out ({', '.join(shared)} and base_split "
            "apply)"
        )
    own = {field.name: getattr(options, field.name) for field in fields(options) if field.name in known}
    return {
        "sister_run": absolute(options.depth_run),
        "base_part": settings.base_split,
        "depth": options.depth,
        "depth_folder": Path(options.depth_folder).expanduser() if options.depth_folder else None,
        "unit": options.unit,
        "config": DepthDefectConfig(**own, **{name: getattr(settings, name) for name in shared}),
    }


def _changed(options: Any, plain: Any) -> list[str]:
    return [field.name for field in fields(options) if getattr(options, field.name) != getattr(plain, field.name)]


def _flag(name: str) -> str:
    return "--global" if name == "globally" else f"--{name.replace('_', '-')}"


def _lines(summary: Mapping[str, Any], indent: str) -> list[str]:
    """A summary in lines; groups that hold groups are indented, groups of figures stand in one line."""
    lines = []
    for name, value in summary.items():
        words = name.replace("_", " ") if len(indent) > 2 else name
        if isinstance(value, Mapping) and (len(indent) == 2 or any(isinstance(v, Mapping) for v in value.values())):
            lines += [f"{indent}{words}", *_lines(value, f"{indent}  ")]
        elif isinstance(value, Mapping):
            lines.append(f"{indent}{words}: {', '.join(f'{key} {figure}' for key, figure in value.items())}")
        else:
            lines.append(f"{indent}{words}: {value}")
    return lines
