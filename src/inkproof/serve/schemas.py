"""What the API answers, as its OpenAPI says it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Detail", "Health", "ModelList", "PageAnswer", "Prediction"]

Probability = Annotated[float, Field(ge=0, le=1)]
Digit = Annotated[int, Field(ge=0, le=9)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Detail(_Answer):
    """Why a request was not answered."""

    detail: str = Field(description="One line: where, what was expected, what came.")


class Health(_Answer):
    """The server is there."""

    status: str = Field(description="`ok`")
    version: str


class Explanation(_Answer):
    """Which pixels spoke for the digit."""

    method: str = Field(description="`occlusion`")
    patch: int = Field(description="Pixels each way that were left out at once.")
    stride: int = Field(description="Pixels from one patch to the next.")
    evidence: list[list[float]] = Field(
        description=(
            "28 rows of 28: how much lower the digit's log odds (nats) are without this ink; "
            "below 0, it spoke against the digit."
        )
    )


class Prediction(_Answer):
    """One digit."""

    digit: Digit | None = Field(description="The likeliest digit; null where there is no ink.")
    probability: Probability | None = Field(description="Of that digit, among the ten.")
    probabilities: Annotated[list[Probability], Field(min_length=10, max_length=10)] | None
    is_digit: bool = Field(description="False for letters, scribbles, noise and blank paper.")
    runner_up: Digit | None
    runner_up_probability: Probability | None
    image: str | None = Field(
        description="What the model saw: 28x28 pixels, a byte each, row by row, in Base64."
    )
    model: str = Field(description="The id of the model that answered.")
    explanation: Explanation | None = Field(None, description="Only where `explain` asks for it.")


class FoundDigitAnswer(_Answer):
    """One digit on a page."""

    box: Annotated[list[int], Field(min_length=4, max_length=4)] = Field(
        description="Left, top, right, bottom, in pixels of the picture as its EXIF turns it."
    )
    line: int = Field(ge=1, description="From 1, from top to bottom.")
    number: int = Field(
        ge=1, description="From 1, over the whole page: digits that stand together share it."
    )
    digit: Digit
    probability: Probability
    runner_up: Digit
    runner_up_probability: Probability
    is_digit: bool


class PageAnswer(_Answer):
    """All digits on a page, in reading order."""

    width: int
    height: int
    text: str = Field(description="A line of text for each line of digits.")
    digits: list[FoundDigitAnswer]
    model: str


class ModelAnswer(_Answer):
    """One model that can be chosen."""

    id: str = Field(description="What `model` takes.")
    name: str
    report: str | None = Field(description="The address of its study's report.")


class ModelList(_Answer):
    """The models."""

    default: str = Field(description="The id of the one that is used where none is named.")
    models: list[ModelAnswer]
