"""The state of a training after its last finished epoch, in a file from which it goes on.

The file is one of :mod:`inkproof.model_file`'s: the description says whose training it is; the
arrays are the history, float64, from which what watches the epochs knows all that it knew; the
weights as they train, the optimiser's memory, and the best epoch's weights where they are wanted
and are not the last's. The history is not in the description, which has to fit into a header.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from inkproof import model_file
from inkproof.errors import FileFormatError, StorageError
from inkproof.history import COLUMNS
from inkproof.schedules import Schedule
from inkproof.stopping import Watch

if TYPE_CHECKING:
    from inkproof.data import Split
    from inkproof.model import Model
    from inkproof.training_config import TrainingConfig

__all__ = ["FREE", "Arrays", "Checkpoint", "State", "Unfinished", "describe", "unfinished"]

Arrays = list[npt.NDArray[np.float32]]
Rows = dict[str, list[float]]
FREE: Final = ("epochs", "time_budget_seconds")
"""How far a training goes changes nothing in what it has done so far."""
_TOTAL: Final = "total_steps"


@dataclass(kw_only=True)
class State:
    """All that training goes on from.

    Parameters
    ----------
    weights : as they train; not the averaged ones
    memory : the optimiser's: moments and the average, as the engine names them: slot/index, the
        index being that of the weights
    rows : the history's columns
    best : the weights of the best epoch, where they are wanted and are not the last's
    stopped : whether a callback asked for the end
    """

    weights: Arrays
    memory: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    rows: Rows = field(default_factory=lambda: {name: [] for name in COLUMNS})
    best: Arrays | None = None
    stopped: bool = False

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return len(self.rows["loss"])

    def add(self, values: Mapping[str, float], weights: Arrays) -> None:
        """Take in a finished epoch."""
        for name, value in values.items():
            self.rows[name].append(value)
        self.weights = weights


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """How far the training is that a checkpoint is of.

    Parameters
    ----------
    epochs : how many are done
    hangs_on_total : whether its learning rate hangs on how many there will be
    """

    epochs: int
    hangs_on_total: bool


def unfinished(path: Path) -> Unfinished | None:
    """Look how far a training is; None where there is no checkpoint that can be read."""
    try:
        found = model_file.read_description(path)
        epochs, training = found["epochs"], found["training"]
    except (FileFormatError, StorageError, KeyError):
        return None
    if type(epochs) is not int or not isinstance(training, dict):
        return None
    return Unfinished(epochs=epochs, hangs_on_total=_TOTAL in training)


class Checkpoint:
    """The file of one training.

    Parameters
    ----------
    path : it need not be there, and need not be trusted
    description : what :func:`describe` gave
    """

    def __init__(self, path: Path, description: Mapping[str, Any]) -> None:
        self._path = path
        self._description = dict(description)

    def write(self, state: State) -> None:
        """Write a state in one step.

        Raises
        ------
        StorageError : it cannot be written
        """
        tensors: dict[str, model_file.Tensor] = {
            f"history/{name}": np.array(values, dtype=np.float64)
            for name, values in state.rows.items()
            if values
        }
        tensors |= {f"weights/{index:04d}": array for index, array in enumerate(state.weights)}
        tensors |= {f"memory/{name}": array for name, array in state.memory.items()}
        if state.best is not None:
            tensors |= {f"best/{index:04d}": array for index, array in enumerate(state.best)}
        more: dict[str, Any] = {"epochs": state.epochs}
        if state.best is not None:
            more["best"] = True
        if state.memory:
            more["memory"] = sorted(state.memory)
        if state.stopped:
            more["stopped"] = True
        model_file.write(self._path, {**self._description, **more}, tensors)

    def resume(self, start: State, config: TrainingConfig, *, has_validation: bool) -> State:
        """Read the state, if the file holds one of this very training.

        Parameters
        ----------
        start : the state before the first epoch
        config : a state of more epochs than it asks for is not taken
        has_validation : whether there is validation data

        Returns
        -------
        the state in the file, or ``start``
        """
        if not self._path.exists():
            return start
        try:
            found = model_file.read_description(self._path)
            done, stopped = found.pop("epochs", None), found.pop("stopped", False)
            has_best = found.pop("best", False) is True
            names = found.pop("memory", [])
            if json.dumps(found, sort_keys=True) != json.dumps(self._description, sort_keys=True):
                return start
            if type(done) is not int or not 1 <= done <= config.epochs:
                return start
            numbers = range(len(start.weights))
            columns = [name for name in COLUMNS if has_validation or not name.startswith("val_")]
            history: dict[str, tuple[int, ...]] = {f"history/{name}": (done,) for name in columns}
            shapes = history | {
                f"{part}/{index:04d}": start.weights[index].shape
                for part in ("weights", *(["best"] if has_best else []))
                for index in numbers
            }
            memory = _memory_shapes(names, start.weights, self._path)
            shapes |= {f"memory/{name}": shape for name, shape in memory.items()}
            tensors = model_file.read_tensors(self._path, shapes, float64=history)
        except (FileFormatError, StorageError):
            return start
        rows: Rows = {name: [] for name in COLUMNS}
        rows |= {name: tensors[f"history/{name}"].tolist() for name in columns}
        if has_best != (Watch(config, rows).best_epoch not in (None, done)):
            return start
        return State(
            weights=[tensors[f"weights/{index:04d}"] for index in numbers],
            memory={name: tensors[f"memory/{name}"] for name in memory},
            rows=rows,
            best=[tensors[f"best/{index:04d}"] for index in numbers] if has_best else None,
            stopped=stopped is True,
        )


def describe(
    model: Model,
    weights: Arrays,
    splits: tuple[Split, Split | None],
    sample_weight: npt.ArrayLike | None,
    config: TrainingConfig,
    *,
    isa: str,
    total_steps: int,
) -> dict[str, Any]:
    """Describe all that the numbers depend on, but for how far the training goes.

    Parameters
    ----------
    model, weights : what is trained, and from where
    splits, sample_weight : on what
    config : how
    isa : the variant of the engine
    total_steps : of all epochs; counts where the learning rate hangs on it
    """
    digest = hashlib.sha256()
    arrays: list[npt.NDArray[Any]] = [*weights]
    for split in splits:
        arrays += [] if split is None else [split.images, split.labels]
    if sample_weight is not None:
        arrays.append(np.asarray(sample_weight, dtype=np.float64))
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    settings = {key: value for key, value in config.config().items() if key not in FREE}
    rate = config.optimizer.learning_rate
    if isinstance(rate, Schedule) and rate.depends_on_total:
        settings[_TOTAL] = total_steps
    return {
        "kind": "checkpoint",
        "model": model.config(),
        "training": settings,
        "isa": isa,
        "start": digest.hexdigest(),
    }


def _memory_shapes(names: object, weights: Arrays, path: Path) -> dict[str, tuple[int, ...]]:
    """Give the shapes of what an optimiser remembers: each array is of one of the weights."""
    shapes = {}
    for name in names if isinstance(names, list) else [names]:
        number = str(name).partition("/")[2]
        if not (number.isascii() and number.isdigit() and int(number[:9]) < len(weights)):
            raise FileFormatError(f"{path}: no optimiser has {reprlib.repr(name)}")
        shapes[str(name)] = weights[int(number[:9])].shape
    return shapes
