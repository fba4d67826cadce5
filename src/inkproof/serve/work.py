"""What the lanes do: a request's bytes in, an answer's bytes out."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import InkproofError
from inkproof.photo.decode import PictureLimits, TooManyPixels, decode_picture
from inkproof.photo.normalise import normalise_digit
from inkproof.photo.page import read_page
from inkproof.serve.explain import PATCH, STRIDE, occlusion
from inkproof.serve.forms import first_png, inflates_text, picture_of, png_pixels
from inkproof.serve.library import Library
from inkproof.serve.limits import Limits
from inkproof.serve.refusal import Refusal, json_bytes

if TYPE_CHECKING:
    from inkproof.photo.reader import Reader, Reading

__all__ = ["SMALL_PIXELS", "TINY_PIXELS", "Job", "TooLarge", "Worker", "likely_pixels"]

TINY_PIXELS: Final = 1 << 15
"""A drawing of 180x180: decoded and read in a millisecond or two."""
SMALL_PIXELS: Final = 1 << 18
_SMALL_BYTES: Final = 1 << 17
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
    """A job for a lane of larger pictures after all."""


def likely_pixels(body: bytes) -> int | None:
    """Guess, in no time, how many pixels a body's PNG has; :class:`Worker` looks again.

    None: another format, or too many bytes to be a small picture.
    """
    return png_pixels(first_png(body)) if len(body) <= _SMALL_BYTES else None


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

    def tiny(self, jobs: Sequence[Job]) -> list[bytes | BaseException]:
        """Answer jobs with tiny pictures and the default model, as one batch."""
        return self._batched(jobs, TINY_PIXELS, self._library.quick)

    def small(self, jobs: Sequence[Job]) -> list[bytes | BaseException]:
        """Answer jobs with small pictures, those of one model as one batch."""
        return self._batched(jobs, SMALL_PIXELS, self._library.reader)

    def _batched(
        self, jobs: Sequence[Job], most: int, find: Callable[[str | None], Reader | None]
    ) -> list[bytes | BaseException]:
        answers: list[bytes | BaseException] = [TooLarge()] * len(jobs)
        batches: dict[str | None, tuple[Reader, list[tuple[int, npt.NDArray[np.uint8]]]]] = {}
        for place, job in enumerate(jobs):
            try:
                picture = picture_of(job.body, job.content_type)
                pixels = png_pixels(picture)
                if pixels is None or pixels > most or inflates_text(picture):
                    continue
                reader = find(job.model)
                if reader is None:
                    continue
                try:
                    # What the first header says was a guess; the size that is decoded counts.
                    image = normalise_digit(self._decoded(picture, most))
                except TooManyPixels:
                    continue
                if image is None:
                    answers[place] = json_bytes(_NO_INK | {"model": self._named(job)})
                else:
                    batches.setdefault(job.model, (reader, []))[1].append((place, image))
            except Exception as error:
                answers[place] = _refused(error)
        for reader, items in batches.values():
            try:
                readings = reader.read(np.stack([image for _, image in items]))
            except Exception as error:
                for place, _ in items:
                    answers[place] = _refused(error)
                continue
            for (place, image), reading in zip(items, readings, strict=True):
                try:
                    job = jobs[place]
                    answers[place] = _prediction(reader, self._named(job), image, reading, job)
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
        model = self._named(job)
        reader = self._library.reader(job.model)
        pixels = self._decoded(picture)
        if job.page:
            return _page(reader, model, pixels)
        image = normalise_digit(pixels)
        if image is None:
            return json_bytes(_NO_INK | {"model": model})
        return _prediction(reader, model, image, reader.read(image[np.newaxis])[0], job)

    def _named(self, job: Job) -> str:
        return self._library.default if job.model is None else job.model

    def _decoded(self, picture: bytes, most: int | None = None) -> npt.NDArray[np.uint8]:
        """Decode a picture; TooManyPixels if it has more than ``most`` or than the limit."""
        pixels = png_pixels(picture)
        if pixels is not None and pixels > self._limits.pixels:
            raise Refusal(
                413, f"image: expected at most {self._limits.pixels:,} pixels, got {pixels:,}"
            )
        limits = self._limits
        if most is not None and most < limits.pixels:
            limits = PictureLimits(bytes=limits.bytes, pixels=most)
        return decode_picture(picture, name="image", limits=limits)


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
                    "line": int(found.line) + 1,  # from 1, as the command read has it
                    "number": int(found.number) + 1,
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
