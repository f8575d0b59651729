"""The rights that docs/operations.md lists, read from its tables and granted on real servers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

OPERATIONS = Path(__file__).parent.parent / "docs" / "operations.md"
PASSWORD = "a-password"
TYPES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactional id": ResourceType.TRANSACTIONAL_ID}


class Right(NamedTuple):
    """One right of one user on one thing."""

    user: str
    resource: str
    name: str
    operation: str


def section(title: str) -> str:
    """The text under a heading of the page."""
    text = OPERATIONS.read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert found, f"{OPERATIONS.name} has no section {title!r}"
    return found[1]


def kafka_rights() -> Iterator[Right]:
    """Every right of the table, names as they stand there."""
    for line in section("Kafka ACLs").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1] in TYPES:
            user, resource, names, operations = cells
            for name in re.findall(r"`([^`]+)`", names):
                yield from (Right(user.strip("`"), resource, name, operation) for operation in operations.split(", "))


def grant(bootstrap: str, rights: Iterator[Right], namespace: str, prefix: str) -> None:
    """Makes an ACL of each on a broker where whoever comes may do that."""
    rules: list[Any] = []
    for right in rights:
        name = prefix + right.name if right.resource == "topic" else right.name
        name = name.replace("NAMESPACE", namespace).replace("PREFIX", prefix)
        operation = ACLOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", right.operation).upper()]
        pattern = ResourcePattern(TYPES[right.resource], name)
        rules.append(ACL(f"User:{right.user}", "*", operation, ACLPermissionType.ALLOW, pattern))
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        failed = admin.create_acls(rules)["failed"]
    assert not failed, failed


def redis_rules(namespace: str) -> list[list[str]]:
    """The arguments of every ``ACL SETUSER`` of the page."""
    lines = re.findall(r"^ACL SETUSER (.*)$", section("Redis ACLs"), flags=re.MULTILINE)
    return [line.replace("NAMESPACE", namespace).replace("PASSWORD", PASSWORD).split() for line in lines]
