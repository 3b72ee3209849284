"""`anomalyhybrid export-model`: a generator and its extractors as graphs for other runtimes, with a description."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from anomalyhybrid import __version__
from anomalyhybrid.backends.choice import check_installed
from anomalyhybrid.backends.graphs import Graph, decoder_graph
from anomalyhybrid.conditions.base import stretched
from anomalyhybrid.conditions.lite import LiteDepth, LiteEdge
from anomalyhybrid.data.files import write_bytes_atomic, write_text_atomic
from anomalyhybrid.data.new_folder import new_folder
from anomalyhybrid.errors import DataError
from anomalyhybrid.recipes.job import Model, load_model
from anomalyhybrid.recipes.sources import Announce, make_extractors

ModelFormat = Literal["onnx", "openvino"]
DESCRIPTION = "model.json"
"""File beside the graphs that says what they take and give; a folder without it is never replaced."""

_COLOR = "float32 (B, 3, S, S), RGB in this order, -1..1: value / 127.5 - 1"
_STACKED = [
    "channels 0 to 2: C_r, the appearance, RGB in this order, -1..1 (value / 127.5 - 1)",
    "channel 3: C_d, depth, -1..1, 1 nearest to the camera (2 * map - 1)",
    "channel 4: C_e, edges, -1..1, 1 an edge (2 * map - 1)",
]


class _MapGraph(nn.Module):
    """A student with what follows it: images, float (B, 3, S, S) in [-1, 1], to a map in [0, 1]."""

    def __init__(self, net: nn.Module, stretch: bool) -> None:
        super().__init__()
        self.net, self.stretch = net, stretch

    def forward(self, image: Tensor) -> Tensor:
        probability = self.net(image).sigmoid()
        return stretched(probability) if self.stretch else probability


def export_model(run: str, out: Path, *, format: ModelFormat, overwrite: bool = False, announce: Announce) -> list[str]:
    """Write a generator's decoder groups, and its extractors where these are the shipped kind, as graphs.

    Every graph leaves the batch open and fixes the image's side to that of training. `out` appears when all is
    written.

    Args:
        run: ``shipped``, a run folder, or a generator file; also of `train-depth`.
        out: Folder for the graphs and `DESCRIPTION`.
        format: ``onnx`` (one .onnx for each graph), or ``openvino`` (one .xml and .bin).
        overwrite: Replace an earlier export in `out`.
        announce: Told what is not exported.

    Returns:
        Names of the graphs.

    Raises:
        ConfigError: The format's package is not installed.
        DataError: `out` holds something else, or cannot be written.
        WeightsError: There is no such generator.
    """
    check_installed(format)
    _check_free(out, overwrite)
    model = load_model(run)
    size = int(model.metadata["size"])
    described = _generator_graphs(model) | _extractor_graphs(model, announce)
    save = {"onnx": _save_onnx, "openvino": _save_openvino}[format]
    suffix = {"onnx": ".onnx", "openvino": ".xml"}[format]
    described = {name: (graph, {"file": name + suffix} | entry) for name, (graph, entry) in described.items()}
    about = _about(model, size, {name: entry for name, (_, entry) in described.items()})
    with new_folder(out) as making:
        for name, (graph, entry) in described.items():
            channels = 5 if graph.input == "stacked" else 3
            own = {key: value for key, value in about.items() if key != "graphs"} | {"graph": entry}
            save(graph, torch.zeros(2, channels, size, size), making / name, {"anomalyhybrid": json.dumps(own)})
        write_text_atomic(making / DESCRIPTION, json.dumps(about, indent=2) + "\n")
    return list(described)


def _check_free(out: Path, overwrite: bool) -> None:
    """Refuse a folder that must not be written.

    Raises:
        DataError: It is a file, or holds anything; with `overwrite`, anything but an exported model.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"output {out} is a file; give a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    if not overwrite:
        raise DataError(f"{out} already holds files; replace an earlier export with --overwrite or give another --out")
    if not (out / DESCRIPTION).is_file():
        raise DataError(f"{out} holds files but no {DESCRIPTION}, so no export-model made it; give another --out")


