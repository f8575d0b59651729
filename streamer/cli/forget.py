"""``streamer forget``: users' data goes, and a statement says what went, what remains where, and until when."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from consumers.compose import open_admin, open_reader, open_snapshots, open_store, open_writer, serving_url
from consumers.dead_topic import DeadTopic
from consumers.erasure import Erased, Eraser, Mark, Statement, Trace, has_list, held_by
from consumers.forgetting import Request, requests_to_forget
from consumers.words import printable
from streamer.cli.common import config_option, json_option, prepare, say_json, shown
from streamer.cli.snapshots import committed_name
from streamer.cli.status import ask, worker_url
from streamer.cli.topics import require_topics
from streamer.config import Config
from streamer.config.tree import Privacy
from streamer.events.forget import decode_forget, encode_forget
from streamer.events.model import FORGET, Forget, Reject
from streamer.events.pseudonyms import pseudonyms_of
from streamer.ports import LogError, OutRecord, SnapshotStore, StoreError
from streamer.snapshots import list_snapshots
from streamer.snapshots.manifest import manifest_file, positions_of, read_manifest
from streamer.snapshots.pins import PINS

APPEND_TIMEOUT_S = 60.0
WAIT_S = 60
LOOK_S = 0.2


@click.command()
@click.argument("users", nargs=-1, metavar="[USER]...")
@click.option("--file", "path", type=click.File("rb"), metavar="FILE", help="Users' ids, one a line (- for standard input).")
@click.option("--statement", "only_statement", is_flag=True, help="Ask for nothing; only say what is left of them.")
@click.option(
    "--drop-snapshots", is_flag=True, help="Delete older snapshots that hold one of them, without waiting for their age."
)
@click.option("--dry-run", is_flag=True, help="Only say what is known of them, and what would be done.")
@click.option(
    "--wait",
    "wait_s",
    default=WAIT_S,
    show_default=True,
    type=click.IntRange(0),
    metavar="SECONDS",
    help="For the owner, at most.",
)
@click.option("--url", metavar="URL", help="Where the owner listens; from http.host and http.port unless given.")
@config_option
@json_option
@click.pass_context
def forget(
    ctx: click.Context,
    users: tuple[str, ...],
    path: Any,
    wait_s: int,
    url: str | None,
    config_path: Path | None,
    *,
    only_statement: bool,
    drop_snapshots: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Forget each USER: window, history and list go, and no event of theirs from before is applied ever again.

    Ends with a statement of what was erased and what remains until when. Exit status 1 where the owner has not done it in time: it will,
    and `streamer forget USER --statement` says when it has.
    """
    config = prepare(config_path)
    given = list(dict.fromkeys((*users, *_lines_of(path))))
    if not given:
        message = "whom? Give users' ids, or --file FILE with one a line"
        raise click.UsageError(message)
    _require_ids(given)
    aliases = {alias: user for user in given for alias in _on_the_log(config, user)}
    user_ids = list(aliases)
    config = msgspec.structs.replace(config, privacy=Privacy())  # from here on ids are those of the log
    require_topics(config, create=False)
    sends = not (only_statement or dry_run)
    if sends:
        _ask_to_forget(config, user_ids)
    requests = _requests(config)
    wanted = [requests[user.encode()] for user in user_ids if user.encode() in requests]
    waits = (sends or drop_snapshots) and not dry_run
    done = not waits or _wait(config, url, user_ids, wanted, time.monotonic() + wait_s, snapshot=drop_snapshots)
    statement, holding = _look(config, user_ids, requests, url)
    dropped = _drop(config, user_ids, holding, wanted, dry_run=dry_run) if drop_snapshots else []
    if dropped and not dry_run:
        statement, _ = _look(config, user_ids, requests, url)
    for line in _lines(statement, aliases):
        click.echo(line)
    for name in dropped:
        click.echo(f"{'would be dropped' if dry_run else 'dropped'}: snapshot {name}")
    if dry_run:
        click.echo("nothing was done: this was a dry run")
    if as_json:
        say_json(
            {
                "dry_run": dry_run,
                "asked": sends,
                "done": done and waits,
                "dropped_snapshots": dropped,
                **_plain(statement, aliases),
            }
        )
    if not done:
        click.echo(f"the owner has not done all of it within {wait_s} s; see `streamer status`, then --statement", err=True)
        ctx.exit(1)


