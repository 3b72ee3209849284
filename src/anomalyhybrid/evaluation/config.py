"""Configuration of an evaluation; free of torch."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from anomalyhybrid.choices import check_choices
from anomalyhybrid.errors import ConfigError

FEW_SHOT = ("ours", "ours+", "base_third", "crop_paste")
"""Methods that use the base set: generated, the same with generated good images (AnoHybrid+), the real base third
alone, and CropPaste."""
ZERO_SHOT = ("ours_zero", "ours_zero+", "cut_paste", "perlin", "nsa")
"""Methods that use good images only."""
METHODS = (*FEW_SHOT, *ZERO_SHOT)
DEPTH_METHODS = ("ours", "base_third", "crop_paste", "perlin_values", "perlin_smooth")
"""Methods that make colour and depth together: Table 4, and Table 3's depth level."""
GENERATING = ("ours", "ours+", "ours_zero", "ours_zero+")
"""Methods whose images a generator makes."""
PLUS = ("ours+", "ours_zero+")
"""Those of them that add generated good images to a detector's training (AnoHybrid+)."""
LABELS = MappingProxyType(
    {
        "ours": "ours (few-shot)",
        "ours+": "ours + generated good images (few-shot)",
        "base_third": "real base third",
        "crop_paste": "CropPaste",
        "ours_zero": "ours (zero-shot)",
        "ours_zero+": "ours + generated good images (zero-shot)",
        "cut_paste": "CutPaste",
        "perlin": "Perlin + texture",
        "nsa": "NSA",
        "perlin_values": "Perlin depth (EasyNet)",
        "perlin_smooth": "smooth Perlin depth (3DSR)",
    }
)
"""Methods as tables name them (`Row.method`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """One evaluation: which table, on what, with which budget."""

    table: Literal[1, 2, 3, 4, 5, 6, 7] = 2
    """Table of the paper."""
    mode: Literal["fixed", "as_published"] = "fixed"
    """`fixed` chooses nothing on the test part; `as_published` repeats the compared papers, quirks included."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of split, generation and training; each is a row."""
    methods: tuple[str, ...] = ()
    """Methods (rows) to evaluate; empty for all that apply."""
    categories: tuple[str, ...] = ()
    """Categories to evaluate; empty for all of the data."""
    datasets: tuple[str, ...] = ()
    """Public data set of a category, so that published figures stand beside: `CATEGORY=MVTec AD`, or
    `FOLDER=MVTec AD/bottle` where the folder has another name than the category."""
    size: int = 256
    """Side of all images in pixels."""
    native: bool = False
    """Generate at the images' own size and squeeze afterwards; otherwise squeeze first, as the baselines do."""
    count: int = 1000
    """Defect images that a method makes for each category."""
    normals: int = 100
    """Generated good images: so many train AnoHybrid+, so many others of each kind test for false alarms; 0 for
    neither."""
    normals_as: Literal["full", "patch", "both"] = "both"
    """Those that train AnoHybrid+: redrawn whole (the paper), in patches that are no defects, or both in turn."""
    base_split: Literal["sorted", "random"] = "sorted"
    """Base set: the first third of each defect type, or a seeded random one (the paper)."""
    with_base: bool = False
    """Add the real base third to the training images of every method that draws on it."""
    base_share: float = 0.0
    """With `with_base`: share of real base images among the defective images that are trained on, by repeating them;
    0 takes each once."""
    validation_share: float = 0.0
    """Part of each type's base images kept for the choice of the checkpoint in mode `fixed`; 0 keeps the last one."""
    eroded_truth: Literal["auto", "yes", "no"] = "auto"
    """Quirk: test masks resized bilinearly and truncated, which erodes them; `auto` in mode `as_published` only."""
    types: Literal["equal", "base"] = "equal"
    """How often each defect type of the base set is drawn: equally often, or as often as the base set has it."""
    epochs: int = 200
    """Epochs of the detector."""
    samples_per_epoch: int = 500
    """Images that the detector sees in an epoch."""
    width: int = 64
    """Base width of the detector; 64 is DRAEM's."""
    batch_size: int = 8
    """Images a step of detector and classifier."""
    classifier_epochs: int = 30
    """Epochs of the classifier."""
    classifier_width: int = 64
    """Channels of the classifier's first stage; 64 is ResNet-34."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of detector and classifier: `auto` is bf16 on a GPU."""
    compile: bool = False
    """Compile the training steps; costs about a minute for each training."""
    graph: bool = False
    """Replay the training steps as a CUDA graph."""
    features: Literal["auto", "inception", "efficientnet_lite2", "vgg16"] = "auto"
    """Network of IS, FID and KID; `auto` takes Inception where its weights are, else a named stand-in."""
    lpips: tuple[Literal["alex", "vgg"], ...] = ("alex",)
    """Networks of cluster LPIPS."""
    centres: Literal["test", "base"] = "test"
    """Centres of cluster LPIPS: sampled test images of the category (the paper), or the type's base images."""
    centre_count: int = 100
    """Test images that are sampled as centres."""
    cap: int = 200
    """Most images of a cluster that are paired; 0 for no limit."""
    singletons: Literal["zero", "drop"] = "zero"
    """Whether clusters of at most one image count as 0 or not at all."""
    centres_as_bytes: bool = False
    """Quirk of DFMGAN's and SeaS's code: real images enter LPIPS as 0..255 instead of [-1, 1]."""
    inception_weights: str = ""
    """Weight file; empty looks in the usual places, as for the others below."""
    efficientnet_lite2_weights: str = ""
    """Weight file of EfficientNet-Lite2, the stand-in for Inception."""
    vgg16_weights: str = ""
    """Weight file of VGG16 (LPIPS `vgg`, stand-in features)."""
    alexnet_weights: str = ""
    """Weight file of AlexNet (LPIPS `alex`)."""
    lpips_alex_heads: str = ""
    """File of the linear heads of LPIPS `alex`."""
    lpips_vgg_heads: str = ""
    """File of the linear heads of LPIPS `vgg`."""
    resnet34_weights: str = ""
    """ImageNet weights that the classifier starts from; without them it starts at random, and the result says so."""
    dinov2_weights: str = ""
    """Folder of DINOv2-base, for Table 6."""
    edge_weights: str = ""
    """Weight file of the edge extractor that the generator was trained with, where it is not shipped."""
    depth_weights: str = ""
    """Weight file or folder of the depth extractor that the generator was trained with, where it is not shipped."""
    textures: str = ""
    """Folder of texture images for the Perlin baseline; empty draws procedural ones."""
    decoders: tuple[Literal["ahd", "ahe"], ...] = ("ahd", "ahe")
    """Decoder groups that make our images, in equal shares."""
    operations: tuple[Literal["merge", "remove", "replace", "tps"], ...] = ("merge", "remove", "replace", "tps")
    """Operations that make our images, in equal shares; Table 7 sets them itself."""
    mixture: float = 0.25
    """How often TPS follows another operation."""
    remove_real: bool = False
    """Whether real references draw `remove` as often as the other operations; Table 7 does, as the paper."""
    appearance: Literal["auto", "target", "reference", "blend"] = "auto"
    """Where our images take their appearance from."""
    procedural: float = 0.0
    """Share of procedural structure in our few-shot images."""
    foreign: float = 0.33
    """Share of patches of other good images in our zero-shot ones."""
    bend: float = 0.0
    """Share of our real references bent by a local thin-plate spline."""
    levelling: tuple[float, float] = (1.0, 1.0)
    """Part of a reference's difference in level that our images take off, drawn from this range."""
    gate: Literal["off", "on"] = "off"
    """Whether our images pass the quality gate (docs/adr/014)."""
    generate_batch: int = 16
    """Images generated together."""
    depth_run: str = ""
    """AnomalyHybrid* of Tables 3 and 4: a run folder or a generator file; without it our depth is left out."""
    nearer_is_larger: bool = False
    """Measured depth grows toward the camera (disparities, heights); otherwise it holds distances."""
    train_csv: str = ""
    """Table 6: training CSV of the HDR butterflies; without both CSV files a stand-in leaves classes out."""
    test_csv: str = ""
    """Table 6: reference CSV of the HDR butterflies, of other images than the training CSV."""
    signal: tuple[str, ...] = ()
    """Stand-in for Table 6: classes that play the signal hybrid; empty for the next to last quarter of the classes."""
    unseen: tuple[str, ...] = ()
    """Stand-in for Table 6: classes that play hybrids never seen; empty for the last quarter of the classes."""
    pairs: int = 4
    """Table 6: hybrids for each ordered pair of classes and decoder."""
    head_epochs: int = 40
    """Table 6: passes of the MLP head over the training features."""
    hybrid_features: Literal["auto", "dinov2", "efficientnet_lite2", "vgg16", "inception"] = "auto"
    """Features of Table 6; `auto` takes DINOv2 where its weights are, else a named stand-in."""

    def __post_init__(self) -> None:
        if self.table not in get_args(Literal[1, 2, 3, 4, 5, 6, 7]):
            raise ConfigError(f"evaluate.table is {self.table}; it must be one of 1 to 7")
        check_choices(self, "evaluate", _CHOICES)
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(f"evaluate.{name} is {getattr(self, name)}; it must be at least {least}")
        if self.cap == 1:
            raise ConfigError("evaluate.cap is 1; it must be at least 2, or 0 for no limit")
        if self.size % 32:
            raise ConfigError(f"evaluate.size is {self.size}; the detector needs a multiple of 32")
        if not 0 <= self.mixture <= 1:
            raise ConfigError(f"evaluate.mixture is {self.mixture}; it must lie in [0, 1]")
        if self.centres_as_bytes and self.mode == "fixed":
            raise ConfigError("evaluate.centres_as_bytes repeats a quirk; use it with mode as_published")
        plus = next((method for method in self.methods if method in PLUS), None)
        if plus and self.table != 2:
            raise ConfigError(f"method {plus!r} adds good images to a detector's training; it is for table 2")
        self._check_table()
        if not 0 <= self.base_share < 1:
            raise ConfigError(f"evaluate.base_share is {self.base_share}; it must lie in [0, 1)")
        if self.base_share and (not self.with_base or self.table not in (1, 2, 5, 7)):
            raise ConfigError("evaluate.base_share is for with_base in tables 1, 2, 5 and 7; set it or leave this out")
        if not 0 <= self.validation_share < 1:
            raise ConfigError(f"evaluate.validation_share is {self.validation_share}; it must lie in [0, 1)")
        if self.mode == "as_published" and self.validation_share:
            raise ConfigError("evaluate.validation_share is for mode fixed; as_published chooses on the test set")
        for name in ("seeds", "methods", "categories", "lpips", "decoders", "operations", "signal", "unseen"):
            _check_unique(name, getattr(self, name))
        for name in ("seeds", "lpips", "decoders", "operations"):
            if not getattr(self, name):
                raise ConfigError(f"evaluate.{name} is empty; give at least one")
        known = {3: tuple(dict.fromkeys((*METHODS, *DEPTH_METHODS))), 4: DEPTH_METHODS}.get(self.table, METHODS)
        for method in self.methods:
            if method not in known:
                raise ConfigError(f"evaluate.methods has {method!r}{nearest(method, known)}")
        if plus and self.normals == 0:
            raise ConfigError(f"method {plus!r} trains on generated good images, but evaluate.normals is 0; raise it")
        self.dataset_names()

    def _check_table(self) -> None:
        """Settings that a table has no use for, or needs together."""
        if self.table == 4 and (self.mode != "fixed" or self.validation_share):
            raise ConfigError(
                "table 4 keeps the last checkpoint of both detectors: use mode fixed and evaluate.validation_share 0"
            )
        if self.table == 4 and "ours" in self.methods and not self.depth_run:
            raise ConfigError("method 'ours' of table 4 needs evaluate.depth_run, the AnomalyHybrid* that makes depth")
        if self.table == 6 and (self.methods or self.categories or self.mode != "fixed"):
            raise ConfigError("table 6 has lines and classes of its own; leave methods, categories and mode out")
        if bool(self.train_csv) != bool(self.test_csv):
            raise ConfigError("table 6 needs both evaluate.train_csv and evaluate.test_csv, or neither (a stand-in)")
        if self.train_csv and (self.signal or self.unseen):
            raise ConfigError("evaluate.signal and evaluate.unseen are for the stand-in; CSV files name the hybrids")

    @staticmethod
    def paths() -> tuple[str, ...]:
        """Names of the settings that are paths, where not empty."""
        names = ("inception", "efficientnet_lite2", "vgg16", "alexnet", "resnet34", "dinov2", "edge", "depth")
        others = ("lpips_alex_heads", "lpips_vgg_heads", "textures", "depth_run", "train_csv", "test_csv")
        return (*(f"{name}_weights" for name in names), *others)

    def dataset_names(self) -> dict[str, tuple[str, str]]:
        """The entries of `datasets`.

        Returns:
            Data set and the category's name in it, by the category's own name.

        Raises:
            ConfigError: An entry that is not ``CATEGORY=DATA SET`` or ``CATEGORY=DATA SET/NAME``.
        """
        found: dict[str, tuple[str, str]] = {}
        for entry in self.datasets:
            category, _, rest = entry.partition("=")
            dataset, _, name = rest.partition("/")
            if not category.strip() or not dataset.strip():
                raise ConfigError(f"evaluate.datasets has {entry!r}; give CATEGORY=DATA SET, as in 'bottle=MVTec AD'")
            found[category.strip()] = dataset.strip(), name.strip() or category.strip()
        return found


_CHOICES = (
    "mode",
    "base_split",
    "types",
    "gate",
    "eroded_truth",
    "precision",
    "features",
    "centres",
    "singletons",
    "normals_as",
    "appearance",
    "hybrid_features",
)
_LEAST = {
    "size": 32,
    "count": 1,
    "normals": 0,
    "epochs": 1,
    "samples_per_epoch": 1,
    "width": 1,
    "batch_size": 1,
    "classifier_epochs": 1,
    "classifier_width": 1,
    "centre_count": 1,
    "cap": 0,
    "generate_batch": 1,
    "pairs": 1,
    "head_epochs": 1,
}


def nearest(given: str, known: tuple[str, ...]) -> str:
    """Word what was probably meant, and all that is known; to be put behind the wrong name."""
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.4)
    return f"{f'; did you mean {near[0]!r}?' if near else ';'} known are {', '.join(known)}"


def _check_unique(name: str, values: tuple) -> None:
    if len(set(values)) != len(values):
        raise ConfigError(f"evaluate.{name} is {list(values)}; give each once")
