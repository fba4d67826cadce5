"""Who may import whom, as a table; only direct imports inside the package count."""

from __future__ import annotations

import grimp
import pytest

# Open to all: they import nothing of ours but one another.
OPEN = {"errors", "findings", "history", "randomness", "settings", "storage", "wording"}
MAY_IMPORT = {
    "__init__": None,  # everything, lazily
    "__main__": {"entry"},
    "augmentation": {"engine"},
    "bench": {"data", "engine", "layers", "model", "optimizers"},
    "checkpoint": {"data", "model", "model_file", "schedules", "stopping", "training_config"},
    "cli": None,
    "comparison": {"evaluation", "statistics"},
    "data": {"figures"},
    "diagnosis": {"statistics"},
    "diagram": {"layers"},
    "engine": {"layers"},
    "entry": {"cli", "photo"},
    "errors": set(),
    "evaluation": {"data", "model", "statistics"},
    "figures": set(),
    "findings": set(),
    "fitting": {"checkpoint", "engine", "layers", "schedules", "training_config"},
    "history": set(),
    "initializers": {"layers"},
    "interop": {
        "__init__",  # for the version
        "engine",
        "fitting",
        "layers",
        "model",
        "model_file",
        "optimizers",
        "preprocessing",
        "schedules",
        "training_config",
    },
    "layers": set(),
    "model": {
        "diagram",
        "engine",
        "initializers",
        "layers",
        "model_file",
        "preprocessing",
        "summary",
    },
    "model_file": set(),
    "optimizers": {"schedules"},
    "outcome": {
        "comparison",
        "data",
        "model",
        "results",
        "robustness",
        "run_folder",
        "trust",
    },
    "photo": {"model", "model_file"},
    "preprocessing": {"layers"},
    "progress": {"study", "training"},
    "published": set(),
    "randomness": set(),
    "report": {"data", "figures", "results", "statistics"},
    "results": {"statistics"},
    "row_weights": {"data", "training_config"},
    "run_folder": {"checkpoint", "data", "model", "results", "stopping", "training"},
    "schedules": set(),
    "serve": {
        "__init__",  # for the version
        "figures",
        "model_file",
        "photo",
        "report",
    },
    "settings": set(),
    "robustness": {"results", "statistics"},
    "statistics": set(),
    "stopping": {"schedules", "training_config"},
    "storage": set(),
    "study": {
        "__init__",  # for the version
        "data",
        "diagnosis",
        "engine",
        "evaluation",
        "layers",
        "model",
        "outcome",
        "preprocessing",
        "published",
        "results",
        "run_folder",
        "statistics",
        "stopping",
        "study_file",
        "training",
    },
    "study_file": {"comparison", "layers", "model", "published", "training"},
    "summary": set(),
    "training": {
        "checkpoint",
        "data",
        "engine",
        "fitting",
        "model",
        "optimizers",
        "row_weights",
        "stopping",
        "training_config",
    },
    "training_config": {"augmentation", "engine", "optimizers", "schedules", "stopping"},
    "trust": {"evaluation", "results", "statistics"},
    "wording": set(),
}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("inkproof", include_external_packages=False, cache_dir=None)


def part(module):
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def test_every_module_is_in_the_table(graph):
    parts = {part(module) for module in graph.modules}
    assert parts - MAY_IMPORT.keys() == set()


def test_modules_import_what_they_may(graph):
    wrong = []
    for module in sorted(graph.modules):
        allowed = MAY_IMPORT.get(part(module))
        if allowed is None:
            continue
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            target = part(imported)
            if target not in {part(module), *OPEN, *allowed}:
                wrong.append(f"{module} imports {imported}")
    assert wrong == []
