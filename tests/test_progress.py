"""What the display of progress shows, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from inkproof.progress import StudyProgress, clock
from inkproof.study import (
    EpochFinished,
    RunFinished,
    RunKey,
    RunProgress,
    RunReused,
    RunStarted,
    StudyStarted,
)
from inkproof.study_file import Study
from inkproof.training import Epoch, Progress

A = RunKey(model="500x2", seed=0)
B = RunKey(model="512x3", seed=0)


def epoch(number):
    return Epoch(
        number=number,
        epochs=30,
        loss=0.1234,
        accuracy=0.9876,
        val_loss=0.2345,
        val_accuracy=0.9765,
        learning_rate=0.01,
        seconds=0.5,
        images_per_second=105_432.1,
    )


def tell(progress, clock_now, *, upto=9):
    started = StudyStarted(
        study=Study.built_in(), runs=(A, B), work={A: 3.0, B: 5.0}, jobs=2, threads=1
    )
    events = [
        (0, started),
        (0, RunStarted(run=A)),
        (0, RunStarted(run=B)),
        (0, RunProgress(run=A, progress=Progress(epoch=1, epochs=30, images_done=0, images=100))),
        (0, RunProgress(run=B, progress=Progress(epoch=1, epochs=30, images_done=0, images=100))),
        (30, EpochFinished(run=A, epoch=epoch(15))),
        (30, EpochFinished(run=B, epoch=epoch(15))),
        (60, EpochFinished(run=A, epoch=epoch(30))),
        (60, RunFinished(run=A, accuracy=0.97791, loss=0.0712, seconds=60.2, epochs=30)),
    ]
    for now, event in events[:upto]:
        clock_now[0] = float(now)
        progress(event)


@pytest.fixture
def now(monkeypatch):
    value = [0.0]
    monkeypatch.setattr("inkproof.progress.time.monotonic", lambda: value[0])
    return value


def shown(console):
    return console.file.getvalue()


def test_plain_lines_without_a_terminal(now):
    console = Console(file=io.StringIO(), width=80)
    with StudyProgress(console) as progress:
        tell(progress, now)
    lines = shown(console).splitlines()
    assert lines[0] == "notebook: 2 runs, 2 side by side"
    assert lines[1].startswith(
        "500x2 seed 0  epoch 15/30  loss 0.1234  accuracy 0.9876  val_loss 0.2345  "
        "val_accuracy 0.9765  105,432 images/s"
    )
    assert lines[2].endswith("0:30 left")
    assert lines[4] == "500x2 seed 0  done in 1:00: test accuracy 97.79 %, test loss 0.0712"
    assert "\x1b" not in shown(console)
    assert "\r" not in shown(console)


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        ({}, ""),
        ({"best_epoch": 12}, ""),
        ({"best_epoch": 9}, " (weights of epoch 9)"),
        (
            {"stopped_by": "early_stopping", "best_epoch": 9},
            " (stopped early after epoch 12, weights of epoch 9)",
        ),
        ({"stopped_by": "time_budget"}, " (out of time after epoch 12)"),
        ({"stopped_by": "callback"}, " (stopped by a callback after epoch 12)"),
    ],
)
def test_how_a_training_ended(ending, text):
    console = Console(file=io.StringIO(), width=80)
    with StudyProgress(console) as progress:
        progress(RunFinished(run=A, accuracy=0.5, loss=0.25, seconds=3, epochs=12, **ending))
    line = shown(console).strip()
    assert line == f"500x2 seed 0  done in 0:03: test accuracy 50.00 %, test loss 0.2500{text}"


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_display_fits_the_terminal(now, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    progress = StudyProgress(console)
    tell(progress, now, upto=7)
    now[0] = 45.0
    plain = Console(file=io.StringIO(), width=width)
    plain.print(progress._render())
    lines = plain.file.getvalue().splitlines()
    assert len(lines) == (3 if width == 200 else 5)
    assert max(map(len, lines)) <= width
    assert lines[0].split()[:5] == ["notebook", "run", "1", "of", "2"]
    assert "epoch 15/30" in lines[1]
    if width >= 80:
        assert lines[0].endswith("left")
        assert "105,432 images/s" in lines[1]
        numbers = lines[1] if width == 200 else lines[2]
        for name in ("loss 0.1234", "accuracy 0.9876", "val_loss 0.2345", "val_accuracy 0.9765"):
            assert name in numbers


def test_time_left_follows_the_work(now):
    console = Console(file=io.StringIO(), width=80)
    progress = StudyProgress(console)
    tell(progress, now)
    # After 60 s all of A (3 units of work) and half of B (2.5) are done; 2.5 are left.
    assert progress._seconds_left() == pytest.approx(60 / 5.5 * 2.5)


def test_what_was_there_already_is_not_counted_as_done_now(now):
    console = Console(file=io.StringIO(), width=80)
    progress = StudyProgress(console)
    progress(
        StudyStarted(study=Study.built_in(), runs=(A, B), work={A: 3.0, B: 5.0}, jobs=1, threads=2)
    )
    progress(RunReused(run=A))
    assert "500x2 seed 0  already done, kept" in shown(console)
    progress(RunStarted(run=B))
    # Epochs 1 to 20 come from a checkpoint.
    progress(RunProgress(run=B, progress=Progress(epoch=21, epochs=30, images_done=0, images=9)))
    now[0] = 10.0
    progress(RunProgress(run=B, progress=Progress(epoch=26, epochs=30, images_done=0, images=9)))
    assert progress._seconds_left() == pytest.approx(10.0)


def test_runs_may_begin_while_the_display_is_drawn(now, monkeypatch):
    """The display has a thread of its own: here a run begins wherever it asks for a run's work."""
    console = Console(file=io.StringIO(), width=80)
    progress = StudyProgress(console)
    tell(progress, now, upto=7)
    work = StudyProgress._work
    begun = []

    def begin(self, run):
        if not begun or run == B:
            begun.append(RunKey(model="another", seed=len(begun)))
            self._active[begun[-1]] = self._active[A]
        return work(self, run) if run in (A, B) else 1.0

    monkeypatch.setattr(StudyProgress, "_work", begin)
    assert progress._seconds_left() is not None
    assert "another seed 0" in "\n".join(map(str, progress._render().renderables))
    assert len(begun) > 2


def test_quiet_says_nothing(now):
    console = Console(file=io.StringIO(), width=80)
    with StudyProgress(console, quiet=True) as progress:
        tell(progress, now)
    assert shown(console) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0:00"),
        (0.4, "0:00"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599.9, "1:00:00"),
        (90061, "25:01:01"),
    ],
)
def test_clock(seconds, text):
    assert clock(seconds) == text
