"""The example notebooks: executed with small settings, and committed with sound outputs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"


def text_of(notebook):
    return "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


# The kernel's own packages warn of what they do among themselves.
@pytest.mark.filterwarnings("default")
def test_the_notebook_runs(tmp_path, monkeypatch):
    notebook = nbformat.read(EXAMPLES / "mnist.ipynb", as_version=4)
    settings = next(cell for cell in notebook.cells if cell.source.startswith("EPOCHS = "))
    settings.source = "EPOCHS = 1\nSEEDS = 1"
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.create_kernel_manager()
    client.km.kernel_spec.argv[0] = sys.executable
    client.execute()
    text = text_of(notebook)
    assert "(60000, 28, 28) uint8 (60000,)" in text
    assert "(10000, 28, 28) uint8 (10000,)" in text
    assert "[5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]" in text
    assert "54000 6000 (54000, 10)" in text
    assert "648,010" in text
    assert "932,362" in text
    assert "Not resolved" in text


def test_the_committed_outputs_are_sound():
    notebook = nbformat.read(EXAMPLES / "mnist.ipynb", as_version=4)
    figures = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        assert cell.execution_count is not None
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text
            figures += "image/png" in output.get("data", {})
    assert figures >= 8
    text = text_of(notebook)
    assert re.findall(r"(?<![\w.])/\w+/\w+", text) == []  # no path of a machine
