"""The reasons of a list's entries, in words."""

from __future__ import annotations

from streamer.ports import Reason, Recommended

ABOUT_ITEM = {
    "transition": "people who were at {item} went on to it",
    "transition_back": "people who were at it went on to {item}",
    "co_visit": "people who chose {item} chose it later",
    "co_visit_back": "people who chose it chose {item} later",
    "last": "it is where this user was last, {item}",
}
"""Terms that may speak of an item of the user's."""

WORDS = {
    "transition": "people went on to it from where this user was last",
    "transition_back": "people went on from it to where this user was last",
    "co_visit": "people chose it after what this user chose",
    "co_visit_back": "people chose it before what this user chose",
    "repeat_recent": "this user chose it lately",
    "repeat": "this user comes back to it",
    "last": "it is where this user was last",
    "popularity": "it is popular over all the time",
    "content": "it fits what this user chose",
    "new": "it is new, and shown to learn about it",
}

TREND = "trend_"


def in_words(entry: Recommended) -> str:
    """Why an entry is on its list, the weightiest reason first.

    >>> in_words(Recommended("b", 1.0, (Reason("co_visit", 0.8, "a"), Reason("last", -0.1, None))))
    'because people who chose a chose it later, although it is where this user was last'
    """
    trends = [reason for reason in entry.why if reason.term.startswith(TREND)]
    told = [reason for reason in entry.why if reason not in trends[1:]]  # the strongest trend says it for all
    given = [reason_in_words(reason) for reason in told if reason.value > 0]
    against = [reason_in_words(reason) for reason in told if reason.value < 0]
    parts = [f"because {'; '.join(given)}"] * bool(given) + [f"although {'; '.join(against)}"] * bool(against)
    return ", ".join(parts) or "no reason given"


def reason_in_words(reason: Reason) -> str:
    """One term of the score.

    >>> reason_in_words(Reason("trend_100", 0.2, None)), reason_in_words(Reason("other_term", 0.2, "x"))
    ('many chose it within about the last 100 interactions', 'other term, x')
    """
    if reason.item_id is not None and reason.term in ABOUT_ITEM:
        return ABOUT_ITEM[reason.term].format(item=reason.item_id)
    if reason.term in WORDS:
        return WORDS[reason.term]
    if reason.term.startswith(TREND):
        return f"many chose it within about the last {reason.term.removeprefix(TREND)} interactions"
    name = reason.term.replace("_", " ")
    return name if reason.item_id is None else f"{name}, {reason.item_id}"
