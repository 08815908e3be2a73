"""Bridge URLs: which are some, which are the same bridge's, and what people are shown of them."""

from __future__ import annotations

import pytest

from worker68.bridge.url import address_of, check_bridge_url, show_bridge_url


@pytest.mark.parametrize("url", ["ws://h:5600", "wss://user:secret@h/bridge?token=x", "ws://[::1]:1"])
def test_a_bridge_url_is_taken_as_it_is(url: str) -> None:
    assert check_bridge_url(url) == url


@pytest.mark.parametrize(
    "url", ["", "h:5600", "http://h:5600", "ws://", "ws://h:0", "ws://h:port", "ws://user:secret@h:99999"]
)
def test_what_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"^expected ws://HOST:PORT, like ws://127\.0\.0\.1:5600$"):
        check_bridge_url(url)


def test_one_bridge_has_one_address() -> None:
    assert address_of("wss://H.example.:443/a/") == address_of("wss://user@h.example/a")
    assert address_of("ws://127.0.0.2:1") == address_of("ws://localhost:1")
    assert address_of("ws://h/a") != address_of("ws://h/b")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "127.0.0.2",
        "127.1",
        "2130706433",
        "0x7F000001",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "[::1]",
        "[0:0::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:0.0.0.0]",
    ],
)
def test_this_host_is_one_bridge_however_it_is_spelled(host: str) -> None:
    assert address_of(f"ws://{host}:5600") == address_of("ws://127.0.0.1:5600")


@pytest.mark.parametrize("host", ["10.1", "167772161", "0xa.0.0.1", "012.0.0.1", "[::ffff:10.0.0.1]", "[::ffff:a00:1]"])
def test_another_host_is_one_bridge_however_its_address_is_spelled(host: str) -> None:
    assert address_of(f"ws://{host}:5600") == address_of("ws://10.0.0.1:5600")


def test_an_ipv6_address_is_the_same_long_and_short() -> None:
    assert address_of("ws://[2001:db8::1]:1") == address_of("ws://[2001:DB8:0:0::1]:1")
    assert address_of("ws://[fe80::1%a]:1") != address_of("ws://[fe80::1%b]:1")


@pytest.mark.parametrize("host", ["127.1.example", "127.1 x", "08.1", "cafe", "0.0.0.0.0", "4294967296"])
def test_a_name_that_looks_like_an_address_is_a_name(host: str) -> None:
    assert address_of(f"ws://{host}:1")[0] == host


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ws://127.0.0.1:5600", "ws://127.0.0.1:5600"),
        ("wss://user:se@cret@h:1/bridge?token=x#y", "wss://***@h:1/bridge?***"),
        ("ws://user@h", "ws://***@h"),
    ],
)
def test_people_see_neither_names_nor_passwords_nor_tokens(url: str, shown: str) -> None:
    assert show_bridge_url(url) == shown
