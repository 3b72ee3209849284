"""`anomalyhybrid validate`: what is wrong with a data folder, and what to do, before anything runs."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from anomalyhybrid.data.checks import SAME_ASPECT, Seen, look, near_equal, odd_ones, same_defects
from anomalyhybrid.data.findings import FEW_GOOD, FEW_OF_A_TYPE, Finding, in_order
from anomalyhybrid.data.loose_reading import read_loosely
from anomalyhybrid.data.reading import read_many
from anomalyhybrid.data.records import DataFolder, Record
from anomalyhybrid.errors import DataError

_PROBLEMS = {  # how the readers word what does not pair, and the kind of finding that it is
    "no mask named": "image_without_mask",
    "a mask without an image": "mask_without_image",
    "no depth file": "depth_missing",
    "depth without an image": "depth_missing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What one category holds.

    Attributes:
        category: Its name.
        train: Good images to learn from.
        test: Good test images.
        defects: Number of images by defect type, those of the base set included.
        sizes: Number of images by ``WIDTHxHEIGHT``, most frequent first.
        modes: Number of images by mode, most frequent first.
        depth: Images with measured depth.
    """

    category: str
    train: int
    test: int
    defects: dict[str, int]
    sizes: dict[str, int]
    modes: dict[str, int]
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The result: findings, errors first, and one summary for each category."""

    root: Path
    findings: tuple[Finding, ...]
    summaries: tuple[Summary, ...]

    def count(self, severity: str) -> int:
        """Number of findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)


def validate(
    data: Sequence[Path],
    *,
    base_set: Sequence[Path] = (),
    report: Callable[[int, int], None] | None = None,
) -> Validation:
    """Check data folders and base sets in one pass; nothing is written.

    Args:
        data: Data folders, as for ``prepare`` and ``train``.
        base_set: Folders with real defects; may be the data folders themselves, whose images are read once.
        report: Told after each image how many are done, of how many.

    Returns:
        The findings. Bad files are findings, not errors.

    Raises:
        DataError: A folder is none that a reader knows (the reader's own error).
    """
    folders, problems = _read(data)
    found, base, wrong = _read_base(base_set, folders)
    own = {record.path for folder in folders for record in folder.records}
    alone = [record for record in base if record.path not in own]
    records = [record for folder in folders for record in folder.records] + alone
    root = Path(os.path.commonpath([folder.root for folder in folders] + [record.path.parent for record in alone]))
    findings = [*found, *_pair_findings(dict.fromkeys(problems + wrong), root)]
    seen: list[Seen] = []
    with ThreadPoolExecutor() as threads:
        for one in threads.map(look, records):
            seen.append(one)
            if report is not None:
                report(len(seen), len(records))
    categories = tuple(dict.fromkeys(record.category for record in records))
    by_category: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        by_category[one.record.category].append(one)
    for category in categories:
        findings += _category_findings(category, by_category[category], root, {record.path for record in alone})
    if not any(one.record.is_good and one.record.split == "train" and one.size for one in seen):
        findings = [one for one in findings if one.kind != "few_good"]
        findings += [Finding(kind="no_good", category=category) for category in categories]
    return Validation(
        root=root,
        findings=in_order(findings, categories),
        summaries=tuple(_summary(category, by_category[category]) for category in categories),
    )


_Problem = tuple[Path, str, str]  # root of a reader, category, the reader's words


def _read(data: Sequence[Path]) -> tuple[list[DataFolder], list[_Problem]]:
    """Read all data folders; what does not pair is returned."""
    try:
        return [read_many(data)], []
    except DataError:
        loose = [read_loosely(root) for root in data]
        if not any(problems for _, problems in loose):
            raise
    return [folder for folder, _ in loose], [one for folder, some in loose for one in _with_category(folder, some)]


def _with_category(folder: DataFolder, problems: Sequence[str]) -> list[_Problem]:
    names = set(folder.categories)
    first = [text.split("/", 1)[0] for text in problems]
    return [
        (folder.root, start if start in names else folder.root.name, text)
        for start, text in zip(first, problems, strict=True)
    ]


def _read_base(
    base_set: Sequence[Path], folders: Sequence[DataFolder]
) -> tuple[list[Finding], list[Record], list[_Problem]]:
    """Read the base sets, named as the data's category where both have one alone, as training does."""
    categories = tuple(dict.fromkeys(name for folder in folders for name in folder.categories))
    findings: list[Finding] = []
    records: list[Record] = []
    problems: list[_Problem] = []
    for root in base_set:
        folder, wrong = read_loosely(root, base_set=True)
        some = folder.defects()
        problems += _with_category(folder, wrong)
        if len(categories) == 1 and len(folder.categories) == 1:
            some = tuple(replace(record, category=categories[0]) for record in some)
        records += some
        for name in dict.fromkeys(record.category for record in some):
            if name not in categories:
                detail = f"the data have {', '.join(categories)}"
                findings.append(Finding(kind="base_category", category=name, details=(detail,)))
    return findings, records, problems


def _pair_findings(problems: Iterable[_Problem], root: Path) -> list[Finding]:
    """The readers' problems as findings, one for each category and kind."""
    grouped: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for base, category, text in problems:
        name, _, detail = text.partition(": ")
        kind = next((kind for words, kind in _PROBLEMS.items() if detail.startswith(words)), "names")
        prefix = base.relative_to(root).as_posix()
        grouped[category, kind].append((name if prefix == "." else f"{prefix}/{name}", detail))
    return [_finding(kind, category, rows) for (category, kind), rows in grouped.items()]


