"""Where the tests that compare with Keras find it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

INSTALLED = Path(__file__).parents[1] / "build" / "bench" / "keras-tensorflow" / "bin" / "python"


def keras_python():
    """Give the Python of INKPROOF_KERAS_PYTHON, or the benchmarks' own; without one, skip."""
    named = os.environ.get("INKPROOF_KERAS_PYTHON")
    if named:
        return named
    if not INSTALLED.exists():
        pytest.skip("no Keras: `make test-keras` installs it, or set INKPROOF_KERAS_PYTHON")
    return str(INSTALLED)
