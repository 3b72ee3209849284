"""Feature networks: what they compute, that batches do not matter, where weights come from, what they are called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

import anomalyhybrid.evaluation.features as features_module
from anomalyhybrid.errors import ConfigError, DataError, WeightsError
from anomalyhybrid.evaluation.features import FeatureName, FeatureNetwork, load_features
from anomalyhybrid.evaluation.lpips import Vgg16Trunk
from anomalyhybrid.models.efficientnet_lite import EfficientNetLite2
from anomalyhybrid.models.inception import INCEPTION_FILE, InceptionV3, resize_tensorflow1

NAMES: tuple[FeatureName, ...] = ("inception", "vgg16", "efficientnet_lite2", "dinov2")
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
SIZES = {"inception": (2048, 1008), "vgg16": (512, None), "efficientnet_lite2": (1280, 1000), "dinov2": (32, None)}


def drawn(module: nn.Module) -> dict[str, torch.Tensor]:
    """A state dict in half precision, whose activations stay about 1."""
    generator, state = torch.Generator().manual_seed(0), {}
    for key, value in module.state_dict().items():
        if value.dim() > 1:
            value = torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
        state[key] = value.half() if value.is_floating_point() else value
    return state


@pytest.fixture(scope="session")
def weight_files(tmp_path_factory: pytest.TempPathFactory) -> dict[FeatureName, Path]:
    """Randomly initialised weights of each network."""
    folder = tmp_path_factory.mktemp("weights")
    modules = {"inception": InceptionV3(), "vgg16": Vgg16Trunk(), "efficientnet_lite2": EfficientNetLite2()}
    for name, module in modules.items():
        save_file(drawn(module), folder / f"{name}.safetensors")
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = transformers.Dinov2Model(transformers.Dinov2Config(**TINY, initializer_range=0.3))
    net.half().save_pretrained(folder / "dinov2")
    return {name: folder / (name if name == "dinov2" else f"{name}.safetensors") for name in NAMES}


@pytest.fixture(scope="session")
def networks(weight_files: dict[FeatureName, Path]) -> dict[FeatureName, FeatureNetwork]:
    return {name: load_features(name, weights=path) for name, path in weight_files.items()}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches; gives the project's."""
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache"


def images(count: int = 5, height: int = 40, width: int = 56) -> torch.Tensor:
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(3)) * 255
    return F.interpolate(coarse, (height, width), mode="bilinear").byte()


@pytest.mark.parametrize("name", NAMES)
def test_batches_do_not_matter(name: FeatureName, networks: dict[FeatureName, FeatureNetwork]) -> None:
    network, batch = networks[name], images(3)
    dimension, classes = SIZES[name]
    whole = network(batch, batch=3)
    assert whole.features.shape == (3, dimension)
    assert whole.features.dtype == torch.float32
    assert float(whole.features.std(dim=0).max()) > 1e-3  # images differ
    assert (whole.logits is None) == (classes is None)
    parts = network(batch, batch=2)
    for one, two in zip(whole, parts, strict=True):
        if one is not None and two is not None:
            assert len(one) == 3
            torch.testing.assert_close(two, one, atol=1e-5 * float(one.abs().max()), rtol=0)
    if whole.logits is not None:
        assert whole.logits.shape == (3, classes)
    torch.testing.assert_close(network.features(batch[[1]]), whole.features[[1]], rtol=1e-4, atol=1e-5)


def test_what_each_network_is_fed(
    networks: dict[FeatureName, FeatureNetwork], weight_files: dict[FeatureName, Path]
) -> None:
    """Each network's own input range and size, written out again."""
    batch = images(1)
    values = batch.float()
    state = {name: load_file(weight_files[name]) for name in NAMES if name != "dinov2"}
    inception = InceptionV3().load_fidelity(state["inception"])
    wanted = inception(resize_tensorflow1(values / 128 - 1, 299))
    torch.testing.assert_close(
        networks["inception"](batch), (wanted.pooled, wanted.logits_unbiased), rtol=1e-4, atol=1e-5
    )

    lite = EfficientNetLite2().load_published(state["efficientnet_lite2"])
    shown = F.interpolate(values, (260, 260), mode="bilinear", antialias=True)
    torch.testing.assert_close(
        networks["efficientnet_lite2"](batch), tuple(lite((shown - 127) / 128)), rtol=1e-4, atol=1e-5
    )

    def normal(image: torch.Tensor) -> torch.Tensor:
        return (image / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
            [0.229, 0.224, 0.225]
        ).view(3, 1, 1)

    vgg = Vgg16Trunk().load_torchvision(state["vgg16"])
    relu5_3 = vgg(normal(F.interpolate(values, (224, 224), mode="bilinear", antialias=True)))[4]
    assert relu5_3.shape[1:] == (512, 14, 14)
    torch.testing.assert_close(networks["vgg16"].features(batch), relu5_3.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)

    transformers = pytest.importorskip("transformers")
    dino = transformers.Dinov2Model.from_pretrained(weight_files["dinov2"], dtype=torch.float32).eval()
    pixels = normal(F.interpolate(values, (224, 224), mode="bicubic", antialias=True).clamp(0, 255))
    with torch.no_grad():
        tokens = dino(pixel_values=pixels).last_hidden_state
    assert tokens.shape == (1, 1 + 16 * 16, 16)
    wanted_dino = torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)
    torch.testing.assert_close(networks["dinov2"].features(batch), wanted_dino, rtol=1e-4, atol=1e-5)


