from __future__ import annotations

import csv
import io
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkproof import history
from inkproof.errors import DataError, FileFormatError
from inkproof.history import COLUMNS, History, histories_from_csv

NUMBERS = st.floats(allow_nan=False)
RUN = History(
    loss=(0.5, 0.25),
    accuracy=(0.75, 0.875),
    val_loss=(0.4, 0.3),
    val_accuracy=(0.8, 0.9),
    learning_rate=(0.01, 0.01),
    seconds=(1.5, 1.25),
    params={"epochs": 2, "steps": 3, "batch_size": 32},
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    epochs = draw(st.integers(1, 5))
    names = {"loss", *draw(st.sets(st.sampled_from(COLUMNS)))}
    values = st.lists(NUMBERS, min_size=epochs, max_size=epochs).map(tuple)
    return History(**{name: draw(values) for name in names})


def written(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    path = tmp_path_factory.mktemp("history") / "history.csv"
    path.write_bytes(content)
    return path


def test_keras_names():
    assert len(RUN) == 2
    assert RUN.epoch == [0, 1]
    assert RUN.params == {"epochs": 2, "steps": 3, "batch_size": 32}
    assert RUN.history == {
        "loss": [0.5, 0.25],
        "accuracy": [0.75, 0.875],
        "val_loss": [0.4, 0.3],
        "val_accuracy": [0.8, 0.9],
    }
    assert RUN.has_validation


def test_without_validation():
    bare = History(loss=(0.5,), accuracy=(0.75,), seconds=(1.0,))
    assert bare.history == {"loss": [0.5], "accuracy": [0.75]}
    assert bare.columns() == {"loss": [0.5], "accuracy": [0.75], "seconds": [1.0]}
    assert not bare.has_validation


def test_what_was_not_measured_is_not_there():
    assert History(loss=(0.5,), val_loss=(0.6,)).history == {"loss": [0.5], "val_loss": [0.6]}


def test_without_epochs():
    empty = History()
    assert (len(empty), empty.epoch, empty.history, empty.columns()) == (0, [], {}, {})
    assert empty.to_csv() == "epoch\n"
    assert empty.to_frame().shape == (0, 0)


def test_the_frame():
    frame = RUN.to_frame()
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame.index) == [1, 2]
    assert frame.index.name == "epoch"
    assert frame.loc[2, "val_accuracy"] == 0.9


def test_the_csv():
    assert RUN.to_csv() == (
        "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds\n"
        "1,0.5,0.75,0.4,0.8,0.01,1.5\n"
        "2,0.25,0.875,0.3,0.9,0.01,1.25\n"
    )


def test_numbers_of_numpy_are_written_as_numbers():
    assert History(loss=(np.float64(0.1), np.float32(0.5), 1)).to_csv() == (
        "epoch,loss\n1,0.1\n2,0.5\n3,1.0\n"
    )


@given(run=histories())
def test_csv_round_trip(tmp_path_factory, run):
    path = written(tmp_path_factory, run.to_csv().encode())
    assert History.from_csv(path) == run


@given(run=histories())
def test_another_reader_reads_the_same(run):
    table = np.genfromtxt(io.StringIO(run.to_csv()), delimiter=",", names=True, ndmin=1)
    assert table["epoch"].tolist() == list(range(1, len(run) + 1))
    assert {name: table[name].tolist() for name in table.dtype.names[1:]} == run.columns()


def test_not_a_number_comes_back(tmp_path):
    path = tmp_path / "h.csv"
    path.write_text(History(loss=(math.nan, math.inf)).to_csv())
    first, second = History.from_csv(path).loss
    assert math.isnan(first)
    assert second == math.inf


def test_params_are_given_since_the_file_has_none(tmp_path):
    path = tmp_path / "h.csv"
    path.write_text(RUN.to_csv())
    assert History.from_csv(path, params=RUN.params) == RUN
    assert History.from_csv(str(path)).params == {}


@pytest.mark.parametrize(
    "content",
    [
        b"model,loss,epoch,note\n500x2,0.5,1,first\n500x2,0.25,2,\n",
        b"\xef\xbb\xbfloss\r\n0.5\r\n0.25\r\n",
        b'"loss"\n" 0.5"\n"2.5e-1"\n',
        b"loss\n\n0.5\n\n0.25\n",
    ],
    ids=["other columns", "a spreadsheet's", "quotes", "empty lines"],
)
def test_tables_of_others(tmp_path, content):
    path = tmp_path / "h.csv"
    path.write_bytes(content)
    assert History.from_csv(path) == History(loss=(0.5, 0.25))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": expected a column 'loss', got []"),
        (b"accuracy\n1\n", ": expected a column 'loss', got ['accuracy']"),
        (b"epoch,loss\n1,0.5\n2,high\n", ":3: loss must be a number, got 'high'"),
        (b"epoch,loss\n\n\n1,high\n", ":4: loss must be a number, got 'high'"),
        (b"loss,accuracy\n0.5,1\n0.5\n", ":3: accuracy must be a number, got None"),
        (b"loss,val_loss,loss\n1,2,3\n", ": expected one column 'loss', got more"),
        (b"loss\n\xff\n", ": expected a CSV table in UTF-8: 'utf-8' codec"),
        (b"loss\n" + b"1" * 200_000, ": expected a CSV table in UTF-8: field larger"),
        (b'loss\n"1\n\n2"\n', r":4: loss must be a number, got '1\n\n2'"),
        (b"loss\n" + b"x" * 100_000, ":2: loss must be a number, got 'xxx"),
    ],
)
def test_what_is_no_history(tmp_path, content, message):
    path = tmp_path / "h.csv"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as caught:
        History.from_csv(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(path)) + 150


