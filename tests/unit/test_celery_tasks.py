"""A task as Celery knows it: its name, what it does, its fields; and what Celery itself would run of it."""

# mypy: disallow-untyped-calls=False
# because Celery is not typed.

from __future__ import annotations

import inspect

import pytest
from celery import Celery

from tests.parts.jobs import SEND, send_fields
from worker68 import celery_tasks
from worker68.tasks import TASKS


@pytest.fixture
def app() -> Celery:
    app = Celery("worker68", set_as_current=False, broker="memory://")
    celery_tasks.register(app)
    return app


@pytest.mark.parametrize("name", TASKS)
def test_a_task_says_what_it_does_and_takes(app: Celery, name: str) -> None:
    task = app.tasks[name]
    assert task.__doc__ == TASKS[name].summary
    assert {*inspect.signature(TASKS[name].fields).parameters, "every_job"} == set(
        inspect.signature(task.run).parameters
    )


def test_a_job_that_celery_itself_would_run_fails_in_words(app: Celery) -> None:
    ended = app.tasks[SEND].apply(kwargs=send_fields())

    assert ended.state == "FAILURE"
    assert "send it there" in str(ended.result)


@pytest.mark.parametrize("fields", [send_fields(job_id="x", reply_to="orders"), {}])
def test_delay_puts_in_what_it_is_given(app: Celery, fields: dict[str, object]) -> None:
    """What is wrong with it is said in the reply, as for any producer."""
    with app.connection_or_acquire() as connection:
        app.tasks[SEND].apply_async(kwargs=fields, queue="worker68.main", connection=connection)
        message = connection.SimpleQueue("worker68.main").get_nowait()
    assert message.headers["task"] == SEND
    assert message.payload[1] == fields
