"""Files: natural order, paths that stay inside, writes that are all or nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from anomalyhybrid.data import files
from anomalyhybrid.data.files import (
    natural_key,
    raise_problems,
    resolve_inside,
    walk_images,
    write_text_atomic,
)
from anomalyhybrid.data.loading import load_image, save_png
from anomalyhybrid.errors import DataError


def test_natural_order() -> None:
    names = ["img10.png", "img2.png", "img1.png", "a.png", "img02.png"]
    assert sorted(names, key=natural_key) == ["a.png", "img1.png", "img02.png", "img2.png", "img10.png"]


def test_natural_key_tells_all_names_apart() -> None:
    assert len({natural_key(name) for name in ("1", "01", "a1", "a01", "²")}) == 5


def test_resolve_inside_accepts_names_below(tmp_path: Path) -> None:
    assert resolve_inside(tmp_path, "a/b.png") == tmp_path.resolve() / "a" / "b.png"
    assert resolve_inside(tmp_path, "a/../b.png") == tmp_path.resolve() / "b.png"


@pytest.mark.parametrize("name", ["", "../x.png", "a/../../x.png", "/etc/passwd", "C:\\x.png", "\\\\host\\x", "a\0b"])
def test_resolve_inside_refuses_names_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"outside|absolute|no path"):
        resolve_inside(tmp_path / "root", name)


def test_resolve_inside_refuses_links_that_leave(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "inner").mkdir()
    (root / "fine").symlink_to(root / "inner")
    assert resolve_inside(root, "fine/x.png") == root.resolve() / "inner" / "x.png"
    with pytest.raises(DataError, match="leads outside"):
        resolve_inside(root, "link/x.png")


def test_resolve_inside_is_not_fooled_by_a_common_prefix(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root2").mkdir()
    with pytest.raises(DataError, match="leads outside"):
        resolve_inside(tmp_path / "root", "../root2/x.png")


def test_walk_stops_at_link_cycles(tmp_path: Path, rgb_image: np.ndarray) -> None:
    (tmp_path / "a").mkdir()
    save_png(tmp_path / "a" / "x.png", rgb_image)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [path.name for path in walk_images(tmp_path)[0]] == ["x.png"]


def test_problems_are_cut_at_ten() -> None:
    raise_problems("fine", [])
    with pytest.raises(DataError) as caught:
        raise_problems("bad:", [f"file{index}" for index in range(13)])
    lines = str(caught.value).splitlines()
    assert lines[0] == "bad:"
    assert lines[10:] == ["  file9", "  ... and 3 more"]


def test_text_is_written_as_given(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "grün\nzwei")
    assert (tmp_path / "a.txt").read_bytes() == "grün\nzwei".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("call", ["open", "replace"])
@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EIO, os.strerror(errno.EIO))],
)
def test_failure_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, rgb_image: np.ndarray, monkeypatch: pytest.MonkeyPatch, call: str, code: int, message: str
) -> None:
    target = tmp_path / "a.png"
    save_png(target, rgb_image)
    before = target.read_bytes()

    class Full:
        """Writes half of what it is given, then fails."""

        def __init__(self, path: Path, mode: str) -> None:
            self.stream = Path(path).open(mode)  # noqa: SIM115

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *args: object) -> None:
            self.stream.close()

        def write(self, content: bytes) -> None:
            self.stream.write(content[: len(content) // 2])
            raise OSError(code, os.strerror(code))

    def fail(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    if call == "open":
        monkeypatch.setattr(files, "open", Full, raising=False)
    else:
        monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(DataError, match=rf"a\.png cannot be written: .*{message}"):
        save_png(target, 255 - rgb_image)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_interrupt_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_text_atomic(tmp_path / "a.txt", "x")
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_and_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder .*none does not exist; make it first"):
        write_text_atomic(tmp_path / "none" / "a.txt", "x")
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(DataError, match="a folder of that name is in the way"):
        write_text_atomic(tmp_path / "a.txt", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DataError, match="read-only"):
            write_text_atomic(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        write_text_atomic(tmp_path / "a.txt", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3), (48, 64, 4)])
def test_save_png_round_trip(tmp_path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)
    save_png(tmp_path / "a.png", pixels)
    loaded = load_image(tmp_path / "a.png")
    assert loaded.pixels.dtype == dtype
    np.testing.assert_array_equal(loaded.pixels, pixels)


def test_save_png_writes_bool_as_0_and_255(tmp_path: Path, disc_mask: np.ndarray) -> None:
    save_png(tmp_path / "a.png", disc_mask)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png").pixels, disc_mask * np.uint8(255))


def test_save_png_refuses_other_types_and_endings(tmp_path: Path, rgb_image: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"must end in \.png"):
        save_png(tmp_path / "a.jpg", rgb_image)
    with pytest.raises(DataError, match="allowed are"):
        save_png(tmp_path / "a.png", rgb_image.astype(np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_checkpoint_is_told_from_data(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("steps: 1\n")
    assert not files.is_own_output(tmp_path)
    (tmp_path / "journal.jsonl").write_text("")
    assert files.is_own_output(tmp_path)
