"""Snapshots on an S3 server: a worker that is killed goes on from there, and ends with the state of one that was not."""

from __future__ import annotations

import contextlib
from pathlib import Path

from line import WITHOUT_ENCODER, Line, line_settings, movielens_events

from consumers.compose import committed_offsets
from streamer.events.model import EVENTS

EVENTS_SENT = 4_000


def finished(line: Line, sent: int) -> None:
    worker = line.start("worker")
    worker.wait_position(sent)
    worker.stop()


def committed(line: Line) -> int:
    found = committed_offsets(line.config, line.config.group)
    return sum(at.next_offset for place, at in found.items() if place.topic == EVENTS)


def test_a_worker_with_snapshots_on_s3_goes_on_after_a_kill_with_nothing_lost(kafka_line, embedded_line, s3_root, s3_server):
    events = movielens_events()[:EVENTS_SENT]
    on_s3 = {"STREAMER_SNAPSHOTS__ROOT": s3_root} | s3_server.environment
    line: Line = kafka_line(**WITHOUT_ENCODER, **on_s3).create_topics()
    worker = line.start("worker")
    sent = line.send(events[: EVENTS_SENT // 2])
    worker.wait(lambda: committed(line) > 0, "a snapshot on S3 that the offsets name")
    worker.kill()
    sent += line.send(events[EVENTS_SENT // 2 :])
    finished(line, sent)

    alone: Line = embedded_line(**WITHOUT_ENCODER).create_topics()
    alone.send(events)
    assert alone.start("worker", "--bounded").end() == 0
    found, expected = line.snapshot(), alone.snapshot()
    assert found["tables"] == expected["tables"]
    assert found["counters"] == expected["counters"]
    assert sum(found["counters"]["applied"].values()) == EVENTS_SENT


def test_a_missing_bucket_is_said_by_the_doctor_and_by_a_worker_that_does_not_start(tmp_path: Path, s3_root, s3_server):
    settings = line_settings(tmp_path, "embedded") | WITHOUT_ENCODER | s3_server.environment
    with contextlib.closing(Line(settings | {"STREAMER_SNAPSHOTS__ROOT": "s3://no-such-bucket/here"})) as line:
        worker = line.create_topics().start("worker")
        assert worker.end() != 0
        for said in (worker.text, line.here.run("doctor").output):
            assert "snapshots cannot be written to s3://no-such-bucket/here" in said
            assert "make the bucket, or correct snapshots.root" in said
    with contextlib.closing(Line(settings | {"STREAMER_SNAPSHOTS__ROOT": s3_root})) as line:
        assert f"{s3_root}/{line.config.namespace} answers and is writable" in line.here.run("doctor").output
