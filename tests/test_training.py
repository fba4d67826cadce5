"""Training against float64 NumPy; interruptions, resumption, bad input."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from inkproof import model_file
from inkproof.checkpoint import Checkpoint, State
from inkproof.data import Split, load
from inkproof.errors import (
    Cancelled,
    ConfigurationError,
    DataError,
    ModelError,
    StorageError,
    TrainingError,
    UnknownNameError,
)
from inkproof.history import COLUMNS
from inkproof.layers import Activation, Dense
from inkproof.model import Model, Preprocessing
from inkproof.randomness import Use, permutation
from inkproof.training import SGD, TrainingConfig, train

CLASSES = ("nought", "one", "two")


def split(count, role="train", *, side=4, seed=1, classes=CLASSES):
    """Make noisy images whose brightness tells the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(classes), count)
    images = rng.integers(0, 100, (count, side, side, 1)) + 60 * labels[:, None, None, None]
    images[rng.random(images.shape) < 0.3] = 0
    return Split(images=images.astype(np.uint8), labels=labels, role=role, class_names=classes)


def model(*, units=(9, 7), side=4, classes=3, seed=3, **rest):
    layers = [Dense(count, activation="relu") for count in units]
    return Model(
        [*layers, Dense(classes, activation="softmax")],
        input_shape=(side, side, 1),
        seed=seed,
        **rest,
    )


TRAIN, VALIDATION = split(75), split(20, "validation", seed=2)
CONFIG = TrainingConfig(epochs=4, batch_size=8, optimizer=SGD(learning_rate=0.1), seed=5)


def config(**changes):
    return TrainingConfig.from_config(CONFIG.config() | changes)


def without_seconds(history):
    columns = history.columns()
    del columns["seconds"]
    return columns


def assert_same_bits(left, right):
    """Compare two runs: weights, and all that the history says but the time it took."""
    for one, other in zip(left.model.weights(), right.model.weights(), strict=True):
        assert one.tobytes() == other.tobytes()
    assert without_seconds(left.history) == without_seconds(right.history)
    assert left.history.params == right.history.params


# --- What training computes -----------------------------------------------------------------------


class Reference:
    """Keras' ``fit`` for ReLU networks as the textbook has it, in float64."""

    def __init__(self, weights):
        self.weights = [array.astype(np.float64) for array in weights]

    def forward(self, images):
        outputs = [images.reshape(len(images), -1) / 255]
        pairs = list(zip(self.weights[::2], self.weights[1::2], strict=True))
        for kernel, bias in pairs[:-1]:
            outputs.append(np.maximum(outputs[-1] @ kernel + bias, 0))
        sums = outputs[-1] @ pairs[-1][0] + pairs[-1][1]
        powers = np.exp(sums - sums.max(axis=1, keepdims=True))
        return outputs, powers / powers.sum(axis=1, keepdims=True)

    def score(self, images, labels):
        _, probabilities = self.forward(images)
        losses = -np.log(probabilities[np.arange(len(labels)), labels])
        return losses.sum(), np.count_nonzero(probabilities.argmax(axis=1) == labels)

    def step(self, images, labels, rate):
        outputs, probabilities = self.forward(images)
        error = (probabilities - np.eye(probabilities.shape[1])[labels]) / len(labels)
        for index in range(len(self.weights) - 2, -1, -2):
            inputs, kernel = outputs.pop(), self.weights[index]
            self.weights[index] = kernel - rate * (inputs.T @ error)
            self.weights[index + 1] = self.weights[index + 1] - rate * error.sum(axis=0)
            error = (error @ kernel.T) * (inputs > 0)

    def epoch(self, data, order, batch_size, rate):
        loss, hits = 0.0, 0
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            batch = data.images[rows], data.labels[rows]
            batch_loss, batch_hits = self.score(*batch)
            loss, hits = loss + batch_loss, hits + batch_hits
            self.step(*batch, rate)
        return loss / len(order), hits / len(order)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 8, 32, 100])
