"""Published figures: what PROTOCOL.md prints, and when they may stand beside ours."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from result_samples import LPIPS, REAL_INCEPTION, STAND_IN, result_of, rows_of

from anomalyhybrid.evaluation.figures import FIGURES
from anomalyhybrid.evaluation.published import (
    HELICONIUS,
    MEAN,
    MVTEC_3D_DEPTH,
    MVTEC_3D_RGB,
    MVTEC_AD,
    PUBLISHED,
    departures,
    has_all_categories,
    published_beside,
    why_not_comparable,
)
from anomalyhybrid.evaluation.results import Result, UsedNetwork

_COLUMNS = (
    ("inception_score", "ic_lpips"),
    ("accuracy",),
    ("pixel_auroc", "pixel_ap", "pixel_f1"),
    ("image_auroc", "image_ap", "image_f1"),
)


def _result(figure: str, *categories: str, **changes: object) -> Result:
    named = {"bottle": MVTEC_AD, "tire": MVTEC_3D_RGB}
    rows = rows_of(figure, {("ours", category): [0.5] for category in categories})
    datasets = {name: named[name] for name in categories if name in named}
    return result_of(rows, **({"datasets": datasets} | changes))


def test_every_figure_of_the_protocol_is_here(shared_dir: Path) -> None:
    lines = (shared_dir / "PROTOCOL.md").read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("## Published figures"))
    table = [line.strip("| ").split(" | ") for line in lines[start:] if line.startswith("| ")][1:]
    table = [row for row in table if set(row[0]) - set("|- ")][:9]
    assert len(table) == 9
    printed = []
    for label, *cells in table:
        figures = {}
        for names, cell in zip(_COLUMNS, cells, strict=True):
            for name, text in zip(names, cell.split("/"), strict=False):
                if text.strip() != "-":
                    value = float(text)
                    figures[name] = round(value / 100, 4) if FIGURES[name].is_share else value
        printed.append((label, figures))
    ours = [line for line in PUBLISHED if line.dataset == MVTEC_AD]
    for (label, figures), line in zip(printed, ours, strict=True):
        assert dict(line.figures) == figures, label
        assert (line.category == MEAN) == ("mean" in label)
        assert line.method.replace("AnomalyHybrid", "paper").lower() in label.lower()
    text = " ".join(lines[start:])
    generation = re.findall(r"(\d\.\d+)/(\d\.\d+)", text[text.index("MVTec 3D-AD tire") :])[:5]
    three_d = [line for line in PUBLISHED if line.dataset != MVTEC_AD and line.category in ("tire", MEAN)]
    three_d = [line for line in three_d if "inception_score" in line.figures]
    wanted = [
        ("AnomalyHybrid", "tire", MVTEC_3D_RGB), ("DFMGAN", "tire", MVTEC_3D_RGB),
        ("AnomalyDiffusion", "tire", MVTEC_3D_RGB), ("AnomalyHybrid", MEAN, MVTEC_3D_RGB),
        ("AnomalyHybrid", MEAN, MVTEC_3D_DEPTH),
    ]  # fmt: skip
    by_key = {(line.method, line.category, line.dataset): line.figures for line in three_d}
    found = [(by_key[key]["inception_score"], by_key[key]["ic_lpips"]) for key in wanted]
    assert found == [(float(score), float(lpips)) for score, lpips in generation]


def test_lines_name_source_and_known_figures() -> None:
    for line in PUBLISHED:
        assert line.source
        assert set(line.figures) <= set(FIGURES)
        assert all(0 <= value <= 1 for name, value in line.figures.items() if name != "inception_score")


@pytest.mark.parametrize(
    ("network", "shown"), [((REAL_INCEPTION,), True), ((STAND_IN,), False), ((), False), ((LPIPS,), False)]
)
def test_inception_scores_stand_only_beside_the_real_network(network: tuple, shown: bool) -> None:
    result = _result("inception_score", "bottle", networks=network)
    assert bool(published_beside(result, "inception_score")) is shown
    reason = why_not_comparable(result, "inception_score")
    assert (reason == "") is shown
    if network == (STAND_IN,):
        assert "EfficientNet-Lite2" in reason


def test_unet_figures_and_cluster_lpips_are_comparable() -> None:
    result = _result("pixel_ap", "bottle")
    lines = published_beside(result, "pixel_ap")
    assert {line.figures["pixel_ap"] for line in lines if line.category == "bottle"} == {0.772, 0.902, 0.674}
    assert 0.729 in {line.figures["pixel_ap"] for line in lines if line.category == MEAN}
    tire = _result("ic_lpips@alex", "tire", networks=(LPIPS,))
    values = [line.figures["ic_lpips"] for line in published_beside(tire, "ic_lpips@alex") if line.category == "tire"]
    assert values == [0.22, 0.25, 0.20]


def test_other_data_of_the_same_name_has_nothing_published() -> None:
    assert published_beside(_result("pixel_ap", "bottle", datasets={}), "pixel_ap") == ()
    other = published_beside(_result("pixel_ap", "bottle", datasets={"bottle": MVTEC_3D_RGB}), "pixel_ap")
    assert {(line.dataset, line.category) for line in other} == {(MVTEC_3D_RGB, MEAN)}
    assert why_not_comparable(_result("kid", "bottle", networks=(STAND_IN,)), "kid") == ""  # nobody printed one


def test_a_printed_mean_needs_all_categories() -> None:
    names = [f"category {number}" for number in range(15)]
    assert has_all_categories(_result("pixel_ap", *names, datasets=dict.fromkeys(names, MVTEC_AD)))
    assert not has_all_categories(_result("pixel_ap", *names[:14], datasets=dict.fromkeys(names, MVTEC_AD)))
    assert not has_all_categories(_result("pixel_ap", *names, datasets=dict.fromkeys(names[:14], MVTEC_AD)))
    assert not has_all_categories(_result("pixel_ap", *names, datasets={}))


def test_printed_means_say_where_they_differ_from_their_rows() -> None:
    mean = next(line for line in PUBLISHED if line.category == MEAN)
    assert math.isclose(mean.figures["pixel_ap"], 0.729)
    assert "73.2" in mean.remark


def test_other_settings_than_the_published_are_said() -> None:
    full = _result("pixel_ap", "bottle", options={"size": 256, "epochs": 200, "with_base": False})
    assert departures(full) == ""
    less = _result("pixel_ap", "bottle", options={"size": 256, "epochs": 20, "with_base": True})
    assert "epochs 20 (published: 200)" in departures(less)
    assert "with_base True (published: False)" in departures(less)
    assert "size" not in departures(less)


def test_tables_3_4_and_6_are_the_papers(shared_dir: Path) -> None:
    text = (shared_dir / "paper" / "anomalyhybrid.txt").read_text(encoding="utf-8")
    third = text[text.index("Table 3. Comparison") : text.index("Table 4. Comparison")].replace("cableG", "cable_gland")
    three_d = [line for line in PUBLISHED if line.source.endswith("Table 3")]
    assert len(three_d) == 44
    order = [("DFMGAN", MVTEC_3D_RGB), ("AnomalyDiffusion", MVTEC_3D_RGB), ("AnomalyHybrid", MVTEC_3D_RGB)]
    order.append(("AnomalyHybrid", MVTEC_3D_DEPTH))
    for name in dict.fromkeys(line.category for line in three_d):
        own = {(line.method, line.dataset): tuple(line.figures.values()) for line in three_d if line.category == name}
        row = re.search(rf"^{'Mean' if name == MEAN else name}\t(.*)$", third, re.MULTILINE)
        assert row is not None
        pairs = re.findall(r"(\d\.\d+) ?/ ?(\d\.\d+)", row[1])
        assert [own[key] for key in order] == [(float(one), float(two)) for one, two in pairs]
    fourth = text[text.index("Table 4. Comparison") : text.index("category as the base sets")]
    rows = [re.findall(r"\d\d\.\d", line) for line in fourth.splitlines()]
    printed = [[round(float(value) / 100, 4) for value in row] for row in rows if len(row) == 6]
    lines = [line for line in PUBLISHED if line.source.endswith("Table 4")]
    assert [list(line.figures.values()) for line in lines] == printed
    sixth = text[text.index("Recall@\tTrainset") : text.index("Table 7. Ablation")]
    columns = list(
        zip(*(re.findall(r"/(\d\.\d+)(?:\t|\n)", f"{row}\n") for row in sixth.splitlines()[2:6]), strict=True)
    )
    hybrids = [line for line in PUBLISHED if line.dataset == HELICONIUS]
    assert [tuple(line.figures.values()) for line in hybrids] == [tuple(map(float, column)) for column in columns]


def test_one_head_alone_has_nothing_published() -> None:
    network = UsedNetwork(role="dinov2", name="dinov2", sha256="a" * 64)
    result = _result("recall_signal", "wings", networks=(network,), datasets={"wings": HELICONIUS})
    assert len(published_beside(result, "recall_signal")) == 4
    assert published_beside(result, "recall_signal@sgd") == ()
    stand_in = _result("recall_signal", "wings", networks=(replace(network, stand_in="x"),), datasets=result.datasets)
    assert published_beside(stand_in, "recall_signal") == ()
