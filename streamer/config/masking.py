"""What may be shown of a value: secrets never reach a log, a message or a manifest."""

from __future__ import annotations

import re

_MASK = "***"
_SECRET_NAMES = frozenset({"sasl_password", "api_key", "token"})
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^:@/?#]*):.*@")
_PASSWORD_IN_QUERY = re.compile(r"(?<=[?&]password=)[^&#]*", re.IGNORECASE)


def masked(name: str, value: object) -> object:
    """The value of the field ``name`` as it may be shown: a secret, or a password in a URL, as ``***``.

    >>> masked("url", "rediss://me:secret@cache:6379/0"), masked("sasl_password", "secret"), masked("port", 80)
    ('rediss://me:***@cache:6379/0', '***', 80)
    """
    if name in _SECRET_NAMES:
        return value if value is None else _MASK
    if isinstance(value, str) and "://" in value:
        return _PASSWORD_IN_QUERY.sub(_MASK, _PASSWORD_IN_URL.sub(rf"\1:{_MASK}@", value))
    return value
