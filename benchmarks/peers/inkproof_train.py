"""The work as Inkproof does it.

Images go through ``inkproof.train``, as a user would have it, whose callback waits for each turn.
Vectors of float32 go to the engine directly, since a Split holds images.
"""

from __future__ import annotations

import time
from importlib.metadata import version

import numpy as np
import turns

from inkproof import (
    SGD,
    Activation,
    Adam,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Epoch,
    Flatten,
    MaxPool2D,
    Model,
    Split,
    TrainingConfig,
    train,
)
from inkproof.engine import Network, default_isa, usable_precision
from inkproof.layers import Layer
from inkproof.randomness import Use, permutation


def layers(given: turns.argparse.Namespace) -> list[Layer]:
    *hidden, classes = given.units
    body: list[Layer] = []
    if given.network == "dense":
        body += [Dense(count, activation="relu") for count in hidden]
    else:
        normalized = given.network == "convnet-bn"
        for filters in turns.FILTERS:
            body.append(Conv2D(filters, 3, use_bias=not normalized))
            if normalized:
                body.append(BatchNormalization())
            body += [Activation("relu"), MaxPool2D(2)]
        body += [Flatten(), Dropout(turns.DROPOUT)]
    return [*body, Dense(classes, activation="softmax")]


def optimizer(given: turns.argparse.Namespace) -> SGD | Adam:
    if given.optimizer == "adam":
        return Adam(learning_rate=given.learning_rate)
    momentum = turns.MOMENTUM if given.optimizer == "momentum" else 0.0
    return SGD(learning_rate=given.learning_rate, momentum=momentum)


def on_images(talk: turns.Turns, data: turns.Data, given: turns.argparse.Namespace) -> None:
    side = round(data.train.shape[1] ** 0.5)
    names = tuple(map(str, range(given.units[-1])))
    training, validation = (
        Split(images=x.reshape(-1, side, side, 1), labels=labels, role=role, class_names=names)
        for x, labels, role in (
            (data.train, data.train_labels, "train"),
            (data.validation, data.validation_labels, "validation"),
        )
    )
    threads, isa = given.threads, default_isa()
    precision = given.library or "float32"

    def on_epoch(epoch: Epoch) -> None:
        if epoch.number == 1:
            talk.ready(
                versions={"inkproof": version("inkproof")},
                threads=threads,
                isa=isa,
                precision=usable_precision(precision),
            )
        else:
            talk.done(
                train_seconds=len(training) / epoch.images_per_second,
                loss=epoch.loss,
                accuracy=epoch.accuracy,
                val_loss=epoch.val_loss,
                val_accuracy=epoch.val_accuracy,
            )
        talk.wait()

    train(
        Model(layers(given), input_shape=(side, side, 1)),
        training,
        validation,
        TrainingConfig(
            epochs=given.epochs + 1,  # the last one is never asked for
            batch_size=given.batch_size,
            optimizer=optimizer(given),
            threads=given.threads,
            precision=precision,
        ),
        on_epoch=on_epoch,
    )


def on_vectors(talk: turns.Turns, data: turns.Data, given: turns.argparse.Namespace) -> None:
    features = data.train.shape[1]
    network = Network(
        layers(given),
        (features,),
        threads=given.threads,
        optimizer=optimizer(given),
        precision=given.library or "float32",
    )
    network.set_weights(Model(layers(given), input_shape=(features,)).weights())
    inputs, unseen = network.prepare(data.train), network.prepare(data.validation)

    def epoch(number: int) -> dict[str, float]:
        began = time.perf_counter()
        order = permutation(inputs.rows, Use.BATCH_ORDER, seed=0, index=number)
        totals = network.train(
            inputs,
            data.train_labels,
            order,
            batch_size=given.batch_size,
            learning_rate=float(np.float32(given.learning_rate)),
        )
        train_seconds = time.perf_counter() - began
        result = network.evaluate(unseen, data.validation_labels)
        return {
            "train_seconds": train_seconds,
            "loss": totals.loss,
            "accuracy": totals.accuracy,
            "val_loss": result.loss,
            "val_accuracy": result.accuracy,
        }

    epoch(1)
    talk.ready(
        versions={"inkproof": version("inkproof")},
        threads=network.threads,
        isa=network.isa,
        precision=network.precision,
    )
    for number in range(2, given.epochs + 2):
        talk.wait()
        talk.done(**epoch(number))


def main() -> None:
    given = turns.arguments(__doc__)
    talk = turns.Turns()
    data = turns.load(given.data)
    on = on_images if data.train.dtype == np.uint8 else on_vectors
    on(talk, data, given)


if __name__ == "__main__":
    main()
