"""Events from pages in a real browser: a beacon and a fetch, from an origin that is named and from one that is not."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from command import Here, ends
from kafka_server import free_port
from line import wait_until
from test_gateway_process import ids_on, running

from consumers.compose import open_admin
from streamer.events.model import EVENTS

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH: apt-get install chromium-headless-shell")

PAGE = """<!doctype html><script>
const events = "http://127.0.0.1:GATEWAY/v1/events";
const event = (id) => ({event_id: location.hostname + "-" + id, type: "click", user_id: "u1", item_id: "i1", timestamp: Date.now()});
(async () => {
  const beacon = navigator.sendBeacon(events, JSON.stringify(event("beacon")));
  let status = "blocked";
  try {
    const answer = await fetch(events, {method: "POST", keepalive: true, headers: {"Content-Type": "application/json"},
      body: JSON.stringify([event("fetch")])});
    status = answer.status + " " + (await answer.json()).accepted;
  } catch (error) {}
  await fetch("/done?" + new URLSearchParams({beacon, status}));
})();
</script>"""


class Pages(ThreadingHTTPServer):
    """Serves the page, and hears from it what became of its calls."""

    def __init__(self, gateway_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.page = PAGE.replace("GATEWAY", str(gateway_port)).encode()
        self.told: queue.Queue[dict[str, list[str]]] = queue.Queue()


class _Pages(BaseHTTPRequestHandler):
    server: Pages

    def do_GET(self) -> None:
        if self.path.startswith("/done"):
            self.server.told.put(parse_qs(urlsplit(self.path).query))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.page if self.path == "/" else b"")

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def pages(gateway_port: int) -> Iterator[Pages]:
    server = Pages(gateway_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def opened(url: str, server: Pages, folder: Path) -> dict[str, list[str]]:
    """What the page at ``url`` told, opened in a browser of its own."""
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--remote-debugging-port=0"]
    browser = subprocess.Popen(
        [CHROMIUM, *options, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return server.told.get(timeout=60)
    finally:
        os.killpg(browser.pid, signal.SIGKILL)  # a script that starts it may stand between
        browser.wait(20)


def test_a_page_of_a_named_origin_sends_a_beacon_and_a_fetch_and_a_page_of_another_sends_nothing(
    here: Here, tmp_path: Path
) -> None:
    gateway_port = free_port()
    with contextlib.closing(open_admin(here.config)) as admin:
        admin.create_topics()
    with pages(gateway_port) as server:
        own, other = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
        here.settings |= {
            "STREAMER_REDIS__URL": "redis://127.0.0.1:1/0",
            "STREAMER_GATEWAY__CORS_ORIGINS": own,
        }
        with running(here, port=gateway_port) as ask:
            assert opened(other, server, tmp_path / "other") == {"beacon": ["true"], "status": ["blocked"]}
            assert opened(own, server, tmp_path / "own") == {"beacon": ["true"], "status": ["202 1"]}
            wait_until(lambda: 'route="events",status="403"' in ask("GET", "/metrics")[1], "the other page refused")
            wait_until(lambda: ends(here.config)[EVENTS] == 2, "two events")
    assert ids_on(here) == {"127.0.0.1-beacon", "127.0.0.1-fetch"}
