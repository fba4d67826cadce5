"""One network against other seeds of itself, and 64 hidden units against 500, on MNIST.

Trains 784-64-10 with many seeds and 784-500-10 with a few, and asks for verdicts: the same network
with six seeds against the same network with six others, drawn anew each time, and 64 against 500.

    python benchmarks/seeds.py --runs 96 --epochs 5

Draws from the same runs overlap, so their number says less than as many new studies would.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import numpy.typing as npt

from inkproof import SGD, Dense, Model, TrainingConfig, evaluate, load, train
from inkproof.comparison import compare, least_pairs

EACH = least_pairs(0.95)
Runs = dict[int, npt.NDArray[np.float32]]


def trained(units: int, seeds: range, epochs: int) -> Runs:
    data = load("mnist")
    runs = {}
    for seed in seeds:
        fit, held_out = data.train.hold_out(0.1, seed=seed)
        model = Model(
            [Dense(units, activation="relu"), Dense(10, activation="softmax")],
            input_shape=data.train.image_shape,
            class_names=data.class_names,
            seed=seed,
        )
        config = TrainingConfig(
            epochs=epochs, batch_size=32, optimizer=SGD(learning_rate=0.05), seed=seed, threads=1
        )
        train(model, fit, held_out, config)
        runs[seed] = evaluate(model, data.test).probabilities
        print(f"{units} units, seed {seed}", flush=True)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare networks with themselves.")
    parser.add_argument("--runs", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--draws", type=int, default=500)
    args = parser.parse_args()
    labels = load("mnist").test.labels
    small = trained(64, range(args.runs), args.epochs)
    large = trained(500, range(EACH), args.epochs)
    rng = np.random.default_rng(1)
    verdicts: Counter[str] = Counter()
    widths = []
    for _ in range(args.draws):
        picked = rng.permutation(args.runs)[: 2 * EACH]
        found = compare(
            "some seeds",
            {row: small[int(seed)] for row, seed in enumerate(picked[:EACH])},
            "other seeds",
            {row: small[int(seed)] for row, seed in enumerate(picked[EACH:])},
            labels,
        )
        verdicts[found.verdict] += 1
        if found.difference.low is not None and found.difference.high is not None:
            widths.append(found.difference.high - found.difference.low)
    print(dict(verdicts), f"mean width {100 * np.mean(widths):.2f} points")
    copy = compare("64", small, "its copy", dict(small), labels)
    print(copy.verdict, copy.explanation)
    found = compare("64", {s: small[s] for s in range(EACH)}, "500", large, labels)
    print(found.verdict, found.explanation, found.outlook)
    print([(e.value, e.low, e.high) for e in (found.difference, found.log_loss_difference)])


if __name__ == "__main__":
    main()
