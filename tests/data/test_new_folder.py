"""A folder that takes an earlier one's place when it is complete, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalyhybrid.data.new_folder import making_folder, new_folder
from anomalyhybrid.errors import DataError


def tree(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with one file."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").write_text("old")
    return folder


@pytest.mark.parametrize("earlier", [True, False])
def test_the_new_one_takes_the_place_of_all_that_was_there(tmp_path: Path, out: Path, earlier: bool) -> None:
    target = out if earlier else tmp_path / "below" / "other"
    with new_folder(target) as making:
        (making / "new").write_text("new")
        assert making.parent == target.parent
        assert making.name.startswith(".")
        assert tree(out) == {"old": "old"}
    assert tree(target) == {"new": "new"}
    assert {path.name for path in tmp_path.iterdir()} == ({"out"} if earlier else {"out", "below"})


@pytest.mark.parametrize("error", [DataError("no"), KeyboardInterrupt(), OSError(28, "full")])
def test_after_an_error_all_is_as_before(tmp_path: Path, out: Path, error: BaseException) -> None:
    def work(making: Path) -> None:
        (making / "new").write_text("new")
        raise error

    with pytest.raises((DataError, KeyboardInterrupt)), new_folder(out) as making:
        work(making)
    assert tree(tmp_path) == {"out/old": "old"}


def test_work_that_may_go_on_later_is_kept(tmp_path: Path, out: Path) -> None:
    making = making_folder(out)

    def half(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="disk is full"), new_folder(out, making) as folder:
        half(folder)
    assert tree(tmp_path) == {"out/old": "old", f"{making.name}/half": "half"}
    with new_folder(out, making):
        (making / "rest").write_text("rest")
    assert tree(tmp_path) == {"out/half": "half", "out/rest": "rest"}


def test_what_a_killed_process_put_aside_is_not_lost(tmp_path: Path, out: Path) -> None:
    aside = tmp_path / ".out.anomalyhybrid-old"
    out.rename(aside)  # killed between both renamings
    with pytest.raises(DataError, match="move it back"), new_folder(out):
        pass
    assert tree(tmp_path) == {f"{aside.name}/old": "old"}
    out.mkdir()  # killed after both: the earlier one is there to be deleted
    with new_folder(out) as making:
        (making / "new").write_text("new")
    assert tree(tmp_path) == {"out/new": "new"}


def test_links_to_a_folder_stay(tmp_path: Path, out: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(out)
    with new_folder(link) as making:
        (making / "new").write_text("new")
    assert link.is_symlink()
    assert tree(out) == {"new": "new"}
