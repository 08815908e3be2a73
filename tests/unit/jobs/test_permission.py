"""What the producers of an account may ask for, and what they are told when they may not."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker68.jobs.permission import CONTRACT_TASKS, Permissions, check_api_path, check_task
from worker68.protocol.api import DOCUMENTED
from worker68.tasks import TASKS

BASE = "https://webbiz.example"


def test_by_default_all_tasks_no_file_and_no_path() -> None:
    nothing = Permissions()
    assert nothing.why_not_task(TASKS["worker68.send_file"]) is None
    assert (
        nothing.why_not_file("C:/out/b.mp4")
        == "path: ALLOWED_FILE_ROOTS of the account is empty, so no file may be sent"
    )
    assert nothing.why_not_path("/user/userInfo") == "path: ALLOWED_PATHS of the account do not hold it"


def test_tasks() -> None:
    reader = Permissions(tasks=frozenset({"worker68.sync_groups"}))
    assert reader.why_not_task(TASKS["worker68.sync_groups"]) is None
    assert (
        reader.why_not_task(TASKS["worker68.send_message"])
        == "ALLOWED_TASKS of the account do not hold worker68.send_message"
    )
    assert Permissions(tasks=frozenset()).why_not_task(TASKS["worker68.sync_groups"]) is not None


def test_an_experimental_task_must_be_named() -> None:
    task = replace(TASKS["worker68.mute_member"], experimental=True)
    words = "worker68.mute_member is experimental, and EXPERIMENTAL_TASKS of the account do not hold it"
    assert Permissions().why_not_task(task) == words
    assert Permissions(experimental=frozenset({task.name})).why_not_task(task) is None
    assert Permissions(frozenset(), frozenset({task.name})).why_not_task(task) is not None, "not allowed all the same"


def test_files_below_any_root() -> None:
    two = Permissions(file_roots=("C:/out/", "//server/share"))
    assert two.why_not_file("c:\\OUT\\b.mp4") is None
    assert two.why_not_file("//SERVER/share/b.mp4") is None
    assert two.why_not_file("C:/outside/b.mp4") == "path: lies below none of the account's ALLOWED_FILE_ROOTS"
    assert (
        two.why_not_file("C:/out/a.txt:x") == "path: a colon behind the drive (an alternate data stream) is not allowed"
    )


@pytest.mark.parametrize("path", ["C:/secret/b.mp4", "C:/out/../b.mp4", "b.mp4", "//?/C:/out/b.mp4", "C:/out/a\x00b"])
def test_a_refusal_tells_neither_the_roots_nor_the_path(path: str) -> None:
    words = Permissions(file_roots=("C:/private-outbox", "D:/other")).why_not_file(path)
    assert words is not None
    assert "private-outbox" not in words
    assert path not in words


def test_api_paths_match_letter_by_letter() -> None:
    documented = Permissions(paths=frozenset(DOCUMENTED))
    for path in DOCUMENTED:
        assert documented.why_not_path(path) is None
        for other in (
            path.upper(),
            path + "/",
            path + "?a=1",
            path + "#",
            "/" + path,
            path[1:],
            path + "\n",
            BASE + path,
            "",
        ):
            assert documented.why_not_path(other) is not None


@pytest.mark.parametrize("path", ["/a", "/a/b", "/a/b.json", "/a/b/", "/A_b-c~1/v1.2"])
def test_what_may_stand_in_allowed_paths(path: str) -> None:
    assert check_api_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "a",
        "a/b",
        "//host/a",
        "/a//b",
        "/..",
        "/a/..",
        "/a/../b",
        "/a/./b",
        "/.",
        "/a..b",
        "\\a",
        "/a\\b",
        "/a?b=1",
        "/a#b",
        "/@host/a",
        "/a@host",
        "@host/a",
        ".host/a",
        ":80/a",
        "/%2e%2e/a",
        "/a b",
        "/a\n",
        "\n/a",
        "/a\t",
        " /a",
        "http://host/a",
        "https:/a",
        "javascript:a",
        "/a:b",
        "/a;b",
        "/\uff41",
        "/a\u2028",
        "/a\x00",
        "/\xe9",
    ],
)
def test_what_may_not_stand_in_allowed_paths(path: str) -> None:
    with pytest.raises(ValueError, match="expected a path of plain names"):
        check_api_path(path)
    with pytest.raises(ValueError, match="expected a path of plain names"):
        Permissions(paths=frozenset({path}))


@given(
    path=st.text(alphabet="/\\.:@?#%a1[]- \t\n\u2044／", max_size=12) | st.from_regex(r"(/[a-z.]+)+", fullmatch=True)
)
def test_no_allowed_path_names_another_host(path: str) -> None:
    try:
        check_api_path(path)
    except ValueError:
        return
    parts = urlsplit(BASE + path)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "webbiz.example", path)
    assert (parts.query, parts.fragment) == ("", "")
    assert ".." not in path.split("/")


@pytest.mark.parametrize(
    ("task", "hint"),
    [
        ("worker68.send_mesage", "did you mean 'worker68.send_message'"),
        ("send_message", "did you mean 'worker68.send_message'"),
        ("worker68.sync_member", "did you mean 'worker68.sync_"),
        ("*", "expected full names of tasks like 'worker68.send_message'"),
        ("", "expected full names"),
    ],
)
def test_a_task_that_is_none_gets_a_hint(task: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        check_task(task)
    with pytest.raises(ValueError, match=hint):
        Permissions(tasks=frozenset({task}))


def test_every_task_that_exists_can_be_allowed() -> None:
    assert TASKS.keys() <= CONTRACT_TASKS
    assert len(CONTRACT_TASKS) == 24


@pytest.mark.parametrize("root", ["out", "/out", "C:", "C:/out/..", "//?/C:/"])
def test_a_root_that_leaves_a_doubt_makes_no_permissions(root: str) -> None:
    with pytest.raises(ValueError, match="expected an absolute folder of the bridge's machine like C:/outbox: "):
        Permissions(file_roots=("C:/out", root))
