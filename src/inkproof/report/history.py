"""The histories of runs as tables that stay short enough to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inkproof.report.inputs import runs_of
from inkproof.results import ModelResult, RunResult

__all__ = ["HistoryRow", "HistoryTable", "history_table"]

MOST_ROWS: Final = 2500
_ORDER: Final = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


@dataclass(frozen=True, kw_only=True)
class HistoryRow:
    """One epoch; ``lowest`` marks that of the lowest validation loss."""

    epoch: int
    values: tuple[float | None, ...]
    lowest: bool


@dataclass(frozen=True, kw_only=True)
class HistoryTable:
    """One run's history.

    Parameters
    ----------
    columns : Keras' names, and ``seconds``
    rows : the shown epochs
    step : every step-th epoch is shown, and the first and last
    """

    seed: int
    columns: tuple[str, ...]
    rows: tuple[HistoryRow, ...]
    step: int


def history_table(models: list[ModelResult]) -> list[list[HistoryTable]]:
    """Give the tables of each model's runs, seeds ascending.

    All together have about ``MOST_ROWS`` rows at most: of longer trainings every second epoch is
    shown, or every third, and so on.
    """
    epochs = sum(len(run.history.get("loss", ())) for model in models for run in model.runs)
    step = -(-epochs // MOST_ROWS) or 1
    return [[_table(run, step) for run in runs_of(model)] for model in models]


def _table(run: RunResult, step: int) -> HistoryTable:
    known = [name for name in _ORDER if run.history.get(name)]
    others = [name for name in run.history if name not in _ORDER and name != "seconds"]
    columns = {name: run.history[name] for name in [*known, *others]}
    if run.epoch_seconds:
        columns["seconds"] = run.epoch_seconds
    epochs = max(map(len, columns.values()), default=0)
    validation = run.history.get("val_loss", [])
    lowest = validation.index(min(validation)) if validation else -1
    shown = sorted({*range(0, epochs, step), *range(epochs)[-1:], *range(epochs)[lowest:][:1]})
    if lowest < 0:
        shown = sorted({*range(0, epochs, step), *range(epochs)[-1:]})
    return HistoryTable(
        seed=run.seed,
        columns=tuple(columns),
        rows=tuple(
            HistoryRow(
                epoch=row + 1,
                values=tuple(
                    column[row] if row < len(column) else None for column in columns.values()
                ),
                lowest=row == lowest,
            )
            for row in shown
        ),
        step=step,
    )
