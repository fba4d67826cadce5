"""The models and reports that may be asked for: what a listing found, and nothing else.

A request names an id. It is looked up in the listing; no path is ever made of it.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from inkproof.errors import InkproofError, StorageError
from inkproof.serve.refusal import Refusal

if TYPE_CHECKING:
    from inkproof.photo.reader import Reader

__all__ = ["SHIPPED", "Library", "ModelEntry"]

SHIPPED: Final = "shipped"
_GIVEN: Final = "given"
_DEPTH: Final = 4  # <study>/<model>/seed-<n>/model.safetensors
_MOST_ENTRIES: Final = 20_000  # looked at in one listing
_MOST_MODELS: Final = 500
_MODEL_BYTES: Final = 64 << 20
_REPORT_BYTES: Final = 64 << 20
_LOADED: Final = 8
_FRESH_SECONDS: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model that can be chosen.

    Parameters
    ----------
    id : what requests call it
    name : what people call it
    path : its file; None for the one that is in the package
    stamp : changes when the file does
    report : the id of its study's report, or None
    """

    id: str
    name: str
    path: Path | None
    stamp: tuple[int, ...] = ()
    report: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Listing:
    models: dict[str, ModelEntry]
    reports: dict[str, Path]
    made: float


class Library:
    """The shipped model, one named on the command line, and those of a runs folder.

    Parameters
    ----------
    runs : a folder of studies, or one study's folder; None for none
    model : a model file to use where a request names none; None for the shipped one

    Raises
    ------
    StorageError : ``runs`` is no folder
    FileFormatError, ModelError : ``model`` cannot read digits
    """

    def __init__(self, runs: Path | None = None, model: Path | None = None) -> None:
        if runs is not None and not runs.is_dir():
            raise StorageError(f"{runs}: expected a folder of runs, got none")
        self._runs = None if runs is None else runs.resolve()
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._listing: _Listing | None = None
        self._described: dict[Path, tuple[tuple[int, ...], bool]] = {}
        self._readers: OrderedDict[tuple[Any, ...], Reader] = OrderedDict()
        self._fixed = [ModelEntry(id=SHIPPED, name="Inkproof's own", path=None)]
        if model is not None:
            self._fixed.insert(
                0, ModelEntry(id=_GIVEN, name=_readable(model.name) or "model", path=model)
            )
        self.default = self._fixed[0].id
        self.reader(None)  # what is wrong with it is told before anything is served
        # Its own network: the event loop must not wait until another thread is done with a page.
        self._quick = self._load(self._fixed[0])
        self._quick.read(np.zeros((1, 28, 28), dtype=np.uint8))  # what is made once is made now

    def models(self) -> list[ModelEntry]:
        """List the models, the default one first."""
        return list(self._current().models.values())

    def reports(self) -> list[str]:
        """List the ids of the reports."""
        return list(self._current().reports)

    def entry(self, model: str | None) -> ModelEntry:
        """Look a model up.

        Raises
        ------
        Refusal : 404, there is no such model
        """
        if model is None:
            return self._fixed[0]
        for fixed in self._fixed:
            if fixed.id == model:
                return fixed
        found = self._current().models.get(model)
        if found is None:
            raise Refusal(404, f"model: expected an id from /api/models, got {model[:100]!r}")
        return found

    def reader(self, model: str | None) -> Reader:
        """Give the model of that id, loaded; None for the default one.

        Raises
        ------
        Refusal : 404, there is no such model
        InkproofError : the file is damaged or no reader of digits
        """
        entry = self.entry(model)
        key = (entry.path, entry.stamp)
        with self._lock:
            if key in self._readers:
                self._readers.move_to_end(key)
                return self._readers[key]
        with self._loading:
            reader = self._readers.get(key)
            if reader is None:
                reader = self._load(entry)
        with self._lock:
            self._readers[key] = reader
            while len(self._readers) > _LOADED:
                self._readers.popitem(last=False)
        return reader

    def quick(self, model: str | None) -> Reader | None:
        """Give the default model for the event loop's own use; None for any other one."""
        return self._quick if model is None or model == self.default else None

    def report(self, report: str) -> bytes:
        """Read a report.

        Raises
        ------
        Refusal : 404, there is no such report
        """
        path = self._current().reports.get(report)
        if path is None:
            raise Refusal(404, f"report: expected one that /api/models names, got {report[:100]!r}")
        try:
            self._check_inside(path)
            # A link or a pipe that was put there after the listing is not followed.
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as content:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise Refusal(404, "report: expected a file, got something else")
                page = content.read(_REPORT_BYTES + 1)
        except OSError as error:
            raise Refusal(404, f"report: cannot be read: {error.strerror}") from error
        if len(page) > _REPORT_BYTES:
            raise Refusal(404, f"report: expected at most {_REPORT_BYTES:,} bytes, got more")
        return page

    def _load(self, entry: ModelEntry) -> Reader:
        from inkproof.photo.reader import Reader, calibration_path

        if entry.path is None or entry.id == _GIVEN:
            return Reader.load(entry.path)
        for path in (entry.path, calibration_path(entry.path)):
            self._check_inside(path)
        try:
            return Reader.load(entry.path)
        except InkproofError as error:
            # Whoever asks need not know where the folder lies.
            text = str(error).replace(str(self._runs), "runs")
            raise Refusal(422, f"model: {text}") from error

    def _check_inside(self, path: Path) -> None:
        if self._runs is None or not path.resolve().is_relative_to(self._runs):
            raise Refusal(404, "model: its file lies outside of the runs folder")

    def _current(self) -> _Listing:
        with self._lock:
            listing = self._listing
            if listing is None or time.monotonic() - listing.made > _FRESH_SECONDS:
                listing = self._listing = self._list()
        return listing

    def _list(self) -> _Listing:
        known, self._described = self._described, {}
        models = {entry.id: entry for entry in self._fixed}
        reports: dict[str, Path] = {}
        if self._runs is not None:
            for path in _walk(self._runs):
                name = _readable(path.relative_to(self._runs).as_posix())
                if name is None:
                    continue
                if path.name == "report.html":
                    reports[name] = path
                elif len(models) < _MOST_MODELS:
                    entry = self._model_entry(path, name, known)
                    if entry is not None:
                        models[entry.id] = entry
            models = {
                entry.id: self._with_report(entry, reports) for entry in _in_order(models.values())
            }
        return _Listing(models=models, reports=reports, made=time.monotonic())

    def _model_entry(
        self, path: Path, name: str, described: dict[Path, tuple[tuple[int, ...], bool]]
    ) -> ModelEntry | None:
        try:
            about = path.stat()
        except OSError:
            return None
        if about.st_size > _MODEL_BYTES:
            return None
        stamp = (about.st_ino, about.st_size, about.st_mtime_ns)
        known = described.get(path)
        if known is None or known[0] != stamp:
            known = (stamp, _reads_digits(path))
        self._described[path] = known
        if not known[1]:
            return None
        folder, _, file = name.rpartition("/")
        label = folder if file == "model.safetensors" and folder else name
        return ModelEntry(
            id=f"runs/{label}", name=label.replace("/", " / "), path=path, stamp=stamp
        )

    def _with_report(self, entry: ModelEntry, reports: dict[str, Path]) -> ModelEntry:
        if entry.path is None or self._runs is None or not entry.id.startswith("runs/"):
            return entry
        for folder in entry.path.relative_to(self._runs).parents:
            report = (folder / "report.html").as_posix()
            if report in reports:
                return ModelEntry(
                    id=entry.id, name=entry.name, path=entry.path, stamp=entry.stamp, report=report
                )
        return entry


