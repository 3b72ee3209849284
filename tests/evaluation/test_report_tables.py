"""Tables of results: who wins and by how much, what is said besides, Markdown and plain text."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from result_samples import EVIL, LPIPS, REAL_INCEPTION, WON, pixel_ap, result_of, rows_of

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.figures import figure_of
from anomalyhybrid.evaluation.report_tables import figure_table, overview_table
from anomalyhybrid.evaluation.report_text import markdown_table, text_table
from anomalyhybrid.evaluation.report_words import lead_sentence, ranking, result_notes
from anomalyhybrid.evaluation.results import Row


def _texts(line: object) -> list[str]:
    return [f"{cell.text} {cell.extra}".strip() for cell in line.cells]  # type: ignore[attr-defined]


def test_the_winner_and_its_distance_by_hand() -> None:
    """Means 0.81 and 0.705; seed means 0.80, 0.82 and 0.70, 0.71."""
    lead = lead_sentence(WON, "pixel_ap")
    assert (
        "ours is best on the mean of 2 categories: Pixel AP 81.0 ± 1.4, 10.5 points above paste (70.5 ± 0.7)." in lead
    )
    assert "exceeds the spread over seeds" in lead
    assert "It is best in 2 of the 2 categories." in lead


def test_a_difference_within_the_spread_is_a_tie() -> None:
    """3 points apart; each spread is 2.8, so that one alone is exceeded and both together are not."""
    values = {("ours", "bottle"): [0.90, 0.94], ("paste", "bottle"): [0.87, 0.91]}
    assert "within the spread over seeds: read it as a tie" in lead_sentence(pixel_ap(values), "pixel_ap")
    assert ranking(pixel_ap(values), "pixel_ap").exceeds is False
    single = pixel_ap({key: own[:1] for key, own in values.items()})
    assert "One seed only, so the spread is unknown." in lead_sentence(single, "pixel_ap")
    assert "±" not in lead_sentence(single, "pixel_ap")


@pytest.mark.parametrize(("figure", "winner", "side"), [("kid", "b", "below"), ("fid", "b", "below")])
def test_lower_is_better_for_distances(figure: str, winner: str, side: str) -> None:
    result = result_of(rows_of(figure, {("a", "x"): [0.9], ("b", "x"): [0.1]}), networks=(REAL_INCEPTION,))
    lead = lead_sentence(result, figure)
    assert lead.startswith(f"{winner} is best on x")
    assert f" {side} a " in lead
    bold = {line.label: line.cells[0].best for line in figure_table(result, figure).lines}
    assert bold == {"a": False, "b": True}


def test_figures_without_direction_have_no_winner() -> None:
    for figure in ("nearest_base", "my own"):
        result = result_of(rows_of(figure, {("a", "x"): [0.9], ("b", "x"): [0.1]}))
        assert "no method wins" in lead_sentence(result, figure)
        assert not any(cell.best for line in figure_table(result, figure).lines for cell in line.cells)


def test_equal_at_the_shown_precision_is_level() -> None:
    result = pixel_ap({("a", "x"): [0.9001], ("b", "x"): [0.9004], ("c", "x"): [0.1]})
    assert "b and a are level and best on x: Pixel AP 90.0." in lead_sentence(result, "pixel_ap")
    assert [line.cells[0].best for line in figure_table(result, "pixel_ap").lines] == [True, True, False]


def test_a_method_without_all_categories_is_not_compared() -> None:
    """b has the easy category only; its higher mean must not win."""
    result = pixel_ap({("a", "easy"): [0.9], ("a", "hard"): [0.3], ("b", "easy"): [0.95], ("c", "easy"): [math.nan]})
    table = figure_table(result, "pixel_ap")
    assert "Only a was measured" in table.lead
    assert "categories are missing: b." in table.lead
    assert [_texts(line) for line in table.lines] == [
        ["90.0", "30.0", "60.0"],
        ["95.0", "–", "95.0 (1 of 2 categories)"],
        ["–", "–", "–"],
    ]
    assert [[cell.best for cell in line.cells] for line in table.lines] == [
        [False, True, True],
        [True, False, False],
        [False, False, False],
    ]


def test_a_category_that_nobody_has_is_left_out_of_the_mean() -> None:
    rows = rows_of("accuracy", {("a", "x"): [0.5], ("b", "x"): [0.4]})
    rows += rows_of("accuracy", {("a", "y"): [math.nan], ("b", "y"): [math.nan]}, notes=("one defect type: skipped",))
    table = figure_table(result_of(rows, networks=(replace(LPIPS, role="resnet34"),)), "accuracy")
    assert table.columns == ("x", "y", "mean of 1")
    assert _texts(table.lines[0]) == ["50.0", "–", "50.0"]
    assert "a is best on x" in table.lead
    assert "y: one defect type: skipped" in table.notes
    nothing = result_of(rows[2:])
    assert "Nothing was measured" in figure_table(nothing, "accuracy").lead
    assert not any(cell.best for line in figure_table(nothing, "accuracy").lines for cell in line.cells)


def test_missing_seeds_are_said() -> None:
    result = pixel_ap({("a", "x"): [0.5, 0.7], ("b", "x"): [0.4]})
    assert [_texts(line) for line in figure_table(result, "pixel_ap").lines] == [
        ["60.0 ± 14.1"],
        ["40.0 (1 of 2 seeds)"],
    ]
    assert "The spread over seeds is unknown." in lead_sentence(result, "pixel_ap")


def test_captions_give_seeds_mode_and_samples() -> None:
    rows = rows_of("pixel_ap", {("a", "x"): [0.5, 0.5]}, samples={"test": 63, "training": 500})
    rows += rows_of("pixel_ap", {("a", "y"): [0.5, 0.5]}, samples={"test": 80, "training": 500})
    rows += rows_of("pixel_ap", {("b", "y"): [0.5, 0.5]}, samples={"test": 80, "training": 500, "base": 20})
    rows += rows_of("pixel_ap", {("c", "y"): [0.5, 0.5]}, samples={"test": 80, "training": 500, "base": 9})
    caption = figure_table(result_of(rows), "pixel_ap").caption
    assert "seeds 0, 1; fixed mode" in caption
    assert "Samples: test x 63, y 80; training 500; base y 9 to 20" in caption


def test_notes_are_said_once_with_their_owners() -> None:
    rows = rows_of("kid", {("a", "x"): [0.1, 0.1], ("b", "x"): [0.1]}, notes=("all",))
    rows += rows_of("kid", {("a", "y"): [0.1, 0.1]}, notes=("all", "some")) + rows_of("kid", {("b", "y"): [0.1]})
    assert result_notes(result_of(rows)) == ("x; y, a: all", "y, a: some")


def test_published_rows_are_apart_and_never_best() -> None:
    result = pixel_ap({("ours", "bottle"): [0.5], ("paste", "bottle"): [0.4]}, datasets={"bottle": "MVTec AD"})
    table = figure_table(result, "pixel_ap")
    assert [line.label for line in table.lines] == ["ours", "paste"]
    assert [(line.label.split(" (")[0], line.cells[0].text) for line in table.published] == [
        ("AnomalyHybrid", "77.2"),
        ("DFMGAN", "90.2"),
        ("CropPaste", "67.4"),
    ]
    assert not any(cell.best for line in table.published for cell in line.cells)
    assert "ours is best on bottle" in table.lead
    assert any("all 15 categories of MVTec AD, not over those" in note and "72.9" in note for note in table.notes)
    assert "73.2" in " ".join(table.notes)
    assert any("best test epoch" in note for note in table.notes)
    assert figure_table(result, "pixel_ap", published=False).published == ()


def test_a_printed_mean_fills_the_column_of_all_categories() -> None:
    names = ["bottle", *(f"category {number}" for number in range(14))]
    result = pixel_ap({("ours", name): [0.5] for name in names}, datasets=dict.fromkeys(names, "MVTec AD"))
    table = figure_table(result, "pixel_ap")
    paper = next(line for line in table.published if line.label.startswith("AnomalyHybrid"))
    assert (paper.cells[0].text, paper.cells[-1].text) == ("77.2", "72.9")
    assert not any("not over those" in note for note in table.notes)


def test_overview_counts_the_wins() -> None:
    rows = [
        Row(method="a", category="x", seed=seed, figures={"pixel_ap": 0.9 + seed / 1e3, "fid": 9.0}) for seed in (0, 1)
    ]
    rows += [
        Row(method="b", category="x", seed=seed, figures={"pixel_ap": 0.5, "fid": 8.0 - 3 * seed}) for seed in (0, 1)
    ]
    rows += [Row(method="c", category="x", seed=seed, figures={"pixel_ap": 0.4, "fid": 9.0}) for seed in (0, 1)]
    table = overview_table(result_of(rows, networks=(REAL_INCEPTION,)))
    assert "a is best in 1 of 2 figures, 1 of them by more than the spread" in table.lead
    assert "b is best in 1 of 2 figures, 1 of them" in table.lead  # 6.5 +- 2.1 against 9.0 +- 0
    assert table.columns == ("Pixel AP\u00a0↑", "FID\u00a0↓")
    with pytest.raises(DataError, match="no figure 'kid'"):
        overview_table(result_of(rows), ["kid"])


def test_markdown_by_hand() -> None:
    text = markdown_table(WON, ["pixel_ap"])
    assert "| **Pixel AP** | bottle | tire | mean of 2 |\n| --- | ---: | ---: | ---: |\n" in text
    assert "| ours | **91.0** ± 1.4 | **71.0** ± 1.4 | **81.0** ± 1.4 |\n" in text
    assert "| paste | 80.5 ± 0.7 | 60.5 ± 0.7 | 70.5 ± 0.7 |\n" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120
    evil = pixel_ap({(EVIL, "a|b"): [0.5]})
    for line in markdown_table(evil, ["pixel_ap"]).splitlines():
        assert re.search(r"(?<!\\)[<>]", line) is None
        if line.startswith("| \\<script"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3


def test_plain_text_lines_up_and_has_no_control_characters() -> None:
    text = text_table(replace(WON, datasets={"bottle": "MVTec AD"}), ["pixel_ap"])
    lines = text.splitlines()
    rule = next(number for number, line in enumerate(lines) if line.startswith("---"))
    assert len({len(line) for line in (lines[rule - 1], *lines[rule : rule + 3])}) == 1
    assert "81.0* ± 1.4" in text
    assert "published, not measured here:" in text
    assert all(char.isprintable() for line in text_table(pixel_ap({(EVIL, EVIL): [0.5]})).splitlines() for char in line)


def test_shown_values() -> None:
    assert figure_of("pixel_ap").shown(0.92149) == "92.1"
    assert figure_of("kid").shown(0.0123) == "12.3"
    assert figure_of("kid").shown(-0.00001) == "0.0"
    assert figure_of("ic_lpips@vgg").label == "IC-LPIPS (vgg)"
    assert figure_of("fid").shown(math.nan) == "–"
