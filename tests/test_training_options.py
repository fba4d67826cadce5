"""What training does beside plain gradient descent: with a stand-in for the engine, in NumPy.

The stand-in forgets its optimiser's memory whenever weights are put in, and nothing of it is
shared with the engine; that the engine computes the same is tests/test_engine*.py's.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numpy_engine
import reference_optimizers as reference
from inkproof.augmentation import Augmentation
from inkproof.errors import (
    ConfigurationError,
    DataError,
    TrainingError,
    UnknownNameError,
)
from inkproof.fitting import Fit
from inkproof.layers import Activation, BatchNormalization, Conv2D, Dense, Dropout, Flatten
from inkproof.model import Model
from inkproof.optimizers import SGD, Adam, AdamW, Muon
from inkproof.schedules import CosineDecay, OneCycle, PiecewiseConstantDecay
from inkproof.stopping import EarlyStopping, ReduceLROnPlateau
from inkproof.training import TrainingConfig, train
from test_training import (
    TRAIN,
    VALIDATION,
    Stop,
    assert_same_bits,
    model,
    rewritten,
    split,
    stop_after,
)

BASE = {"epochs": 4, "batch_size": 16, "seed": 5}


@pytest.fixture
def engine(monkeypatch):
    """Put the stand-in in the engine's place, and give what it is asked for."""
    monkeypatch.setattr("inkproof.training.Network", numpy_engine.Network)
    numpy_engine.CALLS.clear()
    return numpy_engine.CALLS


def fitted(validation=VALIDATION, given=TRAIN, network=None, arguments=None, **settings_):
    config = TrainingConfig(**(BASE | settings_))
    return train(network or model(units=(6,)), given, validation, config, **(arguments or {}))


def asked(calls, kind):
    return [details for name, details in calls if name == kind]


# --- What the engine is asked for -----------------------------------------------------------------


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"early_stopping": EarlyStopping()},
        {"time_budget_seconds": 1000},
        {"reduce_on_plateau": ReduceLROnPlateau()},
        {"optimizer": SGD(learning_rate=0.01, nesterov=True)},
    ],
)
def test_plain_descent_asks_for_what_it_always_did(engine, same):
    fitted(**same)
    assert asked(engine, "network") == [{"threads": None}]
    for call in asked(engine, "train"):
        assert call.keys() == {"batch_size", "learning_rate", "poll"}
        assert (call["batch_size"], call["learning_rate"]) == (16, float(np.float32(0.01)))
        assert type(call["learning_rate"]) is float


def test_all_else_is_asked_for_by_name(engine):
    optimizer = Adam()
    fitted(optimizer=optimizer, label_smoothing=0.1, mixup=0.4, threads=2)
    assert asked(engine, "network") == [{"threads": 2, "optimizer": optimizer}]
    for number, call in enumerate(asked(engine, "train"), 1):
        del call["poll"]
        assert call == {
            "batch_size": 16,
            "learning_rate": float(np.float32(0.001)),
            "epoch": number,
            "seed": 5,
            "first_step": 5 * (number - 1),
            "label_smoothing": 0.1,
            "mixup": 0.4,
        }


def test_a_layer_that_draws_is_told_seed_and_epoch():
    told = []

    class Spy:
        def train(self, *data, **asked):
            told.append(asked)
            return numpy_engine.PassTotals(1.0, 0.5, 1)

    class Other:
        pass

    for layer, keys in ((Dense(3), set()), (Other(), {"epoch", "seed", "first_step"})):
        fit = Fit(Spy(), [layer], TrainingConfig(**BASE), 3, None)
        fit.train((np.zeros(3), np.zeros(3, dtype=np.int64)), 2, 0.1, lambda done: None)
        assert told.pop().keys() == {"batch_size", "learning_rate", "poll"} | keys


class Shift:
    """Any augmentation."""

    def config(self):
        return {"shift": 2}

    def engine_options(self):
        return {"shift": 2.0}


def test_augmentation_is_passed_on_and_on_record(engine):
    shift = Shift()
    fitted(augmentation=shift, epochs=1)
    assert asked(engine, "train")[0]["augmentation"] is shift
    assert asked(engine, "network") == [{"threads": None, "image_shape": (4, 4, 1)}]
    assert TrainingConfig(augmentation=shift).config()["augmentation"] == {"shift": 2}


