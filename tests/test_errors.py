from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkproof import errors
from inkproof.errors import (
    Cancelled,
    ConfigurationError,
    DataError,
    FileFormatError,
    InkproofError,
    MissingExtraError,
    ModelError,
    StorageError,
    TrainingError,
    UnknownNameError,
    UnsupportedError,
)

KINDS = [getattr(errors, name) for name in errors.__all__]
SAMPLES = [
    UnknownNameError("layer", "Dens", ["Flatten", "Dense"], where="mine.toml: models[0]"),
    MissingExtraError("Reading .keras files", "keras"),
    *(kind("a.npz: expected b, got c") for kind in (DataError, StorageError, UnsupportedError)),
]


def pickled(error: InkproofError) -> InkproofError:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    assert isinstance(again, InkproofError)
    return again


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (ConfigurationError, ValueError),
        (UnknownNameError, ConfigurationError),
        (DataError, ValueError),
        (ModelError, ValueError),
        (FileFormatError, ValueError),
        (UnsupportedError, NotImplementedError),
        (StorageError, OSError),
        (MissingExtraError, ImportError),
        (TrainingError, InkproofError),
        (Cancelled, InkproofError),
    ],
)
def test_the_tree(kind, builtin):
    assert issubclass(kind, InkproofError)
    assert issubclass(kind, builtin)


def test_the_tree_in_the_docstring_is_the_tree():
    """Each line's indentation tells its parent; the built-in one is in brackets."""
    drawn = {}
    parents = ["Exception"]
    for line in errors.__doc__.splitlines():
        if found := re.match(r"    ([ │├└─]*)(\w+)(.*)", line):
            depth = len(found[1]) // 4
            builtin = re.search(r"\((\w+Error)\)$", found[3])
            drawn[found[2]] = (parents[depth - 1] if depth else "", builtin and builtin[1])
            parents[depth:] = [found[2]]
    del drawn["Exception"]
    real = {}
    for kind in KINDS:
        ours, *builtin = (base.__name__ for base in kind.__bases__)
        real[kind.__name__] = (ours, builtin[0] if builtin else None)
    assert drawn == real


def test_every_class_is_public():
    own = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert own == set(errors.__all__)
    assert errors.__all__ == sorted(errors.__all__)


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("passed", [pickled, copy.copy])
def test_errors_can_be_passed_on(error, passed):
    """From another process, say."""
    again = passed(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Dens", "unknown layer 'Dens'; known: Activation, Dense, Flatten. Did you mean 'Dense'?"),
        (
            "DENSE",
            "unknown layer 'DENSE'; known: Activation, Dense, Flatten. Did you mean 'Dense'?",
        ),
        ("xyz", "unknown layer 'xyz'; known: Activation, Dense, Flatten."),
        ("", "unknown layer ''; known: Activation, Dense, Flatten."),
    ],
)
def test_unknown_names(name, message):
    error = UnknownNameError("layer", name, ["Flatten", "Dense", "Activation"])
    assert str(error) == message


def test_unknown_names_say_where():
    error = UnknownNameError("layer", "x", {"Dense"}, where="mine.toml: models[0].layers[1].type")
    assert str(error) == "mine.toml: models[0].layers[1].type: unknown layer 'x'; known: Dense."


@given(name=st.text(), known=st.lists(st.text(st.characters(categories=["L"]), min_size=1)))
def test_whatever_the_name_the_message_is_one_line(name, known):
    message = str(UnknownNameError("layer", name, known))
    assert message.isprintable()
    assert repr(name) in message


@given(known=st.lists(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1)))
def test_a_known_name_in_the_wrong_case_is_suggested(known):
    for name in known:
        message = str(UnknownNameError("layer", name.swapcase(), known))
        suggested = re.search(r"Did you mean '(\w+)'\?$", message)
        assert suggested
        assert suggested[1].lower() == name.lower()


def test_known_names_may_come_from_an_iterator():
    error = UnknownNameError("layer", "x", iter(["b", "a"]))
    assert "known: a, b." in str(error)
    assert str(pickled(error)) == str(error)


def test_a_missing_extra_names_the_command():
    error = MissingExtraError("inkproof serve", "serve")
    assert str(error) == "inkproof serve needs an extra: pip install 'inkproof[serve]'"
