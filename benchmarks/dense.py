"""The same training done by Inkproof and by its peers, in turn, on the same cores.

    python benchmarks/dense.py                               # everything, 5 rounds
    python benchmarks/dense.py --peers keras-tensorflow --workloads 500x2 --epochs 10

The work is the exercise's: 54,000 training and 6,000 validation images of MNIST, ReLU, softmax
cross-entropy, SGD at 0.01, batches of 32; and Keras' introductory convolutional network with Adam
at 0.001 and batches of 128. Each peer has an environment of its own and one process.
Set-up and a first epoch stay outside the timing. Then, in each round, every process does one epoch
while the others wait; the order is another one in each round. Ratios are of one round; medians are
of all rounds. Numbers go to ``results/*.json``, the tables made of them to ``RESULTS.md``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import environments
import machine
import render
import workers

FOLDER: Final = Path(__file__).resolve().parent
QUIET_LOAD: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is trained on what.

    Parameters
    ----------
    units : the layers' sizes
    dense : random float32 inputs instead of MNIST, uniform from -1 to 1: none can be skipped, and
        nearly every unit is on for some row of a batch; for which it is off is left out
    network, optimizer : see ``peers/turns.py``
    """

    units: tuple[int, ...]
    dense: bool = False
    network: str = "dense"
    optimizer: str = "sgd"
    batch_size: int = 32
    learning_rate: float = 0.01


def _convnet(network: str) -> Workload:
    return Workload(
        units=(10,), network=network, optimizer="adam", batch_size=128, learning_rate=0.001
    )


WORKLOADS: Final = {
    "500x2": Workload(units=(500, 500, 10)),
    "512x3": Workload(units=(512, 512, 512, 10)),
    "500x2-dense": Workload(units=(500, 500, 10), dense=True),
    "512x3-dense": Workload(units=(512, 512, 512, 10), dense=True),
    "500x2-dense-momentum": Workload(units=(500, 500, 10), dense=True, optimizer="momentum"),
    "500x2-dense-adam": Workload(
        units=(500, 500, 10), dense=True, optimizer="adam", learning_rate=0.0001
    ),
    "convnet": _convnet("convnet"),
    "convnet-bn": _convnet("convnet-bn"),
}


