from __future__ import annotations

import io
import json
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlp.data import parallel
from vlp.data.scenes.faults import COPIES
from vlp.data.scenes.oracle import truth
from vlp.data.scenes.world import COLOURS, SHAPES
from vlp.data.sources import scenes
from vlp.params import ParamsError, parse
from vlp.records import Record

TINY = scenes.Params(records=240, image_size=64, captions=3, faults=0.25)
RECORDS = list(scenes.read(Path("nowhere"), TINY, seed=5))
ROWS = list(scenes.injected_faults(TINY, seed=5))
BY_ID = {record.id: record for record in RECORDS}
DIRTY = {row["record"] for row in ROWS}
CLEAN = [record for record in RECORDS if record.id not in DIRTY]


def picture(record: Record) -> Image.Image:
    return Image.open(io.BytesIO(record.image))


def rows(fault: str, field: str = "image") -> list[scenes.Row]:
    return [row for row in ROWS if row["fault"] == fault and row["field"].startswith(field)]


def caption(row: scenes.Row) -> str:
    return BY_ID[row["record"]].captions[int(row["field"][len("captions[") : -1])].text


def test_there_are_as_many_records_as_asked_for_and_their_ids_differ() -> None:
    assert len(BY_ID) == len(RECORDS) == 240
    assert RECORDS[123].id == "scenes-000123"


def test_the_same_seed_makes_the_same_records_and_another_seed_others() -> None:
    assert [scenes.record(index, params=TINY, seed=5) for index in range(40)] == RECORDS[:40]
    assert scenes.record(0, params=TINY, seed=6) != RECORDS[0]


def test_the_faults_are_listed_the_same_every_time() -> None:
    assert list(scenes.injected_faults(TINY, seed=5)) == ROWS


def test_a_record_does_not_depend_on_how_many_there_are() -> None:
    clean = TINY.model_copy(update={"faults": 0.0})
    more = clean.model_copy(update={"records": 10_000})
    assert scenes.record(17, params=clean, seed=5) == scenes.record(17, params=more, seed=5)


@pytest.mark.slow
def test_any_number_of_processes_makes_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "TOO_FEW_FOR_PROCESSES", 2)
    make = partial(scenes.record, params=TINY, seed=5)
    assert list(parallel.ordered_map(make, range(240), processes=2)) == RECORDS


def test_clean_pictures_decode_at_the_size_asked_for_in_the_format_of_their_name() -> None:
    for record in CLEAN:
        image = picture(record)
        image.load()
        assert (image.size, image.mode) == ((64, 64), "RGB")
        assert {"PNG": "png", "JPEG": "jpg"}[image.format or ""] == record.image_name.rpartition(".")[2]


def test_most_pictures_are_png_and_some_are_jpeg() -> None:
    formats = Counter(record.image_name.rpartition(".")[2] for record in CLEAN)
    assert 0.05 < formats["jpg"] / formats.total() < 0.3


def test_clean_captions_are_true_and_their_negatives_false() -> None:
    for record in CLEAN:
        assert len(record.captions) == 3
        for told in record.captions:
            assert truth(record.annotation or "", told.text) is True
            assert truth(record.annotation or "", told.negative or "") is False


def test_labels_are_the_shapes_the_colours_and_the_pairs_shown() -> None:
    for record in RECORDS:
        things = json.loads(record.annotation or "")["things"]
        pairs = {f"{thing['colour']} {thing['shape']}" for thing in things}
        shapes, colours = ({thing[key] for thing in things} for key in ("shape", "colour"))
        assert set(record.labels) == shapes | colours | pairs
        every = (*SHAPES, *COLOURS, *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES))
        order = [every.index(label) for label in record.labels]
        assert order == sorted(order)


def test_every_record_is_its_own_group() -> None:
    assert all(record.group == record.id for record in RECORDS)


def test_a_record_carries_questions_and_regions() -> None:
    assert all(len(record.questions) == TINY.questions for record in RECORDS)
    assert sum(len(record.regions) for record in RECORDS) > 1.5 * len(RECORDS)


