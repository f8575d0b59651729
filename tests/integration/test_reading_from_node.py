"""The examples of docs/reading.md and docs/sending.md in Node, run as they stand there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from command import Here
from test_gateway_process import payload, running

from consumers.compose import open_admin, open_store
from consumers.reader import encode_gone, version_text

DOCS = Path(__file__).parents[2] / "docs"
PAGE, SENDING = DOCS / "reading.md", DOCS / "sending.md"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="no node on PATH: apt-get install nodejs")


def example(name: str, folder: Path) -> Path:
    """The program that the page calls so, in a file."""
    [code] = [block for block in re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.DOTALL) if block.startswith(f"// {name}")]
    path = folder / name
    path.write_text(code)
    return path


DRIVER = """
const [program, ...users] = process.argv.splice(2, Infinity, "nobody");
const { recommend } = await import(program);
const found = [];
for (const user of users) found.push(await recommend(user));
console.log(JSON.stringify(found));
"""


def read(program: Path, users: Iterable[str], **environment: str) -> list[list[str]]:
    """What the program prints for nobody, and its function says of each user."""
    assert NODE is not None
    driver = program.parent / "driver.mjs"
    driver.write_text(DRIVER)
    done = subprocess.run(
        [NODE, driver, program, *users], env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    printed, found = map(json.loads, done.stdout.splitlines())
    return [printed, *found]


WANTED = {"ü/1": ["a", "long " + "ö" * 90_000], "forgotten": ["p"], "all gone": ["p"], "nobody": ["p"]}


def test_both_examples_read_what_the_reader_of_ours_does(here: Here, valkey_url: str, tmp_path: Path) -> None:
    here.settings["STREAMER_REDIS__URL"] = valkey_url
    with contextlib.closing(open_admin(here.config)) as admin:
        admin.create_topics()
    users = {"ü/1": ("a", "gone 1", WANTED["ü/1"][1]), "forgotten": (), "all gone": ("gone 1", "gone 2")}
    redis = {"REDIS": valkey_url.removeprefix("redis://").partition("/")[0], "NAMESPACE": "shop"}
    with contextlib.closing(open_store(here.config, valkey_url)) as store, running(here) as ask:
        store.delete_namespace()
        programs = [
            (example("direct.mjs", tmp_path), redis),
            (example("list.mjs", tmp_path), {"GATEWAY": f"http://127.0.0.1:{ask.port}"}),
        ]
        assert [read(program, [], **more) for program, more in programs] == [[[]], [[]]]
        store.write_lists([user.encode() for user in users], [payload(user, *items) for user, items in users.items()])
        store.write_shared("popular", payload("", "p", "gone 2"))
        store.write_shared("gone", encode_gone(version_text(1, 1), ["gone 1", "gone 2"]))
        ours = [store.read(user) for user in WANTED]
        assert [[entry.item_id for entry in found.items] for found in ours if found] == list(WANTED.values())
        for program, more in programs:
            assert read(program, WANTED, **more) == [["p"], *WANTED.values()]


def test_the_loop_that_sends_again_sends_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    [loop] = [
        block for block in re.findall(r"```js\n(.*?)```", SENDING.read_text(), re.DOTALL) if "async function send" in block
    ]
    answers = [
        (503, {"errors": [{"index": 1, "reason": "not_acknowledged"}, {"index": 2, "reason": "bad_id"}]}),
        (202, {"accepted": 1, "refused": 0, "errors": []}),
    ]
    asked: list[list[str]] = []

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = answers[len(asked) - 1]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        program = tmp_path / "send.mjs"
        program.write_text(
            f'const url = "http://127.0.0.1:{server.server_port}/", headers = {{}};\n{loop}\n'
            'console.log(JSON.stringify(await send(["a", "b", "c"])));'
        )
        assert NODE is not None
        done = subprocess.run([NODE, program], capture_output=True, text=True, timeout=60, check=False)
        server.shutdown()
    assert json.loads(done.stdout) == [{"index": 2, "reason": "bad_id", "event": "c"}], done.stderr
    assert asked == [["a", "b", "c"], ["b"]]
