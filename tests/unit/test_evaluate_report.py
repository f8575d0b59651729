"""The report: its tree, its sentences, its page. The page is opened in a real browser where there is one."""

import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
from recorded import random_rows, stream_of

from streamer.config.tree import Config, Ranking
from streamer.evaluate.engines import run_engine
from streamer.evaluate.page import page
from streamer.evaluate.report import report_of
from streamer.evaluate.svg import ticks_of
from streamer.events.model import EventType

RAN_ON = {
    "events_file": {"path": "folder/<clicks> & more.jsonl", "sha256": "0" * 64, "format": "streamer-jsonl"},
    "items_file": None,
    "in_order": True,
    "repeated_event_ids": 3,
    "rejected": {"count": 1, "by_reason": {"bad_id": 1}, "named": ["line 7: bad_id: <no> id"]},
}
VOID = {"meta"}


@pytest.fixture(scope="module")
def runs():
    """The engine, a twin under another name, one that always misses, and one that always hits."""
    stream = stream_of(random_rows(1, 400))
    config = Config(ranking=Ranking(exclude_seen="false"))
    run = run_engine("streamer", stream, config, id, served_ms=(60_000, None))
    judged_M = ~np.isnan(run.rank_M)
    plain = replace(run, served={}, gate_BF=None, candidates=None)
    others = {
        "popularity": replace(plain, rank_M=np.where(judged_M, np.inf, np.nan)),
        "stan": replace(plain, rank_M=np.where(judged_M, 1.0, np.nan)),
        "covisit": plain,
        "frozen": plain,
    }
    return stream, config, {"streamer": run} | others


@pytest.fixture(scope="module")
def report(runs):
    stream, config, found = runs
    return report_of(stream, found, config, ran_on=RAN_ON, versions={"streamer": "0"})


def test_the_report_is_plain_json(report):
    assert msgspec.json.decode(msgspec.json.encode(report)) == report


def test_the_report_says_what_ran_on_what(report, runs):
    stream, _, _ = runs
    ran = report["ran_on"]
    assert (ran["events"], ran["users"], ran["items"]) == (stream.events, 9, stream.items_in_events)
    assert sum(ran["types"].values()) == stream.events
    assert ran["targets"] == int(stream.target_M.sum())
    assert report["config"] == {"ranking.exclude_seen": "false"}
    assert (report["protocol"]["exclude_seen"], report["protocol"]["exclude_seen_share"]) == ("false", 0.0)


def test_classes_and_purchases_add_up_to_the_window(report, runs):
    stream, _, _ = runs
    for found in report["methods"].values():
        whole = found["windows"]["10-100"]
        for field in ("by_history", "by_item_age"):
            classes = [means for means in found[field].values() if means["targets"]]
            assert sum(means["targets"] for means in classes) == whole["targets"]
            total = sum(means["hr@10"] * means["targets"] for means in classes)
            assert total / whole["targets"] == pytest.approx(whole["hr@10"])
        strangers = found["by_history"]["0"]["targets"]
        assert found["known_users"]["10-100"]["targets"] == whole["targets"] - strangers
    event_M = stream.event_M
    purchases = (stream.type_N[event_M] == EventType.PURCHASE) & (event_M >= 0.1 * stream.events)
    assert report["methods"]["stan"]["purchases"]["10-100"]["targets"] == int(purchases.sum())


def test_the_verdict_says_who_is_better_and_how_sure(report):
    verdict = " ".join(report["verdict"])
    assert "The strongest other method is stan: compared with it, streamer is worse" in verdict
    assert "streamer is surely better than popularity" in verdict
    assert "stan is surely better than streamer" in verdict
    assert "Between streamer and covisit the stream does not decide" in verdict
    assert "Learning on against stopping at 30 % of the stream: neither surely better nor surely worse" in verdict
    assert "with a sweep every 60 seconds: HR@10" in verdict
    assert "without a sweep, lists as old as the last visit: HR@10" in verdict


