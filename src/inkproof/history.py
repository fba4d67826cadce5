"""What happened in training, epoch by epoch."""

from __future__ import annotations

import csv
import io
import math
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inkproof.errors import DataError, FileFormatError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "MOST_BYTES", "History", "histories_from_csv"]

COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")
MOST_BYTES: Final = 16 << 20
"""A larger CSV file is refused: this holds more than a hundred thousand epochs."""

_METRICS: Final = (
    "acc",
    "sparse_categorical_accuracy",
    "categorical_accuracy",
    "binary_accuracy",
)
_ACCURACIES: Final[Mapping[str, tuple[str, ...]]] = {
    "accuracy": _METRICS,
    "val_accuracy": tuple(f"val_{name}" for name in _METRICS),
}


@dataclass(frozen=True, kw_only=True)
class History:
    """The epochs of one training run, in Keras' columns.

    ``loss`` and ``accuracy`` are the running means over the epoch while the weights move, as in
    Keras; ``val_loss`` and ``val_accuracy`` are taken at its end. Without validation data those
    two are empty. Losses are in nats, accuracies are shares in [0, 1].

    Parameters
    ----------
    loss, accuracy, val_loss, val_accuracy : one number an epoch
    learning_rate : the rate of each epoch's last step
    seconds : wall-clock seconds of each epoch, training and validation, no checkpointing
    params : ``{"epochs", "steps", "batch_size"}``: what was asked for
    """

    loss: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()
    val_loss: tuple[float, ...] = ()
    val_accuracy: tuple[float, ...] = ()
    learning_rate: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    params: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the epochs."""
        return len(self.loss)

    @property
    def epoch(self) -> list[int]:
        """The epochs' numbers from 0, as in Keras."""
        return list(range(len(self)))

    @property
    def has_validation(self) -> bool:
        """Whether there was validation data."""
        return len(self.val_loss) > 0

    @property
    def history(self) -> dict[str, list[float]]:
        """Keras' dictionary: ``loss``, ``accuracy`` and, with validation data, their ``val_``.

        As in Keras, what was not measured is not in it.
        """
        return {key: values for key, values in self.columns().items() if key in COLUMNS[:4]}

    def columns(self) -> dict[str, list[float]]:
        """All columns that have values, including the learning rate and the seconds."""
        return {key: list(getattr(self, key)) for key in COLUMNS if getattr(self, key)}

    def to_frame(self) -> pd.DataFrame:
        """Give a DataFrame with a row an epoch, indexed by the epoch's number from 1.

        Raises
        ------
        DataError : columns of different lengths
        """
        import pandas as pd

        index = pd.RangeIndex(1, len(self) + 1, name="epoch")
        return pd.DataFrame(self._even_columns(), index=index)

    def to_csv(self) -> str:
        """Give CSV text: a header, then a row an epoch; numbers as short as they round-trip.

        Raises
        ------
        DataError : columns of different lengths
        """
        columns = self._even_columns()
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["epoch", *columns])
        for number, row in enumerate(zip(*columns.values(), strict=True), start=1):
            writer.writerow([number, *(repr(float(value)) for value in row)])
        return out.getvalue()

    @classmethod
    def from_csv(cls, path: str | Path, *, params: Mapping[str, int] | None = None) -> History:
        """Read what :meth:`to_csv` wrote; columns that are not ours are passed over.

        Without a column ``accuracy``, one that Keras names after its metric is taken as it:
        ``acc``, ``sparse_categorical_accuracy``, ``categorical_accuracy``, ``binary_accuracy``; so
        with ``val_`` before it.

        Parameters
        ----------
        path : the file
        params : what was asked for; the file does not hold it

        Raises
        ------
        FileFormatError : no CSV table, more than ``MOST_BYTES``, no ``loss`` column, one twice, or
            a cell that is no number
        OSError : it cannot be opened
        """
        values = _read_columns(Path(path))
        return cls(params=params or {}, **{key: tuple(column) for key, column in values.items()})

    def _even_columns(self) -> dict[str, list[float]]:
        columns = self.columns()
        for key, values in columns.items():
            if len(values) != len(self):
                raise DataError(
                    f"history: {key} must have a number an epoch, expected {len(self)}, "
                    f"got {len(values)}"
                )
        return columns


