"""The console on Apache Kafka: an owner without its store and a standby beside it, each saying how it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

from line import WITHOUT_ENCODER, Line, movielens_events, movielens_items

from producers.formats import Recorded
from streamer.events.model import ITEMS

EVENTS = 500
AWAY = "redis://127.0.0.1:1/0"


def test_an_owner_without_its_store_and_a_standby_say_what_they_know(kafka_line: Callable[..., Line]) -> None:
    line = kafka_line(**WITHOUT_ENCODER, STREAMER_REDIS__URL=AWAY).create_topics()
    events = movielens_events()[:EVENTS]
    line.send(movielens_items()[:200], ITEMS)
    line.send([*events, Recorded(1, b"u", b"no event", None)])
    owner = line.start("worker")
    owner.wait_applied(EVENTS)
    standby = line.start("worker")
    standby.wait_role("standby")

    owner.wait(lambda: owner.get("/console/state")[1]["verdict"]["level"] == "bad", "it says that its store is away")
    said = json.dumps(owner.get("/console/state")[1]["verdict"]["findings"])
    assert "The store has taken no lists" in said
    assert "redis.url" in said
    user = quote(json.loads(events[-1].value)["user_id"])
    found = owner.get(f"/console/user?id={user}")[1]
    assert found["known"]
    assert len(found["state"]["now"]) == 20  # what the list would be is known without the store
    assert "127.0.0.1:1" in found["store_error"]
    item = json.loads(movielens_items()[3].value)
    shown = owner.get(f"/console/item?id={item['item_id']}")[1]
    assert shown["document"]["title"] == item["title"]
    [letter] = owner.get("/console/letters?reason=invalid_json")[1]["letters"]
    assert (letter["value"], letter["origin"]) == ("no event", f"events[0]:{EVENTS}")

    standby.wait(lambda: standby.get("/console/state")[1]["verdict"]["title"] == "Standing by", "it says so within a second")
    assert "ask the owner" in standby.get(f"/console/user?id={user}")[1]["no_state"]
    owner.kill()
    standby.wait(lambda: standby.get("/console/state")[1]["takeovers"] == 1, "it took over")
    standby.wait(lambda: standby.get(f"/console/user?id={user}")[1]["known"], "it knows the user")
    told = [one["text"] for one in standby.get("/console/state")[1]["journal"]]
    assert any("became the owner" in one for one in told)
