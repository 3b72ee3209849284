"""Fixed probes of a training run: edit response and sample grids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from anomalyhybrid.augment.pseudo import structure_reference
from anomalyhybrid.data.loading import save_png
from anomalyhybrid.manipulate.operations import OPERATIONS, edit_maps
from anomalyhybrid.manipulate.reference import Reference
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.ranges import u8_from_signed
from anomalyhybrid.seeding import stream
from anomalyhybrid.training.pool import TrainingPool
from anomalyhybrid.types import Conditions


@dataclass(frozen=True, slots=True)
class Probe:
    """Good images, once with their own maps and once with edited ones; the same in every run of a seed."""

    plain: Reference
    edited: Conditions
    region_mask: Tensor

    @classmethod
    def draw(cls, pool: TrainingPool, seed: int, count: int, device: torch.device) -> Probe:
        """Edit `count` good images by replacing structure in procedural regions."""
        draws = Draws.from_stream(stream(seed, "probe"), count, columns=4096).to(device)
        plain, _, _ = pool.draw(draws)
        reference = structure_reference(draws, plain.color, plain.depth, plain.edge)
        operation = torch.full((count,), OPERATIONS.index("replace"), device=device)
        depth, edge = edit_maps(draws, operation, operation < 0, plain.depth, plain.edge, reference)
        edited = Conditions(color=plain.color, depth=depth, edge=edge)
        return cls(plain=plain, edited=edited, region_mask=reference.region_mask)

    @torch.no_grad()
    def edit_response(self, model: Generator) -> dict[str, float]:
        """Mean absolute change inside the regions when only the maps are edited, in units of 1/255.

        Source: DESIGN, "edit response"; near 0 means that editing structure does nothing.
        """
        own = Conditions(color=self.plain.color, depth=self.plain.depth, edge=self.plain.edge)
        device = self.plain.color.device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):  # as generation runs it
            before, after = model(own.stacked()), model(self.edited.stacked())
        weight = self.region_mask.expand_as(self.plain.color)
        return {
            f"edit_response_{name}": float(
                ((after[name].fused.float() - before[name].fused.float()).abs() * weight).sum() / weight.sum() * 127.5
            )
            for name in after
        }

    @torch.no_grad()
    def save_grid(self, model: Generator, path: Path, rows: int = 6) -> None:
        """Write a picture, one row a sample: reference, edited depth and edge, then output and fusion mask of each."""
        outputs = model(self.edited.stacked())
        columns = [self.edited.color, self.edited.depth, self.edited.edge]
        for output in outputs.values():
            columns += [output.fused, output.fusion_mask * 2 - 1]
        strips = [
            torch.cat([part[row].expand(3, -1, -1) for part in columns], dim=2)
            for row in range(min(rows, len(columns[0])))
        ]
        picture = u8_from_signed(torch.cat(strips, dim=1)).permute(1, 2, 0).cpu().numpy()
        save_png(path, picture)
