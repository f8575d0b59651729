"""Users under pseudonyms: what takes the place of an id, and that nothing of it is left."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config.load import ConfigError, load, public_dict
from streamer.events.codec import InvalidEventError, decode_events
from streamer.events.forget import decode_forget, encode_forget
from streamer.events.model import EVENTS, FORGET, ITEMS, Forget
from streamer.events.pseudonyms import Pseudonyms
from streamer.ports import OutRecord
from streamer.ports.pseudonymous import pseudonymous

KEY = "a key of at least 32 characters, or so"
HIDDEN = Pseudonyms(KEY, "k1")
IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """As RFC 2104 has it."""
    block = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()


@given(user=IDS)
def test_a_pseudonym_is_the_keyed_hash_of_the_id_and_its_own(user: str) -> None:
    expected = "k1." + base64.urlsafe_b64encode(hmac_sha256(KEY.encode(), user.encode())).decode().rstrip("=")
    assert HIDDEN.of(user) == expected
    assert HIDDEN.of(expected) == expected
    assert Pseudonyms(KEY[:-1] + "O", "k1").of(user) != expected
    assert Pseudonyms(KEY, "k2").of(user)[3:] == expected[3:]


@given(user=IDS, session=st.none() | IDS, price=st.floats(0, 1e6))
def test_only_the_user_of_an_event_changes(user: str, session: str | None, price: float) -> None:
    event: dict[str, Any] = {"type": "click", "user_id": user, "item_id": "i1", "timestamp": 1_795_485_458_344}
    event |= {"session_id": session, "price": price}
    key, value = HIDDEN.of_record(EVENTS, user.encode(), json.dumps(event).encode())
    assert key == HIDDEN.of(user).encode()
    assert json.loads(value or b"") == event | {"user_id": HIDDEN.of(user)}
    assert HIDDEN.of_record(EVENTS, key, value) == (key, value)
    assert decode_events([value]).rejects == []


def test_requests_to_forget_are_of_the_pseudonym_and_items_stay_as_they_are() -> None:
    hidden = HIDDEN.of("u1")
    for value in (encode_forget(Forget("u1", 1_795_485_458_344))[1], b"", None, b"{}"):
        request = decode_forget(*HIDDEN.of_record(FORGET, b"u1", value))
        assert isinstance(request, Forget)
        assert request.user_id == hidden
    assert HIDDEN.of_record(ITEMS, b"u1", b'{"user_id": "u1"}') == (b"u1", b'{"user_id": "u1"}')


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"userId": "u1"}', b'{"user_id": 7}', b'{"user_id": "\xff"}', None])
def test_what_may_hold_an_id_anywhere_is_refused(value: bytes | None) -> None:
    with pytest.raises(InvalidEventError, match="can't be hidden"):
        HIDDEN.of_record(EVENTS, b"u1", value)


def test_who_sends_is_told_of_the_record_that_he_gave() -> None:
    told: list[tuple[OutRecord, Exception | None]] = []
    given_ = OutRecord(EVENTS, b"u1", b'{"user_id": "u1"}')
    sent, on_done = pseudonymous(HIDDEN, given_, lambda *one: told.append(one))
    assert b"u1" not in (sent.key or b"") + (sent.value or b"").replace(b"user_id", b"")
    assert on_done is not None
    on_done(sent, None)
    assert told == [(given_, None)]


def test_keys_are_checked_and_shown_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    config = load(None, {"STREAMER_PRIVACY__USER_KEY_FILE": str(path)})
    assert config.privacy.user_key == KEY
    assert KEY not in f"{config} {public_dict(config)}"
    for settings, said in {
        (("USER_KEY", "short"),): "has 5 characters, expected 32 or more",
        (("USER_KEY", KEY), ("USER_KEY_ID", "k.1")): "expected 1 to 16 letters and digits",
        (("USER_KEY", KEY), ("FORMER_USER_KEY", KEY), ("FORMER_USER_KEY_ID", "k1")): "of another id",
        (("FORMER_USER_KEY", KEY),): "of another id",
        (("USER_KEY", KEY), ("USER_KEY_FILE", str(path))): "both set",
    }.items():
        with pytest.raises(ConfigError, match=said) as refused:
            load(None, {f"STREAMER_PRIVACY__{name}": value for name, value in settings})
        assert KEY not in str(refused.value)