def test_training_is_that_of_float64(shuffle, batch_size):
    network = model()
    reference = Reference(network.weights())
    wanted = {"loss": [], "accuracy": [], "val_loss": [], "val_accuracy": []}
    settings_ = config(batch_size=batch_size, shuffle=shuffle, epochs=3)
    for number in (1, 2, 3):
        order = np.arange(len(TRAIN))
        if shuffle:
            order = permutation(len(TRAIN), Use.BATCH_ORDER, seed=5, index=number)
        loss, accuracy = reference.epoch(TRAIN, order, batch_size, 0.1)
        val_loss, val_hits = reference.score(VALIDATION.images, VALIDATION.labels)
        wanted["loss"].append(loss)
        wanted["accuracy"].append(accuracy)
        wanted["val_loss"].append(val_loss / len(VALIDATION))
        wanted["val_accuracy"].append(val_hits / len(VALIDATION))
    run = train(network, TRAIN, VALIDATION, settings_)
    assert run.history.history.keys() == wanted.keys()
    for name, values in wanted.items():
        assert run.history.history[name] == pytest.approx(values, abs=2e-5), name
    for found, expected in zip(network.weights(), reference.weights, strict=True):
        assert np.abs(found - expected).max() < 2e-5
    moved = np.abs(network.weights()[0] - model().weights()[0]).max()
    assert moved > 1e-3


def test_the_history_has_what_keras_has():
    run = train(model(), TRAIN, VALIDATION, CONFIG)
    history = run.history
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history.params == {"epochs": 4, "steps": 10, "batch_size": 8}
    assert history.epoch == [0, 1, 2, 3]
    assert history.learning_rate == (0.1,) * 4
    assert len(history.seconds) == 4
    assert min(history.seconds) > 0
    assert (run.config, run.resumed_from) == (CONFIG, 0)
    assert history.loss[-1] < history.loss[0]


def test_without_validation_there_are_no_such_columns():
    told = []
    run = train(model(), TRAIN, config=CONFIG, on_epoch=told.append)
    assert list(run.history.history) == ["loss", "accuracy"]
    assert [(epoch.val_loss, epoch.val_accuracy) for epoch in told] == [(None, None)] * 4
    with_validation = train(model(), TRAIN, VALIDATION, CONFIG)
    assert run.history.loss == with_validation.history.loss


def test_each_epoch_is_told_when_it_is_done():
    told = []
    run = train(model(), TRAIN, VALIDATION, CONFIG, on_epoch=told.append)
    assert [(epoch.number, epoch.epochs) for epoch in told] == [(n, 4) for n in (1, 2, 3, 4)]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"):
        assert tuple(getattr(epoch, name) for epoch in told) == getattr(run.history, name)
    for epoch in told:
        assert epoch.images_per_second >= len(TRAIN) / epoch.seconds


def test_progress_rises_within_an_epoch():
    data = split(12_000, side=28)
    told = []
    train(
        model(units=(500, 300), side=28),
        data,
        config=config(epochs=2, batch_size=32, threads=1),
        on_progress=told.append,
    )
    for number in (1, 2):
        done = [progress.images_done for progress in told if progress.epoch == number]
        assert done == sorted(set(done))
        assert done[0] == 0
        assert 0 < done[1] <= done[-1] < len(data)
    assert [progress.epoch for progress in told] == sorted(progress.epoch for progress in told)
    assert {(progress.epochs, progress.images) for progress in told} == {(2, 12_000)}


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_bit(threads):
    alone = train(model(units=(70, 50)), TRAIN, VALIDATION, config(threads=1))
    together = train(model(units=(70, 50)), TRAIN, VALIDATION, config(threads=threads))
    assert (alone.threads, together.threads) == (1, threads)
    assert alone.isa == together.isa
    assert_same_bits(alone, together)


def test_the_number_of_threads_may_change_between_epochs():
    numbers = iter([1, 2, 2, 1, 3])
    changing = train(
        model(units=(70, 50)),
        TRAIN,
        VALIDATION,
        config(epochs=5, threads=1),
        threads=lambda: next(numbers),
    )
    alone = train(model(units=(70, 50)), TRAIN, VALIDATION, config(epochs=5, threads=1))
    assert (alone.threads, changing.threads) == (1, 3)
    assert_same_bits(alone, changing)
    with pytest.raises(ConfigurationError, match="threads must be 1 to 256, got 0"):
        train(model(), TRAIN, None, config(epochs=1), threads=lambda: 0)


