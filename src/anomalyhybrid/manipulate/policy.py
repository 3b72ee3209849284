"""What each generated image is to be: kind of defect, operation, appearance, decoder (section 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from anomalyhybrid.manipulate.operations import OPERATIONS, Operation
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.structures import KINDS

Appearance = Literal["target", "reference", "blend"]
APPEARANCES: tuple[Appearance, ...] = get_args(Appearance)
DISTORTION = "distortion"  # name of a defect that only bends the target's own structure
AUTO_TARGET_SHARE = 0.5  # of procedural structure, where it is tried first, that the maps alone describe
FOREIGN = "foreign"  # name of a defect that is a patch of another good image
REMOVAL = "hole"  # name of a defect that only removes structure


@dataclass(frozen=True, slots=True)
class Plan:
    """Decisions for one batch.

    Attributes:
        operation: Index into `OPERATIONS`, long (B,).
        then_tps: bool (B,), whether TPS follows.
        appearance: Index into `APPEARANCES`, long (B,).
        kind: Procedural kind, index into `KINDS`, long (B,).
        uses_base: bool (B,), whether the reference is a real defect.
        foreign: bool (B,), whether it is a patch of another good image, in a procedural outline.
        decoder: Index into the run's decoders, long (B,).
    """

    operation: Tensor
    then_tps: Tensor
    appearance: Tensor
    kind: Tensor
    uses_base: Tensor
    foreign: Tensor
    decoder: Tensor

    def shows(self, appearance: Appearance) -> Tensor:
        """Samples of an appearance, bool (B,)."""
        return self.appearance == APPEARANCES.index(appearance)


def draw_plan(
    draws: Draws,
    *,
    operations: Sequence[Operation],
    mixture: float,
    appearance: Literal["auto", "target", "reference", "blend"],
    procedural: float,
    has_base: bool,
    decoders: int,
    foreign: float = 0.0,
    remove_real: bool = False,
    kinds: Sequence[str] = KINDS,
    again_B: Tensor | None = None,
) -> Plan:
    """Draw the decisions of a batch.

    Args:
        draws: Random rows.
        operations: Operations to draw from, in equal shares.
        mixture: How often TPS follows the first operation.
        appearance: A fixed mode, or ``auto``: ``blend``, and ``target`` for part of the procedural structure (ADR-004).
        procedural: Share of procedural references where real ones are given.
        has_base: Whether the category has real defects.
        decoders: Number of decoder groups in use.
        foreign: Share of patches of other good images among images without a real reference.
        remove_real: Whether real references draw ``remove`` as often as the others, though it erases what they show.
        kinds: Procedural kinds to draw from, in equal shares.
        again_B: Samples that take the place of a candidate that showed too little, bool (B,): in ``auto`` their
            structure is painted, since what the maps alone describe shows too little most often (docs/log.md).
    """
    uses_base = ~draws.happens(procedural) if has_base else draws.happens(0.0)
    kind = draws.choice([float(name in kinds) for name in KINDS])
    patched = draws.happens(foreign) & ~uses_base & (appearance in ("auto", "blend"))
    painted = uses_base | patched
    painted = painted if again_B is None else painted | again_B
    chosen = _draw_appearance(draws, appearance, kind, painted)
    shown = (chosen == APPEARANCES.index("blend")) & (patched | (kind != KINDS.index(REMOVAL)))
    return Plan(
        operation=_draw_operation(draws, operations, torch.where(uses_base, not remove_real, shown)),
        then_tps=draws.happens(mixture),
        appearance=chosen,
        kind=kind,
        uses_base=uses_base,
        foreign=patched,
        decoder=draws.choice([1.0] * decoders),
    )


_AS_LINE = ("scratch", "scratch", "crack", "crack", "crack", "contamination")
_AS_PATCH = ("dent", "dent", "bump", "hole", "hole", "contamination")


def suited_kind(kind: Tensor, is_line_B: Tensor) -> Tensor:
    """Replace procedural kinds by those that outlines of others' drawing can be, long (B,): a line is no dent.

    Args:
        kind: Index into `KINDS`, long (B,).
        is_line_B: Whether the outline is thin everywhere, bool (B,).
    """
    line, patch = (
        torch.tensor([KINDS.index(name) for name in names], device=kind.device) for names in (_AS_LINE, _AS_PATCH)
    )
    return torch.where(is_line_B, line[kind], patch[kind])


def _draw_appearance(draws: Draws, appearance: Appearance | Literal["auto"], kind: Tensor, painted: Tensor) -> Tensor:
    """The mode asked for; in ``auto`` the target's own look for part of the dents, bumps, holes, cracks, scratches."""
    chosen = torch.full_like(kind, APPEARANCES.index("blend" if appearance == "auto" else appearance))
    by_structure = draws.happens(AUTO_TARGET_SHARE) & ~painted & (kind != KINDS.index("contamination"))
    return torch.where(by_structure, APPEARANCES.index("target"), chosen) if appearance == "auto" else chosen


def _draw_operation(draws: Draws, operations: Sequence[Operation], keeps_B: Tensor) -> Tensor:
    """Draw operations in equal shares; samples to be kept draw again after ``remove`` where others are allowed."""
    operation = draws.choice([float(name in operations) for name in OPERATIONS])
    others = [float(name in operations and name != "remove") for name in OPERATIONS]
    if not any(others):
        return operation
    again = draws.choice(others)
    return torch.where(keeps_B & (operation == OPERATIONS.index("remove")), again, operation)


def procedural_name(kind: int, operation: Operation, appearance: Appearance) -> str:
    """Name the defect that a procedural reference becomes: bending or removing leaves nothing of its kind.

    A blended reference shows its own surface whatever happens to the maps, so it keeps its name.
    """
    if appearance != "blend" and operation == "tps":
        return DISTORTION
    if appearance != "blend" and operation == "remove":
        return REMOVAL
    return KINDS[kind]
