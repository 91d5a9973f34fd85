"""docs/gallery.md and reports/gallery.html: what the trained tasks say of test pictures, right and wrong, and why.

    python scripts/gallery.py               # after `make repro`
    python scripts/gallery.py --records 40  # of the test split, the first ones

The first cases that are right and the first that are wrong are shown, the latter searched for where they are rare;
nothing is picked by hand. Beside them stands how far each kind of map can be believed: the mean over all cases of how
much better than places drawn by lot it does.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from vlp.data import examples
from vlp.data.scenes import oracle
from vlp.evaluation.intervals import Bootstrap
from vlp.explain.explainer import Explained, Explainer, Said, explained
from vlp.explain.faithfulness import Judge
from vlp.explain.methods import Method
from vlp.explain.overlay import overlay, strip
from vlp.files import atomic

PAGE, PICTURES, REPORT = Path("docs/gallery.md"), Path("docs/images/gallery"), Path("reports/gallery.html")
METHODS: tuple[Method, ...] = get_args(Method)
SIDE, EACH, WORDS = 112, 3, 6
OF = {"match": "matching", "ask": "vqa", "caption": "captioning"}
TITLES = {"match": "Is the text true of the picture?", "ask": "What is the answer?", "caption": "What does it show?"}
INTRODUCTION = """\
Pictures of the test split, what the trained tasks say of them, and what of the picture their answers rest on: green
is what speaks for what was said. The first {each} cases that are right and the first {each} that are wrong are shown,
in the order of the split, of the first {records} records, which the counts and the table are about; where fewer are
wrong, the next {search} are searched for more. `python scripts/gallery.py --records {records}` makes this page.
"""
BELIEF = """\
A map is believed as far as it points at what counts. Its hottest places are painted over one after the other (deletion:
the probability of what was said should fall), or shown alone (insertion: it should rise), and both areas are held
against places drawn by lot ([Petsiuk et al. 2018](https://arxiv.org/abs/1806.07421)). `gain` is how much better the map
does, the mean of both, with a 95 % interval over pictures; 0 is a map that means nothing.
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing said: ``name`` of its file, what was asked, said and would have been right, and the strip of maps."""

    name: str
    asked: str
    said: str
    truth: str
    right: bool
    picture: np.ndarray


@dataclass(frozen=True, slots=True)
class Asked:
    """What a task is asked of a record, and what is right; ``annotation``: what the oracle reads, of scenes."""

    task: str
    text: str
    truth: str
    annotation: str | None = None


def main() -> None:
    """Ask, explain, judge and write both pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=40, help="of the test split")
    parser.add_argument("--search", type=int, default=400, help="so many more, for what is wrong where it is rare")
    parser.add_argument("--models", type=Path, default=Path("models/tasks"))
    parser.add_argument("--prepared", type=Path, default=Path("data/prepared"))
    arguments = parser.parse_args()
    explainer = Explainer(arguments.models, arguments.prepared, Path("params.yaml"))
    cases: defaultdict[str, list[Case]] = defaultdict(list)
    gains: defaultdict[tuple[str, Method], list[tuple[str, float, float]]] = defaultdict(list)
    counted: Counter[tuple[str, bool]] = Counter()
    there = [task for task, folder in OF.items() if (arguments.models / folder).is_dir()]  # not left out of params.yaml
    for number, example in enumerate(examples.read(arguments.prepared, "test")):
        searching = number >= arguments.records
        wanted = {task for task in there if not searching or _wrong(cases[task]) < EACH}
        if number >= arguments.records + arguments.search or not wanted:
            break
        judge = Judge(example.image)
        for asked in _questions(example):
            if asked.task not in wanted:
                continue
            said = _say(explainer, example.image, asked)
            if searching and _true(asked, said):
                continue
            # Occlusion of every word would take longer than all the rest.
            methods = [method for method in METHODS if asked.task != "caption" or method != "occlusion"]
            maps = {method: explained(said, example.image, method, judge) for method in methods}
            case = _case(f"{asked.task}-{len(cases[asked.task]):02d}", asked, said, maps, example.image)
            cases[asked.task].append(case)
            if searching:
                continue
            counted[asked.task, case.right] += 1
            for method, found in maps.items():
                gains[asked.task, method] += [(example.id, each.faithful.gain, each.faithful.beaten) for each in found]
    _write(cases, counted, _believed(gains), arguments)


def _wrong(cases: list[Case]) -> int:
    return sum(not case.right for case in cases)


def _questions(example: examples.Example) -> Iterator[Asked]:
    """A true caption, its minimal edit, a question, and the picture by itself."""
    caption = example.captions[0]
    yield Asked("match", caption.text, "true")
    if caption.negative:
        yield Asked("match", caption.negative, "false")
    if example.questions:
        yield Asked("ask", example.questions[0].text, example.questions[0].answer)
    yield Asked("caption", "", " · ".join(each.text for each in example.captions[:2]), example.annotation)


def _say(explainer: Explainer, pixels: np.ndarray, asked: Asked) -> Said:
    if asked.task == "match":
        return explainer.match(pixels, asked.text)
    return explainer.ask(pixels, asked.text) if asked.task == "ask" else explainer.caption(pixels)


def _case(name: str, asked: Asked, said: Said, maps: dict[Method, list[Explained]], pixels: np.ndarray) -> Case:
    tiles = [("", pixels)]
    if asked.task == "caption":
        found = maps["gradient_attention"][:WORDS]
        tiles += [(each.said, overlay(pixels, each.heat, SIDE)) for each in found]
    else:
        tiles += [(method, overlay(pixels, found[0].heat, SIDE)) for method, found in maps.items()]
    right = _true(asked, said)
    return Case(name, asked.text, f"{said.said} ({said.score:.2f})", asked.truth, right, strip(tiles, SIDE))


def _true(asked: Asked, said: Said) -> bool:
    if asked.task != "caption":
        return said.said == asked.truth
    judged = oracle.truth(asked.annotation or "", said.said)
    return judged is True or (judged is None and said.said in asked.truth.split(" · "))


def _believed(gains: dict[tuple[str, Method], list[tuple[str, float, float]]]) -> list[list[str]]:
    rows = []
    for (task, method), found in sorted(gains.items()):
        records, gain, beaten = zip(*found, strict=True)
        low, high = Bootstrap(records, seed=0).ratio(np.array(gain))
        mean = float(np.mean(gain))
        verdict = "believe it" if low > 0 else "do not" if high < 0 else "cannot be told"
        shares = f"{np.mean(beaten):.0%}"
        rows.append([task, method, str(len(found)), f"{mean:.3f}", f"{low:.3f}–{high:.3f}", shares, verdict])
    return rows


HEAD = ["asked", "method", "maps", "gain", "95 %", "beats orders by lot", ""]


def _write(
    cases: dict[str, list[Case]],
    counted: Counter[tuple[str, bool]],
    believed: list[list[str]],
    arguments: argparse.Namespace,
) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    introduction = INTRODUCTION.format(each=EACH, records=arguments.records, search=arguments.search)
    page = ["# Gallery", "", introduction, "## Can the maps be believed?", "", BELIEF]
    page += [_row(HEAD), _row(["---"] * len(HEAD)), *map(_row, believed), ""]
    body = [f"<p>{html.escape(introduction)}</p>", _html_table(believed)]
    for task, every in cases.items():
        page += [f"## {TITLES[task]}", ""]
        body.append(f"<h2>{TITLES[task]}</h2>")
        right = counted[task, True]
        page += [f"{right} of {right + counted[task, False]} are right.", ""]
        for verdict in (True, False):
            shown = [case for case in every if case.right is verdict][:EACH]
            if shown:
                page += [f"### {'Right' if verdict else 'Wrong'}", ""]
                body.append(f"<h3>{'Right' if verdict else 'Wrong'}</h3>")
            for case in shown:
                data = _png(case.picture)
                (PICTURES / f"{case.name}.png").write_bytes(data)
                page += [f"{_words(case)}", "", f"![{case.said}](images/gallery/{case.name}.png)", ""]
                shown_at = f"data:image/png;base64,{base64.b64encode(data).decode()}"
                body.append(f"<p>{html.escape(_words(case, plain=True))}</p><img alt='' src='{shown_at}'>")
    PAGE.write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")
    with atomic(REPORT) as partial:
        partial.write_text(_HTML.format(body="\n".join(body)), encoding="utf-8")


def _words(case: Case, *, plain: bool = False) -> str:
    asked = f"“{case.asked}” → " if case.asked else ""
    truth = f"; the data says: {case.truth}" if not case.right or not case.asked else ""
    return f"{asked}{case.said if plain else f'**{case.said}**'}{truth}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _html_table(rows: list[list[str]]) -> str:
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in [HEAD, *rows]]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _png(pixels: np.ndarray) -> bytes:
    """Small: 96 colours are enough for a map, and a page has many."""
    out = io.BytesIO()
    Image.fromarray(pixels).quantize(96, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


_HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Gallery</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
img {{ max-width: 100%; border-radius: 4px }} td {{ padding: .1rem .8rem .1rem 0; border-bottom: 1px solid #8884 }}
</style></head><body><h1>Gallery</h1>
{body}
</body></html>
"""


if __name__ == "__main__":
    main()
