"""Against loops over images and Keras' formula for the loss."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from statsmodels.stats.proportion import proportion_confint

from inkproof import evaluation, results
from inkproof.data import load
from inkproof.errors import ConfigurationError, DataError, ModelError
from inkproof.evaluation import CLIP, Evaluation, Mistake, evaluate, log_losses


@dataclass(frozen=True, kw_only=True)
class FakeSplit:
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    role: str = "test"

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        # An image is its own row's number, so that a model can be a table.
        return np.arange(len(self.labels), dtype=np.uint8).reshape(-1, 1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Table:
    rows: npt.NDArray[np.float32]

    def predict(self, images: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        return self.rows[images[:, 0, 0, 0]]


@dataclass(frozen=True, kw_only=True)
class NamedTable(Table):
    class_names: tuple[str, ...]


def split_of(labels, classes, role="test") -> FakeSplit:
    names = tuple(f"class {label}" for label in range(classes))
    return FakeSplit(labels=np.array(labels, dtype=np.int64), class_names=names, role=role)


def run(probabilities, labels, **keywords) -> Evaluation:
    rows = np.array(probabilities, dtype=np.float32)
    return evaluate(Table(rows=rows), split_of(labels, rows.shape[1]), **keywords)


@st.composite
def judgements(draw):
    """Probabilities (n, k) with many ties, and labels (n,)."""
    n, k = draw(st.integers(1, 40)), draw(st.integers(2, 5))
    weights = draw(hnp.arrays(np.float64, (n, k), elements=st.sampled_from([1.0, 2.0, 5.0, 100.0])))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, k - 1)))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32), labels


class TestAgainstLoops:
    @given(case=judgements(), level=st.floats(0.6, 0.99))
    def test_accuracy_confusion_and_scores(self, case, level):
        probabilities, labels = case
        n, k = probabilities.shape
        result = evaluate(Table(rows=probabilities), split_of(labels, k), level=level)
        predicted = [max(range(k), key=lambda j, row=row: row[j]) for row in probabilities.tolist()]
        confusion = [[0] * k for _ in range(k)]
        for true, called in zip(labels.tolist(), predicted, strict=True):
            confusion[true][called] += 1
        right = sum(confusion[j][j] for j in range(k))
        assert result.confusion.tolist() == confusion
        assert result.confusion.dtype == np.int64
        assert result.predicted.tolist() == predicted
        assert result.n == result.accuracy.n == n
        assert result.accuracy.value == right / n
        low, high = proportion_confint(right, n, alpha=1 - level, method="wilson")
        assert result.accuracy.low == pytest.approx(low, abs=1e-12)
        assert result.accuracy.high == pytest.approx(high, abs=1e-12)
        for label, score in enumerate(result.per_class()):
            true_positives = confusion[label][label]
            support = sum(confusion[label])
            called = sum(row[label] for row in confusion)
            assert (score.label, score.name) == (label, f"class {label}")
            assert score.support == support
            assert (score.recall is None) == (support == 0)
            assert (score.precision is None) == (called == 0)
            assert (score.f1 is None) == (support + called == 0)
            if score.recall:
                assert score.recall.value == true_positives / support
                assert score.recall.n == support
            if score.precision:
                assert score.precision.value == true_positives / called
                assert score.precision.n == called
            if score.f1:
                assert score.f1.value == pytest.approx(2 * true_positives / (support + called))
                assert score.f1.low <= score.f1.value <= score.f1.high
                assert score.f1.level == level

    @given(case=judgements())
    def test_loss(self, case):
        probabilities, labels = case
        result = evaluate(Table(rows=probabilities), split_of(labels, probabilities.shape[1]))
        losses = [
            -math.log(min(max(float(row[label]), 1e-7), 1 - 1e-7))
            for row, label in zip(probabilities, labels, strict=True)
        ]
        assert log_losses(probabilities, labels) == pytest.approx(losses, rel=1e-12)
        assert result.loss.value == pytest.approx(np.mean(losses), rel=1e-9)
        assert result.loss.over == "images"
        assert result.loss.level == result.level == 0.95
        assert run([[0.75, 0.25]], [0], level=0.8).loss.level == 0.8
        if len(losses) > 1 and np.ptp(losses) > 1e-6:
            peer = scipy.stats.ttest_1samp(losses, 0.0).confidence_interval(0.95)
            possible = (max(0.0, peer.low), peer.high)
            assert (result.loss.low, result.loss.high) == pytest.approx(possible, rel=1e-8)

    @given(case=judgements())
    def test_mistakes(self, case):
        probabilities, labels = case
        result = evaluate(Table(rows=probabilities), split_of(labels, probabilities.shape[1]))
        wrong = [
            (-max(row), index)
            for index, row in enumerate(probabilities.tolist())
            if row.index(max(row)) != labels[index]
        ]
        assert result.mistakes.tolist() == [index for _, index in sorted(wrong)]
        assert len(result.mistakes) == result.n - result.confusion.trace()
        for record, index in zip(result.mistake_records(), result.mistakes, strict=True):
            row = probabilities[index].tolist()
            assert record == Mistake(
                index=int(index),
                label=int(labels[index]),
                predicted=row.index(max(row)),
                probability=max(row),
                label_probability=row[labels[index]],
            )


class TestByHand:
    def test_three_images(self):
        result = run([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.25, 0.5, 0.25]], [0, 1, 2])
        assert result.accuracy.value == 1 / 3
        assert result.confusion.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
        assert result.loss.value == pytest.approx(-math.log(0.7 * 0.2 * 0.25) / 3)
        assert result.mistakes.tolist() == [1, 2]
        assert result.class_names == ("class 0", "class 1", "class 2")
        assert result.role == "test"

    def test_equally_sure_mistakes_come_in_the_order_of_rows(self):
        rows = [[0.5, 0.5], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9], [0.6, 0.4]]
        assert run(rows, [1, 0, 1, 0, 1]).mistakes.tolist() == [1, 2, 3, 4, 0]

    def test_a_perfect_model(self):
        result = run(np.eye(3)[[0, 1, 2, 1]], [0, 1, 2, 1])
        assert result.accuracy.value == result.accuracy.high == 1.0
        assert result.accuracy.low == pytest.approx(4 / (4 + 1.959963984540054**2))
        assert result.mistakes.tolist() == []
        assert result.mistake_records() == []
        # Keras' clip leaves a perfect model this much.
        assert result.loss.value == pytest.approx(1e-7, rel=1e-6)
        assert [(s.precision.value, s.recall.value, s.f1.value) for s in result.per_class()] == [
            (1.0, 1.0, 1.0)
        ] * 3

    def test_a_model_that_is_surely_wrong_has_a_finite_loss(self):
        result = run([[0.0, 1.0], [1.0, 0.0]], [0, 1])
        assert result.loss.value == pytest.approx(-math.log(1e-7))
        assert result.accuracy.value == 0.0

    def test_one_image_has_a_loss_without_an_interval(self):
        result = run([[0.75, 0.25]], [0])
        assert (result.loss.low, result.loss.high, result.loss.n) == (None, None, 1)
        assert result.accuracy.low < 1.0

    def test_a_class_that_never_occurs_and_is_never_called(self):
        score = run([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], [0, 1]).per_class()[2]
        assert (score.precision, score.recall, score.f1, score.support) == (None, None, None, 0)

    def test_of_equal_probabilities_the_first_class_is_predicted(self):
        assert run([[0.25] * 4], [3]).predicted.tolist() == [0]


class TestGivenProbabilities:
    def test_are_used_instead_of_the_model(self):
        split = split_of([0, 1], 2)
        given = np.array([[0.9, 0.1], [0.4, 0.6]])
        assert evaluate(None, split, probabilities=given).accuracy.value == 1.0
        other = Table(rows=np.array([[0.1, 0.9], [0.9, 0.1]], dtype=np.float32))
        assert evaluate(other, split).accuracy.value == 0.0
        assert evaluate(other, split, probabilities=given).accuracy.value == 1.0

    def test_are_left_writeable_and_ours_are_not(self):
        given = np.array([[0.9, 0.1]], dtype=np.float32)
        result = evaluate(None, split_of([0], 2), probabilities=given)
        for array in (result.probabilities, result.labels, result.predicted, result.confusion):
            assert not array.flags.writeable
        assert given.flags.writeable
        assert result.probabilities.dtype == np.float32

    def test_neither_model_nor_probabilities(self):
        with pytest.raises(ConfigurationError, match="expected a model or probabilities, got nei"):
            evaluate(None, split_of([0], 2))


class TestRefuses:
    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (
                [[0.5, 0.5]],
                r"evaluate: validation split: probabilities must have shape \(2, 2\), one row an"
                r" image and one column a class, got \(1, 2\)",
            ),
            ([[0.2, 0.3, 0.5]] * 2, r"must have shape \(2, 2\).*, got \(2, 3\)"),
            ([0.5, 0.5], r"must have shape \(2, 2\).*, got \(2,\)"),
            ([[0.5, 0.5], [math.nan, 1.0]], "must be finite, got nan at row 1, class 0"),
            ([[0.5, 0.5], [0.0, math.inf]], "must be finite, got inf at row 1, class 1"),
            (
                [[1.5, -0.5], [0.5, 0.5]],
                r"must be from 0 to 1, got 1.5 at row 0, class 0: does the",
            ),
            ([[0.5, 0.5], [-0.5, 1.0]], r"must be from 0 to 1, got -0.5 at row 1, class 0"),
            ([[0.5, 0.5], [0.5, 0.6]], "must add up to 1 in each row, got 1.1 at row 1: does the"),
            ([[0.0, 0.0], [0.5, 0.5]], "must add up to 1 in each row, got 0 at row 0"),
        ],
    )
    def test_probabilities(self, rows, message):
        split = split_of([0, 1], 2, role="validation")
        with pytest.raises(DataError, match=message):
            evaluate(None, split, probabilities=np.array(rows))

    def test_accepts_what_half_precision_leaves(self):
        rows = np.full((5, 10), 0.1, dtype=np.float16)
        assert run(rows, [0] * 5).accuracy.value == 1.0

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.array([], dtype=np.int64), "evaluate: test split: expected at least one image"),
            (np.array([0, 2]), "labels must be from 0 to 1, got 2 at row 1"),
            (np.array([-1, 0]), "labels must be from 0 to 1, got -1 at row 0"),
            (np.array([0.0, 1.0]), r"labels must be whole numbers of shape \(n,\), got float64"),
            (np.array([[0], [1]]), r"labels must be .*, got int64 of shape \(2, 1\)"),
        ],
    )
    def test_labels(self, labels, message):
        split = FakeSplit(labels=labels, class_names=("a", "b"))
        with pytest.raises(DataError, match=message):
            evaluate(None, split, probabilities=np.full((2, 2), 0.5))

    @pytest.mark.parametrize(
        ("model", "data", "message"),
        [
            (
                ("apple", "banana"),
                ("banana", "cherry"),
                "evaluate: test split: the model's classes must be the data's: the model has "
                "'apple', 'banana', the data have 'banana', 'cherry'",
            ),
            (
                ("a", "b", "c"),
                ("a", "c", "b"),
                "evaluate: test split: the model's classes must be the data's, in the same order: "
                "the model has 'a', 'b', 'c', the data have 'a', 'c', 'b'",
            ),
            (("0", "1", "2"), ("2", "1", "0"), "in the same order"),
            (("a", "b"), ("0", "1"), "the data have '0', '1'"),
            (
                tuple("abcdefghijklmnop"),
                tuple("abcdefghijxlmnop"),
                "the model has ..., 'k', 'l', 'm', 'n', 'o', ..., the data have ..., 'x', 'l'",
            ),
            (("a" * 99, "\n"), ("b", "c"), "the model has '" + "a" * 39 + "…', '\\n', the"),
        ],
    )
    def test_a_model_of_other_classes(self, model, data, message):
        rows = np.eye(len(model), dtype=np.float32)
        split = FakeSplit(labels=np.arange(len(model)), class_names=data)
        with pytest.raises(ModelError) as caught:
            evaluate(NamedTable(rows=rows, class_names=model), split)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("data", [("apple", "banana"), ("0", "1"), ("1", "2")])
    def test_not_a_model_without_names(self, data):
        split = FakeSplit(labels=np.arange(2), class_names=data)
        table = NamedTable(rows=np.eye(2, dtype=np.float32), class_names=("0", "1"))
        assert evaluate(table, split).accuracy.value == 1.0

    def test_a_whole_data_set(self):
        dataset = load("mnist")
        with pytest.raises(DataError, match=r"got the data set 'mnist'; give dataset\.test"):
            evaluate(Table(rows=np.eye(10, dtype=np.float32)), dataset)

    def test_a_level_that_is_none(self):
        with pytest.raises(ConfigurationError, match="level must be between 0 and 1, got 95"):
            run([[0.5, 0.5]], [0], level=95)


def test_the_clip_is_that_of_keras():
    assert CLIP == 1e-7
    extremes = np.array([[0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    zeros = np.zeros(2, dtype=np.int64)
    assert log_losses(extremes, zeros) == pytest.approx([-math.log(1e-7), -math.log1p(-1e-7)])


def test_mistakes_have_the_fields_of_results_json():
    ours = [field.name for field in dataclasses.fields(Mistake)]
    assert ours == list(results.Mistake.model_fields)
    record = run([[0.25, 0.75]], [0]).mistake_records()[0]
    assert results.Mistake(**dataclasses.asdict(record)).probability == 0.75


def test_an_evaluation_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        run([[0.25, 0.75]], [0]).n = 3


def test_public_names():
    own = {
        name
        for name, value in vars(evaluation).items()
        if name[0] != "_"
        and (name.isupper() or getattr(value, "__module__", "") == evaluation.__name__)
    }
    assert own <= set(evaluation.__all__) <= set(vars(evaluation))
