"""Numbers as sentences for people give them, and text as a terminal may have it."""

from __future__ import annotations

from typing import Final

__all__ = [
    "classes_counted",
    "counted",
    "ending",
    "fixed",
    "nats",
    "percent",
    "points",
    "printable",
    "seeds_listed",
]

_WORDS: Final = (
    *("no", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_MOST_DECIMALS: Final = 8
_ENDINGS: Final = {
    "callback": "stopped by a callback",
    "early_stopping": "stopped early",
    "time_budget": "out of time",
}


def fixed(value: float, decimals: int) -> str:
    """Write a number with so many decimals, or more if it would else read as 0 and is not.

    A sentence that says "ahead, interval 0.00 to 0.11" would seem to contradict itself where the
    lower end is 0.003. Minus is the true minus sign.
    """
    for places in range(decimals, _MOST_DECIMALS + 1):
        text = f"{value:.{places}f}"
        if float(text) != 0:
            return text.replace("-", "−")
    return f"{0:.{decimals}f}"


def percent(share: float) -> str:
    """Write a share in [0, 1] as a percentage with two decimals: ``97.72 %``."""
    return f"{100 * share:.2f} %"


def points(share: float) -> str:
    """Write a difference of shares in percentage points with two decimals: ``0.11``."""
    return fixed(100 * share, 2)


def nats(loss: float) -> str:
    """Write a loss, or a difference of losses, with four decimals: ``0.0760``."""
    return fixed(loss, 4)


def counted(n: int, noun: str) -> str:
    """Write a count with its noun, in words up to twelve: ``six runs``, ``10,000 images``."""
    number = _WORDS[n] if 0 <= n < len(_WORDS) else f"{n:,}"
    return f"{number} {noun if n == 1 else noun + 's'}"


def classes_counted(n: int) -> str:
    """Write a number of classes, in figures: ``1 class``, ``10 classes``."""
    return f"{n} class" if n == 1 else f"{n} classes"


def seeds_listed(seeds: list[int], *, most: int = 8) -> str:
    """List seeds: ``seeds 0, 1 and 2``, ``no seeds``; of more than ``most`` only the first."""
    if not seeds:
        return "no seeds"
    shown = [str(seed) for seed in seeds[:most]]
    if len(seeds) > most:
        shown.append(f"{len(seeds) - most} more")
    if len(shown) == 1:
        return f"seed {shown[0]}"
    return f"seeds {', '.join(shown[:-1])} and {shown[-1]}"


def ending(stopped_by: str | None, epochs: int, best_epoch: int | None) -> str:
    """Say how a training ended that did not simply go through all its epochs.

    ``stopped early after epoch 12, weights of epoch 9``; nothing where there is nothing to say.
    """
    parts = []
    if stopped_by is not None:
        parts.append(f"{_ENDINGS[stopped_by]} after epoch {epochs}")
    if best_epoch not in (None, epochs):
        parts.append(f"weights of epoch {best_epoch}")
    return ", ".join(parts)


def printable(text: str, most: int) -> str:
    """Make text from a file harmless on a terminal, and at most so many characters long."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"
