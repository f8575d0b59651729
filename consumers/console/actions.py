"""What the console does where a token is set: freeze, unfreeze, roll back, redrive; the last two only after a dry run of the same.

Words go onto the topic ``control``, as those of the commands do, so they hold over restarts and takeovers.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import msgspec

from consumers.console.lookup import CannotAnswer
from consumers.dead_topic import Selection
from consumers.operating import append_control, append_rollback, complete_snapshot, redriven, would_restore
from consumers.owner import Owner
from streamer.config.tree import Config
from streamer.events.control import Control, Freeze, Rollback, Unfreeze
from streamer.events.model import CONTROL, RejectReason
from streamer.ports import Clock, LogError, SnapshotStore
from streamer.snapshots import StructureDiffers
from streamer.snapshots.manifest import SnapshotDamaged, read_manifest

logger = logging.getLogger(__name__)

APPLIED_S_MAX = 10.0
"""How long an action waits to see that the owner did it."""
LOOK_S = 0.05
LETTERS_MAX = 10_000
"""Sent again by one redrive of the console; the command has no such bound."""
CONFIRM_S = 600.0
"""How long a dry run lets the real one follow."""

Text = Annotated[str, msgspec.Meta(max_length=500)]
Name = Annotated[str, msgspec.Meta(max_length=200)]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request; each action takes some of it."""

    by: Name = ""
    reason: Text = ""
    snapshot: Name = ""
    reasons: tuple[RejectReason, ...] = ()
    """Of the letters to be sent again; empty: of any."""
    confirm: Name = ""
    """What the dry run answered; empty: a dry run."""


