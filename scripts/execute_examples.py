"""Execute the example notebooks in place, as they are committed.

    .venv/bin/python scripts/execute_examples.py

Takes about a minute and a half on two cores.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"


def main() -> None:
    """Execute and clean each notebook."""
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=1200, kernel_name="python3").execute()
        for cell in notebook.cells:
            cell.metadata = {}
            if cell.cell_type == "code":
                for output in cell.outputs:
                    output.get("metadata", {}).clear()
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
