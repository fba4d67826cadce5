"""Predict with Keras from files that Inkproof wrote; run by tests/test_interop_keras.py.

    python keras_load.py FOLDER

Each ``NAME.keras`` in it has a ``NAME.npy`` beside it, raw inputs; Keras' probabilities go to
``NAME.found.npy``, the names of its layers to ``NAME.json``, and, trained a step, the model to
``NAME.again.keras``, whose probabilities are in ``NAME.again.npy``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(folder: Path) -> None:
    """Load, predict, train, save."""
    import keras
    import numpy as np

    for path in sorted(folder.glob("*.keras")):
        model = keras.models.load_model(path)
        raw = np.load(path.with_suffix(".npy"))
        np.save(path.with_suffix(".found.npy"), model.predict(raw, verbose=0))
        path.with_suffix(".json").write_text(json.dumps([layer.name for layer in model.layers]))
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(raw, np.zeros(len(raw), dtype=int), verbose=0)
        model.save(path.with_suffix(".again.keras"))
        np.save(path.with_suffix(".again.npy"), model.predict(raw, verbose=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
