"""Measure the model that ships on data that chose nothing, and write that onto its card.

    .venv/bin/python scripts/card_handwriting.py

MNIST's test images and the test group of benchmarks/rejects.py: to be looked at once, when all is
chosen. Takes about half a minute. benchmarks/rejects.py says which fonts it needs.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import numpy as np

from inkproof import load
from inkproof.photo.reader import SHIPPED, Reader
from inkproof.statistics import expected_calibration_error, wilson_interval

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

import rejects

CARD = SHIPPED.parent / "README.md"


def main() -> None:
    """Measure and write."""
    reader = Reader.load()
    test = load("mnist").test
    readings = reader.read(test.images[..., 0])
    right = np.array([one.digit for one in readings]) == test.labels
    passes = np.array([one.is_digit for one in readings])
    rows = [
        _row("MNIST test: digit right", int(right.sum()), len(right)),
        _row("MNIST test: passes", int(passes.sum()), len(passes)),
        _row("MNIST test: right of those that pass", int(right[passes].sum()), int(passes.sum())),
    ]
    for name, down in rejects.turned_down(reader, "test").items():
        rows.append(_row(f"rejects: {name} turned down", sum(down), len(down)))
    probabilities = np.array([one.probabilities for one in readings])
    error = expected_calibration_error(probabilities, test.labels)
    facts = (
        f"{reader.model.count_params():,} parameters, {SHIPPED.stat().st_size:,} bytes, "
        f"temperature {reader.calibration.temperature:g}, "
        f"threshold {reader.calibration.threshold:g}.\n"
        f"sha256 `{hashlib.sha256(SHIPPED.read_bytes()).hexdigest()}`"
    )
    figures = "\n".join(
        [
            "| what | estimate [95 % interval] | n |",
            "|---|---|---|",
            *rows,
            "",
            f"Expected calibration error on MNIST's test images, over the ten digits: "
            f"{100 * error.value:.2f} points [{100 * (error.low or 0):.2f}, "
            f"{100 * (error.high or 0):.2f}].",
        ]
    )
    text = _between(_between(CARD.read_text(), "facts", facts), "figures", figures)
    CARD.write_text(text)
    print(facts, figures, sep="\n\n")


def _row(what: str, hits: int, n: int) -> str:
    found = wilson_interval(hits, n)
    low, high = 100 * (found.low or 0), 100 * (found.high or 0)
    return f"| {what} | {100 * found.value:.2f} % [{low:.2f}, {high:.2f}] | {n:,} |"


def _between(text: str, name: str, new: str) -> str:
    """Put something new between ``<!-- name -->`` and ``<!-- /name -->``."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}{new}\n{found[2]}", text)


if __name__ == "__main__":
    main()
