"""The ``vlp`` command: presets and their runs, and the report of what a branch changes.

The stages themselves are run by DVC (``dvc repro``); this command only chooses what they are run with, and reads what
came of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vlp.stages import base


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv``, by default this process's own.

    Raises:
        SystemExit: with status 2 for a wrong command line, 1 for anything else the user has to mend.
    """
    arguments = _parser().parse_args(argv)
    base.run(lambda: arguments.command(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vlp", description="Presets of this project, runs with one, and the report of a branch."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    preset = commands.add_parser(
        "preset",
        help="merge a preset into ./params.yaml",
        description="Merge presets/NAME.yaml into ./params.yaml, keeping its comments. Then: dvc repro.",
    )
    preset.add_argument("name", metavar="NAME", help="a file of presets/, without .yaml")
    _add_settings(preset)
    preset.set_defaults(command=_preset)

    run = commands.add_parser(
        "run",
        help="run the stages with a preset, apart from your own work",
        description="Run the last commit's stages with a preset in the git worktree runs/NAME. Your params.yaml, "
        "dvc.lock and metrics stay as they are; DVC's cache is shared; a second run goes on where the first ended.",
    )
    run.add_argument("--preset", metavar="NAME", required=True, help="a file of presets/, without .yaml")
    run.add_argument("--root", metavar="FOLDER", type=Path, help="the raw files: ingest.root, made absolute")
    _add_settings(run)
    run.add_argument("targets", metavar="STAGE", nargs="*", help="only these stages and what they need")
    run.set_defaults(command=_run)

    report = commands.add_parser(
        "report",
        help="write what this branch changes, as Markdown for its pull request",
        description="Compare the last commit with another revision: parameters, metrics, data, validation, predictions "
        "and plots. Where that cannot be told truly (a missing metrics file, a dvc.lock that is not of the code) it "
        "writes nothing, says why and ends with status 1.",
    )
    report.add_argument("--base", metavar="REVISION", default="main", help="compare with this; by default main")
    report.add_argument("--out", metavar="FILE", type=Path, help="write to this file; by default to standard output")
    report.set_defaults(command=_report)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        metavar="KEY.PATH=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="one more parameter, its value in YAML, after the preset; may be repeated",
    )


def _preset(arguments: argparse.Namespace) -> None:
    from vlp import overlays, presets  # here, so that --help needs no YAML library

    overlays.apply(presets.find(Path.cwd(), arguments.name), arguments.settings, Path("params.yaml"))


def _run(arguments: argparse.Namespace) -> None:
    from vlp import presets

    worktree = presets.run(Path.cwd(), arguments.preset, arguments.root, arguments.settings, arguments.targets)
    shown = worktree.relative_to(Path.cwd())
    sys.stdout.write(f"metrics:    {shown}/metrics\nreports:    {shown}/reports\nparameters: {shown}/params.yaml\n")


def _report(arguments: argparse.Namespace) -> None:
    from vlp.files import atomic
    from vlp.report import page

    text = page.render(Path.cwd(), arguments.base)
    if arguments.out is None:
        sys.stdout.write(text)
        return
    with atomic(arguments.out) as partial:
        partial.write_text(text, encoding="utf-8")
