"""How many digits of photographed pages are found and read right, beside the naive way.

    .venv/bin/python benchmarks/photos.py                          the test set: 500 pages
    .venv/bin/python benchmarks/photos.py --split train --seed 1   for development
    .venv/bin/python benchmarks/photos.py --source fonts           or strokes

The pages are made here from MNIST's test digits (pages/sheet.py): pens, papers, ruled and squared
lines, shadows, tilt to 10 degrees, perspective, JPEG 60, chalk on a board, EXIF turns. A digit is
found where a box that was read covers it (intersection over union of at least 0.4, each box once),
and right where the digit is too. A box that covers no digit that way is invented.

The naive way gets the true boxes for nothing: each is cut out of the grey picture, resized to
28 x 28, and given to the same model; ``naive, inverted`` turns dark-on-light pictures first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inkproof import load
from inkproof.photo.annotate import annotated_png
from inkproof.photo.decode import decode_picture
from inkproof.photo.page import PageReading, read_page
from inkproof.photo.reader import Reader
from inkproof.statistics import wilson_interval
from pages import drawn
from pages.sheet import Glyph, Sheet, make_sheet, mnist_glyph

_COVERED = 0.4
_state: dict[str, Any] = {}


def start(source: str, split: str, model: Path | None) -> None:
    os.environ["INKPROOF_THREADS"] = "1"
    if source == "mnist":
        part = getattr(load("mnist"), split)
        labels, glyph = part.labels, mnist_glyph(part.images[..., 0])
    elif source == "fonts":
        labels, glyph = drawn.font_glyph(drawn.present()[0])
    else:
        labels, glyph = drawn.stroke_glyph()
    _state.update(labels=labels, glyph=glyph, reader=Reader.load(model))


def one_page(key: tuple[str, str, int, int, Path | None]) -> dict[str, Any]:
    source, split, seed, page, keep = key
    stream = np.random.SeedSequence([seed, page, {"mnist": 0, "fonts": 1, "strokes": 2}[source]])
    glyph: Glyph = _state["glyph"]
    sheet = make_sheet(np.random.default_rng(stream), _state["labels"], glyph)
    begin = time.perf_counter()
    picture = decode_picture(sheet.jpeg)
    read = read_page(picture, _state["reader"])
    seconds = time.perf_counter() - begin
    result = judge(sheet, read) | {"page": page, "seconds": seconds, "traits": sheet.traits}
    result |= naive(sheet, picture, _state["reader"])
    if keep is not None:
        name = f"{split}-{source}-{seed}-{page}"
        (keep / f"{name}.jpg").write_bytes(sheet.jpeg)
        (keep / f"{name}.png").write_bytes(annotated_png(picture, read))
    return result


def judge(sheet: Sheet, read: PageReading) -> dict[str, Any]:
    """Pair boxes with digits, the best covered first."""
    pairs = sorted(
        (
            (covered(one.box, found.box), true, given)
            for true, one in enumerate(sheet.digits)
            for given, found in enumerate(read.digits)
        ),
        reverse=True,
    )
    of_true: dict[int, int] = {}
    used: set[int] = set()
    for share, true, given in pairs:
        if share >= _COVERED and true not in of_true and given not in used:
            of_true[true] = given
            used.add(given)
    right = sum(
        sheet.digits[true].digit == read.digits[given].reading.digit
        for true, given in of_true.items()
    )
    order = [given for _, given in sorted(of_true.items())]
    together = [
        (sheet.digits[a].number == sheet.digits[b].number)
        == (read.digits[of_true[a]].number == read.digits[of_true[b]].number)
        for a, b in zip(sorted(of_true)[:-1], sorted(of_true)[1:], strict=True)
    ]
    return {
        "digits": len(sheet.digits),
        "found": len(of_true),
        "right": right,
        "invented": len(read.digits) - len(used),
        "ordered": sum(a < b for a, b in itertools.pairwise(order)),
        "together": sum(together),
        "neighbours": max(0, len(order) - 1),
    }


def covered(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    both = max(wide, 0.0) * max(high, 0.0)
    total = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - both
    return both / total if total else 0.0


def naive(sheet: Sheet, picture: np.ndarray, reader: Reader) -> dict[str, int]:
    """Cut the true boxes out, resize to 28 x 28."""
    if not sheet.digits:
        return {"naive": 0, "naive_inverted": 0}
    grey = Image.fromarray(picture).convert("L")
    cuts = np.stack(
        [np.asarray(grey.crop(tuple(map(round, one.box))).resize((28, 28))) for one in sheet.digits]
    )
    turned = cuts if sheet.traits["polarity"] == "light on dark" else 255 - cuts
    truth = [one.digit for one in sheet.digits]
    return {
        name: sum(
            reading.digit == digit
            for reading, digit in zip(reader.read(images), truth, strict=True)
        )
        for name, images in (("naive", cuts), ("naive_inverted", turned))
    }


def share(text: str, hits: int, n: int) -> str:
    if not n:
        return f"{text:24}  none"
    value = wilson_interval(hits, n)
    interval = f"[{100 * value.low:.2f}, {100 * value.high:.2f}]"
    return f"{text:24}{hits:7,} of {n:7,}  {100 * hits / n:6.2f} % {interval}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--source", choices=["mnist", "fonts", "strokes"], default="mnist")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--keep", type=Path, help="a folder for the pages and what was read")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    if options.source == "fonts":
        there, missing = drawn.present()
        for package in missing:
            print(f"left out, not installed: {package}", file=sys.stderr)
        if not there:
            sys.exit("no font is there; see pages/drawn.py for the Debian packages")
    keys = [
        (options.source, options.split, options.seed, page, options.keep)
        for page in range(options.pages)
    ]
    started = (options.source, options.split, options.model)
    with ProcessPoolExecutor(options.jobs, initializer=start, initargs=started) as pool:
        results = list(pool.map(one_page, keys, chunksize=2))
    total: Counter[str] = Counter()
    kinds: dict[str, Counter[str]] = {}
    for result in results:
        counts = {key: value for key, value in result.items() if isinstance(value, int)}
        total.update(counts)
        for trait in result["traits"].items():
            kinds.setdefault(": ".join(trait), Counter()).update(counts)
    n = total["digits"]
    print(f"{len(results)} pages, {options.source}, {options.split} digits, seed {options.seed}")
    print(share("found", total["found"], n))
    print(share("found and read right", total["right"], n))
    print(share("invented", total["invented"], n))
    print(share("in reading order", total["ordered"], total["neighbours"]))
    print(share("numbers kept together", total["together"], total["neighbours"]))
    print(share("naive", total["naive"], n))
    print(share("naive, inverted", total["naive_inverted"], n))
    print(f"median seconds a page    {np.median([r['seconds'] for r in results]):.2f}")
    for name, counts in sorted(kinds.items()):
        print(share(name, counts["right"], counts["digits"]), f"invented {counts['invented']}")
    worst = sorted(results, key=lambda r: r["right"] - r["digits"] - r["invented"])[:8]
    for result in worst:
        print({key: result[key] for key in ("page", "digits", "found", "right", "invented")})
    if options.json:
        options.json.write_text(json.dumps({"total": total, "pages": results}, indent=1))


if __name__ == "__main__":
    main()
