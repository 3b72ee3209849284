"""Configuration of a generated data set; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from anomalyhybrid.choices import WindowSetting
from anomalyhybrid.errors import ConfigError

KINDS = ("scratch", "dent", "bump", "crack", "hole", "contamination")
"""Of procedural structure, as `ops.structures` draws them; here because that imports torch."""
MOST_TRIES = 3
"""Times `count` that images are tried with the gate on."""
_LEAST_WINDOW = 32  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateConfig:
    """One generated data set."""

    count: int = 100
    """Defect images for each category."""
    normals: int = 0
    """Generated good images for each category."""
    normals_as: Literal["full", "patch", "both"] = "full"
    """`full` redraws whole good images with another's appearance (the paper), `patch` a good image from itself inside
    outlines only: the generator's fingerprint without a defect; `both` in turn."""
    decoders: tuple[Literal["ahd", "ahe"], ...] = ("ahd", "ahe")
    """Decoder groups to use, in equal shares."""
    operations: tuple[Literal["merge", "remove", "replace", "tps"], ...] = (
        "merge",
        "remove",
        "replace",
        "tps",
    )
    """Operations to draw from, in equal shares; see `remove_real`."""
    remove_real: bool = False
    """Let real references draw `remove` too, though it erases what they show (the paper does; docs/adr/004)."""
    mixture: float = 0.25
    """How often a second operation, TPS, follows the first."""
    appearance: Literal["auto", "target", "reference", "blend"] = "auto"
    """Where C_r comes from; `auto` is `blend`, and `target` for half of the procedural structure that is tried first in
    an image (docs/adr/004)."""
    composition: Literal["region", "full"] = "region"
    """`region` keeps the target's own pixels outside the mask, `full` redraws the whole image as the paper does."""
    base_split: Literal["sorted", "random", "all"] = "all"
    """Part of the base-set folder used: a third of each defect (sorted or seeded random), or all of it."""
    types: Literal["equal", "base"] = "equal"
    """How often each defect type of the base set is drawn: equally often, or as often as the base set has it."""
    procedural: float = 0.0
    """Share of images with procedural structure although real defects are given."""
    kinds: tuple[Literal["scratch", "dent", "bump", "crack", "hole", "contamination"], ...] = (
        "scratch",
        "dent",
        "bump",
        "crack",
        "hole",
        "contamination",
    )
    """Kinds of procedural structure to draw from, in equal shares."""
    foreign: float = 0.33
    """Share of patches of other good images among images without a real reference."""
    bend: float = 0.0
    """Share of real references bent by a local thin-plate spline."""
    levelling: tuple[float, float] = (1.0, 1.0)
    """Part of the difference in level between a reference and its target that pasting takes off, drawn from this
    range: 0 keeps the reference's own brightness, 1 hides its surroundings."""
    roi: str = ""
    """Where defects may fall: a mask file for all images, a folder of masks by the image's name, or a .json or .toml
    of polygons ([[x, y], ...] in shares of width and height); empty for the whole product (docs/adr/012)."""
    forbid: str = ""
    """Where no pixel may change, given like `roi`."""
    snippets: str = ""
    """Folder of cut-outs of real defects at the images' own scale, PNG with alpha or pairs of name.png and
    name_mask.png, directly in it or in a folder for each type: references beside --base-set (docs/adr/015)."""
    masks: str = ""
    """Folder of masks named as the good images, directly in it or in a folder for each type: each image takes one in
    turn, its good image, and a defect of just this region. Not with `roi`, `forbid`, `per_image` (docs/adr/015)."""
    masks_as: Literal["drawn", "visible"] = "drawn"
    """`drawn` writes the mask of --masks as it was drawn, `visible` the part of it where the image visibly changed."""
    taxonomy: str = ""
    """TOML or JSON file of named defects with settings of their own (kinds, operations, extent, severity, reference,
    roi, share and others), among which the images are shared (docs/adr/015)."""
    window: WindowSetting = "auto"
    """What the model looks at: `whole` squeezes each image to its square; a number N takes square windows of N native
    pixels out of images that are larger; `auto` takes images whole up to 4 times the model's side and a ratio of sides
    of 2, and else windows of that side or of the image's shorter one (docs/adr/013)."""
    per_image: tuple[int, int] = (1, 1)
    """Least and most defects in one image; they do not touch. Fewer are drawn where no more fit. All lie in the one
    window where an image has windows."""
    severity: tuple[float, float] = (1.0, 1.0)
    """Range that each defect's strength is drawn from: it scales a procedural structure's relief, outline and stain,
    and is the opacity of what is pasted, there at most 1. A weak one needs a lower `min_change`."""
    turn: float = 180.0
    """Most degrees by which a real reference is turned at random, within what the product's symmetry allows; at 180
    the symmetry alone decides."""
    extent: tuple[float, float] = (0.04, 0.4)
    """Half size of procedural regions, in halves of the image's side."""
    min_change: float = 6.5
    """Least mean absolute change inside the mask, in 1/255, for a candidate to be accepted."""
    max_attempts: int = 10
    """Candidates tried for one image; the strongest is kept and marked when none is accepted. Those that were
    refused before the network ran count with what showed by then."""
    gate: Literal["off", "on"] = "off"
    """`on` judges each candidate by what the category's good images and real defects show, and `count` is then of
    accepted images: others are replaced, up to 3 times as many in all. For sets to look at or to test with: a detector
    was not better for it, and on tires without real defects worse (docs/adr/014)."""
    gate_strictness: float = 0.05
    """Share of its own calibration, real defects where there are enough, that each rule of the gate would reject."""
    batch_size: int = 0
    """Images generated together; part of what an image's pixels depend on, so recorded. 0 takes 64 on a GPU, which is
    busy with starting kernels when there are fewer, and 16 on a CPU."""
    backend: Literal["auto", "torch", "compiled", "onnx", "openvino", "openvino-bf16"] = "auto"
    """Runtime of the networks; pixels differ in their last bits, so the one used is recorded. `auto` is torch on a GPU,
    and on a CPU openvino (in bfloat16 where the CPU has it, as on a GPU), else onnx, else torch, as installed.
    `compiled` is torch on a GPU too, which first compiles for a minute or so, for large sets (docs/adr/017)."""
    seed: int = 0
    """Root of all random streams."""
    edge_weights: str = ""
    """Weight file of the edge extractor that the generator was trained with, where it is not shipped."""
    depth_weights: str = ""
    """Weight file or folder of the depth extractor that the generator was trained with, where it is not shipped; for
    measured depth the folder of its files, empty for the data set's own depth."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> GenerateConfig:
        """Read settings as `dataset.json` keeps them, lists for tuples.

        Raises:
            ConfigError: An entry that this version does not know.
        """
        settings: dict[str, Any] = {"window": "whole"}  # of a set that was made before there were windows
        settings |= {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        try:
            return cls(**settings)
        except TypeError as error:
            raise ConfigError(f"the set's settings are not those of this version ({error})") from error

    def with_batch(self, device: str) -> GenerateConfig:
        """The same, with a number of images to generate together that fits the device where none was given.

        Args:
            device: ``cpu`` or another type of device.
        """
        return self if self.batch_size else replace(self, batch_size=16 if device == "cpu" else 64)

    def __post_init__(self) -> None:
        for name, least in (("count", 0), ("normals", 0), ("batch_size", 0), ("max_attempts", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"generate.{name} is {getattr(self, name)}; it must be at least {least}")
        if self.count + self.normals == 0:
            raise ConfigError("generate.count and generate.normals are both 0; ask for at least one image")
        for name, allowed in (
            ("decoders", ("ahd", "ahe")),
            ("operations", ("merge", "remove", "replace", "tps")),
            ("kinds", KINDS),
        ):
            given = getattr(self, name)
            if not given or set(given) - set(allowed):
                raise ConfigError(f"generate.{name} is {given}; give at least one of {', '.join(allowed)}")
        for name, allowed in (
            ("appearance", ("auto", "target", "reference", "blend")),
            ("composition", ("region", "full")),
            ("normals_as", ("full", "patch", "both")),
            ("masks_as", ("drawn", "visible")),
            ("base_split", ("sorted", "random", "all")),
            ("backend", ("auto", "torch", "compiled", "onnx", "openvino", "openvino-bf16")),
            ("types", ("equal", "base")),
            ("gate", ("off", "on")),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"generate.{name} is {getattr(self, name)!r}; give one of {', '.join(allowed)}")
        for name in ("mixture", "procedural", "foreign", "bend"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"generate.{name} is {getattr(self, name)}; it must lie between 0 and 1")
        if not 0 <= self.levelling[0] <= self.levelling[1] <= 1:
            raise ConfigError(
                f"generate.levelling is {self.levelling}; give two numbers with 0 <= first <= second <= 1"
            )
        if not 0 < self.gate_strictness < 0.5:
            raise ConfigError(f"generate.gate_strictness is {self.gate_strictness}; it must lie between 0 and 0.5")
        self._check_control()
        if not 0 < self.extent[0] <= self.extent[1] <= 1:
            raise ConfigError(f"generate.extent is {self.extent}; give two numbers with 0 < first <= second <= 1")

    @property
    def most_numbers(self) -> int:
        """Numbers of defect images that may be tried for `count` accepted ones."""
        return MOST_TRIES * self.count if self.gate == "on" else self.count

    @property
    def has_parts(self) -> bool:
        """Whether images may hold several defects, so that rows list them."""
        return self.per_image != (1, 1)

    def _check_control(self) -> None:
        """Check where defects fall, how many, how strong and how turned, and what is looked at."""
        if self.window not in ("auto", "whole") and (not isinstance(self.window, int) or self.window < _LEAST_WINDOW):
            raise ConfigError(
                f"generate.window is {self.window!r}; give auto, whole, or the side of the windows in pixels, at least "
                f"{_LEAST_WINDOW}"
            )
        if not 1 <= self.per_image[0] <= self.per_image[1]:
            raise ConfigError(
                f"generate.per_image is {self.per_image}; give two whole numbers with 1 <= first <= second"
            )
        if not 0 < self.severity[0] <= self.severity[1] <= 3:
            raise ConfigError(f"generate.severity is {self.severity}; give two numbers with 0 < first <= second <= 3")
        if not 0 <= self.turn <= 180:
            raise ConfigError(f"generate.turn is {self.turn}; it must lie between 0 and 180 degrees")
        self._check_masks()
        for name, given in (
            ("roi", self.roi), ("forbid", self.forbid), ("per_image", self.has_parts), ("masks", self.masks)
        ):  # fmt: skip
            if given and self.composition == "full":
                raise ConfigError(
                    f"generate.{name} needs composition 'region': 'full' redraws the whole image; leave one of them out"
                )

    def _check_masks(self) -> None:
        """Drawn masks are the region of each image, exactly: nothing else says where defects fall, or how many."""
        for name, given in (("roi", self.roi), ("forbid", self.forbid), ("per_image", self.has_parts)):
            if self.masks and given:
                raise ConfigError(
                    f"generate.{name} has no meaning with masks, which are the region of each defect; leave one out"
                )
        if self.masks_as != "drawn" and not self.masks:
            raise ConfigError("generate.masks_as has a meaning only with masks; leave it out")
