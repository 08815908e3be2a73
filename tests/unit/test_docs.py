"""The docs fit the code: generated pages are up to date, links lead somewhere, files that are named exist, each word is used."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE_FILE = re.compile(r"`(?:worker68/)?((?:[a-z_0-9]+/)+[a-z_0-9]+\.(?:py|lua))`")
#: A word that the glossary explains: bold or italic, wherever it stands.
_WORD = re.compile(r"(?<!\*)\*{1,2}([^*\n]+)\*{1,2}(?!\*)")


def test_the_pages_are_up_to_date() -> None:
    """In a process of its own: what ``--help`` says depends on how a command was run first in its process."""
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_links_lead_somewhere() -> None:
    broken = [(page.name, link) for page in PAGES for link in _links(page) if not _leads_somewhere(page, link)]
    assert broken == []


def test_files_that_are_named_exist() -> None:
    places = (ROOT / "worker68", ROOT)
    named = {(page.name, name) for page in PAGES for name in _CODE_FILE.findall(page.read_text())}
    assert {(page, name) for page, name in named if not any((place / name).exists() for place in places)} == set()


def test_each_decision_is_in_the_index() -> None:
    index = (DOCS / "decisions" / "README.md").read_text()
    pages = [page.name for page in (DOCS / "decisions").glob("0*.md")]
    assert sorted(re.findall(r"\((0[^)]+)\)", index)) == sorted(pages)


def test_each_word_of_the_glossary_is_used() -> None:
    words = _WORD.findall((DOCS / "glossary.md").read_text())
    used = "\n".join(
        path.read_text().lower()
        for path in (*PAGES, *(ROOT / "worker68").rglob("*.py"))
        if path != DOCS / "glossary.md"
    )
    assert words
    assert [word for word in words if word not in used] == []


def test_there_are_few_words_to_learn() -> None:
    """Also those that stand within the explanation of another one."""
    words = _WORD.findall((DOCS / "glossary.md").read_text())
    assert len(words) <= 40
    assert sorted({word.lower() for word in words}) == sorted(words)


@pytest.mark.parametrize("text", ["**a word**: x", "x, a **a word** x", "x *a word*."])
def test_each_word_that_stands_out_counts(text: str) -> None:
    assert _WORD.findall(text) == ["a word"]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 230


def _links(page: Path) -> Iterator[str]:
    return (link for link in _LINK.findall(_FENCE.sub("", page.read_text())) if not link.startswith("http"))


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name) if name else page
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
