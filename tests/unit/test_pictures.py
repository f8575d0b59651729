"""Where the bytes of a document's image may come from, and from where never."""

from __future__ import annotations

import base64
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers.picture_files import PictureFiles
from consumers.picture_urls import PictureUrls, is_public
from streamer.encoders import PictureFault

PUBLIC = "93.184.216.34"
SLOW_S = 30


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    (root / "deep").mkdir(parents=True)
    (root / "a.png").write_bytes(b"a")
    (root / "deep" / "b.png").write_bytes(b"b")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "images-too").mkdir()
    (tmp_path / "images-too" / "c.png").write_bytes(b"c")
    return root


def fault_of(read: Callable[[], object]) -> PictureFault:
    with pytest.raises(PictureFault) as raised:
        read()
    return raised.value


def files(*roots: Path) -> PictureFiles:
    return PictureFiles(roots, PictureUrls(""))


def test_paths_under_the_root_are_read_relative_absolute_and_through_links_that_stay(root: Path) -> None:
    (root / "link.png").symlink_to(root / "deep" / "b.png")
    read = files(root).read
    assert [read(name) for name in ("a.png", "deep/../a.png", str(root / "a.png"), "link.png")] == [b"a", b"a", b"a", b"b"]


def test_nothing_leads_out_of_the_root(root: Path) -> None:
    (root / "file").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to(root.parent)
    (root / "twice").symlink_to("folder")
    out = (
        "../secret",
        "deep/../../secret",
        str(root.parent / "secret"),
        "file",
        "folder/secret",
        "twice/secret",
        "../images-too/c.png",
    )
    for name in (*out, "/etc/passwd", "/proc/self/environ"):
        fault = fault_of(lambda name=name: files(root).read(name))
        assert "leads out of the image root" in fault.reject.error, name
        assert not fault.passing


def test_what_is_no_file_or_none_at_all_is_told_and_may_pass(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "circle").symlink_to("circle")
    (root / "large").write_bytes(bytes(10_000_001))
    told = {
        "none.png": "No such file",
        "deep": "",
        "pipe": "is no file",
        "circle": "",
        "x" * 5_000: "too long",
        "large": "10,000,000",
    }
    for name, text in told.items():
        fault = fault_of(lambda name=name: files(root).read(name))
        assert text in fault.reject.error
        assert len(fault.reject.error) < 400
    assert fault_of(lambda: files(root).read("none.png")).passing
    assert "cannot be read" in fault_of(lambda: files(root).read("a\0b")).reject.error


def test_without_a_root_no_path_is_read(root: Path) -> None:
    assert "encoder.image_root" in fault_of(lambda: files().read(str(root / "a.png"))).reject.error


def test_data_uris_are_decoded_and_broken_ones_told(root: Path) -> None:
    body = base64.b64encode(b"\x00picture").decode()
    assert files(root).read(f"data:image/png;base64,{body}") == b"\x00picture"
    assert files(root).read("data:,a%20b") == b"a b"
    for broken in ("data:image/png;base64", "data:image/png;base64,@@@@", "data:image/png;base64,abc"):
        assert "data URI" in fault_of(lambda broken=broken: files(root).read(broken)).reject.error


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://shop.example/a", "gopher://shop.example/a", "s3://bucket/a"])
def test_other_schemes_are_refused(root: Path, url: str) -> None:
    assert "scheme" in fault_of(lambda: files(root).read(url)).reject.error


Answer = Callable[[socket.socket], None]


class Server:
    """A server of one answer on loopback, and a way to fetch from it that notes what was looked up and dialled."""

    def __init__(self, answer: Answer, addresses: list[list[str]]) -> None:
        self.looked_up: list[str] = []
        self.dialled: list[str] = []
        self.requests: list[bytes] = []
        self._answer = answer
        self._addresses = addresses
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                try:
                    self.requests.append(client.recv(65_536))
                    self._answer(client)
                except OSError:
                    continue

    def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(f"{host}:{port}")
        return self._addresses[min(len(self.looked_up), len(self._addresses)) - 1]

    def connect(self, address: str, port: int, timeout_s: float) -> socket.socket:
        del port
        self.dialled.append(address)
        return socket.create_connection(self._socket.getsockname(), timeout_s)

    def urls(self, fetch_s: float = 5.0) -> PictureUrls:
        return PictureUrls("img.example, cdn.example", resolve=self.resolve, connect=self.connect, fetch_s=fetch_s)

    def close(self) -> None:
        self._socket.close()


def body(data: bytes, head: str = "200 OK", more: str = "") -> Answer:
    return lambda client: client.sendall(f"HTTP/1.1 {head}\r\nContent-Length: {len(data)}\r\n{more}\r\n".encode() + data)


