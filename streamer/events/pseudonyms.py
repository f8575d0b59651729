"""Users under pseudonyms: a keyed hash of the id takes its place before a record is on the log, and whoever reads by id hashes it, too.

    pseudonym(u) = key id "." base64url(HMAC-SHA-256(key, u in UTF-8)), 43 characters behind the dot

(RFC 2104.) Without the key nobody can tell whose a pseudonym is, nor make the one of a known user; who has the key can do both. A
pseudonym of the present key is left as it is, so that a record that is sent again is the same.
"""

from __future__ import annotations

import base64
import hmac
import re

import msgspec

from streamer.events.codec import InvalidEventError
from streamer.events.model import EVENTS, FORGET, Reject, RejectReason

DIGEST_CHARS = 43
_FIELD = "user_id"
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_JSON = msgspec.json.Encoder()


class Pseudonyms:
    """Of one key.

    Args:
        key: the secret, 32 characters or more.
        key_id: stands in front of each pseudonym, so that those of another key can be told.
    """

    def __init__(self, key: str, key_id: str) -> None:
        self._key = key.encode()
        self._start = f"{key_id}."
        self._own = re.compile(rf"{re.escape(key_id)}\.[A-Za-z0-9_-]{{{DIGEST_CHARS}}}")

    def of(self, user_id: str) -> str:
        """The pseudonym of a user; of a pseudonym of this key itself.

        >>> Pseudonyms("0" * 32, "k1").of("u42")
        'k1.coaDIVW-GikW82MTPKn22FD8Jt554j3AAwVvZAwoY6I'
        """
        if self._own.fullmatch(user_id):
            return user_id
        digest = hmac.digest(self._key, user_id.encode("utf-8", "surrogatepass"), "sha256")
        return self._start + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def of_record(self, topic: str, key: bytes | None, value: bytes | None) -> tuple[bytes | None, bytes | None]:
        """Key and value of a record of ``topic`` as they may be on the log; those of other topics than events and forget as they are.

        Raises InvalidEventError where that can't be done: the id might stand anywhere in what is no JSON object with a ``user_id``.
        """
        if topic == FORGET:
            if key is None or not value:
                return self._of_bytes(key), value
            return self._of_bytes(key), self._of_value(value, required=False)
        if topic != EVENTS:
            return key, value
        return self._of_bytes(key), self._of_value(value or b"", required=True)

    def _of_bytes(self, user_id: bytes | None) -> bytes | None:
        if user_id is None:
            return None
        try:
            return self.of(user_id.decode()).encode()
        except UnicodeDecodeError:
            raise _refused(RejectReason.BAD_ID, "the key is not UTF-8, expected a user id") from None

    def _of_value(self, value: bytes, *, required: bool) -> bytes:
        try:
            fields = _FIELDS.decode(value)
            if _FIELD not in fields and not required:
                return value
            fields[_FIELD] = msgspec.Raw(_JSON.encode(self.of(_TEXT.decode(fields[_FIELD]))))
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
            found = f"no JSON object with the text {_FIELD} ({error})"
            raise _refused(
                RejectReason.MISSING_FIELD, f"{found}: users are pseudonyms (privacy.user_key), and whose it is can't be hidden"
            ) from None
        return _JSON.encode(fields)


def pseudonyms_of(key: str | None, key_id: str) -> Pseudonyms | None:
    """Those of a configured key, None where there is none."""
    return None if key is None else Pseudonyms(key, key_id)


def _refused(reason: RejectReason, error: str) -> InvalidEventError:
    return InvalidEventError(Reject(reason, error))