def test_masks_are_as_large_as_their_pictures() -> None:
    truncated = {row["record"] for row in rows("truncated")}
    for record in RECORDS:
        if record.image and record.id not in truncated:
            for region in record.regions:
                assert Image.open(io.BytesIO(region.mask)).size == picture(record).size


def test_a_mask_covers_what_its_colour_name_says() -> None:
    """Also where the file is stored turned: the mask is that of the upright picture."""
    record = next(record for record in CLEAN if any("white" in region.expression for region in record.regions))
    region = next(region for region in record.regions if "white" in region.expression)
    mask = np.asarray(Image.open(io.BytesIO(region.mask))) > 0
    shown = np.asarray(picture(record).convert("L")).astype(float)
    assert np.median(shown[mask]) > 190 > np.median(shown)


def test_no_record_reports_a_fault_of_its_own() -> None:
    """The pipeline has to find them."""
    assert all(record.fault is None for record in RECORDS)


def test_a_dirty_record_has_one_fault_and_every_type_appears() -> None:
    assert len(ROWS) == len(DIRTY) == 60
    assert len({(row["fault"], row["field"][:7]) for row in ROWS}) == 20


def test_exact_duplicates_have_the_same_bytes_under_another_name() -> None:
    for row in rows("exact_duplicate"):
        copy, original = BY_ID[row["record"]], BY_ID[row["of"]]
        assert copy.image == original.image
        assert copy.image_name != original.image_name
        assert copy.annotation == original.annotation


def test_near_duplicates_look_the_same_in_other_bytes() -> None:
    for row in rows("near_duplicate"):
        copy, original = BY_ID[row["record"]], BY_ID[row["of"]]
        assert copy.image != original.image
        small = [np.asarray(picture(r).convert("RGB").resize((8, 8))).astype(int) for r in (copy, original)]
        assert np.abs(small[0] - small[1]).mean() < 6


def test_originals_of_copies_are_clean_and_come_first() -> None:
    for row in ROWS:
        if row["fault"] in COPIES:
            assert row["of"] not in DIRTY
            assert row["of"] < row["record"]


def test_a_caption_of_another_picture_is_false_of_this_one_and_true_of_that_one() -> None:
    found = rows("contradicts_annotation", "captions")
    assert found
    for row in found:
        assert truth(BY_ID[row["record"]].annotation or "", caption(row)) is False
        assert truth(BY_ID[row["of"]].annotation or "", caption(row)) is True


def test_a_dirty_record_is_clean_but_for_the_field_that_is_listed() -> None:
    clean = TINY.model_copy(update={"faults": 0.0})
    for row in ROWS:
        if row["fault"] in COPIES:
            continue
        index = int(row["record"].removeprefix("scenes-"))
        dirty, pure = BY_ID[row["record"]], scenes.record(index, params=clean, seed=5)
        if row["field"] == "image":
            assert dirty.captions == pure.captions
            assert dirty.image != pure.image or dirty.image_name != pure.image_name
        else:
            assert (dirty.image, dirty.image_name) == (pure.image, pure.image_name)
            changed = [f"captions[{i}]" for i in range(3) if dirty.captions[i] != pure.captions[i]]
            assert changed == [row["field"]]
        assert dirty.annotation == pure.annotation
        assert dirty.questions == pure.questions


def test_too_few_records_for_a_contradiction_are_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "truth", lambda annotation, text: True)
    row = rows("contradicts_annotation", "captions")[0]
    with pytest.raises(ValueError, match=rf"{row['record']}.*raise records"):
        scenes.record(int(row["record"].removeprefix("scenes-")), params=TINY, seed=5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("records", 0),
        ("image_size", 16),
        ("captions", 0),
        ("faults", 0.9),
        ("jpeg", 1.5),
        ("regions", 9),
        ("shapes", 3),
    ],
)
def test_impossible_params_are_refused_by_name(key: str, value: float) -> None:
    section = {"records": 10, "image_size": 64, "captions": 4, "faults": 0.02, key: value}
    with pytest.raises(ParamsError, match=key):
        parse(scenes.Params, section, "params.yaml: sources.scenes")
