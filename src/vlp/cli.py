"""The ``vlp`` command: presets and their runs, answers, review of the data, reports of branches, drift when served.

The stages themselves are run by DVC (``dvc repro``); this command only chooses what they are run with, and reads what
came of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlp.stages import base
from vlp import explaining, predict, review


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv``, by default this process's own.

    Raises:
        SystemExit: with status 2 for a wrong command line, 1 for anything else the user has to mend.
    """
    arguments = _parser().parse_args(argv)
    base.run(lambda: arguments.command(arguments))


def _parser() -> argparse.ArgumentParser:
    about = "Runs with a preset or once a fold, searches, answers of the exported model and what they rest on, the "
    about += "report of a branch, drift of what is served."
    parser = argparse.ArgumentParser(prog="vlp", description=about)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_preset(commands)
    _add_run(commands)
    _add_cross_validate(commands)
    _add_tune(commands)
    predict.add_commands(commands)
    review.add_commands(commands)
    explaining.add_commands(commands)
    _add_report(commands)
    _add_drift(commands)
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


def _add_preset(commands: Any) -> None:
    preset = commands.add_parser(
        "preset",
        help="merge a preset into ./params.yaml",
        description="Merge presets/NAME.yaml into ./params.yaml, keeping its comments. Then: dvc repro.",
    )
    preset.add_argument("name", metavar="NAME", help="a file of presets/, without .yaml")
    _add_settings(preset)
    preset.set_defaults(command=_preset)


def _preset(arguments: argparse.Namespace) -> None:
    from vlp import overlays, presets  # here, so that --help needs no YAML library

    overlays.apply(presets.find(Path.cwd(), arguments.name), arguments.settings, Path("params.yaml"))


def _add_run(commands: Any) -> None:
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


def _run(arguments: argparse.Namespace) -> None:
    from vlp import presets

    worktree = presets.run(Path.cwd(), arguments.preset, arguments.root, arguments.settings, arguments.targets)
    shown = worktree.relative_to(Path.cwd())
    sys.stdout.write(f"metrics:    {shown}/metrics\nreports:    {shown}/reports\nparameters: {shown}/params.yaml\n")


def _add_cross_validate(commands: Any) -> None:
    folds = commands.add_parser(
        "cross-validate",
        help="run the whole pipeline once a fold, and show mean and deviation",
        description="Train and measure everything anew for every fold, pre-training included, each in the git worktree "
        "runs/folds/K-of-N. No group of records is in two folds' test splits. What was done before is not done again. "
        "Mean, standard deviation and each fold's figures go to runs/folds/metrics.json and to standard output.",
    )
    folds.add_argument("--folds", metavar="N", type=int, default=5, help="by default 5")
    folds.add_argument("--json", action="store_true", help="print JSON: every figure, not only the main ones")
    _add_settings(folds)
    folds.add_argument("tasks", metavar="TASK", nargs="*", help="only these; by default all of params.yaml")
    folds.set_defaults(command=_cross_validate)


def _cross_validate(arguments: argparse.Namespace) -> None:
    import json

    from vlp import folds

    found = folds.run(Path.cwd(), arguments.folds, arguments.tasks, arguments.settings)
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return
    for task, figures in found.items():
        for name, each in figures.items():
            if "." not in name:  # no slice
                spread = "" if each["std"] is None else f" ± {each['std']:.4f}"
                without = f"  ({each['undefined_folds']} without it)" if "undefined_folds" in each else ""
                sys.stdout.write(f"{task}  {name}  {each['mean']:.4f}{spread}{without}\n")


def _add_tune(commands: Any) -> None:
    tune = commands.add_parser(
        "tune",
        help="search better parameters for a task, each trial an experiment of DVC's",
        description="Search the space that tuning.yaml gives for the task: Optuna proposes, dvc exp run trains in a "
        "git worktree below runs/tune/TASK, figures of the validation split judge and end trials early. A search that "
        "was cut off goes on. See the trials with dvc exp show.",
    )
    tune.add_argument("task", metavar="TASK", help="a section of tuning.yaml")
    tune.add_argument("--trials", metavar="N", type=int, help="in all, earlier ones included; by default tuning.yaml's")
    tune.add_argument("--apply", action="store_true", help="search nothing: write the best trial into ./params.yaml")
    tune.add_argument("--json", action="store_true", help="print JSON")
    tune.set_defaults(command=_tune)


def _tune(arguments: argparse.Namespace) -> None:
    import json
    import signal

    from vlp.tuning import search

    if arguments.apply and arguments.trials is not None:
        raise ValueError("--apply searches nothing: leave --trials out, or search first")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a trial is ended with its search
    try:
        if arguments.apply:
            found = [search.apply_best(Path.cwd(), arguments.task)]
        else:
            found = search.run(Path.cwd(), arguments.task, arguments.trials)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; vlp tune {arguments.task} goes on from here\n")
        raise SystemExit(130) from None
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return
    for row in found:
        value = "" if row["value"] is None else f"{row['value']:.4f}"
        chosen = ", ".join(f"{name}={setting}" for name, setting in row["params"].items())
        sys.stdout.write(f"{row['name']}  {row['state']}  {value}  {chosen}\n")


def _add_report(commands: Any) -> None:
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


def _report(arguments: argparse.Namespace) -> None:
    from vlp.files import atomic
    from vlp.report import page

    text = page.render(Path.cwd(), arguments.base)
    if arguments.out is None:
        sys.stdout.write(text)
        return
    with atomic(arguments.out) as partial:
        partial.write_text(text, encoding="utf-8")


def _add_drift(commands: Any) -> None:
    drift = commands.add_parser(
        "drift",
        help="compare what was served since the last time with the reference",
        description="Compare every window of served records that is whole since the last time with the reference, by "
        "the limits under drift: in ./params.yaml, and write what was found to standard output as JSON. An alert in it "
        "is repeated until vlp drift --told says that people know.",
    )
    served, reference, state = Path("monitoring"), Path("reports/reference/served.jsonl"), Path("runs/drift.json")
    drift.add_argument("--served", metavar="FOLDER", type=Path, default=served, help="what the service wrote")
    drift.add_argument("--reference", metavar="FILE", type=Path, default=reference, help="records of a good time")
    drift.add_argument("--state", metavar="FILE", type=Path, default=state, help="what is remembered")
    drift.add_argument("--settle", metavar="SECONDS", type=float, default=60.0, help="leave what is younger")
    drift.add_argument("--told", action="store_true", help="compare nothing: people know of the incident")
    drift.set_defaults(command=_drift)


def _drift(arguments: argparse.Namespace) -> None:
    import json
    from datetime import UTC, datetime, timedelta

    from vlp import params
    from vlp.drift import incidents
    from vlp.drift.settings import DriftParams

    if arguments.told:
        incidents.acknowledge(arguments.state)
        return
    found = incidents.check(
        arguments.served,
        arguments.reference,
        arguments.state,
        params.load_section("drift", DriftParams),
        before=datetime.now(UTC) - timedelta(seconds=arguments.settle),
    )
    sys.stdout.write(json.dumps(incidents.as_json(found), indent=2, sort_keys=True, ensure_ascii=False) + "\n")