def test_seeds_fix_the_order_and_nothing_else():
    first = train(model(), TRAIN, VALIDATION, CONFIG)
    assert_same_bits(first, train(model(), TRAIN, VALIDATION, CONFIG))
    assert first.history.loss != train(model(), TRAIN, VALIDATION, config(seed=6)).history.loss
    unshuffled = [
        train(model(), TRAIN, VALIDATION, config(seed=seed, shuffle=False)) for seed in (5, 6)
    ]
    assert_same_bits(*unshuffled)


def test_both_names_of_the_loss_are_one_function():
    sparse = train(model(), TRAIN, VALIDATION, CONFIG)
    one_hot = train(model(), TRAIN, VALIDATION, config(loss="categorical_crossentropy"))
    assert_same_bits(sparse, one_hot)


def test_an_activation_may_be_a_layer_of_its_own():
    joined = model(units=(9,))
    apart = Model(
        [Dense(9), Activation("relu"), Dense(3), Activation("softmax")],
        input_shape=(4, 4, 1),
        seed=3,
    )
    apart.set_weights(joined.weights())
    assert_same_bits(
        train(joined, TRAIN, VALIDATION, CONFIG), train(apart, TRAIN, VALIDATION, CONFIG)
    )


# --- Interruptions --------------------------------------------------------------------------------


class Stop(Exception):
    pass


def stop_after(number):
    def on_epoch(epoch):
        if epoch.number == number:
            raise Stop

    return on_epoch


@settings(deadline=None, max_examples=40)
@given(
    epochs=st.integers(2, 5),
    stops=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    batch_size=st.sampled_from([1, 7, 32, 75, 76]),
    threads=st.lists(st.sampled_from([1, 2]), min_size=4, max_size=4),
    shuffle=st.booleans(),
    has_validation=st.booleans(),
)
def test_interrupted_training_goes_on_to_the_same_bits(
    tmp_path_factory, epochs, stops, batch_size, threads, shuffle, has_validation
):
    validation = VALIDATION if has_validation else None
    settings_ = {"epochs": epochs, "batch_size": batch_size, "shuffle": shuffle}
    whole = train(model(), TRAIN, validation, config(**settings_))
    checkpoint = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    done = 0
    for stop, count in zip(sorted({min(stop, epochs) for stop in stops}), threads, strict=False):
        with pytest.raises(Stop):
            train(
                model(),
                TRAIN,
                validation,
                config(**settings_, threads=count),
                on_epoch=stop_after(stop),
                checkpoint=checkpoint,
            )
        done = stop
    told = []
    run = train(
        model(),
        TRAIN,
        validation,
        config(**settings_, threads=threads[-1]),
        on_epoch=told.append,
        checkpoint=str(checkpoint),
    )
    assert run.resumed_from == done
    assert [epoch.number for epoch in told] == list(range(done + 1, epochs + 1))
    assert_same_bits(run, whole)


def test_an_interruption_leaves_the_weights_of_the_last_finished_epoch():
    network = model(units=(300,), side=28)
    data = split(8000, side=28)
    done = []
    cancel = threading.Event()

    def on_progress(progress):
        if progress.epoch >= 3 and progress.images_done:
            cancel.set()  # so that the next question, in the middle of an epoch, ends it

    with pytest.raises(Cancelled, match=r"^training was cancelled$"):
        train(
            network,
            data,
            config=config(epochs=1_000_000, batch_size=4, threads=1),
            on_epoch=done.append,
            on_progress=on_progress,
            cancel=cancel,
        )
    expected = model(units=(300,), side=28)
    train(expected, data, config=config(epochs=len(done), batch_size=4))
    for found, want in zip(network.weights(), expected.weights(), strict=True):
        assert found.tobytes() == want.tobytes()


def test_cancelled_before_it_began():
    cancel = threading.Event()
    cancel.set()
    network = model()
    with pytest.raises(Cancelled):
        train(network, TRAIN, VALIDATION, CONFIG, cancel=cancel)
    for found, want in zip(network.weights(), model().weights(), strict=True):
        assert found.tobytes() == want.tobytes()


