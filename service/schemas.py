"""What each endpoint takes and answers: the OpenAPI document and every check of a request follow from these."""

from __future__ import annotations

from typing import Annotated, Any

from bentoml import IODescriptor
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
