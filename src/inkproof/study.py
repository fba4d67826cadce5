"""Run a study: all its models with all its seeds, side by side, and what comes of it.

A study's folder holds a folder for each run (see :mod:`inkproof.run_folder`) and
``results.json``. A run that is complete is not done again; one that was interrupted goes on.
"""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inkproof import outcome, published, run_folder
from inkproof.data import Dataset, Split, load
from inkproof.diagnosis import diagnose, diagnose_runs
from inkproof.engine import default_isa, default_threads, processor_name, usable_precision
from inkproof.engine.lowering import operations
from inkproof.errors import (
    Cancelled,
    ConfigurationError,
    DataError,
    FileFormatError,
    InkproofError,
    ModelError,
    StorageError,
)
from inkproof.evaluation import Evaluation, evaluate
from inkproof.history import History
from inkproof.layers import walk
from inkproof.model import Model
from inkproof.results import (
    DataResult,
    Mistake,
    ModelResult,
    RunResult,
    StudyResult,
    TestResult,
)
from inkproof.statistics import Estimate, over_runs
from inkproof.stopping import StoppedBy
from inkproof.storage import remove, write_bytes
from inkproof.study_file import OUTPUTS, Study, StudyData, StudyModel
from inkproof.training import Epoch, Progress, Run, TrainingConfig, train
from inkproof.wording import counted

__all__ = [
    "EpochFinished",
    "Event",
    "LoadedStudy",
    "RunFinished",
    "RunKey",
    "RunProgress",
    "RunReused",
    "RunStarted",
    "Study",
    "StudyData",
    "StudyFinished",
    "StudyModel",
    "StudyStarted",
    "choose_jobs",
    "load_study_result",
    "run_study",
    "threads_each",
    "train_one",
]

RESULTS: Final = "results.json"
_LOCK: Final = ".lock"
_INSIDE: Final = "mnist"  # whatever lies there under that name
Probabilities = Mapping[tuple[str, int], npt.NDArray[np.float32]]


# --- What happens while a study runs --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """Which run it is."""

    model: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class StudyStarted:
    """The study begins.

    Parameters
    ----------
    runs : all of them, in the order in which they begin
    work : the multiplications that each run's training needs, for estimates of time
    jobs, threads : how many runs go side by side, with how many threads each
    precision : what training's products are rounded to on this processor
    """

    study: Study
    runs: tuple[RunKey, ...]
    work: Mapping[RunKey, float]
    jobs: int
    threads: int
    precision: str = "float32"


@dataclass(frozen=True, kw_only=True)
class RunReused:
    """A complete run was found and is taken as it is."""

    run: RunKey


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """A run begins, or goes on after an interruption."""

    run: RunKey


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """How far a run's epoch is."""

    run: RunKey
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class EpochFinished:
    """A run has finished an epoch."""

    run: RunKey
    epoch: Epoch


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """A run is complete.

    Parameters
    ----------
    run : which one
    accuracy, loss : on the test images
    seconds : what the training took, without what a checkpoint spared
    epochs : how many it has
    stopped_by : what ended it before all its epochs were done
    best_epoch : the epoch whose weights it has, if early stopping gave them back
    """

    run: RunKey
    accuracy: float
    loss: float
    seconds: float
    epochs: int
    stopped_by: StoppedBy | None = None
    best_epoch: int | None = None


@dataclass(frozen=True, kw_only=True)
class StudyFinished:
    """All runs are complete and ``results.json`` is written."""

    result: StudyResult


Event = (
    StudyStarted
    | RunReused
    | RunStarted
    | RunProgress
    | EpochFinished
    | RunFinished
    | StudyFinished
)


@dataclass(frozen=True, kw_only=True)
class LoadedStudy:
    """A finished study, read from its folder.

    Parameters
    ----------
    result : its ``results.json``
    dataset : the data that it ran on
    probabilities : (model, seed) -> float32 (test images, classes)
    """

    result: StudyResult
    dataset: Dataset
    probabilities: Probabilities


