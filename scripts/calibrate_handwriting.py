"""Calibrate the model that ships, and put it into the package.

    .venv/bin/python scripts/calibrate_handwriting.py build/handwriting.safetensors \
        build/handwriting.npz src/inkproof/shipped

All is fitted on the data's x_test, which scripts/make_handwriting.py made of training digits that
were kept back and of non-digits drawn anew:

- the temperature, on digits alone, clean ones and photographed ones, over the ten digits;
- the threshold, so that ``PASSING`` of the clean digits count as digits, but at most ``HIGHEST``:
  beyond that only the hardest photographed digits would be lost.

Prints what the two make of the validation images. Without the last argument it only prints.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

from inkproof import Model, load
from inkproof.photo.reader import NONE, Calibration, combine
from inkproof.statistics import fit_temperature, wilson_interval
from inkproof.storage import write_bytes

PASSING = 0.997
HIGHEST = 0.5
NAME = "handwriting"


def main() -> None:
    """Fit, print, and copy."""
    parser = argparse.ArgumentParser(description="Calibrate the model that ships.")
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("into", type=Path, nargs="?")
    given = parser.parse_args()
    model = Model.load(given.model)
    test = load(given.data).test
    none = test.class_names.index(NONE)
    is_digit = test.labels != none
    # The kept-back digits as they are come first, then the same ones as photos show them.
    clean = np.arange(len(test)) < is_digit.sum() // 2
    raw = model.predict(test.images)
    digits = np.delete(raw, none, axis=1)
    within = digits / digits.sum(axis=1, keepdims=True)
    temperature = fit_temperature(within[is_digit], test.labels[is_digit]).value
    probabilities, ink = combine(digits, raw[:, none], temperature)
    assert ink is not None  # noqa: S101 - none was given
    threshold = min(HIGHEST, float(np.quantile(ink[clean], 1 - PASSING)))
    right = probabilities.argmax(axis=1) == test.labels
    print(f"temperature {temperature:.3f}, threshold {threshold:.4f}")
    for name, rows in (("clean digits", clean), ("photographed digits", is_digit & ~clean)):
        _print(f"{name}: right", right[rows])
        _print(f"{name}: pass", ink[rows] >= threshold)
    _print("non-digits: turned down", ink[~is_digit] < threshold)
    if given.into is None:
        return
    content = given.model.read_bytes()
    write_bytes(given.into / f"{NAME}.safetensors", content)
    Calibration(
        temperature=round(temperature, 4),
        threshold=round(threshold, 4),
        model_sha256=hashlib.sha256(content).hexdigest(),
    ).save(given.into / f"{NAME}.calibration.json")


def _print(what: str, hits: np.ndarray) -> None:
    found = wilson_interval(int(hits.sum()), len(hits))
    print(f"{what} {found.value:.2%} [{found.low:.2%}, {found.high:.2%}] of {len(hits):,}")


if __name__ == "__main__":
    main()
