"""How a worker takes turns: it does an epoch when it is told to, and is idle otherwise.

JSON lines: the worker says once that it is ready, then answers each ``epoch`` on its standard
input with the numbers of that epoch; it ends at ``stop`` or at the end of its input. Whatever a
library prints goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

__all__ = ["MOMENTUM", "NETWORKS", "OPTIMIZERS", "Data", "Turns", "arguments", "load"]

# "convnet" is Keras' introductory example: 3x3 convolutions of 32 and 64 filters, each with ReLU
# and 2x2 max-pooling, dropout of one half, a dense layer. "convnet-bn" has batch normalisation
# before each ReLU.
NETWORKS = ("dense", "convnet", "convnet-bn")
OPTIMIZERS = ("sgd", "momentum", "adam")
MOMENTUM = 0.9
FILTERS = (32, 64)
DROPOUT = 0.5


@dataclass(frozen=True, kw_only=True)
class Data:
    """Inputs uint8 or float32 (n, features), labels int64 (n,)."""

    train: npt.NDArray[Any]
    train_labels: npt.NDArray[np.int64]
    validation: npt.NDArray[Any]
    validation_labels: npt.NDArray[np.int64]

    def floats(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Scale pixels to [0, 1] as the exercise does; leave numbers as they are."""
        scaled = [
            (x / 255).astype(np.float32) if x.dtype == np.uint8 else x
            for x in (self.train, self.validation)
        ]
        return scaled[0], scaled[1]


class Turns:
    """The worker's end of the conversation; it takes standard output for itself."""

    def __init__(self) -> None:
        self._answers: TextIO = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._began = self._cpu = self._ended_cpu = self._idle_cpu = 0.0

    def ready(self, **facts: Any) -> None:
        """Say that set-up and warm-up are over, with versions and settings."""
        self._send({"ready": facts})
        self._ended_cpu = time.process_time()

    def wait(self) -> None:
        """Wait for the next epoch, then start the clock; end the process where there is none."""
        if sys.stdin.readline().strip() != "epoch":
            self._answers.close()
            raise SystemExit(0)
        self._cpu = time.process_time()
        self._idle_cpu = self._cpu - self._ended_cpu
        self._began = time.perf_counter()

    def elapsed(self) -> float:
        """Give the seconds since the turn began."""
        return time.perf_counter() - self._began

    def done(self, *, train_seconds: float | None = None, **numbers: Any) -> None:
        """Stop the clock and report the epoch; without ``train_seconds``, nothing was trained."""
        seconds = self.elapsed()
        self._ended_cpu = time.process_time()
        times = {
            "seconds": seconds,
            "cpu_seconds": self._ended_cpu - self._cpu,
            "cpu_seconds_while_waiting": self._idle_cpu,
        }
        if train_seconds is not None:
            times |= {
                "train_seconds": train_seconds,
                "validation_seconds": seconds - train_seconds,
            }
        self._send(times | numbers)

    def _send(self, message: dict[str, Any]) -> None:
        self._answers.write(json.dumps(message) + "\n")
        self._answers.flush()


def arguments(description: str) -> argparse.Namespace:
    """Parse what the runner passes to every worker."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="the .npz of the runner")
    parser.add_argument("--units", required=True, help="layers' sizes, such as 500,500,10")
    parser.add_argument("--network", choices=NETWORKS, default="dense")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd")
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True, help="with the warm-up")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--library", default="")
    parsed = parser.parse_args()
    parsed.units = [int(units) for units in parsed.units.split(",")]
    return parsed


def load(path: Path) -> Data:
    """Read the runner's data."""
    with np.load(path, allow_pickle=False) as file:
        return Data(**{name: file[name] for name in Data.__dataclass_fields__})
