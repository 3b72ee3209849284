"""`anomalyhybrid export`: what it says, what it refuses, and that nothing half-written is left."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from exported_sets import contents, rows_of, write_set

from anomalyhybrid.cli.main import main
from anomalyhybrid.data.new_folder import new_folder
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.export import annotations, records, trees
from anomalyhybrid.export.config import ExportConfig
from anomalyhybrid.recipes.export import export

Fails = Callable[..., str]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Run a command line that must end with code 2, and give its one message."""

    def run(*words: object) -> str:
        assert main(["export", *map(str, words)]) == 2
        text = capsys.readouterr().err
        assert "Traceback" not in text
        assert text.count("error: ") == 1
        return text

    return run


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# What it does


def test_command_says_what_it_did(two_products: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(two_products), "--format", "mvtec", "--out", str(tmp_path / "new" / "out")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "exported 5 defects and 4 good images" in said.out
    assert "2 rejected images were left out (--all takes them)" in said.out
    assert "exporting: 9/9 images" in said.err
    assert "warning" not in said.err
    assert main([*words, "--all", "--overwrite"]) == 0
    said = capsys.readouterr()
    assert "exported 7 defects and 4 good images" in said.out
    assert "rejected" not in said.out
    assert names_in(tmp_path / "new") == {"out"}


def test_settings_from_yaml(two_products: Path, tmp_path: Path) -> None:
    settings = tmp_path / "export.yaml"
    settings.write_text(f"format: coco\nsegmentation: polygon\nout: {tmp_path / 'out'}\n")
    assert main(["export", str(two_products), "--config", str(settings)]) == 0
    assert json.loads((tmp_path / "out" / "export.json").read_text())["config"]["segmentation"] == "polygon"


def test_it_warns_of_what_a_reader_would_not_expect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = write_set(tmp_path / "set", {"nut": ["dent", "dent"]}, good=0)
    (dataset / "dataset.json").write_text(json.dumps({"format": 1, "level": "depth"}))
    assert main(["export", str(dataset), "--format", "anomalib", "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().err
    assert "not finished" in text
    assert "depth files are not exported" in text
    assert "no good images of nut" in text
    assert "add normal_dir" in (tmp_path / "out/nut/folder.yaml").read_text()
    assert "def folder(normal_dir, **more)" in (tmp_path / "out/nut/datamodules.py").read_text()
    compile((tmp_path / "out/nut/datamodules.py").read_text(), "datamodules.py", "exec")


def test_of_repeated_rows_the_last_counts(tmp_path: Path) -> None:
    dataset = write_set(tmp_path / "set", {"nut": ["dent", "dent"]}, rejected=0)
    rows = rows_of(dataset)
    with (dataset / "manifest.jsonl").open("a") as stream:
        stream.write(json.dumps(rows[0] | {"accepted": False}) + "\n")
    done = export(dataset, tmp_path / "out", config=ExportConfig(format="mvtec"), announce=lambda text: None)
    assert (done.defects, done.left_out) == (1, 1)


def test_help_is_complete_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom anomalyhybrid.cli.main import main\nmain(['export', '--help'])\n"
        "print('LOADED', [name for name in ('torch', 'cv2', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout
    for word in ("--format", "--out", "--overwrite", "--all", "--segmentation", "--shard-size", "--val-share", "visa"):
        assert word in done.stdout


# Settings


def test_unknown_formats_name_the_known_ones(fails: Fails, two_products: Path, tmp_path: Path) -> None:
    text = fails(two_products, "--format", "voc", "--out", tmp_path / "out")
    with pytest.raises(ConfigError) as raised:
        ExportConfig(format="voc")  # type: ignore[arg-type]
    for name in ("voc", "mvtec", "visa", "coco", "yolo", "anomalib", "imagefolder", "webdataset"):
        assert name in text
        assert name in str(raised.value)


def test_wrong_settings(fails: Fails, two_products: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "out"]
    assert "setting of the format webdataset, not of coco" in fails(
        two_products, "--format", "coco", "--shard-size", 5, *out
    )
    assert "at least 1" in fails(two_products, "--format", "webdataset", "--shard-size", 0, *out)
    assert "at least 0 and below 1" in fails(two_products, "--format", "yolo", "--val-share", 1, *out)
    assert not (tmp_path / "out").exists()


# The set


def test_what_is_no_set(fails: Fails, tmp_path: Path) -> None:
    words = ["--format", "coco", "--out", tmp_path / "out"]
    assert "does not exist" in fails(tmp_path / "gone", *words)
    (tmp_path / "plain").mkdir()
    assert "holds no dataset.json; give the folder of a generated set" in fails(tmp_path / "plain", *words)
    dataset = write_set(tmp_path / "set", {"nut": ["dent"]}, good=0)
    assert "all 1 images are rejected; --all takes them" in fails(dataset, *words)
    (dataset / "manifest.jsonl").write_text("")
    assert "its manifest is empty" in fails(dataset, *words)
    (dataset / "manifest.jsonl").unlink()
    assert "holds no manifest.jsonl" in fails(dataset, *words)


def test_missing_files_are_all_named(fails: Fails, two_products: Path, tmp_path: Path) -> None:
    first, second, *_ = rows_of(two_products)
    (two_products / first["image"]).unlink()
    (two_products / second["label_mask"]).unlink()
    text = fails(two_products, "--format", "visa", "--out", tmp_path / "out")
    assert f"image {first['image']} is missing" in text
    assert f"label mask {second['label_mask']} is missing" in text
    assert names_in(tmp_path) == {"set"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "../outside.png"}, "leads outside"),
        ({"label_mask": "/etc/hostname"}, "absolute path"),
        ({"image": None}, "is no path"),
        ({"image": "link.png"}, "leads outside"),
        ({"category": "../up"}, "cannot be a file name"),
        ({"defect": ".."}, "cannot be a file name"),
        ({"id": "a/b"}, "cannot be a file name"),
        ({"defect": "good"}, "a good image with a label mask"),
    ],
)
def test_paths_that_leave_the_set(fails: Fails, two_products: Path, tmp_path: Path, change: dict, message: str) -> None:
    (tmp_path / "outside.png").write_bytes(b"secret")
    (two_products / "link.png").symlink_to(tmp_path / "outside.png")
    first, *rest = rows_of(two_products)
    lines = [json.dumps(row) + "\n" for row in (first | change, *rest)]
    (two_products / "manifest.jsonl").write_text("".join(lines))
    assert message in fails(two_products, "--format", "mvtec", "--out", tmp_path / "out")
    assert names_in(tmp_path) == {"set", "outside.png"}


