"""A RecommendationStore in memory, for simulations: the same rule, the same reading, a switch for being away."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.reader import parse_gone, served, version_of
from streamer.ports import RecommendationList, StoreError


class MemoryStore:
    """Keeps payloads in a dict; while ``away`` is set every call raises StoreError."""

    def __init__(self) -> None:
        self.payloads: dict[bytes, bytes] = {}
        self.unseen_s: dict[bytes, int] = {}
        """Of each user, as written last: nothing expires here."""
        self.away = False

    def write_lists(
        self, user_ids: Sequence[bytes], payloads: Sequence[bytes], unseen_s: Sequence[int] = (), *, erases: bool = False
    ) -> list[bool]:
        self.unseen_s.update(zip(user_ids, unseen_s, strict=False))
        pairs = zip((b"rec:" + user for user in user_ids), payloads, strict=True)
        return [(erases and self._get(key) is None) or self._write(key, payload) for key, payload in pairs]

    def write_shared(self, name: str, payload: bytes) -> bool:
        return self._write(name.encode(), payload)

    def read_shared(self, name: str) -> bytes | None:
        return self._get(name.encode())

    def read(self, user_id: str) -> RecommendationList | None:
        own = self._get(b"rec:" + user_id.encode("utf-8", "surrogatepass"))
        gone = parse_gone(self._get(b"gone"), "gone")
        return served(user_id, (own, "rec"), (self._get(b"popular"), "popular"), gone)

    def close(self) -> None:
        pass

    def _write(self, key: bytes, payload: bytes) -> bool:
        version = version_of(payload)
        old = self._get(key)
        if old is not None and version_of(old) > version:
            return False
        self.payloads[key] = payload
        return True

    def _get(self, key: bytes) -> bytes | None:
        if self.away:
            raise StoreError("the store is away; set away to False")
        return self.payloads.get(key)
