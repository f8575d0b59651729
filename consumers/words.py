"""The reasons of a list's entries, in words.

A reason is a term of the entry's additive score. Terms that say the same are told as one: the trends, the parts of the content,
the two directions of a pair of items. A term that this version does not know is told by its name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamer.ports import Reason, Recommended

ABOUT_ITEM = {
    "transition": "people who had {item} went on to it next",
    "transition_back": "people went on from it to {item}",
    "co_visit": "people who had {item} often had it soon after",
    "co_visit_back": "people who had {item} often had it shortly before",
    "neighbours": "people who had {item}, as you did, had it too",
}
"""Terms that may speak of an item of the user's."""

WORDS = {
    "transition": "people went on to it from what you had last",
    "transition_back": "people went on from it to what you had last",
    "co_visit": "people often had it soon after what you had",
    "co_visit_back": "people often had it shortly before what you had",
    "neighbours": "people with a history like yours went on to it",
    "neighbours_before": "people with a history like yours had it shortly before",
    "repeat_recent": "you had it lately",
    "repeat": "you come back to it",
    "last": "it is what you had last",
    "young": "few have had it yet",
    "fairness": "its provider has been shown less than it is due",
    "diversity": "it is much like what stands above it",
    "young_content": "few have had it yet, and it is like what you had",
    "likeness": "it is like what you had",
    "young_likeness": "few have had it yet, and it is like what you had",
    "untried": "few have tried it yet, and it may suit you",
}

EXPLORES = ("new", "explore")
"""Terms of an entry that is on its list to be learned about: said first, whatever they are worth."""

CONTENT = {"text": "text", "image": "image", "content": "the rest"}
"""Terms of how well the entry fits what the user had, as they are called beside each other."""

PAIR = ("co_visit", "co_visit_back")
TREND, FOR_EVER = "trend_", "popularity"
JUST_NOW, LATELY = 10.0, 100.0
"""What the largest half-life, in interactions of the whole stream, is called."""

NO_NAMES: Mapping[str, str] = {}

LEAST = 0.005
"""A part that would be written as 0.00 is not shown."""


class Told(NamedTuple):
    """What one or several terms say, and what they add to the score."""

    words: str
    value: float


def in_words(entry: Recommended, names: Mapping[str, str] = NO_NAMES) -> str:
    """Why an entry is on its list, as one sentence, the weightiest reason first; ``names`` are titles by item id.

    >>> in_words(Recommended("b", 1.0, (Reason("co_visit", 0.8, "a"), Reason("last", -0.1, None))))
    'because people who had a often had it soon after, although it is what you had last'
    """
    reasons = told(entry, names)
    given = "; ".join(reason.words for reason in reasons if reason.value >= 0)
    against = "; ".join(reason.words for reason in reasons if reason.value < 0)
    parts = [f"because {given}"] * bool(given) + [f"although {against}"] * bool(against)
    return ", ".join(parts) or "no reason given"


def told(entry: Recommended, names: Mapping[str, str] = NO_NAMES) -> list[Told]:
    """The reasons of an entry, those that say the same as one: what speaks for it, then what speaks against it, largest first.

    >>> told(Recommended("b", 1.0, (Reason("trend_10", 0.5, None), Reason("popularity", 0.25, None))))
    [Told(words='it is popular just now, within about the last 10 interactions', value=0.75)]
    """
    groups: dict[tuple[str, str | None, bool], list[Reason]] = {}
    for reason in entry.why:
        groups.setdefault(_group_of(reason), []).append(reason)
    reasons = [
        (kind, Told(_group_in_words(kind, group, names), sum(reason.value for reason in group)))
        for (kind, _, _), group in groups.items()
    ]
    reasons.sort(key=lambda one: (one[0] != "explores", one[1].value < 0, -abs(one[1].value)))
    return [reason for _, reason in reasons]


