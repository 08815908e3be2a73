"""A bridge behind TLS (``wss``): the same as without, both directions at once, and over lost connections."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.acceptance.conftest import GROUP, MEMBER, MUTE, Stage, StageMaker, name
from tests.parts.tls_proxy import TlsProxy, make_certificate

MESSAGES = 60


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def unstarted(make_stage: StageMaker) -> Stage:
    return make_stage(MAX_IN_FLIGHT=20, VERDICT_TIMEOUT=60)


@pytest.fixture(scope="module")
def proxy(unstarted: Stage, certificate: tuple[Path, Path]) -> Iterator[TlsProxy]:
    port = urlsplit(unstarted.bridge.url).port
    assert port is not None
    with TlsProxy(port, *certificate) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def shared_stage(unstarted: Stage, proxy: TlsProxy, certificate: tuple[Path, Path]) -> Stage:
    unstarted.worker.settings["BRIDGE_URL"] = f"wss://127.0.0.1:{proxy.port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificate[1]))
        unstarted.worker.start()
    unstarted.worker.wait_ready()
    return unstarted


def test_many_messages_both_ways_at_once_each_with_its_own_proof(stage: Stage) -> None:
    mark = name()
    texts = [f"{mark} {number} {'x' * 5000}" for number in range(MESSAGES)]
    friends = itertools.cycle(sorted(stage.bridge.world.contacts)[:20])
    results = [stage.send(text, chat={"type": "friend", "id": next(friends)}) for text in texts]
    contacts = stage.send_task("worker68.sync_contacts")
    replies = [stage.end_of(result) for result in results]
    assert {reply["status"] for reply in replies} == {"succeeded"}
    assert stage.end_of(contacts)["result"]["count"] == len(stage.bridge.world.contacts)
    assert [stage.sent(text) for text in texts] == [1] * MESSAGES
    ids = {message.text: message.message_id for message in stage.bridge.sent}
    assert [reply["result"]["message_id"] for reply in replies] == [ids[text] for text in texts]


def test_a_change_and_a_read(stage: Stage) -> None:
    mute = stage.send_task(MUTE, group_id=GROUP, user_id=MEMBER, seconds=4711)
    assert stage.end_of(mute)["status"] == "succeeded"
    assert len(stage.mutes(4711)) == 1
    assert stage.run("get_api_url")["result"] == {"api_url": stage.bridge.world.api_url}


def test_a_verdict_comes_over_the_next_connection(stage: Stage, proxy: TlsProxy) -> None:
    words = name()
    ready = stage.worker.log.count('"bridge_ready"')
    stage.bridge.faults.hold_verdicts = True
    result = stage.send(words)
    stage.wait(lambda: stage.sent(words))
    proxy.cut()
    stage.wait(lambda: "bridge_connection_lost" in stage.worker.log)
    stage.wait(lambda: stage.worker.log.count('"bridge_ready"') > ready)
    stage.bridge.faults.clear()
    assert stage.end_of(result)["status"] == "succeeded"
    assert stage.sent(words) == 1