def _walk(root: Path) -> Iterator[Path]:
    """Find reports and model files, links left out, down to the depth of a run's folder."""
    looked_at = 0
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in found:
            looked_at += 1
            if looked_at > _MOST_ENTRIES:
                return
            if entry.is_symlink() or entry.name.startswith("."):
                continue
            if entry.is_dir():
                if depth + 1 < _DEPTH:
                    waiting.append((Path(entry.path), depth + 1))
            elif entry.is_file() and (
                entry.name == "report.html"
                or (entry.name.endswith(".safetensors") and not entry.name.startswith("checkpoint"))
            ):
                yield Path(entry.path)


def _readable(name: str) -> str | None:
    """Give a name that can be shown and sent, or None."""
    return name if len(name) <= 300 and name.isprintable() else None


def _in_order(entries: Any) -> list[ModelEntry]:
    def key(entry: ModelEntry) -> tuple[bool, list[Any]]:
        pieces = re.split(r"([0-9]+)", entry.name)
        return entry.id.startswith("runs/"), [
            (0, int(piece[:18]), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces
        ]

    entries = list(entries)
    fixed = [entry for entry in entries if not entry.id.startswith("runs/")]
    return fixed + sorted((entry for entry in entries if entry.id.startswith("runs/")), key=key)


def _reads_digits(path: Path) -> bool:
    """Say whether a file's model reads digits; a damaged file has none."""
    from inkproof.model_file import read_description
    from inkproof.photo.reader import describes_reader

    try:
        return describes_reader(read_description(path))
    except InkproofError:
        return False
