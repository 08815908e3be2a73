"""The URL of Redis as everybody reads it."""

# mypy: disallow-untyped-calls=False
# because neither kombu's functions nor redis-py's parser are typed.

from __future__ import annotations

import ssl

import pytest
from celery import Celery
from kombu.connection import Connection
from redis.connection import parse_url

from worker68.broker.url import check_redis_url, make_tls_context, spell_out_tls


@pytest.mark.parametrize(
    ("given", "spelled_out"),
    [
        ("redis://h/1", "redis://h/1"),
        ("rediss://h/1", "rediss://h/1?ssl_cert_reqs=required"),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", "rediss://h?ssl_cert_reqs=none"),
        (
            "rediss://h?ssl_cert_reqs=optional&ssl_ca_certs=%2Fca.pem",
            "rediss://h?ssl_cert_reqs=optional&ssl_ca_certs=%2Fca.pem",
        ),
        ("rediss://u:p%40ss@h:1/2", "rediss://u:p%40ss@h:1/2?ssl_cert_reqs=required"),
    ],
)
def test_the_wish_about_certificates_is_spelled_out(given: str, spelled_out: str) -> None:
    assert spell_out_tls(given) == spelled_out


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h/",
        "redis://h:6380/15",
        "redis://[::1]:6380/0",
        "redis://user:p%40ss%2Fword@h/1",
        "rediss://:secret@h/0?ssl_cert_reqs=none",
        "rediss://h/0?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=%2Fca.pem&ssl_certfile=c.pem&ssl_keyfile=k.pem",
    ],
)
def test_a_url_that_is_taken_is_read_alike_by_all(url: str) -> None:
    assert check_redis_url(url) == url
    spelled_out = spell_out_tls(url)
    by_redis_py, by_kombu = parse_url(spelled_out), connection(url)
    by_celery = Celery("reader", broker=spelled_out, backend=spelled_out, set_as_current=False).backend.connparams
    host, port, database = by_redis_py["host"], by_redis_py.get("port", 6379), by_redis_py.get("db", 0)
    assert (by_kombu.hostname, by_kombu.port or 6379, int(by_kombu.virtual_host.strip("/") or 0)) == (
        host,
        port,
        database,
    )
    assert (by_celery["host"], by_celery["port"], by_celery["db"]) == (host, port, database)
    passwords = {by_redis_py.get("password"), by_kombu.password, by_celery.get("password")}
    assert len(passwords) == 1


@pytest.mark.parametrize(
    "url",
    [
        "redis://h/0?socket_timeout=5",
        "redis://h/0?db=3",
        "redis://h?client_name=x",
        "redis://h/0?ssl_cert_reqs=none",
        "rediss://h/0?socket_timeout=5",
        "rediss://h/0?ssl_cert_reqs=perhaps",
        "rediss://h/0?ssl_ca_certs=",
        "rediss://h/0?ssl_ca_certs",
        "redis://h/first",
        "redis://h/0/1",
        "redis://h/-1",
        "redis://h/1.5",
        "redis://h/٣",
        "redis://h/%31",
        "redis://h/0#1",
        "redis://h/0 ",
        "redis://h\n/0",
        "redis://:pa#ss@h/0",
        "redis://:pa/ss@h/0",
        "redis://:pa?ss@h/0",
        "redis://h:0/0",
        "redis://h:6379x/0",
        "redis:///0",
        "redis://:6379/0",
        "unix:///tmp/redis.sock",
        "",
    ],
)
def test_a_url_that_is_not_read_alike_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"^expected redis://HOST:PORT/DB or rediss://HOST:PORT/DB") as refused:
        check_redis_url(url)
    assert "ss@h" not in str(refused.value)


@pytest.mark.parametrize(
    ("query", "verify", "check_hostname"),
    [
        ("", ssl.CERT_REQUIRED, True),
        ("?ssl_cert_reqs=CERT_OPTIONAL", ssl.CERT_OPTIONAL, False),
        ("?ssl_cert_reqs=none", ssl.CERT_NONE, False),
    ],
)
def test_tls_by_hand_obeys_the_query(query: str, verify: ssl.VerifyMode, check_hostname: bool) -> None:
    context = make_tls_context(f"rediss://h/0{query}")
    assert (context.verify_mode, context.check_hostname) == (verify, check_hostname)


@pytest.mark.parametrize("query", ["ssl_ca_certs=/nowhere.pem", "ssl_certfile=/nowhere.pem"])
def test_tls_by_hand_reads_the_files_of_the_query(query: str) -> None:
    with pytest.raises(FileNotFoundError):
        make_tls_context(f"rediss://h/0?{query}")


def connection(url: str) -> Connection:
    return Connection(spell_out_tls(url))


def test_rediss_means_tls_with_a_checked_certificate_for_kombu_and_for_redis_py() -> None:
    assert connection("rediss://example.org").ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert not connection("redis://example.org").ssl
    assert parse_url(spell_out_tls("rediss://example.org"))["ssl_cert_reqs"] == "required"
