"""The expected texts are what Keras prints: see golden/make_summaries.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inkproof.errors import ConfigurationError
from inkproof.model import Model
from inkproof.summary import Row, summary_table

FOLDER = Path(__file__).parent / "golden" / "summaries"
CASES = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_table_is_keras_own(case: str):
    model = Model.from_config(CASES[case]["model"])
    expected = (FOLDER / f"{case}.txt").read_text(encoding="utf-8")
    assert model.summary(line_length=CASES[case]["line_length"]) + "\n" == expected


def test_every_golden_file_has_its_case():
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(CASES)


def test_the_terminal_and_its_settings_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    rows = [Row(name="a", kind="Dense", output_shape=(2,), parameters=4)]
    before = summary_table("m", rows, trainable=4, non_trainable=0)
    for name, value in (("COLUMNS", "30"), ("FORCE_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    assert summary_table("m", rows, trainable=4, non_trainable=0) == before


def test_brackets_are_not_taken_for_markup():
    rows = [Row(name="[bold]a[/]", kind="Dense", output_shape=(2,), parameters=4)]
    assert "[bold]a[/] (Dense)" in summary_table("m", rows, trainable=4, non_trainable=0)


def test_numbers_that_training_does_not_move_are_told_apart():
    rows = [Row(name="a", kind="BatchNormalization", output_shape=(256,), parameters=1024)]
    text = summary_table("m", rows, trainable=512, non_trainable=512)
    assert text.endswith(
        " Total params: 1,024 (4.00 KB)\n"
        " Trainable params: 512 (2.00 KB)\n"
        " Non-trainable params: 512 (2.00 KB)"
    )


def test_too_narrow():
    with pytest.raises(ConfigurationError, match="line_length must be at least 40, got 39"):
        summary_table("m", [], trainable=0, non_trainable=0, line_length=39)
