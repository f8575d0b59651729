"""What operators write to the control topic, and what a record that is none of theirs becomes."""

import pytest

from streamer.events.control import Freeze, Rollback, Unfreeze, decode_control, encode_control
from streamer.events.model import Reject, RejectReason

NAME = "1795485458344-9f3c02aa"


@pytest.mark.parametrize(
    "control",
    [
        Freeze("drift after the sale", "ada", 1_795_485_458_344),
        Freeze(),
        Unfreeze("over", "ada", 1_795_485_458_344),
        Rollback(NAME, "bad weights", "ada", 1_795_485_458_344),
        Rollback(NAME),
    ],
)
def test_a_word_is_decoded_as_it_was_encoded(control):
    assert decode_control(encode_control(control)) == control


def test_unknown_fields_are_ignored_and_nulls_are_as_if_they_were_not_there():
    assert decode_control(b'{"action":"freeze","snapshot":null,"reason":null,"mood":3}') == Freeze()


@pytest.mark.parametrize(
    ("value", "reason", "said"),
    [
        (None, RejectReason.INVALID_JSON, "the value is null"),
        (b"{", RejectReason.INVALID_JSON, "no valid JSON"),
        (b"[]", RejectReason.WRONG_TYPE, "expected an object"),
        (b"{}", RejectReason.MISSING_FIELD, "action is missing"),
        (b'{"action":3}', RejectReason.WRONG_TYPE, "action is a JSON number"),
        (b'{"action":"stop"}', RejectReason.UNKNOWN_TYPE, "expected one of freeze, unfreeze, rollback"),
        (b'{"action":"rollback"}', RejectReason.MISSING_FIELD, "snapshot is missing"),
        (b'{"action":"rollback","snapshot":""}', RejectReason.BAD_ID, "snapshot has 0 bytes"),
        (b'{"action":"freeze","timestamp":"yesterday"}', RejectReason.BAD_TIMESTAMP, "timestamp"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_a_reason_and_words(value, reason, said):
    found = decode_control(value)
    assert isinstance(found, Reject)
    assert found.reason is reason
    assert said in found.error
