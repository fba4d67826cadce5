"""A model: layers, their weights, and what happens to an image before the first of them."""

from __future__ import annotations

import math
import operator
import reprlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

import numpy as np
import numpy.typing as npt

from inkproof import model_file
from inkproof.errors import (
    ConfigurationError,
    FileFormatError,
    ModelError,
    UnknownNameError,
)
from inkproof.initializers import initial_weights
from inkproof.layers import (
    Dense,
    Layer,
    Place,
    Shape,
    WeightSpec,
    check_name,
    layer_from_config,
    named,
    walk,
)
from inkproof.preprocessing import (
    Preprocessing,
    checked_input_shape,
    flat_inputs,
    is_image_shape,
)
from inkproof.settings import LONGEST_CLASS_NAME, is_class_name
from inkproof.storage import write_bytes
from inkproof.summary import DEFAULT_LINE_LENGTH, Row, summary_table

if TYPE_CHECKING:
    from inkproof.engine import Network

__all__ = ["MAX_LAYERS", "MAX_PARAMETERS", "Model", "Preprocessing"]

MAX_LAYERS: Final = 1000
MAX_PARAMETERS: Final = 1 << 28
"""1 GiB of float32: far beyond small images, and a bound on what a file can ask for."""
_MAX_OUTPUTS: Final = 1 << 24
_CONFIG_KEYS: Final = frozenset({"class_names", "input_shape", "layers", "name", "preprocessing"})
_DIAGRAMS: Final = (".png", ".svg")


