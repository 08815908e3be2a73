"""While modules are imported nothing is collected, and what they made is never looked through again."""

from __future__ import annotations

import gc

import pytest

from worker68.cli.importing import importing


def test_nothing_is_collected_meanwhile() -> None:
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_made_is_left_out_of_later_collections() -> None:
    before = gc.get_freeze_count()
    with importing():
        made: list[list[int]] = [[] for _ in range(1000)]
    assert gc.get_freeze_count() >= before + len(made)


def test_a_failed_import_leaves_collection_on() -> None:
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()
