"""The console in a real browser, over a real worker: what a person looks for is found, and what the token allows is done."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from browser import CHROMIUM, Page, browser
from consoles import TOKEN, site
from line import WITHOUT_ENCODER, Line, Process, line_settings, movielens_events, movielens_items

from consumers.console.watch import LISTENERS_MAX
from producers.formats import Recorded
from streamer.events.model import ITEMS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH: apt-get install chromium-headless-shell")

EVENTS = 3_000


class Shop(NamedTuple):
    """A worker with state, and a page on it."""

    worker: Process
    page: Page
    url: str
    user: str


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for all."""
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, page: Page) -> Iterator[Shop]:
    """A worker with state; what one test does to it, it undoes."""
    settings = line_settings(tmp_path_factory.mktemp("line"), "embedded")
    with contextlib.closing(Line(settings | WITHOUT_ENCODER | {"STREAMER_HTTP__TOKEN": TOKEN})) as line:
        line.create_topics()
        events = movielens_events()[:EVENTS]
        line.send(movielens_items(), ITEMS)
        line.send([*events, Recorded(1, b"mallory", b'{"type": "<img src=x onerror=alert(1)>"}', None)])
        worker = line.start("worker")
        worker.wait_applied(EVENTS)
        worker.wait(lambda: worker.get("/status")[1]["lists"]["unpublished"] == 0, "all lists written")
        worker.wait(lambda: worker.get("/status")[1]["snapshot"], "a snapshot in force")
        assert worker._place is not None
        page.size(1_200, 900)
        yield Shop(worker, page, "http://{}:{}".format(*worker._place), json.loads(events[-1].value)["user_id"])


def settled(page: Page, url: str) -> None:
    page.open("about:blank")
    page.complaints.clear()
    page.open(url)
    page.wait("document.querySelector('#verdict-title').innerText !== 'Reading…' && document.querySelector('.link.live')")


def test_what_a_newcomer_looks_for_is_found(shop: Shop) -> None:
    page = shop.page
    settled(page, shop.url)
    healths = {"All is well", "It works, with something to look at", "Something is wrong"}  # by how fast this machine is now
    assert page.text("#verdict-title") in healths
    assert page.text("#role") == "owner"
    assert "NDCG@10" in page.text("#verdict-text")  # is learning helping
    assert re.search(r"How stale a list is\n[\d.]+ m?s\nfrom event to list", page.text("#tiles"))  # how stale is a list
    page.wait("document.querySelectorAll('#charts svg path').length > 3")
    page.wait("document.querySelector('#exposure-card').checkVisibility()")  # who is shown
    assert re.search(r"categories: \d+ of \d+ shown, Gini 0\.\d\d", page.text("#exposure"))
    assert page.text("#exposure").count("%") == 6

    page.write("#user-id", shop.user)
    page.js("document.querySelector('#user-form').requestSubmit()")
    page.wait("document.querySelectorAll('#user-answer .list li').length >= 20")
    assert "Because" in page.text("#user-answer .why")  # why did this user get this item
    assert "Nothing happened to this user since it was written." in page.text("#user-answer")
    assert page.js("document.querySelectorAll('#user-answer tbody tr').length") == 20
    page.js("document.querySelector('#user-answer .list a').click()")
    page.wait("document.querySelectorAll('#item-answer table').length >= 3")
    assert "Categories" in page.text("#item-answer")

    page.click("#letters-load")
    page.wait("document.querySelector('#letters-answer details')")
    page.click("#letters-answer summary")
    assert "<img src=x onerror=alert(1)>" in page.text("#letters-answer pre")  # shown, never done
    page.click("#snapshots-load")
    page.wait("document.querySelector('#snapshots-answer tr.mine')")
    assert "became the owner" in page.text("#journal")
    assert page.complaints == []


def test_a_chart_is_read_by_keys(shop: Shop) -> None:
    page = shop.page
    settled(page, shop.url)
    page.wait("document.querySelectorAll('#charts svg path').length > 3")
    page.js("document.querySelectorAll('.plot')[2].focus()")
    page.press("Home")
    first = page.js("document.activeElement.getAttribute('aria-valuetext')")
    page.press("ArrowRight")
    second = page.js("document.activeElement.getAttribute('aria-valuetext')")
    assert first != second
    assert "applied" in first
    assert page.js("document.querySelectorAll('.plot')[2].querySelectorAll('.cursor line').length") == 1
    page.press("Escape")
    assert page.js("document.querySelectorAll('.plot')[2].querySelectorAll('.cursor line').length") == 0