class Model:
    """A network that takes raw inputs and gives probabilities.

    Weights are made when they are first asked for: Glorot uniform kernels, zero biases, ones and
    zeros in batch normalization, fixed by the seed. Several threads may call ``predict`` on one
    model.

    Parameters
    ----------
    layers : from the first to the last, 1 to 1,000, with those inside others
    input_shape : (height, width, channels) for uint8 images, (features,) for float32 vectors
    name : what tables and folders call it; limits as for a layer's name
    class_names : one for each output; without them the classes are called "0", "1", ...
    preprocessing : None scales images by 1/255 and flattens them if the first layer is Dense, and
        leaves vectors as they are
    seed : fixes the initial weights, 0 to 2**64 - 1

    Raises
    ------
    ConfigurationError : an argument is wrong
    ModelError : layers that fit neither one another nor the input or the class names; the message
        names the layer
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        input_shape: Sequence[int],
        name: str = "sequential",
        class_names: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        seed: int = 0,
    ) -> None:
        check_name(name, "model.name")
        if isinstance(layers, Layer) or not 1 <= len(layers) <= MAX_LAYERS:
            count = "one layer outside a list" if isinstance(layers, Layer) else len(layers)
            raise ConfigurationError(f"model.layers must be 1 to {MAX_LAYERS} layers, got {count}")
        self._name = name
        self._layers = named(layers)
        self._input_shape = checked_input_shape(input_shape)
        self._preprocessing = preprocessing or self._default_preprocessing()
        self._seed = _checked_seed(seed)
        self._places = tuple(walk(self._layers, self.layer_input_shape))
        if len(self._places) > MAX_LAYERS:
            raise ConfigurationError(
                f"model.layers must be 1 to {MAX_LAYERS} layers, those inside others included, "
                f"got {len(self._places)}"
            )
        for place in self._places:
            if math.prod(place.output_shape) > _MAX_OUTPUTS:
                raise ModelError(
                    f"{place.where} {place.layer.name!r} ({place.layer.kind}): a layer may give at "
                    f"most {_MAX_OUTPUTS:,} numbers, got {place.output_shape}"
                )
        self._specs = tuple(place.own_weights for place in self._places)
        parameters = self.count_params()
        if parameters > MAX_PARAMETERS:
            raise ModelError(
                f"the model may have at most {MAX_PARAMETERS:,} parameters, got {parameters:,}"
            )
        self._class_names = self._checked_class_names(class_names)
        self._weights: list[npt.NDArray[np.float32]] | None = None
        self._network: Network | None = None
        self._network_is_current = False
        self._threads: int | None = None  # that share its work
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """What tables and folders call it."""
        return self._name

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, all of them named."""
        return self._layers

    @property
    def input_shape(self) -> Shape:
        """The shape of one raw input: (height, width, channels) or (features,)."""
        return self._input_shape

    @property
    def layer_input_shape(self) -> Shape:
        """The shape of what the first layer gets: that of an input after preprocessing."""
        return self._preprocessing.output_shape(self._input_shape)

    @property
    def output_shape(self) -> Shape:
        """The shape of one output, such as (10,)."""
        return self._top()[-1].output_shape

    @property
    def num_classes(self) -> int:
        """How many classes it tells apart: the size of the output's last axis."""
        return self.output_shape[-1]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' names."""
        return self._class_names

    @property
    def preprocessing(self) -> Preprocessing:
        """What happens to an input before the first layer."""
        return self._preprocessing

    @property
    def takes_images(self) -> bool:
        """Whether an input is a uint8 image, not a float32 vector."""
        return is_image_shape(self._input_shape)

    def __repr__(self) -> str:
        return (
            f"Model({self._name!r}, {self._input_shape} -> {self.output_shape}, "
            f"{self.count_params():,} parameters)"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process: the engine's network and the lock."""
        state = self.__dict__ | {"_network": None, "_network_is_current": False}
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def count_params(self) -> int:
        """Count the numbers in all weights, trainable or not."""
        return sum(spec.size for layer in self._specs for spec in layer)

    def weights(self) -> list[npt.NDArray[np.float32]]:
        """Copy the weights: float32 arrays in Keras' order and layout.

        A Dense gives its kernel (inputs, units), then its bias (units,); a Conv2D its kernel
        (height, width, channels, filters), then its bias; a BatchNormalization gamma, beta,
        running mean and variance; a Residual the arrays of its layers.
        """
        with self._lock:
            return [array.copy() for array in self._current_weights()]

    def get_weights(self) -> list[npt.NDArray[np.float32]]:
        """Do what :meth:`weights` does, under Keras' name."""
        return self.weights()

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Copy weights in, all of them.

        Parameters
        ----------
        weights : real numbers in the order and shapes of :meth:`weights`, finite as float32

        Raises
        ------
        ModelError : another number of arrays, another shape, or numbers that are not finite
        """
        names = self._weight_names()
        if len(weights) != len(names):
            raise ModelError(
                f"set_weights: expected {len(names)} arrays ({', '.join(names[:4])}"
                f"{', ...' if len(names) > 4 else ''}), got {len(weights)}"
            )
        specs = [spec for layer in self._specs for spec in layer]
        checked = [
            _checked_weight(array, spec, f"set_weights: weights[{index}] ({name})")
            for index, (array, spec, name) in enumerate(zip(weights, specs, names, strict=True))
        ]
        with self._lock:
            self._weights = checked
            self._network_is_current = False

    def summary(self, *, line_length: int = DEFAULT_LINE_LENGTH) -> str:
        """Give the table that ``keras.Model.summary()`` prints, as plain text."""
        specs = [spec for layer in self._specs for spec in layer]
        trainable = sum(spec.size for spec in specs if spec.trainable)
        rows = [
            Row(
                name=str(place.layer.name),
                kind=place.layer.kind,
                output_shape=place.output_shape,
                parameters=place.layer.count_params(place.input_shape),
            )
            for place in self._top()
        ]
        return summary_table(
            self._name,
            rows,
            trainable=trainable,
            non_trainable=self.count_params() - trainable,
            line_length=line_length,
        )

    def plot(self, path: str | Path | None = None, *, show_shapes: bool = True) -> str:
        """Draw the layers from the input to the output.

        Parameters
        ----------
        path : a file to write, ``.svg`` or ``.png``; None writes none
        show_shapes : whether the shapes of inputs and outputs are shown

        Returns
        -------
        the drawing as an ``<svg>`` element

        Raises
        ------
        UnknownNameError : a path with another ending
        StorageError : the file cannot be written
        """
        from inkproof import diagram

        given = diagram.Block(
            name="input",
            detail=self._preprocessing.describe(self._input_shape),
            input_shape=None,
            output_shape=self._input_shape,
        )
        blocks = [given, *diagram.blocks_of(self._places)]
        drawing = diagram.svg(
            blocks, title=f"Layer diagram of {self._name}", show_shapes=show_shapes
        )
        if path is not None:
            suffix = Path(path).suffix.lower()
            if suffix not in _DIAGRAMS:
                raise UnknownNameError("diagram format", suffix, _DIAGRAMS, where=str(path))
            is_png = suffix == ".png"
            write_bytes(
                path,
                diagram.png(blocks, show_shapes=show_shapes) if is_png else drawing.encode(),
            )
        return drawing

    def flat_inputs(self, images: npt.ArrayLike) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
        """Check raw inputs and lay them out as the engine takes them, unscaled.

        Parameters
        ----------
        images : see :meth:`predict`

        Returns
        -------
        uint8 or float32 (n, features), C-contiguous, a view where that is possible

        Raises
        ------
        ModelError : another shape or dtype than the model takes
        """
        return flat_inputs(images, self._input_shape, where=f"model {self._name!r}")

    def predict(
        self, images: npt.ArrayLike, batch_size: int = 8192, *, threads: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Give each input's class probabilities. Preprocessing is inside: inputs are raw.

        Parameters
        ----------
        images : uint8 (n, height, width, channels), 0-255, or one image without the first axis;
            grey images may leave out the channels' axis; float32 (n, features) or (features,) for
            a model of vectors
        batch_size : how many go to the engine at a time; changes no result
        threads : that share the work, as many as the cores if None; changes no result

        Returns
        -------
        float32 (n, classes), in [0, 1]; n is 1 for one image

        Raises
        ------
        ModelError : another shape or dtype than the model takes
        ConfigurationError : ``batch_size`` or ``threads`` out of range
        UnsupportedError : the engine cannot compute this network
        """
        if batch_size < 1:
            raise ConfigurationError(f"predict: batch_size must be at least 1, got {batch_size}")
        inputs = self.flat_inputs(images)
        result = np.empty((len(inputs), *self.output_shape), dtype=np.float32)
        with self._lock:
            network = self._current_network(threads)
            for begin in range(0, len(inputs), batch_size):
                rows = slice(begin, begin + batch_size)
                result[rows] = network.predict(
                    inputs[rows],
                    scale=self._preprocessing.scale,
                    offset=self._preprocessing.offset,
                )
        return result

    def config(self) -> dict[str, Any]:
        """Give all but the weights as JSON values; :meth:`from_config` takes them back."""
        return {
            "class_names": list(self._class_names),
            "input_shape": list(self._input_shape),
            "layers": [layer.config() for layer in self._layers],
            "name": self._name,
            "preprocessing": {
                "flatten": self._preprocessing.flatten,
                "offset": self._preprocessing.offset,
                "scale": self._preprocessing.scale,
            },
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, seed: int = 0) -> Model:
        """Make a model of what :meth:`config` gave; its weights are initial ones.

        Raises
        ------
        ConfigurationError, ModelError : as for ``Model``; also missing keys
        UnknownNameError : a key, a layer or an activation that does not exist
        """
        if not isinstance(config, Mapping) or not isinstance(config.get("layers"), list):
            raise ConfigurationError(
                f"model must be a table with a list of layers, got {reprlib.repr(config)}"
            )
        for key in config:
            if key not in _CONFIG_KEYS:
                raise UnknownNameError("key", str(key)[:40], _CONFIG_KEYS, where="model")
        if len(config["layers"]) > MAX_LAYERS:
            raise ConfigurationError(
                f"model.layers must be 1 to {MAX_LAYERS} layers, got {len(config['layers'])}"
            )
        if "input_shape" not in config:
            raise ConfigurationError("model.input_shape is missing")
        preprocessing = config.get("preprocessing")
        known = {"flatten", "offset", "scale"}
        if preprocessing is not None and not (
            isinstance(preprocessing, Mapping) and preprocessing.keys() <= known
        ):
            raise ConfigurationError(
                f"model.preprocessing must be a table of {', '.join(sorted(known))}, "
                f"got {reprlib.repr(preprocessing)}"
            )
        return cls(
            [
                layer_from_config(layer, where=f"layers[{index}]")
                for index, layer in enumerate(config["layers"])
            ],
            input_shape=config["input_shape"],
            name=config.get("name", "sequential"),
            class_names=config.get("class_names"),
            preprocessing=None if preprocessing is None else Preprocessing(**preprocessing),
            seed=seed,
        )

    def save(self, path: str | Path) -> None:
        """Write weights and description to one safetensors file; the same state, the same bytes.

        Raises
        ------
        StorageError : it cannot be written; what was there is as before
        """
        write_bytes(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Give what :meth:`save` writes."""
        with self._lock:
            weights = self._current_weights()
        tensors = dict(zip(self._weight_names(), weights, strict=True))
        return model_file.to_bytes(self.config(), tensors)

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """Read what :meth:`save` wrote; the file need not be trusted.

        Raises
        ------
        FileFormatError : damaged, cut off, of a newer format, or not a model of ours
        StorageError : it cannot be read
        """
        config = model_file.read_description(path)
        try:
            model = cls.from_config(config)
        except (ConfigurationError, ModelError) as error:
            raise FileFormatError(f"{path}: {error}") from error
        names = model._weight_names()
        shapes = [spec.shape for layer in model._specs for spec in layer]
        tensors = model_file.read_tensors(path, dict(zip(names, shapes, strict=True)))
        try:
            model.set_weights([tensors[name] for name in names])
        except ModelError as error:
            raise FileFormatError(f"{path}: {error}") from error
        return model

    def _default_preprocessing(self) -> Preprocessing:
        if not self.takes_images:
            return Preprocessing()
        return Preprocessing(scale=1 / 255, flatten=isinstance(self._layers[0], Dense))

    def _top(self) -> list[Place]:
        """Give the places of the layers that are inside no other one."""
        return [place for place in self._places if "/" not in place.path]

    def _weight_names(self) -> list[str]:
        return [
            f"{place.path}/{spec.name}"
            for place, specs in zip(self._places, self._specs, strict=True)
            for spec in specs
        ]

    def _current_weights(self) -> list[npt.NDArray[np.float32]]:
        if self._weights is None:
            self._weights = initial_weights(self._specs, seed=self._seed)
        return self._weights

    def _current_network(self, threads: int | None) -> Network:
        if self._network is None:
            self._network = _new_network(self._layers, self.layer_input_shape, threads)
        elif threads != self._threads:
            self._network.share_among(threads)
        self._threads = threads
        if not self._network_is_current:
            self._network.set_weights(self._current_weights())
            self._network_is_current = True
        return self._network

    def _checked_class_names(self, names: Sequence[str] | None) -> tuple[str, ...]:
        if names is None:
            return tuple(map(str, range(self.num_classes)))
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise ConfigurationError(
                f"model.class_names must be a list of names, got {reprlib.repr(names)}"
            )
        for index, name in enumerate(names):
            if not is_class_name(name):
                raise ConfigurationError(
                    f"model.class_names[{index}] must be 1 to {LONGEST_CLASS_NAME} printable "
                    f"characters, got {reprlib.repr(name)}"
                )
        if len(names) != self.num_classes or len(self.output_shape) != 1:
            last = self._layers[-1]
            raise ModelError(
                f"the last layer, {last.name!r} ({last.kind}), must have as many units as there "
                f"are classes: expected ({len(names)},), got {self.output_shape}"
            )
        return tuple(names)


def _new_network(layers: tuple[Layer, ...], input_shape: Shape, threads: int | None) -> Network:
    from inkproof.engine import Network

    return Network(layers, input_shape, threads=threads)


def _checked_seed(seed: object) -> int:
    if isinstance(seed, SupportsIndex) and not isinstance(seed, bool):
        number = operator.index(seed)
        if 0 <= number < 1 << 64:
            return number
    raise ConfigurationError(
        f"model.seed must be a whole number from 0 to 2**64 - 1, got {reprlib.repr(seed)}"
    )


def _checked_weight(values: npt.ArrayLike, spec: WeightSpec, where: str) -> npt.NDArray[np.float32]:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.shape != spec.shape:
        raise ModelError(f"{where}: expected float32 {spec.shape}, got {array.dtype} {array.shape}")
    with np.errstate(over="ignore"):
        result = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(result).all():
        raise ModelError(f"{where}: expected finite numbers, got infinity or NaN")
    if spec.name == "moving_variance" and (result < 0).any():
        raise ModelError(f"{where}: expected variances of at least 0, got {result.min():g}")
    result.flags.writeable = False
    return result
