"""The configuration from its sources: defaults, then a TOML file, then the environment, then the command line."""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from streamer.config.keys import PREFIX, Key, all_keys
from streamer.config.masking import masked
from streamer.config.tree import Config

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,100}")

_LOWEST: dict[str, float] = {
    "seed": 0,
    "kafka.replication_factor": -1,
    "http.port": 0,
    "gateway.port": 0,
    "windows.lateness_ms_max": 0,
    "windows.clock_ahead_ms_max": 0,
    "signals.weight_view": 0,
    "signals.weight_click": 0,
    "signals.weight_cart": 0,
    "signals.weight_purchase": 0,
    "head.judged_first": 0,
    "ranking.publish_ms": 0,
    "ranking.reasons": 0,
    "ranking.reasons_bytes_max": 0,
    "ranking.provider_exposure_min": 0,
    "ranking.diversity": 0,
    "ranking.sweep_users_per_s": 0,
    "windows.users_max": 100,
    "catalog.items_max": 10_000,
}
"""Bounds of numbers, where that is not "more than 0". Open blocks and recent targets hold several thousand items that can't be evicted."""

_HIGHEST: dict[str, float] = {
    "seed": 2**63 - 1,
    "http.port": 65_535,
    "gateway.port": 65_535,
    "windows.history_items_max": 2_048,
    "signals.neighbours_max": 4_096,
    "signals.journal_interactions_max": 1 << 28,
    "head.block_records": 256,
    "ranking.provider_exposure_min": 1,
    "ranking.reasons": 3,
    "ranking.diversity": 0.9,
}
_USER_KEY_CHARS_MIN = 32
_USER_KEY_ID = re.compile(r"[A-Za-z0-9]{1,16}")
_SECRET_BYTES_MAX = 65_536
_TOKEN_CHARS_MIN = 16
_API_KEY = re.compile(r"[!-~]+")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s,]+/?")
"""Not ``null``: that is what every sandboxed frame and every local file says it is."""


class ConfigError(ValueError):
    """The configuration cannot be used; the message names the key, where it came from, and what to do."""


class _Given(NamedTuple):
    """A value as a source gave it."""

    key: Key
    value: object
    source: str
    text: bool
    """From the environment, where all is text."""


def load(toml_path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Config:
    """The whole tree, checked: overrides win over the environment, the environment over the file, the file over defaults.

    Args:
        toml_path: a TOML file with a table a section; None for none.
        environ: variables; each that begins with ``STREAMER_`` must be known.
        overrides: values by ``section.key``; text among them is read as in the environment.

    Raises:
        ConfigError: unreadable file, unknown key, wrong type, value out of its range.

    """
    keys = all_keys()
    given = {
        found.key.name: found  # later sources replace earlier ones
        for found in (
            *_from_toml(toml_path, keys),
            *_from_variables(environ, keys),
            *_from_overrides(overrides or {}, keys),
        )
    }
    return _with_secret_files(_built(given.values()))


def from_environment(toml_path: Path | None = None, overrides: Mapping[str, object] | None = None) -> Config:
    """The configuration of this process: the one place in the core that reads the environment. Raises ConfigError."""
    return load(toml_path, os.environ, overrides)


def public_dict(config: Config) -> dict[str, Any]:
    """The tree as plain values with secrets masked, fit for logs and manifests."""
    plain: dict[str, Any] = {}
    for key in all_keys().values():
        holder = getattr(config, key.section) if key.section else config
        target = plain.setdefault(key.section, {}) if key.section else plain
        target[key.field] = masked(key.field, getattr(holder, key.field))
    return plain


def _from_toml(path: Path | None, keys: Mapping[str, Key]) -> Iterator[_Given]:
    if path is None:
        return
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: the configuration file cannot be read: {error.strerror}; check its path and mode"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no valid TOML: {error}") from error
    tables = {key.section for key in keys.values()} - {""}
    for name, value in document.items():
        if isinstance(value, dict) and name not in keys:
            for inner, found in value.items():
                yield _Given(_known(f"{name}.{inner}", keys, str(path)), found, str(path), text=False)
        elif name in tables:
            raise ConfigError(f"{path}: {name} is {_kind(value)}, expected a table: write [{name}] and its keys under it")
        else:
            yield _Given(_known(name, keys, str(path)), value, str(path), text=False)


def _from_variables(environ: Mapping[str, str], keys: Mapping[str, Key]) -> Iterator[_Given]:
    by_variable = {key.environment: key for key in keys.values()}
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        if name not in by_variable:
            hint = _nearest(name, by_variable)
            raise ConfigError(f"the environment variable {name} is unknown{hint}; correct or unset it")
        yield _Given(by_variable[name], environ[name], f"the environment variable {name}", text=True)


def _from_overrides(overrides: Mapping[str, object], keys: Mapping[str, Key]) -> Iterator[_Given]:
    source = "the command line"
    for name, value in overrides.items():
        yield _Given(_known(name, keys, source), value, source, text=isinstance(value, str))


def _known(name: str, keys: Mapping[str, Key], source: str) -> Key:
    if name in keys:
        return keys[name]
    raise ConfigError(f"{source}: the key {name} is unknown{_nearest(name, keys)}; correct or remove it")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f", the nearest known one is {near[0]}" if near else ""


