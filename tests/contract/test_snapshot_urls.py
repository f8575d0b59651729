"""What a snapshot store behind a URL says when it cannot do what it should: always an OSError in words, in bounded time."""

from __future__ import annotations

import socket
import time

import pytest
from s3_server import S3Server

from streamer.snapshots.url_store import UrlStore

OPERATIONS = {
    "put": lambda store: store.put("a", b"x"),
    "get": lambda store: store.get("a"),
    "names": lambda store: store.names(""),
    "delete": lambda store: store.delete("a"),
}


@pytest.fixture(params=OPERATIONS)
def operation(request):
    return OPERATIONS[request.param]


@pytest.fixture(scope="module")
def denying(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("denying"), denies=True)
    yield server
    server.stop()


def at(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("s3_root")
def test_a_missing_bucket_is_no_missing_blob(operation):
    store = UrlStore("s3://no-such-bucket/prefix")
    with pytest.raises(OSError, match=r"snapshots at s3://no-such-bucket/prefix: .*bucket does not exist.*make the bucket"):
        operation(store)


def test_denied_access_says_to_check_the_credentials(denying, monkeypatch, operation):
    at(denying, monkeypatch)
    with pytest.raises(PermissionError, match="check the credentials that the backend finds in the environment") as caught:
        operation(UrlStore("s3://bucket/prefix"))
    assert "tests-secret" not in str(caught.value)


@pytest.mark.parametrize("operation", [OPERATIONS["put"], OPERATIONS["names"]], ids=["put", "names"])
def test_a_server_that_is_gone_is_named(tmp_path, monkeypatch, operation):
    server = S3Server(tmp_path)
    at(server, monkeypatch)
    store = UrlStore(f"s3://{server.bucket()}/prefix")
    store.put("b", b"x")
    server.stop()
    with pytest.raises(OSError, match=f"snapshots at .*{server.endpoint}.*check snapshots.root"):
        operation(store)


def test_a_server_that_accepts_and_says_nothing_is_waited_for_in_bounded_time(monkeypatch, operation):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests-secret")
        store = UrlStore("s3://bucket/prefix", timeout_s=1.0)
        started = time.monotonic()
        with pytest.raises(OSError, match="no answer within 1 s"):
            operation(store)
        assert time.monotonic() - started < 10


def test_a_blob_too_large_for_one_put_is_refused_with_the_setting(monkeypatch):
    monkeypatch.setattr("streamer.snapshots.url_store.SINGLE_PUT_BYTES_MAX", 10)
    with pytest.raises(OSError, match=r"has 11 bytes, expected at most 10; lower snapshots\.chunk_bytes"):
        UrlStore("memory://x").put("a", bytes(11))


@pytest.mark.parametrize("url", ["nosuch://bucket/prefix", "simplecache::s3://bucket"])
def test_a_url_without_a_backend_says_what_to_install_or_give(url):
    with pytest.raises(OSError, match=r"install the package|expected one, as s3://"):
        UrlStore(url)


def test_a_backend_that_is_not_installed_is_named():
    with pytest.raises(OSError, match="gcsfs"):
        UrlStore("gs://bucket/prefix")


def test_a_password_in_the_url_is_never_shown():
    with pytest.raises(OSError, match=r"me:\*\*\*@nowhere") as caught:
        UrlStore("nosuch://me:secret@nowhere/x")
    assert "secret" not in repr(caught.value)