@pytest.fixture
def serving() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def serve(answer: Answer, *addresses: list[str]) -> Server:
        servers.append(Server(answer, list(addresses) or [[PUBLIC]]))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def test_an_allowed_host_is_looked_up_once_and_connected_to_at_the_address_that_was_judged(
    serving: Callable[..., Server],
) -> None:
    server = serving(body(b"picture"), [PUBLIC], ["127.0.0.1"])
    assert server.urls().read("http://IMG.example/a b.png?size=1", 100) == b"picture"
    assert (server.looked_up, server.dialled) == (["img.example:80"], [PUBLIC])
    assert server.requests[0].startswith(b"GET /a%20b.png?size=1 HTTP/1.1\r\nHost: img.example\r\n")


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/a",
        "http://127.0.0.1/a",
        "http://img.example.evil.example/a",
        "http://evil.example/img.example",
        "http://img.example@evil.example/a",
        "http://user:secret@img.example/a",
        "http://img.example:22/a",
        "http://[::1]/a",
        "http://img.example:99999/a",
        "http://[broken/a",
        "http:///a",
    ],
)
def test_what_is_not_allowed_is_neither_looked_up_nor_dialled(serving: Callable[..., Server], url: str) -> None:
    server = serving(body(b"picture"))
    assert not fault_of(lambda: server.urls().read(url, 100)).passing
    assert (server.looked_up, server.dialled) == ([], [])


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        [PUBLIC, "192.168.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["fe80::1%eth0"],
        ["::ffff:10.0.0.1"],
        ["0.0.0.0"],
        ["100.64.0.1"],
        [],
    ],
)
def test_a_host_with_an_address_that_is_not_public_is_not_dialled(serving: Callable[..., Server], addresses: list[str]) -> None:
    server = serving(body(b"picture"), addresses)
    assert "public addresses" in fault_of(lambda: server.urls().read("https://img.example/a", 100)).reject.error
    assert server.dialled == []


def test_addresses_of_the_public_internet_are_told_from_the_others() -> None:
    assert is_public(PUBLIC)
    assert is_public("2606:4700::1111")
    inner = (
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "2001:0:a00:1::f5ff:fffe",
        "224.0.0.1",
        "255.255.255.255",
        "fd00::1",
        "192.0.2.1",
        "ff02::1",
    )
    assert [address for address in inner if is_public(address)] == []


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (body(b"", "302 Found", "Location: http://127.0.0.1/secret\r\n"), "redirects are not followed"),
        (body(b"gone", "404 Not Found"), "status 404"),
        (body(bytes(101)), "more bytes"),
        (
            lambda client: client.sendall(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"64\r\n" + bytes(100) + b"\r\n1\r\nx\r\n0\r\n\r\n"
            ),
            "more bytes",
        ),
        (lambda client: client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nshort"), "more were told"),
        (lambda client: client.sendall(b"nonsense\r\n\r\n"), "could not be fetched"),
        (lambda client: client.close(), "could not be fetched"),
        (body(b"x", more="Content-Encoding: gzip\r\n"), "is packed"),
        (lambda client: client.sendall(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000), "could not be fetched"),
    ],
)
def test_any_other_answer_is_a_fault(serving: Callable[..., Server], answer: Answer, text: str) -> None:
    server = serving(answer)
    assert text in fault_of(lambda: server.urls().read("http://img.example/a", 100)).reject.error
    assert len(server.dialled) == 1


def drip(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1_000):
        client.sendall(b"x")
        time.sleep(0.05)


def test_a_server_that_drips_or_says_nothing_and_a_slow_lookup_are_cut_off(serving: Callable[..., Server]) -> None:
    release = threading.Event()
    for answer in (drip, lambda _: release.wait(SLOW_S)):
        server = serving(answer)
        started = time.monotonic()
        assert (
            "more than 0.3 s"
            in fault_of(lambda server=server: server.urls(0.3).read("http://img.example/a", 10_000)).reject.error
        )
        assert time.monotonic() - started < 5

    def lookup(host: str, port: int) -> list[str]:
        del host, port
        release.wait(SLOW_S)
        return [PUBLIC]

    urls = PictureUrls("img.example", resolve=lookup, fetch_s=0.3)
    fault = fault_of(lambda: urls.read("http://img.example/a", 10))
    release.set()
    assert "more than 0.3 s" in fault.reject.error
    assert fault.passing
    urls.close()


def test_a_certificate_of_another_name_is_refused(serving: Callable[..., Server]) -> None:
    server = serving(body(b"picture"))
    assert "SSL" in fault_of(lambda: server.urls().read("https://img.example/a", 100)).reject.error
