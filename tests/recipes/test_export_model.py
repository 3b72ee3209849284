"""Exported graphs: what their description says holds, and they give what PyTorch gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyhybrid.backends.choice import missing_packages
from anomalyhybrid.cli.main import main
from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.errors import DataError
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator, load_generator, save_generator
from anomalyhybrid.recipes.export_model import DESCRIPTION, export_model

SIZE = 64
BOUND = 1e-3


def runtimes() -> list:
    return [
        pytest.param(name, marks=pytest.mark.skipif(bool(missing_packages(name)), reason=f"extra {name} is missing"))
        for name in ("openvino", "onnx")
    ]


def write_run(folder: Path, depth_name: str | None = None, **config: object) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Generator(GeneratorConfig(**({"width": 8, "max_width": 16, "blocks": 1} | config)))  # type: ignore[arg-type]
    about = {
        "edge": "lite",
        "depth": "lite",
        "edge_name": lite_edge().name,
        "depth_name": depth_name or lite_depth().name,
        "size": str(SIZE),
        "licence": "Apache-2.0",
    }
    folder.mkdir(parents=True)
    save_generator(folder / "generator.safetensors", model, about)
    return folder


def outputs_of(folder: Path, format: str, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Run one exported graph as a user would, by the names in its description."""
    entry = json.loads((folder / DESCRIPTION).read_text())["graphs"][name]
    (key,) = entry["input"]
    if format == "onnx":
        import onnxruntime  # pyright: ignore[reportMissingImports]

        session = onnxruntime.InferenceSession(folder / entry["file"], providers=["CPUExecutionProvider"])
        return dict(zip(entry["outputs"], session.run(list(entry["outputs"]), {key: values}), strict=True))
    import openvino  # pyright: ignore[reportMissingImports]

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(folder / entry["file"], "CPU", settings)
    found = compiled({key: values})
    return {output: found[output] for output in entry["outputs"]}


@pytest.fixture(scope="module", params=runtimes())
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Format, run and folder of the export."""
    root = tmp_path_factory.mktemp(request.param)
    run = write_run(root / "run")
    assert main(["export-model", str(run), "--format", request.param, "--out", str(root / "out")]) == 0
    return request.param, run, root / "out"


@pytest.mark.parametrize("batch", [1, 3])
def test_the_graphs_give_what_pytorch_gives(exported, batch: int) -> None:
    format, run, out = exported
    generator, _ = load_generator(run / "generator.safetensors")
    stacked = torch.rand(batch, 5, SIZE, SIZE, generator=torch.Generator().manual_seed(batch)) * 2 - 1
    with torch.inference_mode():
        expected = generator(stacked)
    for name, output in expected.items():
        given = outputs_of(out, format, f"generator_{name}", stacked.numpy())
        for field, values in output._asdict().items():
            assert np.abs(given[field] - values.numpy()).max() <= BOUND, (name, field)
        fused = stacked[:, :3].numpy() * (1 - given["fusion_mask"]) + given["source"] * given["fusion_mask"]
        assert np.abs(fused - given["fused"]).max() < 1e-5  # Eq. 1, as the description says
    image = stacked[:, :3]
    for name, extractor in (("edge", lite_edge()), ("depth", lite_depth())):
        assert np.abs(outputs_of(out, format, name, image.numpy())[name] - extractor(image).numpy()).max() <= BOUND


def test_the_description_and_the_files(exported) -> None:
    format, _, out = exported
    about = json.loads((out / DESCRIPTION).read_text())
    assert (about["size"], about["licence"], about["gives"]) == (SIZE, "Apache-2.0", "color")
    assert list(about["graphs"]) == ["generator_ahd", "generator_ahe", "edge", "depth"]
    files = {entry["file"] for entry in about["graphs"].values()}
    if format == "openvino":
        files |= {name.replace(".xml", ".bin") for name in files}
    assert {path.name for path in out.iterdir()} == files | {DESCRIPTION}
    if format == "onnx":
        import onnx  # pyright: ignore[reportMissingImports]

        entries = {one.key: one.value for one in onnx.load(out / "depth.onnx").metadata_props}
    else:
        import openvino  # pyright: ignore[reportMissingImports]

        entries = {
            "anomalyhybrid": openvino.Core().read_model(out / "depth.xml").get_rt_info("anomalyhybrid").astype(str)
        }
    assert json.loads(entries["anomalyhybrid"])["graph"] == about["graphs"]["depth"]
    assert not list(out.parent.glob(".tmp-*"))


def test_only_an_earlier_export_is_replaced(exported, tmp_path: Path) -> None:
    format, run, out = exported
    with pytest.raises(DataError, match="already holds files"):
        export_model(str(run), out, format=format, announce=print)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(DataError, match=f"no {DESCRIPTION}"):
        export_model(str(run), tmp_path, format=format, overwrite=True, announce=print)
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_a_sister_gives_maps_and_foreign_extractors_are_named_as_left_out(exported, tmp_path: Path) -> None:
    format, _, _ = exported
    run = write_run(tmp_path / "run", depth_name="lite-depth-000000000000", gives="maps", decoders=("ahe",))
    told: list[str] = []
    names = export_model(str(run), tmp_path / "out", format=format, announce=told.append)
    assert names == ["generator_ahe", "edge"]
    assert told == ["the depth extractor is not exported: the generator was trained with other weights of it"]
    stacked = np.zeros((2, 5, SIZE, SIZE), np.float32)
    given = outputs_of(tmp_path / "out", format, "generator_ahe", stacked)
    assert given["source"].shape == (2, 1, SIZE, SIZE)
    assert "stacked[:, 4:5]" in (tmp_path / "out" / DESCRIPTION).read_text()


def test_a_missing_runtime_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("anomalyhybrid.backends.choice.find_spec", lambda name: None)
    run = write_run(tmp_path / "run")
    assert main(["export-model", str(run), "--format", "onnx", "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'anomalyhybrid[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
