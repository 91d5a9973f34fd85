"""What augmentation makes of a pair stays true: the oracle of scenes says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from support import scenes
from vlp.data.augment import Augmented, AugmentParams, Change, augmenter
from vlp.data.loading import Examples, Plans, Prepared, loader, pad
from vlp.data.scenes import oracle
from vlp.data.truths import may_recolour, may_rotate, mirrored
from vlp.params import ParamsError, parse
from vlp.records import Batch


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = scenes.prepare(tmp_path_factory.mktemp("prepared"), 60)
    found = Prepared(folder)
    found.summary["max_tokens"] = scenes.TEXT.max_tokens
    return found


def view(prepared: Prepared, step: int = 0, **changes: object) -> tuple[Examples, Examples]:
    """The train split as it is, and as one step sees it."""
    train = prepared.split("train")
    changed = augmenter(parse(AugmentParams, changes, "augment"), prepared)
    assert changed is not None
    return train, changed(train, (5, step))


def test_a_mirrored_row_has_its_picture_texts_and_tokens_turned_together(prepared: Prepared) -> None:
    flips = 0
    for step in range(2):
        train, seen = view(prepared, step, flip=0.5)
        assert isinstance(seen, Augmented)
        for index in range(len(train)):
            plain = np.asarray(train.images([index]))[0]
            shown = np.asarray(seen.images([index]))[0]
            flip = seen.change(index).flip
            assert (shown == (plain[:, ::-1] if flip else plain)).all()
            for column, field in (("captions", "ids"), ("captions", "negative_ids"), ("questions", "ids")):
                said = [entry["negative" if "neg" in field else "text"] for entry in seen.values(column, index)]
                meant = [entry["negative" if "neg" in field else "text"] for entry in train.values(column, index)]
                assert said == [mirrored(str(text)) if flip else text for text in meant]
                for text, ids in zip(said, seen.ids(column, field, index), strict=True):
                    assert ids is not None
                    assert ids.dtype == np.int32
                    assert ids.tolist() == seen._tokenizer.encode(str(text)).ids[: scenes.TEXT.max_tokens]
            for before, after in zip(train.masks(index), seen.masks(index), strict=True):
                assert (after == (before[:, ::-1] if flip else before)).all()
            flips += flip
    assert flips > 10


@pytest.mark.parametrize("change", [{"crop": (3, 5, 50, 50)}, {"angle": 20.0}], ids=["crop", "angle"])
def test_a_small_mask_stays_where_its_picture_is(change: dict[str, Any]) -> None:
    apart = []
    for top, left in ((20, 22), (25, 31), (33, 27), (38, 40)):
        mask = np.zeros((64, 64), bool)
        mask[top : top + 7, left : left + 7] = True
        image = torch.from_numpy(np.repeat(np.uint8(255) * mask[..., None], 3, axis=2))
        shown = Change(**change).picture(image).numpy()[..., 0].astype(float)
        apart.append(np.subtract(ndimage.center_of_mass(Change(**change).mask(mask)), ndimage.center_of_mass(shown)))
    assert np.abs(np.mean(apart, axis=0)).max() < 0.15  # of a pixel


def test_a_mask_moves_with_its_picture() -> None:
    mask = np.zeros((64, 64), bool)
    mask[8:34, 30:60] = True
    image = torch.from_numpy(np.where(mask[..., None], np.uint8([255, 0, 0]), np.uint8([0, 0, 255])).astype(np.uint8))
    for change in (Change(flip=True), Change(angle=20.0), Change(angle=-9.0, flip=True), Change(crop=(5, 20, 40, 40))):
        shown, moved = change.picture(image).numpy(), change.mask(mask)
        seen = shown[..., 0].astype(int) - shown[..., 2] > 0
        assert moved.any()
        assert (moved & seen).sum() / (moved | seen).sum() > 0.9, change


@pytest.mark.parametrize("angle", [-30.0, -7.0, 12.0, 30.0])
def test_a_rotation_loses_nothing_of_the_picture(angle: float) -> None:
    corners = np.zeros((64, 64), bool)
    corners[:4, :4] = corners[:4, -4:] = corners[-4:, :4] = corners[-4:, -4:] = True
    assert ndimage.label(Change(angle=angle).mask(corners))[1] == 4


def test_rows_whose_texts_forbid_it_are_left_as_they_are(prepared: Prepared) -> None:
    train, seen = view(prepared, rotate=30.0, colour=0.5, crop=0.5, erase=1.0)
    assert isinstance(seen, Augmented)
    touched = 0
    for index in range(len(train)):
        texts, fixed = seen._texts(index)
        change = seen.change(index)
        assert (change.angle != 0) <= all(map(may_rotate, [*texts, *fixed]))
        assert (change.colour is not None) <= all(map(may_recolour, [*texts, *fixed]))
        assert (change.crop, change.erase) == (None, None), "questions of scenes count"
        touched += change != Change()
        if change == Change():
            assert (seen.images([index]) == train.images([index])).all()
    assert touched < len(train)


def test_a_data_set_may_forbid_more_words(prepared: Prepared) -> None:
    _, seen = view(prepared, flip=0.5, blocking_words=["E"])
    assert isinstance(seen, Augmented)
    assert all(seen.change(index) == Change() for index in range(len(seen)))


def test_synonyms_reach_a_caption_and_its_twin_alike_and_stay_true(prepared: Prepared) -> None:
    train, seen = view(prepared, synonyms={"large": ["big"], "small": ["little"], "above": ["higher than"]})
    changed = 0
    for index in range(len(train)):
        annotation = train.table["annotation"][index].as_py()
        for before, after in zip(train.values("captions", index), seen.values("captions", index), strict=True):
            assert oracle.truth(annotation, str(after["text"])) is True
            assert oracle.truth(annotation, str(after["negative"])) is False
            changed += before["text"] != after["text"]
    assert changed


def test_words_are_masked_only_where_no_false_twin_could_become_true(prepared: Prepared, tmp_path: Path) -> None:
    train, seen = view(prepared, mask_words=0.5)
    for index in range(5):
        for one, two in zip(train.ids("captions", "ids", index), seen.ids("captions", "ids", index), strict=True):
            assert one is not None and two is not None and (one == two).all()
    alone = Prepared(scenes.prepare(tmp_path, 20, negatives=False))
    alone.summary["max_tokens"] = scenes.TEXT.max_tokens
    train, seen = view(alone, mask_words=0.5)
    masks = 0
    for index in range(5):
        for one, two in zip(train.ids("captions", "ids", index), seen.ids("captions", "ids", index), strict=True):
            assert one is not None and two is not None
            assert set(two[one != two]) <= {alone.mask_id}
            assert (one[0], one[-1]) == (two[0], two[-1])
            masks += int((one != two).sum())
    assert masks


def collate(examples: Examples, rows: list[int], rng: np.random.Generator) -> Batch:
    ids = [examples.ids("captions", "ids", row)[0] for row in rows]
    return Batch(
        images=examples.images(rows),
        texts={"one": pad([i for i in ids if i is not None], range(len(rows)), 0)},
        targets={},
    )


def test_a_step_sees_the_same_changes_whoever_builds_it(prepared: Prepared) -> None:
    train = prepared.split("train")
    changed = augmenter(AugmentParams(flip=0.5, rotate=20.0), prepared)
    runs = [
        list(
            loader(
                train, collate, Plans(len(train), 8, 6, 3).share(first=first), seed=3, workers=workers, augment=changed
            )
        )
        for first, workers in ((0, 0), (0, 1), (2, 0))
    ]
    for one, two in zip(runs[0], runs[1], strict=True):
        assert (one.images == two.images).all()
        assert (one.texts["one"].input_ids == two.texts["one"].input_ids).all()
    assert all((one.images == two.images).all() for one, two in zip(runs[0][2:], runs[2], strict=True))
    plain = list(loader(train, collate, Plans(len(train), 8, 6, 3), seed=3))
    assert any((one.images != two.images).any() for one, two in zip(runs[0], plain, strict=True))


def test_nothing_is_allowed_unless_it_is_asked_for(prepared: Prepared) -> None:
    assert augmenter(AugmentParams(), prepared) is None


def test_a_synonym_without_a_word_is_one_line() -> None:
    with pytest.raises(ParamsError, match="expected ways to say 'big'"):
        parse(AugmentParams, {"synonyms": {"big": []}}, "augment")
