"""The pages that follow from the code are those that the code gives now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["tasks.md", "cli.md"])
def test_a_page_is_up_to_date(generate: ModuleType, page: str) -> None:
    assert (DOCS / page).read_text() == generate.PAGES[page](), "run: .venv/bin/python docs/generate.py"


def test_every_page_is_looked_at(generate: ModuleType) -> None:
    assert set(generate.PAGES) == {"tasks.md", "cli.md"}
