from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import inkproof

HEAVY = ("h5py", "matplotlib", "numpy", "pandas", "PIL", "pydantic", "rich", "scipy", "typer")


def run(code: str) -> str:
    """Run code in a fresh interpreter and give what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", inkproof.__all__)
def test_every_public_name_is_there(name: str):
    value = getattr(inkproof, name)
    assert value.__name__ == name
    assert value.__module__.startswith("inkproof.")
    assert value.__doc__, "a public name has a docstring"


def test_all_is_sorted_as_the_linter_sorts_it():
    constants = [name for name in inkproof.__all__ if name.isupper()]
    classes = [name for name in inkproof.__all__ if not name.isupper() and name[0].isupper()]
    functions = [name for name in inkproof.__all__ if name[0].islower()]
    assert inkproof.__all__ == sorted(constants) + sorted(classes) + sorted(functions)
    assert len(set(inkproof.__all__)) == len(inkproof.__all__)


def test_the_three_lists_of_names_agree():
    """What type checkers see, what is loaded, and ``__all__``."""
    tree = ast.parse(Path(inkproof.__file__).read_text(encoding="utf-8"))
    checked = {
        alias.name: node.module
        for guard in tree.body
        if isinstance(guard, ast.If)
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    loaded = {name: f"inkproof.{module}" for name, module in inkproof._MODULE_OF.items()}
    assert checked == loaded
    assert set(inkproof.__all__) == set(loaded)


def test_no_public_name_hides_a_module():
    """``inkproof.x`` must not depend on what was imported before."""
    modules = {module.name for module in pkgutil.iter_modules(inkproof.__path__)}
    assert not modules & set(inkproof.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'inkproof' has no attribute 'nonsense'"):
        _ = inkproof.nonsense


def test_dir_lists_the_public_names():
    assert set(inkproof.__all__) | {"__version__"} <= set(dir(inkproof))


def test_importing_loads_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules); import inkproof; dir(inkproof); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert run(code).strip() == "[]"


def test_importing_loads_no_module_of_ours():
    code = "import sys, inkproof; print([n for n in sys.modules if n.startswith('inkproof.')])"
    assert run(code).strip() == "[]"


def test_a_model_needs_neither_pandas_nor_matplotlib():
    code = (
        "import sys, inkproof; "
        "model = inkproof.Model([inkproof.Dense(2, activation='softmax')], input_shape=(3,)); "
        "model.summary(); model.plot(); model.weights(); "
        "print([name for name in ('matplotlib', 'pandas', 'scipy') if name in sys.modules])"
    )
    assert run(code).strip() == "[]"


def test_the_version_is_that_of_the_package():
    from importlib.metadata import PackageNotFoundError, version

    try:
        expected = version("inkproof")
    except PackageNotFoundError:
        expected = "0+unknown"
    assert inkproof.__version__ == expected