def _lines_of(path: Any) -> list[str]:
    """Ids of a file. Raises ClickException at what is no text."""
    if path is None:
        return []
    try:
        return [line for line in path.read().decode().splitlines() if line]
    except UnicodeDecodeError as error:
        message = f"--file {path.name}: not UTF-8 at byte {error.start}: expected users' ids, one a line"
        raise click.UsageError(message) from error


def _require_ids(user_ids: Sequence[str]) -> None:
    for user_id in user_ids:
        decoded = decode_forget(user_id.encode("utf-8", "surrogatepass"), None)
        if isinstance(decoded, Reject):
            message = f"{user_id[:50]!r} is no user's id: {decoded.error}; nothing was asked for"
            raise click.UsageError(message)


def _on_the_log(config: Config, user_id: str) -> list[str]:
    """Under which ids the log has a user: his own, or his pseudonyms of the present key and of the one before."""
    privacy = config.privacy
    present = pseudonyms_of(privacy.user_key, privacy.user_key_id)
    former = pseudonyms_of(privacy.former_user_key, privacy.former_user_key_id)
    if present is None:
        return [user_id]
    pseudonym = former is not None and former.of(user_id)
    if pseudonym == user_id or not pseudonym or present.of(user_id) == user_id:
        return [user_id if pseudonym == user_id else present.of(user_id)]
    return [present.of(user_id), pseudonym]


def _ask_to_forget(config: Config, user_ids: Sequence[str]) -> None:
    """Puts the requests on the log.

    Each covers events as far ahead of its own time as their clocks may be, so that none of before comes back when the log is read again.
    """
    refused: list[Exception] = []

    def note(_: OutRecord, error: Exception | None) -> None:
        if error is not None:
            refused.append(error)

    until_ms = time.time_ns() // 1_000_000 + config.windows.clock_ahead_ms_max
    with contextlib.closing(open_writer(config)) as writer:
        for user_id in user_ids:
            key, value = encode_forget(Forget(user_id, until_ms))
            writer.send(OutRecord(FORGET, key, value), note)
        writer.flush(APPEND_TIMEOUT_S)
    if refused:
        raise LogError(f"the log refused {len(refused)} of {len(user_ids)} requests: {refused[0]}", retriable=False)


def _requests(config: Config) -> dict[bytes, Request]:
    with contextlib.closing(open_admin(config)) as admin, contextlib.closing(open_reader(config)) as reader:
        return requests_to_forget(reader, admin.bounds([FORGET]))


def _wait(
    config: Config,
    url: str | None,
    user_ids: Sequence[str],
    wanted: Sequence[Request],
    deadline_s: float,
    *,
    snapshot: bool,
) -> bool:
    """Waits until the owner has applied the requests, the store has none of the lists, and, where asked, a snapshot without them is in force."""
    while not (
        _applied(_owner(config, url), wanted)
        and not _has_list(config, user_ids)
        and (not snapshot or _is_in_force(config, user_ids, wanted))
    ):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(LOOK_S)
    return True


def _applied(offsets: dict[str, dict[str, int]] | None, wanted: Sequence[Request]) -> bool:
    return offsets is not None and all(offsets.get(FORGET, {}).get(str(at.place.partition), 0) > at.offset for at in wanted)


def _has_list(config: Config, user_ids: Sequence[str]) -> bool:
    """Whether any of them has a list with entries; where the store is away, that is taken for so."""
    try:
        with serving_url(config) as place, contextlib.closing(open_store(config, place)) as store:
            return any(has_list(store, user_id) for user_id in user_ids)
    except StoreError:
        return True


def _is_in_force(config: Config, user_ids: Sequence[str], wanted: Sequence[Request]) -> bool:
    """Whether a snapshot from after the requests, which holds none of the users, is the one that a worker would start from."""
    name, store = committed_name(config), open_snapshots(config)
    if name is None:
        return False
    manifest = read_manifest(store, name)
    positions = positions_of(manifest)
    after = all(positions.get(at.place, 0) > at.offset for at in wanted)
    return after and not held_by(store, manifest, {user_id.encode() for user_id in user_ids})


