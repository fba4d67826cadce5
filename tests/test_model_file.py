from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from inkproof import model_file
from inkproof.errors import FileFormatError, ModelError, StorageError
from inkproof.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Residual,
)
from inkproof.model import Model, Preprocessing


def make_model(seed: int = 0, **arguments: Any) -> Model:
    settings = {
        "input_shape": (3, 2, 1),
        "name": "small",
        "class_names": ["cat", "Hündchen", "犬"],
    } | arguments
    return Model(
        [Dense(4, activation="relu", name="hidden_1"), Dense(3, activation="softmax")],
        seed=seed,
        **settings,
    )


def make_convnet() -> Model:
    block = Residual([BatchNormalization(), Conv2D(2, (3, 1), padding="same")])
    return Model(
        [Conv2D(2, 2, use_bias=False), block, Dropout(0.5), GlobalAveragePool2D(), Dense(2)],
        input_shape=(4, 5, 3),
        name="convnet",
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    make_model().save(path)
    return path


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: object, data: bytes) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def description_of(header: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(header["__metadata__"]["inkproof"])
    return result


def refused_or_whole(path: Path) -> None:
    """Load a file of which something was changed: either one clear line or a whole model."""
    message = ""
    try:
        model = Model.load(path)
    except FileFormatError as error:
        message = str(error)
    else:
        assert model.count_params() in (make_model().count_params(), make_convnet().count_params())
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    "model",
    [
        make_model(seed=9),
        Model([Flatten(), Dense(5), Activation("softmax")], input_shape=(4, 4, 3), name="b"),
        Model([Dense(2)], input_shape=(7,), preprocessing=Preprocessing(scale=1 / 3, offset=-0.1)),
        Model([Flatten()], input_shape=(2, 2, 1), name="no weights"),
        make_convnet(),
    ],
)
def test_a_model_comes_back_as_it_was(model: Model, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = Model.load(str(path))
    assert again.config() == model.config()
    for a, b in zip(again.weights(), model.weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_state_gives_the_same_bytes(saved: Path, tmp_path: Path):
    again = tmp_path / "again.safetensors"
    Model.load(saved).save(again)
    make_model().save(tmp_path / "twin.safetensors")
    assert saved.read_bytes() == again.read_bytes()
    assert saved.read_bytes() == (tmp_path / "twin.safetensors").read_bytes()


def test_the_file_is_plain_safetensors_with_one_canonical_key(saved: Path):
    model = make_model()
    tensors = load_file(saved)
    assert set(tensors) == {"hidden_1/kernel", "hidden_1/bias", "dense/kernel", "dense/bias"}
    np.testing.assert_array_equal(tensors["hidden_1/kernel"], model.weights()[0])
    header, _ = parts(saved.read_bytes())
    assert list(header["__metadata__"]) == ["inkproof"]
    text = header["__metadata__"]["inkproof"]
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert json.loads(text) == {
        "format": 1,
        "name": "small",
        "input_shape": [3, 2, 1],
        "class_names": ["cat", "Hündchen", "犬"],
        "preprocessing": {"scale": 1 / 255, "offset": 0.0, "flatten": True},
        "layers": [
            {"type": "Dense", "units": 4, "activation": "relu", "name": "hidden_1"},
            {"type": "Dense", "units": 3, "activation": "softmax", "name": "dense"},
        ],
    }


def test_the_golden_file_can_still_be_read():
    """Written by the first version; later ones must read it."""
    path = Path(__file__).parent / "golden" / "model_format_1.safetensors"
    model = Model.load(path)
    assert model.config() == make_model().config()
    assert model.to_bytes() == path.read_bytes()
    for a, b in zip(model.weights(), make_model().weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_file_cut_anywhere_is_refused(saved: Path):
    content = saved.read_bytes()
    for length in range(len(content)):
        saved.write_bytes(content[:length])
        with pytest.raises(FileFormatError) as caught:
            Model.load(saved)
        assert str(caught.value).startswith(f"{saved}: ")
        assert "\n" not in str(caught.value)


def test_a_cut_file_says_so(saved: Path):
    content = saved.read_bytes()
    saved.write_bytes(content[:-1])
    with pytest.raises(
        FileFormatError,
        match=rf"cut off: expected {len(content):,} bytes, got {len(content) - 1:,}$",
    ):
        Model.load(saved)
    saved.write_bytes(content + b"\0")
    with pytest.raises(FileFormatError, match=r"too long: expected "):
        Model.load(saved)
    saved.write_bytes(content[:20])
    with pytest.raises(FileFormatError, match=r"cut off: expected a header of .* bytes, got 12$"):
        Model.load(saved)


def test_no_byte_can_be_changed_into_a_crash(saved: Path):
    """Each byte of the header in turn; what still loads is a whole model."""
    content = saved.read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    for position in range(length):
        for flip in (0x01, 0x80):
            changed = bytearray(content)
            changed[position] ^= flip
            saved.write_bytes(changed)
            refused_or_whole(saved)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
PATHS = [
    ("format",),
    ("name",),
    ("input_shape",),
    ("input_shape", 0),
    ("class_names",),
    ("class_names", 1),
    ("preprocessing",),
    ("preprocessing", "scale"),
    ("preprocessing", "flatten"),
    ("layers",),
    ("layers", 0),
    ("layers", 0, "type"),
    ("layers", 0, "units"),
    ("layers", 1, "activation"),
    ("layers", 1, "name"),
]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), value=json_values)
@example(path=("layers", 0, "units"), value=10**15)
@example(path=("input_shape", 0), value=10**15)
def test_a_hostile_description_is_refused(saved: Path, path: tuple[Any, ...], value: Any):
    content = saved.read_bytes()
    header, data = parts(content)
    description = description_of(header)
    place = description
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    header["__metadata__"]["inkproof"] = json.dumps(description)
    hostile = saved.with_name("hostile")
    hostile.write_bytes(joined(header, data))
    refused_or_whole(hostile)


NESTED_PATHS = [
    ("layers", 0, "filters"),
    ("layers", 0, "kernel_size"),
    ("layers", 0, "kernel_size", 1),
    ("layers", 0, "padding"),
    ("layers", 0, "use_bias"),
    ("layers", 1, "layers"),
    ("layers", 1, "layers", 0),
    ("layers", 1, "layers", 0, "epsilon"),
    ("layers", 1, "layers", 0, "scale"),
    ("layers", 1, "layers", 1, "name"),
    ("layers", 2, "rate"),
]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(NESTED_PATHS), value=json_values)
@example(path=("layers", 0, "filters"), value=10**15)
@example(path=("layers", 1, "layers", 1, "name"), value="batch_normalization")
def test_a_hostile_description_of_nested_layers_is_refused(
    tmp_path: Path, path: tuple[Any, ...], value: Any
):
    header, data = parts(make_convnet().to_bytes())
    description = description_of(header)
    place = description
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    header["__metadata__"]["inkproof"] = json.dumps(description)
    hostile = tmp_path / "hostile"
    hostile.write_bytes(joined(header, data))
    refused_or_whole(hostile)


