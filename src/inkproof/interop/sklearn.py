"""An estimator for scikit-learn's pipelines, searches and cross-validation.

It needs the extra: ``pip install 'inkproof[sklearn]'``.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.engine import Network
from inkproof.errors import ConfigurationError, MissingExtraError
from inkproof.fitting import Fit, network_options
from inkproof.layers import Dense, Layer
from inkproof.model import Model
from inkproof.optimizers import Adam, Optimizer
from inkproof.schedules import Schedule
from inkproof.settings import is_class_name
from inkproof.training_config import TrainingConfig

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as _error:
    raise MissingExtraError("the estimator for scikit-learn", "sklearn") from _error

__all__ = ["InkproofClassifier"]

_SEEDS: Final = 1 << 31
_WHITE: Final = 255


class InkproofClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network trained on Inkproof's engine, in place of scikit-learn's ``MLPClassifier``.

    Without ``image_shape`` inputs are used as they come: scale them before, as for any network,
    with scikit-learn's scalers or ``X / 255``. With it they are raw pixels, scaled inside.

    Parameters
    ----------
    hidden_layer_sizes : units of each hidden layer, or of the only one, as in ``MLPClassifier``
    activation : of the hidden layers, such as ``"relu"``
    layers : Inkproof's layers in place of the two above, such as ``[Conv2D(32, 3), Flatten()]``,
        without the output layer, which is added: Dense, a unit for each class, softmax
    image_shape : (height, width, channels) of the image that a row of X holds in C order, whole
        numbers from 0 to 255; None: rows are vectors
    optimizer : one of Inkproof's; None is ``Adam()``
    epochs, batch_size, precision, threads : see :class:`inkproof.TrainingConfig`
    random_state : fixes the initial weights and the order of the batches: an int, a
        ``RandomState``, or None for another result each time

    Attributes
    ----------
    classes_ : the labels, sorted
    n_features_in_ : numbers in a row of X
    n_iter_ : how many epochs were done
    loss_curve_ : the mean training loss of each epoch
    model_ : the :class:`inkproof.Model`, which ``save`` and the other exports take
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] | int = (500, 500),
        *,
        activation: str = "relu",
        layers: Sequence[Layer] | None = None,
        image_shape: Sequence[int] | None = None,
        optimizer: Optimizer | None = None,
        epochs: int = 30,
        batch_size: int = 32,
        precision: str = "float32",
        threads: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.layers = layers
        self.image_shape = image_shape
        self.optimizer = optimizer
        self.epochs = epochs
        self.batch_size = batch_size
        self.precision = precision
        self.threads = threads
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> InkproofClassifier:  # noqa: N803
        """Train a new network.

        Parameters
        ----------
        X : real numbers (n, features), finite
        y : labels (n,), numbers or texts, of two classes at least

        Raises
        ------
        ConfigurationError, ModelError, UnsupportedError : parameters that make no network
        TrainingError : the loss is no longer finite, as with inputs that are not scaled
        """
        rows, targets = validate_data(self, X, y, dtype=np.float32, order="C")
        check_classification_targets(targets)
        classes, labels = np.unique(targets, return_inverse=True)
        if len(classes) == 1:
            raise ValueError(
                f"InkproofClassifier: expected two classes or more, got 1 class: {targets[0]!r}"
            )
        seed = int(check_random_state(self.random_state).randint(_SEEDS))
        config = TrainingConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=Adam() if self.optimizer is None else self.optimizer,
            precision=self.precision,
            threads=self.threads,
            seed=seed,
        )
        model = self._new_model(classes, rows.shape[1], seed)
        network = Network(
            model.layers, model.layer_input_shape, **network_options(config, model.input_shape)
        )
        network.set_weights(model.weights())
        steps = model.preprocessing
        inputs = model.flat_inputs(self._raw(rows))
        data = network.prepare(inputs, scale=steps.scale, offset=steps.offset), labels
        fit = Fit(network, model.layers, config, len(rows), None)
        rate = config.optimizer.learning_rate
        constant = math.nan if isinstance(rate, Schedule) else float(rate)
        losses = [
            fit.train(data, number, fit.rate(number, constant), _go_on).loss
            for number in range(1, config.epochs + 1)
        ]
        model.set_weights(fit.weights(config.epochs, constant)[1])
        self.classes_ = classes
        self.model_ = model
        self.loss_curve_ = losses
        self.n_iter_ = config.epochs
        return self

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float32]:  # noqa: N803
        """Give each row's class probabilities: float32 (n, classes), in the order of classes_."""
        check_is_fitted(self, "model_")
        rows = validate_data(self, X, dtype=np.float32, order="C", reset=False)
        return self.model_.predict(self._raw(rows), threads=self.threads)

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:  # noqa: N803
        """Give each row's likeliest label: (n,), of the labels' dtype."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[likeliest]
        return labels

    def _new_model(self, classes: npt.NDArray[Any], features: int, seed: int) -> Model:
        hidden = self.layers
        if hidden is None:
            sizes = self.hidden_layer_sizes
            sizes = sizes if isinstance(sizes, Sequence) else [sizes]
            hidden = [Dense(units, activation=self.activation) for units in sizes]
        shape: tuple[int, ...] = (features,)
        if self.image_shape is not None:
            given = self.image_shape
            if not isinstance(given, Sequence) or len(given) != 3 or math.prod(given) != features:
                raise ConfigurationError(
                    "InkproofClassifier.image_shape must be (height, width, channels) of the "
                    f"{features} numbers of a row of X, got {reprlib.repr(given)}"
                )
            shape = tuple(given)
        names = [str(label) for label in classes]
        are_names = all(map(is_class_name, names))
        return Model(
            [*hidden, Dense(len(names), activation="softmax")],
            input_shape=shape,
            class_names=names if are_names else None,
            seed=seed,
        )

    def _raw(
        self, rows: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32] | npt.NDArray[np.uint8]:
        """Give rows as the model takes them."""
        if self.image_shape is None:
            return rows
        pixels = rows.astype(np.uint8) if ((rows >= 0) & (rows <= _WHITE)).all() else None
        if pixels is None or (pixels != rows).any():
            raise ValueError(
                "InkproofClassifier: with image_shape X must hold whole numbers from 0 to 255, "
                f"got {rows.min():g} to {rows.max():g}"
            )
        return pixels.reshape(len(rows), *self.image_shape)


def _go_on(done: int) -> None:
    del done
