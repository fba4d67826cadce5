"""How much longer an epoch takes while another process keeps every core busy.

    .venv/bin/python benchmarks/contention.py [--rounds 5] [--images 12000]

Each round trains a few epochs of the exercise's first network and of Keras' convolutional example
undisturbed, and then beside as many busy loops as there are cores. With a fair scheduler two is the
least; barriers that spun without end would cost far more. Prints each round's ratio of median
epochs, and the median, the smallest and the largest of the ratios. About two minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import inkproof
import machine
from environments import ROOT
from inkproof import Epoch
from inkproof.study import Study

CASES = {  # a study, its first model, and the share of the images that it trains on
    "500x2": (Study.built_in("notebook"), 1.0),
    "convnet": (Study.from_file(ROOT / "studies" / "convnet.toml"), 0.25),
}
EPOCHS = 6  # the first is left out


@contextmanager
def busy(processes: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    time.sleep(0.5)
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def epoch_seconds(name: str, split: inkproof.Split) -> float:
    study, share = CASES[name]
    part = split.subset(range(int(len(split) * share)))
    seconds: list[float] = []

    def note(epoch: Epoch) -> None:
        seconds.append(len(part) / epoch.images_per_second)

    inkproof.train(
        inkproof.Model(study.models[0].layers, input_shape=(28, 28, 1)),
        part,
        None,
        dataclasses.replace(study.training, epochs=EPOCHS),
        on_epoch=note,
    )
    return statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=12_000)
    given = parser.parse_args()
    split = inkproof.load("mnist").train.subset(range(given.images))
    facts = machine.describe()
    print(f"{facts['processor']}, {facts['cores']} cores, load before {facts['load_before']}")
    ratios: dict[str, list[float]] = {name: [] for name in CASES}
    for number in range(1, given.rounds + 1):
        for name, found in ratios.items():
            quiet = epoch_seconds(name, split)
            with busy(facts["cores"]):
                disturbed = epoch_seconds(name, split)
            found.append(disturbed / quiet)
            print(
                f"round {number}  {name:8} quiet {quiet:.2f} s  busy {disturbed:.2f} s"
                f"  ratio {found[-1]:.2f}",
                flush=True,
            )
    for name, found in ratios.items():
        print(
            f"{name:8} {statistics.median(found):.2f} [{min(found):.2f}-{max(found):.2f}],"
            f" {len(found)} rounds"
        )


if __name__ == "__main__":
    main()
