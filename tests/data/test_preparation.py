from __future__ import annotations

import io
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from vlp.data import cleaning, examples, judged, preparation, quality, shards
from vlp.data.cleaning import CleanParams
from vlp.data.engines.local import Engine
from vlp.data.fates import FateError
from vlp.data.preparation import run
from vlp.data.prepared_rows import PreparationError
from vlp.data.resume import resumable
from vlp.data.split import SPLITS, SplitError, SplitParams
from vlp.preprocessing.image import ImageParams
from vlp.preprocessing.text import TextParams, load_tokenizer
from vlp.records import Caption, Example, Question, Record, Region

IMAGE = ImageParams(size=16, min_side=8)
TEXT = TextParams(max_words=20, max_tokens=12, vocabulary=120, scripts=("latin",))
SPLIT = SplitParams(train=0.6, validation=0.2, test=0.2)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def record(number: int) -> Record:
    pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    mask = np.zeros((20, 24), dtype=np.uint8)
    mask[:, :12] = 255
    return Record(
        id=f"r{number}",
        image=png(pixels),
        image_name=f"{number}.png",
        captions=(Caption(text=f"noise  number {number}", negative=f"noise number {number + 1}", kind="count"),),
        group=f"g{number}",
        labels=("noise", f"n{number}"),
        questions=(Question(text="is it noise?", answer=" yes ", type="exists", given=(" yes", "\x07", "no")),),
        regions=(Region(expression="the left half", mask=png(mask)),),
    )


def validate(folder: Path, records: list[Record], **clean: Any) -> tuple[Path, Path]:
    ingested, validated = folder / "ingested", folder / "validated"
    ingested.mkdir(parents=True)
    validated.mkdir()
    shards.write_records(ingested, records)
    measures = [quality.measure(each, IMAGE, TEXT) for each in records]
    judged.write_measures(validated, measures)
    judged.write_findings(validated, cleaning.judge(measures, CleanParams(colour_matters=False, **clean)))
    return ingested, validated


def prepared(folder: Path, records: list[Record], text: TextParams = TEXT, **clean: Any) -> Path:
    ingested, validated = validate(folder, records, **clean)
    out = folder / "prepared"
    out.mkdir()
    run(ingested, validated, out, seed=1, image=IMAGE, text=text, split=SPLIT, engine=Engine())
    return out


def everything(out: Path) -> Iterator[tuple[str, Example]]:
    for split in SPLITS:
        for example in examples.read(out, split):
            yield split, example


