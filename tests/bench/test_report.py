"""Every table of the documents is what the committed results say."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    sys.modules.pop("report", None)
    import report

    return report


@pytest.mark.parametrize("document", ["README.md", "docs/models.md"])
def test_the_documents_tables_come_from_the_results(report, document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert report.filled(text, report.TABLES[document]) == text


def test_a_document_without_its_markers_is_noticed(report):
    with pytest.raises(SystemExit, match="markers"):
        report.filled("no table here", report.TABLES["README.md"])
