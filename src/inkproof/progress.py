"""Shows a study's progress on stderr: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from inkproof.study import (
    EpochFinished,
    Event,
    RunFinished,
    RunProgress,
    RunReused,
    RunStarted,
    StudyFinished,
    StudyStarted,
)
from inkproof.wording import ending

if TYPE_CHECKING:
    from inkproof.study import RunKey
    from inkproof.training import Epoch

__all__ = ["StudyProgress", "clock"]

_BAR: Final = 16


def clock(seconds: float) -> str:
    """Write a duration as m:ss or h:mm:ss."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


class _Active:
    """A run that is under way."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.first_epoch: int | None = None
        self.number = 1
        self.epochs = 0
        self.share = 0.0
        self.last: Epoch | None = None

    @property
    def done(self) -> float:
        """Epochs done, with the fraction of the one under way."""
        return self.number - 1 + self.share

    @property
    def seconds_left(self) -> float | None:
        made = self.done - (self.first_epoch or 1) + 1
        if made <= 0.2:
            return None
        return (time.monotonic() - self.began) / made * (self.epochs - self.done)


class StudyProgress:
    """Takes a study's events and shows them; use it as a context manager.

    Parameters
    ----------
    console : where to; None is stderr
    quiet : show nothing
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._quiet = quiet
        self._live: Live | None = None
        self._study: StudyStarted | None = None
        self._active: dict[RunKey, _Active] = {}
        self._finished = 0
        self._began = time.monotonic()
        self._work_done = 0.0  # by this process
        self._work_left = 0.0  # of runs that have not begun

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=8,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take in what has happened."""
        match event:
            case StudyStarted():
                self._study = event
                self._began = time.monotonic()
                self._work_left = sum(event.work.values())
                beside = f", {event.jobs} side by side" if event.jobs > 1 else ""
                count = len(event.runs)
                precision = _precision(event.study.training.precision, event.precision)
                self._say(f"{event.study.name}: {count} run{'s' * (count > 1)}{beside}{precision}")
            case RunReused(run=run):
                self._finished += 1
                self._work_left -= self._work(run)
                self._say(f"{_name(run)}  already done, kept")
            case RunStarted(run=run):
                self._active[run] = _Active()
                self._work_left -= self._work(run)
            case RunProgress(run=run, progress=progress):
                active = self._active[run]
                self._advance(
                    run,
                    active,
                    progress.epoch,
                    progress.epochs,
                    progress.images_done / progress.images,
                )
            case EpochFinished(run=run, epoch=epoch):
                active = self._active[run]
                self._advance(run, active, epoch.number, epoch.epochs, 1.0)
                active.last = epoch
                if self._live is None:
                    self._say(self._line(run, active))
            case RunFinished(run=run):
                self._finished += 1
                self._active.pop(run, None)
                self._say(
                    f"{_name(run)}  done in {clock(event.seconds)}: test accuracy "
                    f"{event.accuracy * 100:.2f} %, test loss {event.loss:.4f}{_ending(event)}"
                )
            case StudyFinished():
                self._active.clear()

    def _advance(
        self, run: RunKey, active: _Active, number: int, epochs: int, share: float
    ) -> None:
        if active.first_epoch is None:
            active.first_epoch = number
            # What a checkpoint has spared counts as done by another.
            self._began = self._began if self._work_done else time.monotonic()
            active.began = time.monotonic()
        before = active.done if active.epochs else float(number - 1)
        active.number, active.epochs, active.share = number, epochs, share
        self._work_done += self._work(run) * max(0.0, active.done - before) / epochs

    def _work(self, run: RunKey) -> float:
        return self._study.work[run] if self._study else 0.0

    def _seconds_left(self) -> float | None:
        elapsed = time.monotonic() - self._began
        if self._work_done <= 0 or elapsed < 1:
            return None
        left = self._work_left + sum(
            self._work(run) * (1 - active.done / active.epochs)
            for run, active in list(self._active.items())  # runs begin and end meanwhile
            if active.epochs
        )
        return elapsed / self._work_done * left

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._console.print(Text(text), soft_wrap=True)

    def _line(self, run: RunKey, active: _Active) -> str:
        epoch = active.last
        if epoch is None:
            return _name(run)
        width = len(str(epoch.epochs))
        left = self._seconds_left()
        parts = [
            _name(run),
            f"epoch {epoch.number:{width}d}/{epoch.epochs}",
            *_numbers(epoch),
            f"{epoch.images_per_second:,.0f} images/s",
        ]
        if left is not None:
            parts.append(f"{clock(left)} left")
        return "  ".join(parts)

    def _render(self) -> Group:
        study = self._study
        if study is None:
            return Group(Text("reading the data"))
        left = self._seconds_left()
        total = sum(study.work.values()) or 1.0
        remaining = self._work_left + sum(
            self._work(run) * (1 - (a.done / a.epochs if a.epochs else 0))
            for run, a in list(self._active.items())
        )
        rows: list[tuple[list[str], float, list[str], list[str]]] = [
            (
                [
                    study.study.name,
                    f"run {min(self._finished + 1, len(study.runs))} of {len(study.runs)}",
                ],
                1 - remaining / total,
                [] if left is None else [f"{clock(left)} left"],
                [],
            )
        ]
        for run, active in list(self._active.items()):
            after, numbers = [], []
            if active.last is not None:
                after.append(f"{active.last.images_per_second:,.0f} images/s")
                numbers = _numbers(active.last)
            run_left = active.seconds_left
            if run_left is not None:
                after.append(f"{clock(run_left)} left")
            epochs = active.epochs
            rows.append(
                (
                    [_name(run), f"epoch {active.number}/{epochs}" if epochs else "starting"],
                    active.done / epochs if epochs else 0.0,
                    after,
                    numbers,
                )
            )
        names, places = (max(len(row[0][i]) for row in rows) for i in (0, 1))
        lines = []
        for before, share, after, numbers in rows:
            head = f"{before[0]:{names}}  {before[1]:{places}}  {self._bar(share)}"
            line = "  ".join([head, *after])
            if numbers and len(line) + 2 + len("  ".join(numbers)) <= self._console.width:
                lines.append("  ".join([line, *numbers]))
                continue
            lines.append(line)
            if numbers:
                lines.append("  " + "  ".join(numbers))
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))

    def _bar(self, share: float) -> str:
        filled = round(min(max(share, 0.0), 1.0) * _BAR)
        full, empty = ("#", "-") if self._console.options.ascii_only else ("█", "░")
        return full * filled + empty * (_BAR - filled)


def _ending(event: RunFinished) -> str:
    text = ending(event.stopped_by, event.epochs, event.best_epoch)
    return f" ({text})" if text else ""


def _precision(asked: str, used: str) -> str:
    if asked == used:
        return "" if used == "float32" else f", {used}"
    return f", {used} (this processor is no faster with {asked})"


def _name(run: RunKey) -> str:
    return f"{run.model} seed {run.seed}"


def _numbers(epoch: Epoch) -> list[str]:
    numbers = [f"loss {epoch.loss:.4f}", f"accuracy {epoch.accuracy:.4f}"]
    if epoch.val_loss is not None and epoch.val_accuracy is not None:
        numbers += [f"val_loss {epoch.val_loss:.4f}", f"val_accuracy {epoch.val_accuracy:.4f}"]
    return numbers
