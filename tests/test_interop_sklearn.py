"""The estimator keeps scikit-learn's contract, and trains as ``inkproof.train`` does."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import inkproof
from inkproof import SGD, Adam, Conv2D, Dense, Flatten, MaxPool2D, Model, Split, TrainingConfig
from inkproof.errors import ConfigurationError, TrainingError, UnknownNameError
from inkproof.interop import onnx_bytes
from inkproof.interop.sklearn import InkproofClassifier

onnxruntime = pytest.importorskip("onnxruntime")

FAR = SGD(learning_rate=1e30)  # and no ReLU, in which such a step could end


@parametrize_with_checks([InkproofClassifier((50,), epochs=20, random_state=0)])
def test_the_contract_of_scikit_learn(estimator, check):
    if check.func.__name__ == "check_array_api_input":
        pytest.skip("asks for SCIPY_ARRAY_API; inputs are NumPy's")
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    found = load_digits()  # 8 x 8, 0 to 16
    return found.data, found.target


def test_in_a_pipeline_and_under_cross_validation(digits):
    pipeline = make_pipeline(MinMaxScaler(), InkproofClassifier((100,), epochs=15, random_state=0))
    assert cross_val_score(pipeline, *digits, cv=3).min() > 0.9


def test_in_a_grid_search(digits):
    x, y = digits
    search = GridSearchCV(
        InkproofClassifier((20,), epochs=3, random_state=0),
        {"optimizer": [SGD(learning_rate=1e-6), Adam(learning_rate=0.01)]},
        cv=2,
    ).fit(x[:400] / 16, y[:400])
    assert search.best_params_ == {"optimizer": Adam(learning_rate=0.01)}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_trains_as_train_does(precision):
    data = inkproof.load("mnist").train.subset(np.arange(700))
    config = TrainingConfig(
        epochs=2, batch_size=64, optimizer=Adam(use_ema=True), seed=7, precision=precision
    )
    hidden = [Conv2D(4, 3, activation="relu"), MaxPool2D(2), Flatten()]

    class Seven(np.random.RandomState):
        def randint(self, *_):
            return 7

    estimator = InkproofClassifier(
        layers=hidden,
        image_shape=(28, 28, 1),
        optimizer=config.optimizer,
        epochs=2,
        batch_size=64,
        precision=precision,
        random_state=Seven(),
    )
    estimator.fit(data.images.reshape(700, -1).astype(float), data.labels)
    model = Model([*hidden, Dense(10, activation="softmax")], input_shape=(28, 28, 1), seed=7)
    run = inkproof.train(model, data, config=config)
    for ours, theirs in zip(estimator.model_.weights(), model.weights(), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    assert estimator.loss_curve_ == list(run.history.loss)
    assert estimator.n_iter_ == 2
    assert estimator.n_features_in_ == 784


def test_a_single_hidden_layer_may_be_a_number(digits):
    x, y = digits[0][:50] / 16, digits[1][:50]
    one, two = (InkproofClassifier(n, epochs=1, random_state=0).fit(x, y) for n in (7, (7,)))
    assert one.predict_proba(x).tobytes() == two.predict_proba(x).tobytes()


def test_a_state_fixes_everything(digits):
    x, y = digits[0][:200] / 16, digits[1][:200]
    made = [
        InkproofClassifier((9,), epochs=2, random_state=state, threads=threads)
        for state, threads in ((3, 1), (3, 2), (4, 2))
    ]
    one, two, other = (estimator.fit(x, y).predict_proba(x) for estimator in made)
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != other.tobytes()
    assert clone(made[0]).fit(x, y).predict_proba(x).tobytes() == one.tobytes()
    assert pickle.loads(pickle.dumps(made[0])).predict_proba(x).tobytes() == one.tobytes()  # noqa: S301


def test_labels_of_any_kind(digits):
    x, y = digits[0][:300] / 16, digits[1][:300]
    words = np.array(["nought", "one", "two", "three", "4", "5", "6", "7", "8", "9"])[y]
    estimator = InkproofClassifier((50,), epochs=20, random_state=0).fit(x, words)
    assert (estimator.predict(x) == words).mean() > 0.95
    assert estimator.classes_.tolist() == sorted(set(words))
    assert estimator.model_.class_names == tuple(sorted(set(words)))
    odd = InkproofClassifier((5,), epochs=1).fit(x, np.where(y > 4, "a\nb", "c" * 200))
    assert odd.model_.class_names == ("0", "1")
    assert set(odd.predict(x)) <= {"a\nb", "c" * 200}


def test_what_was_fitted_goes_anywhere(tmp_path):
    data = inkproof.load("mnist").test.subset(np.arange(400))
    rows = data.images.reshape(400, -1)
    estimator = InkproofClassifier((30,), image_shape=(28, 28, 1), epochs=3, random_state=0)
    estimator.fit(rows, data.labels)
    estimator.model_.save(tmp_path / "a.safetensors")
    wanted = estimator.predict_proba(rows)
    assert Model.load(tmp_path / "a.safetensors").predict(data.images).tobytes() == wanted.tobytes()
    session = onnxruntime.InferenceSession(onnx_bytes(estimator.model_))
    assert np.abs(session.run(None, {"images": data.images})[0] - wanted).max() < 2e-6
    assert isinstance(data, Split)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"epochs": 0}, ConfigurationError, r"training\.epochs must be a whole number of at"),
        ({"hidden_layer_sizes": (0,)}, ConfigurationError, r"Dense\.units must be"),
        ({"activation": "relo"}, UnknownNameError, "Did you mean 'relu'?"),
        ({"optimizer": "adam"}, ConfigurationError, r"training\.optimizer must be one of"),
        ({"image_shape": (8, 9, 1)}, ConfigurationError, r"of the 64 numbers .* got \(8, 9, 1\)"),
        ({"image_shape": (8, 8)}, ConfigurationError, r"\(height, width, channels\).* \(8, 8\)"),
        ({"image_shape": 64}, ConfigurationError, r"\(height, width, channels\).* got 64"),
        ({"optimizer": FAR, "activation": "linear"}, TrainingError, "no longer finite in epoch 1"),
    ],
)
def test_parameters_that_will_not_do(digits, changes, kind, message):
    estimator = InkproofClassifier((5,), epochs=1, random_state=0).set_params(**changes)
    with pytest.raises(kind, match=message):
        estimator.fit(*digits)


@pytest.mark.parametrize("value", [-1.0, 256.0, 0.5])
def test_images_are_whole_pixels(digits, value):
    x, y = digits[0].copy(), digits[1]
    x[3, 4] = value
    with pytest.raises(ValueError, match="whole numbers from 0 to 255, got"):
        InkproofClassifier((5,), image_shape=(8, 8, 1), epochs=1).fit(x, y)


def test_a_fit_that_failed_changes_nothing(digits):
    x, y = digits
    estimator = InkproofClassifier(
        (5,), activation="linear", epochs=1, optimizer=FAR, random_state=0
    )
    with pytest.raises(TrainingError):
        estimator.fit(x, y)
    with pytest.raises(NotFittedError):
        estimator.predict(x)
    estimator.set_params(optimizer=None).fit(x, y)
    before = estimator.predict(x)
    with pytest.raises(TrainingError):
        estimator.set_params(optimizer=FAR).fit(x, y + 20)
    assert (estimator.predict(x) == before).all()
