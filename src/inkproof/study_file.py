"""A study's file: what to train on what, how, and how often."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from inkproof import published
from inkproof.comparison import MARGIN
from inkproof.errors import ConfigurationError, InkproofError, StorageError, UnknownNameError
from inkproof.layers import Layer, layer_from_config
from inkproof.settings import FOLDER_NAME
from inkproof.training import TrainingConfig

__all__ = ["BUILT_IN", "OUTPUTS", "Study", "StudyData", "StudyModel"]

BUILT_IN: Final = ("notebook",)
_MAX_FILE_BYTES: Final = 1 << 20
_MAX_SEEDS: Final = 10_000
OUTPUTS: Final = ("assets", "figures", "report.html", "report.md", "results.json")
"""What a study and its report write beside the models' folders."""


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """What a study runs on.

    Parameters
    ----------
    source : what :func:`inkproof.load` takes
    hold_out : the share of the training images that validate, between 0 and 1
    """

    source: str = "mnist"
    hold_out: float = 0.1


@dataclass(frozen=True, kw_only=True)
class StudyModel:
    """One network of a study.

    Parameters
    ----------
    name : also the name of its folder
    layers : from the first to the last
    published : a published history to draw behind its own, or None
    """

    name: str
    layers: tuple[Layer, ...]
    published: str | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """Some networks, trained on the same data in the same way with the same seeds.

    Parameters
    ----------
    name : also the name of its folder
    title, description : for the report
    seeds : different whole numbers, 0 to 2**63 - 1
    data, training, models : see there; the models' names differ
    margin : a difference in accuracy within it counts as none worth having, a share
    origin : the file it came from, for messages
    """

    name: str
    title: str = ""
    description: str = ""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    data: StudyData = field(default_factory=StudyData)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    models: tuple[StudyModel, ...] = ()
    margin: float = MARGIN
    origin: str = "study"

    @classmethod
    def built_in(cls, name: str = "notebook") -> Study:
        """Give a study that is inside the package."""
        if name not in BUILT_IN:
            raise UnknownNameError("study", name, BUILT_IN)
        return cls.from_file(Path(__file__).parent / "studies" / f"{name}.toml")

    @classmethod
    def from_file(cls, path: str | Path) -> Study:
        """Read a TOML file; a relative ``data.source`` is looked for beside it first.

        Raises
        ------
        ConfigurationError : not TOML, or a value that is missing or wrong; the message names it
        UnknownNameError : a key, layer or other name that does not exist
        StorageError : the file cannot be read
        """
        path = Path(path)
        try:
            with path.open("rb") as handle:
                raw = handle.read(_MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            near = f"; built-in studies: {', '.join(BUILT_IN)}" if path.suffix == "" else ""
            raise StorageError(f"{path}: there is no such study file{near}") from None
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
        if len(raw) > _MAX_FILE_BYTES:
            raise ConfigurationError(f"{path}: a study file has at most {_MAX_FILE_BYTES} bytes")
        try:
            content = tomllib.loads(raw.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: not TOML: {error}") from error
        study = cls.from_content(content, origin=str(path))
        beside = path.parent / study.data.source  # an absolute source stays what it is
        if study.data.source != "mnist" and _is_there(beside, study):
            data = dataclasses.replace(study.data, source=str(beside))
            study = dataclasses.replace(study, data=data)
        return study

    @classmethod
    def from_content(cls, content: Mapping[str, Any], *, origin: str = "study") -> Study:
        """Make a study of a file's content; see :meth:`from_file`."""
        table = _Table(content, origin, "")
        table.only(
            "comparison", "data", "description", "models", "name", "seeds", "title", "training"
        )
        name = table.name("name", "study")
        try:
            training = TrainingConfig.from_config(table.table("training").values)
        except InkproofError as error:
            raise ConfigurationError(f"{origin}: {error}") from error
        if "seed" in table.table("training").values:
            raise ConfigurationError(
                f"{origin}: training.seed is set by the study; write seeds = [...] at the top"
            )
        if "threads" in table.table("training").values:
            raise ConfigurationError(
                f"{origin}: training.threads changes no result and is no part of a study; "
                "INKPROOF_THREADS in the environment sets the number of cores"
            )
        return cls(
            name=name,
            title=table.text("title", name),
            description=table.text("description", ""),
            seeds=_seeds(content.get("seeds", 6), origin),
            data=_data(table.table("data")),
            training=training,
            models=_models(content.get("models"), origin),
            margin=_margin(table.table("comparison")),
            origin=origin,
        )

    def check_source(self) -> None:
        """Look whether ``data.source`` is there, to say where it stands if it is not.

        Raises
        ------
        ConfigurationError : it is no known data set, and neither a file nor a folder
        """
        source = self.data.source
        if source == "mnist" or _is_there(Path(source), self):
            return
        where = f"{self.origin}: data.source"
        if Path(source).name == source and not Path(source).suffix:
            known = ("mnist", "a path to a folder, a .csv or a .npz file")
            raise UnknownNameError("data set", source, known, where=where)
        raise ConfigurationError(
            f"{where}: expected mnist or a path, got {_short(source)}, which is not there"
        )

    def changed(
        self,
        *,
        seeds: int | None = None,
        epochs: int | None = None,
        source: str | None = None,
    ) -> Study:
        """Give this study with other seeds (their number), epochs or data."""
        study = self
        if seeds is not None:
            study = dataclasses.replace(study, seeds=_seeds(seeds, "--seeds"))
        if epochs is not None:
            training = dataclasses.replace(study.training, epochs=epochs)
            study = dataclasses.replace(study, training=training)
        if source is not None:
            data = dataclasses.replace(study.data, source=source)
            study = dataclasses.replace(study, data=data)
        return study

    def content(self) -> dict[str, Any]:
        """Give JSON values with all defaults filled in; :meth:`from_content` takes them back."""
        training = self.training.config()
        del training["seed"]
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "seeds": list(self.seeds),
            "data": {"source": self.data.source, "hold_out": self.data.hold_out},
            "training": training,
            "comparison": {"margin_points": round(100 * self.margin, 9)},
            "models": [
                {
                    "name": model.name,
                    "layers": [layer.config() for layer in model.layers],
                    **({"published": model.published} if model.published else {}),
                }
                for model in self.models
            ],
        }


class _Table:
    """A TOML table that knows where it stands."""

    def __init__(self, values: object, origin: str, path: str) -> None:
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"{origin}: {path or 'content'} must be a table")
        self.values: dict[str, Any] = dict(values)
        self.origin = origin
        self.path = path

    def where(self, key: str) -> str:
        return f"{self.origin}: {self.path}{key}"

    def only(self, *known: str) -> None:
        for key in self.values:
            if key not in known:
                place = self.path.rstrip(".")
                raise UnknownNameError(
                    "key", key[:40], known, where=self.origin + (f": {place}" if place else "")
                )

    def table(self, key: str) -> _Table:
        return _Table(self.values.get(key, {}), self.origin, f"{self.path}{key}.")

    def text(self, key: str, default: str) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str) or len(value) > 2000:
            raise ConfigurationError(f"{self.where(key)} must be text, got {_short(value)}")
        return value

    def number(self, key: str, default: float, what: str, *, below: float) -> float:
        value = self.values.get(key, default)
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not math.isfinite(value)
            or not 0 < value < below
        ):
            raise ConfigurationError(
                f"{self.where(key)} must be {what} between 0 and {below:g}, got {_short(value)}"
            )
        return float(value)

    def name(self, key: str, what: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not FOLDER_NAME.fullmatch(value):
            raise ConfigurationError(
                f"{self.where(key)} must name the {what} (letters, digits, . _ + -, at most 64), "
                f"got {_short(value)}"
            )
        return value


def _is_there(path: Path, study: Study) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise ConfigurationError(
            f"{study.origin}: data.source: cannot be looked for: {error.strerror}, "
            f"got {_short(study.data.source)}"
        ) from error


def _short(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _seeds(value: object, where: str) -> tuple[int, ...]:
    label = where if where.startswith("--") else f"{where}: seeds"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_SEEDS:
        return tuple(range(value))
    if isinstance(value, list) and 1 <= len(value) <= _MAX_SEEDS:
        whole = [v for v in value if isinstance(v, int) and not isinstance(v, bool)]
        if len(whole) == len(value) == len(set(whole)) and all(0 <= v < 1 << 63 for v in whole):
            return tuple(whole)
    raise ConfigurationError(
        f"{label} must be a whole number from 1 to {_MAX_SEEDS} or a list of different whole "
        f"numbers, got {_short(value)}"
    )


def _data(table: _Table) -> StudyData:
    table.only("hold_out", "source")
    share = table.number("hold_out", 0.1, "a share", below=1)
    return StudyData(source=table.text("source", "mnist"), hold_out=share)


def _margin(table: _Table) -> float:
    table.only("margin_points")
    return table.number("margin_points", 100 * MARGIN, "points of accuracy", below=100) / 100


def _models(values: object, origin: str) -> tuple[StudyModel, ...]:
    if not isinstance(values, list) or not values:
        raise ConfigurationError(f"{origin}: models must be at least one [[models]] table")
    models = tuple(_model(value, origin, f"models[{i}]") for i, value in enumerate(values))
    names = [model.name for model in models]
    for index, name in enumerate(names):
        if name.lower() in OUTPUTS:
            raise ConfigurationError(
                f"{origin}: models[{index}].name must be none of {', '.join(OUTPUTS)}, which are "
                f"written beside the models' folders, got {name!r}"
            )
        first = [other.lower() for other in names].index(name.lower())
        if first != index:
            both = "for both" if names[first] == name else f"and {names[first]!r}"
            raise ConfigurationError(
                f"{origin}: models[{index}].name must differ from models[{first}].name "
                f"in more than capitals, got {name!r} {both}"
            )
    return models


def _model(value: object, origin: str, place: str) -> StudyModel:
    table = _Table(value, origin, f"{place}.")
    table.only("layers", "name", "published")
    layers = table.values.get("layers")
    if not isinstance(layers, list) or not layers:
        raise ConfigurationError(f"{table.where('layers')} must be a list of layers")
    known = published.histories()
    drawn_behind = table.values.get("published")
    if drawn_behind is not None and drawn_behind not in known:
        raise UnknownNameError(
            "published history", str(drawn_behind)[:40], known, where=table.where("published")
        )
    return StudyModel(
        name=table.name("name", "model"),
        layers=tuple(
            layer_from_config(layer, where=f"{table.where('layers')}[{index}]")
            for index, layer in enumerate(layers)
        ),
        published=drawn_behind,
    )