def parts_of(entry: Recommended, names: Mapping[str, str] = NO_NAMES) -> list[Told]:
    """What the entry's score is made of: its reasons in words, and the rest, so that all together are the score.

    An entry that explores bears the score of its place: no part of that is its own.
    """
    reasons = told(entry, names)
    if any(reason.term in EXPLORES for reason in entry.why):
        return [Told(f"because {reason.words}", 0.0) for reason in reasons]
    rest = entry.score - sum(reason.value for reason in reasons)
    parts = [Told(f"{'because' if reason.value >= 0 else 'although'} {reason.words}", reason.value) for reason in reasons]
    if not parts or abs(rest) >= LEAST:
        parts.append(Told("by all other terms together" if parts else "no reason given", rest))
    return parts


def reason_in_words(reason: Reason, names: Mapping[str, str] = NO_NAMES) -> str:
    """One term of the score, by itself.

    >>> reason_in_words(Reason("text", 0.7, None)), reason_in_words(Reason("other_term", 0.2, "x"))
    ('it is like what you had: text 0.7', 'other term (x)')
    """
    return told(Recommended("", 0.0, (reason,)), names)[0].words


def item_in_words(item_id: str, names: Mapping[str, str] = NO_NAMES) -> str:
    r"""An item by its title where that is known, else by its id; what cannot be printed is escaped.

    >>> item_in_words("i1", {"i1": "Heat"}), item_in_words("i2\n")
    ('"Heat"', 'i2\\n')
    """
    text = f'"{names[item_id]}"' if item_id in names else item_id
    return printable(text)


def printable(text: str) -> str:
    """The text with what a terminal would act on escaped: ids are their producer's words."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _group_of(reason: Reason) -> tuple[str, str | None, bool]:
    """What is told together: the kind or term; where it matters the item, and whether the term speaks for the entry."""
    term, speaks_for = reason.term, reason.value >= 0
    if term in EXPLORES:
        return "explores", None, True
    if _half_life(term) is not None:
        return "trends", None, True
    if term in CONTENT:
        return "content", None, True
    return "pair" if term in PAIR else term, reason.item_id, speaks_for


def _group_in_words(kind: str, group: Sequence[Reason], names: Mapping[str, str]) -> str:
    first = group[0]
    match kind:
        case "explores":
            return "it is new or rarely shown, and shown to learn about it"
        case "trends":
            return _trends_in_words(group)
        case "content":
            return _content_in_words(group)
        case "pair" if first.item_id is not None and {reason.term for reason in group} == set(PAIR):
            return f"it is often together with {item_in_words(first.item_id, names)}"
        case _:
            return _term_in_words(first, names)


def _term_in_words(reason: Reason, names: Mapping[str, str]) -> str:
    item = None if reason.item_id is None else item_in_words(reason.item_id, names)
    if item is not None and reason.term in ABOUT_ITEM:
        return ABOUT_ITEM[reason.term].format(item=item)
    if reason.term in WORDS:
        return WORDS[reason.term]
    name = printable(reason.term.replace("_", " "))
    return name if item is None else f"{name} ({item})"


def _trends_in_words(group: Sequence[Reason]) -> str:
    """The strongest says it for all."""
    half_life = _half_life(max(group, key=lambda reason: reason.value).term) or 0.0
    if math.isinf(half_life):
        return "it has long been popular"
    when = "just now" if half_life <= JUST_NOW else "lately" if half_life <= LATELY else "for some time"
    return f"it is popular {when}, within about the last {half_life:,.0f} interactions"


def _half_life(term: str) -> float | None:
    """In interactions of the whole stream; None where the term is no trend."""
    if term == FOR_EVER:
        return math.inf
    try:
        half_life = float(term.removeprefix(TREND)) if term.startswith(TREND) else math.nan
    except ValueError:
        return None
    return half_life if half_life > 0 else None


def _content_in_words(group: Sequence[Reason]) -> str:
    fits = "like" if sum(reason.value for reason in group) >= 0 else "unlike"
    terms = [reason.term for reason in group]
    parts = "" if terms == ["content"] else ", ".join(f"{CONTENT[reason.term]} {reason.value:.1f}" for reason in group)
    return f"it is {fits} what you had{': ' * bool(parts)}{parts}"
