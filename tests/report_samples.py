"""Studies to render: drawn digits, invented histories, and judgements by the real modules."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from inkproof import results
from inkproof.comparison import compare
from inkproof.diagnosis import diagnose, diagnose_runs
from inkproof.evaluation import evaluate
from inkproof.history import History
from inkproof.layers import Dense
from inkproof.model import Model
from inkproof.results import StudyResult
from inkproof.robustness import CHANGES, summarise
from inkproof.statistics import Estimate, mean_interval
from inkproof.trust import Judgement, trust

HOSTILE = '</script><script>alert("1")</script><img src=x onerror=alert(2)>{{ 7*7 }}{% raw %}'
FINGERPRINT = "sha256:" + "0123456789abcdef" * 4


@dataclass(frozen=True, kw_only=True)
class Images:
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    role: str
    class_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Data:
    train: Images
    test: Images
    fingerprint: str = FINGERPRINT


@dataclass(frozen=True, kw_only=True)
class Sample:
    result: StudyResult
    dataset: Data
    probabilities: Mapping[tuple[str, int], npt.NDArray[np.float32]]


@functools.cache
def _glyph(text: str, size: int) -> npt.NDArray[np.uint8]:
    font = ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), int(0.8 * size)
    )
    picture = Image.new("L", (size, size))
    ImageDraw.Draw(picture).text((size / 2, size / 2), text, font=font, fill=255, anchor="mm")
    return np.asarray(picture)


def images_of(
    labels: npt.NDArray[np.int64],
    rng: np.random.Generator,
    *,
    size: int = 28,
    channels: int = 1,
) -> npt.NDArray[np.uint8]:
    """Draw a character a class, shifted by up to two pixels, with noise on the ink."""
    characters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
    out = np.zeros((len(labels), size, size, channels), dtype=np.uint8)
    for row, label in enumerate(labels.tolist()):
        glyph = np.roll(
            _glyph(characters[label % len(characters)], size),
            tuple(rng.integers(-2, 3, 2).tolist()),
            axis=(0, 1),
        )
        for channel in range(channels):
            ink = rng.uniform(0.6, 1.0, glyph.shape) if channels == 1 else rng.uniform(0.2, 1.0)
            out[row, :, :, channel] = (glyph * ink).astype(np.uint8)
    return out


def history_of(
    rng: np.random.Generator, epochs: int, *, validation: bool, speed: float
) -> dict[str, list[float]]:
    """Invent a training history: a loss that falls to a floor, an accuracy that follows it."""
    epoch = np.arange(1, epochs + 1)

    def noisy(values: npt.NDArray[np.float64]) -> list[float]:
        return (values * rng.normal(1, 0.01, epochs)).round(6).tolist()

    loss = 0.55 / (speed * epoch) ** 0.8
    columns = {"loss": noisy(loss), "accuracy": noisy(1 - 0.25 * loss)}
    if validation:
        columns |= {
            "val_loss": noisy(0.07 + 0.3 / (speed * epoch)),
            "val_accuracy": noisy(0.978 - 0.07 / epoch),
        }
    return columns | {"learning_rate": [0.01] * epochs}


def probabilities_of(
    rng: np.random.Generator, labels: npt.NDArray[np.int64], classes: int, wrong: int
) -> npt.NDArray[np.float32]:
    """Invent probabilities with exactly so many mistakes; the first images are hard for all."""
    n = len(labels)
    top = labels.copy()
    hard = np.concatenate([np.arange(wrong // 2), wrong // 2 + rng.permutation(n - wrong // 2)])
    rows = hard[:wrong]
    top[rows] = (labels[rows] + 1 + rng.integers(0, classes - 1, wrong)) % classes
    scores = rng.exponential(0.02, (n, classes))
    scores[np.arange(n), top] = 0.5 + scores.max(axis=1) + rng.exponential(2.0, n)
    shares: npt.NDArray[np.float32] = (scores / scores.sum(axis=1, keepdims=True)).astype(
        np.float32
    )
    return shares


def sample(
    *,
    models: Sequence[str] = ("500x2", "512x3"),
    seeds: Sequence[int] = (0, 1, 2, 3, 4, 5),
    classes: int = 10,
    class_names: Sequence[str] | None = None,
    channels: int = 1,
    size: int = 28,
    test: int = 600,
    wrong: int = 24,
    epochs: int = 12,
    validation: bool = True,
    published: bool = True,
    title: str = "Two networks on drawn digits",
    name: str = "notebook",
) -> Sample:
    """Build a study's result with its images and probabilities, the same each time."""
    rng = np.random.default_rng(7)
    names = tuple(class_names or [str(label) for label in range(classes)])
    classes = len(names)
    splits = {
        role: Images(
            images=images_of(labels, rng, size=size, channels=channels),
            labels=labels,
            role=role,
            class_names=names,
        )
        for role, labels in (
            ("train", rng.integers(0, classes, 200)),
            ("test", rng.integers(0, classes, test)),
        )
    }
    probabilities = {
        (model, seed): probabilities_of(
            rng,
            splits["test"].labels,
            classes,
            wrong and wrong + 4 - 2 * place + (3 * seed + place) % 5,
        )
        for place, model in enumerate(models)
        for seed in seeds
    }
    model_results = [
        _model(
            model,
            place,
            seeds,
            splits["test"],
            probabilities,
            rng,
            epochs=epochs,
            validation=validation,
            published=published,
        )
        for place, model in enumerate(models)
    ]
    pairs = [(a, b) for at, a in enumerate(models) for b in models[at + 1 :]]
    layers = [{"type": "Dense", "units": 8, "activation": "relu", "name": "hidden_1"}]
    result = StudyResult(
        study={
            "name": name,
            "title": title,
            "description": "A study for the tests of the report.",
            "seeds": list(seeds),
            "data": {"source": "drawn", "hold_out": 0.1},
            "training": {
                "epochs": epochs,
                "optimizer": {"name": "sgd", "learning_rate": 0.01},
                "threads": None,
            },
            "models": [{"name": model, "layers": layers, "published": None} for model in models],
        },
        data=results.DataResult(
            name="drawn",
            source="drawn",
            fingerprint=FINGERPRINT,
            image_shape=[size, size, channels],
            class_names=list(names),
            train=180 if validation else 200,
            validation=20 if validation else 0,
            test=test,
            class_counts={
                role: np.bincount(split.labels, minlength=classes).tolist()
                for role, split in splits.items()
            },
            licence="CC0-1.0",
        ),
        environment={"inkproof": "0.1.0", "processor": {"name": "x86-64", "cores": 2}},
        models=model_results,
        comparisons=[
            _comparison(a, b, seeds, probabilities, splits["test"].labels) for a, b in pairs
        ],
    )
    return Sample(
        result=result,
        dataset=Data(train=splits["train"], test=splits["test"]),
        probabilities=probabilities,
    )


