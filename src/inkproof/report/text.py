"""Numbers and names as text, safe in HTML, Markdown, YAML and TOML."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

from inkproof.figures import share_text, shortened
from inkproof.findings import Status
from inkproof.statistics import Estimate
from inkproof.wording import counted, ending, fixed, nats, percent, points

__all__ = [
    "FILTERS",
    "Raw",
    "flattened",
    "markdown_escaped",
    "slug",
    "toml_text",
    "yaml_scalar",
]


class Raw(str):
    """Text that is Markdown already."""

    __slots__ = ()


def _interval(estimate: Estimate, unit: str) -> str:
    """Write an estimate's interval, without its value; ``unit`` as in :func:`_value`."""
    if estimate.low is None or estimate.high is None:
        return "no interval from one run" if estimate.n == 1 else "no interval"
    if unit == "share":
        return f"{100 * estimate.low:.2f} to {100 * estimate.high:.2f} %"
    write = points if unit == "points" else nats
    return f"{write(estimate.low)} to {write(estimate.high)}"


def _value(estimate: Estimate, unit: str) -> str:
    """Write an estimate's value: a ``share``, a difference in ``points``, or ``nats``."""
    if unit == "share":
        return percent(estimate.value)
    if unit == "points":
        return signed(estimate.value, points)
    return signed(estimate.value, nats) if unit == "nats difference" else nats(estimate.value)


def signed(value: float, write: Any) -> str:
    """Write a difference with its sign."""
    return f"+{write(value)}" if value > 0 else str(write(value))


def _basis(estimate: Estimate) -> str:
    """Say where an interval comes from: ``95 %, Student t over six training runs``."""
    if estimate.over == "both":
        return (
            f"{100 * estimate.level:g} %, {estimate.method}, {counted(estimate.n, 'pair')} of"
            " training runs crossed with the test images"
        )
    noun = {"runs": "training run", "images": "test image"}.get(estimate.over, "observation")
    return f"{100 * estimate.level:g} %, {estimate.method} over {counted(estimate.n, noun)}"


def _p_value(p: float | None) -> str:
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _shape(numbers: Sequence[int]) -> str:
    return f"({', '.join(map(str, numbers))}{',' if len(numbers) == 1 else ''})"


def _mark(status: Status) -> str:
    return {"passed": "✓", "failed": "✗", "not applicable": "–"}[status]


def _epoch_number(value: float | None, column: str) -> str:
    """Write a number of a history as its column's numbers are written."""
    if value is None:
        return ""
    if column == "learning_rate":
        return f"{value:g}"
    return f"{value:.2f}" if column == "seconds" else f"{value:.4f}"


def flattened(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """List a nested mapping as rows of a dotted key and a text."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows.extend(flattened(value, f"{name}."))
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(map(str, value))))
        elif value is not None:
            rows.append((name, str(value)))
    return rows


def slug(name: str, *, fallback: str = "study") -> str:
    """Give a name that is safe in a file's name and an address: ``a-z``, ``0-9`` and hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-") or fallback


def markdown_escaped(value: object) -> str:
    """Write a value as Markdown text on one line: nothing in it is markup, HTML or Liquid."""
    if isinstance(value, Raw):
        return value
    line = " ".join(
        "".join(" " if unicodedata.category(c) in _BREAKS else c for c in str(value)).split()
    )
    escaped = re.sub(r"[&<>\"'`*_{}\[\]\\|~$#^]", lambda found: f"&#{ord(found[0])};", line)
    # What would begin a list, a heading's underline or a definition at the start of a line.
    escaped = re.sub(r"^[-+=:]", lambda found: f"&#{ord(found[0])};", escaped)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", lambda m: f"{m[1]}&#{ord(m[2])};", escaped)


def yaml_scalar(text: str) -> str:
    """Write a text as a double-quoted YAML scalar on one line."""
    return f'"{"".join(_yaml_character(character) for character in text)}"'


def toml_text(values: Mapping[str, Any]) -> str:
    """Write a study as TOML; settings that are None are left out."""
    given = {key: value for key, value in values.items() if value is not None}
    lines = [
        f"{_toml_key(key)} = {_toml_value(value)}"
        for key, value in given.items()
        if not isinstance(value, Mapping) and not _is_tables(value)
    ]
    for key, value in given.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{_toml_key(key)}]", *_toml_lines(value)]
        elif _is_tables(value):
            for table in value:
                lines += ["", f"[[{_toml_key(key)}]]", *_toml_lines(table)]
    return "\n".join(lines).strip() + "\n"


def _toml_lines(table: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, value in table.items():
        if value is None:
            continue
        if _is_tables(value):
            rows = "".join(f"  {_toml_value(row)},\n" for row in value)
            lines.append(f"{_toml_key(key)} = [\n{rows}]")
        else:
            lines.append(f"{_toml_key(key)} = {_toml_value(value)}")
    return lines


def _is_tables(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(
            f"{_toml_key(key)} = {_toml_value(item)}"
            for key, item in value.items()
            if item is not None
        )
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(item) for item in value if item is not None)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    # JSON's escapes are TOML's, but for a control character that JSON leaves as it is.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


_BREAKS: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})


def _yaml_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if unicodedata.category(character)[0] in "CZ" and character != " ":
        code = ord(character)
        if 0xD800 <= code <= 0xDFFF:  # a lone surrogate is no character
            return "\\uFFFD"
        return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
    return character


FILTERS: Final[dict[str, Any]] = {
    "basis": _basis,
    "decimals": lambda value: f"{value:.2f}",
    "plain": lambda value: f"{value:g}",
    "counted": counted,
    "ending": lambda run: ending(run.stopped_by, len(run.epoch_seconds), run.best_epoch),
    "epoch_number": _epoch_number,
    "fixed": fixed,
    "interval": _interval,
    "mark": _mark,
    "nats": nats,
    "p_value": _p_value,
    "percent": percent,
    "points": points,
    "shape": _shape,
    "share_text": share_text,
    "shortened": shortened,
    "signed_points": lambda value: signed(value, points),
    "slug": slug,
    "thousands": lambda value: f"{value:,}",
    "value": _value,
}
"""What the templates call; they do no arithmetic of their own."""