class Actions:
    """One at a time. Each returns what was done, in plain values; raises CannotAnswer where it was not."""

    def __init__(self, owner: Owner, snapshots: SnapshotStore, config: Config, clock: Clock) -> None:
        self._owner = owner
        self._snapshots = snapshots
        self._config = config
        self._clock = clock
        self._busy = threading.Lock()
        self._confirmed: dict[str, tuple[float, Asked]] = {}
        self.all: dict[str, Callable[[Asked], dict[str, Any]]] = {
            "freeze": self._freeze,
            "unfreeze": self._unfreeze,
            "rollback": self._rollback,
            "redrive": self._redrive,
        }

    def do(self, name: str, body: bytes, address: str) -> dict[str, Any]:
        """Does it. Raises CannotAnswer."""
        try:
            asked = msgspec.json.decode(body, type=Asked)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CannotAnswer(f"the body cannot be read: {error}", HTTPStatus.BAD_REQUEST) from error
        if not self._busy.acquire(blocking=False):
            raise CannotAnswer("another action is under way: wait for its end", HTTPStatus.CONFLICT)
        try:
            logger.warning("console: %s asked for by %r from %s: %r", name, asked.by, address, asked)
            return self.all[name](asked)
        except LogError as error:
            raise CannotAnswer(f"the log: {error}") from error
        except (SnapshotDamaged, StructureDiffers, ValueError) as error:
            raise CannotAnswer(str(error), HTTPStatus.CONFLICT) from error
        except OSError as error:
            raise CannotAnswer(f"the store of snapshots: {error}") from error
        finally:
            self._busy.release()

    def _freeze(self, asked: Asked) -> dict[str, Any]:
        return self._sent(Freeze(asked.reason, asked.by, self._clock.now_ms()), "learning is frozen")

    def _unfreeze(self, asked: Asked) -> dict[str, Any]:
        return self._sent(Unfreeze(asked.reason, asked.by, self._clock.now_ms()), "learning goes on")

    def _sent(self, word: Control, done: str) -> dict[str, Any]:
        offset = append_control(self._config, word)
        return self._told(offset, done)

    def _told(self, offset: int, done: str) -> dict[str, Any]:
        applied = self._wait_applied(offset)
        place = f"{CONTROL}[0]:{offset - 1}"
        said = done if applied else "it is on the log, and the owner does it when it reads it"
        return {"done": True, "applied": applied, "at": place, "text": f"{said} ({place})"}

    def _wait_applied(self, offset: int) -> bool:
        until_s = time.monotonic() + (APPLIED_S_MAX if self._owner.questions is not None else 0.0)
        while not (reached := self._reached() >= offset) and time.monotonic() < until_s:
            time.sleep(LOOK_S)
        return reached

    def _reached(self) -> int:
        return self._owner.status().offsets.get(CONTROL, {}).get("0", 0)

    def _rollback(self, asked: Asked) -> dict[str, Any]:
        if not asked.snapshot:
            raise CannotAnswer("which snapshot? Choose one of the list", HTTPStatus.BAD_REQUEST)
        saved = complete_snapshot(self._snapshots, asked.snapshot)
        if not asked.confirm:
            return self._would_roll_back(asked)
        self._require_confirmed(asked)
        before = self._owner.status().epoch
        word = Rollback(saved.name, asked.reason, asked.by, self._clock.now_ms())
        told = self._told(
            append_rollback(self._config, self._snapshots, word), f"what was learned is back at snapshot {saved.name}"
        )
        if told["applied"] and before is not None and self._owner.status().epoch == before:
            raise CannotAnswer(
                "the owner read it and did not do it: its log and events.dead (reason engine_error) say why",
                HTTPStatus.CONFLICT,
            )
        return told

    def _would_roll_back(self, asked: Asked) -> dict[str, Any]:
        present = self._owner.status().snapshot
        if present is None:
            raise CannotAnswer("this worker has no snapshot in force to compare with: ask the owner", HTTPStatus.CONFLICT)
        found = would_restore(
            self._snapshots, read_manifest(self._snapshots, asked.snapshot), read_manifest(self._snapshots, present)
        )
        text = (
            f"would restore the gate and both towers as of block {found.head_step:,} (now {found.head_step_now:,}), and the free vectors "
            f"of {found.items_restored:,} of {found.items:,} items; counts and windows stay, every list is written anew"
        )
        return {"done": False, "confirm": self._confirmable(asked), "text": text, **found._asdict()}

    def _redrive(self, asked: Asked) -> dict[str, Any]:
        if asked.confirm:
            self._require_confirmed(asked)
        selection = Selection(frozenset(one.value for one in asked.reasons))
        report, _ = redriven(self._config, selection, LETTERS_MAX, dry_run=not asked.confirm)
        left = "; ".join(f"{count:,} {cause}" for cause, count in report.left.items())
        text = f"{report.sent:,} of {report.letters:,} letters {'sent again' if asked.confirm else 'would be sent again'}"
        text += f"; {report.rejected_again:,} records would be rejected again" * bool(report.rejected_again)
        text += f"; {report.late:,} events are too late to change anything" * bool(report.late)
        text += f"; not sent: {left}" * bool(left)
        confirm = {} if asked.confirm else {"confirm": self._confirmable(asked)}
        return {"done": bool(asked.confirm), "text": text, **confirm, "report": dataclasses.asdict(report)}

    def _confirmable(self, asked: Asked) -> str:
        """A word that lets the same be done in earnest, once, for a while."""
        now_s = time.monotonic()
        self._confirmed = {word: one for word, one in self._confirmed.items() if one[0] > now_s - CONFIRM_S}
        while len(self._confirmed) >= 16:
            del self._confirmed[next(iter(self._confirmed))]
        word = secrets.token_hex(8)
        self._confirmed[word] = (now_s, asked)
        return word

    def _require_confirmed(self, asked: Asked) -> None:
        at_s, before = self._confirmed.pop(asked.confirm, (0.0, None))
        same = before is not None and (before.snapshot, before.reasons) == (asked.snapshot, asked.reasons)
        if not same or time.monotonic() - at_s > CONFIRM_S:
            raise CannotAnswer("a dry run of the same comes first: run it, and confirm what it answers", HTTPStatus.CONFLICT)
