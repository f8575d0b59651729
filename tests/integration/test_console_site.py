"""The console over real HTTP: who may see and do what, and streams that nobody waits for."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from consoles import TOKEN, Site, site
from drafts import draft
from line import wait_until

from consumers import http_server
from consumers.console.site import FILES, is_loopback
from consumers.console.watch import LISTENERS_MAX
from consumers.drift import Drift
from streamer.config import ConfigError, load, public_dict
from streamer.snapshots import FolderStore, write_snapshot

EVERYWHERE = {"STREAMER_HTTP__HOST": "0.0.0.0"}
WITH_TOKEN = {"STREAMER_HTTP__TOKEN": TOKEN}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, **WITH_TOKEN) as opened:
        yield opened


def test_the_page_and_all_that_it_loads_come_from_here_under_a_strict_policy(shop: Site) -> None:
    for path in FILES:
        status, headers, body = shop.ask(path)
        assert (status, headers["Content-Type"]) == (200, FILES[path][1])
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        foreign = [one for one in re.findall(r"https?://[^\s\"'`)]+", body) if not one.startswith("http://www.w3.org/")]
        assert foreign == [], path
        if path.endswith((".js", ".html")) or path == "/":
            assert "innerHTML" not in body
            assert not re.search(r"\sstyle=|\son[a-z]+=\"", body), path
    loaded = re.findall(r"(?:src|href)=\"(/console/[^\"]+)\"", shop.ask("/")[2])
    assert set(loaded) <= set(FILES)


def test_the_state_is_there_to_be_asked_for(shop: Site) -> None:
    found = shop.json("/console/state")
    assert (found["role"], found["namespace"], found["verdict"]["level"]) == ("owner", "shop", "good")
    assert found["access"] == {"acts": True, "looks": "open"}
    assert TOKEN not in json.dumps(found)
    assert shop.json("/console/history?span=2%20h")["step_s"] == 15
    assert shop.ask("/console/history?span=century")[0] == 404


def test_a_name_that_is_not_this_machines_is_not_answered_on_loopback(shop: Site) -> None:
    for host, status in (("evil.example", 421), ("localhost:8321", 200), ("[::1]:8321", 200), ("", 421), ("LOCALHOST", 200)):
        assert shop.ask("/console/state", Host=host)[0] == status, host
    assert shop.ask("/metrics", Host="evil.example")[0] == 200  # holds nothing personal, and Prometheus names it as it likes


def test_standby_answers_that_it_has_no_state(tmp_path: Path) -> None:
    with site(tmp_path, role="standby") as shop:
        found = shop.json("/console/user?id=u1")
        assert (found["known"], found["served"]) == (False, None)
        assert found["no_state"] == "This worker is standby and has no state: ask the owner."
        assert shop.json("/console/item?id=i1")["no_state"]
        assert shop.json("/console/state")["verdict"]["title"] == "Standing by"


@pytest.mark.parametrize(("least", "floor"), [("0", False), ("0.1", True)])
def test_a_look_at_a_user_says_whether_providers_have_a_floor(tmp_path: Path, least: str, *, floor: bool) -> None:
    with site(tmp_path, STREAMER_RANKING__PROVIDER_EXPOSURE_MIN=least) as shop:
        assert shop.json("/console/user?id=u1")["floor"] is floor


def test_the_snapshot_in_force_is_always_among_those_listed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "snapshots")
    with site(tmp_path) as shop:
        for number in range(3):  # one after the other, faster than a list grows old
            shop.worker.snapshot = write_snapshot(store, draft(number), {"t": np.zeros(3, np.int32)}, {}).name
            found = shop.json("/console/snapshots")["snapshots"]
            assert [one["name"] for one in found if one["committed"]] == [shop.worker.snapshot]


@pytest.mark.parametrize("query", ["", "?id=", f"?id={'x' * 257}"])
def test_an_id_that_is_none_is_refused_in_words(shop: Site, query: str) -> None:
    status, _, body = shop.ask(f"/console/user{query}")
    assert (status, "1 to 256 bytes" in body) == (400, True)


def test_without_a_token_everything_is_read_only(tmp_path: Path) -> None:
    with site(tmp_path) as shop:
        assert shop.json("/console/state")["access"] == {"acts": False, "looks": "open"}
        for name in ("freeze", "unfreeze", "rollback", "redrive"):
            status, found = shop.act(name)
            assert (status, "http.token" in found["error"]) == (403, True)


def test_a_server_that_others_reach_shows_no_user_without_the_token(tmp_path: Path) -> None:
    with site(tmp_path / "a", **EVERYWHERE) as shop:
        assert shop.json("/console/state")["access"]["looks"] == "closed"
        for path in ("user?id=u", "item?id=i", "letters", "recent"):
            assert shop.ask(f"/console/{path}")[0] == 403
    with site(tmp_path / "b", **EVERYWHERE, **WITH_TOKEN) as shop:
        assert shop.json("/console/state", Host="shop.example")["access"]["looks"] == "token"
        assert shop.ask("/console/user?id=u")[0] == 401
        assert shop.ask("/console/user?id=u", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_only_the_token_acts_and_only_from_here(shop: Site) -> None:
    for given in ("Bearer wrong", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"):
        assert shop.act("freeze", Authorization=given)[0] == 401, given
    assert shop.act("freeze", Origin="https://evil.example")[0] == 403
    assert shop.act("freeze", Origin="null")[0] == 403
    assert shop.act("freeze", Sec_Fetch_Site="cross-site")[0] == 403
    assert shop.act("freeze", Content_Type="text/plain")[0] == 415
    assert shop.act("freeze", Host="evil.example")[0] == 421
    assert shop.ask("/console/freeze", Authorization=f"Bearer {TOKEN}")[0] == 405
    assert shop.ask("/console/state", "POST", "{}")[0] == 405
    assert shop.ask("/status", "POST", "{}")[0] == 405


@pytest.mark.parametrize("body", ["", "{", "[]", '{"by": 1}', '{"snapshots": ""}', '{"reasons": ["nonsense"]}'])
def test_a_body_that_is_none_is_refused_in_words(shop: Site, body: str) -> None:
    headers = {"Content_Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    status, _, answer = shop.ask("/console/redrive", "POST", body, **headers)
    assert (status, "cannot be read" in answer) == (400, True)


def test_a_body_of_no_or_too_great_length_is_refused(shop: Site) -> None:
    assert shop.ask("/console/freeze", "POST", "x" * 70_000)[0] == 413
    with contextlib.closing(socket.create_connection(("127.0.0.1", shop.server.port))) as raw:
        raw.sendall(b"POST /console/freeze HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b" 411 " in raw.recv(4096)


def test_what_the_log_lacks_is_said_and_nothing_is_done(shop: Site) -> None:
    status, found = shop.act("freeze", {"by": "ada"})
    assert (status, "streamer topics create" in found["error"]) == (503, True)


def test_a_rollback_and_a_redrive_in_earnest_need_a_dry_run(shop: Site) -> None:
    status, found = shop.act("redrive", {"confirm": "0123456789abcdef"})
    assert (status, "dry run" in found["error"]) == (409, True)
    assert shop.act("rollback", {})[0] == 400
    assert shop.act("rollback", {"snapshot": "../../etc"})[0] == 409


def stream(shop: Site) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", shop.server.port, timeout=10)
    connection.request("GET", "/console/events")
    return connection.getresponse()


def next_state(answer: http.client.HTTPResponse) -> dict:
    while True:
        line = answer.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            found: dict = json.loads(line[6:])
            return found


def test_a_page_that_listens_hears_of_a_change_within_seconds(shop: Site) -> None:
    with contextlib.closing(stream(shop)) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert next_state(answer)["role"] == "owner"
        shop.worker.role = "standby"
        started = time.monotonic()
        while (found := next_state(answer))["role"] != "standby":
            assert time.monotonic() - started < 5
        assert found["journal"][0]["text"].startswith("stands by")


def test_what_happens_is_noted_newest_first(shop: Site) -> None:
    watch, measured = shop.console._watch, shop.worker.measured
    measured.store_fault = "Connection refused."
    watch._look()
    measured.store_fault, measured.frozen = None, {"by": "operator"}
    measured.drift["purchase"] = Drift(mean=0.2, samples=40, alarms=1, before=0.05, alarm_ms=1)
    watch._look()
    said = [one["text"] for one in shop.json("/console/state")["journal"]]
    assert said[:4] == [
        "drift: the share of purchases among events went from 0.050 to 0.200",
        "learning was frozen, by operator",
        "the store takes lists again",
        "the store fails: Connection refused.",
    ]


def test_no_more_listen_than_may_and_a_place_is_free_again(shop: Site) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(contextlib.closing(stream(shop))) for _ in range(LISTENERS_MAX)]
        assert all(next_state(one)["role"] == "owner" for one in held)
        status, _, body = shop.ask("/console/events")
        assert (status, "listen already" in body) == (503, True)
        assert shop.ask("/livez")[0] == 200  # streams leave room for probes
    shop.ask("/console/events", "HEAD")
    wait_until(lambda: shop.console._watch._listeners == 0, "all gone", deadline_s=10)


def test_one_that_takes_nothing_holds_nobody_up(shop: Site) -> None:
    with contextlib.closing(socket.create_connection(("127.0.0.1", shop.server.port))) as deaf:
        deaf.sendall(b"GET /console/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.closing(stream(shop)) as other:
            first = next_state(other)["now_ms"]
            assert next_state(other)["now_ms"] > first


def test_one_that_never_takes_anything_is_left(shop: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server._Handler, "timeout", 0.5)
    shop.worker.measured.rejected = {f"reason {n}": n for n in range(500)}  # large frames
    with contextlib.closing(socket.socket()) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.connect(("127.0.0.1", shop.server.port))
        deaf.sendall(b"GET /console/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: shop.console._watch._listeners == 1, "it listens", deadline_s=10)

        def told() -> bool:
            shop.console._watch._look()
            return shop.console._watch._listeners == 0

        wait_until(told, "it is left", deadline_s=20)


def test_streams_end_with_the_worker(tmp_path: Path) -> None:
    with site(tmp_path) as shop:
        answer = stream(shop)
        next_state(answer)
        shop.console.close()
        assert b"data" not in answer.read()[-10:]


def test_only_loopback_is_loopback() -> None:
    assert [is_loopback(one) for one in ("127.0.0.1", "::1", "localhost", "127.8.8.8")] == [True] * 4
    assert [is_loopback(one) for one in ("0.0.0.0", "::", "10.0.0.1", "shop.example")] == [False] * 4


def test_a_token_comes_from_a_file_too_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    config = load(None, {"STREAMER_HTTP__TOKEN_FILE": str(tmp_path / "token")})
    assert config.http.token == TOKEN
    assert TOKEN not in repr(config)
    assert public_dict(config)["http"]["token"] == "***"


@pytest.mark.parametrize("token", ["short", "with spaces in it, and long", "é" * 20])
def test_a_token_that_can_be_guessed_or_sent_by_no_header_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.token can be guessed or .*openssl rand"):
        load(None, {"STREAMER_HTTP__TOKEN": token})
