from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from vlp.data.quality import measure, measure_all, thumbnail
from vlp.data.scenes.world import Scene, Thing
from vlp.preprocessing.image import ImageParams
from vlp.preprocessing.text import TextParams
from vlp.records import Caption, Record

IMAGE = ImageParams(size=32)
TEXT = TextParams(max_words=20, max_tokens=16, vocabulary=100, scripts=("latin",))


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    buffer, image = io.BytesIO(), Image.new("RGB", size, (200, 30, 30))
    image.paste((20, 20, 220), (5, 5, 20, 20))
    image.save(buffer, kind)
    return buffer.getvalue()


def record(*captions: str, **changes: object) -> Record:
    found = Record(
        id="r1",
        image=picture(),
        image_name="a.png",
        captions=tuple(Caption(text=text) for text in captions or ("a blue square",)),
        group="g1",
        split="train",
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def test_a_good_record_is_measured_whole() -> None:
    found = measure(record(), IMAGE, TEXT)
    assert (found.id, found.group, found.split) == ("r1", "g1", "train")
    assert found.readable
    assert (found.problem, found.notes, found.caption_problems) == ("", (), ("",))
    assert (found.format, found.mode, found.width, found.height) == ("PNG", "RGB", 40, 30)
    assert found.file_bytes == len(picture())
    assert found.content_hash == hashlib.sha256(picture()).hexdigest()
    assert (len(found.thumbnail), len(found.details)) == (192, 3072)
    assert (found.caption_words, found.caption_scripts) == ((3,), ("latin",))


def test_the_same_picture_in_two_files_has_one_pixel_hash() -> None:
    png, bmp = (measure(record(image=picture(kind)), IMAGE, TEXT) for kind in ("PNG", "BMP"))
    assert png.content_hash != bmp.content_hash
    assert png.pixel_hash == bmp.pixel_hash


def test_an_unreadable_image_is_named_and_its_captions_still_measured() -> None:
    found = measure(record(image=picture()[:50]), IMAGE, TEXT)
    assert not found.readable
    assert found.problem == "truncated: the file ends before the picture does"
    assert (found.width, found.sharpness, found.pixel_hash, found.thumbnail, found.details) == (0, 0.0, "", b"", b"")
    assert found.caption_words == (3,)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("pairs.jsonl:3: no such image a.png", "source_fault: pairs.jsonl:3: no such image a.png"),
        ("missing_file: a.png", "missing_file: a.png"),
    ],
)
def test_what_the_source_could_not_read_is_unreadable(fault: str, problem: str) -> None:
    found = measure(record(fault=fault), IMAGE, TEXT)
    assert (found.readable, found.problem) == (False, problem)


@pytest.mark.parametrize(
    ("name", "notes"),
    [("a.png", ()), ("a.PNG", ()), ("a.jpg", ("wrong_extension",)), ("a.txt", ("wrong_extension",)), ("a", ())],
)
def test_an_extension_of_another_format_is_noted(name: str, notes: tuple[str, ...]) -> None:
    assert measure(record(image_name=name), IMAGE, TEXT).notes == notes


def test_captions_are_judged_as_collected_and_hashed_as_cleaned() -> None:
    found = measure(record("a  red\u00a0ring", "a red ring", "a <b>ring</b>", ""), IMAGE, TEXT)
    assert [problem.partition(":")[0] for problem in found.caption_problems] == ["", "", "html", "empty"]
    assert found.caption_hashes[0] == found.caption_hashes[1] == hashlib.sha256(b"a red ring").hexdigest()[:16]
    assert found.caption_words[-1] == 0


def test_a_caption_that_is_false_of_its_scene_is_a_problem() -> None:
    things = (Thing("large", "red", "circle", 20, 20, 0.0), Thing("small", "blue", "square", 48, 44, 0.0))
    scene = Scene(side=64, things=things, look=1).to_json()
    captions = ("there is a red circle", "there is a green star", "somebody was here")
    found = measure(record(*captions, annotation=scene), IMAGE, TEXT)
    assert [problem.partition(":")[0] for problem in found.caption_problems] == ["", "contradicts_annotation", ""]


@pytest.mark.parametrize("annotation", ['{"format": "boxes"}', "not JSON", '["scenes"]'])
def test_annotations_of_other_sources_decide_nothing(annotation: str) -> None:
    assert measure(record("there is a green star", annotation=annotation), IMAGE, TEXT).caption_problems == ("",)


def test_all_records_are_measured_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    records = [record(id=f"r{number}") for number in range(5)]
    assert list(measure_all(records, IMAGE, TEXT)) == [measure(each, IMAGE, TEXT) for each in records]
    assert "records measured" in capsys.readouterr().err


def test_a_picture_smaller_than_the_grid_is_repeated() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert thumbnail(pixels, 32) == pixels.repeat(2, axis=0).repeat(2, axis=1).tobytes()


@pytest.mark.parametrize("side", [16, 32, 50, 64])
def test_a_thumbnail_holds_the_means_of_its_cells(side: int) -> None:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    found = np.frombuffer(thumbnail(pixels), np.uint8).reshape(8, 8, 3)
    edges = [round(step * side / 8) for step in range(9)]
    for row, column in ((0, 0), (3, 5), (7, 7)):
        cell = pixels[edges[row] : edges[row + 1], edges[column] : edges[column + 1]].reshape(-1, 3)
        assert np.abs(found[row, column] - cell.mean(axis=0)).max() <= 0.5
