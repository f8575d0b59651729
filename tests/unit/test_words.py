"""Reasons in words: every term of the score, those that say the same told as one, and what this version does not know."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.words import in_words, reason_in_words, told
from streamer.ports import Reason, Recommended
from streamer.ranking.scratch import TERMS

ANY_TERM = (
    st.sampled_from([*TERMS, "text", "image", "new", "explore", "neighbours", "trend_", "trend_nan", "trend_-1"]) | st.text()
)
REASONS = st.lists(st.builds(Reason, ANY_TERM, st.floats(-50, 50), st.none() | st.text(min_size=1, max_size=5)), max_size=8)


def entry(*reasons: tuple[str, float] | tuple[str, float, str]) -> Recommended:
    why = tuple(Reason(term, value, about[0] if about else None) for term, value, *about in reasons)
    return Recommended("i9", 4.0, why)


@pytest.mark.parametrize("term", [*TERMS, "neighbours", "text", "image", "new", "explore"])
@pytest.mark.parametrize("item_id", [None, "i7"])
def test_every_term_of_the_score_has_words(term: str, item_id: str | None) -> None:
    said = reason_in_words(Reason(term, 1.0, item_id))
    assert not said.startswith(term.replace("_", " "))


@pytest.mark.parametrize(
    ("term", "item_id", "words"),
    [
        ("transition", "A", "people who had A went on to it next"),
        ("transition", None, "people went on to it from what you had last"),
        ("co_visit", "A", "people who had A often had it soon after"),
        ("neighbours", None, "people with a history like yours went on to it"),
        ("repeat", None, "you come back to it"),
        ("last", "A", "it is what you had last"),
        ("trend_3", None, "it is popular just now, within about the last 3 interactions"),
        ("trend_100", None, "it is popular lately, within about the last 100 interactions"),
        ("trend_1e+06", None, "it is popular for some time, within about the last 1,000,000 interactions"),
        ("popularity", None, "it has long been popular"),
        ("content", None, "it is like what you had"),
        ("new", None, "it is new or rarely shown, and shown to learn about it"),
    ],
)
def test_a_term_is_told_with_the_item_that_it_speaks_of(term: str, item_id: str | None, words: str) -> None:
    assert reason_in_words(Reason(term, 0.5, item_id)) == words


def test_what_speaks_against_an_entry_comes_last() -> None:
    told_entry = entry(("last", -0.5, "i7"), ("trend_1000", 2.0), ("transition", 1.0, "i7"))
    assert in_words(told_entry) == (
        "because it is popular for some time, within about the last 1,000 interactions; "
        "people who had i7 went on to it next, although it is what you had last"
    )
    assert in_words(entry()) == "no reason given"


def test_trends_are_told_as_one_by_the_strongest() -> None:
    reasons = told(entry(("trend_1000", 0.5), ("trend_30", 1.5), ("popularity", 0.25)))
    assert reasons == [("it is popular lately, within about the last 30 interactions", 2.25)]


def test_text_and_image_are_told_as_one_with_the_part_of_each() -> None:
    assert in_words(entry(("text", 0.7), ("image", 0.1))) == "because it is like what you had: text 0.7, image 0.1"
    assert in_words(entry(("text", -0.7))) == "although it is unlike what you had: text -0.7"


def test_both_directions_of_a_pair_are_told_as_one() -> None:
    both = entry(("co_visit", 0.5, "A"), ("co_visit_back", 0.25, "A"))
    assert told(both) == [("it is often together with A", 0.75)]
    against = entry(("co_visit", 0.5, "A"), ("co_visit_back", -0.25, "A"))
    assert (
        in_words(against)
        == "because people who had A often had it soon after, although people who had A often had it shortly before"
    )
    apart = entry(("co_visit", 0.5, "A"), ("co_visit_back", 0.25, "B"))
    assert [reason.value for reason in told(apart)] == [0.5, 0.25]


@pytest.mark.parametrize("value", [-2.0, 0.0, 2.0])
def test_that_an_entry_explores_is_said_first_whatever_it_is_worth(value: float) -> None:
    assert told(entry(("popularity", 9.0), ("explore", value)))[0].words.startswith("it is new or rarely shown")


def test_terms_of_a_newer_worker_are_told_by_their_name() -> None:
    assert in_words(entry(("of_season", 0.5), ("near_by", -0.25, "A"))) == "because of season, although near by (A)"
    assert reason_in_words(Reason("trend_1h", 0.5, None)) == "trend 1h"


def test_items_are_called_by_their_titles_where_these_are_known() -> None:
    names = {"1": "Heat"}
    assert in_words(entry(("trend_10", 2.0), ("transition", 1.0, "1")), names) == (
        'because it is popular just now, within about the last 10 interactions; people who had "Heat" went on to it next'
    )


def test_an_id_cannot_act_on_the_terminal() -> None:
    assert reason_in_words(Reason("transition", 1.0, "a\x1b[2J\né")) == r"people who had a\x1b[2J\né went on to it next"


@given(why=REASONS)
def test_whatever_the_reasons_their_values_are_kept_and_each_has_words(why: list[Reason]) -> None:
    reasons = told(Recommended("i", 0.0, tuple(why)))
    assert sum(reason.value for reason in reasons) == pytest.approx(sum(reason.value for reason in why), abs=1e-9)
    assert in_words(Recommended("i", 0.0, tuple(why)))
