"""Make the data that the shipped model is trained on: digits as photos show them, and non-digits.

    .venv/bin/python scripts/make_handwriting.py build/handwriting.npz

One ``.npz`` in Keras' form, which ``inkproof run --data`` and ``inkproof train --data`` read.
Eleven classes: the digits 0 to 9 and 10, "none".

``x_train``: MNIST's training images but 5,000, as they are; each of them once more as a photo
shows it (another pen, slant, blur, noise, JPEG, gaps, a bit of a ruling line, a crop that is a
little off); digits drawn by strokes of our own, more of them 1s with an upstroke, and with fonts
that come with Matplotlib, so that no way of drawing belongs to the non-digits alone; and non-digits
(handwriting/nothing.py).

``x_test``: for validation and calibration. The 5,000 training images of MNIST that were kept back,
as they are and as photos show them, and as many non-digits as x_train's kinds give, drawn anew.
MNIST's test images are not used.

What is left out of "none", because people may take it for a digit: letters that look like one
(handwriting/shapes.py: LOOK_ALIKES), upright lines, rings, halves of digits that are digits.

Each image has a random stream of its own, so that nothing depends on the number of processes.
Takes about three minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from handwriting import glyphs, nothing, pens, photos, shapes

from inkproof import load

KEPT_BACK = 5000
DRAWN_DIGITS = 10_000
FONT_DIGITS = 4_000
FLAGGED_ONES = 5_000
NON_DIGITS = 45_000
VALIDATION_NON_DIGITS = 5_000
NONE = 10
CLASS_NAMES = (*"0123456789", "none")
_CHUNK = 500

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
# What to draw, how many, a number that sets its draws apart, and MNIST images where it needs them.
_Task = tuple[str, int, int, Images, Labels]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Make the training data of the shipped model.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=1.0, help="of all images, for a quick look")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    given = parser.parse_args()
    arrays = make(given.share, given.jobs)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(given.out, **arrays)
    print(f"{given.out}: " + ", ".join(f"{key} {value.shape}" for key, value in arrays.items()))


def make(share: float, jobs: int | None) -> dict[str, npt.NDArray[np.generic]]:
    """Draw everything; ``share`` of it.

    Returns
    -------
    x_train, y_train, x_test, y_test, class_names, for ``np.savez``
    """
    all_train, all_kept = mnist_parts()
    train, kept = _first(all_train, share), _first(all_kept, share)

    def some(count: int) -> int:
        return max(1, round(share * count))

    none = np.empty((0, 28, 28), np.uint8), np.empty(0, np.int64)
    plans: dict[str, list[tuple[str, int, Images, Labels]]] = {
        "train": [
            ("photos", len(train[0]), *train),
            ("drawn digits", some(DRAWN_DIGITS), *none),
            ("font digits", some(FONT_DIGITS), *none),
            ("non-digits", some(NON_DIGITS), *all_train),
            ("flagged ones", some(FLAGGED_ONES), *none),
        ],
        "test": [
            ("photos", len(kept[0]), *kept),
            ("non-digits", some(VALIDATION_NON_DIGITS), *all_kept),
        ],
    }
    result: dict[str, npt.NDArray[np.generic]] = {}
    with ProcessPoolExecutor(jobs) as pool:
        for number, (role, plan) in enumerate(plans.items()):
            images, labels = (train, kept)[number]
            parts = [(images, labels), *pool.map(_drawn, _tasks(plan, number))]
            result[f"x_{role}"] = np.concatenate([part[0] for part in parts])
            result[f"y_{role}"] = np.concatenate([part[1] for part in parts]).astype(np.uint8)
    return result | {"class_names": np.array(CLASS_NAMES)}


def mnist_parts() -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Part MNIST's training images into those that train and the 5,000 that are kept back."""
    split = load("mnist").train
    train, kept = split.hold_out(KEPT_BACK / len(split), seed=0)
    return (train.images[..., 0], train.labels), (kept.images[..., 0], kept.labels)


def _first(part: tuple[Images, Labels], share: float) -> tuple[Images, Labels]:
    count = max(1, round(share * len(part[0])))
    return part[0][:count], part[1][:count]


def _tasks(plan: list[tuple[str, int, Images, Labels]], role: int) -> list[_Task]:
    tasks = []
    for kind, (name, count, images, labels) in enumerate(plan):
        for begin in range(0, count, _CHUNK):
            key = (role * 10 + kind) * 1_000_000 + begin
            part = slice(begin, begin + _CHUNK)
            mine = (images[part], labels[part]) if name == "photos" else (images[::7], labels[::7])
            tasks.append((name, min(_CHUNK, count - begin), key, *mine))
    return tasks


def _drawn(task: _Task) -> tuple[Images, Labels]:
    name, count, key, images, labels = task
    makers: dict[str, Callable[[np.random.Generator, int], tuple[Images, int]]] = {
        "photos": lambda rng, row: (photo(images[row], rng), int(labels[row])),
        "drawn digits": lambda rng, row: drawn_digit(rng, row % 10),
        "font digits": lambda rng, row: font_digit(rng, row % 10),
        "non-digits": lambda rng, row: (non_digit(rng, images, labels), NONE),
        "flagged ones": lambda rng, row: (photographed_path(shapes.flagged_one(rng), rng), 1),
    }
    done = [
        makers[name](np.random.Generator(np.random.Philox(key=key + row)), row)
        for row in range(count)
    ]
    return np.stack([one[0] for one in done]), np.array([one[1] for one in done], np.int64)


def photo(image: Images, rng: np.random.Generator) -> Images:
    """Show an MNIST digit as a photo would: uint8 (28, 28) to uint8 (28, 28)."""
    ink = photos.affine(photos.enlarge(image, rng), rng)
    if rng.random() < 0.8:
        ink = photos.repenned(ink, rng)
    return photos.photographed(ink, rng)


def drawn_digit(rng: np.random.Generator, digit: int) -> tuple[Images, int]:
    """Draw a digit by strokes, as a photo would show it."""
    forms = shapes.DIGITS[digit]
    return photographed_path(forms[rng.integers(len(forms))], rng), digit


def photographed_path(path: str, rng: np.random.Generator) -> Images:
    """Draw a path that is written as text, as a photo would show it."""
    return photos.photographed(pens.draw_path(path, rng), rng)


def font_digit(rng: np.random.Generator, digit: int) -> tuple[Images, int]:
    """Draw a digit with a font, as a photo would show it."""
    fonts = glyphs.training_font_files()
    ink = photos.affine(glyphs.glyph(fonts[rng.integers(len(fonts))], str(digit), rng), rng)
    if rng.random() < 0.5:
        ink = photos.repenned(ink, rng)
    return photos.photographed(ink, rng), digit


def non_digit(rng: np.random.Generator, images: Images, labels: Labels) -> Images:
    """Draw something that is no digit; MNIST digits are what pieces and pairs are made of."""
    kinds = list(nothing.KINDS)
    shares = np.array([nothing.KINDS[kind][0] for kind in kinds])
    kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
    by_digit = {digit: images[labels == digit] for digit in range(10)}
    return nothing.draw(kind, rng, by_digit, glyphs.training_font_files())


if __name__ == "__main__":
    main()
