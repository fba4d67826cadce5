"""Make RESULTS.md of results/*.json.

    python benchmarks/render.py [FOLDER]

A file is one measurement of one workload and becomes one table; files of several runs, peers or
machines stand beside each other. Every ratio is of two epochs of one round; nothing is computed
across files.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["measurement", "startup", "write"]

TITLES = {
    "500x2": "784-500-500-10 on MNIST",
    "512x3": "784-512-512-512-10 on MNIST",
    "500x2-dense": "784-500-500-10 on dense random inputs",
    "512x3-dense": "784-512-512-512-10 on dense random inputs",
    "500x2-dense-momentum": "784-500-500-10 on dense random inputs, with momentum",
    "500x2-dense-adam": "784-500-500-10 on dense random inputs, with Adam",
    "convnet": "A convolutional network on MNIST",
    "convnet-bn": "The same with batch normalization",
    "inference-500x2": "Predictions of 784-500-500-10",
    "inference-convnet": "Predictions of the convolutional network",
    "scaling": "How cost grows",
    "startup": "Start-up",
}
NOTES = {
    "500x2-dense": "Inputs are uniform random float32 from -1 to 1, so that none of them can be "
    "skipped; hidden units that are off for an image are, where enough are. Labels come from a "
    "random linear map of the inputs. Before 2026-11-27 inputs were from 0 to 1, where a sixth of "
    "the hidden units are off for whole batches, and were left out.",
    "convnet": "Keras' introductory example: 3x3 convolutions of 32 and 64 filters, each with ReLU "
    "and 2x2 max-pooling, dropout of one half, a dense layer.",
    "convnet-bn": "Batch normalization between each convolution and its ReLU.",
    "scaling": "Stacks of dense layers on random numbers without a zero, 784 inputs, two layers of "
    "512 and batches of 32 but for what changes; the best of several passes. Of the rate: all "
    "multiply-adds, of the way forward, the way back and the update, against those that the cores "
    "do at best; those that hidden layers leave out, since a unit is off, are counted.",
    "startup": "Wall-clock time of a whole process, from the disk's cache.",
}
OPTIMIZERS = {"sgd": "SGD", "momentum": "SGD with momentum", "adam": "Adam"}
INTRODUCTION = """# Results

Made by `make bench` and `benchmarks/render.py` of the files in `results/`; `benchmarks/README.md`
says what is measured and how. An epoch is training and validation; seconds and ratios are medians
over the rounds [smallest - largest]. A ratio is a peer's seconds over Inkproof's of the same round:
above 1, Inkproof is faster.
"""


def spread(values: Iterable[float], digits: int) -> str:
    """Give a median and its range."""
    ordered = sorted(values)
    middle = statistics.median(ordered)
    return f"{middle:.{digits}f} [{ordered[0]:.{digits}f} - {ordered[-1]:.{digits}f}]"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Give a Markdown table; all columns but the first two are numbers."""
    rule = ["---" if column < 2 else "---:" for column in range(len(header))]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]


def versions(participant: dict[str, Any]) -> str:
    """Name what was measured, with versions."""
    return ", ".join(f"{name} {number}" for name, number in participant["versions"].items())


def seconds(participant: dict[str, Any], key: str = "seconds") -> list[float]:
    """Give one number of each round."""
    return [numbers[key] for numbers in participant["rounds"]]


def ratios(participant: dict[str, Any], base: dict[str, Any], key: str = "seconds") -> list[float]:
    """Set one number against another participant's of the same round."""
    pairs = zip(seconds(participant, key), seconds(base, key), strict=True)
    return [theirs / ours for theirs, ours in pairs]


def measurement(content: dict[str, Any]) -> list[str]:
    """Give the lines of one measured workload: who, on what, and the tables."""
    ours, *others = content["participants"]
    trainers = [ours, *(other for other in others if other["kind"] == "training")]
    libraries = [other for other in others if other["kind"] == "sgemm"]
    count = len(ours["rounds"])
    bases = [ours, *(other for other in others if other["name"] == "inkproof-bfloat16")]
    rows = [
        (
            participant["label"],
            versions(participant),
            spread(seconds(participant), 3),
            spread(seconds(participant, "train_seconds"), 3),
            *(
                "1" if participant is base else spread(ratios(participant, base), 1)
                for base in bases
            ),
            f"{participant['rounds'][-1]['val_accuracy']:.4f}",
        )
        for participant in trainers
    ]
    header = (
        "program",
        "versions",
        "seconds an epoch",
        "of which training",
        *(f"ratio to {base['label']}" for base in bases),
        f"validation accuracy after {count + 1} epochs",
    )
    lines = [*facts(content, ours), "", *table(header, rows)]
    if libraries:
        lines += ["", *shares(content, ours, libraries)]
    return lines


