"""The URL of Redis as everybody reads it."""

# mypy: disallow-untyped-calls=False
# because neither kombu's functions nor redis-py's parser are typed.

from __future__ import annotations

import ssl

import pytest
from celery import Celery
from kombu.connection import Connection
from redis.connection import parse_url

from worker68.app import make_app
from worker68.broker.url import Login, celery_url, check_redis_url, make_tls_context, read_redis_url
from worker68.settings import Settings


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
    assert celery_url(given) == spelled_out


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
    assert check_redis_url(url.replace("redis", "REDIS", 1)) == url
    spelled_out = celery_url(url)
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
        "redis://:pa;ss@h/0",
        "redis://h,i/0",
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
    context = make_tls_context(tls_of(f"rediss://h/0{query}"))
    assert (context.verify_mode, context.check_hostname) == (verify, check_hostname)


@pytest.mark.parametrize("query", ["ssl_ca_certs=/nowhere.pem", "ssl_certfile=/nowhere.pem"])
def test_tls_by_hand_reads_the_files_of_the_query(query: str) -> None:
    with pytest.raises(FileNotFoundError):
        make_tls_context(tls_of(f"rediss://h/0?{query}"))


def tls_of(url: str) -> dict[str, str]:
    tls = read_redis_url(url).tls
    assert tls is not None
    return tls


def connection(url: str) -> Connection:
    return Connection(celery_url(url))


def test_rediss_means_tls_with_a_checked_certificate_for_kombu_and_for_redis_py() -> None:
    assert connection("rediss://example.org").ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    assert not connection("redis://example.org").ssl
    assert parse_url(celery_url("rediss://example.org"))["ssl_cert_reqs"] == "required"


@pytest.mark.parametrize(
    ("url", "hosts", "master", "database"),
    [
        ("sentinel://h/mymaster", (("h", 26379),), "mymaster", 0),
        ("sentinel://h:1,i,[::1]:3/my.master-1/15", (("h", 1), ("i", 26379), ("::1", 3)), "my.master-1", 15),
        ("sentinels://h:1,i:2/m/0", (("h", 1), ("i", 2)), "m", 0),
    ],
)
def test_sentinels_their_master_and_its_database(
    url: str, hosts: tuple[tuple[str, int], ...], master: str, database: int
) -> None:
    address = read_redis_url(url)
    assert (address.hosts, address.master, address.database) == (hosts, master, database)


def test_sentinels_have_a_login_of_their_own_which_nothing_shows() -> None:
    address = read_redis_url("sentinel://u:p%40ss@h/m?sentinel_username=s&sentinel_password=se%26cret")
    assert (address.login, address.sentinel_login) == (Login("u", "p@ss"), Login("s", "se&cret"))
    assert "p@ss" not in f"{address}{address!r}"
    assert "se&cret" not in f"{address}{address!r}"
    assert str(address) == "the master m of the sentinels h:26379"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sentinel://h:26379/0", "the path is the master's name"),
        ("sentinel://h:26379", "the path is the master's name"),
        ("sentinel://h/m/first", "the path is the master's name"),
        ("sentinel://h/m/0/1", "the path is the master's name"),
        ("sentinel://h,/m/0", ""),
        ("sentinel://,h/m/0", ""),
        ("sentinel://h:0/m/0", ""),
        ("sentinel://h:x/m/0", ""),
        ("sentinel://:pa#ss@h/m", "percent-encoded"),
        ("sentinel://h:26379/0;sentinel://i:26379/0", "separated by commas"),
        ("sentinel://h/m?ssl_cert_reqs=none", "the query may hold sentinel_username, sentinel_password"),
        ("sentinels://h/m?master_name=x", "the query may hold ssl_cert_reqs"),
        ("sentinels://h/m?ssl_cert_reqs=perhaps", "ssl_cert_reqs is one of"),
    ],
)
def test_a_wrong_url_of_sentinels_says_what_is_wrong_with_it(url: str, problem: str) -> None:
    with pytest.raises(
        ValueError, match=f"^expected sentinel://HOST:PORT,HOST:PORT/MASTER/DB or .*{problem}"
    ) as refused:
        check_redis_url(url)
    assert "ss@h" not in str(refused.value)


def test_celery_and_kombu_find_the_same_sentinels_and_master() -> None:
    url = "sentinels://u:p%2Fss@h:1,[::1]:2/m/3?ssl_ca_certs=%2Fca.pem&sentinel_password=secret"
    app = make_app(Settings(redis_url=url))
    conf, backend = app.conf, app.backend
    assert [(one["host"], one["port"]) for one in backend.connparams["hosts"]] == [("h", 1), ("::1", 2)]
    assert (backend.connparams["db"], backend.connparams["username"], backend.connparams["password"]) == (
        3,
        "u",
        "p/ss",
    )
    assert backend.connparams["ssl_ca_certs"] == "/ca.pem"
    broker = app.connection_for_write()
    assert (broker.transport_cls, len(broker.alt)) == ("sentinel", 2)
    assert (broker.userid, broker.password, broker.virtual_host) == ("u", "p/ss", "3")
    assert broker.ssl == {"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "required"}
    for options in (conf.broker_transport_options, conf.result_backend_transport_options):
        assert options["master_name"] == "m"
        assert options["sentinel_kwargs"]["password"] == "secret"
        assert options["sentinel_kwargs"]["ssl_ca_certs"] == "/ca.pem"