def _finding(kind: str, category: str, rows: Sequence[tuple[str, str]]) -> Finding:
    return Finding(
        kind=kind, category=category, files=tuple(name for name, _ in rows), details=tuple(what for _, what in rows)
    )


def _category_findings(category: str, seen: Sequence[Seen], root: Path, alone: set[Path]) -> list[Finding]:
    """All that the images of one category show, alone and together."""

    def name(path: Path) -> str:
        return path.relative_to(root).as_posix()

    grouped: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in seen:
        for kind, path, detail in one.faults:
            grouped[kind].append((name(path), detail))
    usable = [one for one in seen if one.size is not None]
    for kind, rows in (*_mixed(usable), *_duplicates(usable, alone, name)):
        grouped[kind] += [(name(one.record.path), detail) for one, detail in rows]
    findings = [_finding(kind, category, rows) for kind, rows in grouped.items() if rows]
    return findings + _counts(category, usable, any(not one.record.is_good for one in seen))


_Rows = list[tuple[str, list[tuple[Seen, str]]]]


def _mixed(usable: Sequence[Seen]) -> _Rows:
    """Images that differ from most of their category in size, aspect, colour, bits, or in having depth."""

    def size(one: Seen) -> str:
        return f"{one.size[0]}x{one.size[1]}" if one.size else ""

    rows: _Rows = []
    if usable:
        usual = Counter(one.size for one in usable).most_common(1)[0][0] or (1, 1)
        others = odd_ones(usable, size)
        ratios = [(one.size[0] * usual[1]) / (one.size[1] * usual[0]) for one in others if one.size]
        bent = [one for one, ratio in zip(others, ratios, strict=True) if max(ratio, 1 / ratio) > SAME_ASPECT]
        most = f", the commonest is {usual[0]}x{usual[1]}"
        rows.append(("aspect_mix", [(one, size(one) + most) for one in bent]))
        rows.append(("size_mix", [(one, size(one) + most) for one in others if one not in bent]))
        grey = odd_ones(usable, lambda one: one.colourless)
        rows.append(("colour_mix", [(one, "grey" if one.colourless else "colour") for one in grey]))
        rows.append(("bit_depth_mix", [(one, one.mode) for one in odd_ones(usable, lambda one: one.mode[-2:] == "16")]))
        deep = [one for one in usable if one.record.depth_path is not None]
        rows.append(("depth_partial", [(one, "") for one in usable if deep and one.record.depth_path is None]))
    return rows


def _duplicates(usable: Sequence[Seen], alone: set[Path], name: Callable[[Path], str]) -> _Rows:
    """Images that repeat another: good ones on both sides or on one, and defects."""
    train = [one for one in usable if one.record.is_good and one.record.split == "train"]
    test = [one for one in usable if one.record.is_good and one.record.split == "test"]
    defects = [one for one in usable if one.masked]

    def like(one: Seen) -> str:
        return f"like {name(one.record.path)}"

    crossing: list[tuple[Seen, str]] = []
    within: dict[int, tuple[Seen, str]] = {}
    for i, j in same_defects(defects):
        first, second = defects[i], defects[j]
        if (first.record.path in alone) != (second.record.path in alone):
            crossing.append((second, like(first)))
        else:
            within.setdefault(j, (second, like(first)))
    return [
        ("train_test_duplicate", [(test[i], like(train[j])) for i, j in near_equal(test, train)]),
        ("good_duplicate", [(train[i], like(train[j])) for i, j in near_equal(train)]),
        ("base_test_duplicate", crossing),
        ("defect_duplicate", [within[j] for j in sorted(within)]),
    ]


def _counts(category: str, usable: Sequence[Seen], has_defects: bool) -> list[Finding]:
    """Too few good images, too few defects of a type, one type, none."""
    findings: list[Finding] = []
    good = sum(one.record.is_good and one.record.split == "train" for one in usable)
    types = Counter(one.record.defect for one in usable if not one.record.is_good)
    if good < FEW_GOOD:
        findings.append(Finding(kind="few_good", category=category, details=(f"{good}",)))
    if few := [f"{name} {count}" for name, count in types.items() if count < FEW_OF_A_TYPE]:
        findings.append(Finding(kind="few_of_a_type", category=category, details=(", ".join(few),)))
    if len(types) == 1:
        findings.append(Finding(kind="one_type", category=category, details=(next(iter(types)),)))
    if not has_defects:
        findings.append(Finding(kind="no_defects", category=category))
    return findings


def _summary(category: str, seen: Sequence[Seen]) -> Summary:
    good = [one.record.split for one in seen if one.record.is_good]
    sizes = Counter(f"{one.size[0]}x{one.size[1]}" for one in seen if one.size is not None)
    modes = Counter(one.mode for one in seen if one.size is not None)
    return Summary(
        category=category,
        train=good.count("train"),
        test=good.count("test"),
        defects=dict(Counter(one.record.defect for one in seen if not one.record.is_good)),
        sizes=dict(sizes.most_common()),
        modes=dict(modes.most_common()),
        depth=sum(one.record.depth_path is not None for one in seen),
    )
