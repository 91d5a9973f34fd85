from __future__ import annotations

import io
import json
import logging
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlp.data.sources import coco
from vlp.params import ParamsError, parse
from vlp.preprocessing.image import ImageParams, prepare_mask
from vlp.records import Caption, Question, Record

IMAGES = [
    {"id": 7, "file_name": "a.png", "width": 8, "height": 4, "license": 1},
    {"id": 9, "file_name": "b.png", "width": 8, "height": 4},
]
SQUARE = [[1, 1, 3, 1, 3, 3, 1, 3]]
CATEGORIES = [{"id": 1, "name": "dog"}, {"id": 3, "name": "cat"}]
INSTANCES = {
    "images": IMAGES,
    "categories": CATEGORIES,
    "annotations": [
        {"id": 70, "image_id": 7, "category_id": 1, "segmentation": SQUARE},
        {"id": 71, "image_id": 7, "category_id": 1, "segmentation": {"size": [4, 8], "counts": [20, 2, 10]}},
        {"id": 72, "image_id": 7, "category_id": 3, "segmentation": {"size": [4, 8], "counts": [0, 1, 31]}},
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "val").mkdir()
    for name in "ab":
        Image.new("RGB", (8, 4), "red").save(tmp_path / "val" / f"{name}.png")
    return tmp_path


def params(*parts: dict[str, Any], **changes: Any) -> coco.Params:
    return parse(coco.Params, {"parts": [{"images": "val", **part} for part in parts], **changes}, "sources.coco")


def read(root: Path, files: dict[str, Any], part: dict[str, Any] | None = None, **changes: Any) -> list[Record]:
    """What the source makes of one part whose files hold that."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (root / f"{name}.json").write_text(text, encoding="utf-8")
    named = {name: f"{name}.json" for name in files}
    return list(coco.read(root, params({**named, **(part or {})}, **changes), 0))


def masks(record: Record) -> dict[str, int]:
    """Pixels of each region, by its expression."""
    return {
        region.expression: int((np.asarray(Image.open(io.BytesIO(region.mask))) == 255).sum())
        for region in record.regions
    }


def test_captions_stand_with_their_picture(root: Path) -> None:
    texts = [(9, "two"), (7, "one"), (7, "uno"), (7, "one")]
    annotations = [{"id": i, "image_id": image, "caption": text} for i, (image, text) in enumerate(texts)]
    first, second = read(root, {"captions": {"images": IMAGES, "annotations": annotations}}, {"split": "validation"})
    assert first == Record(
        id="val/a.png",
        image=(root / "val/a.png").read_bytes(),
        image_name="a.png",
        captions=(Caption(text="one"), Caption(text="uno")),
        group="image val/a.png",
        split="validation",
    )
    assert second.captions == (Caption(text="two"),)


@pytest.mark.parametrize(
    ("name", "identity", "group"),
    [
        ("COCO_train2014_000000000009.jpg", 9, "image 9"),
        ("000000000009.jpg", 9, "image 9"),
        ("0.png", 0, "image val/0.png"),  # numbered part by part, as many tools export
    ],
)
def test_parts_share_a_picture_by_coco_s_own_number_only(root: Path, name: str, identity: int, group: str) -> None:
    images = [{"id": identity, "file_name": name, "width": 8, "height": 4}]
    annotations = [{"id": 1, "image_id": identity, "caption": "one"}]
    (found,) = read(root, {"captions": {"images": images, "annotations": annotations}})
    assert found.group == group


def test_a_second_annotation_of_one_id_and_a_picture_without_a_size_are_refused(root: Path) -> None:
    things = [*INSTANCES["annotations"], INSTANCES["annotations"][0]]
    found = read(root, {"instances": {**INSTANCES, "annotations": things}})
    assert "has it already" in str(found[-1].fault)
    bare = [{name: value for name, value in each.items() if name not in ("width", "height")} for each in IMAGES]
    found = read(root, {"instances": {**INSTANCES, "images": bare}})
    assert found[0].regions == ()
    assert any("no width and height of image 7" in str(each.fault) for each in found)


def test_a_second_id_of_one_file_is_refused(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = [*IMAGES, {"id": 11, "file_name": "a.png", "width": 8, "height": 4}]
    annotations = [{"image_id": image, "caption": text} for image, text in ((7, "one"), (11, "uno"))]
    with caplog.at_level(logging.WARNING):
        found = read(root, {"captions": {"images": images, "annotations": annotations}})
    assert [record.id for record in found] == ["val/a.png", "val/b.png", "captions.json: images[2]"]
    assert found[0].captions == (Caption(text="one"),)
    assert found[2].fault == "captions.json: images[2]: id 11: file_name 'a.png' is that of id 7 already"
    assert "annotations of pictures that are not listed (1)" in caplog.text


def test_a_name_made_of_a_number_is_no_second_id_of_a_listed_file(root: Path) -> None:
    content = {"images": IMAGES, "annotations": [{"image_id": 1, "caption": "one"}]}
    images = [{"id": 7, "file_name": "1.png"}]
    *_, refused = read(root, {"captions": {**content, "images": images}}, {"image_name": "{image_id}.png"})
    assert refused.fault == "captions.json: annotations[0]: id 1: file_name '1.png' is that of id 7 already"


def test_the_things_of_a_category_are_one_region_and_a_label(root: Path) -> None:
    first, second = read(root, {"instances": INSTANCES})
    assert first.labels == ("dog", "cat")
    assert masks(first) == {"dog": 6, "cat": 1}
    assert (second.labels, second.regions) == ((), ())
    shown = prepare_mask(first.regions[0].mask, ImageParams(size=16, min_side=1), (8, 4))
    assert shown.any() and not shown.all()
    (bare, _) = read(root, {"instances": INSTANCES}, regions=False, labels=False)
    assert (bare.labels, bare.regions) == ((), ())


def test_an_expression_names_one_thing_and_its_split_is_the_pictures(root: Path) -> None:
    references = [
        {"ref_id": 1, "image_id": 7, "ann_id": 71, "split": "testA", "sentences": [{"raw": "L!", "sent": "left dog"}]},
        {"ref_id": 2, "image_id": 7, "ann_id": 72, "split": "testA", "sentences": [{"raw": "The cat"}, "that cat"]},
        {"ref_id": 3, "image_id": 7, "ann_id": 72, "split": "train", "sentences": []},
        {"ref_id": 4, "image_id": 9, "ann_id": 72, "sentences": ["a cat"]},
    ]  # fmt: skip
    first, _, *refused = read(root, {"instances": INSTANCES, "expressions": references}, regions=False)
    assert masks(first) == {"left dog": 2, "The cat": 1, "that cat": 1}
    assert first.split == "test"
    assert [record.fault for record in refused] == [
        "expressions.json: refs[2]: split 'train', but the picture is in 'test'",
        "expressions.json: refs[3]: ann_id 72: no instance of this picture; is instances set?",
    ]


def test_several_files_speak_of_the_same_pictures(root: Path) -> None:
    (root / "plus.json").write_text(
        json.dumps([{"image_id": 7, "ann_id": 72, "sentences": ["the black one", "the cat"]}]), encoding="utf-8"
    )
    plain = [{"image_id": 7, "ann_id": 72, "sentences": ["the cat"]}]
    several = {"expressions": ["expressions.json", "plus.json"]}
    first, second = read(root, {"instances": INSTANCES, "expressions": plain}, several, regions=False)
    assert masks(first) == {"the cat": 1, "the black one": 1}
    assert second.regions == ()


def test_questions_find_their_answers_and_pictures_that_no_file_lists(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [(1, 7, "how many?"), (2, 7, "is it red?"), (3, 9, "why?")]
    questions = [{"question_id": q, "image_id": i, "question": text} for q, i, text in asked]
    answers = [
        {
            "question_id": 1,
            "image_id": 7,
            "multiple_choice_answer": "2",
            "answer_type": "number",
            "answers": [{"answer": "2", "answer_confidence": "yes", "answer_id": 1}, {"answer": "3", "answer_id": 2}],
        },
        {"question_id": 2, "image_id": 7, "multiple_choice_answer": "yes"},
        {"question_id": 5, "image_id": 7, "multiple_choice_answer": "no"},
    ]
    (root / "val" / "x_0007.png").write_bytes(b"7")
    files = {"questions": {"questions": questions}, "answers": {"annotations": answers}}
    with caplog.at_level(logging.WARNING):
        first, second = read(root, files, {"image_name": "x_{image_id:04d}.png"})
    assert first.questions == (
        Question(text="how many?", answer="2", type="number", given=("2", "3")),
        Question(text="is it red?", answer="yes", type="yes/no"),
    )
    assert (first.id, first.image) == ("val/x_0007.png", b"7")
    assert (second.questions, second.fault) == ((), f"image 'val/x_0009.png': no such file below {root}")
    assert "questions.json: questions without an answer (1)" in caplog.text
    assert "answers.json: answers without a question (1)" in caplog.text


def test_annotations_of_pictures_that_are_not_listed_are_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = {"images": IMAGES, "annotations": [{"image_id": 1, "caption": "a"}, {"image_id": 2, "caption": "b"}]}
    with caplog.at_level(logging.WARNING):
        read(root, {"captions": content})
    assert "ignored: captions.json: annotations of pictures that are not listed (2)" in caplog.text


HOSTILE: list[tuple[str, Any, str]] = [
    ("images", {"id": "7", "file_name": "a.png"}, "id: expected a whole number, found '7'"),
    ("images", {"id": 8}, "file_name: expected text, found None"),
    ("images", {"id": 7, "file_name": "b.png"}, "id 7: file_name 'b.png', but it was 'val/a.png' before"),
    ("images", [], "id: expected a whole number, found None"),
    ("annotations", {"id": 1, "image_id": True, "category_id": 1}, "image_id: expected a whole number, found True"),
    ("annotations", {"id": 1, "image_id": 7, "category_id": 2}, "category_id 2: there is no such category"),
    (
        "annotations",
        {"id": 1, "image_id": 7, "category_id": 1, "segmentation": "box"},
        "segmentation: expected polygons or run lengths",
    ),
    ("annotations", {"id": 1, "image_id": 7, "category_id": 1, "segmentation": [[1e9] * 6]}, "numbers near the image"),
    ("categories", {"id": 4, "name": "\ud800"}, "half a character"),
]


@pytest.mark.parametrize(("key", "entry", "problem"), HOSTILE)
def test_an_entry_that_cannot_be_used_is_a_record_that_says_where_and_why(
    root: Path, key: str, entry: Any, problem: str
) -> None:
    content = {**INSTANCES, key: [*INSTANCES[key], entry]}  # type: ignore[misc]
    records = read(root, {"instances": content})
    (refused,) = [record for record in records if record.fault]
    assert (refused.fault or "").startswith(f"instances.json: {key}[{len(INSTANCES[key])}]: ")
    assert problem in (refused.fault or "")
    whole = next(record for record in records if record.id == "val/a.png")
    lost = {"dog"} if "segmentation" in problem or "near the image" in problem else set()
    assert set(masks(whole)) == {"dog", "cat"} - lost, "the mask of all dogs is not that of some"


@pytest.mark.parametrize("segmentation", [[], None])
def test_boxes_without_masks_are_labels_and_no_fault(
    root: Path, caplog: pytest.LogCaptureFixture, segmentation: Any
) -> None:
    box = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 2, 2], "segmentation": segmentation}
    content = {**INSTANCES, "annotations": [*INSTANCES["annotations"], box]}  # type: ignore[misc]
    with caplog.at_level(logging.WARNING):
        first, _ = read(root, {"instances": content})
    assert (first.fault, first.labels) == (None, ("dog", "cat"))
    assert set(masks(first)) == {"cat"}, "the mask of all dogs is not that of some"
    assert "things with a box and no mask; their categories are labels, but no regions (1)" in caplog.text
    named = [{"image_id": 7, "ann_id": 1, "sentences": ["the dog in the corner"]}]
    *_, refused = read(root, {"instances": content, "expressions": named})
    assert refused.fault == "expressions.json: refs[0]: ann_id 1: it has no segmentation, so there is no mask to learn"


def test_a_picture_that_claims_to_be_huge_gets_no_mask(root: Path) -> None:
    images = [{**IMAGES[0], "width": 10**9, "height": 10**9}]
    record, *refused = read(root, {"instances": {**INSTANCES, "images": images}})
    assert record.regions == ()
    assert record.image
    assert len(refused) == 3
    assert "pixels, allowed 50000000 in all" in (refused[0].fault or "")


def test_masks_of_another_size_than_the_picture_s_are_refused(root: Path) -> None:
    images = [{**IMAGES[0], "width": 7000, "height": 7000}, IMAGES[1]]
    record, *refused = read(root, {"instances": {**INSTANCES, "images": images}})[:-1]
    assert (record.id, record.regions, record.labels) == ("val/a.png", (), ("dog", "cat"))
    assert [each.fault for each in refused] == [
        f"instances.json: annotations[{number}]: 7000×7000 pixels, but the picture has 8×4" for number in range(3)
    ]
    # Turned by EXIF, it may be shown at the size that is said.
    turned = [{**IMAGES[0], "width": 4, "height": 8}, IMAGES[1]]
    found = read(root, {"instances": {**INSTANCES, "images": turned, "annotations": INSTANCES["annotations"][:1]}})
    assert masks(found[0]) == {"dog": 4}


def test_memory_holds_the_masks_of_no_more_than_two_things(root: Path) -> None:
    side = 1000
    Image.new("RGB", (side, side), "red").save(root / "val" / "a.png")
    polygon = [[1, 1, 900, 1, 900, 900, 1, 900]]
    things = [{"id": i, "image_id": 7, "category_id": 1 + i % 2 * 2, "segmentation": polygon} for i in range(40)]
    images = [{**IMAGES[0], "width": side, "height": side}]
    references = [{"image_id": 7, "ann_id": i, "sentences": [f"thing {i}"]} for i in range(40)]
    read(root, {"instances": INSTANCES})  # imports what rasterises
    tracemalloc.start()
    try:
        files = {"instances": {**INSTANCES, "images": images, "annotations": things}, "expressions": references}
        (record,) = read(root, files, max_annotation_bytes=2**20, max_bytes=2**20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(record.regions) == 42
    assert peak < 10 * side * side, "bytes: forty masks are forty times as many as the picture has pixels"


def test_a_reference_whose_thing_covers_no_pixel_is_refused_with_its_place(root: Path) -> None:
    outside = {"id": 73, "image_id": 7, "category_id": 3, "segmentation": [[60, 60, 70, 60, 70, 70]]}
    references = [
        {"image_id": 7, "ann_id": 73, "sentences": ["the small cat", "that cat"]},
        {"image_id": 7, "ann_id": 71, "sentences": ["left dog"]},
    ]
    instances = {**INSTANCES, "annotations": [*INSTANCES["annotations"], outside]}
    for regions, shown in ((True, {"dog": 6, "cat": 1, "left dog": 2}), (False, {"left dog": 2})):
        found = read(root, {"instances": instances, "expressions": references}, regions=regions)
        assert [record.id for record in found] == ["val/a.png", "expressions.json: refs[0]", "val/b.png"]
        assert masks(found[0]) == shown
        assert found[1].fault == "expressions.json: refs[0]: ann_id 73: its mask covers no pixel of the picture"


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "x/../../secret.png", "\0"])
def test_no_file_name_leads_out_of_the_root(root: Path, name: str) -> None:
    (root.parent / "secret.png").write_bytes(b"secret")
    content = {"images": [{"id": 1, "file_name": name}], "annotations": []}
    (record,) = read(root, {"captions": content})
    assert record.image == b""
    assert record.fault


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "captions.json: not valid JSON"),
        ("[" * 100_000, "captions.json: not valid JSON"),
        ("[]", "expected an object, found list"),
        ('{"images": []}', "captions.json: no list 'annotations'; is it the right file?"),
        ('{"images": [], "annotations": []}', "captions.json: no picture"),
    ],
)
def test_a_file_of_another_kind_is_one_line(root: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match="captions") as error:
        read(root, {"captions": content})
    assert message in str(error.value)


def test_a_pickle_is_not_read(root: Path) -> None:
    with pytest.raises(ValueError, match="a pickle can run code as it is read"):
        read(root, {"instances": INSTANCES}, {"expressions": "refs(unc).p"})


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({}, "name captions, instances or questions"),
        ({"questions": "q.json"}, "map questions and answers"),
        ({"captions": "c.json", "expressions": "e.json"}, "map instances"),
        ({"captions": 3}, "expected a file or a list of files, found 3"),
        ({"captions": None, "instances": []}, "name captions, instances or questions"),
        ({"captions": "c.json", "split": "val"}, "expected train, validation or test"),
        ({"captions": "c.json", "image_name": "{id}.jpg"}, "expected {image_id} once"),
        ({"captions": "c.json", "image_name": "{image_id:s}.jpg"}, "image_name"),
    ],
)
def test_a_part_that_contradicts_itself_is_one_line(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError) as error:
        params(part)
    assert message in str(error.value)