def test_another_thread_cancels_at_once():
    cancel = threading.Event()
    data = split(20_000, side=28)
    begun = threading.Event()
    raised = []

    def work():
        try:
            train(
                model(units=(500, 500), side=28),
                data,
                config=config(epochs=1000, batch_size=8, threads=1),
                on_progress=lambda progress: begun.set(),
                cancel=cancel,
            )
        except Cancelled as error:
            raised.append((error, time.perf_counter()))

    worker = threading.Thread(target=work)
    worker.start()
    assert begun.wait(60)
    asked = time.perf_counter()
    cancel.set()
    worker.join(60)
    [(_, ended)] = raised
    assert ended - asked < 3  # a tenth on a quiet machine


INTERRUPTED = """
import hashlib, sys
import test_training as here
try:
    network = here.model(units=(300, 300), side=28)
    here.train(
        network,
        here.split(10_000, side=28),
        here.split(500, "validation", side=28, seed=2),
        here.config(epochs=100_000, threads=2),
        on_epoch=lambda epoch: print(epoch.number, flush=True),
        checkpoint=sys.argv[1],
    )
except KeyboardInterrupt:
    digest = hashlib.sha256(b"".join(array.tobytes() for array in network.weights()))
    print("interrupted", digest.hexdigest(), flush=True)
    raise SystemExit(130) from None
"""


def test_ctrl_c_keeps_what_was_done(tmp_path: Path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(checkpoint)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    )
    with child:
        for wanted in ("1\n", "2\n"):
            assert child.stdout.readline() == wanted
        asked = time.perf_counter()
        child.send_signal(signal.SIGINT)
        *more, last = child.stdout.read().splitlines()
        took = time.perf_counter() - asked
        assert child.wait() == 130
    assert took < 3  # 0.2 on a quiet machine
    word, digest = last.split()
    assert word == "interrupted"
    network = model(units=(300, 300), side=28)
    done = 2 + len(more)
    run = train(
        network,
        split(10_000, side=28),
        split(500, "validation", side=28, seed=2),
        config(epochs=done, threads=1),
        checkpoint=checkpoint,
    )
    assert run.resumed_from == done
    whole = train(
        model(units=(300, 300), side=28),
        split(10_000, side=28),
        split(500, "validation", side=28, seed=2),
        config(epochs=done, threads=1),
    )
    assert_same_bits(run, whole)
    assert digest == sha256_of(whole.model)


def sha256_of(network):
    return hashlib.sha256(b"".join(array.tobytes() for array in network.weights())).hexdigest()


# --- Checkpoints ----------------------------------------------------------------------------------


