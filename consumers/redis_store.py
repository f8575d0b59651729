"""The RecommendationStore on Redis or Valkey: plain keys, one script for writing, one round trip for reading.

Keys, with NS the namespace: ``NS:v1:rec:USER`` with a time to live, ``NS:v1:popular``, ``NS:v1:gone``, ``NS:v1:status``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from consumers.reader import parse_gone, served, version_of
from streamer.events.pseudonyms import Pseudonyms
from streamer.ports import RecommendationList, StoreError

log = logging.getLogger(__name__)

SHARED = ("popular", "gone", "status")

# What stands in a key is older, ours and newer, or foreign. Only ours and strictly newer keeps its place: an equal one is
# written again, so that a repeated write is harmless, and what is foreign would otherwise block the key for ever.
# What erases (a negative time to live) leaves a key alone that is not there.
_WRITE = """
local answers = {}
for n, key in ipairs(KEYS) do
  local payload, lives_s = ARGV[2 * n], ARGV[2 * n - 1]
  local old = redis.pcall('GETRANGE', key, 0, 45)
  local ours = type(old) == 'string' and #old == 46 and string.find(old, '^{"version":"%d+%-%d+$')
  if string.sub(lives_s, 1, 1) == '-' then
    lives_s = old == '' and '' or string.sub(lives_s, 2)
  end
  if lives_s == '' then
    answers[n] = 1
  elseif ours and string.sub(old, 13) > string.sub(payload, 13, 46) then
    answers[n] = 0
  else
    if lives_s == '0' then redis.call('SET', key, payload) else redis.call('SET', key, payload, 'EX', lives_s) end
    answers[n] = 1
  end
end
return answers
"""

ERASED_LIVES_S = 3_600
"""How long an empty list stands where a forgotten user's was: what an owner that was expelled had still on its way is refused by it."""
_DELETE_KEYS = 1_000
"""Keys looked at by one SCAN, and at most about as many deleted at once."""


