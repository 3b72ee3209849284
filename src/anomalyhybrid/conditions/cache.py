"""Structure maps of images, extracted once: PNG files keyed by pixel hash, extractor and size."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from anomalyhybrid.conditions.base import DepthExtractor, EdgeExtractor
from anomalyhybrid.data.files import write_bytes_atomic
from anomalyhybrid.data.loading import to_model_u8
from anomalyhybrid.errors import ConfigError, DataError

_PNG_START = b"\x89PNG\r\n\x1a\n"
_log = logging.getLogger(__name__)

ImageU8 = NDArray[np.uint8]


class ConditionCache:
    """Edge and depth maps as uint8 tensors, from files where they are known, else extracted and stored."""

    def __init__(self, folder: Path | None, *, batch: int = 16) -> None:
        """Open a cache; the folder is made with the first file.

        Args:
            folder: Where the PNG files lie; None stores nothing.
            batch: Images that go through an extractor at a time.

        Raises:
            ConfigError: If ``batch`` is not positive.
            DataError: If the folder is a file or lies below one.
        """
        if batch < 1:
            raise ConfigError(f"batch={batch}: must be at least 1.")
        self._folder = None if folder is None else Path(folder)
        if self._folder is not None:
            nearest = next((path for path in (self._folder, *self._folder.parents) if os.path.exists(path)), None)
            if nearest is not None and not os.path.isdir(nearest):
                raise DataError(f"cannot use the cache {self._folder}: {nearest} is a file. Give a folder.")
        self._batch = batch

    def extract(
        self,
        images: Iterable[ImageU8],
        *,
        edge: EdgeExtractor,
        depth: DepthExtractor | None,
        size: int,
        measured: Sequence[NDArray[np.float32]] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Give both maps of each image.

        Args:
            images: RGB, uint8 (H, W, 3) of any size; resized to ``size`` squares first. Read once, in order.
            edge: Edge extractor.
            depth: Depth extractor; None if ``measured`` is given.
            size: Side of the maps in pixels.
            measured: Measured depth of each image, float32 (H, W) in [0, 1], in place of ``depth``.

        Returns:
            Edge and depth, each uint8 (N, 1, size, size): 255 is an edge, 255 is nearest.

        Raises:
            ConfigError: If not exactly one of ``depth`` and ``measured`` is given.
            DataError: If an image is no uint8 RGB image, ``measured`` has another length, or the cache cannot be
                written.
        """
        if (depth is None) == (measured is None):
            raise ConfigError("give exactly one of depth= (an extractor) and measured= (maps).")
        squares = (_square(image, size) for image in images)
        extractors: list[EdgeExtractor | DepthExtractor] = [edge] if depth is None else [edge, depth]
        maps = self._maps(squares, extractors, size)
        edges = _stacked(maps[0], size)
        if measured is None:
            return edges, _stacked(maps[1], size)
        if len(measured) != len(edges):
            raise DataError(f"{len(measured)} measured depth maps for {len(edges)} images: give one for each.")
        return edges, _stacked([_resized_u8(values, size) for values in measured], size)

    def _maps(
        self, squares: Iterable[ImageU8], extractors: Sequence[EdgeExtractor | DepthExtractor], size: int
    ) -> list[list[ImageU8]]:
        """Give, for each extractor, the maps of all images in order.

        Images go through an extractor in the same batches whatever is known of them: a map's last bits depend on its
        batch, and a killed run, or another process, shall store the same maps.
        """
        results: list[list[ImageU8]] = [[] for _ in extractors]
        left = iter(squares)
        while batch := list(islice(left, self._batch)):
            keys = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in batch]
            for result, extractor in zip(results, extractors, strict=True):
                paths = [self._path(key, extractor.name, size) for key in keys]
                result += _batch_of_maps(batch, paths, extractor, size)
        return results

    def _path(self, key: str, name: str, size: int) -> Path | None:
        """Name the file of one map."""
        if self._folder is None:
            return None
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        return self._folder / f"{safe}-{size}" / key[:2] / f"{key}.png"


def _batch_of_maps(
    images: Sequence[ImageU8], paths: Sequence[Path | None], extractor: Callable[[Tensor], Tensor], size: int
) -> list[ImageU8]:
    """Maps of a batch: known ones from their files; where one is missing all are extracted, and it is stored."""
    known = [None if path is None else _read_map(path, size) for path in paths]
    if all(map_u8 is not None for map_u8 in known):
        return [map_u8 for map_u8 in known if map_u8 is not None]
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    maps = extractor(stacked.float().div(127.5).sub(1.0)).detach().float().cpu()
    extracted = maps.mul(255.0).round().clamp(0, 255).byte().numpy()[:, 0]
    maps_u8 = [new if old is None else old for old, new in zip(known, extracted, strict=True)]
    for path, old, new in zip(paths, known, maps_u8, strict=True):
        if old is None and path is not None:
            _write_map(path, new)
    return maps_u8


def _square(image: ImageU8, size: int) -> ImageU8:
    """Check an image and resize it to a square."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"conditions need uint8 RGB images (H, W, 3), got {image.dtype} {image.shape}: convert it.")
    return to_model_u8(image, size)


def _resized_u8(values: NDArray[np.float32], size: int) -> ImageU8:
    """Resize a measured map in [0, 1] to a square and make it uint8."""
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32))[None, None]
    if values.shape != (size, size):
        tensor = F.interpolate(tensor, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    return tensor.mul(255.0).round().clamp(0, 255).byte().numpy()[0, 0]


def _stacked(maps: list[ImageU8], size: int) -> Tensor:
    """Stack maps to a uint8 tensor (N, 1, size, size)."""
    if not maps:
        return torch.zeros(0, 1, size, size, dtype=torch.uint8)
    return torch.from_numpy(np.stack(maps))[:, None]


def _read_map(path: Path, size: int) -> ImageU8 | None:
    """Read one map; None if there is no file, or it is damaged or unreadable, which is logged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise DataError(f"cannot use the cache {path.parent}: a file is in the way. Choose another folder.") from error
    except OSError as error:
        _log.warning("cache file %s cannot be read (%s): extracted again", path, error.strerror)
        return None
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if _intact(content) else None
    if values is None or values.shape != (size, size) or values.dtype != np.uint8:
        _log.warning("damaged cache file %s: extracted again", path)
        return None
    return values.astype(np.uint8, copy=False)


def _intact(content: bytes) -> bool:
    """Check every chunk's checksum: OpenCV decodes truncated PNG files without an error."""
    if not content.startswith(_PNG_START):
        return False
    place = len(_PNG_START)
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        end = place + 8 + length
        if content[end : end + 4] != zlib.crc32(content[place + 4 : end]).to_bytes(4, "big"):
            return False
        if content[place + 4 : place + 8] == b"IEND":
            return True
        place = end + 4
    return False


def _write_map(path: Path, map_u8: ImageU8) -> None:
    """Write one map so that a reader sees the whole file or none.

    Raises:
        DataError: The folder cannot be made or the file not be written.
    """
    done, encoded = cv2.imencode(".png", map_u8)
    assert done
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write the cache {path.parent}: {error.strerror}. Choose another folder.") from error
    write_bytes_atomic(path, encoded.tobytes())
