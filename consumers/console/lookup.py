"""What the console answers when it is asked about a user, an item, dead letters or snapshots: state, store and log put together."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar

from consumers.compose import open_admin, open_reader, user_pseudonyms
from consumers.console import letters, looks
from consumers.console.documents import Documents
from consumers.operating import snapshot_row
from consumers.owner import Owner
from consumers.questions import NoAnswer
from consumers.words import parts_of
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.ports import LogAdmin, LogError, LogReader, RecommendationList, RecommendationStore, SnapshotStore, StoreError
from streamer.snapshots import list_snapshots

ANSWER_S = 2.0
"""How long a question waits for the fold."""
TITLES_S = 1.5
"""How long the first look waits for titles."""
LOG_S = 5.0
"""How long one look into the log waits for another."""
SNAPSHOTS_S = 5.0
"""How long a list of snapshots is good."""

Answer = TypeVar("Answer")


class CannotAnswer(Exception):  # noqa: N818 - says what is the case
    """What keeps the console from an answer, in words; ``status`` is that of HTTP."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE) -> None:
        super().__init__(message)
        self.status = status


class Lookup:
    """Reads, and never writes; every method is for any thread and waits a bounded time."""

    def __init__(self, owner: Owner, store: RecommendationStore, snapshots: SnapshotStore, config: Config) -> None:
        self._owner = owner
        self._store = store
        self._snapshots = snapshots
        self._config = config
        self._pseudonyms = user_pseudonyms(config)
        self._documents = Documents(lambda: (open_reader(config), open_admin(config)))
        self._log_lock = threading.Lock()
        self._log: tuple[LogReader, LogAdmin] | None = None
        self._listed: tuple[float, str | None, list[dict[str, object]]] = (0.0, None, [])

    def close(self) -> None:
        """Frees what is held."""
        self._documents.close()
        if self._log_lock.acquire(timeout=LOG_S):
            self._close_log()
            self._log_lock.release()

    def user(self, user_id: str) -> dict[str, Any]:
        """A user's window, his list as it is served with its reasons in words, and what it would be now. Raises CannotAnswer.

        ``user_id`` as readers know him, or the pseudonym under which the log has him.
        """
        stored = user_id if self._pseudonyms is None else self._pseudonyms.of(user_id)
        state, no_state = self._asked(looks.user(stored))
        served, store_error = self._served(user_id)
        self._documents.want(TITLES_S)
        mentioned: list[str | None] = []
        if state is not None:
            mentioned = [*state["now"], *(one["item_id"] for one in state["window"])]
        names = self._documents.titles({*mentioned, *_mentioned(served)})
        return {
            "user_id": user_id,
            "known": state is not None,
            "no_state": no_state,
            "state": state,
            "served": None if served is None else _list_in_words(served, names),
            "store_error": store_error,
            "titles": names,
            "floor": self._config.ranking.provider_exposure_min > 0.0,
        }

    def item(self, item_id: str) -> dict[str, Any]:
        """An item's document, counts and neighbours. Raises CannotAnswer."""
        state, no_state = self._asked(looks.item(item_id))
        self._documents.want(TITLES_S)
        mentioned = [item_id]
        for name in ("after", "before", "similar") if state else ():
            mentioned += [one["item_id"] for one in (state or {})[name] or ()]
        document, log_error = None, None
        try:
            with self._reading() as (reader, _):
                document = self._documents.whole(reader, item_id)
        except (LogError, CannotAnswer) as error:
            log_error = str(error)
        return {
            "item_id": item_id,
            "known": state is not None,
            "no_state": no_state,
            "state": state,
            "document": document,
            "documents_read": self._documents.caught_up,
            "log_error": log_error,
            "titles": self._documents.titles(mentioned),
        }

    def recent(self) -> dict[str, Any]:
        """Users and items of just now. Raises CannotAnswer."""
        found, no_state = self._asked(looks.recent)
        self._documents.want(TITLES_S)
        return {
            **(found or {"users": [], "items": []}),
            "no_state": no_state,
            "titles": self._documents.titles((found or {}).get("items", ())),
        }

    def letters(self, reason: str | None) -> dict[str, Any]:
        """The newest dead letters. Raises CannotAnswer."""
        with self._reading() as (reader, admin):
            return letters.newest(reader, admin, reason)

    def snapshots(self) -> dict[str, Any]:
        """Complete snapshots, newest first. Raises CannotAnswer."""
        at_s, listed_for, rows = self._listed
        committed = self._owner.status().snapshot
        if (
            time.monotonic() - at_s > SNAPSHOTS_S or not at_s or committed != listed_for
        ):  # the one in force is always among them
            try:
                rows = [snapshot_row(one, committed) for one in list_snapshots(self._snapshots)]
            except OSError as error:
                raise CannotAnswer(f"the store of snapshots cannot be read: {error}") from error
            self._listed = (time.monotonic(), committed, rows)
        return {"snapshots": [{**row, "committed": row["name"] == committed} for row in rows]}

    def _asked(self, question: Callable[[Engine], Answer]) -> tuple[Answer | None, str | None]:
        """The answer, or why there is no state to ask."""
        questions = self._owner.questions
        if questions is None:
            role = self._owner.status().role
            return (
                None,
                f"This worker is {role} and has no state: ask the owner."
                if role == "standby"
                else f"This worker is {role}: it has no state yet.",
            )
        try:
            return questions.ask(question, ANSWER_S), None
        except NoAnswer as error:
            raise CannotAnswer(str(error)) from error

    def _served(self, user_id: str) -> tuple[RecommendationList | None, str | None]:
        try:
            return self._store.read(user_id), None
        except StoreError as error:
            return None, str(error)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[tuple[LogReader, LogAdmin]]:
        """A reader and an admin, for one at a time; opened when first needed, and anew after a failure. Raises CannotAnswer."""
        if not self._log_lock.acquire(timeout=LOG_S):
            raise CannotAnswer("another look into the log is under way: try again in a moment")
        try:
            if self._log is None:
                self._log = (open_reader(self._config), open_admin(self._config))
            yield self._log
        except LogError as error:
            self._close_log()
            raise CannotAnswer(f"the log cannot be read now: {error}") from error
        finally:
            self._log_lock.release()

    def _close_log(self) -> None:
        if self._log is not None:
            for one in self._log:
                one.close()
            self._log = None


def _mentioned(served: RecommendationList | None) -> Iterable[str]:
    for entry in served.items if served else ():
        yield entry.item_id
        yield from (reason.item_id for reason in entry.why if reason.item_id is not None)


def _list_in_words(served: RecommendationList, names: dict[str, str]) -> dict[str, Any]:
    return {
        "personal": served.personal,
        "version": served.version,
        "written_ms": served.written_ms,
        "event_ms": served.event_ms,
        "head_step": served.head_step,
        "items": [
            {
                "item_id": entry.item_id,
                "score": entry.score,
                "parts": [{"words": part.words, "value": part.value} for part in parts_of(entry, names)],
            }
            for entry in served.items
        ],
    }
