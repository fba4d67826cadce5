"""How the cost of training grows: with width, depth, batch, images and threads.

    python benchmarks/scaling.py

Trains stacks of dense layers with plain SGD on random numbers of which none is zero, and sets the
seconds of a pass beside the line that arithmetic allows: all multiply-adds of the way forward, the
way back and the update, at the rate that the processor's own multiply-adds were just measured to
have. Those that hidden layers leave out, since a unit is off, are counted. Each point is the best
of several passes. Also measures the memory that a training takes beside its data. Writes
``results/scaling.json`` and ``docs/scaling.png``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

import machine
import render
from dense import FOLDER, Workload, commit, say, training_flops
from inkproof import Dense, Model, engine
from inkproof.figures.style import axes_styled, colours_of, drawn, new_figure, save

FEATURES: Final = 784
CLASSES: Final = 10
LEAST_SECONDS: Final = 0.6  # of a point, in several passes
PASSES: Final = 3
SWEEPS: Final[dict[str, tuple[int, ...]]] = {
    "width": (64, 128, 256, 512, 1024, 2048, 4096),
    "depth": (1, 2, 3, 4, 6, 8),
    "batch": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096),
    "images": (1_000, 10_000, 100_000, 1_000_000),
    "threads": (1, 2),
}
MEMORY_WIDTHS: Final = (512, 2048, 4096)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One training: hidden layers of one width, and how it is gone through."""

    width: int = 512
    depth: int = 2
    batch: int = 32
    images: int = 8192
    threads: int = 0  # 0: all

    @property
    def sizes(self) -> list[int]:
        """List inputs and units, layer by layer."""
        return [FEATURES, *[self.width] * self.depth, CLASSES]

    @property
    def flops(self) -> int:
        """Count a pass's multiplications and additions."""
        units = tuple(self.sizes[1:])
        return training_flops(FEATURES, Workload(units=units), self.images)