def test_the_verdict_says_what_strangers_do_to_the_figures():
    rows = [(n, f"u{n}" if n % 2 else "a", "xy"[n % 2], EventType.CLICK) for n in range(40)]
    stream = stream_of(rows)
    told = report_of(stream, {"streamer": run_engine("streamer", stream, Config(), id)}, Config(), ran_on=RAN_ON, versions={})
    assert "18 of the choices are a user's first, of whom nothing was known" in told["verdict"][2]


def test_a_method_that_beats_all_is_told_to(runs):
    stream, config, found = runs
    ours = {"streamer": found["stan"], "popularity": found["popularity"], "covisit": found["covisit"]}
    verdict = " ".join(report_of(stream, ours, config, ran_on=RAN_ON, versions={})["verdict"])
    assert "better than all 2 other methods, and chance does not explain it" in verdict
    assert "the judgement is the same" in verdict


def test_one_event_makes_a_report_too():
    stream = stream_of([(0, "a", "x", EventType.CLICK)])
    run = run_engine("streamer", stream, Config(), id)
    told = report_of(stream, {"streamer": run, "fixed": replace(run, name="fixed")}, Config(), ran_on=RAN_ON, versions={})
    assert told["methods"]["streamer"]["windows"]["10-100"]["targets"] in (0, 1)
    assert "<h2>Verdict</h2>" in page(told)


def test_impressions_alone_make_a_report_too():
    stream = stream_of([(n, "a", "x", EventType.IMPRESSION) for n in range(20)])
    run = run_engine("streamer", stream, Config(), id)
    told = report_of(stream, {"streamer": run, "fixed": replace(run, name="fixed")}, Config(), ran_on=RAN_ON, versions={})
    assert told["verdict"] == [
        "There is nothing to judge: no choice lies after the first tenth of the stream, which only teaches."
    ]
    assert "nothing to judge" in page(told)


def test_the_verdict_warns_of_few_users_and_the_page_shows_no_weight_that_was_never_learned(report, runs):
    stream, config, found = runs
    assert "With 9 users the intervals, which resample users, are too narrow" in report["verdict"][1]
    told = report_of(stream, {"streamer": found["streamer"]}, config, ran_on=RAN_ON, versions={})
    assert "3 had nothing to say here" in page(told)  # those of content, of which there is none
    told["methods"]["streamer"]["gates"]["repeat"] = [0.5] * len(told["methods"]["streamer"]["gates"]["repeat"])
    assert "4 had nothing to say here" in page(told)


class Nesting(HTMLParser):
    """Fails where tags do not match; collects text and what would be fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_well_formed_complete_in_itself_and_escapes_what_it_shows(report):
    parser = Nesting()
    text = page(report)
    parser.feed(text)
    assert parser.open == []
    assert parser.fetched == []
    assert "<script" not in text
    assert "url(" not in text
    shown = " ".join(parser.text)
    assert "folder/<clicks> & more.jsonl" in shown
    assert "line 7: bad_id: <no> id" in shown
    for heading in ("Verdict", "All methods", "Gates over time", "Learning on, frozen, fixed", "Fresh and as served"):
        assert heading in shown
    for metric in ("By length of history", "By age of the item", "Quality over the stream"):
        assert metric in shown
    assert "None" not in shown
    assert "nan" not in shown


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (0.0, 1e-6), (-0.013, 0.004), (-7.0, 31.0), (0.0, 0.999)])
def test_ticks_are_few_rising_and_span_the_values(low, high):
    ticks = ticks_of(low, high)
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= low
    assert ticks[-1] >= high


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_opens_in_a_browser_and_fits_its_width(report, width, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs a Chromium on the path to open the page in")
    path = tmp_path / "report.html"
    beyond = "(document.documentElement.scrollWidth - document.documentElement.clientWidth)"
    probe = f"<script>document.title = {beyond} + ' beyond, plots ' + document.querySelectorAll('svg').length</script>"
    (tmp_path / "inner.html").write_text(page(report).replace("</body>", f"{probe}</body>"))
    frame = f"<iframe src='inner.html' width='{width}' height='800' style='border:0'></iframe>"
    copied = "<script>onload = () => { document.title = frames[0].document.title }</script>"
    path.write_text(frame + copied)
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command = [browser, *flags, "--virtual-time-budget=2000", "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    assert "<title>0 beyond, plots 10</title>" in shown
