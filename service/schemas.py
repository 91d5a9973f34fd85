"""What each endpoint takes and answers: the OpenAPI document and every check of a request follow from these."""

from __future__ import annotations

from typing import Annotated, Any

from bentoml import IODescriptor
from bentoml.validators import ContentType
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from service.forms import Fields
from service.settings import read

_LIMITS = read()

Picture = Annotated[
    bytes,
    WithJsonSchema(
        {"type": "file", "format": "image", "description": "A PNG, JPEG, WebP, GIF, BMP or TIFF file, one picture."}
    ),
]
Upload = Annotated[bytes, WithJsonSchema({"type": "file", "format": "binary"})]
Png = Annotated[bytes, ContentType("image/png")]
Text = Annotated[str, Field(min_length=1, max_length=_LIMITS.max_characters)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=_LIMITS.max_texts)]


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": fields})


class Matching(Fields):
    """A picture and statements about it."""

    model_config = ConfigDict(extra="forbid")

    image: Picture
    texts: Texts = Field(
        description="Statements, each judged by itself: a field for each, or one with a JSON list.",
        examples=[["there is a red circle"]],
    )


class Explaining(Fields):
    """A picture and one statement about it."""

    model_config = ConfigDict(extra="forbid")

    image: Picture
    text: Text = Field(description="One statement.", examples=["there is a red circle"])


class Asking(Fields):
    """A picture and one question about it."""

    model_config = ConfigDict(extra="forbid")

    image: Picture
    question: Text = Field(description="One question.", examples=["what colour is the circle?"])


class Showing(Fields):
    """A picture."""

    model_config = ConfigDict(extra="forbid")

    image: Picture


class Classifying(Fields):
    """A picture, a text, or both: what the bundle's classifier looks at."""

    model_config = ConfigDict(extra="forbid")

    image: Picture | None = None
    text: Text | None = Field(
        None, description="Only where the bundle classifies texts.", examples=["a red circle above a blue star"]
    )


class Drawing(Fields):
    """What is to be drawn."""

    model_config = ConfigDict(extra="forbid")

    text: Text = Field(description="What the picture shows.", examples=["there is a red circle"])
    seed: int = Field(
        0, ge=0, le=2**32 - 1, description="Of chance: the same text and seed give the same picture.", examples=[3]
    )


class Saying(Fields):
    """Texts, each by itself."""

    model_config = ConfigDict(extra="forbid")

    texts: Texts = Field(description="Texts.", examples=[["a red circle"]])


class Searching(Fields):
    """What to look for: a picture, texts that describe it together, items that were liked, or any of them together.

    It is looked for in the service's own pictures; or in an index that is sent along, the two files of ``Index.save``.
    """

    model_config = ConfigDict(extra="forbid")

    image: Picture | None = None
    texts: Annotated[list[Text], Field(max_length=_LIMITS.max_texts)] = Field(
        default_factory=list, description="Taken together as one description.", examples=[["a red circle"]]
    )
    like: Annotated[list[Text], Field(max_length=_LIMITS.max_texts)] = Field(
        default_factory=list, description="Ids of items: more like these, and none of them.", examples=[["01.jpg"]]
    )
    k: int = Field(10, ge=1, le=100, description="Most answers.", examples=[5])
    index: Upload | None = Field(None, description="The `index.json` of an index to search in.")
    vectors: Upload | None = Field(None, description="Its `vectors.npy`.")


class Judged(BaseModel):
    """One text and what the model says of it."""

    text: str
    decision: str = Field(description="`true` or `false`, by the threshold of the validation split")
    score: float = Field(description="probability that the text is true of the picture", ge=0, le=1)
    scores: dict[str, float] = Field(description="the probability of each decision")


class Matched(IODescriptor):
    """An answer for each text, in order."""

    model_config = _example(
        answers=[
            {
                "text": "there is a red circle",
                "decision": "true",
                "score": 0.97,
                "scores": {"true": 0.97, "false": 0.03},
            }
        ]
    )

    answers: list[Judged]


class Explained(IODescriptor, Judged):
    """An answer, and which parts of the picture it rests on."""

    model_config = _example(
        text="there is a red circle",
        decision="true",
        score=0.97,
        scores={"true": 0.97, "false": 0.03},
        heat=[[0.0, 2.1], [-0.3, 0.1]],
    )

    heat: list[list[float]] = Field(
        description="rows of cells over the whole picture: logits that the score loses when that part is hidden; "
        "above 0 speaks for the text, below 0 against it"
    )


class Answered(IODescriptor):
    """The likeliest answer, and the others."""

    model_config = _example(answer="two", score=0.8, scores={"two": 0.8, "three": 0.15, "one": 0.05})

    answer: str
    score: float = Field(description="probability of the answer", ge=0, le=1)
    scores: dict[str, float] = Field(description="probabilities by answer, the likeliest first")


class Classified(IODescriptor):
    """The labels that hold, and how likely each of all labels is."""

    model_config = _example(
        answer="red, blue", labels=["red", "blue"], score=0.9, scores={"red": 0.9, "blue": 0.7, "green": 0.1}
    )

    answer: str = Field(description="the labels in one text, joined by commas; empty where none holds")
    labels: list[str] = Field(description="those that hold, the likeliest first; a label may have a comma of its own")
    score: float = Field(description="probability of the likeliest label", ge=0, le=1)
    scores: dict[str, float] = Field(description="probabilities by label, the likeliest first")


class Captioned(IODescriptor):
    """What the picture shows, in words."""

    model_config = _example(caption="there is a red circle above a blue star", score=0.91)

    caption: str
    score: float = Field(description="geometric mean of the probabilities of its tokens", ge=0, le=1)


class Embedded(IODescriptor):
    """Unit vectors, in order: the closer two of them, the better picture and text fit."""

    model_config = _example(embeddings=[[0.6, -0.8]])

    embeddings: list[list[float]]


class Hit(BaseModel):
    """One picture of the collection."""

    id: str = Field(description="its name; of a picture of the service, served under /samples/")
    score: float = Field(description="how well it fits; comparable within one answer only")


class Found(IODescriptor):
    """The best pictures of the collection, best first."""

    model_config = _example(hits=[{"id": "07.jpg", "score": 0.83}, {"id": "02.jpg", "score": 0.41}])

    hits: list[Hit]