def data_of(workload: Workload, images: int | None) -> dict[str, npt.NDArray[Any]]:
    """Make the arrays that all workers read.

    Parameters
    ----------
    images : fewer training images than all, for a trial

    Returns
    -------
    the fields of ``turns.Data``
    """
    import inkproof

    train, validation = inkproof.load("mnist").train.hold_out(0.1, seed=0)
    if images is not None:
        train, validation = train.subset(range(images)), validation.subset(range(images // 9))
    splits = {"train": train, "validation": validation}
    inputs: dict[str, npt.NDArray[Any]] = {
        name: split.images.reshape(len(split), -1) for name, split in splits.items()
    }
    labels = {f"{name}_labels": split.labels for name, split in splits.items()}
    if workload.dense:
        # Labels of a random linear map, so that there is something to learn.
        rng = np.random.default_rng(0)
        features = inputs["train"].shape[1]
        teacher = rng.standard_normal((features, workload.units[-1]), dtype=np.float32)
        inputs = {name: 2 * rng.random(x.shape, dtype=np.float32) - 1 for name, x in inputs.items()}
        labels = {f"{name}_labels": (x @ teacher).argmax(axis=1) for name, x in inputs.items()}
    return inputs | labels


def training_flops(features: int, workload: Workload, images: int) -> int:
    """Count an epoch's: outputs, weight gradients, input gradients of all but the first layer."""
    if workload.network == "dense":
        sizes = (features, *workload.units)
        products = [a * b for a, b in zip(sizes, workload.units, strict=False)]
    else:
        products = [26 * 26 * 9 * 32, 11 * 11 * 9 * 32 * 64, 5 * 5 * 64 * workload.units[-1]]
    return 2 * (3 * sum(products) - products[0]) * images


def measure(name: str, peers: list[environments.Peer], given: argparse.Namespace) -> dict[str, Any]:
    """Measure one workload; give the content of its file."""
    from inkproof import engine

    workload = WORKLOADS[name]
    has_bfloat16 = engine.usable_precision("bfloat16") == "bfloat16"
    peers = [
        peer
        for peer in peers
        if (has_bfloat16 or peer.name != "inkproof-bfloat16")
        and (workload.dense or peer.kind == "training")
        and (workload.network != "dense" or peer.library not in ("channels_last", "autocast"))
        and (workload.network == "dense" or peer.name != "scikit-learn")
    ]
    arrays = data_of(workload, given.images)
    count, features = arrays["train"].shape
    facts = machine.describe()
    if facts["load_before"] > QUIET_LOAD:
        say(f"this machine is not quiet: its load is {facts['load_before']}")
    failed = []
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        path = Path(temporary) / "data.npz"
        np.savez(path, allow_pickle=False, **arrays)
        arguments = [
            *("--data", str(path)),
            *("--units", ",".join(map(str, workload.units))),
            *("--network", workload.network),
            *("--optimizer", workload.optimizer),
            *("--batch-size", str(workload.batch_size)),
            *("--learning-rate", str(workload.learning_rate)),
            *("--epochs", str(given.epochs + 1)),
            *("--threads", str(machine.cores())),
        ]
        logs = environments.ROOT / "build" / "bench" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        taking_part = []
        for peer in (environments.INKPROOF, *peers):
            say(f"{name}: {peer.name} warms up")
            try:
                python = environments.prepare(peer)
                worker = stack.enter_context(workers.started(peer, python, arguments, logs))
            except (workers.WorkerError, subprocess.CalledProcessError) as error:
                if peer is environments.INKPROOF:
                    raise
                say(str(error))
                failed.append(peer.name)
            else:
                taking_part.append(worker)
        say(f"{name}: {given.epochs} rounds of {len(taking_part)}")
        found = workers.rounds(taking_part, given.epochs, given.pause)
    return {
        "benchmark": "dense",
        "workload": name,
        "sizes": [features, *workload.units],
        "network": workload.network,
        "optimizer": workload.optimizer,
        "inputs": "uniform random float32, -1 to 1" if workload.dense else "MNIST",
        "train_images": count,
        "validation_images": len(arrays["validation"]),
        "batch_size": workload.batch_size,
        "learning_rate": workload.learning_rate,
        "training_flops_per_epoch": training_flops(features, workload, count),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": machine.command("benchmarks/dense.py"),
        "commit": commit(),
        "machine": facts,
        "failed": failed,
        "participants": [
            {
                "name": worker.peer.name,
                "label": worker.peer.label,
                "kind": worker.peer.kind,
                **worker.facts,
                "rounds": numbers,
            }
            for worker, numbers in zip(taking_part, found, strict=True)
        ],
    }


def commit() -> str:
    """Name the commit that was measured; ``+`` says that files differed from it."""
    git = ["git", "-C", str(FOLDER)]
    try:
        name = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", "../src"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + ("+" if changed else "")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers",
        default=",".join(environments.PEERS),
        help="some of them, or none at all: '' (default: %(default)s)",
    )
    parser.add_argument(
        "--workloads", default=",".join(WORKLOADS), help="some of them (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=5, help="timed ones, a round each")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds before each turn")
    parser.add_argument("--images", type=int, help="fewer training images, for a trial")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the results go")
    parser.add_argument(
        "--prepare", action="store_true", help="make the environments and do nothing else"
    )
    given = parser.parse_args()
    for option, known in (("peers", environments.PEERS), ("workloads", WORKLOADS)):
        names = [name for name in getattr(given, option).split(",") if name]
        for name in names:
            if name not in known:
                parser.error(f"--{option}: unknown {name!r}; known: {', '.join(known)}")
        setattr(given, option, names)
    if given.epochs < 1 or (given.images is not None and given.images < 9):
        parser.error("--epochs must be at least 1, --images at least 9")
    return given


def main() -> int:
    given = parsed()
    peers = [environments.PEERS[name] for name in given.peers]
    if given.prepare:
        for peer in peers:
            environments.prepare(peer)
        return 0
    results = given.out / "results"
    results.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in given.workloads:
        content = measure(name, peers, given)
        failed += content["failed"]
        stamp = content["date"].replace(":", "").replace("-", "")[:15]
        path = results / f"{name}-{stamp}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print("\n".join(render.measurement(content)), flush=True)
    render.write(given.out)
    if failed:
        say(f"could not be measured: {', '.join(sorted(set(failed)))}; see above")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
