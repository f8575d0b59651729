"""Images by URL: of hosts that the operator names, at public addresses, without redirects, within seconds and megabytes.

The host's address is looked up once, judged, and connected to as it was judged: a name that changes its address in between
(DNS rebinding) changes nothing. Nothing of the environment (proxies, credentials) is used.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import SplitResult, quote, urlsplit

from streamer.encoders.picture import PictureFault, refused, too_large, unusable

FETCH_S = 5.0
LOOKUPS_AT_ONCE = 4
PORTS = {"http": 80, "https": 443}
OK = 200
MAY_PASS = (404, 408, 425, 429)
"""Beside the server's own errors."""
SAFE = "%/:=&?~#+!$,;'@()*[]"
NAT64 = ipaddress.ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], Sequence[str]]
Connect = Callable[[str, int, float], socket.socket]


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, by the system's resolver."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def connect(address: str, port: int, timeout_s: float) -> socket.socket:
    """A connection to an address."""
    return socket.create_connection((address, port), timeout_s)


class PictureUrls:
    """Fetches from allowed hosts. Safe in any number of threads."""

    def __init__(self, hosts: str, *, resolve: Resolve = resolve, connect: Connect = connect, fetch_s: float = FETCH_S) -> None:
        """``hosts``: names with commas between, none: every URL is refused. ``fetch_s`` bounds lookup, connection and answer together."""
        self._hosts = frozenset(name.strip().lower() for name in hosts.split(",") if name.strip())
        self._resolve = resolve
        self._connect = connect
        self._fetch_s = fetch_s
        self._lookups = ThreadPoolExecutor(LOOKUPS_AT_ONCE, "image-lookup")

    def close(self) -> None:
        """Waits for no lookup."""
        self._lookups.shutdown(wait=False, cancel_futures=True)

    def read(self, url: str, bytes_max: int) -> bytes:
        """The body of the answer.

        Raises:
            PictureFault: not allowed, not public, redirected, too large, too slow, or no answer of status 200.
        """
        deadline_s = time.monotonic() + self._fetch_s
        parts, host = self._checked(url)
        port = PORTS[parts.scheme]
        try:
            address = self._public_address(host, port, deadline_s)
            connection = _Pinned(host, parts.scheme, lambda: self._connect(address, port, _left(deadline_s)))
            with contextlib.closing(connection), _cut_at(connection, deadline_s):
                return _fetched(connection, parts, bytes_max)
        except (OSError, http.client.HTTPException, TimeoutError, UnicodeError) as error:
            late = time.monotonic() >= deadline_s
            why = f"it took more than {self._fetch_s:g} s" if late else f"{type(error).__name__}: {error}"
            raise unusable(f"image at {host} could not be fetched: {why[:200]}") from None

    def _checked(self, url: str) -> tuple[SplitResult, str]:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower().rstrip("."), parts.port
        except ValueError as error:
            raise refused(f"image is no URL ({error})", "https://host/path") from None
        if host not in self._hosts:
            allowed = (
                "one of encoder.image_hosts" if self._hosts else "a path: encoder.image_hosts is empty, so nothing is fetched"
            )
            raise refused(f"image is at the host {host[:200]!r}", allowed)
        if parts.username is not None or parts.password is not None:
            raise refused("image is a URL with a user's name", "a URL that needs none")
        if port not in {None, PORTS[parts.scheme]}:
            raise refused(f"image is at port {port}", f"port {PORTS[parts.scheme]} of {parts.scheme}")
        return parts, host

    def _public_address(self, host: str, port: int, deadline_s: float) -> str:
        addresses = self._lookups.submit(self._resolve, host, port).result(_left(deadline_s))
        inner = [address for address in addresses if not is_public(address)]
        if inner or not addresses:
            raise refused(f"image is at {host}, which has the address {(inner or ['none'])[0]}", "public addresses alone")
        return addresses[0]


class _Pinned(http.client.HTTPConnection):
    """A connection to one address under a host's name, which TLS checks."""

    def __init__(self, host: str, scheme: str, dial: Callable[[], socket.socket]) -> None:
        super().__init__(host, PORTS[scheme])
        self._scheme = scheme
        self._dial = dial

    def connect(self) -> None:
        self.sock = self._dial()
        if self._scheme == "https":
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


@contextlib.contextmanager
def _cut_at(connection: http.client.HTTPConnection, deadline_s: float) -> Iterator[None]:
    """Ends the connection at the deadline, however slowly its bytes drip."""

    def cut() -> None:
        with contextlib.suppress(OSError):
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(_left(deadline_s), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _fetched(connection: http.client.HTTPConnection, parts: SplitResult, bytes_max: int) -> bytes:
    target = quote(parts.path or "/", safe=SAFE) + (f"?{quote(parts.query, safe=SAFE)}" if parts.query else "")
    connection.request("GET", target, headers={"Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close"})
    answer = connection.getresponse()
    if 300 <= answer.status < 400:
        raise refused(
            f"image is redirected by {parts.hostname} (status {answer.status})",
            "the URL where it lies: redirects are not followed",
        )
    if answer.status != OK:
        raise _status_fault(parts, answer.status)
    if answer.getheader("Content-Encoding", "identity").lower() != "identity":
        raise unusable(f"image of {parts.hostname} is packed ({answer.getheader('Content-Encoding')})")
    data = answer.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise too_large(f"image of {parts.hostname} has more bytes")
    if answer.length:
        message = f"{len(data)} bytes came, {answer.length} more were told"
        raise http.client.HTTPException(message)
    return data


def _status_fault(parts: SplitResult, status: int) -> PictureFault:
    passing = status >= 500 or status in MAY_PASS
    return unusable(f"image was not given by {parts.hostname} (status {status})", passing=passing)


def _left(deadline_s: float) -> float:
    return max(0.001, deadline_s - time.monotonic())


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, also behind the forms in which IPv6 carries one of IPv4.

    >>> [is_public(address) for address in ("8.8.8.8", "10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254")]
    [True, False, False, False]
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    inner: list[ipaddress.IPv4Address | None] = []
    if isinstance(found, ipaddress.IPv6Address):
        inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in NAT64:
            inner.append(ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF))
    if found.is_multicast or not (found.is_global or any(inner)):
        return False
    return all(is_public(str(one)) for one in inner if one is not None)