def facts(content: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Give the circumstances as a list."""
    host = content["machine"]
    return [
        f"- {host['processor']}, {host['cores']} cores, engine variant {ours['isa']}",
        f"- {host['os']}, Python {host['python']}",
        f"- {content['date'][:10]}, commit {content['commit']}, {len(ours['rounds'])} rounds; "
        f"{disturbance(content)}",
        f"- {content['train_images']:,} training and {content['validation_images']:,} validation "
        f"images, batches of {content['batch_size']}, "
        f"{OPTIMIZERS[content.get('optimizer', 'sgd')]} at "
        f"{content['learning_rate']}",
        f"- `{content['command']}`",
    ]


def disturbance(content: dict[str, Any]) -> str:
    """Say how much of the cores other programs took while something was measured."""
    share = [
        100 * numbers["others_cpu_seconds"] / numbers["seconds"] / content["machine"]["cores"]
        for participant in content["participants"]
        for numbers in participant["rounds"]
    ]
    return (
        f"other programs took {statistics.median(share):.0f} % of the cores' time in the median "
        f"turn, {max(share):.0f} % in the worst"
    )


def shares(
    content: dict[str, Any], ours: dict[str, Any], libraries: list[dict[str, Any]]
) -> list[str]:
    """Set the rate of training against the best rate of matrix products of the same round."""
    flops = content["training_flops_per_epoch"]
    rates = [flops / took / 1e9 for took in seconds(ours, "train_seconds")]
    rows = []
    for library in libraries:
        best = seconds(library, "gflops")
        share = [100 * rate / of for rate, of in zip(rates, best, strict=True)]
        shapes = {
            max(numbers["gflops_by_shape"], key=numbers["gflops_by_shape"].get)
            for numbers in library["rounds"]
        }
        rows.append(
            (
                library["label"],
                versions(library),
                spread(best, 0),
                "; ".join(sorted(shapes)),
                spread(share, 0),
            )
        )
    header = (
        "library",
        "versions",
        "best sgemm, GFLOP/s",
        "shape",
        "Inkproof's share of it, %",
    )
    return [
        f"Inkproof trains at {spread(rates, 0)} GFLOP/s: {flops / 1e9:.1f} GFLOP an epoch, all "
        "products of the forward and backward pass, over the seconds spent in training.",
        "",
        *table(header, rows),
    ]


def inference(content: dict[str, Any]) -> list[str]:
    """Give the lines of one measurement of predictions."""
    host = content["machine"]
    ours, theirs = content["participants"]
    rows = []
    for size in content["sizes"]:
        key = f"batch_{size}"
        times = [
            spread((1000 * value for value in seconds(who, key)), 3 if size < 1000 else 1)
            for who in (ours, theirs)
        ]
        rows.append((f"{size:,}", *times, spread(ratios(theirs, ours, key), 2)))
    return [
        f"- {host['processor']}, {host['cores']} cores",
        f"- {host['os']}, Python {host['python']}; {versions(ours)}, {versions(theirs)}",
        f"- {content['date'][:10]}, commit {content['commit']}, {len(ours['rounds'])} rounds",
        f"- `{content['command']}`",
        "",
        *table(("images at once", "Inkproof, ms a call", "ONNX Runtime, ms a call", "ratio"), rows),
    ]


def scaling(content: dict[str, Any]) -> list[str]:
    """Give the lines of one measurement of how cost grows."""
    host = content["machine"]
    rows = [
        (
            name,
            f"{point['value']:,}",
            f"{point['images']:,}",
            f"{point['seconds']:.3f}",
            f"{100 * point['ideal_seconds'] / point['seconds']:.0f}",
        )
        for name, points in content["sweeps"].items()
        for point in points
    ]
    memory = [
        (
            f"{row['width']:,}",
            "Adam",
            *(f"{row[key]:.0f}" for key in ("taken", "weights", "state")),
            f"{2 * (row['weights'] + row['state']) + 64:.0f}",
        )
        for row in content["memory"]
    ]
    return [
        f"- {host['processor']}, {host['cores']} cores, engine variant {content['isa']}",
        f"- {content['date'][:10]}, commit {content['commit']}",
        "",
        *table(("what changes", "to", "images", "seconds a pass", "of the rate, %"), rows),
        "",
        "Memory of a training beside its data, MiB; the limit is twice the weights and what the "
        "optimiser remembers, and 64 MiB:",
        "",
        *table(("units of both layers", "optimiser", "taken", "weights", "state", "limit"), memory),
    ]


def startup(content: dict[str, Any]) -> list[str]:
    """Give the lines of one measurement of start-up times."""
    host = content["machine"]
    rows = [(f"`{name}`", spread(times, 3)) for name, times in content["commands"].items()]
    runs = min(len(times) for times in content["commands"].values())
    return [
        f"- {host['processor']}, {host['cores']} cores",
        f"- {host['os']}, Python {host['python']}",
        f"- {content['date'][:10]}, commit {content['commit']}, {runs} runs of each in turn, "
        f"load before: {host['load_before']}",
        "",
        *table(("command", "seconds"), rows),
    ]


RENDERERS: Final = {
    "inference-500x2": inference,
    "inference-convnet": inference,
    "scaling": scaling,
    "startup": startup,
}


def write(folder: Path) -> Path:
    """Write ``folder/RESULTS.md`` of all that is in ``folder/results``."""
    contents = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((folder / "results").glob("*.json"))
    ]
    contents.sort(key=lambda content: str(content["date"]), reverse=True)
    lines = [INTRODUCTION]
    for name, title in TITLES.items():
        found = [content for content in contents if content["workload"] == name]
        if not found:
            continue
        lines += [f"## {title}", ""]
        lines += [NOTES[name], ""] if name in NOTES else []
        for content in found:
            lines += [*RENDERERS.get(name, measurement)(content), ""]
    path = folder / "RESULTS.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


if __name__ == "__main__":
    print(write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent))
