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
    text: Text | None = Field(None, description="Only where the bundle classifies texts.")


class Drawing(Fields):
    """What is to be drawn."""

    model_config = ConfigDict(extra="forbid")

    text: Text = Field(description="What the picture shows.", examples=["there is a red circle"])
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of chance: the same text and seed give the same picture.")


class Saying(Fields):
    """Texts, each by itself."""

    model_config = ConfigDict(extra="forbid")

    texts: Texts = Field(description="Texts.", examples=[["a red circle"]])


class Searching(Fields):
    """What to look for: a picture, texts that describe it together, or both."""

    model_config = ConfigDict(extra="forbid")

    image: Picture | None = None
    texts: Annotated[list[Text], Field(max_length=_LIMITS.max_texts)] = Field(
        default_factory=list, description="Taken together as one description.", examples=[["a red circle"]]
    )
    k: int = Field(10, ge=1, le=100, description="Most answers.")


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

    heat: list[list[float]] = Field(
        description="rows of cells over the whole picture: logits that the score loses when that part is hidden; "
        "above 0 speaks for the text, below 0 against it"
    )


class Answered(IODescriptor):
    """The likeliest answer, and the others."""

    answer: str = Field(description="of a classifier of several labels: all that hold, the likeliest first")
    score: float = Field(description="probability of the answer; of several, of the likeliest", ge=0, le=1)
    scores: dict[str, float] = Field(description="probabilities by answer, the likeliest first")


class Captioned(IODescriptor):
    """What the picture shows, in words."""

    caption: str
    score: float = Field(description="geometric mean of the probabilities of its tokens", ge=0, le=1)


class Embedded(IODescriptor):
    """Unit vectors, in order: the closer two of them, the better picture and text fit."""

    embeddings: list[list[float]]


class Hit(BaseModel):
    """One picture of the collection."""

    id: str = Field(description="the file, served under /samples/")
    score: float = Field(description="how well it fits; comparable within one answer only")


class Found(IODescriptor):
    """The best pictures of the collection, best first."""

    hits: list[Hit]
