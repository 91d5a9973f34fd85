"""``vlp explain``: what of a picture an answer rests on, as a PNG, and whether that can be believed.

For people lines, with ``--json`` one JSON value. The maps are taken from the trained tasks, whose insides a bundle does
not show; ``--method occlusion`` needs only answers.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from vlp.explain.methods import Method
from vlp.files import atomic

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from vlp.explain.explainer import Explained, Explainer, Said

TASKS, PREPARED, PARAMS = Path("models/tasks"), Path("data/prepared"), Path("params.yaml")
MODELS_HELP = (
    f"{TASKS} of another project, which its {PREPARED} and {PARAMS} are taken from, too; by default this one's"
)
DEFAULT: Method = "gradient_attention"


class OptionError(ValueError):
    """An option that means nothing to a bundle, or names no project's models."""


def add_commands(commands: Any) -> None:
    """Add ``explain`` to a parser's subcommands."""
    about = "What of the picture does an answer rest on? The map is judged, too: its hottest places are taken away, or "
    about += "shown alone, and the probability of what was said is held against the same with places by lot."
    explain = commands.add_parser("explain", help="which parts of a picture an answer rests on", description=about)
    tasks = explain.add_subparsers(required=True, metavar="TASK")
    match = _add(tasks, "match", "that a text is true of the picture", lambda e, p, a: e.match(p, a.text))
    match.add_argument("text", metavar="TEXT")
    match.add_argument("--bundle", metavar="FOLDER", type=Path, help="ask an exported bundle instead, by occlusion")
    ask = _add(tasks, "ask", "the answer to a question about the picture", lambda e, p, a: e.ask(p, a.question))
    ask.add_argument("question", metavar="QUESTION")
    _add(tasks, "caption", "each word of a caption of the picture", lambda e, p, _: e.caption(p))


def _add(
    tasks: Any, name: str, about: str, say: Callable[[Explainer, np.ndarray, argparse.Namespace], Said]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = tasks.add_parser(name, help=about, description=f"Explain {about}.")
    parser.add_argument(
        "--method",
        metavar="METHOD",
        choices=get_args(Method),
        help=f"one of {', '.join(get_args(Method))}; by default {DEFAULT}",
    )
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="the picture under its map, a PNG")
    parser.add_argument("--models", metavar="FOLDER", type=Path, help=MODELS_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON, the maps included")
    parser.add_argument("image", metavar="IMAGE", type=Path)
    parser.set_defaults(command=lambda arguments: _run(say, arguments))
    return parser


def _of_bundle(arguments: argparse.Namespace) -> None:
    """By occlusion, which needs nothing of a model but its answers: no torch, no training data."""
    from PIL import Image

    from vlp.explain.overlay import overlay
    from vlp.runtime.predictor import Predictor

    if arguments.method not in (None, "occlusion"):
        raise OptionError(
            f"--method {arguments.method}: a bundle shows its answers only, and is explained by occlusion; leave "
            "--bundle out, for the trained task's insides"
        )
    if arguments.models is not None:
        raise OptionError("--models and --bundle: one model is asked; leave one of the two out")
    predictor, image = Predictor.open(arguments.bundle), arguments.image.read_bytes()
    pixels, (text,) = predictor.inputs.pixels(image), predictor.inputs.cleaned([arguments.text])
    found = predictor.task("matching").explain_prepared(pixels, text)
    with atomic(arguments.out) as partial, partial.open("wb") as file:
        Image.fromarray(overlay(pixels, found.heat)).save(file, "PNG")
    answer = found.answer
    value = {"decision": answer.decision, "score": answer.score, "method": "occlusion", "file": str(arguments.out)}
    line = f"{answer.decision}  ({answer.score:.3f})  {arguments.out}"
    shown = json.dumps({**value, "heat": found.heat.tolist()}, indent=2, sort_keys=True) if arguments.json else line
    sys.stdout.write(shown + "\n")


def _project(models: Path | None) -> Path:
    """The project that trained tasks belong to: its tokenizer and limits are theirs, and no other's are."""
    if models is None:
        return Path()
    folder = models.resolve()
    if folder.parts[-2:] != TASKS.parts:
        raise OptionError(
            f"--models {models}: not a project's {TASKS}, whose {PREPARED} and {PARAMS} the tasks were trained with"
        )
    return folder.parents[1]


def _run(say: Callable[[Explainer, np.ndarray, argparse.Namespace], Said], arguments: argparse.Namespace) -> None:
    if getattr(arguments, "bundle", None) is not None:
        _of_bundle(arguments)
        return
    from PIL import Image

    from vlp.explain.explainer import Explainer, explained, picture  # here, so that --help needs no torch

    method = arguments.method or DEFAULT
    project = _project(arguments.models)
    explainer = Explainer(project / TASKS, project / PREPARED, project / PARAMS)
    pixels = explainer.pixels(arguments.image.read_bytes())
    said = say(explainer, pixels, arguments)
    found = explained(said, pixels, method)
    with atomic(arguments.out) as partial, partial.open("wb") as file:
        Image.fromarray(picture(found, pixels)).save(file, "PNG")
    if arguments.json:
        value = {
            "decision": said.said,
            "score": said.score,
            "method": method,
            "file": str(arguments.out),
            "explained": [_as_json(each) for each in found],
        }
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n")
        return
    lines = [f"{said.said}  ({said.score:.3f})  {arguments.out}", *map(_line, found)]
    sys.stdout.write("\n".join(lines) + "\n")


def _as_json(each: Explained) -> dict[str, Any]:
    judged = each.faithful
    return {
        "said": each.said,
        "heat": each.heat.tolist(),
        "deletion": judged.deletion,
        "insertion": judged.insertion,
        "random_deletion": judged.random_deletion,
        "random_insertion": judged.random_insertion,
        "beaten": judged.beaten,
        "gain": judged.gain,
    }


def _line(each: Explained) -> str:
    judged = each.faithful
    return (
        f"{each.said}: deletion {judged.deletion:.3f} (by lot {judged.random_deletion:.3f}), insertion "
        f"{judged.insertion:.3f} (by lot {judged.random_insertion:.3f}); beats {judged.beaten:.0%} of the orders by lot"
    )
