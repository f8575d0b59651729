"""A snapshot store behind a URL of fsspec: object stores (``s3://``, ``gs://``, ``abfs://``) and what else it has a backend for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem, sync

from streamer.config.masking import masked
from streamer.snapshots.folder import blob_parts

WRITERS = 4
"""Blobs put at once."""
OPERATION_TIMEOUT_S = 60.0
"""An operation on a store that does not answer fails after this time."""
ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, KeyError)
NO_BUCKET = ("bucket does not exist", "container does not exist")
"""How backends tell a bucket that is missing, which is an error, from a blob that is."""
SINGLE_PUT_BYTES_MAX = 100 * 2**20
"""Above it a backend may cut a blob in parts, and a crash leaves parts that are paid for and never seen."""


class UrlStore:
    """Blobs as objects under ``url``: each is there whole or not at all, and stays once ``put`` has returned.

    It is as durable and as consistent as the store behind it: one PUT an object on S3, Google Cloud Storage and Azure, which list
    what was put at once. Credentials, endpoint and region come from where the backend looks for them (for S3 ``AWS_ACCESS_KEY_ID``,
    ``AWS_ENDPOINT_URL``, an instance's role). Safe for threads and for several processes: the last ``put`` of a name wins.
    """

    def __init__(self, url: str, *, timeout_s: float = OPERATION_TIMEOUT_S) -> None:
        """Takes the URL without reaching for the store; raises OSError where there is no backend for it, in words."""
        self._shown = str(masked("url", url))
        self._timeout_s = timeout_s
        if "::" in url:
            raise OSError(f"snapshots at {self._shown}: a chain of URLs is found, expected one, as s3://bucket/prefix")
        try:
            # a cached listing would not show what another worker has put or deleted
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except (ImportError, ValueError) as error:
            raise OSError(
                f"snapshots at {self._shown}: no backend for this URL: {masked('url', str(error))}; install the package that fsspec "
                "names for it (for s3:// pip install 'streamer[s3]', for gs:// gcsfs, for abfs:// adlfs)"
            ) from None
        self._root = root.rstrip("/")

    def __repr__(self) -> str:
        return f"UrlStore({self._shown!r})"

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Writes a blob whole or not at all; it is durable once this returns. Raises OSError where the store refuses."""
        path = self._path(name)
        if len(data) > SINGLE_PUT_BYTES_MAX:
            raise OSError(
                f"snapshots at {self._shown}: {name} has {len(data)} bytes, expected at most {SINGLE_PUT_BYTES_MAX}; "
                "lower snapshots.chunk_bytes"
            )
        content = bytes(data)
        self._run(f"{name} cannot be written", "pipe_file", path, content)

    def put_all(self, blobs: Mapping[str, bytes | memoryview]) -> None:
        """As ``put`` of each, several at once: most of the time of a ``put`` is waiting for an answer.

        The first that fails is raised, and what has not begun then is left out.
        """
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="put") as pool:
            puts = [pool.submit(self.put, name, data) for name, data in blobs.items()]
            try:
                for one in puts:
                    one.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def get(self, name: str) -> bytes:
        """Reads a blob; raises KeyError where there is none, OSError where the store does not answer or refuses."""
        return bytes(self._run(f"{name} cannot be read", "cat_file", self._path(name)))

    def names(self, prefix: str) -> list[str]:
        """All names that begin with ``prefix``, sorted; never from a cache. Raises OSError where the store can't be asked."""
        start = "/".join(part for part in (self._root, prefix.rpartition("/")[0]) if part)
        self._files.invalidate_cache()
        try:
            found = self._run(f"names under {prefix!r} cannot be listed", "find", start)
        except KeyError:
            return []
        names = (path.removeprefix(self._root).lstrip("/") for path in found)
        return sorted(name for name in names if name and name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Removes a blob; nothing where there is none. Raises OSError where the store refuses."""
        with contextlib.suppress(KeyError):
            self._run(f"{name} cannot be deleted", "rm_file", self._path(name))

    def remove_leftovers(self) -> int:
        """Nothing to remove, always 0: an object that was not put whole was never there."""
        return 0

    def _path(self, name: str) -> str:
        return "/".join((self._root, *blob_parts(name)))

    def _call(self, operation: str, *arguments: Any) -> Any:
        """One operation of the backend, bounded in time where the backend can be interrupted."""
        if isinstance(self._files, AsyncFileSystem):
            coroutine: Callable[..., Any] = getattr(self._files, f"_{operation}")
            return sync(self._files.loop, coroutine, *arguments, timeout=self._timeout_s)
        return getattr(self._files, operation)(*arguments)

    def _run(self, what: str, operation: str, path: str, *content: bytes) -> Any:
        """As ``_call``; raises KeyError where the blob is not there, and OSError in words for all else."""
        # Nothing is chained: what a backend says of its own may hold the URL as it was given, with a password.
        try:
            return self._call(operation, path, *content)
        except ABSENT as error:
            if content or _without_bucket(error):
                raise self._error(what, error) from None
            raise KeyError(path) from None
        except Exception as error:  # noqa: BLE001 - backends raise what their clients raise, of no common kind
            raise self._error(what, error) from None

    def _error(self, what: str, error: Exception) -> OSError:
        kind = type(error).__name__
        said = masked("url", f"{kind}: {error}" if str(error) else kind)
        text = f"snapshots at {self._shown}: {what}: {said}; {self._advice(error)}"
        return PermissionError(text) if isinstance(error, PermissionError) else OSError(text)

    def _advice(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout_s:g} s: check the endpoint and the network"
        if isinstance(error, PermissionError):
            return "check the credentials that the backend finds in the environment, and what they may do in this bucket"
        if isinstance(error, FileNotFoundError):
            return "make the bucket, or correct snapshots.root"
        return "check snapshots.root, and the endpoint and credentials that the backend finds in the environment"


def _without_bucket(error: BaseException) -> bool:
    return any(words in str(error).lower() for words in NO_BUCKET)