@given(content=st.binary() | st.text('loss,val_"\n\r01.e-').map(str.encode))
def test_any_bytes_are_a_history_or_a_clear_error(tmp_path_factory, content):
    path = written(tmp_path_factory, content)
    try:
        run = History.from_csv(path)
    except FileFormatError:
        return
    rows = [row for row in csv.reader(path.read_text("utf-8-sig").splitlines()) if row]
    assert 0 <= len(run) <= len(rows) - 1


@given(run=histories(), cut=st.integers(0, 200))
def test_a_truncated_file_is_a_beginning_or_a_clear_error(tmp_path_factory, run, cut):
    content = run.to_csv().encode()
    path = written(tmp_path_factory, content[: max(len(content) - cut, 0)])
    try:
        part = History.from_csv(path)
    except FileFormatError:
        return
    assert len(part) <= len(run)
    assert part.loss[:-1] == run.loss[: len(part)][:-1]


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        History.from_csv(tmp_path / "none.csv")


@pytest.mark.parametrize("given_as", [History.to_csv, History.to_frame])
def test_columns_of_different_lengths(given_as):
    with pytest.raises(DataError) as caught:
        given_as(History(loss=(0.5, 0.4), accuracy=(0.5,)))
    assert str(caught.value) == ("history: accuracy must have a number an epoch, expected 2, got 1")


