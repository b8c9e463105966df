"""Links of the documents lead somewhere."""

import re

import pytest
from documents import DOCUMENTS, ROOT, anchors, links, read


def dead(document: str, target: str) -> bool:
    """Whether a link of a document leads nowhere; an address of the network is only looked at."""
    if re.match(r"[a-z]+:", target):
        return not re.match(r"https://[\w.-]+\.\w+(/\S*)?$|mailto:\S+@\S+$", target)
    path, _, anchor = target.partition("#")
    file = (ROOT / document).parent / path if path else ROOT / document
    if not file.exists():
        return True
    return bool(anchor) and anchor not in anchors(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_link_is_dead(document):
    assert [target for target in links(read(document)) if dead(document, target)] == []


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name.startswith("docs/")])
def test_a_page_of_the_site_links_to_the_site_alone(document):
    """What lies outside of docs/ is named, not linked: the site does not hold it."""
    outside = [target for target in links(read(document)) if target.startswith("../") and "docs" not in target]
    assert outside == []


def test_dead_links_are_noticed():
    assert dead("README.md", "docs/none.md") and dead("README.md", "docs/models.md#none")
    assert dead("README.md", "http://insecure.example/a") and not dead("README.md", "https://example.org/a")
    assert not dead("docs/models.md", "solvers.md#safeguards") and not dead("README.md", "#install")
    assert links("a [b](c.md) ![d](e.svg) `[f](g)` [h [i]](<j.md>)") == ["c.md", "e.svg", "j.md"]
    assert anchors("# A `b`, c\n## [D](e) f\n```\n# no\n```\n") == {"a-b-c", "d-f"}
