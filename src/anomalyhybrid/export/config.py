"""What an export is asked for; free of torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from anomalyhybrid.choices import check_choices
from anomalyhybrid.errors import ConfigError

Format = Literal["mvtec", "visa", "coco", "yolo", "anomalib", "imagefolder", "webdataset"]

_OWNERS = {"segmentation": "coco", "val_share": "yolo", "shard_size": "webdataset"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Settings of an export.

    Raises:
        ConfigError: A value that is not allowed, or a setting of another format.
    """

    format: Format
    """Layout to write."""
    segmentation: Literal["rle", "polygon"] = "rle"
    """Of coco: run lengths, or polygons along the pixels' edges. Both are exact."""
    val_share: float = 0.1
    """Of yolo: least share of the images in the validation side, in [0, 1). Images that were made from one target stay
    on one side. With 0 the training side is named as both, because the format needs both."""
    shard_size: int = 1000
    """Of webdataset: most images in a shard."""
    all: bool = False
    """Export rejected images too (``"accepted": false`` in the manifest)."""

    def __post_init__(self) -> None:
        check_choices(self, "export", ("format", "segmentation"))
        for field in dataclasses.fields(self):
            owner = _OWNERS.get(field.name, self.format)
            if owner != self.format and getattr(self, field.name) != field.default:
                raise ConfigError(
                    f"export.{field.name} is a setting of the format {owner}, not of {self.format}; leave it out"
                )
        if not 0 <= self.val_share < 1:
            raise ConfigError(f"export.val_share is {self.val_share}; it must be at least 0 and below 1")
        if self.shard_size < 1:
            raise ConfigError(f"export.shard_size is {self.shard_size}; it must be at least 1")
