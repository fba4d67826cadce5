"""A model that reads digits: from 28 x 28 images to digits with calibrated probabilities.

What a reader needs to know beside the weights stands in a small JSON file next to the model's,
``<name>.calibration.json``: the temperature and from which probability an image counts as a digit,
both fitted on validation images. A model without such a file is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import FileFormatError, ModelError, StorageError
from inkproof.model import Model
from inkproof.storage import write_bytes

__all__ = [
    "NONE",
    "SHIPPED",
    "Calibration",
    "Reader",
    "Reading",
    "calibration_path",
    "combine",
    "describes_reader",
]

SHIPPED: Final = Path(__file__).parent.parent / "shipped" / "handwriting.safetensors"
"""The model that comes with the package."""
NONE: Final = "none"
"""The name of the class of what is no digit."""
_DIGITS: Final = tuple("0123456789")
_SIDE: Final = 28
_MAX_CALIBRATION_BYTES: Final = 1 << 16
_MAX_MODEL_BYTES: Final = 1 << 30
_TINY: Final = 1e-30  # of what a network calls impossible; a logarithm needs it
_FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was fitted on validation images, for one model.

    Parameters
    ----------
    temperature : by which the logits are divided, 0.01 to 100
    threshold : from which probability of being a digit an image counts as one, 0 to 1
    model_sha256 : of the model's file; "" fits any
    """

    temperature: float = 1.0
    threshold: float = 0.5
    model_sha256: str = ""

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises
        ------
        StorageError : it cannot be written; what was there is as before
        """
        text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=1, sort_keys=True)
        write_bytes(path, f"{text}\n".encode())

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what :meth:`save` wrote; the file need not be trusted.

        Raises
        ------
        FileFormatError : damaged, of a newer format, or a number out of range
        StorageError : it cannot be read
        """
        raw = _read(path, _MAX_CALIBRATION_BYTES)
        try:
            values = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{path}: not JSON") from error
        if not isinstance(values, dict) or type(values.get("format")) is not int:
            raise FileFormatError(f"{path}: expected a calibration, got {reprlib.repr(values)}")
        if values["format"] != _FORMAT:
            raise FileFormatError(
                f"{path}: expected calibration format {_FORMAT}, got {values['format']}; "
                "a newer Inkproof may have written it"
            )
        return cls(
            temperature=_number(values, "temperature", 0.01, 100, path),
            threshold=_number(values, "threshold", 0, 1, path),
            model_sha256=_digest(values, path),
        )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a model reads in one image.

    Parameters
    ----------
    digit : the likeliest digit, 0 to 9
    probability : its probability, if the image is a digit: calibrated, over the ten digits
    probabilities : those of all ten; they add up to 1
    runner_up, runner_up_probability : the second likeliest
    is_digit : whether the image counts as a digit at all
    ink : the probability that it is a digit; None from a model without the class "none"
    """

    digit: int
    probability: float
    probabilities: tuple[float, ...]
    runner_up: int
    runner_up_probability: float
    is_digit: bool
    ink: float | None


class Reader:
    """A model that reads digits, with its calibration. Several threads may read with one.

    Parameters
    ----------
    model : takes images 28 x 28, grey; its classes are the ten digits, and "none" or not
    calibration : None takes the probabilities as they are
    name : for tables and menus; None takes the model's

    Raises
    ------
    ModelError : a model of other images or classes
    """

    def __init__(
        self, model: Model, calibration: Calibration | None = None, *, name: str | None = None
    ) -> None:
        self.name = name or model.name
        self.calibration = calibration or Calibration()
        self.model = model
        self._columns, self._none = _classes(model, self.name)

    @classmethod
    def load(cls, path: Path | None = None) -> Reader:
        """Read a model's file, and the calibration beside it if there is one.

        Parameters
        ----------
        path : a file that ``Model.save`` wrote, as in a runs folder; None takes the shipped model

        Raises
        ------
        FileFormatError : a file that is damaged, or not what it should be; a calibration of
            another model
        ModelError : a model of other images or classes
        StorageError : a file that cannot be read
        """
        path = SHIPPED if path is None else Path(path)
        model = Model.load(path)
        beside = calibration_path(path)
        calibration = Calibration.load(beside) if beside.is_file() else None
        if calibration is not None and calibration.model_sha256:
            digest = hashlib.sha256(_read(path, _MAX_MODEL_BYTES)).hexdigest()
            if digest != calibration.model_sha256:
                raise FileFormatError(
                    f"{beside}: belongs to another model: expected one with sha256 "
                    f"{calibration.model_sha256[:12]}..., {path.name} has {digest[:12]}..."
                )
        try:
            return cls(model, calibration)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    @property
    def knows_none(self) -> bool:
        """Whether the model has the class "none"."""
        return self._none is not None

    def read(self, images: npt.NDArray[np.uint8]) -> list[Reading]:
        """Read images.

        Parameters
        ----------
        images : uint8 (n, 28, 28), 0 paper to 255 ink, normalised as MNIST's were

        Returns
        -------
        a reading for each

        Raises
        ------
        ModelError : another shape or dtype
        """
        given = np.asarray(images)
        if given.dtype != np.uint8 or given.ndim != 3 or given.shape[1:] != (_SIDE, _SIDE):
            raise ModelError(
                f"a reader expects uint8 (n, {_SIDE}, {_SIDE}), got {given.dtype} {given.shape}"
            )
        if not len(given):
            return []
        raw = self.model.predict(given)
        digits, ink = combine(
            raw[:, self._columns],
            None if self._none is None else raw[:, self._none],
            self.calibration.temperature,
        )
        # A model that knows no "none" can only say how sure it is of its digit.
        score = digits.max(axis=1) if ink is None else ink
        order = np.argsort(-digits, axis=1, kind="stable")[:, :2]
        return [
            Reading(
                digit=int(first),
                probability=float(row[first]),
                probabilities=tuple(row.tolist()),
                runner_up=int(second),
                runner_up_probability=float(row[second]),
                is_digit=bool(score[number] >= self.calibration.threshold),
                ink=None if ink is None else float(ink[number]),
            )
            for number, (row, (first, second)) in enumerate(zip(digits, order, strict=True))
        ]


def describes_reader(description: Mapping[str, Any]) -> bool:
    """Say whether a model's description is that of one which reads digits.

    Parameters
    ----------
    description : what :func:`inkproof.model_file.read_description` gives

    Returns
    -------
    whether it takes grey images 28 x 28, and its classes are 0 to 9, with or without "none"
    """
    names = description.get("class_names")
    if description.get("input_shape") != [_SIDE, _SIDE, 1] or not isinstance(names, list):
        return False
    without = [name for name in names if name != NONE]
    return len(names) <= len(_DIGITS) + 1 and sorted(map(str, without)) == list(_DIGITS)


def calibration_path(model_path: Path) -> Path:
    """Say where the calibration of a model's file is looked for."""
    return model_path.with_suffix(".calibration.json")


