"""Whether training with factors of bfloat16 is as good: the exercise with many seeds in both.

    python benchmarks/precision.py --seeds 24 --units 500,500

Each seed is trained twice, from the same initial weights with the same batches, in float32 and in
bfloat16. Two one-sided t-tests at 5 % ask whether the mean difference of test accuracy over seeds
lies within 0.1 points (Schuirmann 1987): the same as whether its 90 % interval does. Needs a
processor with AMX or AVX512-BF16.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy import stats

import machine
from inkproof import Dense, Flatten, Model, TrainingConfig, engine, evaluate, load, train

PRECISIONS = ("float32", "bfloat16")
MARGIN = 0.1  # points


def accuracy(units: tuple[int, ...], seed: int, precision: str, epochs: int) -> float:
    """Train the exercise's network; give its test accuracy after the last epoch, in per cent."""
    data = load("mnist")
    fit, held_out = data.train.hold_out(0.1, seed=seed)
    hidden = [Dense(count, activation="relu") for count in units]
    model = Model(
        [Flatten(), *hidden, Dense(10, activation="softmax")],
        input_shape=data.train.image_shape,
        class_names=data.class_names,
        seed=seed,
    )
    config = TrainingConfig(epochs=epochs, seed=seed, precision=precision, threads=1)
    run = train(model, fit, held_out, config)
    found = 100 * evaluate(model, data.test).accuracy.value
    print(f"seed {seed} {run.precision}: {found:.2f} %", file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--units", default="500,500")
    parser.add_argument("--out", type=Path, help="a JSON file with every accuracy")
    given = parser.parse_args()
    if engine.usable_precision("bfloat16") == "float32":
        print("this processor multiplies bfloat16 no faster than float32", file=sys.stderr)
        return 1
    units = tuple(int(count) for count in given.units.split(","))
    work = list(itertools.product(range(given.seeds), PRECISIONS))
    with ThreadPoolExecutor(machine.cores()) as pool:
        found = list(pool.map(lambda item: accuracy(units, *item, given.epochs), work))
    single, half = np.array(found).reshape(-1, 2).T
    difference = half - single
    error = stats.sem(difference)
    low, high = difference.mean() + np.array([-1, 1]) * error * stats.t.ppf(
        0.95, len(difference) - 1
    )
    apart = stats.t.sf((MARGIN - abs(difference.mean())) / error, len(difference) - 1)
    print(
        f"784-{'-'.join(map(str, units))}-10, {given.epochs} epochs, {len(difference)} seeds: "
        f"float32 {single.mean():.3f} %, bfloat16 {half.mean():.3f} %; difference "
        f"{difference.mean():+.3f} points, 90 % interval {low:+.3f} to {high:+.3f}; "
        f"{'within' if low > -MARGIN and high < MARGIN else 'not shown to be within'} "
        f"{MARGIN} points (two one-sided tests, p = {apart:.2g})"
    )
    if given.out:
        content = {
            "machine": machine.describe(),
            "units": units,
            "epochs": given.epochs,
            "float32": single.tolist(),
            "bfloat16": half.tolist(),
        }
        given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
