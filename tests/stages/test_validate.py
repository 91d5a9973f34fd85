from __future__ import annotations

import hashlib
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlp.stages import validate
from support.measures import THRESHOLDS
from vlp.data import judged, shards
from vlp.data.expectations import ExpectationError
from vlp.data.sources import scenes
from vlp.params import parse
from vlp.records import Caption, Record

OUTS = (
    "data/validated/measures-00000.arrow",
    "data/validated/findings.jsonl",
    "reports/validation.html",
    "metrics/validation.json",
)
SECTIONS: dict[str, Any] = {
    "image": {"size": 64},
    "text": {"max_words": 30, "max_tokens": 40, "vocabulary": 2000, "scripts": ["latin"]},
    "clean": {"colour_matters": True},
    "validation": THRESHOLDS,
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(records: list[Record], **thresholds: Any) -> None:
    Path("data/ingested").mkdir(parents=True, exist_ok=True)
    shards.write_records(Path("data/ingested"), records)
    sections = SECTIONS | {"validation": THRESHOLDS | thresholds}
    Path("params.yaml").write_text(json.dumps(sections), encoding="utf-8")  # JSON is YAML


def record(number: int, image: bytes | None = None, *captions: str) -> Record:
    if image is None:
        buffer, picture = io.BytesIO(), Image.new("RGB", (64, 64), "white")
        picture.paste((255, 20 * number, 0), (number * 5, 8, number * 5 + 20, 60))
        picture.save(buffer, "PNG")
        image = buffer.getvalue()
    texts = captions or (f"a picture called number {number}",)
    return Record(
        id=f"r{number}",
        image=image,
        image_name=f"{number}.png",
        captions=tuple(Caption(text=text) for text in texts),
        group=f"r{number}",
    )


def metrics() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path("metrics/validation.json").read_text(encoding="utf-8"))
    return loaded


def test_what_is_wrong_is_counted_with_its_reason_and_the_pipeline_goes_on(project: Path) -> None:
    good = [record(number) for number in range(6)]
    prepare([*good, record(6, b"no picture"), record(7, None, "<b>a picture</b>", "a picture of number 7")])
    validate.main()
    figures = metrics()
    assert figures["rejects_by_reason"] == {"not_an_image": 1}
    assert (figures["records"], figures["rejected"], figures["captions"], figures["captions_dropped"]) == (8, 1, 9, 1)
    assert (figures["critical_failures"], figures["warnings"]) == (0, 0)
    assert figures["findings_by_reason"] == {"dropped": {"html": 1}, "rejected": {"not_an_image": 1}}
    assert len(judged.Measures(Path("data/validated"))) == 8
    assert {finding.record for finding in judged.read_findings(Path("data/validated"))} == {"r6", "r7"}


def test_critical_failures_stop_after_everything_was_written(project: Path) -> None:
    prepare([record(0), record(1, b""), record(2, b"")])
    with pytest.raises(ExpectationError, match=r"images_readable .* r1, r2"):
        validate.main()
    assert all(Path(name).is_file() for name in OUTS)
    assert metrics()["critical_failures"] == 2
    assert "The pipeline stops here." in Path("reports/validation.html").read_text(encoding="utf-8")


def test_zero_usable_records_is_said_as_such(project: Path) -> None:
    prepare([record(0, b""), record(1, b"")], max_unreadable_share=1, max_reject_share=1)
    with pytest.raises(ExpectationError, match=r"records_kept +records are left to train on +≥ 1 +0"):
        validate.main()


def test_critical_failures_only_count_in_mode_warn(project: Path) -> None:
    prepare([record(0, b"")], mode="warn")
    validate.main()
    assert metrics()["critical_failures"] == 3


def test_warnings_are_printed_and_do_not_stop(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepare([record(number) for number in range(3)], caption_words=[20, 30])
    validate.main()
    assert metrics()["warnings"] == 1
    assert "caption_length" in caplog.text


def test_the_same_records_give_the_same_bytes(project: Path) -> None:
    prepare([record(0), record(1), record(2, b"")], mode="warn")
    digests = []
    for _ in range(2):
        validate.main()
        digests.append([hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in OUTS])
    assert digests[0] == digests[1]


# What each injected fault must become. A reason that only repairs keeps the record and all its captions.
ACTIONS = {
    **dict.fromkeys(("truncated", "empty", "tiny", "animated", "greyscale"), "rejected"),
    **dict.fromkeys(("exact_duplicate", "near_duplicate"), "rejected"),
    **dict.fromkeys(("wrong_extension", "cmyk", "palette", "sixteen_bit", "alpha", "exif_rotated"), "repaired"),
}
OF_CAPTIONS = {"empty", "too_long", "html", "control_characters", "mojibake", "script", "contradicts_annotation"}


def test_every_injected_fault_is_found_and_no_clean_record_loses_anything(project: Path) -> None:
    faults = parse(scenes.Params, {"records": 400, "image_size": 64, "captions": 4, "faults": 0.4}, "sources.scenes")
    prepare(list(scenes.read(Path(), faults, 7)), mode="warn")
    injected = list(scenes.injected_faults(faults, 7))
    validate.main()
    found: defaultdict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for each in judged.read_findings(Path("data/validated")):
        if each.action != "reported":
            found[each.record].add((each.field, each.reason, each.action))
    expected: dict[str, set[tuple[str, str, str]]] = {}
    for each in injected:
        of_image = each["field"] == "image"
        assert each["fault"] in (ACTIONS if of_image else OF_CAPTIONS)
        action = ACTIONS[each["fault"]] if of_image else "dropped"
        expected[each["record"]] = {(each["field"], each["fault"], action)}
    assert len(expected) == 160
    assert {(each["field"] == "image", each["fault"]) for each in injected} == {
        *((True, name) for name in ACTIONS),
        *((False, name) for name in OF_CAPTIONS),
    }
    assert dict(found) == expected
