"""Settings from YAML and flags: names, types, which wins."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from anomalyhybrid.cli import commands, settings
from anomalyhybrid.cli.main import main, make_app
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.training.config import TrainConfig

Parse = Callable[..., dict[str, Any]]


@pytest.fixture
def parse() -> Parse:
    """What a command's function would be called with, defaults included."""

    def call(*words: str) -> dict[str, Any]:
        _, bound, _ = make_app().parse_args(list(words), print_error=False, exit_on_error=False)
        bound.apply_defaults()
        return dict(bound.arguments)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a settings file and give its path."""

    def save(text: str) -> str:
        path = tmp_path / "settings.yaml"
        path.write_text(text)
        return str(path)

    return save


def test_flags_make_a_config(parse: Parse) -> None:
    given = parse("train", "a", "b", "--out", "r", "--batch-size", "4", "--augment.edit", "0.2", "--no-compile")
    assert given["data"] == [Path("a"), Path("b")]
    assert given["settings"].batch_size == 4
    assert given["settings"].augment.edit == 0.2
    assert given["settings"].compile is False
    assert given["settings"].steps == TrainConfig().steps


def test_every_field_is_a_flag(parse: Parse) -> None:
    for command, config in (("train", TrainConfig()), ("generate", GenerateConfig())):
        for field in fields(config):
            value = getattr(config, field.name)
            if field.name == "augment" or value == "":
                continue
            flag = field.name.replace("_", "-")
            words = [f"--no-{flag}" if value is False else f"--{flag}"]
            if not isinstance(value, bool):
                words += [str(item) for item in (value if isinstance(value, tuple) else (value,))]
            assert parse(command, "x", "--out", "r", *words)["settings"] == config


def test_yaml_sets_what_flags_do_not(parse: Parse, write: Callable[[str], str]) -> None:
    file = write(
        "data: [x, y]\nout: r\nresume: true\nlearning_rate: 2e-5\ndecoders: [ahe]\n"
        "augment:\n  edit: 0.4\n  scale: [0.9, 1.1]\ncompile: false\nbase_set: [z]\n"
    )
    given = parse("train", "--config", file, "--augment.edit", "0.1", "--decoders", "ahd", "ahe")
    assert given["data"] == [Path("x"), Path("y")]
    assert given["base_set"] == [Path("z")]
    assert given["out"] == Path("r")
    assert given["resume"] is True
    assert given["settings"].learning_rate == 2e-5
    assert given["settings"].decoders == ("ahd", "ahe")
    assert given["settings"].augment.edit == 0.1
    assert given["settings"].augment.scale == (0.9, 1.1)
    assert given["settings"].compile is False


def test_a_written_config_reads_back(parse: Parse, write: Callable[[str], str]) -> None:
    config = TrainConfig(decoders=("ahe",), seed=7, learning_rate=1e-5)
    file = write(yaml.safe_dump(json.loads(json.dumps(asdict(config)))))
    assert parse("train", "d", "--out", "r", "--config", file)["settings"] == config


def test_resume_takes_the_recorded_settings(parse: Parse, tmp_path: Path) -> None:
    config = TrainConfig(batch_size=3, steps=10)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(asdict(config)))))
    given = parse("train", "d", "--out", str(tmp_path), "--resume", "--steps", "20")["settings"]
    assert (given.batch_size, given.steps) == (3, 20)
    assert parse("train", "d", "--out", str(tmp_path))["settings"] == TrainConfig()

    out = tmp_path / "set"
    out.mkdir()
    (out / "dataset.json").write_text(json.dumps({"config": asdict(GenerateConfig(count=5, seed=9))}))
    given = parse("generate", "r", "--data", "d", "--out", str(out), "--resume")["settings"]
    assert given == GenerateConfig(count=5, seed=9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchsize: 4", "unknown key 'batchsize'; did you mean 'batch_size'"),
        ("batch-size: 4", "unknown key 'batch-size'; did you mean 'batch_size'"),
        ("edit: 0.4", "unknown key 'edit'; did you mean 'augment.edit'"),
        ("augment: {edti: 0.4}", "unknown key 'augment.edti'; did you mean 'augment.edit'"),
        ("qqqq: 1", "unknown key 'qqqq'; known are augment.affine_probability"),
        ("augment: 3", "augment is 3; it must hold keys of its own"),
        ("batch_size: 1.5", "batch_size is 1.5; it must be a whole number"),
        ("batch_size: true", "batch_size is True; it must be a whole number"),
        ("batch_size: '4'", "batch_size is '4'; it must be a whole number"),
        ("learning_rate: fast", "learning_rate is 'fast'; it must be a finite number"),
        ("learning_rate: .nan", "learning_rate is nan; it must be a finite number"),
        ("compile: 3", "compile is 3; it must be true or false"),
        ("loss: mine", "loss is 'mine'; it must be 'default' or 'paper'"),
        ("decoders: ahd", "decoders is 'ahd'; it must be a list, each entry 'ahd' or 'ahe'"),
        ("decoders: []", r"decoders is \[\]; it must be a list"),
        ("decoders: [abc]", r"decoders is \['abc'\]; it must be a list"),
        ("augment: {scale: [1.0]}", r"augment.scale is \[1.0\]; it must be a list of 2"),
        ("data: 3", "data is 3; it must be a list, each entry a path"),
        ("seed: 1\nseed: 2", "'seed' is given twice"),
        ("a: [1", "is not valid YAML in line"),
        ("- 1", "holds a list"),
        ("batch_size: 0", "train.batch_size is 0; it must be at least 1"),
    ],
)
def test_bad_settings_files(parse: Parse, write: Callable[[str], str], text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse("train", "d", "--out", "r", "--config", write(text))


def test_a_settings_file_that_is_not_there(parse: Parse, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml cannot be read"):
        parse("train", "d", "--out", "r", "--config", str(tmp_path / "nothing.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ConfigError, match="UTF-8"):
        settings.read_yaml(tmp_path / "binary.yaml")


def test_an_empty_file_sets_nothing(parse: Parse, write: Callable[[str], str]) -> None:
    assert parse("train", "d", "--out", "r", "--config", write("# nothing\n"))["settings"] == TrainConfig()


def test_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anomalyhybrid.recipes import generation, preparation, training

    calls: list[tuple[tuple, dict]] = []

    def record(*given: Any, **named: Any) -> dict:
        calls.append((given, named))
        return {}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for module, name in ((preparation, "prepare"), (training, "train"), (generation, "generate")):
        monkeypatch.setattr(module, name, record)
    weights = ["--edge-weights", "~/e.pth", "--depth-weights", "d.pth"]
    assert main(["prepare", "d", *weights]) == 0
    assert main(["train", "d", "--out", "r", *weights, "--vgg-weights", "../v", "--start", "old/run"]) == 0
    assert main(["train", "d", "--out", "r", "--start", "scratch"]) == 0
    assert main(["generate", "~/run", "--data", "d", "--out", "o", *weights]) == 0
    assert main(["generate", "shipped", "--data", "d", "--out", "o"]) == 0
    expected = ("/home/me/e.pth", str(tmp_path / "d.pth"))
    assert (calls[0][1]["edge_weights"], calls[0][1]["depth_weights"]) == expected
    for _, named in (calls[1], calls[3]):
        assert (named["config"].edge_weights, named["config"].depth_weights) == expected
    trained = calls[1][1]["config"]
    assert (trained.vgg_weights, trained.start) == (str(tmp_path.parent / "v"), str(tmp_path / "old" / "run"))
    assert calls[2][1]["config"] == TrainConfig(start="scratch")
    assert [given[0] for given, _ in calls[3:]] == ["/home/me/run", "shipped"]
    assert calls[4][1]["config"] == GenerateConfig()


def test_not_finite_numbers_are_refused() -> None:
    settings.check_finite(TrainConfig())
    with pytest.raises(ConfigError, match="learning_rate is inf"):
        settings.check_finite(TrainConfig(learning_rate=float("inf")))
    with pytest.raises(ConfigError, match=r"extent is \(nan"):
        commands.check_finite(_Loose())


class _Loose(GenerateConfig):
    """A config whose own checks do not look at ``extent``."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "extent", (float("nan"), 0.2))
