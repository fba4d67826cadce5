"""The work as scikit-learn's ``MLPClassifier`` does it: one ``partial_fit`` an epoch.

Plain or momentum SGD without weight decay, float32, shuffled; its own initial weights. It tells its
mean training loss but no training accuracy. It may use one thread or as many as there are cores,
whichever does more in a trial.
"""

from __future__ import annotations

import time
import warnings
from importlib.metadata import version

import numpy as np
import turns
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

TRIAL_BATCHES = 100


def main() -> None:
    given = turns.arguments(__doc__)
    talk = turns.Turns()
    warnings.simplefilter("ignore", ConvergenceWarning)
    data = turns.load(given.data)
    train, validation = data.floats()
    *hidden, classes = given.units
    model = MLPClassifier(
        hidden_layer_sizes=tuple(hidden),
        activation="relu",
        solver="adam" if given.optimizer == "adam" else "sgd",
        alpha=0.0,
        batch_size=given.batch_size,
        learning_rate_init=given.learning_rate,
        momentum=turns.MOMENTUM if given.optimizer == "momentum" else 0.0,
        nesterovs_momentum=False,
        shuffle=True,
        random_state=0,
    )
    named = np.arange(classes)

    def epoch() -> dict[str, float]:
        model.partial_fit(train, data.train_labels, classes=named)
        return {"loss": float(model.loss_)}

    def validate() -> dict[str, float]:
        found = model.predict_proba(validation)
        right = found.argmax(axis=1) == data.validation_labels
        return {
            "val_loss": float(log_loss(data.validation_labels, found, labels=named)),
            "val_accuracy": float(right.mean()),
        }

    def trial(threads: int) -> float:
        some = slice(TRIAL_BATCHES * given.batch_size)
        threadpool_limits(threads)
        began = time.perf_counter()
        model.partial_fit(train[some], data.train_labels[some], classes=named)
        return time.perf_counter() - began

    trial(given.threads)
    threads = min((1, given.threads), key=trial)
    threadpool_limits(threads)
    epoch()
    validate()
    talk.ready(
        versions={"scikit-learn": version("scikit-learn"), "numpy": version("numpy")},
        threads=threads,
    )
    while True:
        talk.wait()
        numbers = epoch()
        train_seconds = talk.elapsed()
        talk.done(train_seconds=train_seconds, **numbers, **validate())


if __name__ == "__main__":
    main()
