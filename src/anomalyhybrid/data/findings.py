"""Findings: every kind of fault that a data folder can have, how grave it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

LARGEST_MASK = 0.6
"""Share of the image from which a mask is more likely inverted, or the product's outline, than a defect's."""
FEW_GOOD = 8
"""Good images below which a product is hardly learnt (the bound of `prepare`)."""
FEW_OF_A_TYPE = 3
"""A base set is a third of each type: from fewer than three images none is left on one of the sides."""

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class _Kind:
    severity: Severity
    what: str
    advice: str


_PAIRS = "give both files one stem, or remove the one that is left over"
KINDS: dict[str, _Kind] = {
    "unreadable": _Kind(
        "error", "images cannot be used", "copy or export them again, or remove them; --skip-unreadable leaves them out"
    ),
    "image_without_mask": _Kind("error", "defect images without a mask", _PAIRS),
    "mask_without_image": _Kind("error", "masks without an image", _PAIRS),
    "depth_missing": _Kind("error", "images without depth, or depth without an image", _PAIRS),
    "names": _Kind("error", "files that do not fit together", "mend or remove them"),
    "mask_unreadable": _Kind("error", "masks cannot be read", "copy or export them again as PNG"),
    "mask_size": _Kind("error", "masks of another size than their images", "export both at one size"),
    "mask_empty": _Kind(
        "error", "masks that mark nothing", "mark the defect with 255 (or 1), or move the image to the good ones"
    ),
    "depth_unusable": _Kind(
        "error", "depth files cannot be used", "export them at the image's size, or leave them out"
    ),
    "base_category": _Kind("error", "base-set categories that the data lack", "name its folders after the data's"),
    "no_good": _Kind("error", "no good image to learn from", "put some below train/good, or in a folder of their own"),
    "train_test_duplicate": _Kind(
        "warning",
        "good test images that nearly equal a training image",
        "look at the pairs; a part on both sides makes test results better than they are",
    ),
    "base_test_duplicate": _Kind(
        "warning",
        "defects of the base set and of the data that show one original",
        "look at the pairs; a part on both sides makes test results better than they are",
    ),
    "mask_grey": _Kind(
        "warning",
        "masks with more than two values",
        "what lies above half of the range counts; save masks as 0 and 255, not as JPEG, antialiased or as classes",
    ),
    "mask_large": _Kind(
        "warning",
        f"masks that cover more than {LARGEST_MASK:.0%} of the image",
        "look whether they are inverted or mark the product",
    ),
    "off_object": _Kind(
        "warning",
        "defects far off the object that the automatic foreground finds",
        "look whether mask and image belong together, and whether the foreground is right",
    ),
    "few_good": _Kind(
        "warning", f"fewer than {FEW_GOOD} good images", "give more, better 50: a product is hardly learnt from so few"
    ),
    "few_of_a_type": _Kind(
        "warning",
        f"defect types with fewer than {FEW_OF_A_TYPE} images",
        "add images, use --base-split all, or merge the types: a third of so few is no base set",
    ),
    "aspect_mix": _Kind(
        "warning",
        "images of another aspect than the commonest size",
        "crop them alike: training squeezes all to one square, some then more than others",
    ),
    "colour_mix": _Kind(
        "warning", "grey and colour images are mixed", "keep them apart, or save all as one of the two"
    ),
    "bit_depth_mix": _Kind(
        "warning",
        "8-bit and 16-bit images are mixed",
        "check that they were exposed alike, and save all as one of the two",
    ),
    "depth_partial": _Kind(
        "warning", "images without depth, where others have it", "add it; depth commands leave such images out or stop"
    ),
    "size_mix": _Kind(
        "note", "images of another size than the commonest", "nothing, if the scale of the product is the same"
    ),
    "good_duplicate": _Kind(
        "note", "good images that nearly equal another", "nothing must be done; removing them saves time"
    ),
    "defect_duplicate": _Kind(
        "note",
        "defects that show the same original as another",
        "nothing must be done; they stay on one side of a split",
    ),
    "one_type": _Kind("note", "one defect type alone", "nothing; classification (table 1) is skipped"),
    "no_defects": _Kind(
        "note",
        "no real defects",
        "nothing; generation is zero-shot. A few real ones with masks (--base-set) make it better",
    ),
}
"""Every kind of finding, in the order of the report: severity, what it is, what to do."""

_FIRST_OF: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found in one category.

    Attributes:
        kind: Key of `KINDS`, which says the severity, what it is and what to do.
        category: Whose it is.
        files: Names of the files concerned, in order; empty for what concerns the category.
        details: What is wrong with each file, or with the category; "" where the kind says all.
    """

    kind: str
    category: str
    files: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        """``error``: a command would stop; ``warning``: results would suffer; ``note``: good to know."""
        return KINDS[self.kind].severity

    @property
    def message(self) -> str:
        """What was found, in words."""
        return KINDS[self.kind].what

    @property
    def advice(self) -> str:
        """What to do about it."""
        return KINDS[self.kind].advice


def in_order(findings: Iterable[Finding], categories: Sequence[str]) -> tuple[Finding, ...]:
    """Sort findings: errors first, then by category and in the order of `KINDS`."""
    order = list(KINDS)
    place = {name: number for number, name in enumerate(categories)}
    return tuple(
        sorted(
            findings,
            key=lambda one: (_FIRST_OF[one.severity], place.get(one.category, len(place)), order.index(one.kind)),
        )
    )