def test_augmentation_of_a_file():
    made = TrainingConfig.from_config({"augmentation": {"shift": 2, "mixup": 0.3}})
    assert made.augmentation == Augmentation(shift=2, mixup=0.3)
    assert TrainingConfig.from_config(made.config()) == made
    for given_, message in (
        ({"shift": -1}, "training.augmentation.shift must be "),
        ({"shfit": 2}, "training.augmentation: unknown key 'shfit'; known: "),
        (3, "training.augmentation must be a table"),
    ):
        with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}"):
            TrainingConfig.from_config({"augmentation": given_})


def test_mixup_may_stand_in_either_place(engine):
    fitted(augmentation=Augmentation(mixup=0.3), epochs=1)
    fitted(mixup=0.3, epochs=1)
    for call in asked(engine, "train"):
        assert "augmentation" not in call  # which changes no image by itself
        assert call["mixup"] == 0.3
    with pytest.raises(
        ConfigurationError,
        match=r"^training\.mixup and training\.augmentation\.mixup are one setting, got both$",
    ):
        TrainingConfig(mixup=0.1, augmentation=Augmentation(mixup=0.3))


@pytest.mark.parametrize("optimizer", [SGD(learning_rate=0.1), Adam()])
def test_augmented_training_goes_on_to_the_same_bits(tmp_path, optimizer):
    options = {
        "optimizer": optimizer,
        "augmentation": Augmentation(shift=1, rotation=20, cutout=0.3, mixup=0.4),
    }
    whole = fitted(**options, threads=2)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        fitted(**options, arguments={"checkpoint": path, "on_epoch": stop_after(2)})
    run = fitted(**options, arguments={"checkpoint": path}, threads=1)
    assert run.resumed_from == 2
    assert_same_bits(run, whole)
    plain = fitted(optimizer=optimizer)
    assert set(plain.history.loss).isdisjoint(whole.history.loss)


# --- Optimisers and schedules ---------------------------------------------------------------------


def test_the_history_has_the_rate_of_each_epochs_last_step(engine):
    schedule = PiecewiseConstantDecay(boundaries=(3, 9), values=(0.1, 0.03, 0.001))
    run = fitted(optimizer=SGD(learning_rate=schedule))
    assert run.history.learning_rate == (0.03, 0.03, 0.001, 0.001)
    rates = [call["learning_rate"] for call in asked(engine, "train")]
    assert np.concatenate(rates).tobytes() == schedule.rates(0, 20, 20).tobytes()
    assert {(array.dtype, array.shape) for array in rates} == {(np.dtype(np.float32), (5,))}
    cosine = fitted(optimizer=SGD(learning_rate=CosineDecay(initial_learning_rate=0.2)))
    last = CosineDecay(initial_learning_rate=0.2).rates(0, 20, 20)[4::5]
    assert cosine.history.learning_rate == pytest.approx(last)


def test_the_rate_falls_on_a_plateau(engine):
    plateau = ReduceLROnPlateau(patience=0, min_delta=1e6, factor=0.5, min_lr=0.02)
    told = []
    run = fitted(
        optimizer=SGD(learning_rate=0.1),
        reduce_on_plateau=plateau,
        epochs=5,
        arguments={"on_epoch": told.append},
    )
    assert run.history.learning_rate == (0.1, 0.1, 0.05, 0.025, 0.02)
    assert tuple(epoch.learning_rate for epoch in told) == run.history.learning_rate
    rates = [call["learning_rate"] for call in asked(engine, "train")]
    assert rates == [float(np.float32(rate)) for rate in run.history.learning_rate]


def test_divergence_names_the_rate_of_the_step(engine):
    schedule = PiecewiseConstantDecay(boundaries=(6,), values=(1e-3, 1e30))
    with (
        pytest.raises(
            TrainingError, match=r"finite in epoch 2, step [3-5] at the learning rate 1e\+30; try"
        ),
        np.errstate(all="ignore"),
    ):
        fitted(optimizer=SGD(learning_rate=schedule))


