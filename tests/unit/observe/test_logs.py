"""The form of log lines, ours and the standard library's."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.parts.logs import restored_logs
from worker68.observe.logs import configure_logs
from worker68.settings import Settings


@pytest.fixture(autouse=True)
def restore_logs() -> Iterator[None]:
    with restored_logs():
        yield


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_ours_and_the_standard_librarys_have_the_same_fields(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(Settings(log_format="json"))

    structlog.get_logger("worker68.here").warning("something_happened", job_id="7")
    logging.getLogger("celery.there").warning("something %s", "else")

    ours, theirs = lines(capfd)
    assert ours.keys() == theirs.keys() | {"job_id"}
    assert (ours["event"], ours["logger"], ours["level"], ours["job_id"]) == (
        *("something_happened", "worker68.here", "warning"),
        "7",
    )
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("something else", "celery.there", "warning")


def test_what_is_below_the_level_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(Settings(log_format="json", log_level="warning"))

    structlog.get_logger("worker68.here").info("detail")
    logging.getLogger("celery.there").info("detail")

    assert lines(capfd) == []


def test_an_exception_is_told_with_its_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(Settings(log_format="json"))

    try:
        raise LookupError("nothing there")
    except LookupError:
        structlog.get_logger("worker68.here").exception("look_failed")

    (line,) = lines(capfd)
    assert line["exception"].endswith("LookupError: nothing there")


@pytest.mark.parametrize("form", ["json", "text"])
def test_text_that_utf_8_has_no_place_for_loses_no_line(monkeypatch: pytest.MonkeyPatch, form: Any) -> None:
    """Python writes it to standard error as an escape."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, "utf-8", "backslashreplace", write_through=True))
    configure_logs(Settings(log_format=form))

    structlog.get_logger("worker68.here").error("bad_name", name="\ud800")

    assert b"\\ud800" in written.getvalue()


def test_a_line_that_finds_no_room_costs_nobody_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - closed with what is around it
    with io.TextIOWrapper(full, write_through=True) as no_room:
        monkeypatch.setattr(sys, "stderr", no_room)
        configure_logs(Settings(log_format="json"))

        structlog.get_logger("worker68.here").error("something_happened")


def test_a_line_after_its_file_was_closed_costs_nobody_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A thread may outlive standard error, at the end of a process or in one that gave it away."""
    with open(tmp_path / "log", "w", encoding="utf-8") as closed_soon:
        monkeypatch.setattr(sys, "stderr", closed_soon)
        configure_logs(Settings(log_format="json"))
        log = structlog.get_logger("worker68.here")
        log.error("something_happened")

    log.error("something_else_happened")

    assert [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()] == ["something_happened"]