@pytest.mark.parametrize("format", ["mvtec", "visa", "coco", "yolo", "anomalib"])
def test_hybrids_are_refused_where_masks_are_needed(fails: Fails, tmp_path: Path, format: str) -> None:
    dataset = write_set(tmp_path / "set", {"moth": ["hybrid"]}, rejected=0, hybrids=True)
    text = fails(dataset, "--format", format, "--out", tmp_path / "out")
    assert "export them as imagefolder or webdataset" in text
    assert names_in(tmp_path) == {"set"}


def test_yolo_needs_several_targets_and_a_class(fails: Fails, tmp_path: Path) -> None:
    one = write_set(tmp_path / "one", {"nut": ["dent", "dent"]}, targets=1)
    words = ["--format", "yolo", "--out", tmp_path / "out"]
    assert "give --val-share 0" in fails(one, *words)
    assert main(["export", str(one), *map(str, words), "--val-share", "0"]) == 0
    good = write_set(tmp_path / "good", {"nut": []}, rejected=0)
    assert "holds no defects" in fails(good, *words, "--overwrite")
    assert (tmp_path / "out" / "export.json").is_file()


def test_ids_that_make_one_key(fails: Fails, tmp_path: Path) -> None:
    dataset = write_set(tmp_path / "set", {"nut": ["dent", "dent"]}, rejected=0)
    text = (dataset / "manifest.jsonl").read_text()
    text = text.replace('"id": "nut_000000"', '"id": "a.b"').replace('"id": "nut_000001"', '"id": "a_b"')
    (dataset / "manifest.jsonl").write_text(text)
    assert "differ in dots" in fails(dataset, "--format", "webdataset", "--out", tmp_path / "out")


# The output folder


def test_folders_that_hold_anything_are_kept(fails: Fails, two_products: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    words = [two_products, "--format", "mvtec", "--out", out]
    (out / "mine.txt").write_text("mine")
    assert "--overwrite" in fails(*words)
    assert "no export made it" in fails(*words, "--overwrite")
    assert contents(out) == {"mine.txt": b"mine"}
    (out / "mine.txt").unlink()
    assert main(["export", *map(str, words)]) == 0, "an empty folder is taken"
    assert "already holds files" in fails(*words)
    assert main(["export", str(two_products), "--format", "coco", "--out", str(out), "--overwrite"]) == 0
    assert not (out / "nut" / "test").exists(), "nothing of the earlier export is left"
    assert names_in(tmp_path) == {"set", "out"}


def test_set_and_export_do_not_mix(fails: Fails, two_products: Path, tmp_path: Path) -> None:
    before = contents(two_products)
    link = tmp_path / "link"
    link.symlink_to(two_products)
    for out in (two_products, two_products / "export", tmp_path, link / "export"):
        assert "inside each other" in fails(two_products, "--format", "mvtec", "--out", out, "--overwrite")
    (tmp_path / "file").write_text("x")
    assert "is a file" in fails(two_products, "--format", "mvtec", "--out", tmp_path / "file")
    with pytest.raises(DataError, match="is a file"):
        export(two_products, tmp_path / "file", config=ExportConfig(format="mvtec"), announce=print)
    assert contents(two_products) == before


@pytest.mark.parametrize("format", ["mvtec", "coco", "webdataset"])
@pytest.mark.parametrize("earlier", [False, True])
def test_disk_full_in_the_middle(
    fails: Fails, two_products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, earlier: bool
) -> None:
    out = tmp_path / "out"
    if earlier:
        assert main(["export", str(two_products), "--format", "visa", "--out", str(out)]) == 0
    before, written = contents(out), []

    def until_full(write: Callable[..., None]) -> Callable[..., None]:
        def wrapped(*arguments: object) -> None:
            if len(written) == 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written.append(arguments)
            write(*arguments)

        return wrapped

    for module, name in ((trees, "copy_file"), (annotations, "copy_file"), (records, "_add")):
        monkeypatch.setattr(module, name, until_full(getattr(module, name)))
    text = fails(two_products, "--format", format, "--out", out, "--overwrite")
    assert "disk is full" in text
    assert len(written) == 3
    assert contents(out) == before
    assert names_in(tmp_path) == ({"set", "out"} if earlier else {"set"})


def test_interrupt_keeps_what_was_there(two_products: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = ExportConfig(format="visa")
    export(two_products, out, config=config, announce=print)
    before = contents(out)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(two_products, out, config=config, overwrite=True, announce=print, report=stop)
    assert contents(out) == before
    assert names_in(tmp_path) == {"set", "out"}


def test_folder_that_cannot_be_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if (path / "new").exists():
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DataError, match="busy"), new_folder(out) as making:
        (making / "new").write_text("new")
    assert contents(tmp_path) == {"out/old": b"old"}
