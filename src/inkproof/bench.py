"""What this machine can do at best, and how near to that the engine comes, layer by layer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from inkproof import engine
from inkproof.data import load
from inkproof.errors import ConfigurationError
from inkproof.layers import Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D
from inkproof.model import Model
from inkproof.optimizers import Adam

__all__ = [
    "EPOCH_IMAGES",
    "BenchResult",
    "LayerShare",
    "MemoryRate",
    "MultiplyAddRate",
    "NetworkShare",
    "bench",
]

EPOCH_IMAGES: Final = 54_000
"""Images of an epoch: what the exercise trains on."""
_SIZES: Final = (16 << 10, 256 << 10, 4 << 20, 128 << 20)  # of caches' first, second, third level
_Kind = Literal["mnist", "dense"]


@dataclass(frozen=True, kw_only=True)
class MultiplyAddRate:
    """How fast numbers in registers are multiplied and added up.

    Parameters
    ----------
    precision : of what is multiplied: ``"float32"`` or ``"bfloat16"``
    one, all : floating-point operations a second of one thread, and of all together
    """

    precision: str
    one: float
    all: float


@dataclass(frozen=True, kw_only=True)
class MemoryRate:
    """How fast blocks of one size are gone through.

    Parameters
    ----------
    size : bytes of a thread's block
    read, update : bytes a second, one thread; an update reads and writes
    read_all, update_all : of all threads together
    """

    size: int
    read: float
    update: float
    read_all: float
    update_all: float


@dataclass(frozen=True, kw_only=True)
class LayerShare:
    """How near to the ceiling one layer comes.

    Parameters
    ----------
    name : such as ``dense 784 > 500``
    of_time : its share of the time, 0 to 1
    rate : floating-point operations a second, forward, backward and update, zeros counted; 0 where
        a layer multiplies nothing
    of_ceiling : ``rate`` as a share of what the threads can do
    """

    name: str
    of_time: float
    rate: float
    of_ceiling: float


@dataclass(frozen=True, kw_only=True)
class NetworkShare:
    """One network's training.

    Parameters
    ----------
    name : the network and what it learns from
    batch_size : of its steps
    precision : of the factors of its products: ``"float32"`` or ``"bfloat16"``
    epoch_seconds : of an epoch of ``EPOCH_IMAGES``, the median of several passes
    of_ceiling : the whole's share of what the threads can do in that precision, zeros counted
    layers : from the first to the last
    """

    name: str
    batch_size: int
    precision: str
    epoch_seconds: float
    of_ceiling: float
    layers: tuple[LayerShare, ...]


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """What :func:`bench` found.

    Parameters
    ----------
    processor, isa, threads : what was measured
    multiply_adds : in float32 and, where this processor gains by it, in bfloat16
    memory : by size of block, ascending
    networks : the exercise's, and a convolutional one
    """

    processor: str
    isa: str
    threads: int
    multiply_adds: tuple[MultiplyAddRate, ...]
    memory: tuple[MemoryRate, ...]
    networks: tuple[NetworkShare, ...]


@dataclass(frozen=True)
class _Work:
    name: str
    layers: tuple[Layer, ...]
    kind: _Kind
    batch_size: int = 32
    rows: int = 3200  # a pass
    optimizer: Adam | None = None
    precisions: tuple[str, ...] = ("float32",)


def _stack(units: Sequence[int]) -> tuple[Layer, ...]:
    hidden = (Dense(count, activation="relu") for count in units)
    return (Flatten(), *hidden, Dense(10, activation="softmax"))


_CONVNET: Final = (
    Conv2D(32, 3, activation="relu"),
    MaxPool2D(2),
    Conv2D(64, 3, activation="relu"),
    MaxPool2D(2),
    Flatten(),
    Dropout(0.5),
    Dense(10, activation="softmax"),
)
_WORKS: Final = (
    _Work("500x2 on MNIST", _stack((500, 500)), "mnist", precisions=engine.PRECISIONS),
    _Work("500x2 on random inputs, none zero", _stack((500, 500)), "dense"),
    _Work("512x3 on MNIST", _stack((512, 512, 512)), "mnist"),
    _Work(
        "Keras' convolutional example on MNIST, Adam",
        _CONVNET,
        "mnist",
        batch_size=128,
        rows=1280,
        optimizer=Adam(),
        precisions=engine.PRECISIONS,
    ),
)


def bench(*, threads: int | None = None, seconds: float = 3.0) -> BenchResult:
    """Measure this machine's ceilings, and the engine beside them.

    Parameters
    ----------
    threads : that share the work; without it as many as training takes
    seconds : for each network; the ceilings take about as long together

    Raises
    ------
    ConfigurationError : out of range
    """
    if not 0 < seconds <= 60:
        raise ConfigurationError(f"seconds must be above 0 to 60, got {seconds}")
    count = engine.default_threads() if threads is None else threads
    part = seconds / 20
    usable = dict.fromkeys(map(engine.usable_precision, engine.PRECISIONS))
    multiply_adds = tuple(
        MultiplyAddRate(
            precision=precision,
            one=engine.multiply_add_rate(1, part, precision=precision),
            all=engine.multiply_add_rate(count, part, precision=precision),
        )
        for precision in usable
    )
    return BenchResult(
        processor=engine.processor_name(),
        isa=engine.default_isa(),
        threads=count,
        multiply_adds=multiply_adds,
        memory=tuple(
            MemoryRate(
                size=size,
                read=engine.memory_rate(size, 1, part),
                update=engine.memory_rate(size, 1, part, writes=True),
                read_all=engine.memory_rate(size, count, part),
                update_all=engine.memory_rate(size, count, part, writes=True),
            )
            for size in _SIZES
        ),
        networks=tuple(
            _measure(work, count, best, seconds)
            for work in _WORKS
            for best in multiply_adds
            if best.precision in work.precisions
        ),
    )


def _measure(work: _Work, threads: int, best: MultiplyAddRate, seconds: float) -> NetworkShare:
    model = Model(work.layers, input_shape=(28, 28, 1))
    network = engine.Network(
        model.layers,
        model.layer_input_shape,
        threads=threads,
        optimizer=work.optimizer,
        precision=best.precision,
    )
    network.set_weights(model.weights())
    images, labels = _inputs(work.kind, work.rows)
    inputs = network.prepare(images, scale=1.0 if work.kind == "dense" else 1 / 255)
    order = np.arange(len(labels))
    begin = time.perf_counter()
    passes: list[float] = []
    operations: list[list[engine.OperationTime]] = []
    while len(passes) < 3 or time.perf_counter() - begin < seconds:
        started = time.perf_counter()
        network.train(inputs, labels, order, batch_size=work.batch_size, learning_rate=1e-3)
        passes.append(time.perf_counter() - started)
        operations.append(network.times())
    # The first pass finds cold caches.
    typical = statistics.median(passes[1:])
    total = sum(passes[1:])
    layers = []
    learns = False
    flops = 0
    for each in zip(*operations[1:], strict=True):
        first = each[0]
        # Forward and the weights' gradient, and from the second layer on the inputs' gradient.
        times = (6 if learns else 4) if first.products else 0
        learns = learns or first.products > 0
        spent = sum(one.forward + one.backward for one in each)
        rate = times * first.products * len(labels) * len(each) / spent if spent else 0.0
        flops += times * first.products
        layers.append(
            LayerShare(
                name=f"{first.name} {first.inputs} > {first.outputs}",
                of_time=spent / total,
                rate=rate,
                of_ceiling=rate / best.all,
            )
        )
    return NetworkShare(
        name=work.name,
        batch_size=work.batch_size,
        precision=best.precision,
        epoch_seconds=typical * EPOCH_IMAGES / len(labels),
        of_ceiling=flops * len(labels) / typical / best.all,
        layers=tuple(layers),
    )


def _inputs(kind: _Kind, rows: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    train = load("mnist").train
    labels = train.labels[:rows]
    if kind == "mnist":
        return np.ascontiguousarray(train.images[:rows].reshape(rows, -1)), labels
    rng = np.random.default_rng(0)
    return rng.random((rows, 784), dtype=np.float32) * 0.9 + np.float32(0.1), labels
