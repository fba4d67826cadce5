"""The folder of one run: ``runs/<study>/<model>/seed-<n>/``.

=========================  ===================================================================
``run.json``               what was asked for, versions, processor, timings, data; written last,
                           so that a folder with it is complete. A training that ended before all
                           its epochs were done has ``stopped``: ``by`` what, after which
                           ``epoch``; ``best_epoch`` is that whose weights were given back
``history.csv``            an epoch a row
``model.safetensors``      the trained model
``predictions.npz``        the probabilities of the test images
``validation.npz``         the probabilities of the validation images
``robustness.json``        how many changed test images are right
``checkpoint.safetensors`` the state after the last finished epoch, while it trains
``asked.json``             what was asked for, while it trains
=========================  ===================================================================
"""

from __future__ import annotations

import io
import json
import reprlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, get_args

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from inkproof.checkpoint import FREE, unfinished
from inkproof.errors import FileFormatError
from inkproof.history import History
from inkproof.stopping import StoppedBy
from inkproof.storage import remove, remove_half_written, write_bytes
from inkproof.wording import counted

if TYPE_CHECKING:
    from inkproof.model import Model

__all__ = [
    "CHECKPOINT",
    "Extras",
    "StoredRun",
    "begin",
    "clear",
    "holds_a_run",
    "other_settings",
    "read",
    "read_extras",
    "read_model",
    "read_predictions",
    "write",
    "write_extras",
]

CHECKPOINT: Final = "checkpoint.safetensors"
_RECORD: Final = "run.json"
_HISTORY: Final = "history.csv"
_MODEL: Final = "model.safetensors"
_PREDICTIONS: Final = "predictions.npz"
_VALIDATION: Final = "validation.npz"
_ROBUSTNESS: Final = "robustness.json"
_ASKED: Final = "asked.json"
_FILES: Final = (
    _RECORD,
    _ASKED,
    _HISTORY,
    _MODEL,
    _PREDICTIONS,
    _VALIDATION,
    _ROBUSTNESS,
    CHECKPOINT,
)
_MAX_RECORD_BYTES: Final = 4 << 20
_ARRAY: Final = "probabilities.npy"
_MOST: Final = 1 + 1e-5  # of a probability, with its rounding


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """What a complete folder holds, without the model.

    Parameters
    ----------
    history : its epochs
    probabilities : float32 (images, classes), of the test split
    record : ``run.json``
    stopped_by : what ended the training before all its epochs were done
    best_epoch : the epoch, from 1, whose weights were given back; None: those of the last
    """

    history: History
    probabilities: npt.NDArray[np.float32]
    record: dict[str, Any]
    stopped_by: StoppedBy | None = None
    best_epoch: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Extras:
    """What is asked of a trained model beside its test predictions.

    Parameters
    ----------
    validation : probabilities of the run's validation images, float32 (m, k)
    changed_images : how many test images were changed
    changed_right : change -> how many of them are right at each strength
    """

    validation: npt.NDArray[np.float32]
    changed_images: int
    changed_right: dict[str, list[int]]


def begin(folder: Path, configuration: dict[str, Any]) -> None:
    """Take away what is left of older runs, and note what is asked for now.

    A record of theirs would speak for what is written from here on.

    Raises
    ------
    StorageError : a file cannot be removed or written
    """
    remove(folder / _RECORD)
    remove_half_written(folder)
    write_bytes(folder / _ASKED, _json(configuration))


def write(
    folder: Path,
    *,
    model_bytes: bytes,
    history: History,
    probabilities: npt.NDArray[np.float32],
    record: dict[str, Any],
) -> None:
    """Write a finished run and remove its checkpoint.

    Raises
    ------
    StorageError : a file cannot be written; the folder does not count as complete then
    """
    content = io.BytesIO()
    np.savez_compressed(content, probabilities=probabilities)
    write_bytes(folder / _HISTORY, history.to_csv().encode())
    write_bytes(folder / _MODEL, model_bytes)
    write_bytes(folder / _PREDICTIONS, content.getvalue())
    write_bytes(folder / _RECORD, _json(record))
    for name in (CHECKPOINT, _ASKED):
        remove(folder / name)


