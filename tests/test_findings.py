"""Every code has its section in the docs and a test; findings survive JSON."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from inkproof.comparison import compare
from inkproof.diagnosis import diagnose, diagnose_runs
from inkproof.findings import Finding
from inkproof.history import History
from inkproof.robustness import CHANGES, summarise
from inkproof.trust import Judgement, trust

ROOT = Path(__file__).parent.parent
CODE = re.compile(r"\bIP[A-Z]\d{3}\b")
SECTION = re.compile(r"^### (IP[A-Z]\d{3}) (.+)$", re.MULTILINE)
DOCS = ROOT / "docs" / "findings.md"


def codes_in(folder: Path, pattern: str) -> set[str]:
    files = [path for path in folder.rglob(pattern) if path.name != Path(__file__).name]
    return {code for path in files for code in CODE.findall(path.read_text(encoding="utf-8"))}


def sections() -> list[tuple[str, str]]:
    return SECTION.findall(DOCS.read_text(encoding="utf-8"))


DEFINED = sorted(codes_in(ROOT / "src" / "inkproof", "*.py"))


def test_some_codes_are_defined():
    assert {"IPF001", "IPF004", "IPC001", "IPC005"} <= set(DEFINED)


def test_the_docs_have_one_section_for_each_code_and_no_others():
    assert sorted(code for code, _ in sections()) == DEFINED


@pytest.mark.parametrize("code", DEFINED)
def test_each_code_has_a_test(code):
    assert code in codes_in(ROOT / "tests", "test_*.py")


def test_titles_are_those_of_the_docs():
    history = History(loss=(0.5, 0.4), val_loss=(0.5, 0.4))
    runs = {0: np.array([[0.75, 0.25]], dtype=np.float32)}
    found = [
        *diagnose(history),
        *diagnose_runs([history]),
        *compare("a", runs, "b", runs, np.array([0])).findings,
    ]
    found += trust([Judgement(test=runs[0])], [0]).findings
    found += summarise([{n: [1] * len(c.strengths) for n, c in CHANGES.items()}], 1).findings
    titles = dict(sections())
    for finding in found:
        assert titles[finding.code] == finding.title
    assert {finding.code[:3] for finding in found} == {"IPF", "IPC", "IPT", "IPR"}


FINDING = Finding(
    code="IPF001",
    title="No overfitting",
    severity="warning",
    status="failed",
    explanation="It rose.",
    evidence={"rise": 0.25, "epochs": [1, 2], "low": None},
)


def test_a_finding_survives_json():
    adapter = TypeAdapter(Finding)
    assert adapter.validate_json(adapter.dump_json(FINDING)) == FINDING


@pytest.mark.parametrize(("field", "value"), [("status", "skipped"), ("severity", "fatal")])
def test_outcomes_are_the_known_ones(field, value):
    with pytest.raises(ValueError, match=field):
        TypeAdapter(Finding).validate_python(dataclasses.asdict(FINDING) | {field: value})


def test_a_finding_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FINDING.status = "passed"
