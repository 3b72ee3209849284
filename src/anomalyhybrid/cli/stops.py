"""What a stopped command has left on disk, and the command that goes on from there."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from anomalyhybrid.cli.settings import read_yaml
from anomalyhybrid.data.new_folder import making_folder
from anomalyhybrid.generation.manifest import SUMMARY
from anomalyhybrid.generation.shards import SHARDS


def after_interrupt(words: Sequence[str], interrupt: KeyboardInterrupt) -> str:
    """Say what a stopped command has left on disk and how to go on.

    Args:
        words: The command line.
        interrupt: What was raised.

    Returns:
        One or two sentences.
    """
    command = words[0] if words else ""
    again = shlex.join(["anomalyhybrid", *words])
    if command == "evaluate":
        return f"Finished rows are kept. To go on: {again}"
    if command not in ("train", "train-depth", "generate"):
        kept = "Maps extracted so far are kept. " if command == "prepare" else "No part of the result was kept. "
        return f"{kept}To do it again: {again}"
    go_on = again if "--resume" in words else f"{again} --resume"
    out = _value_of("--out", words)
    if out is not None and "--overwrite" in words:
        kept, begun = "The set that was there is as it was.", (making_folder(out) / "dataset.json").is_file()
        return f"{kept} To go on with the new one: {go_on}" if begun else f"{kept} To start again: {again}"
    if out is not None and "--append" in words and _is_finished(out):
        return f"Nothing was added to {out} yet. To start again: {again}"
    state = _saved_state(command, out)
    if state is None:
        return f"Nothing was saved yet. To start again: {again}"
    return f"{state} To go on: {go_on}"


def _value_of(flag: str, words: Sequence[str]) -> Path | None:
    """Find where a command writes: from the words themselves, or from its settings file."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == flag and following:
            return Path(following).expanduser()
        if word.startswith(f"{flag}="):
            return Path(word.partition("=")[2]).expanduser()
    config = _value_of("--config", words) if flag != "--config" else None
    if config is None:
        return None
    value = read_yaml(config).get(flag.strip("-"))
    return Path(value).expanduser() if isinstance(value, str) else None


def _saved_state(command: str, out: Path | None) -> str | None:
    if out is None:
        return None
    if command in ("train", "train-depth"):
        path = out / "checkpoint.safetensors"
        if not path.is_file():
            return None
        step = _checkpoint_step(path)
        return f"The state after step {step} is saved in {out}." if step else f"A checkpoint is saved in {out}."
    count = 0
    for path in (out / "manifest.jsonl", *(out / SHARDS).glob("*.jsonl")):
        with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8") as rows:
            count += sum(1 for row in rows if row.strip())
    if not count:
        return f"The set in {out} was begun, no image is finished yet." if (out / "dataset.json").is_file() else None
    return f"{count} finished images are saved in {out}, each with its mask."


def _is_finished(out: Path) -> bool:
    """Whether a set has its summary, which is written last."""
    try:
        return SUMMARY in json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _checkpoint_step(path: Path) -> int | None:
    """Read the step from a checkpoint's header (safetensors: 8 bytes of length, then JSON)."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return int(header["__metadata__"]["step"])
    except (OSError, ValueError, KeyError):
        return None
