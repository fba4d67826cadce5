"""Write the tables that Keras itself prints for the networks in summaries/cases.json.

Run by hand with a Python that has Keras 3 on TensorFlow, after a change of the cases:

    KERAS_BACKEND=tensorflow python tests/golden/make_summaries.py

The texts in ``summaries/`` were made with Keras 3.15.1.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "summaries"
MARGIN = 4  # Keras' table is as wide as the terminal less this


def summary(model: dict[str, Any], line_length: int) -> str:
    """Build the network with Keras and give the text of its summary on such a terminal."""
    import keras

    os.environ["COLUMNS"] = str(line_length + MARGIN)
    keras.backend.clear_session()
    layers = [keras.Input(shape=tuple(model["input_shape"]))]
    for layer in model["layers"]:
        arguments = {key: value for key, value in layer.items() if key != "type"}
        layers.append(getattr(keras.layers, layer["type"])(**arguments))
    network = keras.Sequential(layers, name=model["name"])
    lines: list[str] = []
    network.summary(print_fn=lines.append)
    return "\n".join(lines)


def main() -> None:
    """Write a file for each case."""
    cases = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))
    for name, case in cases.items():
        text = summary(case["model"], case["line_length"])
        (FOLDER / f"{name}.txt").write_text(text.rstrip("\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
