"""`anomalyhybrid select`: the file set, what the other commands make of it, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from set_files import check_contract, contents, file_set, rows_of

from anomalyhybrid.cli.main import main
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.export.config import ExportConfig
from anomalyhybrid.generation.depth_rows import DepthRow, read_depth_rows, write_depth_rows
from anomalyhybrid.generation.manifest import Row, read_rows, write_rows
from anomalyhybrid.recipes.export import export
from anomalyhybrid.recipes.regeneration import regenerate
from anomalyhybrid.recipes.report import report_set
from anomalyhybrid.recipes.selection import select
from anomalyhybrid.recipes.validation import validate


def _about(root: Path) -> dict:
    return json.loads((root / "dataset.json").read_text())


def _change(root: Path, **entries: object) -> None:
    (root / "dataset.json").write_text(json.dumps(_about(root) | entries))


@pytest.fixture
def nuts(one_category: Path, tmp_path: Path) -> Path:
    """A copy of a set of ten defects and three good images, all accepted."""
    copied = Path(shutil.copytree(one_category, tmp_path / "nuts"))
    write_rows(copied, [row for row in read_rows(copied) if row.accepted])
    return copied


def _defects(root: Path) -> list[dict]:
    return [row for row in rows_of(root) if row["label_mask"] is not None]


def test_a_selection_is_a_set_that_other_commands_read(two_categories: Path, tmp_path: Path) -> None:
    source, out = two_categories, tmp_path / "some"
    before = contents(source)
    accepted = Counter(row["category"] for row in _defects(source) if row["accepted"])
    assert min(accepted.values()) >= 5
    done = select(source, out, count=4)
    rows, all_rows = rows_of(out), {row["id"]: row for row in rows_of(source)}
    assert (done.defects, done.of, done.good) == (8, sum(accepted.values()), 4)
    assert done.left_out == len(all_rows) - done.of - done.good
    assert Counter(row["category"] for row in _defects(out)) == dict.fromkeys(accepted, 4)
    assert all(row == all_rows[row["id"]] and row["accepted"] for row in rows)
    files = {path for row in rows for path in (row["image"], row["label_mask"]) if path}
    assert file_set(out) == files | {"manifest.jsonl", "dataset.json"}
    assert all((out / path).read_bytes() == before[path] for path in files)
    assert contents(source) == before
    about = _about(out)
    assert {name: entry["defects"] for name, entry in about["summary"].items()} == dict.fromkeys(accepted, 4)
    assert about["selected"][0]["from"] == source.as_posix()
    assert about["selected"][0]["defects"] == accepted
    assert {**about, "summary": 0, "selected": 0} == {**_about(source), "summary": 0, "selected": 0}
    assert len(check_contract(out)) == 8
    reported = report_set(out)
    assert reported.faults == ()
    assert "4 of each category of set, types as set" in reported.path.read_text()
    exported = export(out, tmp_path / "coco", config=ExportConfig(format="coco"), announce=print)
    assert (exported.defects, exported.good) == (8, 4)
    assert validate([out]).count("error") == 0
    one = _defects(out)[-1]
    said: list[str] = []
    image = regenerate(out, one["id"], tmp_path / "again", announce=said.append)
    assert image.read_bytes() == before[one["image"]]
    assert not any("differs" in text for text in said)


def test_the_choice_depends_on_the_set_alone(nuts: Path, tmp_path: Path) -> None:
    select(nuts, tmp_path / "one", count=4)
    shuffled = Path(shutil.copytree(nuts, tmp_path / "shuffled"))
    write_rows(shuffled, read_rows(nuts)[::-1])
    select(shuffled, tmp_path / "two", count=4)
    one, two = ({row["id"] for row in _defects(tmp_path / name)} for name in ("one", "two"))
    assert one == two
    select(nuts, tmp_path / "all", count=len(_defects(nuts)))
    assert rows_of(tmp_path / "all") == rows_of(nuts)


def test_copies_of_one_picture_come_after_all_others(nuts: Path, tmp_path: Path) -> None:
    first, *others = _defects(nuts)
    copies = [row["id"] for row in others[1:5]]
    for row in others[1:5]:
        for name in ("image", "label_mask"):
            shutil.copy(nuts / first[name], nuts / row[name])

    def changed(row: Row) -> Row:
        row = replace(row, defect="dent") if row.label_mask else row
        return replace(row, structure=first["structure"]) if row.id in copies else row

    write_rows(nuts, list(map(changed, read_rows(nuts))))
    select(nuts, tmp_path / "out", count=len(others) + 1 - len(copies))
    assert sum(row["id"] in (first["id"], *copies) for row in _defects(tmp_path / "out")) == 1


def test_types_keep_their_shares_or_are_taken_equally(nuts: Path, tmp_path: Path) -> None:
    numbers = iter(range(100))
    rows = [
        replace(row, defect="rare" if next(numbers) < 2 else "frequent") if row.label_mask else row
        for row in read_rows(nuts)
    ]
    write_rows(nuts, rows)
    total = len(_defects(nuts))
    select(nuts, tmp_path / "set", count=total // 2)
    select(nuts, tmp_path / "equal", count=4, types="equal")
    assert Counter(row["defect"] for row in _defects(tmp_path / "set"))["rare"] == 1
    assert Counter(row["defect"] for row in _defects(tmp_path / "equal")) == {"rare": 2, "frequent": 2}


def test_depth_files_go_with_their_images(nuts: Path, tmp_path: Path) -> None:
    rows = _defects(nuts)
    depth = []
    for row in rows:
        paths = [f"depth/{row['id']}.png", f"preview/{row['id']}.png"]
        for path in paths:
            (nuts / path).parent.mkdir(exist_ok=True)
            (nuts / path).write_bytes(path.encode())
        depth.append(
            DepthRow(
                id=row["id"],
                depth=paths[0],
                preview=paths[1],
                source="",
                kind="png16",
                nearer_is_larger=False,
                unit="mm",
                sign="dent",
                requested_height=-1.0,
                generated_height=-1.0,
                profile="network",
                valid_share=1.0,
                changed_outside=0,
            )
        )
    write_depth_rows(nuts, depth)
    select(nuts, tmp_path / "out", count=3)
    chosen = [row["id"] for row in _defects(tmp_path / "out")]
    assert [row.id for row in read_depth_rows(tmp_path / "out")] == chosen
    assert {path for path in file_set(tmp_path / "out") if path.startswith(("depth/", "preview/"))} == {
        f"{folder}/{name}.png" for folder in ("depth", "preview") for name in chosen
    }
    assert _about(tmp_path / "out")["summary"]["depth"]["dent"]["pairs"] == 3


def test_paths_inside_the_set_still_lead_there(nuts: Path, tmp_path: Path) -> None:
    about = _about(nuts)
    Path(shutil.copytree(about["data"][0], nuts / "data" / "nut"))
    _change(nuts, data_root="data/nut", data=["data/nut"])
    select(nuts, tmp_path / "deep" / "out", count=3)
    assert _about(tmp_path / "deep" / "out")["data"] == [(nuts / "data" / "nut").as_posix()]
    assert len(check_contract(tmp_path / "deep" / "out")) == 3
    select(tmp_path / "deep" / "out", tmp_path / "fewer", count=2)
    assert [one["count"] for one in _about(tmp_path / "fewer")["selected"]] == [3, 2]
    assert len(check_contract(tmp_path / "fewer")) == 2


def _fails(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["select", *map(str, words)]) == 2
    return capsys.readouterr().err


def test_what_cannot_be_selected_from(
    nuts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], dummy_folder: Callable[..., Path]
) -> None:
    out = tmp_path / "out"
    total = len(_defects(nuts))
    said = _fails(capsys, nuts, "--count", total + 1, "--out", out)
    assert f"nut has {total}" in said
    assert "lower --count" in said
    assert "at least one" in _fails(capsys, nuts, "--count", 0, "--out", out)
    assert "types" in _fails(capsys, nuts, "--count", 2, "--types", "same", "--out", out)
    with pytest.raises(ConfigError, match="set, equal"):
        select(nuts, out, count=2, types="same")  # type: ignore[arg-type]
    assert "no dataset.json" in _fails(capsys, dummy_folder(), "--count", 1, "--out", out)
    for given, what in ((tmp_path / "nowhere", "does not exist"), (nuts / "dataset.json", "is a file")):
        assert f"{what}; give the folder of a generated set" in _fails(capsys, given, "--count", 1, "--out", out)
    whole = _about(nuts)
    for lacking in ({name: value for name, value in whole.items() if name != "model"}, whole | {"appended": [{}]}):
        (nuts / "dataset.json").write_text(json.dumps(lacking))
        assert "dataset.json lacks model" in _fails(capsys, nuts, "--count", 1, "--out", out)
    (nuts / "dataset.json").write_text("[]")
    assert "has format None" in _fails(capsys, nuts, "--count", 1, "--out", out)
    (nuts / "dataset.json").write_text(json.dumps(whole))
    _change(nuts, kind="hybrids")
    assert "hybrids" in _fails(capsys, nuts, "--count", 1, "--out", out)
    about = {name: value for name, value in _about(nuts).items() if name not in ("kind", "summary")}
    (nuts / "dataset.json").write_text(json.dumps(about))
    assert "finish it with generate --resume" in _fails(capsys, nuts, "--count", 1, "--out", out)
    _change(nuts, summary={})
    (nuts / _defects(nuts)[0]["label_mask"]).unlink()
    assert "is missing" in _fails(capsys, nuts, "--count", 1, "--out", out)
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp-")]


def test_rejected_defects_are_not_chosen(nuts: Path, tmp_path: Path) -> None:
    bad = {row["id"] for row in _defects(nuts)[:3]}
    write_rows(nuts, [replace(row, accepted=row.id not in bad) for row in read_rows(nuts)])
    left = len(_defects(nuts)) - 3
    done = select(nuts, tmp_path / "out", count=left)
    assert (done.of, done.left_out) == (left, 3)
    assert not bad & {row["id"] for row in _defects(tmp_path / "out")}
    with pytest.raises(DataError, match=f"nut has {left}"):
        select(nuts, tmp_path / "more", count=left + 1)


def test_only_a_selection_is_replaced(
    nuts: Path, one_category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "out", Path(shutil.copytree(one_category, tmp_path / "other"))
    assert main(["select", str(nuts), "--count", "2", "--out", str(out)]) == 0
    assert "selected 2 of" in capsys.readouterr().out
    before = contents(out)
    assert "--overwrite" in _fails(capsys, nuts, "--count", 3, "--out", out)
    (out / "notes.txt").write_text("mine")
    assert "notes.txt" in _fails(capsys, nuts, "--count", 3, "--out", out, "--overwrite")
    (out / "notes.txt").unlink()
    assert contents(out) == before
    assert main(["select", str(nuts), "--count", "3", "--out", str(out), "--overwrite"]) == 0
    assert len(_defects(out)) == 3
    known = contents(other)
    assert "select did not make" in _fails(capsys, nuts, "--count", 3, "--out", other, "--overwrite")
    for inside in (nuts, nuts / "some", tmp_path):
        assert "inside each other" in _fails(capsys, nuts, "--count", 3, "--out", inside, "--overwrite")
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file" in _fails(capsys, nuts, "--count", 3, "--out", file)
    assert contents(other) == known


@pytest.mark.parametrize("flags", [["--resume"], ["--append"], ["--append", "--resume"]])
def test_nothing_is_made_for_a_selection(
    nuts: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    select(nuts, tmp_path / "out", count=2)
    before = contents(tmp_path / "out")
    data = _about(nuts)["data"][0]
    assert main(["generate", str(tiny_run), "--data", data, "--out", str(tmp_path / "out"), *flags]) == 2
    said = capsys.readouterr().err
    assert "is a selection" in said
    assert nuts.as_posix() in said
    assert contents(tmp_path / "out") == before
