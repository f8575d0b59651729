"""What a Redis or Valkey server says of itself, for those who look whether it is fit."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import redis

from consumers.redis_store import advice, masked
from streamer.ports import StoreError


class ServerFacts(NamedTuple):
    """Its name with its version, and whether it may drop lists to make room: the policy, None where it drops nothing."""

    version: str
    evicts_by: str | None


def server_facts(url: str, timeout_ms: int) -> ServerFacts:
    """Asks the server once. Raises StoreError where it is away, refuses, or the URL is none."""
    try:
        with contextlib.closing(
            redis.Redis.from_url(url, socket_timeout=timeout_ms / 1000, socket_connect_timeout=timeout_ms / 1000)
        ) as client:
            server, memory = client.info("server"), client.info("memory")
    except ValueError:
        # Not chained: the parser's error may quote a part of the password.
        raise StoreError(f"redis.url (STREAMER_REDIS__URL) is no Redis URL: {masked(url)}") from None
    except redis.RedisError as error:
        raise StoreError(f"{masked(url)} (redis.url, STREAMER_REDIS__URL): {error}; {advice(error)}") from error
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    bounded = bool(memory.get("maxmemory")) and policy != "noeviction"
    name = "Valkey" if "valkey_version" in server else "Redis"
    return ServerFacts(f"{name} {server.get('valkey_version', server.get('redis_version'))}", policy if bounded else None)
