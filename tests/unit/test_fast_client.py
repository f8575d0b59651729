"""The optional client: what it is told, and what is said where it is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from consumers.membership import Membership
from streamer.config.tree import Kafka
from streamer.ports import LogError


def test_a_client_that_is_not_installed_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.delitem(sys.modules, "consumers.kafka_fast", raising=False)
    with pytest.raises(LogError, match=r"pip install 'streamer\[fast\]'") as caught:
        __import__("consumers.kafka_fast")
    assert not caught.value.retriable


def test_security_passes_through(tmp_path: Path) -> None:
    settings = pytest.importorskip("consumers.kafka_fast", exc_type=LogError).settings_of
    password = tmp_path / "password"
    password.write_text("sesame\n")
    kafka = Kafka(
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="streamer",
        sasl_password_file=str(password),
        ssl_cafile="/ca.pem",
        ssl_check_hostname=False,
    )
    assert settings(kafka, "g").items() >= {
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "streamer"),
        ("sasl.password", "sesame"),
        ("ssl.ca.location", "/ca.pem"),
        ("ssl.endpoint.identification.algorithm", "none"),
        ("isolation.level", "read_committed"),
        ("auto.offset.reset", "error"),
    }
    assert settings(Kafka(), "g").keys() & {"sasl.username", "ssl.ca.location"} == set()


def test_settings_that_librdkafka_refuses_are_explained() -> None:
    fast = pytest.importorskip("consumers.kafka_fast", exc_type=LogError)
    kafka = Kafka(security_protocol="SSL", ssl_cafile="/no/such/ca.pem")
    with pytest.raises(LogError, match=r"ssl.ca.location failed.*section \[kafka\]"):
        fast.FastFetch(kafka, None, Membership(exclusive=True), "g")