def test_who_knows_the_token_freezes_and_sends_letters_again_after_a_dry_run(shop: Shop) -> None:
    page = shop.page
    settled(page, shop.url)
    page.wait("document.querySelector('#act-freeze')")
    page.click("#act-freeze")
    page.wait("document.querySelector('#operate output:not([for])').innerText.includes('only with the token')")
    page.write("#token", TOKEN)
    page.js("document.querySelector('#token').form.requestSubmit()")
    page.write("#act-by", "ada")
    page.write("#act-why", "a feed sends nonsense")
    page.click("#act-freeze")
    page.wait("document.querySelector('#findings').innerText.includes('Learning is frozen by ada: a feed sends nonsense.')")
    assert shop.worker.get("/status")[1]["learning"]["frozen"]["name"] == "ada"
    page.click("#act-unfreeze")
    page.wait("document.querySelector('#journal').innerText.includes('learning goes on')")

    assert page.js("document.querySelector('#act-redrive').disabled")
    page.click("#act-redrive-dry")
    page.wait("!document.querySelector('#act-redrive').disabled")
    assert "1 of 1 letters would be sent again" in page.text("#operate")
    page.click("#act-redrive")
    page.wait("document.querySelector('#operate').innerText.includes('1 of 1 letters sent again')")

    page.wait("document.querySelector('#act-snapshot').options.length > 1")
    page.js("document.querySelector('#act-snapshot').selectedIndex = 1")
    epoch = shop.worker.get("/status")[1]["epoch"]
    page.click("#act-rollback-dry")
    page.wait("!document.querySelector('#act-rollback').disabled")
    page.click("#act-rollback")
    page.wait("document.querySelector('#operate').innerText.includes('what was learned is back at snapshot')")
    assert shop.worker.get("/status")[1]["epoch"] > epoch
    assert page.complaints == [
        "Failed to load resource: the server responded with a status of 401 (Unauthorized) " + shop.url + "/console/freeze"
    ]
    assert TOKEN not in shop.worker.text


@pytest.mark.parametrize("floor", [False, True])
def test_why_a_list_would_be_another_one_now_is_not_put_on_the_stream_alone_where_others_lists_count(
    page: Page, tmp_path: Path, *, floor: bool
) -> None:
    answer = {
        "user_id": "u",
        "known": True,
        "no_state": None,
        "store_error": None,
        "titles": {},
        "floor": floor,
        "served": {"personal": True, "written_ms": 1, "head_step": 2, "items": []},
        "state": {"now": ["i"], "window": [], "last_ms": 1, "interactions": 1, "items_remembered": 1, "repeats_ratio": 0},
    }
    with site(tmp_path) as opened:
        settled(page, opened.url)
        page.js(f"window.fetch = async () => new Response(JSON.stringify({json.dumps(answer)}))")
        page.write("#user-id", "u")
        page.js("document.querySelector('#user-form').requestSubmit()")
        page.wait("document.querySelector('#user-answer').innerText.includes('1 of 1 places would hold other items')")
        assert ("other providers are below their floor" in page.text("#user-answer")) == floor


def test_a_page_whose_worker_is_gone_says_so(page: Page, tmp_path: Path) -> None:
    with site(tmp_path) as opened:
        settled(page, opened.url)
    page.wait("document.querySelector('#link').innerText.includes('No word since')")
    assert page.js("document.body.classList.contains('stale')")


@pytest.mark.parametrize("role", ["owner", "standby", "starting"])
def test_nothing_is_wider_than_a_phone(page: Page, tmp_path: Path, role: str) -> None:
    with site(tmp_path, role=role) as opened:
        for dark, background in ((False, "rgb(247, 248, 248)"), (True, "rgb(20, 23, 26)")):
            page.size(360, 740, phone=True, dark=dark)
            settled(page, opened.url)
            assert page.js("document.documentElement.scrollWidth") <= 360
            assert page.js("getComputedStyle(document.body).backgroundColor") == background
            named = "[...document.querySelectorAll('input, button, select')].every((one) => one.labels?.length || one.innerText.trim())"
            assert page.js(named)
            assert page.complaints == []


def test_a_page_that_finds_no_place_to_listen_asks_instead(page: Page, tmp_path: Path) -> None:
    with site(tmp_path) as opened, contextlib.ExitStack() as stack:
        for _ in range(LISTENERS_MAX):
            held = stack.enter_context(
                contextlib.closing(http.client.HTTPConnection("127.0.0.1", opened.server.port, timeout=10))
            )
            held.request("GET", "/console/events")
            held.getresponse().readline()
        page.size(800, 600)
        settled(page, opened.url)