def read(folder: Path, configuration: dict[str, Any], *, images: int, classes: int) -> StoredRun:
    """Read a complete run of just this configuration.

    Raises
    ------
    FileFormatError : there is none, it is another configuration's, or a file is damaged; the
        message says which
    """
    try:
        record = _read_object(folder / _RECORD)
        if record.get("configuration") != _plain(configuration):
            raise FileFormatError(f"{folder / _RECORD}: the run of another configuration")
        history = History.from_csv(folder / _HISTORY, params=dict(record["params"]))
        stopped_by, epochs, best_epoch = _ending(record, history.params["epochs"])
        if len(history) != epochs:
            raise FileFormatError(
                f"{folder / _HISTORY}: expected {epochs} epochs, got {len(history)}"
            )
        probabilities = read_predictions(folder, images=images, classes=classes)
        if not (folder / _MODEL).is_file():
            raise FileFormatError(f"{folder / _MODEL}: missing")
    except FileNotFoundError as error:
        raise FileFormatError(f"{folder}: no complete run") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{folder}: damaged: {error}") from error
    return StoredRun(
        history=history,
        probabilities=probabilities,
        record=record,
        stopped_by=stopped_by,
        best_epoch=best_epoch,
    )


def other_settings(folder: Path, configuration: dict[str, Any]) -> str | None:
    """Say in what a run that lies there, finished or begun, differs from what is asked for.

    Returns
    -------
    such as ``"training.epochs is 4 there, 2 is asked for"``; None where there is no run, or one of
    this configuration, or one begun that goes on by it
    """
    asked = _plain(configuration)
    try:
        return _difference(_read_object(folder / _RECORD)["configuration"], asked)
    except (OSError, ValueError, KeyError):
        begun = unfinished(folder / CHECKPOINT)
    if begun is None:
        return None
    try:
        there = _read_object(folder / _ASKED)
        epochs, wanted = (settings["training"]["epochs"] for settings in (there, asked))
        difference = _difference(_without_free(there), _without_free(asked))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if difference is not None:
        return difference
    if begun.epochs > wanted:
        return f"{counted(begun.epochs, 'epoch')} of training are done there, {wanted} asked for"
    # Where the learning rate hangs on how many epochs there are, other ones are another training.
    return _difference(there, asked) if begun.hangs_on_total and epochs != wanted else None


def _without_free(configuration: dict[str, Any]) -> dict[str, Any]:
    """Leave out what changes nothing in what a training has done so far."""
    training = {key: value for key, value in configuration["training"].items() if key not in FREE}
    return configuration | {"training": training}


def _difference(there: object, asked: object, where: str = "") -> str | None:
    """Say where two JSON values differ first."""
    if isinstance(there, dict) and isinstance(asked, dict):
        found = (
            _difference(there.get(key), asked.get(key), f"{where}.{key}" if where else str(key))
            for key in sorted({*there, *asked})
        )
        return next((difference for difference in found if difference), None)
    if there == asked:
        return None
    brief = [reprlib.repr("off" if value is None else value) for value in (there, asked)]
    return f"{where} is {brief[0]} there, {brief[1]} is asked for"


def _read_object(path: Path) -> dict[str, Any]:
    with path.open("rb") as handle:
        raw = handle.read(_MAX_RECORD_BYTES + 1)
    if len(raw) > _MAX_RECORD_BYTES:
        raise FileFormatError(f"{path}: larger than {_MAX_RECORD_BYTES} bytes")
    found = json.loads(raw)
    if not isinstance(found, dict):
        raise FileFormatError(f"{path}: expected a JSON object")
    return found


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _plain(configuration: dict[str, Any]) -> Any:
    """Give a configuration as it is read back from a file."""
    return json.loads(json.dumps(configuration))


def _ending(record: Mapping[str, Any], epochs: int) -> tuple[StoppedBy | None, int, int | None]:
    """Say what ended the training, after how many epochs, and which one was the best."""
    stopped, best, by = record.get("stopped"), record.get("best_epoch"), None
    if stopped is not None:
        if stopped["by"] not in get_args(StoppedBy) or not 1 <= stopped["epoch"] < epochs:
            raise ValueError(f"expected what ended the training, got {reprlib.repr(stopped)}")
        by, epochs = stopped["by"], stopped["epoch"]
    if best is not None and not (type(best) is int and 1 <= best <= epochs):
        raise ValueError(f"expected a best epoch of 1 to {epochs}, got {reprlib.repr(best)}")
    return by, epochs, best


