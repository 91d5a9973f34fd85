"""The figures in docs/results.md, from the files that the stages and the benchmarks wrote: nothing is typed by hand.

    python scripts/results.py           # after `make repro` or a benchmark; rewrites the tables
    python scripts/results.py --check   # fails where the page and the files disagree

A table stands between ``<!-- figures: metrics/matching.json -->`` and ``<!-- end -->``; what lies between the two is
written anew. A number with ``<name>_ci95`` beside it shows its interval, a mapping of slices becomes rows of its own;
of more than a dozen slices the lowest stand there. A task that ``params.yaml`` does without leaves no file, and
other data not every figure: the page says so.
``<!-- aims -->`` … ``<!-- end -->`` holds what each task is meant to reach beside what it does;
``<!-- benchmark: serving_http -->`` … ``<!-- end -->`` what a benchmark measured, where, and what it is meant to;
``<!-- preset: easy-vqa -->`` … ``<!-- end -->`` what a preset reached on real data, beside its floors;
``<!-- transfer: noto-emoji -->`` … ``<!-- end -->`` the rows of ``benchmarks/results/transfer.json`` of that data.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path("docs/results.md")
RESULTS = Path("benchmarks/results")
AIMS = (
    ("matching", "hard_negative_accuracy", 0.92),
    ("matching", "roc_auc", 0.96),
    ("retrieval", "image_to_text_r1", 0.60),
    ("retrieval", "text_to_image_r1", 0.60),
    ("vqa", "accuracy", 0.92),
    ("captioning", "faithful_share", 0.90),
    ("classification", "macro_f1", 0.95),
    ("segmentation", "miou", 0.85),
    ("generation", "faithful_share", 0.70),
)
TRANSFER = Path("benchmarks/results/transfer.json")
BENCHMARK_AIMS = {
    "preprocess": {"ratios.vs_pillow_loop": (">=", 3.0), "ratios.vs_img2dataset": (">=", 1.0)},
    "records": {"linear_fit": (">=", 0.99), "peak_memory_gb.1000000": ("<=", 2.0)},
    "cleaning": {
        "injected.recall": (">=", 1.0),
        "injected.false_rejects": ("<=", 0.0),
        "emoji.colour_only.lost": ("<=", 0.0),
        "emoji.impossible.reported": (">=", 10.0),
    },
    "suspects": {f"{by}.average_precision": (">=", 0.8) for by in ("record", "caption")},
    "training_cpu": {
        "ratios.vs_plain_loop": (">=", 5.0),
        "full.limits.batch_32.share_of_bf16_peak": (">=", 0.2),
        "checkpoints.share_of_training": ("<=", 0.03),
        "checkpoints.resume_to_first_new_step_s": ("<=", 10.0),
    },
    "training_gpu": {
        "pairs_per_second": (">=", 3000.0),
        "ratios.vs_plain_loop": (">=", 5.0),
        "ratios.vs_open_clip": (">=", 1.0),
        "smoke.hard_negative_accuracy": (">=", 0.98),
    },
    "orchestration": {
        "up_to_date_overhead_s": ("<=", 10.0),
        "run_overhead_share": ("<=", 0.03),
        "failed_requests_in_switch": ("<=", 0.0),
        "rollback_s": ("<=", 10.0),
    },
    "loader": {f"ratios.{phase}": (">=", 2.0) for phase in ("look", "point", "read")},
    "serving_latency": {
        "ratios.batch1_vs_torch_eager": (">=", 6.0),
        "ratios.batch1_vs_onnxruntime": (">=", 3.0),
        "ratios.batch8_vs_torch_eager": (">=", 5.0),
        "ratios.int8_batch1_vs_torch_eager": (">=", 6.0),
        "ratios.int8_batch1_vs_onnxruntime": (">=", 3.0),
        "ratios.int8_batch8_vs_torch_eager": (">=", 5.0),
        "cold_start_s": ("<=", 3.0),
        "worker_memory_mb": ("<=", 500.0),
        "environment_mb": ("<=", 700.0),
    },
    "serving_http": {
        "ratios.rps_vs_plain_service": (">=", 6.0),
        "ratios.p99_vs_plain_service": (">=", 1.0),
        "ratios.int8_rps_vs_plain_service": (">=", 6.0),
        "overload.lost": ("<=", 0.0),
        "overload.recovered_s": ("<=", 5.0),
    },
}
REAL_INPUT: dict[str, tuple[tuple[str, str, tuple[str, ...], float | None], ...]] = {
    "easy-vqa": (("vqa", "accuracy", ("question_only_accuracy", "image_only_accuracy", "majority_accuracy"), 0.99),),
    "noto-emoji": (
        ("matching", "accuracy", ("base_rate",), None),
        ("matching", "roc_auc", (), None),
        ("matching", "hard_negative_accuracy", ("text_only_hard_negative_accuracy",), None),
        *(
            ("retrieval", f"{way}_r{k}", (f"nearest_by_colour_{way}_r{k}", f"random_{way}_r{k}"), None)
            for way in ("image_to_text", "text_to_image")
            for k in (1, 10)
        ),
        ("captioning", "cider", ("nearest_by_colour_cider", "blank_cider", "most_common_cider"), None),
        ("captioning", "bleu4", ("nearest_by_colour_bleu4", "blank_bleu4", "most_common_bleu4"), None),
        (
            "classification",
            "macro_f1",
            ("nearest_by_colour.macro_f1", "majority.every_label_macro_f1", "zero_shot.macro_f1"),
            None,
        ),
        ("segmentation", "miou", ("saliency_miou", "text_blind_miou"), None),
        ("generation", "matching_score", ("random_picture_matching_score", "true_picture_matching_score"), None),
    ),
}
"""Of each preset: task, figure, what to hold it against, and what it is meant to reach."""
BLOCK = re.compile(
    r"(<!-- (?:figures: (?P<file>\S+)|benchmark: (?P<benchmark>\S+)|transfer: (?P<data>\S+)"
    r"|preset: (?P<preset>\S+)|aims) -->\n)"
    r".*?(?P<end><!-- end -->)",
    re.DOTALL,
)


def main() -> int:
    """Rewrite the page, or with ``--check`` compare; returns the exit status."""
    before = PAGE.read_text(encoding="utf-8")
    after = render(before)
    if "--check" in sys.argv[1:]:
        if after != before:
            sys.stderr.write(
                f"{PAGE}: its tables are not those of the files they name; run python scripts/results.py\n"
            )
        return int(after != before)
    PAGE.write_text(after, encoding="utf-8")
    return 0


def render(page: str) -> str:
    """``page`` with every block written from its file."""

    def written(block: re.Match[str]) -> str:
        if block["file"]:
            shown = table(Path(block["file"]))
        elif block["benchmark"]:
            shown = benchmark(block["benchmark"])
        elif block["preset"]:
            shown = real_input(block["preset"])
        else:
            shown = transfer(block["data"]) if block["data"] else aims()
        return f"{block[1]}\n{shown}\n{block['end']}"

    return BLOCK.sub(written, page)


def benchmark(name: str) -> str:
    """One benchmark: what ran where, and every figure that is no sample beside its aim."""
    found = load(RESULTS / f"{name}.json")
    lines = [f"{_told(found)}:", "", "| figure | value | aim | |", "|---|---|---|---|"]
    aims = BENCHMARK_AIMS.get(name, {})
    shown = dict(_flat({key: value for key, value in found.items() if key not in _ABOUT}))
    for key, value in shown.items():
        sign, aim = aims.get(key, ("", 0.0))
        reached = value >= aim if sign == ">=" else value <= aim
        verdict = ("reached" if reached else "**not reached**") if sign else ""
        lines.append(f"| `{key}` | {number(value)} | {f'{sign} {aim:g}' if sign else ''} | {verdict} |")
    # What is aimed at and was not measured is no less worth a line.
    lines += [
        f"| `{key}` | | {sign} {aim:g} | **not measured** |" for key, (sign, aim) in aims.items() if key not in shown
    ]
    for key, rows in found.items():
        if key not in _ABOUT and isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            lines += ["", f"`{key}`:", "", *_rows(rows)]
    return "\n".join(lines) + "\n"


def _rows(rows: list[dict[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[("" if row.get(name) is None else str(row[name])) for name in names] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (names, ["---"] * len(names), *cells)]


def real_input(preset: str) -> str:
    """What a preset reached on real data, each figure beside its floors."""
    found = load(RESULTS / f"{preset}.json")
    took = "" if found["seconds"] is None else f"; all stages: {found['seconds'] // 60} min {found['seconds'] % 60} s"
    lines = [f"{_told(found)}, commit {found['commit'][:7]}{took}:", ""]
    lines += ["| task | figure | reached | 95 % | beside it | aim | |", "|---|---|---|---|---|---|---|"]
    for task, name, others, aim in REAL_INPUT[preset]:
        figures = dict(_flat(found["metrics"][task]))
        low, high = found["metrics"][task].get(f"{name}_ci95", (None, None))
        between = "" if low is None else f"{number(low)}–{number(high)}"
        beside = "; ".join(f"`{other}` {number(figures[other])}" for other in others)
        verdict = "" if aim is None else "reached" if figures[name] >= aim else "**not reached**"
        told = f"{beside} | {'' if aim is None else f'{aim:.2f}'} | {verdict}"
        lines.append(f"| {task} | `{name}` | {number(figures[name])} | {between} | {told} |")
    return "\n".join(lines) + "\n"


def _told(found: dict[str, Any]) -> str:
    machine = found["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores"
    if "runs" not in found:
        return f"`{found['command']}`, {found['at'][:10]}, {where}"
    told: dict[str, list[str]] = {}
    for part, run in found["runs"].items():
        told.setdefault(f"`{run['command']}`, {run['at'][:10]}, {run['device']}", []).append(f"`{part}`")
    parts = (f"{', '.join(names)} by {run}" for run, names in told.items())
    return f"{where}; {'; '.join(parts)}"


_ABOUT = ("machine", "command", "commit", "at", "runs", "samples")


def _flat(figures: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value


def aims() -> str:
    """Each aim beside the figure that was reached."""
    lines = ["| task | figure | reached | 95 % | aim | |", "|---|---|---|---|---|---|"]
    for task, name, aim in AIMS:
        file = Path("metrics") / f"{task}.json"
        figures = load(file) if file.exists() else {}
        value = figures.get(name)
        reached = "reached" if value is not None and value >= aim else "**not reached**"
        shown = "" if value is None else number(value)
        verdict = "**not measured**" if value is None else reached
        lines.append(f"| {task} | `{name}` | {shown} | {span(figures.get(f'{name}_ci95'))} | {aim:.2f} | {verdict} |")
    return "\n".join(lines) + "\n"


def transfer(data: str) -> str:
    """What each task reaches on ``data`` with so many labels, by what it started from."""
    kept = [row for row in load(TRANSFER)["rows"] if row["data"] == data]
    tasks = list(dict.fromkeys(row["task"] for row in kept))
    found = sorted(kept, key=lambda row: (tasks.index(row["task"]), row["labels"]))
    ways = list(dict.fromkeys(row["way"] for row in kept))
    lines = [f"| task | figure | labels | {' | '.join(ways)} |", "|---" * (len(ways) + 3) + "|"]
    for task, figure, labels in dict.fromkeys((row["task"], row["figure"], row["labels"]) for row in found):
        cells = []
        for way in ways:
            rows = [row for row in found if (row["task"], row["labels"], row["way"]) == (task, labels, way)]
            low, high = rows[0]["ci95"] if rows else (0.0, 0.0)
            cells.append(f"{number(rows[0]['value'])} ({number(low)}–{number(high)})" if rows else "")
        lines.append(f"| {task} | `{figure}` | {labels:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table(file: Path) -> str:
    """The figures of one JSON file as a Markdown table, or that there is no such file."""
    if not file.exists():
        sys.stderr.write(f"{PAGE} shows {file}, which is not there\n")
        return f"`{file}` is not there.\n"
    lines = ["| figure | value | 95 % |", "|---|---|---|"]
    return (
        "\n".join(lines + [f"| {name} | {value} | {interval} |" for name, value, interval in rows(load(file))]) + "\n"
    )


def load(file: Path) -> dict[str, Any]:
    """The file's figures.

    Raises:
        SystemExit: there is no such file, which is said.
    """
    try:
        loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SystemExit(f"{PAGE} shows {file}, which is not there") from None
    return loaded


def rows(figures: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, value and interval of each figure; of slices, their size too."""
    for name, value in figures.items():
        if name.endswith("_ci95"):
            continue
        between = span(figures.get(f"{name}_ci95"))
        if isinstance(value, dict) and set(value) <= {"value", "size", "value_ci95"} and "value" in value:
            size = f" ({value['size']})" if "size" in value else ""
            known = "" if value["value"] is None else number(value["value"])
            yield f"`{prefix}{name}`{size}", known, span(value.get("value_ci95"))
        elif isinstance(value, dict):
            yield from rows(*_lowest(value, f"{prefix}{name}"))
        elif isinstance(value, int | float):
            yield f"`{prefix}{name}`", number(value), between
        elif isinstance(value, str):
            yield f"`{prefix}{name}`", value, ""


MOST_SLICES = 12
LOWEST = 3


def _lowest(slices: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """All slices, or the lowest of many: those that a reader looks for; and what stands before their names."""
    by = next((key for key in ("value", "f1") if all(isinstance(s, dict) and key in s for s in slices.values())), None)
    if by is None or len(slices) <= MOST_SLICES:
        return slices, f"{name}: "
    lowest = sorted((key for key in slices if slices[key][by] is not None), key=lambda key: slices[key][by])[:LOWEST]
    return {key: slices[key] for key in lowest}, f"{name}, lowest of {len(slices)}: "


def span(interval: list[float | None] | None) -> str:
    """From where to where; nothing where that is not known."""
    low, high = interval or (None, None)
    return "" if low is None or high is None else f"{number(low)}–{number(high)}"


def number(value: float) -> str:
    """A number as a person reads it."""
    if isinstance(value, int) or (value == int(value) and abs(value) >= 1):
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 0.001 else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
