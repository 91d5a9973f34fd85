"""``vlp predict``: answers of an exported bundle on the command line, for people and for scripts.

Every command prints lines that a person reads, or with ``--json`` one JSON value. Pictures (a mask, a drawing) are PNG
files, written where ``--out`` says.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.files import atomic

if TYPE_CHECKING:
    import numpy as np

    from vlp.records import Answer
    from vlp.runtime.predictor import Predictor

BUNDLE = Path("models/bundle")
PICTURES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class PredictError(ValueError):
    """A command that cannot be answered as it was given."""


def add_commands(commands: Any) -> None:
    """Add ``predict`` to a parser's subcommands."""
    predict = commands.add_parser("predict", help="ask the exported model", description="Ask an exported bundle.")
    tasks = predict.add_subparsers(required=True, metavar="TASK")

    match = _add(tasks, "match", _match, "is each text true of the picture?", image=True)
    match.add_argument("texts", metavar="TEXT", nargs="+")
    ask = _add(tasks, "ask", _ask, "answer a question about the picture", image=True)
    ask.add_argument("question", metavar="QUESTION")
    _add(tasks, "caption", _caption, "say what the picture shows", image=True)
    classify = _add(tasks, "classify", _classify, "name the labels of a picture, of a text or of both")
    classify.add_argument("image", metavar="IMAGE", type=Path, nargs="?")
    classify.add_argument("--text", metavar="TEXT", help="a caption, for a model that reads one")
    segment = _add(tasks, "segment", _segment, "which pixels does the text name?", image=True)
    segment.add_argument("text", metavar="TEXT")
    segment.add_argument("--out", metavar="FILE", type=Path, required=True, help="the mask, a PNG of black and white")
    generate = _add(tasks, "generate", _generate, "draw what the text says")
    generate.add_argument("text", metavar="TEXT")
    generate.add_argument("--seed", metavar="N", type=int, default=0, help="another number, another picture")
    generate.add_argument("--out", metavar="FILE", type=Path, required=True, help="the picture, a PNG")
    retrieve = _add(tasks, "retrieve", _retrieve, "search a folder of pictures by texts, by a picture or by both")
    retrieve.add_argument("folder", metavar="FOLDER", type=Path, help="the pictures, in it and below it")
    retrieve.add_argument("--text", metavar="TEXT", action="append", default=[], help="may be repeated")
    retrieve.add_argument("--image", metavar="IMAGE", type=Path, help="a picture to find the like of")
    retrieve.add_argument("-k", metavar="N", type=int, default=10, help="most answers; by default 10")


def _add(
    commands: Any,
    name: str,
    answer: Callable[[Predictor, argparse.Namespace], tuple[list[str], Any]],
    about: str,
    *,
    image: bool = False,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=f"{about[0].upper()}{about[1:]}"
    )
    parser.add_argument("--bundle", metavar="FOLDER", type=Path, default=BUNDLE, help=f"by default {BUNDLE}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    if image:
        parser.add_argument("image", metavar="IMAGE", type=Path)
    parser.set_defaults(command=lambda arguments: _print(answer, arguments))
    return parser


def _print(
    answer: Callable[[Predictor, argparse.Namespace], tuple[list[str], Any]], arguments: argparse.Namespace
) -> None:
    from vlp.runtime.predictor import Predictor  # here, so that --help opens no engine

    lines, value = answer(Predictor.open(arguments.bundle), arguments)
    shown = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) if arguments.json else "\n".join(lines)
    sys.stdout.write(shown + "\n")


def _as_json(answer: Answer) -> dict[str, Any]:
    return {"decision": answer.decision, "score": answer.score, "scores": answer.scores}


def _match(predictor: Predictor, arguments: argparse.Namespace) -> tuple[list[str], Any]:
    answers = predictor.match(arguments.image.read_bytes(), arguments.texts)
    pairs = list(zip(arguments.texts, answers, strict=True))
    return [f"{found.score:.3f}  {found.decision:5}  {text}" for text, found in pairs], [
        {"text": text, **_as_json(found)} for text, found in pairs
    ]


def _ask(predictor: Predictor, arguments: argparse.Namespace) -> tuple[list[str], Any]:
    found = predictor.ask(arguments.image.read_bytes(), arguments.question)
    return [f"{found.decision}  ({found.score:.3f})"], _as_json(found)


def _caption(predictor: Predictor, arguments: argparse.Namespace) -> tuple[list[str], Any]:
    found = predictor.caption(arguments.image.read_bytes())
    return [found.decision], {"caption": found.decision, "score": found.score}


def _classify(predictor: Predictor, arguments: argparse.Namespace) -> tuple[list[str], Any]:
    if arguments.image is None and arguments.text is None:
        raise PredictError("classify: give a picture, or --text, or both")
    image = arguments.image.read_bytes() if arguments.image else None
    found = predictor.classify(image, arguments.text)
    named = predictor.task("classification").named(found.scores)  # a label may have a comma of its own
    lines = [f"{found.scores[label]:.3f}  {label}" for label in named] or ["none of the known labels"]
    return lines, {**_as_json(found), "labels": named}


def _segment(predictor: Predictor, arguments: argparse.Namespace) -> tuple[list[str], Any]:
    found = predictor.segment(arguments.image.read_bytes(), arguments.text)
    _write_png(found.mask.astype("uint8") * 255, arguments.out)
    share = float(found.mask.mean())
    return [f"{arguments.out}: {100 * share:.1f} % of the picture"], {"file": str(arguments.out), "share": share}


def _generate(predictor: Predictor, arguments: argparse.Namespace) -> tuple[list[str], Any]:
    _write_png(predictor.generate(arguments.text, arguments.seed), arguments.out)
    return [str(arguments.out)], {"file": str(arguments.out), "seed": arguments.seed}


def _retrieve(predictor: Predictor, arguments: argparse.Namespace) -> tuple[list[str], Any]:
    if not arguments.text and arguments.image is None:
        raise PredictError("retrieve: give --text, or --image, or both")
    if arguments.k < 1:
        raise PredictError(f"retrieve: -k {arguments.k}: 1 or more answers")
    if not arguments.folder.is_dir():
        raise PredictError(f"{arguments.folder}: no such folder")
    files = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not files:
        raise PredictError(f"{arguments.folder}: no picture in it ({', '.join(sorted(PICTURES))})")
    index = predictor.index({str(path): path.read_bytes() for path in files})
    query = arguments.image.read_bytes() if arguments.image else None
    hits = predictor.retrieve(
        index, image=query, texts=arguments.text, k=arguments.k, look=lambda name: Path(name).read_bytes()
    )
    return [f"{hit.score:.3f}  {hit.item.id}" for hit in hits], [
        {"file": hit.item.id, "score": float(hit.score)} for hit in hits
    ]


def _write_png(pixels: np.ndarray, path: Path) -> None:
    from PIL import Image

    with atomic(path) as partial, partial.open("wb") as file:
        Image.fromarray(pixels).save(file, "PNG")
