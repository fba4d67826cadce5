"""Models in other programs' files: Keras' ``.keras``, read and written, and ONNX, written.

Each needs an extra, ``pip install 'inkproof[keras]'`` or ``'inkproof[onnx]'``, and neither the
program itself. A written file takes raw inputs, as the model does: scaling is inside.
:mod:`inkproof.interop.sklearn` has the estimator for scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from inkproof.interop.keras_file import keras_bytes, write_keras
    from inkproof.interop.keras_reading import read_keras
    from inkproof.interop.onnx_file import onnx_bytes, write_onnx

__all__ = ["keras_bytes", "onnx_bytes", "read_keras", "write_keras", "write_onnx"]

_MODULES: Final = {
    "keras_bytes": "keras_file",
    "onnx_bytes": "onnx_file",
    "read_keras": "keras_reading",
    "write_keras": "keras_file",
    "write_onnx": "onnx_file",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
