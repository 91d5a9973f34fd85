"""``vlp clean`` and ``vlp accept``: what a person decides about the data, with the model's help.

``vlp clean`` ranks the pairs of the prepared data by how little the pre-trained model believes them, and writes the
worst as lines and as a page with pictures. What is then rejected goes into ``review/rejected.jsonl``, which the next
``dvc repro`` drops: bootstrapping, as BLIP's captions were filtered. ``vlp accept`` makes the data set at hand the one
that later ones are compared with.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.files import lines, write_json, write_jsonl

if TYPE_CHECKING:
    from vlp.suspects.ranking import Suspect

SPLITS = ("train", "validation", "test")


class ReviewCommandError(ValueError):
    """A command that cannot be done as it was given."""


def add_commands(commands: Any) -> None:
    """Add ``clean`` and ``accept`` to a parser's subcommands."""
    clean = commands.add_parser(
        "clean",
        help="rank the pairs that may not belong together",
        description="Rank the pairs of the prepared data by the pre-trained model's matching head, the least likely "
        "first: OUT/suspects.jsonl, and OUT/suspects.html with their pictures. Look through them; then "
        "--reject-below or --reject writes review/rejected.jsonl, and dvc repro leaves those pairs out.",
    )
    clean.add_argument("--model", metavar="FOLDER", type=Path, default=Path("models/pretrained"))
    clean.add_argument("--data", metavar="FOLDER", type=Path, default=Path("data/prepared"))
    clean.add_argument("--out", metavar="FOLDER", type=Path, default=Path("reports/suspects"))
    clean.add_argument("--review", metavar="FOLDER", type=Path, default=Path("review"))
    clean.add_argument("--split", choices=SPLITS, action="append", help="by default all; may be repeated")
    clean.add_argument(
        "--by",
        choices=("record", "caption"),
        default="record",
        help="what a pair is: an image with all of its captions (the default), or with each of them",
    )
    clean.add_argument("--worst", metavar="N", type=int, default=1000, help="pairs that are listed; by default 1000")
    clean.add_argument("--shown", metavar="N", type=int, default=200, help="pairs that the page shows; by default 200")
    chosen = clean.add_mutually_exclusive_group()
    chosen.add_argument(
        "--reject-below",
        metavar="SCORE",
        type=float,
        help="add the listed pairs whose score is lower to review/rejected.jsonl; 0: more likely false than true",
    )
    chosen.add_argument(
        "--reject",
        metavar="FILE",
        type=Path,
        help="judge nothing: add the pairs of FILE, lines of suspects.jsonl that were left in it",
    )
    chosen.add_argument(
        "--probe",
        metavar="SHARE",
        type=float,
        help="list nothing: exchange the captions of this share of pairs and tell how well the ranking finds them",
    )
    clean.add_argument("--seed", metavar="N", type=int, default=7, help="of --probe")
    clean.set_defaults(command=_clean)

    accept = commands.add_parser(
        "accept",
        help="make this data set the one that later ones are compared with",
        description="Copy the profile of the last validated data set to review/accepted.json. From then on validation "
        "warns where a distribution has moved farther than validation.max_drift.",
    )
    accept.add_argument("--validated", metavar="FOLDER", type=Path, default=Path("data/validated"))
    accept.add_argument("--review", metavar="FOLDER", type=Path, default=Path("review"))
    accept.set_defaults(command=_accept)


def _clean(arguments: argparse.Namespace) -> None:
    if arguments.worst < 1 or arguments.shown < 0:
        raise ReviewCommandError("clean: --worst must be at least 1 and --shown at least 0")
    if arguments.reject is not None:
        _tell_rejected(arguments.review, _lines(arguments.reject))
        return
    from vlp.data.loading import Prepared  # here, so that --help loads no torch
    from vlp.suspects import page, ranking
    from vlp.suspects.scoring import scorer

    prepared = Prepared(arguments.data)
    score = scorer(arguments.model, prepared)
    splits = list(dict.fromkeys(arguments.split or SPLITS))  # named twice, its pairs would be listed twice
    if arguments.probe is not None:
        if not 0 < arguments.probe <= 0.5:
            raise ReviewCommandError(f"clean: --probe {arguments.probe:g}: a share above 0, and 0.5 at most")
        found = {
            split: ranking.probe(prepared.split(split), score, arguments.probe, arguments.seed, arguments.by)
            for split in splits
        }
        write_json(arguments.out / "probe.json", found)
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    suspects = ranking.rank(prepared, splits, score, arguments.worst, arguments.by)
    write_jsonl(arguments.out / "suspects.jsonl", (each.as_row() for each in suspects))
    page.write(arguments.out / "suspects.html", prepared, suspects[: arguments.shown])
    sys.stdout.write(f"ranked:   {arguments.out / 'suspects.jsonl'}\npictures: {arguments.out / 'suspects.html'}\n")
    if arguments.reject_below is not None:
        _tell_rejected(arguments.review, _below(suspects, arguments.reject_below, arguments.worst))


def _below(suspects: list[Suspect], score: float, worst: int) -> list[dict[str, Any]]:
    rows = [each.as_row() for each in suspects if each.score < score]
    if len(rows) == worst:
        raise ReviewCommandError(f"clean: all of the {worst} listed pairs score below {score:g}; raise --worst")
    return rows


def _lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in lines(path):
        try:
            row = json.loads(line)
            rows.append({"record": row["record"], "field": row["field"], "score": row.get("score")})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ReviewCommandError(f"{path}:{number}: not a line of suspects.jsonl") from None
    return rows


def _tell_rejected(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Add ``rows`` to what was rejected before, each pair once."""
    from vlp.data import review

    review.read_rejected(folder)  # says what is wrong with the file before it is written anew
    path = folder / review.REJECTED
    before = [json.loads(line) for _, line in lines(path)] if path.is_file() else []
    known = {(row["record"], row.get("field", "record")) for row in before}
    new = [
        {"record": row["record"], "field": row["field"], "score": row["score"], "note": "vlp clean"}
        for row in rows
        if (row["record"], row["field"]) not in known
    ]
    review.write_rejected([*before, *new], folder)
    review.read_rejected(folder)
    sys.stdout.write(f"rejected: {len(new)} more pairs, {len(before) + len(new)} in all: {path}; next: dvc repro\n")


def _accept(arguments: argparse.Namespace) -> None:
    from vlp.data import review

    found = review.accept(arguments.validated / "profile.json", arguments.review)
    sys.stdout.write(f"accepted: {found['records']} records: {arguments.review / review.ACCEPTED}; commit it\n")
