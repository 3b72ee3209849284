"""Images added to a set: ids and streams go on, what was there stays, and every image can be made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from set_files import contents, rows_of

from anomalyhybrid.cli.main import main
from anomalyhybrid.errors import DataError
from anomalyhybrid.export.config import ExportConfig
from anomalyhybrid.generation.additions import description_of
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import read_dataset, read_rows
from anomalyhybrid.generation.sheet import write_sheet
from anomalyhybrid.recipes.export import export
from anomalyhybrid.recipes.generation import generate
from anomalyhybrid.recipes.regeneration import regenerate
from anomalyhybrid.recipes.report import report_set

Add = Callable[..., Path]


class StoppedError(Exception):
    """Stands for whatever ends a run."""


def stop_after(images: int) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done >= images:
            raise StoppedError

    return report


@pytest.fixture(scope="module")
def add(tiny_run: Path, maps_cache: Path) -> Add:
    """`generate`: ``add(out, data, count=2, append=True, ...)``."""

    def run(
        out: Path,
        *data: Path,
        base_set: tuple[Path, ...] = (),
        run: Path = tiny_run,
        append: bool = True,
        resume: bool = False,
        report: Callable[[int, int], None] | None = None,
        **settings: object,
    ) -> Path:
        config = GenerateConfig(**({"count": 4, "normals": 2, "batch_size": 2} | settings))  # type: ignore[arg-type]
        generate(
            str(run), data, out, base_set=base_set, config=config, append=append, resume=resume,
            cache=maps_cache / "conditions", announce=lambda text: None, report=report,
        )  # fmt: skip
        return out

    return run


@pytest.fixture(scope="module")
def nut_set(tmp_path_factory: pytest.TempPathFactory, add: Add, products: Path) -> Path:
    """Four defects and two good images of one category."""
    return add(tmp_path_factory.mktemp("nut") / "set", products / "nut", append=False)


@pytest.fixture
def nuts(tmp_path: Path, nut_set: Path) -> Path:
    """A copy of it to add to."""
    return Path(shutil.copytree(nut_set, tmp_path / "set"))


def pictures(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if name.endswith(".png")}


def test_two_halves_are_the_whole(tmp_path: Path, add: Add, products: Path, nuts: Path) -> None:
    """Same settings: streams go on, so that the images are those of a set made at once."""
    before, rows = contents(nuts), rows_of(nuts)
    add(nuts, products / "nut", count=4, normals=2)
    once = add(tmp_path / "once", products / "nut", count=8, normals=4, append=False)
    assert pictures(nuts) == pictures(once)
    assert rows_of(nuts)[:6] == rows
    assert {row["id"]: row for row in rows_of(nuts)} == {row["id"]: row for row in rows_of(once)}
    assert before.items() - contents(nuts).items() == {
        (name, before[name]) for name in ("manifest.jsonl", "dataset.json")
    }
    assert read_dataset(nuts)["summary"]["nut"] == read_dataset(once)["summary"]["nut"]


def test_other_data_settings_and_generator(
    tmp_path: Path,
    add: Add,
    products: Path,
    nuts: Path,
    maps_cache: Path,
    random_generator: Callable[[Path, int], Path],
) -> None:
    other = random_generator(tmp_path / "other.safetensors", 5)
    elsewhere = Path(shutil.copytree(products / "nut", tmp_path / "elsewhere" / "nut"))
    add(nuts, products / "nut", count=1, normals=0, seed=3, appearance="target")
    add(nuts, elsewhere, base_set=(elsewhere,), run=other, count=3, normals=1, batch_size=4)
    rows = rows_of(nuts)
    assert [row["id"] for row in rows] == [
        *(f"nut_{number:06d}" for number in range(4)), "nut_n000000", "nut_n000001", "nut_000004",
        "nut_000005", "nut_000006", "nut_000007", "nut_n000002",
    ]  # fmt: skip
    assert len({row["seed"] for row in rows}) == len(rows)
    about = read_dataset(nuts)
    assert [one["first"] for one in about["appended"]] == [
        {"nut": {"defects": 4, "normals": 2}},
        {"nut": {"defects": 5, "normals": 2}},
    ]
    made_by = [description_of(about, row)["config"]["count"] for row in read_rows(nuts)]
    assert made_by == [4, 4, 4, 4, 4, 4, 1, 3, 3, 3, 3]
    for number, image_id in enumerate(("nut_000001", "nut_000004", "nut_000006", "nut_n000002")):
        said: list[str] = []
        path = regenerate(nuts, image_id, tmp_path / str(number), announce=said.append)
        assert not [text for text in said if text.startswith("warning")]
        (row,) = [row for row in rows if row["id"] == image_id]
        assert path.read_bytes() == (nuts / row["image"]).read_bytes()
    # the other commands read the whole set, with the right targets
    exported = export(nuts, tmp_path / "export", config=ExportConfig(format="coco", all=True), announce=print)
    assert (exported.defects, exported.good) == (8, 3)
    page = write_sheet(nuts, tmp_path / "sheet.html").read_text()
    assert "source image not found" not in page
    assert "addition 2: model.sha256" in page
    done = report_set(nuts, tmp_path / "report.html")
    assert (done.images, done.faults) == (11, ())
    text = done.path.read_text()
    assert "(8 of 8 defect images compared)" in text
    assert "Addition 2" in text


def test_categories_of_a_set_of_several(tmp_path: Path, add: Add, products: Path) -> None:
    """One category alone is added into its own folder, and its ids go on alone."""
    out = add(tmp_path / "set", products, count=1, normals=0, append=False)
    add(out, products / "nut", count=2, normals=1)
    add(out, products, count=1, normals=0)
    rows = rows_of(out)
    assert [row["id"] for row in rows] == [
        "capsule_000000", "nut_000000", "nut_000001", "nut_000002", "nut_n000000", "capsule_000001", "nut_000003",
    ]  # fmt: skip
    assert all(row["image"].startswith(f"{row['category']}/") for row in rows)
    path = regenerate(out, "nut_000002", tmp_path / "again", announce=print)
    assert path.read_bytes() == (out / rows[3]["image"]).read_bytes()


@pytest.mark.parametrize("images", [0, 2, 4, 6])
def test_a_stopped_addition_is_finished_to_the_same_set(
    tmp_path: Path, add: Add, products: Path, nuts: Path, images: int
) -> None:
    whole = Path(shutil.copytree(nuts, tmp_path / "whole"))
    add(whole, products / "nut", seed=2, base_set=(products / "nut",))
    before = pictures(nuts)
    with pytest.raises(StoppedError):
        add(nuts, products / "nut", seed=2, base_set=(products / "nut",), report=stop_after(images))
    assert "summary" not in read_dataset(nuts)
    with pytest.raises(DataError, match="finish it with --append --resume"):
        add(nuts, products / "nut")
    with pytest.raises(DataError, match="begun with another config"):
        add(nuts, products / "nut", base_set=(products / "nut",), resume=True)
    assert before.items() <= pictures(nuts).items()
    add(nuts, products / "nut", seed=2, base_set=(products / "nut",), resume=True)
    assert contents(nuts) == contents(whole)


def test_plain_resume_makes_missing_images_of_the_last_addition(add: Add, products: Path, nuts: Path) -> None:
    add(nuts, products / "nut", seed=2)
    before, rows = contents(nuts), rows_of(nuts)
    for row in (rows[1], rows[-1]):
        (nuts / row["image"]).unlink()
    add(nuts, products / "nut", seed=2, append=False, resume=True)
    after = contents(nuts)
    assert before.keys() - after.keys() == {rows[1]["image"]}  # regenerate makes those of before
    assert before.items() >= after.items()


def test_what_cannot_be_added_to(tmp_path: Path, add: Add, products: Path, nuts: Path) -> None:
    before = contents(nuts)
    with pytest.raises(DataError, match="holds no set to append to"):
        add(tmp_path / "none", products / "nut")
    with pytest.raises(DataError, match="images of nut alone"):
        add(nuts, products / "capsule")
    with pytest.raises(DataError, match="images of nut alone"):
        add(nuts, products)
    with pytest.raises(DataError, match="no addition that was begun and not finished"):
        add(nuts, products / "nut", resume=True)
    assert contents(nuts) == before
    for entry, words in (({"kind": "hybrids"}, "of hybrids"), ({"level": "depth"}, "with depth")):
        (nuts / "dataset.json").write_text(json.dumps(json.loads(before["dataset.json"]) | entry))
        with pytest.raises(DataError, match=words):
            add(nuts, products / "nut")
    unfinished = {name: value for name, value in json.loads(before["dataset.json"]).items() if name != "summary"}
    (nuts / "dataset.json").write_text(json.dumps(unfinished))
    with pytest.raises(DataError, match="is not finished; finish it with --resume"):
        add(nuts, products / "nut")


def test_the_command_line(
    tmp_path: Path, products: Path, tiny_run: Path, nuts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", str(tiny_run), "--data", str(products / "nut"), "--out", str(nuts), "--count", "1"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "--append" in said
    assert "--overwrite" in said
    assert main([*words, "--append", "--normals", "1", "--batch-size", "2"]) == 0
    assert [row["id"] for row in rows_of(nuts)][-2:] == ["nut_000004", "nut_n000002"]
    assert main([*words, "--append", "--overwrite"]) == 2
    assert "leave one of them out" in capsys.readouterr().err
    assert main([*words, "--append", "--preview", "4"]) == 2
    assert "--preview has no meaning with --append" in capsys.readouterr().err
    assert main([*words[:2], "--global", "--data", str(products), "--out", str(nuts), "--append"]) == 2
    assert "--append has no meaning with --global" in capsys.readouterr().err


def test_resume_takes_the_settings_of_the_addition(
    products: Path, tiny_run: Path, nuts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from anomalyhybrid.generation import writer
    from anomalyhybrid.generation.writer import save_png

    words = ["generate", str(tiny_run), "--data", str(products / "nut"), "--out", str(nuts), "--append"]
    calls: list[Path] = []

    def interrupted(path: Path, pixels: object, *, profile: bytes | None = None) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        save_png(path, pixels, profile=profile)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(writer, "save_png", interrupted)
        assert main([*words, "--count", "3", "--seed", "8", "--batch-size", "1"]) == 130
    assert "--append --count 3 --seed 8 --batch-size 1 --resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert read_dataset(nuts)["appended"][0]["config"]["seed"] == 8
    assert len(rows_of(nuts)) == 9
