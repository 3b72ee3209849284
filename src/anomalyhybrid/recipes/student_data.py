"""The students' training set on the device: pictures, teacher's edges, true depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.models.hed import Hed
from anomalyhybrid.recipes.student_augment import gaussian_blur, textures
from anomalyhybrid.recipes.student_scenes import SceneKey, make_scenes
from anomalyhybrid.seeding import stream

CONTOUR_WEIGHT = 0.9  # value of a true contour in the edge target: a little below the teacher's certain edges
_TEACHER_MARGIN = 16  # pixels of replicated border that keep the teacher's frame artefact out of the picture


@dataclass(frozen=True, slots=True)
class StudentSet:
    """Pictures and targets of the same scenes.

    Attributes:
        images_u8: uint8 (N, 3, S, S).
        edges_u8: Edge targets, uint8 (N, 1, S, S); ``teacher_edges`` merged with the true contours.
        contours_u8: True contours, uint8 (N, 1, S, S).
        depth: True depth, float16 (N, 1, S, S) in [0, 1], 1 is nearest.
        object_mask: bool (N, 1, S, S).
        products: Product of each scene, length N.
    """

    images_u8: Tensor
    edges_u8: Tensor
    contours_u8: Tensor
    depth: Tensor
    object_mask: Tensor
    products: tuple[str, ...]

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.images_u8)

    def select(self, index: Tensor) -> StudentSet:
        """Give the scenes at ``index``, int64 (M,)."""
        where = index.tolist()
        return StudentSet(
            self.images_u8[index],
            self.edges_u8[index],
            self.contours_u8[index],
            self.depth[index],
            self.object_mask[index],
            tuple(self.products[i] for i in where),
        )


@torch.inference_mode()
def teacher_edges(hed: Hed, image_B3HW: Tensor) -> Tensor:
    """Detect thin, detailed edges with HED.

    HED's lines are 4 to 6 px wide and its fused output drops detail. Read at twice the size, its second side
    output gives thin lines with all texture, its third suppresses texture, and the fused one knows which
    edges matter; their mean keeps thin lines and ranks them.

    Args:
        hed: The teacher, on the device of the image.
        image_B3HW: float in [-1, 1].

    Returns:
        float (B, 1, H, W) in [0, 1].
    """
    margin = _TEACHER_MARGIN
    x = F.interpolate(image_B3HW, scale_factor=2, mode="bicubic", align_corners=False).clamp(-1, 1)
    sides, fused = hed(F.pad(x, (margin,) * 4, mode="replicate"))
    mean = (sides[1].sigmoid() + sides[2].sigmoid() + fused.sigmoid()) / 3.0
    return F.avg_pool2d(mean[..., margin:-margin, margin:-margin], 2).float()


def combine_edges(teacher_B1HW: Tensor, contours_B1HW: Tensor) -> Tensor:
    """Merge the teacher's edges with the true contours by the larger value.

    The teacher misses contours where object and ground look alike; the truth lacks the texture and print
    edges that the generator must be able to redraw. The larger of the two has both.

    Args:
        teacher_B1HW: float in [0, 1].
        contours_B1HW: float in [0, 1].

    Returns:
        float (B, 1, H, W) in [0, 1].
    """
    return torch.maximum(teacher_B1HW, CONTOUR_WEIGHT * contours_B1HW)


def render_set(keys: Sequence[SceneKey], *, workers: int, device: torch.device) -> StudentSet:
    """Draw scenes and put them on the device, without edges yet (zeros).

    Args:
        keys: What to draw.
        workers: Worker processes, 0 for none.
        device: Where the set lives.

    Returns:
        The set, in the order of the keys.
    """
    count, size = len(keys), keys[0].size
    images = torch.empty(count, size, size, 3, dtype=torch.uint8)
    depth = torch.empty(count, 1, size, size, dtype=torch.float16)
    contours = torch.empty(count, 1, size, size, dtype=torch.uint8)
    masks = torch.empty(count, 1, size, size, dtype=torch.bool)
    for index, scene in enumerate(make_scenes(keys, workers=workers)):
        images[index] = torch.from_numpy(scene.image_u8)
        depth[index, 0] = torch.from_numpy(scene.depth)
        contours[index, 0] = torch.from_numpy(scene.contours_u8)
        masks[index, 0] = torch.from_numpy(scene.object_mask)
        if (index + 1) % 500 == 0:
            print(f"  drawn {index + 1}/{count}", flush=True)
    images_u8 = images.to(device).permute(0, 3, 1, 2).contiguous()
    edges = torch.zeros(count, 1, size, size, dtype=torch.uint8, device=device)
    products = tuple(key.product for key in keys)
    return StudentSet(images_u8, edges, contours.to(device), depth.to(device), masks.to(device), products)


def with_textured_grounds(scenes: StudentSet, *, seed: int, batch: int = 128) -> StudentSet:
    """Add, for each scene, a second version with a procedural texture behind the object and a faint one on
    it.

    Args:
        scenes: The set.
        seed: Root seed.
        batch: Pictures at a time.

    Returns:
        A set twice as long: the scenes as they are, then their versions.
    """
    size, device = scenes.images_u8.shape[-1], scenes.images_u8.device
    changed = torch.empty_like(scenes.images_u8)
    for start in range(0, len(scenes), batch):
        image = scenes.images_u8[start : start + batch].float() / 255.0
        generator = stream(seed, "students", "textures", start)
        ground = textures(len(image), size, generator=generator, device=device)
        skin = textures(len(image), size, generator=generator, device=device)
        strength = torch.rand(len(image), 1, 1, 1, generator=generator).to(device).square() * 0.7
        inside = gaussian_blur(scenes.object_mask[start : start + batch].float(), 0.6)
        shaded = image * (1 - strength + strength * 2 * skin)
        mixed = (inside * shaded + (1 - inside) * ground).clamp(0, 1)
        changed[start : start + batch] = (mixed * 255.0).round().byte()
    return StudentSet(
        torch.cat([scenes.images_u8, changed]),
        torch.cat([scenes.edges_u8] * 2),
        torch.cat([scenes.contours_u8] * 2),
        torch.cat([scenes.depth] * 2),
        torch.cat([scenes.object_mask] * 2),
        scenes.products * 2,
    )


def join(first: StudentSet, second: StudentSet) -> StudentSet:
    """Put two sets one after the other."""
    return StudentSet(
        torch.cat([first.images_u8, second.images_u8]),
        torch.cat([first.edges_u8, second.edges_u8]),
        torch.cat([first.contours_u8, second.contours_u8]),
        torch.cat([first.depth, second.depth]),
        torch.cat([first.object_mask, second.object_mask]),
        first.products + second.products,
    )


def fill_edges(scenes: StudentSet, hed: Hed, *, batch: int = 32) -> None:
    """Compute the edge targets of a set in place: the teacher on the clean pictures, merged with the
    contours.

    Args:
        scenes: The set; ``edges_u8`` is overwritten.
        hed: The teacher, on the set's device.
        batch: Pictures at a time.
    """
    device = scenes.images_u8.device
    for start in range(0, len(scenes), batch):
        image = scenes.images_u8[start : start + batch].float() / 127.5 - 1.0
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            edges = teacher_edges(hed, image)
        merged = combine_edges(edges, scenes.contours_u8[start : start + batch].float() / 255.0)
        scenes.edges_u8[start : start + batch] = (merged * 255.0).round().byte()
