"""Class folders and the HDR challenge's CSV files: what is read, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomalyhybrid.data.class_folders import read_class_folders
from anomalyhybrid.data.heliconius import read_butterflies
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.errors import DataError

Put = Callable[[Path, np.ndarray], Path]

TRAINING = "CAMID,hybrid_stat,subspecies,parent_subspecies_1,parent_subspecies_2,filename\n"
REFERENCE = "CAMID,hybrid_stat,subspecies_ref,filename,ssp_indicator\n"


@pytest.fixture
def tree(tmp_path: Path, rgb_image: np.ndarray, put_image: Put) -> Path:
    for name in ("erato/b10.png", "erato/b2.jpg", "hydara/a.png"):
        put_image(tmp_path / "wings" / name, rgb_image)
    return tmp_path / "wings"


@pytest.fixture
def photos(tmp_path: Path, rgb_image: np.ndarray, put_image: Put) -> Path:
    for name in ("hybrid/h1.jpg", "non-hybrid/n1.jpg", "non-hybrid/n2.jpg", "flat.jpg"):
        put_image(tmp_path / "photos" / name, rgb_image)
    return tmp_path / "photos"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_class_folders(tree: Path) -> None:
    (tree / "notes.txt").write_text("x")
    (tree / "empty").mkdir()
    found = read_class_folders(tree)
    assert [record.relative for record in found.records] == ["erato/b2.jpg", "erato/b10.png", "hydara/a.png"]
    assert {(record.category, record.defect, record.mask_path) for record in found.records} == {("wings", "good", None)}
    assert found.classes == ("erato", "hydara")
    assert [record.path.name for record in found.of_class("erato")] == ["b2.jpg", "b10.png"]
    assert found.of_class("other") == ()
    assert found.describe() == f"{tree}: 3 images of 2 classes (erato 2, hydara 1)"
    assert found.only(("hydara",)).classes == ("hydara",)
    with pytest.raises(DataError, match=r"class 'x'.*classes are erato, hydara"):
        found.only(("x",))


def test_training_reads_the_same_images_as_one_category(tree: Path) -> None:
    """No reader of its own is needed to train: nested folders of good images are one product already."""
    assert read_data(tree).normals() == read_class_folders(tree).records
    assert read_data(tree).categories == ("wings",)


def test_class_folder_problems(tmp_path: Path, tree: Path, rgb_image: np.ndarray, put_image: Put) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_class_folders(tmp_path / "none")
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match=r"fewer than two class folders.*\(none\)"):
        read_class_folders(tmp_path / "void")
    deep = put_image(tree / "erato" / "deep" / "x.png", rgb_image)
    with pytest.raises(DataError, match=r"deep holds images a folder deeper"):
        read_class_folders(tree)
    deep.unlink()
    put_image(tree / "loose.png", rgb_image)
    with pytest.raises(DataError, match=r"beside its class folders, for example loose\.png"):
        read_class_folders(tree)


def test_training_csv(tmp_path: Path, photos: Path) -> None:
    rows = "1,hybrid,,9.0,8.0,h1.jpg\n2,non-hybrid,8.0,,,n1.jpg\n3,non-hybrid,hydara,,,flat.jpg\n"
    found = read_butterflies(write(tmp_path / "train.csv", "\ufeff" + TRAINING + rows), photos)
    assert [(one.kind, one.species, one.subspecies, one.record.relative) for one in found.listed] == [
        ("signal", "A", "8 x 9", "hybrid/h1.jpg"),
        ("non-hybrid", "A", "8", "non-hybrid/n1.jpg"),
        ("non-hybrid", "A", "hydara", "flat.jpg"),
    ]
    assert found.images().classes == ("8", "hydara")
    assert found.images(hybrids=True).classes == ("8 x 9", "8", "hydara")
    assert found.describe() == f"{photos}: 3 butterflies (non-hybrid 2, signal 1)"
    older = write(tmp_path / "older.csv", (TRAINING + rows).replace("hybrid_stat", "hybrid_stat_ref"))
    assert read_butterflies(older, photos) == found


def test_reference_csv(tmp_path: Path, photos: Path) -> None:
    rows = "1,1,petiverana x hydara,hybrid/h1.jpg,minor\n2,0,hydara,non-hybrid/n1.jpg,major\n"
    rows += "3,1,plesseni x malleti,non-hybrid/n2.jpg,mimic\n4,1,a x b,flat.jpg,major\n"
    found = read_butterflies(write(tmp_path / "ref.csv", REFERENCE + rows), photos)
    assert [(one.kind, one.species, one.subspecies) for one in found.listed] == [
        ("non-signal", "A", "hydara x petiverana"),
        ("non-hybrid", "A", "hydara"),
        ("mimic", "mimic", "malleti x plesseni"),
        ("signal", "A", "a x b"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no row"),
        (TRAINING, "holds no row"),
        ("filename,hybrid_stat\nn1.jpg,hybrid\n", "lacks the columns subspecies, parent_subspecies_1"),
        ("filename,subspecies_ref\nn1.jpg,a\n", "lacks the columns hybrid_stat, ssp_indicator"),
        (TRAINING + "1,maybe,8,,,n1.jpg\n", "line 2: hybrid_stat is 'maybe'"),
        (TRAINING + "1,non-hybrid,,,,n1.jpg\n", "line 2: subspecies is empty"),
        (TRAINING + "1,hybrid,,8,,h1.jpg\n", "parent_subspecies_2 is empty; a hybrid needs both parents"),
        (TRAINING + "1,non-hybrid,8,,,n1.jpg\n2,non-hybrid,8,,,n1.jpg\n", r"n1\.jpg is the file of line 2 again"),
        (TRAINING + "1,non-hybrid,8,,,../secret.jpg\n", "leads outside"),
        (TRAINING + "1,non-hybrid,8,,,/etc/secret.jpg\n", "absolute path"),
        (TRAINING + "1,non-hybrid,8,,,\n", "filename '' is no image"),
        (REFERENCE + "1,0,hydara,flat.jpg,other\n", "ssp_indicator is 'other'"),
    ],
)
def test_csv_problems(tmp_path: Path, photos: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_butterflies(write(tmp_path / "t.csv", text), photos)


def test_missing_files_are_listed(tmp_path: Path, photos: Path) -> None:
    rows = "".join(f"{n},non-hybrid,8,,,gone{n}.jpg\n" for n in range(12)) + "13,non-hybrid,8,,,n1.jpg\n"
    with pytest.raises(DataError, match=r"12 of 13 rows") as caught:
        read_butterflies(write(tmp_path / "t.csv", TRAINING + rows), photos)
    assert "line 2: gone0.jpg is missing (looked for gone0.jpg and non-hybrid/gone0.jpg" in str(caught.value)
    assert "and 2 more" in str(caught.value)


def test_unreadable_tables(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_butterflies(tmp_path / "none.csv", photos)
    (tmp_path / "latin.csv").write_bytes(TRAINING.encode() + b"1,non-hybrid,\xe9,,,n1.jpg\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_butterflies(tmp_path / "latin.csv", photos)