class RedisStore:
    """Lists in one Redis or Valkey server; thread-safe.

    A write is one script call for up to ``batch_lists_max`` lists, each compared and set atomically. A Redis Cluster allows a
    script the keys of one slot only: with ``batch_lists_max=1`` every call has a single key, and every key is its own.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``; may hold user and password, which appear in no message.
        namespace: in front of every key; without braces, which would bind all keys to one cluster slot.
        ttl_s: seconds after a user was seen at which his list is gone.
        timeout_ms: for a connection, and for each answer.
        batch_lists_max: lists written by one script call.
        pseudonyms: those under which the log and so the store have users; whoever reads asks by the id as he knows it.

    Raises StoreError where the URL is none, ValueError where the namespace has braces. Nothing connects before the first call.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        ttl_s: int,
        timeout_ms: int,
        batch_lists_max: int,
        pseudonyms: Pseudonyms | None = None,
    ) -> None:
        if "{" in namespace or "}" in namespace:
            raise ValueError(
                f"namespace {namespace!r} has braces: a Redis Cluster would put every key into one slot; leave them out"
            )
        self._shown = masked(url)
        self._prefix = f"{namespace}:v1:"
        self._ttl_s = ttl_s
        self._timeout_ms = timeout_ms
        self._batch = batch_lists_max
        self._pseudonyms = pseudonyms
        self._client = self._connect(url)
        self._write = self._client.register_script(_WRITE)
        self._gone: tuple[bytes | None, frozenset[str]] = (None, frozenset())

    def write_lists(
        self, user_ids: Sequence[bytes], payloads: Sequence[bytes], unseen_s: Sequence[int] = (), *, erases: bool = False
    ) -> list[bool]:
        """Writes each user's JSON list; False where the store holds a strictly newer version.

        ``unseen_s``: for how many seconds each user has not been seen, none of them unless given; his list lives less by so many.
        ``erases``: the payloads are empty lists, which only take the place of what is there, for ``ERASED_LIVES_S``.

        Raises StoreError where the server is away or refuses: some of the lists may be written then, and writing them all
        again is harmless. Raises ValueError where a payload does not begin with its version.
        """
        keys = [b"%srec:%s" % (self._prefix.encode(), user_id) for user_id in user_ids]
        lives_s = [max(1, self._ttl_s - unseen) for unseen in unseen_s] if unseen_s else [self._ttl_s] * len(keys)
        if erases:
            lives_s = [-min(ERASED_LIVES_S, self._ttl_s)] * len(keys)
        answers: list[bool] = []
        for first in range(0, len(keys), self._batch):
            part = slice(first, first + self._batch)
            answers += self._write_keys(keys[part], payloads[part], lives_s[part])
        return answers

    def write_shared(self, name: str, payload: bytes) -> bool:
        """Writes ``popular``, ``gone`` or ``status`` by the same rule, for good."""
        return self._write_keys([self._shared(name).encode()], [payload], [0])[0]

    def read_shared(self, name: str) -> bytes | None:
        """Reads ``popular``, ``gone`` or ``status`` as written; None where it is not there."""
        key = self._shared(name)
        try:
            return cast("bytes | None", self._client.get(key))
        except redis.RedisError as error:
            raise self._failed(f"reading {key}", error) from error

    def read(self, user_id: str) -> RecommendationList | None:
        """The list as a reader gets it, in one round trip: withdrawn items dropped, ``popular`` where the user has none.

        Raises StoreError where the server is away, or a key holds what is none of ours.
        """
        # A lone surrogate has no UTF-8: such an id gets bytes that no writer can have written, and so the popular list.
        stored = user_id if self._pseudonyms is None else self._pseudonyms.of(user_id)
        key = f"{self._prefix}rec:".encode() + stored.encode("utf-8", "surrogatepass")
        where = repr(key.decode("utf-8", "replace"))
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for one in (key, self._shared("gone"), self._shared("popular")):
                    pipeline.get(one)
                own, gone, popular = pipeline.execute()
        except redis.RedisError as error:
            raise self._failed(f"reading the list of {where}", error) from error
        withdrawn = self._withdrawn(gone)
        return served(user_id, (own, f"key {where}"), (popular, f"key {self._shared('popular')!r}"), withdrawn)

    def delete_namespace(self) -> int:
        """Deletes every key of the namespace, for a fresh start; returns how many. Not atomic: meant while nobody writes."""
        deleted = 0
        try:
            keys: list[bytes] = []
            for key in self._client.scan_iter(match=f"{self._prefix}*", count=_DELETE_KEYS):
                keys.append(key)
                if len(keys) == _DELETE_KEYS:
                    deleted += self._client.unlink(*keys)
                    keys = []
            if keys:
                deleted += self._client.unlink(*keys)
        except redis.RedisError as error:
            raise self._failed(f"deleting {self._prefix}*", error) from error
        return deleted

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _connect(self, url: str) -> redis.Redis:
        try:
            # One retry, at once, for connections that a restarted server has closed; timeouts are not multiplied.
            return redis.Redis.from_url(
                url,
                socket_timeout=self._timeout_ms / 1000,
                socket_connect_timeout=self._timeout_ms / 1000,
                retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            )
        except ValueError:
            # Not chained: the parser's error may quote a part of the password.
            message = f"redis.url (STREAMER_REDIS__URL) is no Redis URL: {self._shown}; expected redis://[user:password@]host:port/db, rediss:// or unix://"
            raise StoreError(message) from None

    def _write_keys(self, keys: Sequence[bytes], payloads: Sequence[bytes], lives_s: Sequence[int]) -> list[bool]:
        if not len(keys) == len(payloads) == len(lives_s):
            raise ValueError(
                f"{len(keys)} keys, {len(payloads)} payloads, {len(lives_s)} times to live: expected one of each a key"
            )
        for payload in payloads:
            version_of(payload)
        try:
            return [
                bool(bit)
                for bit in self._write(keys=keys, args=[part for pair in zip(lives_s, payloads, strict=True) for part in pair])
            ]
        except redis.RedisError as error:
            raise self._failed(f"writing {len(keys)} keys {self._prefix}*", error) from error

    def _withdrawn(self, payload: bytes | None) -> frozenset[str]:
        known = self._gone
        if payload != known[0]:
            known = self._gone = (payload, parse_gone(payload, f"key {self._shared('gone')!r}"))
        return known[1]

    def _shared(self, name: str) -> str:
        if name not in SHARED:
            raise ValueError(f"no shared key {name!r}: expected one of {', '.join(SHARED)}")
        return self._prefix + name

    def _failed(self, doing: str, error: redis.RedisError) -> StoreError:
        return StoreError(f"{doing} at {self._shown} (redis.url, STREAMER_REDIS__URL): {error}; {advice(error)}")


def masked(url: str) -> str:
    """The URL with its passwords replaced, fit for messages and logs.

    >>> masked("redis://reader:secret@cache:6379/0")
    'redis://reader:***@cache:6379/0'
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "(not shown: it has no scheme)"
    credentials, at, place = rest.rpartition("@")
    user = credentials.partition(":")[0]
    place, _, query = place.partition("?")
    pairs = [(name, "***" if "pass" in name.lower() else value) for name, value in parse_qsl(query)]
    return f"{scheme}://{user + ':***@' if at else ''}{place}{'?' + urlencode(pairs, safe='*') if pairs else ''}"


