"""The result of `validate` in words and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from anomalyhybrid.data.files import write_text_atomic
from anomalyhybrid.recipes.validation import Summary, Validation

FORMAT = "anomalyhybrid-validation-1"
_SHOWN = 3  # files named for a finding on the screen; the JSON file names all


def describe(result: Validation) -> list[str]:
    """Say the result in lines: findings with the first files and what to do, then a table of the categories."""
    lines: list[str] = []
    for finding in result.findings:
        number = f": {len(finding.files)}" if finding.files else ""
        about = f" ({'; '.join(finding.details)})" if finding.details and not finding.files else ""
        lines.append(f"{finding.severity}: {finding.category}: {finding.message}{number}{about}")
        pairs = list(zip(finding.files, finding.details, strict=True)) if finding.files else []
        lines += [f"    {name}" + (f": {detail}" if detail else "") for name, detail in pairs[:_SHOWN]]
        lines += [f"    and {len(pairs) - _SHOWN} more"] if len(pairs) > _SHOWN else []
        lines.append(f"    -> {finding.advice}")
    numbers = {severity: result.count(severity) for severity in ("error", "warning", "note")}
    counts = ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for name, number in numbers.items())
    return [*lines, *([""] if lines else []), *_table(result.summaries), "", f"{result.root}: {counts}"]


def _table(summaries: Sequence[Summary]) -> list[str]:
    def some(counts: dict[str, int]) -> str:
        shown = [f"{name} {count}" for name, count in list(counts.items())[:_SHOWN]]
        return ", ".join(shown) + (f" and {len(counts) - _SHOWN} others" if len(counts) > _SHOWN else "") or "-"

    rows = [("category", "good", "good test", "defects", "types", "depth", "sizes", "modes")]
    rows += [
        (
            one.category,
            str(one.train),
            str(one.test),
            str(sum(one.defects.values())),
            str(len(one.defects)),
            str(one.depth),
            some(one.sizes),
            some(one.modes),
        )
        for one in summaries
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def save_json(result: Validation, path: Path) -> None:
    """Write the result as JSON, all or nothing: ``format``, ``root``, ``findings`` with all files, ``categories``.

    Raises:
        DataError: The file cannot be written.
    """
    content = {
        "format": FORMAT,
        "root": str(result.root),
        "findings": [
            {
                "severity": finding.severity,
                "kind": finding.kind,
                "category": finding.category,
                "message": finding.message,
                "advice": finding.advice,
                "files": list(finding.files),
                "details": list(finding.details),
            }
            for finding in result.findings
        ],
        "categories": [asdict(summary) for summary in result.summaries],
    }
    write_text_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
