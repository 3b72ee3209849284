"""The report: headings, pictures, and a page that is whole and harmless."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from result_samples import EVIL, REAL_INCEPTION, STAND_IN, WON, result_of, rows_of

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.curves import Curve, CurvePlot
from anomalyhybrid.evaluation.report import render_report, write_report
from anomalyhybrid.evaluation.report_pictures import Failure, Picture, Sheet, failure_shots, picture_shot
from anomalyhybrid.evaluation.report_tables import figure_table, overview_table
from anomalyhybrid.evaluation.report_text import markdown_table, text_table

_VOID = {"meta", "img", "line", "path", "polyline", "br"}


class _Checker(HTMLParser):
    """Collects tags, attributes and text, and checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text.append(data)


def _checked(page: str) -> _Checker:
    checker = _Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def test_stand_ins_are_named_in_every_heading() -> None:
    rows = rows_of("inception_score", {("a", "bottle"): [2.0], ("b", "bottle"): [1.5]})
    rows = [replace(row, figures={**row.figures, "kid": 0.05}) for row in rows]
    stand_in = result_of(rows, networks=(STAND_IN,), datasets={"bottle": "MVTec AD"})
    named = "IS [stand-in: EfficientNet-Lite2]"
    assert figure_table(stand_in, "inception_score").heading == named
    assert all("[stand-in: EfficientNet-Lite2]" in column for column in overview_table(stand_in).columns)
    assert "IS \\[stand-in: EfficientNet-Lite2\\]" in markdown_table(stand_in)
    assert named in text_table(stand_in)
    page = "".join(_checked(render_report([stand_in])).text)
    assert page.count("EfficientNet-Lite2") > 8
    assert "Stand-in EfficientNet-Lite2: no Inception here." in page
    assert "2.01" not in page  # published IS
    assert "real network only and are left out here (used: EfficientNet-Lite2)" in page
    real = replace(stand_in, networks=(REAL_INCEPTION,))
    page = "".join(_checked(render_report([real])).text)
    assert "stand-in" not in page.lower()
    assert "2.01" in page


def _picture(side: int = 40) -> tuple[np.ndarray, np.ndarray]:
    image = np.full((side, side, 3), (200, 120, 40), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[10:20, 10:20] = 255
    return image, mask


def _decoded(uri: str) -> np.ndarray:
    kind, code = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(code), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture[..., ::-1].astype(int)


def test_pictures_keep_their_colours_and_show_the_outline() -> None:
    image, mask = _picture()
    plain = _decoded(picture_shot(Picture(image), "real defect").source)
    assert np.abs(plain - image).max() <= 6
    marked = _decoded(picture_shot(Picture(image, mask), "real defect").source)
    assert np.abs(marked - image).sum(axis=2)[9, 15] > 150  # the ring
    assert np.abs(marked - image).sum(axis=2)[15, 15] < 30  # not what it encloses
    large = np.repeat(np.repeat(image, 10, 0), 20, 1)
    assert _decoded(picture_shot(Picture(large), "real defect").source).shape == (96, 192, 3)
    heat = np.where(mask > 0, np.uint8(255), np.uint8(0))
    shots = failure_shots(Failure("ours", image, mask, heat))
    colours = _decoded(shots[2].source)
    assert colours[15, 15].sum() > 500
    assert colours[35, 35].sum() < 60
    good = failure_shots(Failure("ours", image, np.zeros_like(mask), heat))
    assert "good image" in good[1].caption


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_u8": np.zeros((40, 40, 3))}, "float64"),
        ({"image_u8": np.zeros((40, 40), np.uint8)}, "RGB"),
        ({"gt_mask": np.zeros((39, 40), np.uint8)}, "resize"),
        ({"map_u8": np.zeros((40, 40), bool)}, "255 for probability 1"),
        ({"map_u8": np.zeros((40, 40, 1), np.uint8)}, r"\(H, W\)"),
    ],
)
def test_wrong_pictures_are_refused(change: dict[str, np.ndarray], words: str) -> None:
    image, mask = _picture()
    with pytest.raises(DataError, match=words):
        failure_shots(replace(Failure("ours", image, mask, mask), **change))


def test_the_page_is_whole_asks_for_nothing_and_escapes_all_names(tmp_path: Path) -> None:
    image, mask = _picture()
    rows = rows_of("pixel_ap", {(EVIL, EVIL): [0.5, 0.6], ("b", EVIL): [0.4, 0.4]}, notes=(EVIL,), samples={EVIL: 3})
    rows += rows_of(EVIL, {("c", EVIL): [0.1]}, checkpoint="ab" * 32)
    result = result_of(
        rows,
        protocol=EVIL,
        options={EVIL: EVIL},
        networks=(replace(STAND_IN, name=EVIL, stand_in=EVIL),),
        datasets={EVIL: EVIL},
        device=EVIL,
    )
    plots = [CurvePlot(EVIL, [Curve(EVIL, np.array([0.0, 1.0]), np.array([1.0, 0.2]))], EVIL)]
    sheets = [Sheet(EVIL, [Picture(image, mask, EVIL)], [Picture(image, None, EVIL)] * 2, EVIL)]
    failures = [Failure(EVIL, image, mask, mask, EVIL)]
    settings = {"title": EVIL, "plots": plots, "sheets": sheets, "failures": failures}
    page = write_report([result, WON], tmp_path / "new" / "report.html", **settings).read_text(encoding="utf-8")  # type: ignore[arg-type]
    checker = _checked(page)
    tags = [tag for tag, _ in checker.seen]
    assert "script" not in tags
    assert tags.count("img") == 3 + 3
    assert tags.count("polyline") == 1
    assert not any(name.startswith("on") for _, attributes in checker.seen for name in attributes)
    for _, attributes in checker.seen:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))
    assert re.search(r"https?://|url\(|@import", page) is None
    assert "".join(checker.text).count("<script>") > 20  # as text
    assert "default-src 'none'" in page


def test_the_page_shows_every_part() -> None:
    image, mask = _picture()
    curve = Curve("ours", np.array([0.0, 1.0]), np.array([1.0, 0.2]))
    other = Curve("paste", np.array([0.0, 1.0]), np.array([1.0, 0.1]))
    page = render_report(
        [WON, replace(WON, mode="as_published")],
        plots=[CurvePlot("first", [other]), CurvePlot("second", [curve, other])],
        sheets=[Sheet("bottle, crack", [Picture(image)], [Picture(image)])],
        failures=[Failure("ours", image, mask, mask), Failure("paste", image, mask, mask, "score 0.1")],
    )
    text = "".join(_checked(page).text)
    for words in ("Table 2, fixed mode", "as-published mode", "recall", "precision", "score 0.1", "real (1)", "0.1.0"):
        assert words in text
    assert re.findall(r'polyline class="curve s(\d)"', page) == ["0", "1", "0"]  # a method keeps its style
    assert page.count('<td class="best"><b>81.0</b>') == 2
    assert "Failure cases" not in render_report([WON])


def test_nothing_to_report_is_an_error() -> None:
    with pytest.raises(DataError, match="no results"):
        render_report([])


def test_published_rows_come_after_ours() -> None:
    page = render_report([replace(WON, datasets={"bottle": "MVTec AD"})])
    assert page.index("paste") < page.index('<tbody class="published">') < page.index("DFMGAN")
