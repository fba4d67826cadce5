"""Predictions by Inkproof and by ONNX Runtime, in turn, on the same cores.

    python benchmarks/inference.py --rounds 7

The exercise's network and Keras' convolutional example take raw images, 1 to 10,000 at once. In
each round every process is asked for a quarter of a second for each size of batch; a number is the
median of a call. Ratios are of one round; medians are of all rounds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np

import environments
import machine
import render
import workers
from dense import FOLDER, commit, say

SIZES: Final = (1, 10, 100, 1000, 10_000)
OURS: Final = environments.Peer(name="inkproof", label="Inkproof", worker="inkproof_infer.py")
THEIRS: Final = environments.Peer(
    name="onnxruntime", label="ONNX Runtime", worker="onnxruntime_infer.py"
)
NETWORKS: Final = ("500x2", "convnet")


def arrays(network: str) -> dict[str, Any]:
    """Give MNIST's test images, and random weights as training begins with."""
    from inkproof import Conv2D, Dense, Flatten, MaxPool2D, Model, load

    body: list[Any] = [Flatten(), Dense(500, activation="relu"), Dense(500, activation="relu")]
    if network == "convnet":
        body = [Conv2D(32, 3), MaxPool2D(2), Conv2D(64, 3), MaxPool2D(2), Flatten()]
    model = Model([*body, Dense(10, activation="softmax")], input_shape=(28, 28, 1), seed=0)
    weights = {f"w{i}": weight for i, weight in enumerate(model.weights())}
    return {"images": load("mnist").test.images, **weights}


def measure(network: str, given: argparse.Namespace) -> dict[str, Any]:
    facts = machine.describe()
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        path = Path(temporary) / "data.npz"
        np.savez(path, allow_pickle=False, **arrays(network))
        arguments = [
            *("--data", str(path)),
            *("--network", network),
            *("--batches", ",".join(map(str, SIZES))),
            *("--threads", str(machine.cores())),
        ]
        logs = environments.ROOT / "build" / "bench" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        taking_part = [
            stack.enter_context(workers.started(peer, python, arguments, logs))
            for peer, python in (
                (OURS, Path(sys.executable)),
                (THEIRS, environments.prepare(THEIRS)),
            )
        ]
        sums = [worker.facts["checksum"] for worker in taking_part]
        if abs(sums[0] / sums[1] - 1) > 1e-4:
            raise workers.WorkerError(f"they predict otherwise: {sums}")
        say(f"{network}: {given.rounds} rounds")
        found = workers.rounds(taking_part, given.rounds, given.pause)
    return {
        "benchmark": "inference",
        "workload": f"inference-{network}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": machine.command("benchmarks/inference.py"),
        "commit": commit(),
        "machine": facts,
        "sizes": list(SIZES),
        "participants": [
            {"name": worker.peer.name, "label": worker.peer.label, **worker.facts, "rounds": rounds}
            for worker, rounds in zip(taking_part, found, strict=True)
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pause", type=float, default=0.3, help="seconds before each turn")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the results go")
    given = parser.parse_args()
    results = given.out / "results"
    results.mkdir(parents=True, exist_ok=True)
    try:
        for network in NETWORKS:
            content = measure(network, given)
            stamp = content["date"].replace(":", "").replace("-", "")[:15]
            path = results / f"{content['workload']}-{stamp}.json"
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            print("\n".join(render.inference(content)), flush=True)
    except (workers.WorkerError, subprocess.CalledProcessError) as error:
        say(str(error))
        return 1
    render.write(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
