"""Images with a class each, as global generation combines them: a folder for each class, one product for the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from anomalyhybrid.data.files import existing_folder, list_folder
from anomalyhybrid.data.records import GOOD, Record
from anomalyhybrid.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassedImages:
    """Images of one product, each of one class.

    Attributes:
        root: Absolute path that every record's ``relative`` starts from.
        records: All images, ``good`` and of one category, so that one generator learns all classes.
        class_of: Class of each image, by the record's ``relative``.
    """

    root: Path
    records: tuple[Record, ...]
    class_of: Mapping[str, str]

    def __post_init__(self) -> None:
        lacking = [record.relative for record in self.records if record.relative not in self.class_of]
        if lacking:
            raise DataError(f"{len(lacking)} images have no class, for example {lacking[0]}; give each one")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the records."""
        return tuple(dict.fromkeys(self.class_of[record.relative] for record in self.records))

    def of_class(self, name: str) -> tuple[Record, ...]:
        """Images of one class, in order; empty for an unknown one."""
        return tuple(record for record in self.records if self.class_of[record.relative] == name)

    def only(self, classes: tuple[str, ...]) -> ClassedImages:
        """The images of some classes.

        Raises:
            DataError: A class that no image has.
        """
        if unknown := [name for name in classes if name not in self.classes]:
            raise DataError(
                f"no image of class {unknown[0]!r} below {self.root}; classes are {', '.join(self.classes)}"
            )
        kept = tuple(record for record in self.records if self.class_of[record.relative] in classes)
        return ClassedImages(root=self.root, records=kept, class_of=self.class_of)

    def describe(self) -> str:
        """Say in one line what was found."""
        counts = ", ".join(f"{name} {len(self.of_class(name))}" for name in self.classes)
        return f"{self.root}: {len(self.records)} images of {len(self.classes)} classes ({counts})"


def good_record(path: Path, root: Path, category: str) -> Record:
    """The record of a whole image without a defect region."""
    relative = path.relative_to(root).as_posix()
    return Record(path=path, relative=relative, category=category, defect=GOOD, mask_path=None, split="train")


def read_class_folders(root: Path) -> ClassedImages:
    """Read a folder of class folders, ``<class>/<image>``.

    Training reads the same folder without this reader, as a plain folder of good images: one category.

    Args:
        root: The folder; its name is the category. Files beside the class folders that are no images, hidden
            entries, generated sets and training runs are left alone.

    Returns:
        The images, in natural order of classes and names.

    Raises:
        DataError: The folder is missing; images outside class folders or deeper than one folder, which have no
            class for certain; fewer than two classes.
    """
    root = existing_folder(root)
    loose, folders, _ = list_folder(root)
    if loose:
        raise DataError(
            f"{root} holds images beside its class folders, for example {loose[0].name}; move each into the folder of "
            "its class"
        )
    records: list[Record] = []
    class_of: dict[str, str] = {}
    for folder in folders:
        images, deeper, _ = list_folder(folder)
        if nested := [inner for inner in deeper if list_folder(inner)[0]]:
            raise DataError(
                f"{nested[0]} holds images a folder deeper than <class>/<image>; move them up, or give {folder} if its "
                "folders are the classes"
            )
        own = [good_record(path, root, root.name) for path in images]
        records += own
        class_of |= {record.relative: folder.name for record in own}
    if len(set(class_of.values())) < 2:
        found = ", ".join(dict.fromkeys(class_of.values())) or "none"
        raise DataError(
            f"{root} has fewer than two class folders with images ({found}); hybrids need at least two classes, each a "
            "folder of images"
        )
    return ClassedImages(root=root, records=tuple(records), class_of=class_of)
