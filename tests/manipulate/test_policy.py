"""What is decided for each image, and what a procedural defect is called."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from anomalyhybrid.manipulate.operations import OPERATIONS, Operation
from anomalyhybrid.manipulate.policy import (
    APPEARANCES,
    DISTORTION,
    REMOVAL,
    Appearance,
    Plan,
    draw_plan,
    procedural_name,
)
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.structures import KINDS
from anomalyhybrid.seeding import stream

BATCH = 2000
SETTINGS: dict[str, Any] = {
    "foreign": 1 / 3,
    "operations": OPERATIONS,
    "mixture": 0.25,
    "appearance": "blend",
    "procedural": 0.0,
    "has_base": True,
    "decoders": 2,
}


def _plan(**changes: Any) -> Plan:
    return draw_plan(Draws.from_stream(stream(0, "plan"), BATCH, columns=64), **(SETTINGS | changes))


def _shares(index: torch.Tensor, count: int) -> list[float]:
    return [(index == number).float().mean().item() for number in range(count)]


def test_all_choices_come_up_in_equal_shares() -> None:
    plan = _plan(remove_real=True)
    assert _shares(plan.operation, 4) == pytest.approx([0.25] * 4, abs=0.04)
    assert _shares(plan.kind, len(KINDS)) == pytest.approx([1 / len(KINDS)] * len(KINDS), abs=0.04)
    assert _shares(plan.decoder, 2) == pytest.approx([0.5] * 2, abs=0.04)
    assert plan.then_tps.float().mean().item() == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("names", [("merge",), ("tps",), ("remove", "replace"), ("replace", "remove")])
def test_only_the_operations_asked_for(names: tuple[Operation, ...]) -> None:
    chosen = {OPERATIONS[index] for index in _plan(operations=names, has_base=False).operation.tolist()}
    assert chosen == set(names)


def test_real_references_are_not_removed_unless_asked() -> None:
    remove = OPERATIONS.index("remove")
    assert _shares(_plan().operation, 4) == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3], abs=0.04)
    assert (_plan(operations=("remove",)).operation == remove).all(), "nothing else is allowed"
    mixed = _plan(procedural=0.5)
    assert not (mixed.operation[mixed.uses_base] == remove).any()
    assert (mixed.operation[~mixed.uses_base] == remove).any()


def test_what_the_picture_shows_is_not_removed_from_the_maps() -> None:
    """A stain, a dent or a patch that C_r shows and a hole in the maps at its place contradict each other."""
    remove, hole = OPERATIONS.index("remove"), KINDS.index("hole")
    blended = _plan(has_base=False)
    may = (blended.kind == hole) & ~blended.foreign
    assert not (blended.operation[~may] == remove).any()
    assert (blended.operation[may] == remove).float().mean().item() == pytest.approx(0.25, abs=0.08)
    by_maps = _plan(has_base=False, appearance="target")
    assert (by_maps.operation == remove).float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert (_plan(has_base=False, operations=("remove",)).operation == remove).all(), "nothing else is allowed"


def test_mixture_at_its_ends() -> None:
    assert not _plan(mixture=0.0).then_tps.any()
    assert _plan(mixture=1.0).then_tps.all()


def test_real_references_where_there_are_any() -> None:
    assert _plan().uses_base.all()
    assert not _plan(has_base=False).uses_base.any()
    assert not _plan(procedural=1.0).uses_base.any()
    assert _plan(procedural=0.3).uses_base.float().mean().item() == pytest.approx(0.7, abs=0.04)


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_a_fixed_appearance(appearance: Appearance) -> None:
    assert (_plan(appearance=appearance).appearance == APPEARANCES.index(appearance)).all()


def test_auto_shows_real_references_and_stains_and_half_of_the_structure() -> None:
    assert (_plan(appearance="auto").appearance == APPEARANCES.index("blend")).all()
    plan = _plan(appearance="auto", has_base=False)
    stain = plan.kind == KINDS.index("contamination")
    assert (plan.appearance[stain | plan.foreign] == APPEARANCES.index("blend")).all()
    assert float(plan.foreign.float().mean()) == pytest.approx(1 / 3, abs=0.04)
    assert _shares(plan.appearance[~stain & ~plan.foreign], 3) == pytest.approx([0.5, 0.0, 0.5], abs=0.04)


def test_further_candidates_are_painted_in_auto_alone() -> None:
    again = torch.arange(BATCH) % 2 == 0
    first, then = (_plan(appearance="auto", has_base=False, again_B=given) for given in (None, again))
    assert (then.appearance[again] == APPEARANCES.index("blend")).all()
    assert torch.equal(then.appearance[~again], first.appearance[~again])
    assert torch.equal(then.kind, first.kind)
    assert (_plan(appearance="target", again_B=again).appearance == APPEARANCES.index("target")).all()


def test_patches_of_other_images_only_where_they_are_shown() -> None:
    assert not _plan(has_base=False, appearance="target").foreign.any()
    assert _plan(has_base=False, appearance="blend").foreign.any()


def test_one_decoder_alone() -> None:
    assert not _plan(decoders=1).decoder.any()


def test_a_setting_changes_no_other_decision() -> None:
    one, other = _plan(), _plan(mixture=1.0, appearance="target", procedural=0.5)
    kept = one.operation == other.operation
    assert (kept | (other.operation == OPERATIONS.index("remove"))).all(), "only for the sake of real references"
    assert torch.equal(one.kind, other.kind)
    assert torch.equal(one.decoder, other.decoder)


def test_names_of_procedural_defects() -> None:
    for (number, kind), operation, appearance in product(enumerate(KINDS), OPERATIONS, APPEARANCES):
        name = procedural_name(number, operation, appearance)
        if appearance == "blend" or operation in ("merge", "replace"):
            assert name == kind, "the structure is shown"
        else:
            assert name == (DISTORTION if operation == "tps" else REMOVAL), "nothing of its kind is left"