def test_without_a_frame_there_is_no_pandas():
    code = (
        "import sys; from inkproof.history import History; History(loss=(1.0,)).to_csv(); "
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_public_names():
    assert history.__all__ == ["COLUMNS", "MOST_BYTES", "History", "histories_from_csv"]


def test_several_runs_in_one_table(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("model,seed,epoch,loss\na,0,1,0.5\na,1,1,0.6\nb,0,1,0.7\na,0,2,0.4\n")
    found = histories_from_csv(path)
    assert {name: [run.loss for run in runs] for name, runs in found.items()} == {
        "a": [(0.5, 0.4), (0.6,)],
        "b": [(0.7,)],
    }
    path.write_text("loss\n0.5\n")
    assert histories_from_csv(path)[""][0].loss == (0.5,)
    path.write_text("loss\nx\n")
    with pytest.raises(FileFormatError, match="loss must be a number, got 'x'"):
        histories_from_csv(path)


def test_runs_may_come_row_by_row_in_turn(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("seed,epoch,loss\n0,0,0.5\n1,1,0.6\n0,1,0.4\n1,2,0.3\n0,2,0.2\n")
    (runs,) = histories_from_csv(path).values()
    assert [run.loss for run in runs] == [(0.5, 0.4, 0.2), (0.6, 0.3)]


METRICS = ["acc", "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy"]


@pytest.mark.parametrize("metric", METRICS)
def test_an_accuracy_by_another_name_of_keras(tmp_path, metric):
    path = tmp_path / "h.csv"
    path.write_text(f"epoch,{metric},loss,val_{metric},val_loss\n0,0.75,0.5,0.8,0.4\n")
    expected = History(loss=(0.5,), accuracy=(0.75,), val_loss=(0.4,), val_accuracy=(0.8,))
    assert histories_from_csv(path) == {"": [expected]}
    assert History.from_csv(path) == expected
    path.write_text(f"loss,{metric},accuracy\n0.5,0.1,0.75\n")
    assert History.from_csv(path).accuracy == (0.75,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("loss,accuracy\n0.5,0.9\n0.4,97.5\n", ":3: accuracy must be a share from 0 to 1, got '9"),
        ("loss,val_acc\n0.5,-0.1\n", ":2: val_acc must be a share from 0 to 1, got '-0.1'"),
        ("loss,acc\n0.5,inf\n", ":2: acc must be a share from 0 to 1, got 'inf'"),
        (
            "loss,acc,binary_accuracy\n",
            ": expected one column of accuracy, got acc and binary_accuracy",
        ),
        ("loss,acc,acc\n", ": expected one column 'acc', got more"),
        (
            "epoch,loss\n1,0.5\n1,0.4\n",
            ":3: epoch must be 2, one more than before, got '1'; several runs take a column",
        ),
        ("epoch,loss\n1,0.5\n3,0.4\n", ":3: epoch must be 2, one more than before, got '3'"),
        ("epoch,loss\n0,0.5\nnan,0.4\n", ":3: epoch must be 1, one more than before, got 'nan'"),
        ("epoch,loss\n7,0.5\n", ":2: epoch must be 0 or 1 in a run's first row, got '7'"),
        ("epoch,loss\nfirst,0.5\n", ":2: epoch must be a number, got 'first'"),
        ("epoch,loss,epoch\n1,0.5,1\n", ": expected one column 'epoch', got more"),
        ("seed,epoch,loss\n0,1,1\n1,1,1\n0,1,1\n", ":4: epoch must be 2, one more than before"),
    ],
)
def test_what_is_no_table_of_runs(tmp_path, content, message):
    path = tmp_path / "runs.csv"
    path.write_text(content)
    with pytest.raises(FileFormatError) as caught:
        histories_from_csv(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_an_accuracy_that_is_no_number_is_left_to_the_diagnosis(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("loss,accuracy\nnan,nan\n")
    assert math.isnan(histories_from_csv(path)[""][0].accuracy[0])


@pytest.mark.parametrize("read", [History.from_csv, histories_from_csv])
def test_a_file_without_end_is_refused(tmp_path, monkeypatch, read):
    monkeypatch.setattr(history, "MOST_BYTES", 1 << 20)
    path = tmp_path / "h.csv"
    path.write_bytes(b"loss\n" + b"0.5\n" * (1 << 18))
    with pytest.raises(FileFormatError, match="expected a CSV table of at most 1 MiB, got more"):
        read(path)
    with pytest.raises(FileFormatError, match="/dev/zero: expected a CSV table of at most 1 MiB"):
        read("/dev/zero")


@given(run=histories())
def test_both_readers_agree(tmp_path_factory, run):
    path = written(tmp_path_factory, run.to_csv().encode())
    shares = [*run.accuracy, *run.val_accuracy]
    if all(0 <= share <= 1 for share in shares):
        assert histories_from_csv(path) == {"": [History.from_csv(path)]}
    else:
        with pytest.raises(FileFormatError, match="must be a share from 0 to 1"):
            histories_from_csv(path)