def test_finished_training_is_not_done_again(tmp_path: Path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    first = train(model(), TRAIN, VALIDATION, CONFIG, checkpoint=checkpoint)
    told = []
    again = train(model(), TRAIN, VALIDATION, CONFIG, checkpoint=checkpoint, on_epoch=told.append)
    assert (told, again.resumed_from) == ([], 4)
    assert_same_bits(first, again)
    assert first.history == again.history


def test_more_epochs_go_on_from_where_it_was(tmp_path: Path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    train(model(), TRAIN, VALIDATION, CONFIG, checkpoint=checkpoint)
    longer = train(model(), TRAIN, VALIDATION, config(epochs=7), checkpoint=checkpoint)
    assert longer.resumed_from == 4
    assert_same_bits(longer, train(model(), TRAIN, VALIDATION, config(epochs=7)))


def test_fewer_epochs_begin_anew(tmp_path: Path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    train(model(), TRAIN, VALIDATION, CONFIG, checkpoint=checkpoint)
    shorter = train(model(), TRAIN, VALIDATION, config(epochs=2), checkpoint=checkpoint)
    assert shorter.resumed_from == 0
    assert_same_bits(shorter, train(model(), TRAIN, VALIDATION, config(epochs=2)))


def rewritten(content, change):
    """Change the description in a checkpoint, as somebody with an editor might."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    description = json.loads(header["__metadata__"]["inkproof"])
    change(description)
    header["__metadata__"]["inkproof"] = json.dumps(description)
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + content[8 + length :]


def not_a_number_inside(content):
    return content[:-4] + np.float32(np.nan).tobytes()


def with_history(content, **columns):
    """Put other columns into a checkpoint, None for none, with a header that goes with them."""
    length = int.from_bytes(content[:8], "little")
    text = json.loads(content[8 : 8 + length])["__metadata__"]["inkproof"]
    tensors = safetensors.numpy.load(content)
    tensors |= {f"history/{name}": np.array(values) for name, values in columns.items()}
    return safetensors.numpy.save(
        {name: values for name, values in tensors.items() if values.shape},
        metadata={"inkproof": text},
    )


DAMAGES = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[:-1],
    "header cut off": lambda content: content[:100],
    "longer": lambda content: content + b"\0",
    "garbage": lambda content: b"\xff" * len(content),
    "text": lambda content: b"not a checkpoint\n",
    "not a number": not_a_number_inside,
    "no epochs": lambda content: rewritten(content, lambda d: d.pop("epochs")),
    "epochs in words": lambda content: rewritten(content, lambda d: d.update(epochs="3")),
    "epochs beyond memory": lambda content: rewritten(content, lambda d: d.update(epochs=1 << 60)),
    "other epochs": lambda content: rewritten(content, lambda d: d.update(epochs=2)),
    "best weights that are none": lambda content: rewritten(content, lambda d: d.update(best=True)),
    "float32": lambda content: with_history(content, loss=np.float32([1, 1, 1])),
    "infinite loss": lambda content: with_history(content, loss=[1.0, 1.0, np.inf]),
    "columns of two lengths": lambda content: with_history(content, loss=[1.0]),
    "a column without numbers": lambda content: with_history(content, accuracy=np.zeros(0)),
    "no validation": lambda content: with_history(content, val_loss=None, val_accuracy=None),
    "another column": lambda content: with_history(content, other=[1.0, 1.0, 1.0]),
    "the history in the description": lambda content: rewritten(
        content, lambda d: d.update(history={"loss": [1.0, 1.0, 1.0]})
    ),
    "a newer format": lambda content: rewritten(content, lambda d: d.update(format=2)),
}


def test_what_damages_a_history_can_leave_it_whole(tmp_path: Path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    train(model(), TRAIN, VALIDATION, config(epochs=3), checkpoint=checkpoint)
    for change in (with_history, lambda content: rewritten(content, lambda d: None)):
        checkpoint.write_bytes(change(checkpoint.read_bytes()))
        run = train(model(), TRAIN, VALIDATION, config(epochs=3), checkpoint=checkpoint)
        assert run.resumed_from == 3


def test_a_history_of_any_length_fits_into_a_checkpoint(tmp_path: Path):
    epochs = 100_000
    rng = np.random.default_rng(3)
    rows = {name: rng.random(epochs).tolist() for name in COLUMNS}
    arrays = [np.ones((2, 3), np.float32)]
    store = Checkpoint(tmp_path / "checkpoint", {"kind": "checkpoint"})
    store.write(State(weights=arrays, rows=rows))
    start = State(weights=[np.zeros((2, 3), np.float32)])
    found = store.resume(start, config(epochs=epochs), has_validation=True)
    assert found.rows == rows
    assert np.array_equal(found.weights[0], arrays[0])
    assert store.resume(start, config(epochs=epochs), has_validation=False) is start


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_ignored_and_replaced(tmp_path: Path, damage):
    checkpoint = tmp_path / "checkpoint.safetensors"
    train(model(), TRAIN, VALIDATION, config(epochs=3), checkpoint=checkpoint)
    damaged = damage(checkpoint.read_bytes())
    assert damaged != checkpoint.read_bytes()
    checkpoint.write_bytes(damaged)
    run = train(model(), TRAIN, VALIDATION, CONFIG, checkpoint=checkpoint)
    assert run.resumed_from == 0
    assert_same_bits(run, train(model(), TRAIN, VALIDATION, CONFIG))
    assert train(model(), TRAIN, VALIDATION, CONFIG, checkpoint=checkpoint).resumed_from == 4


def brighter(data):
    images = data.images.copy()
    images[0, 0, 0, 0] ^= 1
    return Split(images=images, labels=data.labels, role=data.role, class_names=data.class_names)


OTHERS = {
    "seed": lambda: (model(), TRAIN, VALIDATION, config(seed=6)),
    "learning rate": lambda: (
        model(),
        TRAIN,
        VALIDATION,
        config(optimizer={"name": "sgd", "learning_rate": 0.11}),
    ),
    "batch size": lambda: (model(), TRAIN, VALIDATION, config(batch_size=9)),
    "order": lambda: (model(), TRAIN, VALIDATION, config(shuffle=False)),
    "initial weights": lambda: (model(seed=4), TRAIN, VALIDATION, CONFIG),
    "layers": lambda: (model(units=(9, 8)), TRAIN, VALIDATION, CONFIG),
    "name": lambda: (model(name="other"), TRAIN, VALIDATION, CONFIG),
    "preprocessing": lambda: (
        model(preprocessing=Preprocessing(scale=1 / 256, flatten=True)),
        TRAIN,
        VALIDATION,
        CONFIG,
    ),
    "one pixel": lambda: (model(), brighter(TRAIN), VALIDATION, CONFIG),
    "one pixel of validation": lambda: (model(), TRAIN, brighter(VALIDATION), CONFIG),
    "no validation": lambda: (model(), TRAIN, None, CONFIG),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_the_checkpoint_of_another_training_is_replaced(tmp_path: Path, other):
    checkpoint = tmp_path / "checkpoint.safetensors"
    train(model(), TRAIN, VALIDATION, CONFIG, checkpoint=checkpoint)
    run = train(*other(), checkpoint=checkpoint)
    assert run.resumed_from == 0
    assert_same_bits(run, train(*other()))
    assert train(*other(), checkpoint=checkpoint).resumed_from == 4


def test_another_variant_of_the_engine_begins_anew(tmp_path: Path, monkeypatch):
    checkpoint = tmp_path / "checkpoint.safetensors"
    first = train(model(), TRAIN, VALIDATION, config(epochs=1), checkpoint=checkpoint)
    monkeypatch.setenv("INKPROOF_ISA", "portable")
    if first.isa == "portable":
        pytest.skip("this processor has one variant")
    run = train(model(), TRAIN, VALIDATION, CONFIG, checkpoint=checkpoint)
    assert (run.isa, run.resumed_from) == ("portable", 0)


def test_a_saved_model_is_no_checkpoint(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    model().save(path)
    run = train(model(), TRAIN, VALIDATION, CONFIG, checkpoint=path)
    assert run.resumed_from == 0
    assert model_file.read_description(path)["kind"] == "checkpoint"


def test_a_checkpoint_that_cannot_be_written(tmp_path: Path):
    path = tmp_path / "missing" / "checkpoint.safetensors"
    with pytest.raises(StorageError, match=r"missing/checkpoint\.safetensors: cannot be written"):
        train(model(), TRAIN, VALIDATION, CONFIG, checkpoint=path)


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "role"),
    [("train", "test"), ("train", "validation"), ("validation", "test"), ("validation", "train")],
)
def test_a_split_of_another_role_is_refused(argument, role):
    given = {"train": TRAIN, "validation": VALIDATION} | {argument: split(10, role)}
    message = (
        f"train: {argument} must be a split whose role is {argument!r}, got {role!r}; "
        "use split.hold_out(0.1) to make validation data of training data"
    )
    network = model()
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        train(network, config=CONFIG, **given)
    assert network.weights()[0].tobytes() == model().weights()[0].tobytes()


@pytest.mark.parametrize(
    ("argument", "advice"),
    [("train", "dataset.train"), ("validation", "a part of it, as hold_out gives")],
)
def test_a_whole_data_set_is_refused(argument, advice):
    given = {"train": TRAIN, "validation": VALIDATION} | {argument: load("mnist")}
    message = f"train: {argument} must be a split, got the data set 'mnist'; give {advice}"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        train(model(), config=CONFIG, **given)


@pytest.mark.parametrize("argument", ["train", "validation"])
def test_an_empty_split_is_refused(argument):
    empty = {"train": TRAIN, "validation": VALIDATION}[argument].subset([])
    given = {"train": TRAIN, "validation": VALIDATION} | {argument: empty}
    with pytest.raises(
        DataError, match=rf"^train: {argument} must hold at least one image, got 0$"
    ):
        train(model(), config=CONFIG, **given)


def test_classes_must_fit():
    with pytest.raises(
        ModelError,
        match=r"^model 'sequential': the last layer must have as many units as there are "
        r"classes: expected 3, got 4$",
    ):
        train(model(classes=4), TRAIN, VALIDATION, CONFIG)


@pytest.mark.parametrize("argument", ["train", "validation"])
def test_images_must_fit(argument):
    given = {"train": TRAIN, "validation": VALIDATION} | {argument: split(9, argument, side=5)}
    with pytest.raises(
        ModelError, match=r"^model 'sequential' expects uint8 \(n, 4, 4.*got uint8 \(9, 5, 5, 1\)"
    ):
        train(model(), config=CONFIG, **given)


def diverging(rate, **changes):
    return config(optimizer={"name": "sgd", "learning_rate": rate}, **changes)


def test_divergence_names_the_step_and_leaves_the_last_good_weights(tmp_path: Path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    message = (
        r"^the loss is no longer finite in epoch {}, step {} at the learning rate {}{}; "
        r"try a smaller training\.optimizer\.learning_rate$"
    )
    last = r", where the last finite one was \d\S*"
    network = model()
    with pytest.raises(TrainingError, match=message.format(1, r"[2-5]", r"1e\+30", last)):
        train(network, TRAIN, VALIDATION, diverging(1e30), checkpoint=checkpoint)
    assert network.weights()[0].tobytes() == model().weights()[0].tobytes()
    assert not checkpoint.exists()
    # One step an epoch: the weights of the first are huge, but numbers; the second cannot go on.
    one_step = diverging(1e18, batch_size=75)
    with pytest.raises(TrainingError, match=message.format(2, 1, r"1e\+18", "")):
        train(network, TRAIN, config=one_step, checkpoint=checkpoint)
    good = model()
    train(good, TRAIN, config=diverging(1e18, batch_size=75, epochs=1))
    for found, want in zip(network.weights(), good.weights(), strict=True):
        assert found.tobytes() == want.tobytes()
    assert network.weights()[0].tobytes() != model().weights()[0].tobytes()
    once = diverging(1e18, batch_size=75, epochs=1)
    assert train(model(), TRAIN, config=once, checkpoint=checkpoint).resumed_from == 1


@pytest.mark.parametrize("validation", [None, VALIDATION])
def test_weights_that_are_no_longer_finite_are_divergence_too(tmp_path: Path, validation):
    network = model(preprocessing=Preprocessing(scale=1e4, flatten=True))
    before = network.weights()
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(TrainingError, match=r"no longer finite in epoch 1 at the learning rate"):
        train(
            network,
            TRAIN,
            validation,
            diverging(3e38, batch_size=75, epochs=1),
            checkpoint=checkpoint,
        )
    for found, want in zip(network.weights(), before, strict=True):
        assert found.tobytes() == want.tobytes()
    assert not checkpoint.exists()


# --- The configuration ----------------------------------------------------------------------------

WHOLE = "must be a whole number of at least"
RATE = "training.optimizer.learning_rate must be a number above 0"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, f"training.epochs {WHOLE} 1, got 0"),
        ({"epochs": 1.0}, f"training.epochs {WHOLE} 1, got 1.0"),
        ({"epochs": True}, f"training.epochs {WHOLE} 1, got True"),
        ({"epochs": 1_000_001}, "training.epochs must be at most 1000000, got 1000001"),
        ({"batch_size": 0}, f"training.batch_size {WHOLE} 1, got 0"),
        ({"batch_size": "32"}, f"training.batch_size {WHOLE} 1, got '32'"),
        ({"batch_size": 1 << 30}, "training.batch_size must be at most 1073741823, got 1073741824"),
        ({"seed": -1}, f"training.seed {WHOLE} 0, got -1"),
        (
            {"seed": 1 << 64},
            "training.seed must be at most 18446744073709551615, got 18446744073709551616",
        ),
        ({"threads": 0}, f"training.threads {WHOLE} 1, got 0"),
        ({"threads": 257}, "training.threads must be at most 256, got 257"),
        ({"shuffle": "yes"}, "training.shuffle must be true or false, got 'yes'"),
        ({"shuffle": 1}, "training.shuffle must be true or false, got 1"),
        ({"metrics": "accuracy"}, "training.metrics must be a list of names, got 'accuracy'"),
        ({"metrics": 1}, "training.metrics must be a list of names, got 1"),
        ({"metrics": None}, "training.metrics must be a list of names, got None"),
        ({"optimizer": "sgd"}, "training.optimizer must be a table, got 'sgd'"),
        ({"optimizer": {"learning_rate": 0}}, f"{RATE}, got 0"),
        ({"optimizer": {"learning_rate": -0.1}}, f"{RATE}, got -0.1"),
        ({"optimizer": {"learning_rate": float("nan")}}, f"{RATE}, got nan"),
        ({"optimizer": {"learning_rate": float("inf")}}, f"{RATE}, got inf"),
        ({"optimizer": {"learning_rate": "0.1"}}, f"{RATE}, got '0.1'"),
        ({"optimizer": {"learning_rate": True}}, f"{RATE}, got True"),
        (
            {"optimizer": {"learning_rate": 1e39}},
            "training.optimizer.learning_rate must be from 1.2e-38 to 3.4e+38, "
            "as float32 holds it, got 1e+39",
        ),
        (
            {"optimizer": {"learning_rate": 1e-45}},
            "training.optimizer.learning_rate must be from 1.2e-38 to 3.4e+38, "
            "as float32 holds it, got 1e-45",
        ),
        (
            {"optimizer": {"name": "adamm"}},
            "training.optimizer.name: unknown optimizer 'adamm'; known: adam, adamw, muon, sgd. "
            "Did you mean 'adam'?",
        ),
        (
            {"optimizer": {"learning_rat": 1}},
            "training.optimizer: unknown key 'learning_rat'; known: clipnorm, clipvalue, "
            "ema_momentum, global_clipnorm, learning_rate, momentum, name, nesterov, use_ema, "
            "weight_decay. Did you mean 'learning_rate'?",
        ),
        (
            {"loss": "crossentropy"},
            "training.loss: unknown loss 'crossentropy'; known: categorical_crossentropy, "
            "sparse_categorical_crossentropy. Did you mean 'categorical_crossentropy'?",
        ),
        (
            {"precision": "float16"},
            "training.precision: unknown precision 'float16'; known: bfloat16, float32. "
            "Did you mean 'bfloat16'?",
        ),
        (
            {"metrics": ["acuracy"]},
            "training.metrics: unknown metric 'acuracy'; known: accuracy. Did you mean 'accuracy'?",
        ),
        (
            {"epoch": 3},
            "training: unknown key 'epoch'; known: augmentation, batch_size, class_weight, "
            "early_stopping, epochs, label_smoothing, loss, metrics, mixup, optimizer, precision, "
            "reduce_on_plateau, seed, shuffle, threads, time_budget_seconds. "
            "Did you mean 'epochs'?",
        ),
    ],
)
def test_what_a_configuration_must_be(given, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        TrainingConfig.from_config(given)


def test_an_unknown_name_is_an_error_of_its_own():
    with pytest.raises(UnknownNameError):
        TrainingConfig(loss="mse")


def test_an_optimizer_that_is_none():
    with pytest.raises(
        ConfigurationError,
        match=r"^training\.optimizer must be one of inkproof's SGD, Adam, AdamW, Muon, got 0\.1$",
    ):
        TrainingConfig(optimizer=0.1)


def test_a_rate_beyond_all_floats():
    with pytest.raises(ConfigurationError, match=r"learning_rate must be from 1\.2e-38 to 3\.4e"):
        SGD(learning_rate=10**400)


def test_the_defaults_are_those_of_the_exercise():
    assert TrainingConfig().config() == {
        "epochs": 30,
        "batch_size": 32,
        "optimizer": {"name": "sgd", "learning_rate": 0.01},
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
        "seed": 0,
        "shuffle": True,
        "precision": "float32",
    }


@given(
    epochs=st.integers(1, 1_000_000),
    batch_size=st.integers(1, (1 << 30) - 1),
    rate=st.floats(1.2e-38, 3.4e38),
    seed=st.integers(0, (1 << 64) - 1),
    shuffle=st.booleans(),
    loss=st.sampled_from(["categorical_crossentropy", "sparse_categorical_crossentropy"]),
)
def test_a_configuration_survives_json(epochs, batch_size, rate, seed, shuffle, loss):
    given_ = TrainingConfig(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=SGD(learning_rate=rate),
        seed=seed,
        shuffle=shuffle,
        loss=loss,
    )
    assert TrainingConfig.from_config(json.loads(json.dumps(given_.config()))) == given_


def test_the_number_of_threads_is_no_part_of_what_results_depend_on():
    assert TrainingConfig(threads=2).config() == TrainingConfig().config()
