"""The table of a network's layers, in the form in which Keras 3 prints it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from inkproof.errors import ConfigurationError

__all__ = ["DEFAULT_LINE_LENGTH", "MIN_LINE_LENGTH", "Row", "summary_table"]

DEFAULT_LINE_LENGTH: Final = 76
"""What Keras takes on a terminal of 80 columns."""
MIN_LINE_LENGTH: Final = 40
_COLUMN_ENDS: Final = (0.0, 0.45, 0.80, 1.0)
_MARGIN: Final = 4
_BYTES: Final = 4
_UNIT: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Row:
    """One layer: its name, its class's name, its output's shape without the batch, its numbers."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int


def summary_table(
    name: str,
    rows: Sequence[Row],
    *,
    trainable: int,
    non_trainable: int,
    line_length: int = DEFAULT_LINE_LENGTH,
) -> str:
    """Draw the table.

    Parameters
    ----------
    name : the model's
    rows : its layers
    trainable, non_trainable : how many numbers training moves, and how many it does not
    line_length : the table's width in characters, at least 40

    Returns
    -------
    plain text without a newline at its end

    Raises
    ------
    ConfigurationError : too narrow
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if line_length < MIN_LINE_LENGTH:
        raise ConfigurationError(
            f"summary: line_length must be at least {MIN_LINE_LENGTH}, got {line_length}"
        )
    ends = [int(share * line_length) for share in _COLUMN_ENDS]
    widths = [end - begin for begin, end in pairwise(ends)]
    table = Table(width=line_length, show_lines=True)
    table.add_column("Layer (type)", width=widths[0])
    table.add_column("Output Shape", width=widths[1])
    table.add_column("Param #", width=widths[2], justify="right")
    for row in rows:
        shape = ", ".join(["None", *map(str, row.output_shape)])
        cells = (f"{row.name} ({row.kind})", f"({shape})", f"{row.parameters:,}")
        table.add_row(*map(Text, cells))
    console = Console(
        file=io.StringIO(),
        width=line_length + _MARGIN,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(Text(f'Model: "{name}"'))
        console.print(table)
        console.print(Text(f" Total params: {_counted(trainable + non_trainable)}"))
        console.print(Text(f" Trainable params: {_counted(trainable)}"))
        console.print(Text(f" Non-trainable params: {_counted(non_trainable)}"))
    return captured.get().rstrip("\n")


def _counted(count: int) -> str:
    size = float(count * _BYTES)
    units = ("B", "KB", "MB", "GB", "TB")
    unit = 0
    while size >= _UNIT and unit < len(units) - 1:
        size /= _UNIT
        unit += 1
    return f"{count:,} ({size:.2f} {units[unit]})"