def of_sweep(name: str, value: int) -> Point:
    """Give one sweep's point; wide and deep networks see fewer images, and lines count them."""
    point = Point(**{name: value})
    if name in ("width", "depth", "batch"):
        images = int(2e11 / (point.flops / point.images))
        multiple = max(value, 32) if name == "batch" else 32
        images = max(multiple, min(8192, images) // multiple * multiple)
        if name == "batch" and value < 8:
            images = 2048
        return Point(**{name: value}, images=images)
    return point


def seconds(point: Point) -> float:
    """Give the best seconds of a pass."""
    rng = np.random.default_rng(0)
    threads = point.threads or machine.cores()
    layers = [Dense(point.width, activation="relu") for _ in range(point.depth)]
    layers.append(Dense(CLASSES, activation="softmax"))
    network = engine.Network(layers, (FEATURES,), threads=threads)
    network.set_weights(Model(layers, input_shape=(FEATURES,), seed=0).weights())
    x = rng.integers(1, 256, (point.images, FEATURES), dtype=np.uint8)
    inputs = network.prepare(x, scale=1 / 255)
    labels = rng.integers(0, CLASSES, point.images)
    order = rng.permutation(point.images)
    best = np.inf
    began = time.perf_counter()
    passes = 0
    while passes < PASSES or time.perf_counter() - began < LEAST_SECONDS:
        start = time.perf_counter()
        network.train(inputs, labels, order, batch_size=point.batch, learning_rate=1e-4)
        best = min(best, time.perf_counter() - start)
        passes += 1
        if best > 10:  # a long one says enough
            break
    return float(best)


def memory(width: int) -> dict[str, float]:
    """Give what a training takes at most beside its data, and what its weights take; MiB."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_memory, (width,))


def _memory(width: int) -> dict[str, float]:
    from inkproof import Adam

    rng = np.random.default_rng(0)
    layers = [Dense(width, activation="relu") for _ in range(2)]
    layers.append(Dense(CLASSES, activation="softmax"))
    x = rng.integers(1, 256, (4096, FEATURES), dtype=np.uint8)
    weights = Model(layers, input_shape=(FEATURES,), seed=0).weights()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = _status("VmRSS")
    network = engine.Network(layers, (FEATURES,), optimizer=Adam())
    network.set_weights(weights)
    network.train(
        network.prepare(x, scale=1 / 255),
        np.zeros(4096, np.int64),
        np.arange(4096),
        batch_size=32,
        learning_rate=1e-4,
    )
    own = sum(weight.nbytes for weight in weights) / 2**20
    return {"width": width, "taken": _status("VmHWM") - before, "weights": own, "state": 2 * own}


def _status(field: str) -> float:
    """Read one of Linux' figures of this process' memory, MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


@drawn
def picture(content: dict[str, Any]) -> Figure:
    """Draw a panel a sweep: measured seconds, and the line that arithmetic allows."""
    colours = colours_of("light")
    figure = new_figure(9.6, 5.6, colours)
    panels = figure.subplots(2, 3)
    labels = {
        "width": "units of each hidden layer",
        "depth": "hidden layers of 512",
        "batch": "images a batch",
        "images": "images",
        "threads": "threads",
    }
    for axes, (name, points) in zip(panels.flat, content["sweeps"].items(), strict=False):
        axes_styled(axes, colours)
        values = [point["value"] for point in points]
        scale = 1e6 if name != "images" else 1
        unit = "µs an image" if name != "images" else "seconds a pass"
        per = [scale / (point["images"] if name != "images" else 1) for point in points]
        axes.plot(
            values,
            [p["seconds"] * k for p, k in zip(points, per, strict=True)],
            color=colours.first,
            marker="o",
            markersize=4,
            label="measured",
        )
        axes.plot(
            values,
            [p["ideal_seconds"] * k for p, k in zip(points, per, strict=True)],
            color=colours.second,
            linestyle="--",
            label="all multiply-adds at\nthe processor's rate",
        )
        axes.set_xlabel(labels[name])
        axes.set_ylabel(unit)
        if name in ("depth", "threads"):
            axes.set_xticks(values)
            axes.set_ylim(bottom=0)
        else:
            axes.set_xscale("log", base=10 if name == "images" else 2)
            axes.set_yscale("log")
            shown = values if name == "images" else values[:: 3 if name == "batch" else 2]
            axes.set_xticks(shown, [f"{value:,}" for value in shown])
            if name == "batch":  # less than two powers of ten
                axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:,g}"))
            axes.minorticks_off()
    last = panels.flat[-1]
    last.axis("off")
    handles, names = panels.flat[0].get_legend_handles_labels()
    last.legend(handles, names, loc="center", frameon=False, labelcolor=colours.ink)
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=FOLDER.parent)
    given = parser.parse_args()
    content: dict[str, Any] = {
        "benchmark": "scaling",
        "workload": "scaling",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine.describe(),
        "isa": engine.default_isa(),
        "sweeps": {},
    }
    for name, values in SWEEPS.items():
        found = []
        for value in values:
            point = of_sweep(name, value)
            threads = point.threads or machine.cores()
            rate = engine.multiply_add_rate(threads, 0.2)
            took = seconds(point)
            rate = max(rate, engine.multiply_add_rate(threads, 0.2))
            found.append(
                {
                    "value": value,
                    "images": point.images,
                    "seconds": took,
                    "ideal_seconds": point.flops / rate,
                }
            )
            say(
                f"{name} {value}: {took:.3f} s, {100 * point.flops / rate / took:.0f} % of the rate"
            )
        content["sweeps"][name] = found
    content["memory"] = [memory(width) for width in MEMORY_WIDTHS]
    for row in content["memory"]:
        least = 2 * (row["weights"] + row["state"])
        say(
            f"memory at width {row['width']}: {row['taken']:.0f} MiB beside the data; weights "
            f"{row['weights']:.1f}, Adam's state {row['state']:.1f}, twice both {least:.0f}"
        )
    results = given.out / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "scaling.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (given.out / "docs").mkdir(exist_ok=True)
    print(save(picture(content), given.out / "docs" / "scaling.png"))
    render.write(given.out / "benchmarks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