def test_training_is_that_of_the_formulas(engine):
    """Two hidden layers by Adam, every epoch from the state that the last one left."""
    optimizer = Adam(learning_rate=0.01, weight_decay=0.02, clipnorm=0.5)
    run = fitted(optimizer=optimizer, network=model(), shuffle=False)
    network = numpy_engine.Network(
        run.model.layers, run.model.layer_input_shape, optimizer=optimizer
    )
    network.set_weights(model().weights())
    images = network.prepare(TRAIN.images.reshape(75, -1), scale=1 / 255)
    order = np.arange(75)
    for epoch in range(4):
        network.train(
            images, TRAIN.labels, order, batch_size=16, learning_rate=0.01, first_step=5 * epoch
        )
    for found, want in zip(run.model.weights(), network.weights(), strict=True):
        assert found.tobytes() == want.tobytes()


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(learning_rate=OneCycle(peak_learning_rate=0.2)),
        SGD(learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=0.01, clipnorm=0.3),
        Adam(learning_rate=0.005, global_clipnorm=0.5),
        AdamW(learning_rate=0.005, use_ema=True, ema_momentum=0.9, clipvalue=0.02),
        Muon(learning_rate=0.01, use_ema=True, ema_momentum=0.7),
        Muon(learning_rate=0.01, nesterov=False, momentum=0.6, hold_norm=True),
    ],
    ids=["one cycle", "nesterov", "adam", "adamw", "muon", "muon that holds norms"],
)
def test_the_engine_trains_as_the_formulas_do(monkeypatch, optimizer):
    options = {
        "optimizer": optimizer,
        "label_smoothing": 0.1,
        "class_weight": {"one": 2.0},
        "arguments": {"sample_weight": np.linspace(0.5, 1.5, 75)},
    }
    found = fitted(**options, network=model(units=(9, 7)))
    monkeypatch.setattr("inkproof.training.Network", numpy_engine.Network)
    wanted = fitted(**options, network=model(units=(9, 7)))
    for name, column in wanted.history.history.items():
        assert found.history.history[name] == pytest.approx(column, abs=2e-5), name
    for one, other in zip(found.model.weights(), wanted.model.weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    moved = np.abs(found.model.weights()[0] - model(units=(9, 7)).weights()[0]).max()
    assert moved > 1e-2


def test_the_averaged_weights_are_validated_and_kept(engine):
    momentum = 0.8
    optimizer = AdamW(learning_rate=0.02, use_ema=True, ema_momentum=momentum)
    trained = []
    for epochs in (1, 2, 3):
        plain = AdamW(learning_rate=0.02)
        trained.append(fitted(optimizer=plain, epochs=epochs, batch_size=75).model.weights())
    engine.clear()
    run = fitted(optimizer=optimizer, epochs=3, batch_size=75)
    average = [array.astype(np.float64) for array in model(units=(6,)).weights()]
    for weights, call in zip(trained, asked(engine, "evaluate"), strict=True):
        average = reference.averaged(average, weights, momentum)
        for found, want in zip(call["weights"], average, strict=True):
            np.testing.assert_allclose(found, want, atol=1e-6)
    for found, want in zip(run.model.weights(), call["weights"], strict=True):
        assert found.tobytes() == want.tobytes()
    assert np.abs(run.model.weights()[0] - trained[-1][0]).max() > 1e-3


# --- Interruptions --------------------------------------------------------------------------------

OPTIMIZERS = st.sampled_from(
    [
        SGD(learning_rate=0.1),
        SGD(learning_rate=0.1, momentum=0.9, nesterov=True),
        SGD(learning_rate=0.5, use_ema=True, ema_momentum=0.9),
        Adam(learning_rate=OneCycle(peak_learning_rate=0.05)),
        AdamW(learning_rate=0.03, use_ema=True, ema_momentum=0.9, global_clipnorm=0.1),
        Muon(hold_norm=True),
    ]
)
STOPPING = st.sampled_from(
    [
        None,
        EarlyStopping(patience=0, min_delta=0.03),
        EarlyStopping(monitor="val_accuracy", patience=2),
        EarlyStopping(patience=1, min_delta=0.05, restore_best_weights=False),
        EarlyStopping(patience=50, min_delta=0.1),
    ]
)
PLATEAU = st.sampled_from([None, ReduceLROnPlateau(patience=1, min_delta=0.05, factor=0.3)])


@settings(deadline=None, max_examples=60)
@given(optimizer=OPTIMIZERS, stopping=STOPPING, plateau=PLATEAU, stops=st.sets(st.integers(1, 6)))
def test_interrupted_training_goes_on_to_the_same_bits(
    tmp_path_factory, optimizer, stopping, plateau, stops
):
    if isinstance(optimizer.learning_rate, OneCycle):
        plateau = None
    options = {
        "optimizer": optimizer,
        "early_stopping": stopping,
        "reduce_on_plateau": plateau,
        "epochs": 7,
    }
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inkproof.training.Network", numpy_engine.Network)
        whole = fitted(**options)
        for stop in sorted(stops):
            if stop <= len(whole.history):
                arguments = {"checkpoint": path, "on_epoch": stop_after(stop)}
                with pytest.raises(Stop):
                    fitted(**options, arguments=arguments)
        run = fitted(**options, arguments={"checkpoint": path})
        again = fitted(**options, arguments={"checkpoint": path})
    for other in (run, again):
        assert_same_bits(other, whole)
        assert (other.stopped_by, other.best_epoch) == (whole.stopped_by, whole.best_epoch)
    assert run.resumed_from == max([stop for stop in stops if stop <= len(whole.history)] or [0])
    assert again.resumed_from == len(whole.history)


NETWORKS = {
    "dense": lambda: model(units=(6,)),
    "convolution": lambda: Model(
        [
            Conv2D(5, 3, use_bias=False),
            BatchNormalization(),
            Activation("relu"),
            Flatten(),
            Dropout(0.3),
            Dense(7, activation="gelu"),
            Dense(3, activation="softmax"),
        ],
        input_shape=(4, 4, 1),
        seed=3,
    ),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(learning_rate=0.05),
        SGD(learning_rate=0.05, momentum=0.9, nesterov=True),
        SGD(learning_rate=CosineDecay(initial_learning_rate=0.1, decay_steps=20)),
        Adam(learning_rate=0.01),
        AdamW(learning_rate=0.01, use_ema=True, ema_momentum=0.9),
        Muon(use_ema=True, ema_momentum=0.8),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_the_engine_goes_on_to_the_same_bits(tmp_path, network, optimizer):
    """All layers and optimisers that remember something, by the engine itself."""
    options = {
        "optimizer": optimizer,
        "early_stopping": EarlyStopping(patience=2, min_delta=0.02),
        "class_weight": "balanced",
        "label_smoothing": 0.05,
        "epochs": 6,
    }
    make = NETWORKS[network]
    whole = fitted(**options, network=make(), threads=2)
    path = tmp_path / "checkpoint.safetensors"
    stops = [stop for stop in (1, 3) if stop <= len(whole.history)]
    for stop in stops:
        arguments = {"checkpoint": path, "on_epoch": stop_after(stop)}
        with pytest.raises(Stop):
            fitted(**options, network=make(), arguments=arguments, threads=1)
    run = fitted(**options, network=make(), arguments={"checkpoint": path}, threads=1)
    again = fitted(**options, network=make(), arguments={"checkpoint": path})
    threads = itertools.cycle([1, 3, 3, 2])
    changing = fitted(**options, network=make(), arguments={"threads": lambda: next(threads)})
    assert run.resumed_from == stops[-1]
    assert again.resumed_from == len(whole.history)
    assert changing.threads == [1, 3, 3, 2, 1, 3][len(whole.history) - 1]
    for other in (run, again, changing):
        assert_same_bits(other, whole)
        assert (other.stopped_by, other.best_epoch) == (whole.stopped_by, whole.best_epoch)
    assert whole.history.loss[-1] < whole.history.loss[0]


@pytest.mark.parametrize("optimizer", [Adam(), AdamW(use_ema=True), SGD()])
def test_dropout_draws_anew_each_epoch(optimizer):
    """With a rate too small to move a weight, epochs differ by what is dropped alone."""
    still = dataclasses.replace(optimizer, learning_rate=1e-30)
    layers = [Flatten(), Dropout(0.5), Dense(3, activation="softmax")]
    network = Model(layers, input_shape=(4, 4, 1), seed=1)
    run = fitted(optimizer=still, network=network, epochs=3, shuffle=False)
    assert len(set(run.history.loss)) == 3
    assert len(set(run.history.val_loss)) == 1
    other = fitted(
        optimizer=still,
        network=Model(layers, input_shape=(4, 4, 1), seed=1),
        epochs=3,
        shuffle=False,
        seed=6,
    )
    assert set(run.history.loss).isdisjoint(other.history.loss)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("memory"),
        lambda d: d.update(memory="first/0000"),
        lambda d: d.update(memory=["first/0000", "first/99"]),
        lambda d: d.update(memory=[{}, "x"]),
        lambda d: d.update(memory=[*d["memory"], "third/0000"]),
    ],
)
def test_a_checkpoint_with_a_damaged_memory_is_replaced(engine, tmp_path, change):
    path = tmp_path / "checkpoint.safetensors"
    fitted(optimizer=Adam(), epochs=2, arguments={"checkpoint": path})
    path.write_bytes(rewritten(path.read_bytes(), change))
    run = fitted(optimizer=Adam(), arguments={"checkpoint": path})
    assert run.resumed_from == 0
    assert_same_bits(run, fitted(optimizer=Adam()))