def advice(error: redis.RedisError) -> str:
    """What to check after an error of the server's or of the connection's."""
    for kinds, words, text in _ADVICE:
        if isinstance(error, kinds) and any(word in str(error) for word in words):
            return text
    return "see the server's log"


_ANY = ("",)
_ADVICE: tuple[tuple[Any, tuple[str, ...], str], ...] = (
    (
        redis.exceptions.NoPermissionError,
        _ANY,
        "the user's ACL lacks a command or key; it needs GET, SET, GETRANGE, EVALSHA, SCRIPT|LOAD on NS:v1:*",
    ),
    (redis.exceptions.AuthenticationError, _ANY, "check user and password in the URL"),
    (redis.exceptions.AuthenticationWrongNumberOfArgsError, _ANY, "check user and password in the URL"),
    (redis.exceptions.ReadOnlyError, _ANY, "this is a replica; point the URL at the primary"),
    (redis.exceptions.BusyLoadingError, _ANY, "the server is still loading its data; it will answer when it is done"),
    (
        redis.exceptions.OutOfMemoryError,
        _ANY,
        "the server is at maxmemory; raise it, or lower redis.ttl_s; an eviction policy would drop lists",
    ),
    (
        redis.exceptions.TimeoutError,
        _ANY,
        "no answer within redis.timeout_ms; look for a blocked or overloaded server, or a network that drops packets",
    ),
    (redis.exceptions.MaxConnectionsError, _ANY, "too many connections of this process"),
    (redis.exceptions.ConnectionError, ("max number of clients",), "the server has too many clients; raise its maxclients"),
    (
        redis.exceptions.ConnectionError,
        _ANY,
        "check that the server runs, its address and port, and that nothing blocks the way",
    ),
    (redis.exceptions.ResponseError, ("NOREPLICAS",), "too few replicas are in step for min-replicas-to-write; restore them"),
    (redis.exceptions.ResponseError, ("MISCONF",), "the server cannot write its own files and refuses; check its disk"),
    (redis.exceptions.ClusterCrossSlotError, _ANY, "this is a Redis Cluster; set redis.batch_lists_max to 1"),
    (
        redis.exceptions.AskError,
        _ANY,
        "this is a Redis Cluster, which this client does not follow; use a proxy or a single server",
    ),
    (redis.exceptions.ResponseError, ("WRONGTYPE",), "the key holds another type; see what else writes there"),
    (redis.exceptions.ResponseError, ("unknown command",), "the server lacks scripts; expected Redis 6, Valkey 7.2 or later"),
)
"""Most particular first: several of the kinds are subclasses of ConnectionError or ResponseError."""
