"""The Dockerfile, as far as it can be held without building it: sources that are there and not ignored, locked libraries."""

from __future__ import annotations

import fnmatch
import re

import pytest

from tests.parts.worker import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
COPIES = [line.split() for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)]
SOURCES = [source for words in COPIES for source in words[:-1]]
ADMITTED = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_copied_is_there_and_not_ignored(source: str) -> None:
    assert (ROOT / source).exists()
    assert source in ADMITTED


def test_nothing_else_is_sent_to_the_builder() -> None:
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()
    assert set(ADMITTED) == set(SOURCES)
    assert not any(fnmatch.fnmatch(".env", pattern) for pattern in ADMITTED)


def test_the_migrations_lie_beside_the_package() -> None:
    assert {"migrations", "worker68", "alembic.ini"} <= set(SOURCES)


def test_libraries_come_from_the_locks_with_their_hashes() -> None:
    installs = re.findall(r"pip install (.+)", DOCKERFILE)
    assert [install.split() for install in installs] == [
        ["--require-hashes", "-r", "requirements.lock"],
        ["--require-hashes", "-r", "requirements-tools.lock"],
    ]


def test_what_is_built_without_a_target_is_the_worker() -> None:
    assert re.findall(r"^FROM .+ AS (\S+)$", DOCKERFILE, re.MULTILINE)[-1] == "worker"


def test_what_runs_is_not_root() -> None:
    (user,) = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    assert user == "10001:10001"
    assert "useradd --uid 10001" in DOCKERFILE