def _generator_graphs(model: Model) -> dict[str, tuple[Graph, dict[str, Any]]]:
    config = model.generator.config
    described = {}
    for name in config.decoders:
        channels = config.content_channels(name)
        count = channels.stop - channels.start
        entry = {
            "input": {"stacked": {"shape": ["B", 5, "S", "S"], "type": "float32", "channels": _STACKED}},
            "outputs": {
                "source": f"A_gen, float32 (B, {count}, S, S), -1..1",
                "fusion_mask": "M_gen, float32 (B, 1, S, S), 0..1",
                "fused": f"A_out, float32 (B, {count}, S, S), -1..1",
            },
            "equation_1": "fused = content * (1 - fusion_mask) + source * fusion_mask, content = "
            f"stacked[:, {channels.start}:{channels.stop}]",
            "post_processing": "8 bit: round((value + 1) * 127.5), cut to 0..255",
        }
        described[f"generator_{name}"] = (decoder_graph(model.generator, name), entry)
    return described


def _extractor_graphs(model: Model, announce: Announce) -> dict[str, tuple[Graph, dict[str, Any]]]:
    """The students that the generator was trained with."""
    metadata, described = model.metadata, {}
    for kind, words, stretch in (
        ("edge", "float32 (B, 1, S, S), 0..1, 1 an edge", False),
        ("depth", "float32 (B, 1, S, S), 0..1 in each image, 1 nearest to the camera", True),
    ):
        if metadata.get(kind) != "lite":
            announce(f"the {kind} extractor {metadata.get(kind)!r} is not exported: only the shipped ones are")
            continue
        edge, depth = make_extractors("lite", "lite", "", "", torch.device("cpu"))
        extractor = edge if kind == "edge" else depth
        assert isinstance(extractor, (LiteEdge, LiteDepth))
        if extractor.name != metadata[f"{kind}_name"]:
            announce(f"the {kind} extractor is not exported: the generator was trained with other weights of it")
            continue
        entry = {
            "input": {"image": {"shape": ["B", 3, "S", "S"], "type": "float32", "channels": _COLOR}},
            "outputs": {kind: words},
            "post_processing": "the generator was trained with maps of 8 bit: m = round(map * 255), channel = "
            "m / 127.5 - 1",
            "name": extractor.name,
        }
        described[kind] = (Graph(_MapGraph(extractor.net, stretch), "image", (kind,)), entry)
    return described


def _about(model: Model, size: int, graphs: dict[str, Any]) -> dict[str, Any]:
    """What `DESCRIPTION` says."""
    return {
        "format": 1,
        "made_by": f"anomalyhybrid {__version__} export-model",
        "model_sha256": model.sha256,
        "licence": model.metadata.get("licence", "that of the training data's owner"),
        "gives": model.generator.config.gives,
        "generator": json.loads(json.dumps(asdict(model.generator.config))),
        "size": size,
        "resize": f"images and maps are squeezed to S = {size} with antialiasing",
        "precision": "float32",
        "graphs": graphs,
    }


def _save_onnx(graph: Graph, example: Tensor, path: Path, entries: dict[str, str]) -> None:
    from anomalyhybrid.backends.onnx_graphs import to_onnx

    proto = to_onnx(graph, example)
    for key, value in entries.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    write_bytes_atomic(path.with_name(f"{path.name}.onnx"), proto.SerializeToString())


def _save_openvino(graph: Graph, example: Tensor, path: Path, entries: dict[str, str]) -> None:
    import openvino  # pyright: ignore[reportMissingImports]

    from anomalyhybrid.backends.openvino_graphs import to_openvino

    converted = to_openvino(graph, example)
    for key, value in entries.items():
        converted.set_rt_info(value, [key])
    openvino.save_model(converted, path.with_name(f"{path.name}.xml"), compress_to_fp16=False)