def test_layers_nested_without_end_are_refused(tmp_path: Path):
    header, data = parts(make_convnet().to_bytes())
    path = tmp_path / "deep"
    for depth in (9, 300, 20_000):
        deep = '{"type":"Residual","layers":[' * depth + '{"type":"Flatten"}' + "]}" * depth
        description = description_of(header) | {"layers": ["deep"]}
        header["__metadata__"]["inkproof"] = json.dumps(description).replace('"deep"', deep)
        path.write_bytes(joined(header, data))
        with pytest.raises(FileFormatError, match="nested") as caught:
            Model.load(path)
        assert len(str(caught.value)) < 1000


def test_arrays_of_nested_layers_have_their_blocks_name(tmp_path: Path):
    make_convnet().save(tmp_path / "m.safetensors")
    assert set(load_file(tmp_path / "m.safetensors")) == {
        *("conv2d/kernel", "dense/kernel", "dense/bias"),
        *("residual/conv2d_1/kernel", "residual/conv2d_1/bias"),
        *(
            f"residual/batch_normalization/{name}"
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        ),
    }


def test_a_negative_variance_is_refused(tmp_path: Path):
    model = make_convnet()
    tensors = dict(zip(model._weight_names(), model.weights(), strict=True))
    tensors["residual/batch_normalization/moving_variance"][0] = -1
    path = tmp_path / "m.safetensors"
    model_file.write(path, model.config(), tensors)
    with pytest.raises(FileFormatError, match=r"moving_variance\): expected variances of at least"):
        Model.load(path)


def test_the_size_is_checked_before_anything_is_allocated(saved: Path):
    """A small file that says it holds a gigabyte: refused by its size alone."""
    header, data = parts(saved.read_bytes())
    description = description_of(header)
    description["layers"][0]["units"] = 20_000
    description["layers"][1]["units"] = 10_000
    description["class_names"] = None
    header["__metadata__"]["inkproof"] = json.dumps(description)
    begin = 0
    shapes = {
        "hidden_1/kernel": [6, 20_000],
        "hidden_1/bias": [20_000],
        "dense/kernel": [20_000, 10_000],
        "dense/bias": [10_000],
    }
    for name, shape in shapes.items():
        end = begin + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
        begin = end
    saved.write_bytes(joined(header, data))
    with pytest.raises(FileFormatError, match=r"cut off: expected 800,6"):
        Model.load(saved)