def test_names_of_stand_ins(
    networks: dict[FeatureName, FeatureNetwork], weight_files: dict[FeatureName, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, words in (
        ("vgg16", "VGG16 (mean of relu5_3) in place of Inception v3"),
        ("efficientnet_lite2", "EfficientNet-Lite2 in place of Inception v3"),
        ("inception", "other weights in place of torch-fidelity's"),  # random ones are not the real network
        ("dinov2", "DINOv2 of width 16, 2 layers, patch 14 in place of DINOv2-base"),
    ):
        assert words in networks[name].stand_in  # type: ignore[index]
        path = weight_files[name]  # type: ignore[index]
        file = path / "model.safetensors" if path.is_dir() else path
        assert networks[name].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()  # type: ignore[index]
    monkeypatch.setattr(features_module, "INCEPTION_SHA256", networks["inception"].sha256)
    assert load_features("inception", weights=weight_files["inception"]).stand_in == ""
    monkeypatch.setattr(features_module, "DINOV2_BASE", (16, 2, 14))
    assert load_features("dinov2", weights=weight_files["dinov2"]).stand_in == ""


@pytest.mark.parametrize("name", NAMES)
def test_the_cache_is_looked_into(name: FeatureName, weight_files: dict[FeatureName, Path], nowhere: Path) -> None:
    """Each in its place of the cache; the torch.hub folder serves too; an explicit path goes before."""
    if name == "dinov2":
        place = nowhere / "dinov2-base"
        place.parent.mkdir()
        place.symlink_to(weight_files[name], target_is_directory=True)
        assert load_features(name).name == name
        return
    files = {
        "vgg16": "vgg16_features.fp16.safetensors",
        "efficientnet_lite2": "efficientnet_lite2.fp16.safetensors",
        "inception": INCEPTION_FILE,
    }
    for folder in (nowhere.parent / "torch" / "hub" / "checkpoints", nowhere):
        folder.mkdir(parents=True)
        place = folder / files[name]
        if name == "inception":
            place.write_bytes(b"nonsense")
            with pytest.raises(WeightsError, match=f"{place}.*not the expected file"):
                load_features(name)
        else:
            place.symlink_to(weight_files[name])
            assert load_features(name).name == name
    broken = nowhere / "broken.safetensors"
    broken.write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_features(name, weights=broken)


@pytest.mark.parametrize("name", NAMES)
def test_all_places_are_named(name: FeatureName, nowhere: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not found") as caught:
        load_features(name)
    message = str(caught.value)
    assert "explicit path: none given" in message
    assert f"cache: {nowhere}" in message
    assert "hub: not allowed (allow_hub)" in message or "hub: none is known for it" in message
    assert "put" in message
    with pytest.raises(WeightsError, match=str(tmp_path / "none")):
        load_features(name, weights=tmp_path / "none")


def test_hub_only_when_allowed(
    weight_files: dict[FeatureName, Path], nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched unasked; what is fetched lands in the cache; a failure names the hub as a place."""
    fetched: list[str] = []

    def fetch(url: str, place: str, *, hash_prefix: str, progress: bool) -> None:
        fetched.append(url)
        assert len(hash_prefix) == 64
        torch.save(load_file(weight_files["inception"]), place)
        monkeypatch.setattr(features_module, "INCEPTION_SHA256", hashlib.sha256(Path(place).read_bytes()).hexdigest())
        if len(fetched) == 1:
            Path(place).unlink()
            raise OSError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(WeightsError, match="not allowed"):
        load_features("inception")
    assert not fetched
    with pytest.raises(WeightsError, match=r"hub: .*no route"):
        load_features("inception", allow_hub=True)
    path = features_module._find("Inception v3", (INCEPTION_FILE,), None, url="u", sha256="0" * 64, hub=True)
    assert path == nowhere / INCEPTION_FILE
    assert load_features("inception").stand_in == ""  # from the cache now, without the hub


def test_dinov2_from_the_hub(
    weight_files: dict[FeatureName, Path], nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked: list[bool] = []

    def snapshot(repo: str, *, local_files_only: bool, allow_patterns: list[str]) -> str:
        asked.append(local_files_only)
        if local_files_only:
            raise FileNotFoundError("not here")
        return str(weight_files["dinov2"])

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    with pytest.raises(WeightsError, match=r"local copy of hub: facebook/dinov2-base[\s\S]*not allowed"):
        load_features("dinov2")
    assert asked == [True]
    assert load_features("dinov2", allow_hub=True).name == "dinov2"
    assert asked == [True, True, False]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: _edit(folder, model_type="vit"), "holds a 'vit' model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"nonsense"), "usable DINOv2"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no DINOv2 at"),
        (lambda folder: _drop(folder, "encoder.layer.1.norm1.weight"), "lacks 1 weights of DINOv2"),
    ],
    ids=["other model", "broken", "absent", "incomplete"],
)
def test_unfit_dinov2(
    change: Callable[[Path], object], words: str, weight_files: dict[FeatureName, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in weight_files["dinov2"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    change(folder)
    with pytest.raises(WeightsError, match=words):
        load_features("dinov2", weights=folder)


def _edit(folder: Path, **values: str) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | values), encoding="utf-8")


def _drop(folder: Path, key: str) -> None:
    state = load_file(folder / "model.safetensors")
    del state[key]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def test_bad_input(
    networks: dict[FeatureName, FeatureNetwork], weight_files: dict[FeatureName, Path], tmp_path: Path
) -> None:
    network, batch = networks["vgg16"], images(1)
    for given in (batch.float(), batch[0], batch[:, :1], batch[:0]):
        with pytest.raises(DataError, match="uint8"):
            network(given)
    with pytest.raises(ConfigError, match="batch is 0"):
        network(batch, batch=0)
    with pytest.raises(ConfigError, match=r"'resnet'.*inception, vgg16"):
        load_features("resnet")  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="do not fit EfficientNet-Lite2"):
        load_features("efficientnet_lite2", weights=weight_files["inception"])
    for name in ("vgg16", "efficientnet_lite2"):
        torch.save({}, tmp_path / "net.pth")
        with pytest.raises(WeightsError, match=r"not the expected file|no other kind is opened"):
            load_features(name, weights=tmp_path / "net.pth")  # type: ignore[arg-type]


def test_torch_is_left_as_it_was(
    networks: dict[FeatureName, FeatureNetwork], weight_files: dict[FeatureName, Path]
) -> None:
    torch.set_float32_matmul_precision("high")
    try:
        state = torch.get_rng_state()
        load_features("dinov2", weights=weight_files["dinov2"]).features(images(1))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            under_autocast = networks["efficientnet_lite2"].features(images(1))
        load_features("efficientnet_lite2", weights=weight_files["efficientnet_lite2"])
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, networks["efficientnet_lite2"].features(images(1)))
    assert not under_autocast.requires_grad


def test_real_weights(shared_dir: Path) -> None:
    """The stand-ins at hand: nearer to another bottle than to a tyre."""
    import cv2

    weights = {"vgg16": "vgg16_features.fp16.safetensors", "efficientnet_lite2": "efficientnet_lite2.fp16.safetensors"}
    sets = [
        sorted((shared_dir / "data" / name / "test" / "good").glob("*"))[:2]
        for name in ("mvtec_ad_bottle", "mvtec_3d_tire")
    ]
    if not all(sets) or not all((shared_dir / "weights" / file).is_file() for file in weights.values()):
        pytest.skip("weights or images are absent")
    pixels = [cv2.resize(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), (256, 256)) for group in sets for path in group]
    batch = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in pixels])
    for name, file in weights.items():
        network = load_features(name, weights=shared_dir / "weights" / file)  # type: ignore[arg-type]
        distance = torch.cdist(*[network.features(batch, batch=3)] * 2)
        assert max(distance[0, 1], distance[2, 3]) < 0.5 * distance[:2, 2:].min()
