"""What every Kafka client of ours shares: settings, security, and words for a broker that does not answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from kafka.errors import (
    AuthorizationError,
    BrokerResponseError,
    IllegalStateError,
    KafkaConfigurationError,
    KafkaError,
    RetriableError,
    SaslAuthenticationFailedError,
)
from kafka.net.compat import KafkaNetClient

from streamer.config.tree import Kafka
from streamer.ports import LogError, TopicsMissingError

CONNECT_TIMEOUT_MS = 5_000
"""How long a client looks for a first broker before it reports that none answers; at most ``kafka.request_timeout_ms``."""
RECONNECT_BACKOFF_MS_MAX = 2_000
"""A broker that comes back is noticed within this time."""

Client = TypeVar("Client")


def open_client(kind: Callable[..., Client], kafka: Kafka, *, networks: list[Any] | None = None, **settings: Any) -> Client:
    """A connected client of ``kind`` (consumer, producer, admin); its network client is appended to ``networks``.

    Raises:
        LogError: nobody answers at ``kafka.bootstrap_servers`` (retriable), or the settings are refused (not retriable).
    """
    made = [] if networks is None else networks

    def make_network(**configs: Any) -> Any:
        made.append(KafkaNetClient(**configs))
        return made[-1]

    try:
        return kind(kafka_client=make_network, **client_settings(kafka), **settings)
    except (KafkaError, OSError, ValueError) as error:
        # a constructor that fails leaves its network thread running; each new attempt would add one
        for network in made:
            with contextlib.suppress(KafkaError, OSError):
                network.close()
        raise explained(kafka, error) from error


def client_settings(kafka: Kafka) -> dict[str, Any]:
    """Keyword arguments that kafka-python's clients have in common.

    Raises:
        LogError: the password's file cannot be read, or two passwords are given.
    """
    settings: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap_servers.split(",")],
        "bootstrap_timeout_ms": min(CONNECT_TIMEOUT_MS, kafka.request_timeout_ms),
        "request_timeout_ms": kafka.request_timeout_ms,
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MS_MAX,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.startswith("SASL"):
        settings |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": password(kafka),
        }
    if kafka.security_protocol.endswith("SSL"):
        names = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
        settings |= {name: getattr(kafka, name) for name in names}
    return settings


def password(kafka: Kafka) -> str | None:
    """The password, from the configuration or from its file. Raises LogError where both are named, or the file can't be read."""
    if kafka.sasl_password_file is None:
        return kafka.sasl_password
    if kafka.sasl_password is not None:
        raise LogError("kafka.sasl_password and kafka.sasl_password_file are both set; keep one of them", retriable=False)
    try:
        return Path(kafka.sasl_password_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise LogError(
            f"kafka.sasl_password_file names {kafka.sasl_password_file}, which cannot be read ({error.strerror}); "
            "expected a file that holds the password alone",
            retriable=False,
        ) from error


def explained(kafka: Kafka, error: Exception) -> LogError:
    """The same error in words that name the address, the setting, and what to check."""
    where = f"Kafka at {kafka.bootstrap_servers} (kafka.bootstrap_servers, STREAMER_KAFKA__BOOTSTRAP_SERVERS)"
    if isinstance(error, KafkaConfigurationError | ValueError | IllegalStateError):
        return LogError(f"{where} cannot be used with these settings: {error}; check the section [kafka]", retriable=False)
    if isinstance(error, SaslAuthenticationFailedError):
        return LogError(
            f"{where} refused the login of user {kafka.sasl_username!r}: {error}; "
            "check kafka.sasl_mechanism, kafka.sasl_username and the password",
            retriable=False,
        )
    if isinstance(error, AuthorizationError):
        return LogError(
            f"{where} does not allow this: {error}; check the ACLs of user {kafka.sasl_username!r}", retriable=False
        )
    if isinstance(error, BrokerResponseError):
        return LogError(f"{where} refused: {error}", retriable=isinstance(error, RetriableError))
    login = ""
    if kafka.security_protocol.startswith("SASL"):  # the client says nothing else of a login that was refused
        login = f", and that mechanism and password of user {kafka.sasl_username!r} are those of the broker"
    return LogError(
        f"{where} does not answer: {error}; check that the broker runs, that the address and port are right, "
        f"and that kafka.security_protocol (now {kafka.security_protocol}) is what its listener speaks{login}",
        retriable=isinstance(error, RetriableError | OSError),
    )


def missing_topics(kafka: Kafka, names: Iterable[str]) -> TopicsMissingError:
    """The error that names the missing topics and the command that makes them."""
    return TopicsMissingError(
        f"topics {', '.join(sorted(names))} do not exist on Kafka at {kafka.bootstrap_servers}; "
        f"make them with: streamer topics create (kafka.topic_prefix is {kafka.topic_prefix!r})"
    )


@contextlib.contextmanager
def explaining(kafka: Kafka) -> Iterator[None]:
    """Turns errors of the client into LogError with the address and what to check."""
    try:
        yield
    except KafkaError as error:
        raise explained(kafka, error) from error
