"""The command line: parses, runs a command, and turns what went wrong into one message and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError
from cyclopts.config import Dict

from anomalyhybrid.cli import commands, stops
from anomalyhybrid.cli.export import export
from anomalyhybrid.cli.export_model import export_model
from anomalyhybrid.cli.generate import generate, other_defaults
from anomalyhybrid.cli.report import report
from anomalyhybrid.cli.select import select
from anomalyhybrid.cli.settings import check_settings, read_yaml, recorded_settings
from anomalyhybrid.cli.validate import validate
from anomalyhybrid.data.new_folder import making_folder
from anomalyhybrid.errors import AnomalyHybridError, outside_cause

OK = 0
USER_ERROR = 2
INTERRUPTED = 130


def _version() -> str:
    from importlib.metadata import version

    return version("anomalyhybrid")


def _apply_settings(app: App, command: tuple[str, ...], arguments: Any) -> None:
    """Fill flags that were not given: from ``--config``, from the record of a run that is resumed, and with the
    defaults that another kind of generation brings (``other_defaults``)."""
    by_name = {argument.name: argument for argument in arguments if argument.parse}

    def token(name: str) -> str | None:
        found = by_name.get(name)
        return found.tokens[0].value if found is not None and found.tokens else None

    def apply(values: Mapping[str, Any], source: Path) -> None:
        schema = {
            name.lstrip("-").replace("-", "_"): argument.hint
            for name, argument in by_name.items()
            if name != "--config" and not argument.children
        }
        checked = check_settings(values, schema, source=str(source))
        given = {key: value for key, value in checked.items() if value is not None}
        Dict(data=given, source=str(source), use_commands_as_keys=False)(app, command, arguments)

    config, out = token("--config"), None
    if config is not None:
        apply(read_yaml(Path(config)), Path(config))
    resume = by_name.get("--resume")
    if resume is not None and resume.tokens:
        out = token("--out")
    if out is not None:
        folder = Path(out).expanduser()
        if "--overwrite" in by_name and _is_given(by_name["--overwrite"]):
            folder = making_folder(folder)
        recorded, source = recorded_settings(folder)
        apply(recorded, source)
    for flag, defaults in other_defaults().items():
        if flag in by_name and _is_given(by_name[flag]):
            apply(defaults, Path(flag))


def _is_given(argument: Any) -> bool:
    """Whether a flag has a value that is neither empty nor false."""
    token = argument.tokens[0] if argument.tokens else None
    return token is not None and (token.implicit_value is True or token.value.lower() not in ("", "false"))


def make_app() -> App:
    """Make the application; nothing heavy is imported before a command runs."""
    app = App(
        name="anomalyhybrid",
        help="Realistic defects with exact masks, for training and testing visual inspection.",
        version=_version,
        config=_apply_settings,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        print_error=False,
        exit_on_error=False,
        verbose=False,
    )
    for command in (
        validate,
        commands.prepare,
        commands.train,
        commands.train_depth,
        generate,
        commands.regenerate,
        report,
        select,
        export,
        export_model,
        commands.evaluate,
        commands.demo,
        commands.doctor,
    ):
        app.command(command)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Words after the program's name; None takes the process's own.

    Returns:
        0 done, 1 for a set with faults whose report is written, 2 for what the user can mend (usage, settings, data,
        weights, disk), 130 after Ctrl-C.
        Anything else is a fault of this program and leaves with its traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = make_app()(words)
    except CycloptsError as error:
        help_words = " ".join(["anomalyhybrid", *(error.command_chain or ()), "--help"])
        return _fail(f"{str(error).strip()} See '{help_words}'.")
    except AnomalyHybridError as error:
        return _fail(str(error))
    except KeyboardInterrupt as interrupt:
        print(f"\nstopped. {stops.after_interrupt(words, interrupt)}", file=sys.stderr, flush=True)
        return INTERRUPTED
    except Exception as error:
        message = outside_cause(error)
        if message is None:
            raise
        return _fail(message)
    return code if isinstance(code, int) else OK


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