def _built(given: Iterable[_Given]) -> Config:
    top: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    for found in given:
        target = tables.setdefault(found.key.section, {}) if found.key.section else top
        target[found.key.field] = _converted(found)
    base = Config()
    changed = {name: msgspec.structs.replace(getattr(base, name), **values) for name, values in tables.items()}
    return msgspec.structs.replace(base, **top, **changed)


def _converted(found: _Given) -> object:
    key, value = found.key, found.value
    if found.text and value == "" and type(None) in typing.get_args(key.type):
        return None  # an empty variable is how a compose file says "unset"
    if isinstance(value, bool) and typing.get_origin(key.type) is Literal:
        value = str(value).lower()  # TOML has booleans where a choice has the words "true" and "false"
    try:
        converted = msgspec.convert(value, key.type, strict=not found.text)
    except msgspec.ValidationError as error:
        raise ConfigError(_wrong(found, f"expected {key.expected}")) from error
    _check_range(found, converted)
    return converted


def _check_range(found: _Given, value: object) -> None:
    name = found.key.name
    if name == "namespace" and not _NAMESPACE.fullmatch(str(value)):
        raise ConfigError(_wrong(found, "expected 1 to 100 letters, digits, dots, underscores or hyphens"))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise ConfigError(_wrong(found, "expected a finite number"))
    lowest = _LOWEST.get(name, 0)
    if value < lowest or (value == 0 and _LOWEST.get(name) != 0):
        at_least = f"at least {lowest}" if name in _LOWEST else "more than 0"
        raise ConfigError(_wrong(found, f"expected {at_least}" + (" and not 0" if lowest < 0 else "")))
    if value > _HIGHEST.get(name, math.inf):
        raise ConfigError(_wrong(found, f"expected at most {_HIGHEST[name]}"))


def _wrong(found: _Given, expected: str) -> str:
    shown = masked(found.key.field, found.value)
    return f"{found.source}: {found.key.name} is {shown!r} ({_kind(found.value)}), {expected}"


def _kind(value: object) -> str:
    kinds = {str: "text", bool: "a boolean", int: "an integer", float: "a number", dict: "a table", list: "an array"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _with_secret_files(config: Config) -> Config:
    password = _secret("kafka.sasl_password", config.kafka.sasl_password, config.kafka.sasl_password_file, "the password")
    api_key = _secret("gateway.api_key", config.gateway.api_key, config.gateway.api_key_file, "the key")
    token = _secret("http.token", config.http.token, config.http.token_file, "the token")
    _check_gateway(api_key, config.gateway.cors_origins)
    if token is not None and not (_API_KEY.fullmatch(token) and len(token) >= _TOKEN_CHARS_MIN):
        raise ConfigError(
            f"http.token can be guessed or cannot stand in a header: expected at least {_TOKEN_CHARS_MIN} characters, printable ASCII "
            "without spaces; `openssl rand -hex 16` makes one"
        )
    privacy = config.privacy
    user_key = _secret("privacy.user_key", privacy.user_key, privacy.user_key_file, "the key")
    former = _secret("privacy.former_user_key", privacy.former_user_key, privacy.former_user_key_file, "the key")
    _check_user_keys((user_key, privacy.user_key_id), (former, privacy.former_user_key_id))
    return msgspec.structs.replace(
        config,
        kafka=msgspec.structs.replace(config.kafka, sasl_password=password),
        gateway=msgspec.structs.replace(config.gateway, api_key=api_key),
        http=msgspec.structs.replace(config.http, token=token),
        privacy=msgspec.structs.replace(privacy, user_key=user_key, former_user_key=former),
    )


def _check_gateway(api_key: str | None, cors_origins: str) -> None:
    if api_key is not None and not _API_KEY.fullmatch(api_key):
        raise ConfigError("gateway.api_key cannot stand in a header: expected printable ASCII without spaces")
    for origin in filter(None, map(str.strip, cors_origins.split(","))):
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(f"gateway.cors_origins names {origin!r}, expected https://host, http://host:port, or * for any")


def _check_user_keys(present: tuple[str | None, str], former: tuple[str | None, str]) -> None:
    for name, (key, key_id) in {"user_key": present, "former_user_key": former}.items():
        if key is not None and len(key) < _USER_KEY_CHARS_MIN:
            found = f"privacy.{name} has {len(key)} characters, expected {_USER_KEY_CHARS_MIN} or more"
            raise ConfigError(f"{found}: a short key can be guessed; make one with `openssl rand -hex 32`")
        if not _USER_KEY_ID.fullmatch(key_id):
            raise ConfigError(f"privacy.{name}_id is {key_id!r}, expected 1 to 16 letters and digits")
    if former[0] is not None and (present[0] is None or present[1] == former[1]):
        raise ConfigError(
            "privacy.former_user_key goes with a privacy.user_key of another id: expected privacy.user_key_id and "
            "privacy.former_user_key_id to differ"
        )


def _secret(name: str, given: str | None, path: str | None, what: str) -> str | None:
    """The secret as given, or from its file; ``name`` is the key of the former, with ``_file`` that of the latter."""
    if path is None:
        return given
    if given is not None:
        raise ConfigError(f"{name} and {name}_file are both set: keep one of them")
    try:
        with Path(path).open(encoding="utf-8") as file:
            secret = file.read(_SECRET_BYTES_MAX).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "no UTF-8"
        raise ConfigError(f"{name}_file: {path} cannot be read: {problem}; check its path and mode") from None
    if not secret:
        raise ConfigError(f"{name}_file: {path} is empty, expected {what}")
    return secret
