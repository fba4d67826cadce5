"""What the lanes do: a request's bytes in, an answer's bytes out."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import InkproofError
from inkproof.photo.decode import PictureLimits, decode_picture
from inkproof.photo.normalise import normalise_digit
from inkproof.photo.page import read_page
from inkproof.serve.explain import PATCH, STRIDE, occlusion
from inkproof.serve.forms import picture_of, png_pixels
from inkproof.serve.library import Library
from inkproof.serve.limits import Limits
from inkproof.serve.refusal import Refusal, json_bytes

if TYPE_CHECKING:
    from inkproof.photo.reader import Reader, Reading

__all__ = ["SMALL_BYTES", "SMALL_PIXELS", "Job", "TooLarge", "Worker", "looks_small"]

SMALL_BYTES: Final = 1 << 17
SMALL_PIXELS: Final = 1 << 18
_NO_INK: Final = {
    "digit": None,
    "probability": None,
    "probabilities": None,
    "is_digit": False,
    "runner_up": None,
    "runner_up_probability": None,
    "image": None,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One request.

    Parameters
    ----------
    body, content_type : as they came
    model : the id that was named, or None
    page : whether all digits of a page are wanted, not one
    explain : whether the answer says which pixels spoke for the digit
    """

    body: bytes
    content_type: str
    model: str | None
    page: bool = False
    explain: bool = False


class TooLarge(Exception):
    """A job for the lane of large pictures after all."""


def looks_small(body: bytes) -> bool:
    """Guess, in no time, whether a body carries a small PNG; :class:`Worker` looks again."""
    if len(body) > SMALL_BYTES:
        return False
    pixels = png_pixels(body)
    return pixels is not None and pixels <= SMALL_PIXELS


class Worker:
    """Decodes pictures and reads them.

    Parameters
    ----------
    library : where models come from
    limits : what a picture may take
    """

    def __init__(self, library: Library, limits: Limits) -> None:
        self._library = library
        self._limits = PictureLimits(bytes=limits.body_bytes, pixels=limits.pixels)

    def small(self, jobs: Sequence[Job]) -> list[bytes | BaseException]:
        """Answer jobs with small pictures, those of one model as one batch."""
        answers: list[bytes | BaseException] = [TooLarge()] * len(jobs)
        batches: dict[str, tuple[Reader, list[tuple[int, npt.NDArray[np.uint8]]]]] = {}
        for place, job in enumerate(jobs):
            try:
                picture = picture_of(job.body, job.content_type)
                if (png_pixels(picture[:64]) or SMALL_PIXELS + 1) > SMALL_PIXELS:
                    continue
                model = self._library.entry(job.model).id
                image = normalise_digit(self._decoded(picture))
                if image is None:
                    answers[place] = json_bytes(_NO_INK | {"model": model})
                    continue
                if model not in batches:
                    batches[model] = (self._library.reader(model), [])
                batches[model][1].append((place, image))
            except Exception as error:
                answers[place] = _refused(error)
        for model, (reader, items) in batches.items():
            try:
                readings = reader.read(np.stack([image for _, image in items]))
            except Exception as error:
                for place, _ in items:
                    answers[place] = _refused(error)
                continue
            for (place, image), reading in zip(items, readings, strict=True):
                try:
                    answers[place] = _prediction(reader, model, image, reading, jobs[place])
                except Exception as error:
                    answers[place] = _refused(error)
        return answers

    def large(self, jobs: Sequence[Job]) -> list[bytes | BaseException]:
        """Answer jobs with pictures of any size, one by one."""
        answers: list[bytes | BaseException] = []
        for job in jobs:
            try:
                answers.append(self._answer(job))
            except Exception as error:
                answers.append(_refused(error))
        return answers

    def _answer(self, job: Job) -> bytes:
        picture = picture_of(job.body, job.content_type)
        model = self._library.entry(job.model).id
        reader = self._library.reader(model)
        pixels = self._decoded(picture)
        if job.page:
            return _page(reader, model, pixels)
        image = normalise_digit(pixels)
        if image is None:
            return json_bytes(_NO_INK | {"model": model})
        return _prediction(reader, model, image, reader.read(image[np.newaxis])[0], job)

    def _decoded(self, picture: bytes) -> npt.NDArray[np.uint8]:
        return decode_picture(picture, name="image", limits=self._limits)


def _refused(error: Exception) -> BaseException:
    """Turn what was foreseen into an answer; the rest is a fault of ours."""
    from inkproof.errors import DataError

    if isinstance(error, DataError):
        text = str(error)
        return Refusal(413 if "expected at most" in text else 422, text)
    if isinstance(error, InkproofError):
        return Refusal(422, f"model: {error}")
    if isinstance(error, MemoryError):
        return Refusal(503, "the server has no memory for this picture now")
    return error


def _prediction(
    reader: Reader, model: str, image: npt.NDArray[np.uint8], reading: Reading, job: Job
) -> bytes:
    answer: dict[str, Any] = {
        "digit": reading.digit,
        "probability": _share(reading.probability),
        "probabilities": [_share(p) for p in reading.probabilities],
        "is_digit": reading.is_digit,
        "runner_up": reading.runner_up,
        "runner_up_probability": _share(reading.runner_up_probability),
        "image": base64.b64encode(image.tobytes()).decode("ascii"),
        "model": model,
    }
    if job.explain:
        evidence = occlusion(reader, image, reading)
        answer["explanation"] = {
            "method": "occlusion",
            "patch": PATCH,
            "stride": STRIDE,
            "evidence": [[round(float(value), 3) for value in row] for row in evidence],
        }
    return json_bytes(answer)


def _page(reader: Reader, model: str, pixels: npt.NDArray[np.uint8]) -> bytes:
    page = read_page(pixels, reader)
    return json_bytes(
        {
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "text": page.text,
            "digits": [
                {
                    "box": [int(edge) for edge in found.box],
                    "line": int(found.line),
                    "number": int(found.number),
                    "digit": found.reading.digit,
                    "probability": _share(found.reading.probability),
                    "runner_up": found.reading.runner_up,
                    "runner_up_probability": _share(found.reading.runner_up_probability),
                    "is_digit": found.reading.is_digit,
                }
                for found in page.digits
            ],
            "model": model,
        }
    )


def _share(value: float) -> float:
    """Round to what float32 holds, within 0 and 1."""
    return round(min(max(float(value), 0.0), 1.0), 7)
