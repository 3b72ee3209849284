"""The quality gate in a run: calibrated on the pools, and a set filled up until it holds what was asked (ADR-014)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomalyhybrid.data.headers import at_a_time
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, to_model_u8
from anomalyhybrid.data.windows import Window
from anomalyhybrid.generation.additions import number_of
from anomalyhybrid.generation.gate import DUPLICATE, Gate
from anomalyhybrid.generation.gate_features import Views, view_of
from anomalyhybrid.generation.manifest import Row, read_rows, write_rows
from anomalyhybrid.generation.rejected import SURPLUS, Rejected, broken_limits, leave_out
from anomalyhybrid.ops.ranges import signed_from_u8
from anomalyhybrid.recipes.job import Job

GATE = "gate"
"""Entry of `dataset.json`: the calibration of each category's gate."""


def gate_records(job: Job) -> dict[str, Any]:
    """The entry `GATE` of `dataset.json`; empty with the gate off."""
    records = {category: pool.gate.record() for category, pool in job.pools.items() if pool.gate is not None}
    return {GATE: records} if records else {}


def sorted_out(job: Job, rows: Sequence[Row]) -> list[Row]:
    """Of new rows those that the set keeps; the files of the others go, and `rejected.jsonl` gets them."""
    if job.config.gate == "off":
        return list(rows)
    records = gate_records(job)[GATE]
    fallen = [row for row in rows if row.label_mask is not None and not row.accepted]
    _remove(job.folder, [(row, broken_limits(row, records[row.category]["limits"])) for row in fallen])
    return [row for row in rows if row.label_mask is None or row.accepted]


def _remove(folder: Path, fallen: Sequence[tuple[Row, Sequence[str]]]) -> None:
    """Delete images' files, then list the images as left out: killed in between, they are made once more."""
    for row, _ in fallen:
        for path in (row.image, row.label_mask):
            if path is not None:
                (folder / path).unlink(missing_ok=True)
    leave_out(folder, [Rejected.of(row, reasons) for row, reasons in fallen])


def fill_up(job: Job, write: Callable[[Iterable[tuple[str, bool, list[int]]]], None]) -> None:
    """Replace images that fell and duplicates by further ones until each category has as many as were asked for.

    Args:
        job: Whose first `count` images are made.
        write: Makes chunks of images that are not done.
    """
    for category in job.sources.categories:
        gate = job.pools[category].gate
        if gate is None:
            continue
        spare, seen = job.order.spare_chunks(category), _Seen(job, gate, category)
        while seen.without_duplicates() < job.config.count:
            chunk = next(spare, None)
            if chunk is None:
                break
            seen.last = chunk[2][-1]
            write([chunk])
        seen.drop_surplus()


class _Seen:
    """The images of one category that a job made so far, with their small views."""

    def __init__(self, job: Job, gate: Gate, category: str) -> None:
        self.job, self.gate, self.category = job, gate, category
        self.first = job.order.first_number(category, True)
        self.last = self.first + job.config.count - 1
        self._views: dict[str, Views] = {}
        writers = [job.writers[category], *(share.writer for share in job.divisions[category].shares)]
        self._target_of = {record.relative: record.path for writer in writers for record in writer.normals}
        self._distinct = 0  # own images, the first, that are known to repeat none before them

    def _rows(self) -> tuple[list[Row], list[Row]]:
        """Own rows by number, up to the last one asked for, and all others of the manifest."""
        rows = list({row.id: row for row in read_rows(self.job.folder)}.values())
        own = [row for row in rows if row.category == self.category and row.label_mask is not None]
        own = [row for row in own if self.first <= number_of(row) <= self.last]
        mine = {row.id for row in own}
        return sorted(own, key=number_of), [row for row in rows if row.id not in mine]

    def without_duplicates(self) -> int:
        """Leave duplicates of earlier images out; how many images stay."""
        own, others = self._rows()
        views = self._all_views(own)
        found = set(self.gate.duplicates(views, first=self._distinct)) if len(own) > 1 else set()
        kept = [row for number, row in enumerate(own) if number not in found]
        self._distinct = len(kept)
        if found:
            _remove(self.job.folder, [(own[number], [DUPLICATE]) for number in sorted(found)])
            write_rows(self.job.folder, [*others, *kept])
        return len(kept)

    def drop_surplus(self) -> None:
        """Leave out what the last batch made beyond the number asked for."""
        own, others = self._rows()
        count = self.job.config.count
        if own[count:]:
            _remove(self.job.folder, [(row, [SURPLUS]) for row in own[count:]])
            write_rows(self.job.folder, [*others, *own[:count]])

    def _all_views(self, rows: Sequence[Row]) -> Views:
        new = [row for row in rows if row.id not in self._views]
        size, device = self.gate.mean_good.shape[-1], self.gate.mean_good.device
        with ThreadPoolExecutor(at_a_time(self.job.folder / row.image for row in new)) as threads:
            loaded = threads.map(lambda row: self._at_model_size(row, size), new)
            for row, (picture, target, region) in zip(new, loaded, strict=True):
                shown, good = (
                    signed_from_u8(torch.tensor(color).permute(2, 0, 1)[None].to(device)) for color in (picture, target)
                )
                self._views[row.id] = view_of(shown, torch.tensor(region)[None, None].float().to(device), good)
        nothing = torch.zeros(0, 1, device=device)
        return Views.joined([self._views[row.id] for row in rows]) if rows else Views(nothing, nothing)

    def _at_model_size(self, row: Row, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A written image and its target, uint8 (S, S, 3), and its label mask, bool (S, S), as the model saw them."""
        pixels, target = load_image(self.job.folder / row.image).pixels, load_image(self._target_of[row.target]).pixels
        assert row.label_mask is not None
        mask = load_mask(self.job.folder / row.label_mask, shape=(pixels.shape[0], pixels.shape[1]))
        if row.window is not None:
            window = Window(*row.window)
            pixels, target, mask = window.crop(pixels), window.crop(target), window.crop(mask)
        return to_model_u8(pixels, size), to_model_u8(target, size), mask_to_model(mask, size)


def tell_missing(summary: Mapping[str, Any], announce: Callable[[str], None]) -> None:
    """Say how many images a gated set lacks, and why they fell."""
    for category, entry in summary.items():
        gate = entry.get("gate", {}) if isinstance(entry, dict) else {}
        if gate.get("missing"):
            reasons = ", ".join(f"{name} {count}" for name, count in gate["images_left_out_for"].items())
            announce(
                f"warning: {category} lacks {gate['missing']} of the images asked for, whose candidates the quality "
                f"gate rejected ({reasons}); give a lower --gate-strictness, more real defects, or --gate off"
            )