def read_predictions(folder: Path, *, images: int, classes: int) -> npt.NDArray[np.float32]:
    """Read the test probabilities: float32 (images, classes), finite.

    Raises
    ------
    FileFormatError : missing, damaged, or of another shape
    """
    return _read_probabilities(folder / _PREDICTIONS, images=images, classes=classes)


def write_extras(folder: Path, extras: Extras) -> None:
    """Write what was asked of a trained model beside its test predictions.

    Raises
    ------
    StorageError : a file cannot be written
    """
    content = io.BytesIO()
    np.savez_compressed(content, probabilities=extras.validation)
    write_bytes(folder / _VALIDATION, content.getvalue())
    record = {"images": extras.changed_images, "right": extras.changed_right}
    write_bytes(folder / _ROBUSTNESS, (json.dumps(record, indent=1) + "\n").encode())


def read_extras(
    folder: Path, *, images: int, classes: int, strengths: Mapping[str, int]
) -> Extras | None:
    """Read what :func:`write_extras` wrote; None where it is missing, damaged or another's.

    Parameters
    ----------
    images : how many validation images
    classes : how many classes
    strengths : change -> how many strengths it must have
    """
    try:
        validation = _read_probabilities(folder / _VALIDATION, images=images, classes=classes)
        with (folder / _ROBUSTNESS).open("rb") as handle:
            record = json.loads(handle.read(_MAX_RECORD_BYTES))
        right = {str(name): [int(n) for n in row] for name, row in record["right"].items()}
        count = int(record["images"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    counts = [n for row in right.values() for n in row]
    if {name: len(row) for name, row in right.items()} != dict(strengths) or not all(
        0 <= n <= count for n in counts
    ):
        return None
    return Extras(validation=validation, changed_images=count, changed_right=right)


def read_model(folder: Path) -> Model:
    """Read a run's trained model.

    Raises
    ------
    FileFormatError : the file is damaged
    OSError : it cannot be opened
    """
    from inkproof.model import Model

    return Model.load(folder / _MODEL)


def _read_probabilities(path: Path, *, images: int, classes: int) -> npt.NDArray[np.float32]:
    limit = images * classes * 4 + 4096
    try:
        with path.open("rb") as handle:
            raw = handle.read(2 * limit)
        with zipfile.ZipFile(io.BytesIO(raw)) as archive, archive.open(_ARRAY) as member:
            # What is packed may claim any size, and so may the header of what comes out of it.
            unpacked = io.BytesIO(member.read(limit))
        _check_header(unpacked, path, (images, classes))
        probabilities = npy.read_array(unpacked, allow_pickle=False)
    except FileFormatError:
        raise
    except FileNotFoundError as error:
        raise FileFormatError(f"{path}: missing") from error
    except Exception as error:  # zipfile, zlib and NumPy each have errors of their own
        raise FileFormatError(f"{path}: damaged: {error}") from error
    if not ((probabilities >= 0) & (probabilities <= _MOST)).all():
        raise FileFormatError(f"{path}: expected probabilities, got numbers outside 0 to 1")
    return np.asarray(probabilities, dtype=np.float32)


def _check_header(file: IO[bytes], path: Path, shape: tuple[int, int]) -> None:
    """Look at an array's header before anything is allocated, and go back to its beginning."""
    if npy.read_magic(file) != (1, 0):
        raise FileFormatError(f"{path}: damaged: an array of another format")
    got, _, dtype = npy.read_array_header_1_0(file, max_header_size=1024)
    file.seek(0)
    if dtype != np.float32 or got != shape:
        raise FileFormatError(f"{path}: expected float32 {shape}, got {dtype} {got}")


def holds_a_run(folder: Path) -> bool:
    """Say whether a run lies there, finished or begun."""
    return any((folder / name).is_file() for name in (_RECORD, _ASKED))


def clear(folder: Path) -> None:
    """Remove the files of a run, and no others.

    Raises
    ------
    StorageError : one cannot be removed
    """
    for name in _FILES:
        remove(folder / name)