def test_more_epochs_go_on_where_the_rates_stay_what_they_are(engine, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    step = Adam(learning_rate=PiecewiseConstantDecay(boundaries=(7,), values=(0.01, 0.001)))
    cycle = Adam(learning_rate=OneCycle(peak_learning_rate=0.01))
    for optimizer, resumed in ((step, 4), (cycle, 0)):
        fitted(optimizer=optimizer, arguments={"checkpoint": path})
        longer = fitted(optimizer=optimizer, epochs=6, arguments={"checkpoint": path})
        assert longer.resumed_from == resumed
        assert_same_bits(longer, fitted(optimizer=optimizer, epochs=6))


OTHERS = [
    {"optimizer": Adam(beta_1=0.8)},
    {"optimizer": Adam(), "label_smoothing": 0.1},
    {"optimizer": Adam(), "class_weight": "balanced"},
    {"optimizer": Adam(), "mixup": 0.1},
    {"optimizer": Adam(), "early_stopping": EarlyStopping()},
    {"optimizer": Adam(), "arguments": {"sample_weight": np.full(75, 0.5)}},
]


@pytest.mark.parametrize("other", OTHERS)
def test_the_checkpoint_of_another_training_is_replaced(engine, tmp_path: Path, other):
    path = tmp_path / "checkpoint.safetensors"
    fitted(optimizer=Adam(), arguments={"checkpoint": path})
    more = other.get("arguments", {}) | {"checkpoint": path}
    assert fitted(**other | {"arguments": more}).resumed_from == 0
    assert fitted(**other | {"arguments": more}).resumed_from == 4


# --- When it ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("real", [True, False])
def test_early_stopping_gives_back_the_best_weights(monkeypatch, real):
    if not real:
        monkeypatch.setattr("inkproof.training.Network", numpy_engine.Network)
    stopping = EarlyStopping(patience=2, min_delta=0.04)
    optimizer = SGD(learning_rate=0.1)
    run = fitted(optimizer=optimizer, early_stopping=stopping, epochs=50)
    assert run.stopped_by == "early_stopping"
    assert len(run.history) < 50
    assert run.best_epoch == len(run.history) - 2
    assert run.history.params["epochs"] == 50
    best = fitted(optimizer=optimizer, epochs=run.best_epoch)
    for found, want in zip(run.model.weights(), best.model.weights(), strict=True):
        assert found.tobytes() == want.tobytes()
    assert best.history.val_loss == run.history.val_loss[: run.best_epoch]
    last = fitted(
        optimizer=optimizer,
        epochs=50,
        early_stopping=EarlyStopping(patience=2, min_delta=0.04, restore_best_weights=False),
    )
    assert last.best_epoch is None
    assert len(last.history) == len(run.history)
    assert last.model.weights()[0].tobytes() != run.model.weights()[0].tobytes()


def test_the_best_weights_are_given_back_at_the_end_too(engine):
    stopping = EarlyStopping(patience=40, min_delta=0.3)
    run = fitted(optimizer=SGD(learning_rate=0.1), early_stopping=stopping, epochs=8)
    assert run.stopped_by is None
    assert len(run.history) == 8
    assert run.best_epoch < 8
    best = fitted(optimizer=SGD(learning_rate=0.1), epochs=run.best_epoch)
    assert run.model.weights()[0].tobytes() == best.model.weights()[0].tobytes()


@pytest.mark.parametrize(
    ("key", "value"),
    [("early_stopping", EarlyStopping()), ("reduce_on_plateau", ReduceLROnPlateau())],
)
def test_what_watches_validation_needs_it(key, value):
    network = model(units=(6,))
    with pytest.raises(
        ConfigurationError,
        match=rf"^training\.{key} needs validation data; give train\(\) a validation split",
    ):
        fitted(validation=None, network=network, **{key: value})
    assert network.weights()[0].tobytes() == model(units=(6,)).weights()[0].tobytes()
    fitted(validation=None, epochs=1, reduce_on_plateau=ReduceLROnPlateau(monitor="loss"))
    with pytest.raises(DataError, match="role is 'validation', got 'test'"):
        fitted(validation=split(20, "test"), early_stopping=EarlyStopping())


def test_a_time_budget_ends_it_and_a_larger_one_goes_on(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    for _ in range(2):
        run = fitted(time_budget_seconds=1e-9, arguments={"checkpoint": path})
        assert (len(run.history), run.stopped_by) == (1, "time_budget")
    more = fitted(time_budget_seconds=1000.0, arguments={"checkpoint": path})
    assert (more.resumed_from, len(more.history), more.stopped_by) == (1, 4, None)
    assert_same_bits(more, fitted())


def test_a_callback_may_end_it(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    told, both = [], []
    callbacks = [lambda epoch: epoch.number == 2, both.append]
    arguments = {"checkpoint": path, "callbacks": callbacks, "on_epoch": told.append}
    run = fitted(arguments=arguments)
    assert (len(run.history), run.stopped_by, told) == (2, "callback", both)
    again = fitted(arguments=arguments)
    assert (again.resumed_from, again.stopped_by, len(told)) == (2, "callback", 2)
    assert_same_bits(again, run)
    more = fitted(arguments={"checkpoint": path})
    assert (more.resumed_from, len(more.history), more.stopped_by) == (2, 4, None)
    assert_same_bits(more, fitted())


def test_a_callback_may_raise(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    network = model(units=(6,))
    with pytest.raises(Stop):
        fitted(network=network, arguments={"checkpoint": path, "callbacks": [stop_after(3)]})
    three = fitted(epochs=3)
    assert network.weights()[0].tobytes() == three.model.weights()[0].tobytes()
    run = fitted(arguments={"checkpoint": path, "callbacks": [lambda epoch: None]})
    assert (run.resumed_from, len(run.history)) == (3, 4)


# --- Weights of images ----------------------------------------------------------------------------

COUNTS = np.bincount(TRAIN.labels, minlength=3)


@pytest.mark.parametrize(
    ("class_weight", "of_classes"),
    [
        ({"one": 2.0, 2: 0.5}, [1, 2, 0.5]),
        ({"0": 3}, [3, 1, 1]),
        ("balanced", 75 / (3 * COUNTS)),
    ],
)
@pytest.mark.parametrize("of_images", [None, np.linspace(0, 2, 75)])
def test_a_row_weighs_what_its_class_and_itself_do(engine, class_weight, of_classes, of_images):
    fitted(class_weight=class_weight, epochs=1, arguments={"sample_weight": of_images})
    (call,) = asked(engine, "train")
    wanted = np.asarray(of_classes)[TRAIN.labels] * (1 if of_images is None else of_images)
    assert call["row_weights"].dtype == np.float32
    np.testing.assert_allclose(call["row_weights"], wanted, rtol=1e-6)


def test_an_image_of_weight_zero_is_as_good_as_absent(engine):
    twice = np.array([0, 2] * 37 + [0])
    rows = np.arange(75)[twice > 0]
    optimizer = SGD(learning_rate=0.1)
    weighted = fitted(
        optimizer=optimizer,
        batch_size=75,
        shuffle=False,
        epochs=1,
        arguments={"sample_weight": twice},
    )
    half = fitted(
        given=TRAIN.subset(rows),
        optimizer=SGD(learning_rate=0.1 * 2 * 37 / 75),
        batch_size=75,
        shuffle=False,
        epochs=1,
    )
    for found, want in zip(weighted.model.weights(), half.model.weights(), strict=True):
        np.testing.assert_allclose(found, want, atol=1e-6)


@pytest.mark.parametrize(
    ("sample_weight", "message"),
    [
        (np.ones(74), "train: sample_weight must be real numbers (75,), an image a number, "),
        (["1"] * 75, "train: sample_weight must be real numbers (75,), an image a number, "),
        (
            [1.0] * 74 + [-1.0],
            "train: sample_weight must be finite and at least 0, got -1 for image 74",
        ),
        (
            [np.nan] + [1.0] * 74,
            "train: sample_weight must be finite and at least 0, got nan for image 0",
        ),
        (np.zeros(75), "train: at least one training image must weigh more than 0"),
        (np.full(75, 1e300), "train: weights of images must lie within what float32 holds"),
    ],
)
def test_what_sample_weights_must_be(sample_weight, message):
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        fitted(arguments={"sample_weight": sample_weight})


def test_what_class_weights_must_name():
    with pytest.raises(
        UnknownNameError,
        match=r"^training\.class_weight: unknown class 'on'; known: nought, one, two\. "
        r"Did you mean 'one'\?$",
    ):
        fitted(class_weight={"on": 2})
    with pytest.raises(UnknownNameError, match="unknown class '3'"):
        fitted(class_weight={3: 2})
    with pytest.raises(
        ConfigurationError, match=r"^training\.class_weight: '1' and 'one' are one class$"
    ):
        fitted(class_weight={"one": 2, 1: 2})


# --- The configuration ----------------------------------------------------------------------------


def test_all_of_it_survives_json():
    parts = {
        "optimizer": [SGD(momentum=0.9), AdamW(learning_rate=OneCycle(peak_learning_rate=0.1))],
        "label_smoothing": [0.0, 0.1],
        "class_weight": [None, "balanced", {"one": 2, 0: 0.5}],
        "mixup": [0.0, 0.2],
        "early_stopping": [None, EarlyStopping(patience=3)],
        "time_budget_seconds": [None, 60.0],
    }
    for values in itertools.product(*parts.values()):
        config = TrainingConfig(**dict(zip(parts, values, strict=True)))
        assert TrainingConfig.from_config(config.config()) == config
    config = TrainingConfig(reduce_on_plateau=ReduceLROnPlateau(patience=2))
    assert TrainingConfig.from_config(config.config()) == config
    assert isinstance(hash(TrainingConfig(class_weight={"one": 2})), int)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (
            {"label_smoothing": 1},
            "training.label_smoothing must be a share from 0 to below 1, got 1",
        ),
        ({"mixup": -0.1}, "training.mixup must be a number of at least 0, got -0.1"),
        (
            {"time_budget_seconds": 0},
            "training.time_budget_seconds must be a number above 0, got 0",
        ),
        (
            {"class_weight": "balance"},
            "training.class_weight must be \"balanced\" or a table of weights, got 'balance'",
        ),
        (
            {"class_weight": {}},
            'training.class_weight must be "balanced" or a table of weights, got {}',
        ),
        (
            {"class_weight": {"one": -1}},
            "training.class_weight.one must be a number of at least 0, got -1",
        ),
        (
            {"class_weight": {1: 2, "1": 2}},
            "training.class_weight must name each class once, got {1: 2, '1': 2}",
        ),
        (
            {"class_weight": {1.5: 1}},
            "training.class_weight: a class must be a name or a number from 0, got 1.5",
        ),
        (
            {"early_stopping": {"patience": "x"}},
            "training.early_stopping.patience must be a whole number of at least 0, got 'x'",
        ),
        ({"early_stopping": True}, "training.early_stopping must be a table, got True"),
        (
            {
                "reduce_on_plateau": {},
                "optimizer": {
                    "learning_rate": {"schedule": "one_cycle", "peak_learning_rate": 0.1}
                },
            },
            "training.reduce_on_plateau needs a constant training.optimizer.learning_rate, "
            "got the schedule 'one_cycle'",
        ),
    ],
)
def test_what_a_configuration_must_be(given_, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        TrainingConfig.from_config(given_)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"augmentation": 3}, "training.augmentation must be an inkproof.Augmentation, got 3"),
        ({"early_stopping": 3}, "training.early_stopping must be an inkproof.EarlyStopping, got 3"),
        (
            {"reduce_on_plateau": 3},
            "training.reduce_on_plateau must be an inkproof.ReduceLROnPlateau, got 3",
        ),
    ],
)
def test_what_the_parts_must_be(given_, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        TrainingConfig(**given_)