def histories_from_csv(path: str | Path) -> dict[str, list[History]]:
    """Read a CSV table of one or more runs, written by Inkproof, Keras or by hand.

    Rows of one ``model`` and one ``seed`` make a history, where the table has such columns; where
    it has not, all rows do. A column ``epoch`` must count them.

    Returns
    -------
    the model's name, or an empty text without such a column -> its histories, in the order in
    which they come

    Raises
    ------
    FileFormatError : as for :meth:`History.from_csv`; or an accuracy outside 0 to 1, or epochs
        that do not go up by one from 0 or 1
    OSError : it cannot be opened
    """
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    epochs: dict[tuple[str, str], float] = {}
    with _table(Path(path)) as table:
        if table.names.count("epoch") > 1:
            raise FileFormatError(f"{path}: expected one column 'epoch', got more")
        for where, row in table.rows():
            run = ((row.get("model") or "").strip(), (row.get("seed") or "").strip())
            values = found.setdefault(run, {key: [] for key in table.sources})
            for key, name in table.sources.items():
                value = _number(where, name, row)
                # After a divergence an accuracy may be no number.
                if key in _ACCURACIES and not (0 <= value <= 1 or math.isnan(value)):
                    raise FileFormatError(
                        f"{where}: {name} must be a share from 0 to 1, got"
                        f" {reprlib.repr(row[name])}"
                    )
                values[key].append(value)
            if "epoch" in table.names:
                epochs[run] = _next_epoch(where, row, epochs.get(run))
    histories: dict[str, list[History]] = {}
    for (model, _), values in found.items():
        columns = {key: tuple(column) for key, column in values.items()}
        histories.setdefault(model, []).append(History(params={}, **columns))
    return histories


_Row = Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A CSV file that is being read.

    Parameters
    ----------
    path : the file's
    names : its header
    sources : our column -> the file's column that it is taken from
    reader : at the first row
    """

    path: Path
    names: list[str]
    sources: Mapping[str, str]
    reader: csv.DictReader[str]

    def rows(self) -> Iterator[tuple[str, _Row]]:
        """Give each row with where it stands: the file's name and the line."""
        for row in self.reader:
            yield f"{self.path}:{self.reader.line_num}", row


@contextmanager
def _table(path: Path) -> Iterator[_Table]:
    """Open a CSV file; what is no CSV in it becomes a FileFormatError, also while it is read."""
    with path.open("rb") as handle:
        content = handle.read(MOST_BYTES + 1)  # a device or a pipe may have no end
    if len(content) > MOST_BYTES:
        raise FileFormatError(
            f"{path}: expected a CSV table of at most {MOST_BYTES >> 20} MiB, got more"
        )
    try:
        text = content.decode("utf-8-sig")  # spreadsheets write the mark
        reader = csv.DictReader(io.StringIO(text, newline=""))
        names = list(reader.fieldnames or ())
        yield _Table(path=path, names=names, sources=_sources(path, names), reader=reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileFormatError(f"{path}: expected a CSV table in UTF-8: {error}") from error


def _sources(path: Path, names: list[str]) -> dict[str, str]:
    """Find the file's column for each of ours; Keras names an accuracy after the metric."""
    if "loss" not in names:
        raise FileFormatError(f"{path}: expected a column 'loss', got {reprlib.repr(names)}")
    sources = {}
    for key in COLUMNS:
        others = [other for other in _ACCURACIES.get(key, ()) if other in names]
        found = [key] if key in names else others
        if len(found) > 1:
            raise FileFormatError(
                f"{path}: expected one column of {key}, got {' and '.join(found)}"
            )
        if found and names.count(found[0]) > 1:
            raise FileFormatError(f"{path}: expected one column {found[0]!r}, got more")
        if found:
            sources[key] = found[0]
    return sources


def _read_columns(path: Path) -> dict[str, list[float]]:
    with _table(path) as table:
        values: dict[str, list[float]] = {key: [] for key in table.sources}
        for where, row in table.rows():
            for key, name in table.sources.items():
                values[key].append(_number(where, name, row))
    return values


def _number(where: str, name: str, row: _Row) -> float:
    try:
        return float(row[name] or "")
    except ValueError:
        raise FileFormatError(
            f"{where}: {name} must be a number, got {reprlib.repr(row[name])}"
        ) from None


def _next_epoch(where: str, row: _Row, last: float | None) -> float:
    """Give a row's epoch, which must be the one after the last of its run."""
    epoch = _number(where, "epoch", row)
    if last is None and epoch not in (0, 1):
        raise FileFormatError(
            f"{where}: epoch must be 0 or 1 in a run's first row, got {reprlib.repr(row['epoch'])}"
        )
    if last is not None and epoch != last + 1:
        raise FileFormatError(
            f"{where}: epoch must be {last + 1:g}, one more than before, got"
            f" {reprlib.repr(row['epoch'])}; several runs take a column 'model' or 'seed'"
        )
    return epoch
