"""A few real scenes, prepared as the pipeline prepares them, for tests of everything above the data room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vlp.data import examples
from vlp.data.sources import scenes
from vlp.data.summary import summarise
from vlp.files import write_json
from vlp.preprocessing import image, text
from vlp.records import Example, Record

IMAGE = image.ImageParams(size=64)
TEXT = text.TextParams(max_words=40, max_tokens=32, vocabulary=400)
SPLITS = {"train": 0.7, "validation": 0.15, "test": 0.15}


def records(count: int, seed: int = 3) -> list[Record]:
    """``count`` clean scenes."""
    params = scenes.Params(records=count, image_size=64, captions=4, faults=0.0)
    return [scenes.record(index, params=params, seed=seed) for index in range(count)]


def prepare(
    folder: Path,
    count: int,
    *,
    negatives: bool = True,
    regions: bool = True,
    questions: bool = True,
    labels: bool = True,
    annotated: bool = True,
    captions: int = 4,
    bare: int = 0,
) -> Path:
    """Write ``count`` scenes into ``folder`` as the preprocess stage would, with or without some of what they have.

    The first ``bare`` records have no caption.
    """
    found = []
    for number, record in enumerate(records(count)):
        said = record.captions[: 0 if number < bare else captions]
        said = said if negatives else tuple(replace(caption, negative=None) for caption in said)
        found.append(
            Example(
                id=record.id,
                group=record.group,
                image=image.prepare(record.image, IMAGE).pixels,
                captions=said,
                labels=record.labels if labels else (),
                questions=record.questions if questions else (),
                regions=tuple(
                    (region.expression, image.prepare_mask(region.mask, IMAGE)) for region in record.regions if regions
                ),
                annotation=record.annotation if annotated else None,
            )
        )
    texts = sorted({each for example in found for each in examples.texts(example)})
    tokenizer = text.train_tokenizer(texts, TEXT)
    ids = dict(zip(texts, text.encode(tokenizer, texts, TEXT), strict=True))
    start = 0
    for split, share in SPLITS.items():
        stop = start + round(share * count)
        examples.write(folder, split, ((example, ids) for example in found[start:stop]))
        start = stop
    (folder / "tokenizer").mkdir()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    summary = summarise(folder, tokenizer, image_size=IMAGE.size, max_tokens=TEXT.max_tokens)
    write_json(folder / "summary.json", summary)
    return folder