def _model(
    name: str,
    place: int,
    seeds: Sequence[int],
    test: Images,
    probabilities: Mapping[tuple[str, int], npt.NDArray[np.float32]],
    rng: np.random.Generator,
    *,
    epochs: int,
    validation: bool,
    published: bool,
) -> results.ModelResult:
    runs = []
    accuracies: list[Estimate] = []
    for seed in seeds:
        evaluation = evaluate(None, test, probabilities=probabilities[name, seed])
        accuracies.append(evaluation.accuracy)
        columns = history_of(rng, epochs, validation=validation, speed=1 + 0.2 * place)
        history = History(**{key: tuple(column) for key, column in columns.items()})
        runs.append(
            results.RunResult(
                seed=seed,
                history=columns,
                test=results.TestResult(
                    loss=evaluation.loss.value,
                    accuracy=evaluation.accuracy.value,
                    confusion=evaluation.confusion.tolist(),
                    mistakes=[
                        results.Mistake(**asdict(one)) for one in evaluation.mistake_records()
                    ],
                ),
                epoch_seconds=rng.uniform(0.4, 0.6, epochs).round(3).tolist(),
                findings=diagnose(history, name=name),
                folder=f"model-{place}/seed-{seed}",
            )
        )
    network = Model(
        [
            Dense(8, activation="relu", name="hidden_1"),
            Dense(len(test.class_names), activation="softmax", name="output"),
        ],
        input_shape=test.images.shape[1:],
        name=f"model-{place}",
    )
    return results.ModelResult(
        name=name,
        parameters=network.count_params(),
        summary=network.summary().replace(f"model-{place}", name),
        diagram=network.plot(),
        test_accuracy=accuracies[0]
        if len(runs) == 1
        else mean_interval([one.value for one in accuracies], over="runs"),
        test_loss=mean_interval([run.test.loss for run in runs], over="runs"),
        published=history_of(rng, epochs, validation=True, speed=1.0) if published else None,
        findings=diagnose_runs(
            [
                History(**{key: tuple(column) for key, column in run.history.items()})
                for run in runs
            ],
            name=name,
        ),
        trust=trust(
            [
                Judgement(
                    test=probabilities[name, seed],
                    validation=(probabilities[name, seed][:90], test.labels[:90])
                    if validation
                    else None,
                )
                for seed in seeds
            ],
            test.labels,
            name=name,
        ),
        robustness=summarise(
            [
                {
                    kind: [200 - 30 * step - seed % 3 for step in range(len(change.strengths))]
                    for kind, change in CHANGES.items()
                }
                for seed in seeds
            ],
            200,
            name=name,
        ),
        runs=runs,
    )


def _comparison(
    a: str,
    b: str,
    seeds: Sequence[int],
    probabilities: Mapping[tuple[str, int], npt.NDArray[np.float32]],
    labels: npt.NDArray[np.int64],
) -> results.ComparisonResult:
    found = compare(
        a,
        {seed: probabilities[a, seed] for seed in seeds},
        b,
        {seed: probabilities[b, seed] for seed in seeds},
        labels,
    )
    fields = {name: getattr(found, name) for name in results.ComparisonResult.model_fields}
    fields["pairs"] = [results.PairResult(**asdict(pair)) for pair in found.pairs]
    fields["findings"] = list(found.findings)
    return results.ComparisonResult(**fields)