def _owner(config: Config, url: str | None) -> dict[str, dict[str, int]] | None:
    """Next offsets that the owner has applied; None where no owner answers."""
    try:
        found = ask(url or worker_url(config))
    except click.ClickException:
        return None
    return (found.get("offsets") or {}) if found["role"] == "owner" else None


def _look(
    config: Config, user_ids: Sequence[str], requests: dict[bytes, Request], url: str | None
) -> tuple[Statement, dict[str, set[bytes]]]:
    """The statement, and by snapshot whom it holds."""
    eraser = Eraser(config, user_ids, requests, time.time_ns() // 1_000_000)
    eraser.look_at_state(_owner(config, url))
    with contextlib.ExitStack() as stack:
        try:
            place = stack.enter_context(serving_url(config))
            eraser.look_at_lists(stack.enter_context(contextlib.closing(open_store(config, place))))
        except StoreError as error:
            eraser.no_lists(str(error))
    with contextlib.closing(open_admin(config)) as admin, contextlib.closing(open_reader(config)) as reader:
        topics = admin.topics()
        eraser.look_at_letters(DeadTopic(reader, admin), topics)
    eraser.look_at_log(topics)
    snapshots = open_snapshots(config)
    holding = eraser.look_at_snapshots(snapshots, list_snapshots(snapshots), committed_name(config))
    return eraser.statement(), holding


def _drop(
    config: Config, user_ids: Sequence[str], holding: dict[str, set[bytes]], wanted: Sequence[Request], *, dry_run: bool
) -> list[str]:
    """Deletes the manifests of snapshots that hold one of them and are older than the one in force, which stays; their names."""
    committed, store = committed_name(config), open_snapshots(config)
    if committed is None or not _is_in_force(config, user_ids, wanted):
        click.echo(
            "no snapshot is dropped before one of after the request is in force: run it again with --statement", err=True
        )
        return []
    pinned = {name.removeprefix(PINS) for name in store.names(PINS)}
    names = sorted(name for name, held in holding.items() if held and name < committed and name not in pinned)
    if not dry_run:
        _delete(store, names)
    return names


def _delete(store: SnapshotStore, names: Iterable[str]) -> None:
    """Their chunks go with the owner's next snapshots, as those of any that is retired."""
    for name in names:
        store.delete(manifest_file(name))


def _lines(statement: Statement, aliases: Mapping[str, str]) -> Iterable[str]:
    for user in statement.users:
        name = aliases[user.user_id]
        hidden = f" ({user.user_id})" if user.user_id != name else ""
        yield f"user {printable(name + hidden)}: {_asked(user)}"
        yield from map(_line, user.traces)
    yield f"of each of them, in namespace {statement.namespace} at {shown(statement.made_ms)}:"
    yield from map(_line, statement.everybody)


def _asked(user: Erased) -> str:
    if user.request is None:
        return "no request to forget is on the log"
    at = user.request
    return (
        f"asked {shown(at.append_ms)} ({at.place.topic}[{at.place.partition}]:{at.offset}), for all up to {shown(at.until_ms)}"
    )


def _line(trace: Trace) -> str:
    if trace.mark is not Mark.REMAINS:
        until = ""
    elif trace.gone_ms is None:
        until = ", until it is deleted"
    else:
        until = f", gone by {shown(trace.gone_ms)}"
    return f"  {trace.mark:<8} {printable(trace.place)}{until}: {printable(trace.what)}"


def _plain(statement: Statement, aliases: Mapping[str, str]) -> dict[str, Any]:
    users = [
        {
            "user_id": aliases[user.user_id],
            "log_id": user.user_id,
            "mark": user.mark,
            "asked_ms": user.request and user.request.append_ms,
            "until_ms": user.request and user.request.until_ms,
            "request": user.request and f"{FORGET}[{user.request.place.partition}]:{user.request.offset}",
            "traces": [trace._asdict() for trace in user.traces],
        }
        for user in statement.users
    ]
    everybody = [trace._asdict() for trace in statement.everybody]
    return {"namespace": statement.namespace, "made_ms": statement.made_ms, "users": users, "everybody": everybody}