def choose_jobs(cores: int, runs: int) -> int:
    """Choose how many runs go side by side.

    One network on one thread, with a core to itself, wastes no time at barriers: on two cores two
    networks side by side took 5 to 20 % less than one after the other on both (docs/log.md).
    """
    return max(1, min(cores, runs))


def threads_each(cores: int, runs: int) -> int:
    """Give how many threads each of some runs has that go side by side."""
    return max(1, cores // max(1, runs))


def run_study(
    study: Study,
    folder: str | Path,
    *,
    jobs: int | None = None,
    fresh: bool = False,
    replace: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> StudyResult:
    """Do all runs of a study and write ``results.json``.

    No result depends on ``jobs``. Ctrl-C ends it within a second; what was finished is kept, and
    the same call goes on.

    Parameters
    ----------
    study : what to do
    folder : the study's folder; it is made if it is not there
    jobs : how many runs go side by side, sharing the cores; None chooses
    fresh : whether runs that are complete are done again
    replace : whether runs of other settings, finished or begun, are replaced; ``fresh`` replaces
        them, too
    on_event : told what happens, one call at a time, from several threads

    Raises
    ------
    ModelError, UnsupportedError : a network that does not fit the data or the engine
    DataError : data that cannot be read
    TrainingError : a loss that is no longer finite
    StorageError : the folder cannot be written, or another process is writing it; it holds runs of
        other settings, or files that no study wrote
    """
    folder = Path(folder)
    dataset = load(study.data.source)
    plans = _plan(study, dataset)
    cores = default_threads()
    if jobs is not None and not 1 <= jobs <= 64:
        raise ConfigurationError(f"--jobs must be a whole number from 1 to 64, got {jobs}")
    jobs = jobs or choose_jobs(cores, len(plans))
    threads = threads_each(cores, jobs)
    with _locked(folder):
        runner = _Runner(study, dataset, folder, cores, on_event)
        runner.make_room(plans, fresh=fresh, replace=replace)
        runner.tell(
            StudyStarted(
                study=study,
                runs=tuple(plan.key for plan in plans),
                work={plan.key: plan.work for plan in plans},
                jobs=jobs,
                threads=threads,
                precision=usable_precision(study.training.precision),
            )
        )
        done = runner.do_all(plans, jobs)
        result = _result(study, dataset, folder, done, jobs=jobs, threads=threads)
        write_bytes(folder / RESULTS, result.to_json().encode())
    runner.tell(StudyFinished(result=result))
    return result


def train_one(
    study: Study,
    *,
    checkpoint: Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> tuple[Model, Evaluation]:
    """Train the only model of a study with its only seed, and evaluate it.

    No file is written but the checkpoint, if one is wanted, as for :func:`inkproof.train`.

    Raises
    ------
    ConfigurationError : several models or seeds
    others : as for :func:`run_study`
    """
    if len(study.models) != 1 or len(study.seeds) != 1:
        raise ConfigurationError("train_one: expected a study of one model and one seed")
    dataset = load(study.data.source)
    (plan,) = _plan(study, dataset)
    if checkpoint is not None:
        _make_folder(checkpoint.parent)
    runner = _Runner(study, dataset, Path(), default_threads(), on_event)
    runner.tell(
        StudyStarted(
            study=study,
            runs=(plan.key,),
            work={plan.key: plan.work},
            jobs=1,
            threads=default_threads(),
            precision=usable_precision(study.training.precision),
        )
    )
    runner.tell(RunStarted(run=plan.key))
    model, training, validation, config = runner.prepared(plan)
    begin = time.perf_counter()
    run = runner.train(plan.key, model, training, validation, config, checkpoint=checkpoint)
    evaluation = evaluate(model, dataset.test)
    runner.tell(
        RunFinished(
            run=plan.key,
            accuracy=evaluation.accuracy.value,
            loss=evaluation.loss.value,
            seconds=time.perf_counter() - begin,
            epochs=len(run.history),
            stopped_by=run.stopped_by,
            best_epoch=run.best_epoch,
        )
    )
    return model, evaluation


def load_study_result(folder: str | Path) -> LoadedStudy:
    """Read a study that is complete.

    Raises
    ------
    StorageError : there is none in the folder
    FileFormatError : a file is damaged
    DataError : the data are not those that the study ran on
    """
    folder = Path(folder)
    path = folder / RESULTS
    if not path.is_file():
        raise StorageError(f"{folder}: there is no {RESULTS}; run the study first")
    result = StudyResult.load(path)
    dataset = _data_of(result.data, folder)
    if dataset.fingerprint != result.data.fingerprint:
        raise DataError(
            f"{path}: the study ran on other data than {result.data.source} holds now: "
            f"expected {result.data.fingerprint[:23]}..., got {dataset.fingerprint[:23]}..."
        )
    shape = {"images": len(dataset.test), "classes": dataset.test.num_classes}
    probabilities = {
        (model.name, run.seed): run_folder.read_predictions(
            _run_path(folder, model.name, run.seed), **shape
        )
        for model in result.models
        for run in model.runs
    }
    for model in result.models:
        for run in model.runs:
            likeliest = probabilities[model.name, run.seed].argmax(axis=1)
            right = int((likeliest == dataset.test.labels).sum())
            if right != round(run.test.accuracy * len(dataset.test)):
                raise FileFormatError(
                    f"{_run_path(folder, model.name, run.seed)}: not the run that {path} tells of: "
                    f"{right:,} images right, expected an accuracy of {run.test.accuracy:g}; run "
                    "the study again"
                )
    return LoadedStudy(result=result, dataset=dataset, probabilities=probabilities)


def _path_from(folder: Path, source: str) -> str | None:
    """Say where a data source lies, seen from a folder; None for what is inside the package."""
    if source == _INSIDE:
        return None
    return os.path.relpath(Path(source).resolve(), folder.resolve())


def _data_of(data: DataResult, folder: Path) -> Dataset:
    """Load a finished study's data, whichever folder this is called in."""
    if data.path is not None and data.source != _INSIDE:
        there = folder / data.path
        if not there.exists() and not Path(data.source).exists():
            raise DataError(f"{folder / RESULTS}: its data are no longer there: {there}")
        return load(str(there if there.exists() else data.source))
    return load(data.source)


# --- The runs -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Plan:
    key: RunKey
    model: StudyModel
    work: float


@dataclass(frozen=True, kw_only=True)
class _Done:
    model: Model
    history: History
    evaluation: Evaluation
    probabilities: npt.NDArray[np.float32]
    stopped_by: StoppedBy | None
    best_epoch: int | None
    validation_labels: npt.NDArray[np.int64]
    extras: run_folder.Extras | None


def _plan(study: Study, dataset: Dataset) -> list[_Plan]:
    """Check every network against the data, and order the runs: seed by seed, the longest first."""
    plans = []
    for index, model in enumerate(study.models):
        try:
            built = _build(model, dataset, seed=study.seeds[0])
            operations(built.layers, built.layer_input_shape)  # which the engine must have
        except (ModelError, ConfigurationError, NotImplementedError) as error:
            error.args = (f"{study.origin}: models[{index}] ({model.name}): {error}",)
            raise
        work = 3.0 * _products(built) * study.training.epochs
        plans += [
            _Plan(key=RunKey(model=model.name, seed=seed), model=model, work=work)
            for seed in study.seeds
        ]
    order = {seed: number for number, seed in enumerate(study.seeds)}
    return sorted(plans, key=lambda plan: (order[plan.key.seed], -plan.work))


def _products(model: Model) -> int:
    """Count the multiplications of one image's forward pass: kernels times where they are put."""
    return sum(
        spec.size * math.prod(place.output_shape[:-1])
        for place in walk(model.layers, model.layer_input_shape)
        for spec in place.own_weights
        if len(spec.shape) > 1
    )


def _build(model: StudyModel, dataset: Dataset, *, seed: int) -> Model:
    return Model(
        model.layers,
        input_shape=dataset.train.image_shape,
        name=model.name,
        class_names=dataset.class_names,
        seed=seed,
    )


def _run_path(folder: Path, model: str, seed: int) -> Path:
    return folder / model / f"seed-{seed}"


class _Runner:
    """Does the runs of one study, some side by side."""

    def __init__(
        self,
        study: Study,
        dataset: Dataset,
        folder: Path,
        cores: int,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self._study = study
        self._dataset = dataset
        self._folder = folder
        self._cores = cores
        self._jobs = self._unfinished = 1
        self._on_event = on_event
        self._telling = threading.Lock()
        self._cancel = threading.Event()

    def tell(self, event: Event) -> None:
        if self._on_event is not None:
            with self._telling:
                self._on_event(event)

    def _threads(self) -> int:
        """Give a run's share of the cores: of the last runs, those of the finished ones, too."""
        return threads_each(self._cores, min(self._jobs, self._unfinished))

    def _count_finished(self, _: Future[_Done]) -> None:
        with self._telling:
            self._unfinished -= 1

    def make_room(self, plans: list[_Plan], *, fresh: bool, replace: bool) -> None:
        """See that no run of other settings is lost unasked.

        Raises
        ------
        StorageError : there are such runs; or a file cannot be removed
        """
        folders = {
            plan.key: _run_path(self._folder, plan.key.model, plan.key.seed) for plan in plans
        }
        others = {
            plan.key: difference
            for plan in plans
            if (
                difference := run_folder.other_settings(folders[plan.key], self.configuration(plan))
            )
        }
        if others and not (fresh or replace):
            key, difference = next(iter(others.items()))
            raise StorageError(
                f"{self._folder}: {counted(len(others), 'run')} of other settings would "
                f"be lost ({folders[key].relative_to(self._folder)}: {difference}); --out DIR "
                "keeps them, --replace replaces them"
            )
        doomed = folders if fresh else others
        for key in doomed:
            run_folder.clear(folders[key])
        if doomed:
            remove(self._folder / RESULTS)  # it would tell of those

    def do_all(self, plans: list[_Plan], jobs: int) -> dict[RunKey, _Done]:
        self._jobs, self._unfinished = jobs, len(plans)
        with ThreadPoolExecutor(jobs, thread_name_prefix="inkproof-run") as pool:
            futures: dict[RunKey, Future[_Done]] = {
                plan.key: pool.submit(self._do, plan) for plan in plans
            }
            for future in futures.values():
                future.add_done_callback(self._count_finished)
            try:
                waiting = set(futures.values())
                while waiting:
                    # In short turns, so that Ctrl-C is answered at once.
                    finished, waiting = wait(waiting, timeout=0.1, return_when=FIRST_EXCEPTION)
                    for future in finished:
                        future.result()
            except BaseException:
                self._cancel.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return {key: future.result() for key, future in futures.items()}

    def configuration(self, plan: _Plan) -> dict[str, Any]:
        """Give all that a run's results depend on, as its record says it."""
        model = _build(plan.model, self._dataset, seed=plan.key.seed)
        config = dataclasses.replace(self._study.training, seed=plan.key.seed)
        return {
            "model": model.config(),
            "seed": plan.key.seed,
            "training": config.config(),
            "data": {
                "fingerprint": self._dataset.fingerprint,
                "hold_out": self._study.data.hold_out,
            },
        }

    def prepared(self, plan: _Plan) -> tuple[Model, Split, Split, TrainingConfig]:
        """Give a run's initial model, its training and validation data, and its configuration."""
        seed = plan.key.seed
        training, validation = self._dataset.train.hold_out(self._study.data.hold_out, seed=seed)
        model = _build(plan.model, self._dataset, seed=seed)
        config = dataclasses.replace(self._study.training, seed=seed, threads=self._threads())
        return model, training, validation, config

    def train(
        self,
        key: RunKey,
        model: Model,
        training: Split,
        validation: Split,
        config: TrainingConfig,
        *,
        checkpoint: Path | None,
    ) -> Run:
        return train(
            model,
            training,
            validation,
            config,
            on_epoch=lambda epoch: self.tell(EpochFinished(run=key, epoch=epoch)),
            on_progress=lambda progress: self.tell(RunProgress(run=key, progress=progress)),
            checkpoint=checkpoint,
            cancel=self._cancel,
            threads=self._threads,
        )

    def _do(self, plan: _Plan) -> _Done:
        if self._cancel.is_set():
            raise Cancelled("the study was stopped")
        key, dataset = plan.key, self._dataset
        folder = _run_path(self._folder, key.model, key.seed)
        model, training, validation, config = self.prepared(plan)
        configuration = self.configuration(plan)
        try:
            stored = run_folder.read(
                folder, configuration, images=len(dataset.test), classes=dataset.test.num_classes
            )
        except FileFormatError:
            stored = None
        if stored is not None:
            self.tell(RunReused(run=key))
            evaluation = evaluate(None, dataset.test, probabilities=stored.probabilities)
            return _Done(
                model=model,
                history=stored.history,
                evaluation=evaluation,
                probabilities=stored.probabilities,
                stopped_by=stored.stopped_by,
                best_epoch=stored.best_epoch,
                validation_labels=validation.labels,
                extras=outcome.stored_or_asked(folder, validation, dataset.test, self._threads),
            )
        self.tell(RunStarted(run=key))
        _make_folder(folder)
        run_folder.begin(folder, configuration)
        begin = time.perf_counter()
        checkpoint = folder / run_folder.CHECKPOINT
        run = self.train(key, model, training, validation, config, checkpoint=checkpoint)
        seconds = time.perf_counter() - begin
        sharer = outcome.Sharer(model=model, threads=self._threads)
        evaluation = evaluate(sharer, dataset.test)
        extras = outcome.asked(sharer, validation, dataset.test)
        run_folder.write_extras(folder, extras)
        run_folder.write(
            folder,
            model_bytes=model.to_bytes(),
            history=run.history,
            probabilities=evaluation.probabilities,
            record={
                "schema": 1,
                "configuration": configuration,
                "params": dict(run.history.params),
                "test": {
                    "accuracy": evaluation.accuracy.value,
                    "loss": evaluation.loss.value,
                },
                "environment": _environment()
                | {"isa": run.isa, "threads": run.threads, "precision": run.precision},
                "timings": {
                    "seconds": seconds,
                    "epoch_seconds": list(run.history.seconds),
                    "resumed_from_epoch": run.resumed_from,
                },
                **_ending(run),
            },
        )
        self.tell(
            RunFinished(
                run=key,
                accuracy=evaluation.accuracy.value,
                loss=evaluation.loss.value,
                seconds=seconds,
                epochs=len(run.history),
                stopped_by=run.stopped_by,
                best_epoch=run.best_epoch,
            )
        )
        return _Done(
            model=model,
            history=run.history,
            evaluation=evaluation,
            probabilities=evaluation.probabilities,
            stopped_by=run.stopped_by,
            best_epoch=run.best_epoch,
            validation_labels=validation.labels,
            extras=extras,
        )


def _ending(run: Run) -> dict[str, Any]:
    """Say in a run's record how its training ended, where it did not go through all epochs."""
    ending: dict[str, Any] = {}
    if run.stopped_by is not None:
        ending["stopped"] = {"by": run.stopped_by, "epoch": len(run.history)}
    if run.best_epoch is not None:
        ending["best_epoch"] = run.best_epoch
    return ending


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made: {error.strerror}") from error


def _check_unused(folder: Path) -> None:
    runs = folder.glob("*/seed-*")
    if (folder / _LOCK).exists() or any(run_folder.holds_a_run(run) for run in runs):
        return
    try:
        StudyResult.load(folder / RESULTS)  # of a study that was copied without its hidden files
    except (InkproofError, OSError):
        for name in OUTPUTS:
            if (folder / name).exists():
                raise StorageError(
                    f"{folder}: {name} is there, which no study has written; --out takes another "
                    "folder"
                ) from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second process out of the folder; the lock goes with the process, however it ends.

    A folder that no study has locked before must hold nothing that a study would write over.
    """
    _make_folder(folder)
    _check_unused(folder)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    path = folder / _LOCK
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(
                f"{folder}: another inkproof is writing this folder; wait for it or use --out"
            ) from error
        yield
    finally:
        os.close(handle)


# --- What comes of it -----------------------------------------------------------------------------


def _result(
    study: Study,
    dataset: Dataset,
    folder: Path,
    done: Mapping[RunKey, _Done],
    *,
    jobs: int,
    threads: int,
) -> StudyResult:
    seeds = sorted(study.seeds)
    by_model = {
        model.name: {seed: done[RunKey(model=model.name, seed=seed)] for seed in seeds}
        for model in study.models
    }
    first = next(iter(done.values()))
    comparisons, ranking = outcome.compared(
        {
            name: {seed: run.probabilities for seed, run in runs.items()}
            for name, runs in by_model.items()
        },
        dataset.test.labels,
        margin=study.margin,
    )
    return StudyResult(
        study=study.content(),
        data=_data_result(dataset, study, folder, len(first.validation_labels)),
        environment=_environment()
        | {
            "isa": default_isa(),
            "jobs": jobs,
            "threads": threads,
            "precision": usable_precision(study.training.precision),
        },
        models=[
            _model_result(model, by_model[model.name], dataset.test.labels)
            for model in study.models
        ],
        comparisons=comparisons,
        ranking=ranking,
    )


def _data_result(dataset: Dataset, study: Study, folder: Path, validation: int) -> DataResult:
    def counts(split: Split) -> list[int]:
        return [int(count) for count in split.class_counts]

    return DataResult(
        name=dataset.name,
        source=dataset.source,
        path=_path_from(folder, dataset.source),
        fingerprint=dataset.fingerprint,
        image_shape=list(dataset.train.image_shape),
        class_names=list(dataset.class_names),
        train=len(dataset.train) - validation,
        validation=validation,
        test=len(dataset.test),
        class_counts={"train": counts(dataset.train), "test": counts(dataset.test)},
        licence=dataset.licence,
    )


def _model_result(
    model: StudyModel, runs: Mapping[int, _Done], labels: npt.NDArray[np.int64]
) -> ModelResult:
    evaluations = [run.evaluation for run in runs.values()]
    built = next(iter(runs.values())).model
    return ModelResult(
        name=model.name,
        parameters=built.count_params(),
        summary=built.summary(),
        diagram=built.plot(),
        test_accuracy=_over_runs([e.accuracy for e in evaluations], most=1.0),
        test_loss=_over_runs([e.loss for e in evaluations], most=math.inf),
        published=published.histories()[model.published] if model.published else None,
        findings=diagnose_runs(
            [run.history for run in runs.values()],
            name=model.name,
            validation_images=len(next(iter(runs.values())).validation_labels),
        ),
        trust=outcome.trusted(
            model.name,
            {
                seed: (run.probabilities, run.extras, run.validation_labels)
                for seed, run in runs.items()
            },
            labels,
        ),
        robustness=outcome.robust(model.name, {s: run.extras for s, run in runs.items()}),
        runs=[
            RunResult(
                seed=seed,
                history=run.history.columns(),
                test=TestResult(
                    loss=run.evaluation.loss.value,
                    accuracy=run.evaluation.accuracy.value,
                    confusion=run.evaluation.confusion.tolist(),
                    mistakes=[
                        Mistake(**dataclasses.asdict(mistake))
                        for mistake in run.evaluation.mistake_records()
                    ],
                ),
                epoch_seconds=list(run.history.seconds),
                findings=diagnose(
                    run.history, name=model.name, validation_images=len(run.validation_labels)
                ),
                folder=f"{model.name}/seed-{seed}",
                stopped_by=run.stopped_by,
                best_epoch=run.best_epoch,
            )
            for seed, run in runs.items()
        ],
    )


def _over_runs(estimates: list[Estimate], *, most: float) -> Estimate:
    """Take the mean over the runs, of what can be from 0 to ``most``."""
    first = estimates[0]
    return over_runs([e.value for e in estimates], lambda: first, first.level, least=0.0, most=most)


def _environment() -> dict[str, Any]:
    from inkproof import __version__

    return {
        "inkproof": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cores": default_threads(),
    }
