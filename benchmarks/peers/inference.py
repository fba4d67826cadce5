"""What the programs that are asked for predictions share: arguments, inputs, and the clock."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import turns

__all__ = ["Asked", "arguments", "serve"]

SECONDS = 0.25  # for each size of batch and turn
Predict = Callable[[npt.NDArray[np.uint8]], Any]


class Asked:
    """What is predicted: images uint8 (n, 28, 28, 1), and the network's weights in Keras' order."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.images: npt.NDArray[np.uint8] = file["images"]
            self.weights = [file[f"w{i}"] for i in range(len(file.files) - 1)]


def arguments(description: str) -> argparse.Namespace:
    """Parse what the runner passes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", choices=("500x2", "convnet"), required=True)
    parser.add_argument("--batches", required=True, help="sizes, such as 1,1000")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--library", default="")
    return parser.parse_args()


def serve(
    given: argparse.Namespace, data: Asked, predict: Predict, versions: dict[str, str]
) -> None:
    """Answer turn after turn: the median seconds of a call, for each size of batch."""
    talk = turns.Turns()
    sizes = [int(size) for size in given.batches.split(",")]
    probabilities = np.asarray(predict(data.images[:100]))
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
        raise ValueError("these are no probabilities")
    talk.ready(versions=versions, threads=given.threads, checksum=float((probabilities**2).sum()))
    while True:
        talk.wait()
        talk.done(**{f"batch_{size}": _seconds(predict, data.images, size) for size in sizes})


def _seconds(predict: Predict, images: npt.NDArray[np.uint8], size: int) -> float:
    """Give the median seconds of a call, each with other images."""
    took: list[float] = []
    first = 0
    end = time.perf_counter() + SECONDS
    while len(took) < 4 or time.perf_counter() < end:
        batch = images[first : first + size]
        began = time.perf_counter()
        predict(batch)
        took.append(time.perf_counter() - began)
        first = (first + size) % (len(images) - size + 1)
    return statistics.median(took[1:])  # the first wakes threads up