def rejects(out: Path) -> list[tuple[str, str, str, str]]:
    lines = (out / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return [(each["record"], each["field"], each["reason"], each["action"]) for each in found]


def summary(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return content


def test_every_good_record_is_in_one_split_with_clean_texts(tmp_path: Path) -> None:
    found = {example.id: (split, example) for split, example in everything(prepared(tmp_path, RECORDS))}
    assert set(found) == {each.id for each in RECORDS}
    _, example = found["r3"]
    assert example.image.shape == (16, 16, 3)
    assert example.captions == (Caption(text="noise number 3", negative="noise number 4", kind="count"),)
    assert example.questions == (Question(text="is it noise?", answer="yes", type="exists", given=("yes", "no")),)
    assert example.labels == ("noise", "n3")
    ((expression, mask),) = example.regions
    assert expression == "the left half"
    assert mask.tolist() == [[True] * 8 + [False] * 8] * 16


RECORDS = [record(number) for number in range(40)]


def test_the_summary_counts_what_the_shards_hold(tmp_path: Path) -> None:
    out = prepared(tmp_path, RECORDS)
    content, found = summary(out), list(everything(out))
    for split in SPLITS:
        count = sum(name == split for name, _ in found)
        assert content["splits"][split] == {
            "records": count,
            "groups": count,
            "captions": count,
            "negatives": count,
            "questions": count,
            "regions": count,
        }
    tokenizer = load_tokenizer(out / "tokenizer")
    assert content["vocabulary_size"] == tokenizer.get_vocab_size()
    assert [content[f"{name}_id"] for name in ("pad", "unk", "cls", "sep", "mask")] == [0, 1, 2, 3, 4]
    assert (content["image_size"], content["max_tokens"], content["texts_cut"]) == (16, 12, 0)
    train = content["splits"]["train"]["records"]
    assert content["answers"] == {"yes": train}
    assert content["labels"]["noise"] == train
    assert len(content["unseen_labels"]) == 40 - train
    assert content["unseen_answers"] == {}


def test_token_ids_are_those_of_the_tokenizer_that_lies_beside_them(tmp_path: Path) -> None:
    out = prepared(tmp_path, RECORDS)
    tokenizer = load_tokenizer(out / "tokenizer")
    for row in shards.read(out, "test"):
        for caption in row["captions"]:
            assert caption["ids"] == tokenizer.encode(caption["text"]).ids
            assert caption["negative_ids"] == tokenizer.encode(caption["negative"]).ids


def test_the_tokenizer_learns_from_the_train_split_only(tmp_path: Path) -> None:
    before = {split: example.id for split, example in everything(prepared(tmp_path / "one", RECORDS))}
    held_out = {before["validation"], before["test"]}
    spoken = [
        replace(each, captions=(Caption(text="zzz qqq"),) * 3) if each.id in held_out else each for each in RECORDS
    ]
    one, two = tmp_path / "one" / "prepared", prepared(tmp_path / "two", spoken)
    assert (one / "tokenizer/tokenizer.json").read_bytes() == (two / "tokenizer/tokenizer.json").read_bytes()


def test_a_given_tokenizer_is_used_as_it_is(tmp_path: Path) -> None:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "noise", "number"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    given = TEXT.model_copy(update={"tokenizer": str(tmp_path)})
    out = prepared(tmp_path, RECORDS, given)
    assert summary(out)["vocabulary_size"] == 7
    assert all(row["captions"][0]["ids"][:3] == [2, 5, 6] for row in shards.read(out, "train"))


def test_texts_that_are_cut_are_counted(tmp_path: Path) -> None:
    long = replace(RECORDS[0], captions=(Caption(text="noise " * 15),))
    out = prepared(tmp_path, [long, *RECORDS[1:]])
    assert summary(out)["texts_cut"] == 1


def test_nothing_that_goes_goes_without_a_line(tmp_path: Path) -> None:
    two_captions = (Caption(text="fine"), Caption(text="<b>bad</b>", negative="worse"))
    dirty = [
        replace(RECORDS[0], image=RECORDS[0].image[:100]),
        replace(RECORDS[1], captions=two_captions),
        replace(RECORDS[2], captions=(Caption(text="noise", negative="NOISE", kind="count"),)),
        replace(RECORDS[3], captions=(Caption(text="noise", negative="&nbsp;", kind="count"),)),
        replace(RECORDS[4], questions=(Question(text="", answer="yes"), Question(text="is it?", answer="\x07"))),
        replace(RECORDS[5], regions=(Region(expression="it", mask=png(np.zeros((20, 20), np.uint8))),)),
        replace(RECORDS[6], regions=(Region(expression="it", mask=b"no PNG"), *RECORDS[6].regions)),
        replace(RECORDS[8], id="r7", group="g7"),
    ]
    out = prepared(tmp_path, [*dirty, *RECORDS[8:]])
    assert set(rejects(out)) == {
        ("r0", "image", "truncated", "rejected"),
        ("r1", "captions[1]", "html", "dropped"),
        ("r2", "captions[0].negative", "same_as_caption", "dropped"),
        ("r3", "captions[0].negative", "html", "dropped"),
        ("r4", "questions[0]", "empty", "dropped"),
        ("r4", "questions[1]", "empty", "dropped"),
        ("r5", "regions[0]", "mask_size", "dropped"),
        ("r6", "regions[0]", "not_an_image", "dropped"),
        ("r8", "image", "exact_duplicate", "rejected"),
    }
    found = {example.id: example for _, example in everything(out)}
    assert set(found) == {each.id for each in RECORDS} - {"r0", "r8"}
    assert [caption.text for caption in found["r1"].captions] == ["fine"]
    assert found["r2"].captions == (Caption(text="noise", negative=None, kind="count"),)
    assert found["r4"].questions == ()
    assert (len(found["r5"].regions), len(found["r6"].regions)) == (0, 1)
    assert summary(out)["lost"]["dropped"] == {
        "empty": 2,
        "html": 2,
        "mask_size": 1,
        "not_an_image": 1,
        "same_as_caption": 1,
    }


def test_duplicates_that_stay_share_a_split(tmp_path: Path) -> None:
    twins = [replace(each, id=f"twin{each.id}", group=f"twin{each.group}") for each in RECORDS]
    out = prepared(tmp_path, [*RECORDS, *twins], exact_duplicates="group")
    found = {example.id: (split, example.group) for split, example in everything(out)}
    assert len(found) == 80
    assert all(found[each.id] == found[f"twin{each.id}"] for each in RECORDS)


def test_a_group_torn_by_official_splits_is_settled_and_listed(tmp_path: Path) -> None:
    official = [replace(each, split="test" if index < 8 else "train") for index, each in enumerate(RECORDS)]
    torn = replace(official[20], group=official[0].group)
    out = prepared(tmp_path, [*official[:20], torn, *official[21:]])
    assert ("r20", "record", "split_conflict", "rejected") in rejects(out)


def test_a_negative_of_the_caption_s_own_tokens_is_dropped(tmp_path: Path) -> None:
    long = "one two three four five six seven eight nine ten noise"
    twin = Caption(text=f"{long} here", negative=f"{long} there")
    out = prepared(tmp_path, [replace(RECORDS[0], captions=(*RECORDS[0].captions, twin)), *RECORDS[1:]])
    assert ("r0", "captions[1].negative", "same_tokens", "dropped") in rejects(out)


def test_a_negative_that_is_another_caption_of_the_picture_is_dropped(tmp_path: Path) -> None:
    long = "one two three four five six seven eight nine ten noise"
    said = (
        Caption(text="noise and a cat", negative="A DOG of noise"),
        Caption(text="a dog of noise", negative="noise and no dog"),
        Caption(text=f"{long} here", negative=None),
        Caption(text="only noise", negative=f"{long} there"),
    )
    out = prepared(tmp_path, [replace(RECORDS[0], captions=said), *RECORDS[1:]])
    found = {(field, reason) for record, field, reason, _ in rejects(out) if record == "r0"}
    assert found >= {("captions[0].negative", "same_as_caption"), ("captions[3].negative", "same_tokens")}
    (example,) = [example for _, example in everything(out) if example.id == "r0"]
    assert [caption.negative for caption in example.captions] == [None, "noise and no dog", None, None]


def test_a_run_that_is_killed_at_the_very_end_can_be_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingested, validated = validate(tmp_path, RECORDS)
    out = tmp_path / "out"
    out.mkdir()

    def go() -> None:
        run(ingested, validated, out, seed=3, image=IMAGE, text=TEXT, split=SPLIT, engine=Engine())

    with monkeypatch.context() as patched:
        patched.setattr(preparation, "_summary", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go()
    go()
    assert (out / "summary.json").is_file()
    assert not list(out.glob(".train-*"))


def test_a_run_that_is_killed_while_it_cleans_up_is_finished_at_every_step(tmp_path: Path) -> None:
    ingested, validated = validate(tmp_path, RECORDS)

    def go(out: Path, key: str = "key") -> None:
        with resumable(out, key) as folder:
            run(ingested, validated, folder, seed=3, image=IMAGE, text=TEXT, split=SPLIT, engine=Engine())

    go(tmp_path / "whole")
    steps = 0
    while killed_at(steps, partial(go, tmp_path / str(steps))):
        go(tmp_path / str(steps))
        assert contents(tmp_path / str(steps)) == contents(tmp_path / "whole"), steps
        steps += 1
    assert steps > 3 + 2, "three notes, the marker, the new name, at least"


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Whether ``work`` is ended by a kill at the given one of its changes to what files are there."""
    done = itertools.count()

    def dying(change: Callable[..., None]) -> Callable[..., None]:
        def counted(*args: Any, **options: Any) -> None:
            if next(done) == step:
                raise KeyboardInterrupt
            change(*args, **options)

        return counted

    with pytest.MonkeyPatch.context() as patched:
        for module, name in ((os, "replace"), (Path, "replace"), (Path, "unlink"), (shutil, "rmtree")):
            patched.setattr(module, name, dying(getattr(module, name)))
        try:
            work()
        except KeyboardInterrupt:
            return True
    return False


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (prepared(tmp_path / name, RECORDS) for name in ("one", "two"))
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert [str(name) for name in names] == [
        "rejects.jsonl",
        "summary.json",
        "test-00000.arrow",
        "tokenizer/tokenizer.json",
        "train-00000.arrow",
        "validation-00000.arrow",
    ]
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_no_usable_record_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    broken = [replace(each, image=b"") for each in RECORDS[:3]]
    with pytest.raises(FateError, match=r"no usable record of 3; rejected for: empty 3"):
        prepared(tmp_path, broken)


def test_a_split_without_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="would be empty: 2 records in 2 groups"):
        prepared(tmp_path, RECORDS[:2])


def test_records_that_were_not_validated_are_noticed(tmp_path: Path) -> None:
    ingested, validated = validate(tmp_path, RECORDS)
    next(ingested.iterdir()).unlink()
    shards.write_records(ingested, RECORDS[:-5])
    (tmp_path / "out").mkdir()
    with pytest.raises(PreparationError, match=r"40 records kept, but .* has other ones; validate again"):
        run(ingested, validated, tmp_path / "out", seed=1, image=IMAGE, text=TEXT, split=SPLIT, engine=Engine())


def test_an_image_that_no_longer_decodes_names_its_record(tmp_path: Path) -> None:
    ingested, validated = validate(tmp_path, RECORDS)
    (tmp_path / "out").mkdir()
    stricter = IMAGE.model_copy(update={"min_side": 22})
    with pytest.raises(PreparationError, match=r"record 'r0': image: tiny: .*validate again"):
        run(ingested, validated, tmp_path / "out", seed=1, image=stricter, text=TEXT, split=SPLIT, engine=Engine())