def changed_header(**entries: Any) -> Any:
    def change(header: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in (header | entries).items() if value is not None}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed_header(__metadata__=None), "not an Inkproof model: expected the one metadata key"),
        (changed_header(__metadata__={"format": "pt"}), r"got \{'format': 'pt'\}$"),
        (changed_header(__metadata__={"inkproof": "{}", "time": "5"}), "one metadata key"),
        (changed_header(__metadata__={"inkproof": 5}), "one metadata key"),
        (changed_header(__metadata__={"inkproof": "[]"}), r"metadata: expected a JSON object"),
        (changed_header(__metadata__={"inkproof": "{"}), r"metadata: not JSON: "),
        (
            changed_header(__metadata__={"inkproof": '{"format":2}'}),
            "expected file format 1, got 2; a newer Inkproof may have written it$",
        ),
        (changed_header(__metadata__={"inkproof": '{"format":true}'}), "got True;"),
        (changed_header(__metadata__={"inkproof": "{}"}), "file format 1, got None"),
        (changed_header(__metadata__={"inkproof": '{"format":1,"a":NaN}'}), "NaN is not JSON"),
        (
            changed_header(__metadata__={"inkproof": '{"format":1,"format":1}'}),
            "a key stands there twice",
        ),
        (
            changed_header(__metadata__={"inkproof": '{"a":' + "[" * 200_000 + "]" * 200_000}),
            "metadata: nested too deeply",
        ),
        (changed_header(__metadata__={"inkproof": "\ud800"}), "metadata: not JSON"),
        (
            changed_header(extra={"dtype": "F32", "shape": [], "data_offsets": [0, 4]}),
            "array 'extra' is not part of this model$",
        ),
        (changed_header(**{"dense/bias": None}), "array 'dense/bias' is missing$"),
        (changed_header(**{"dense/bias": 5}), r"dense/bias: expected F32 \[3\], got 5$"),
        (
            changed_header(
                **{"dense/bias": {"dtype": "I32", "shape": [3], "data_offsets": [0, 12]}}
            ),
            r"dense/bias: expected F32 \[3\], got \('I32', \[3\]\)$",
        ),
        (
            changed_header(
                **{"dense/bias": {"dtype": "F32", "shape": [12], "data_offsets": [0, 48]}}
            ),
            r"dense/bias: expected F32 \[3\], got ",
        ),
        (
            changed_header(
                **{"dense/bias": {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]}}
            ),
            "damaged: ",
        ),
        (lambda header: b"[" * 100_000, "header: nested too deeply"),
        (lambda header: b"[]", "header: expected a JSON object"),
        (lambda header: b"\xff\xff", "header: not JSON"),
        (lambda header: b"1" * 10_000, "header: not JSON"),
    ],
)
def test_a_damaged_header_says_what_is_wrong(saved: Path, change: Any, message: str):
    header, data = parts(saved.read_bytes())
    saved.write_bytes(joined(change(header), data))
    with pytest.raises(FileFormatError, match=message) as caught:
        Model.load(saved)
    assert str(caught.value).startswith(f"{saved}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n" * 9, b"\xff" * 100])
def test_files_of_another_kind(tmp_path: Path, content: bytes):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"other: .*Inkproof model file"):
        Model.load(path)


def test_numbers_that_are_not_finite_are_refused(saved: Path):
    header, data = parts(saved.read_bytes())
    bad = np.frombuffer(data, "<f4").copy()
    bad[-1] = np.nan
    saved.write_bytes(joined(header, bad.tobytes()))
    with pytest.raises(FileFormatError, match="holds numbers that are not finite"):
        Model.load(saved)


def test_errors_of_the_disk_name_the_path(tmp_path: Path):
    with pytest.raises(StorageError, match=r"none: cannot be read: No such file or directory$"):
        Model.load(tmp_path / "none")
    with pytest.raises(StorageError, match=r"cannot be read: Is a directory$"):
        Model.load(tmp_path)
    with pytest.raises(StorageError, match=r"no/m: cannot be written: No such file"):
        make_model().save(tmp_path / "no" / "m")


def test_a_description_that_no_reader_would_take_is_not_written(tmp_path: Path):
    names = [f"{number:0100d}" for number in range(50_000)]
    model = Model([Dense(50_000)], input_shape=(1,), class_names=names)
    with pytest.raises(ModelError, match="description is too long for a file"):
        model.save(tmp_path / "big")
    assert list(tmp_path.iterdir()) == []


def test_non_contiguous_arrays_are_written_rightly(tmp_path: Path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    path = tmp_path / "file"
    model_file.write(path, {}, {"a": array})
    np.testing.assert_array_equal(model_file.read_tensors(path, {"a": (3, 2)})["a"], array)
    assert model_file.read_description(path) == {}