def combine(
    digits: npt.NDArray[np.float32], none: npt.NDArray[np.float32] | None, temperature: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    """Give the probabilities of the digits among themselves, and that of being one.

    All logits are divided by the temperature (Guo, Pleiss, Sun, Weinberger, "On calibration of
    modern neural networks", ICML 2017), then the digits are scaled to add up to 1.

    Parameters
    ----------
    digits : float32 (n, 10), the model's probabilities
    none : float32 (n,), those of "none"; None where the model has no such class
    temperature : above 0

    Returns
    -------
    float64 (n, 10), each row adding up to 1, and float64 (n,) or None
    """
    logits = np.log(np.maximum(digits.astype(np.float64), _TINY)) / temperature
    highest = logits.max(axis=1, keepdims=True)
    weights = np.exp(logits - highest)
    total = weights.sum(axis=1)
    ink = None
    if none is not None:
        other = np.log(np.maximum(none.astype(np.float64), _TINY)) / temperature
        # total / (total + exp(other - highest)), which must not overflow
        with np.errstate(over="ignore"):
            ink = 1 / (1 + np.exp(other - highest[:, 0]) / total)
    return weights / total[:, np.newaxis], ink


def _classes(model: Model, name: str) -> tuple[list[int], int | None]:
    """Find the digits' columns, and that of "none"."""
    if model.input_shape != (_SIDE, _SIDE, 1):
        raise ModelError(
            f"model {name!r}: expected one that takes grey images {_SIDE}x{_SIDE} "
            f"{(_SIDE, _SIDE, 1)}, got {model.input_shape}"
        )
    names = model.class_names
    without = [one for one in names if one != NONE]
    if len(model.output_shape) != 1 or sorted(without) != list(_DIGITS) or len(names) > 11:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise ModelError(
            f"model {name!r}: expected the classes 0 to 9, with or without {NONE!r}, "
            f"got {reprlib.repr(shown)}"
        )
    return [names.index(digit) for digit in _DIGITS], names.index(NONE) if NONE in names else None


def _number(
    values: Mapping[str, Any], key: str, least: float, most: float, path: str | Path
) -> float:
    value = values.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
        return float(value)
    raise FileFormatError(
        f"{path}: {key} must be a number from {least:g} to {most:g}, got {reprlib.repr(value)}"
    )


def _digest(values: Mapping[str, Any], path: str | Path) -> str:
    value = values.get("model_sha256", "")
    if not isinstance(value, str) or (value and len(value) != hashlib.sha256().digest_size * 2):
        raise FileFormatError(
            f"{path}: model_sha256 must be 64 hexadecimal digits, got {reprlib.repr(value)}"
        )
    return value


def _read(path: str | Path, most: int) -> bytes:
    try:
        with Path(path).open("rb") as handle:
            raw = handle.read(most + 1)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(raw) > most:
        raise FileFormatError(f"{path}: expected at most {most:,} bytes")
    return raw
