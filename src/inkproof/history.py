"""What happened in training, epoch by epoch."""

from __future__ import annotations

import csv
import io
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from inkproof.errors import DataError, FileFormatError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "History", "histories_from_csv"]

COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")


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

        Parameters
        ----------
        path : the file
        params : what was asked for; the file does not hold it

        Raises
        ------
        FileFormatError : no CSV table, no ``loss`` column, one twice, or a cell that is no number
        OSError : it cannot be opened
        """
        try:
            values = _read_columns(Path(path))
        except (UnicodeDecodeError, csv.Error) as error:
            raise FileFormatError(f"{path}: expected a CSV table in UTF-8: {error}") from error
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
    """Read a CSV table of one or more runs.

    Rows of one ``model`` and one ``seed`` make a history, where the table has such columns; where
    it has not, all rows do.

    Returns
    -------
    the model's name, or an empty text without such a column -> its histories, in the order in
    which they come

    Raises
    ------
    FileFormatError, OSError : as for :meth:`History.from_csv`
    """
    target = Path(path)
    try:
        with target.open(newline="", encoding="utf-8-sig") as handle:
            rows = [
                ((row.get("model") or "").strip(), (row.get("seed") or "").strip())
                for row in csv.DictReader(handle)
            ]
        values = _read_columns(target)
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileFormatError(f"{path}: expected a CSV table in UTF-8: {error}") from error
    found: dict[str, list[History]] = {}
    for key in dict.fromkeys(rows):
        at = [place for place, other in enumerate(rows) if other == key]
        columns = {name: tuple(column[place] for place in at) for name, column in values.items()}
        found.setdefault(key[0], []).append(History(params={}, **columns))
    return found


def _read_columns(path: Path) -> dict[str, list[float]]:
    with path.open(newline="", encoding="utf-8-sig") as handle:  # spreadsheets write the mark
        reader = csv.DictReader(handle)
        names = list(reader.fieldnames or ())
        if "loss" not in names:
            raise FileFormatError(f"{path}: expected a column 'loss', got {reprlib.repr(names)}")
        values: dict[str, list[float]] = {key: [] for key in COLUMNS if key in names}
        for key in values:
            if names.count(key) > 1:
                raise FileFormatError(f"{path}: expected one column {key!r}, got more")
        for row in reader:
            for key, column in values.items():
                try:
                    column.append(float(row[key]))
                except (TypeError, ValueError):
                    raise FileFormatError(
                        f"{path}:{reader.line_num}: {key} must be a number, "
                        f"got {reprlib.repr(row[key])}"
                    ) from None
    return values
