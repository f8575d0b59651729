"""The verdict of a backtest in sentences, made from its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamer.evaluate.names import is_engine, reranked
from streamer.evaluate.reranking import setting_in_words

CLOSE = 0.01
"""Differences below this share of the better figure are called small."""
FEW_USERS = 30
"""With fewer than so many users, resampling them says little of chance."""
STRANGERS = 0.05
"""Share of choices by users without a history from which on it is said what they do to the figures."""
SAID_OF = {
    "frozen": "Learning on against stopping at 30 % of the stream",
    "fixed": "Learned weights against fixed ones",
    "bilinear": "Against the plain two-tower head",
    "attention": "Against the attention head",
    "towers": "Against the two towers alone over the whole catalogue",
}


def verdict(report: Mapping[str, Any]) -> list[str]:
    """What is better than what, by how much, how sure: the chief thing first."""
    ours, window = report["compared_with"], report["protocol"]["chief_window"]
    if not report["methods"][ours]["windows"][window]["targets"]:
        return ["There is nothing to judge: no choice lies after the first tenth of the stream, which only teaches."]
    sentences = [_level(report, ours, window), _of_few_users(report)]
    others = [name for name in report["methods"] if name != ours and not is_engine(name)]
    sentences.append(_of_known_users(report, ours, window))
    sentences += _against_others(report, ours, others, window)
    sentences += [f"{SAID_OF[name]}: {_difference(report, name, window)}." for name in SAID_OF if name in report["methods"]]
    sentences += [_of_reranked(report, name, window) for name in report["methods"] if reranked(name) is not None]
    if len(report["methods"]) > 1:
        sentences.append(_in_the_later_window(report, others))
    sentences += _served(report, ours, window)
    return [sentence for sentence in sentences if sentence]


def _of_reranked(report: Mapping[str, Any], name: str, window: str) -> str:
    """What re-ranking costs."""
    return f"Without re-ranking against {setting_in_words(name)}: {_difference(report, name, window)}."


def _level(report: Mapping[str, Any], ours: str, window: str) -> str:
    found = report["methods"][ours]["windows"][window]
    low, high = report["intervals"][window][ours]["hr@10"]["interval"]
    return (
        f"{ours} had the item that was chosen next among its first ten for {_percent(found['hr@10'])} of {found['targets']:,} choices "
        f"(95 % interval {_percent(low)} to {_percent(high)}), on average over {window.replace('-', ' to ')} % of the stream; "
        f"NDCG@10 is {found['ndcg@10']:.4f}."
    )


def _of_few_users(report: Mapping[str, Any]) -> str:
    """A warning where the intervals are not to be trusted."""
    users = report["ran_on"]["users"]
    if users >= FEW_USERS:
        return ""
    return f"With {users} user{'s' * (users != 1)} the intervals, which resample users, are too narrow: what is called sure may be chance."


def _of_known_users(report: Mapping[str, Any], ours: str, window: str) -> str:
    """How much users weigh of whom nothing was known; nothing is said where there are few."""
    found = report["methods"][ours]
    known, whole = found["known_users"][window], found["windows"][window]
    if not known["targets"] or known["targets"] > (1 - STRANGERS) * whole["targets"]:
        return ""
    strangers = whole["targets"] - known["targets"]
    return (
        f"{strangers:,} of the choices are a user's first, of whom nothing was known; without them HR@10 is {_percent(known['hr@10'])} "
        f"and NDCG@10 {known['ndcg@10']:.4f}."
    )


def _against_others(report: Mapping[str, Any], ours: str, others: Sequence[str], window: str) -> list[str]:
    if not others:
        return []
    by_place = sorted(others, key=lambda name: -report["methods"][name]["windows"][window]["ndcg@10"])
    verdicts = {name: _sign(report, name, window) for name in others}
    worse = [name for name in by_place if verdicts[name] > 0]
    better = [name for name in by_place if verdicts[name] < 0]
    unsure = [name for name in by_place if verdicts[name] == 0]
    best = by_place[0]
    sentences = [f"The strongest other method is {best}: compared with it, {ours} is {_difference(report, best, window)}."]
    if len(worse) == len(others):
        all_others = "the only other method" if len(others) == 1 else f"all {len(others)} other methods"
        sentences.append(f"By NDCG@10 {ours} is better than {all_others}, and chance does not explain it.")
        return sentences
    if worse:
        sentences.append(f"By NDCG@10 {ours} is surely better than {_listed(worse)}.")
    if unsure:
        sentences.append(
            f"Between {ours} and {_listed(unsure)} the stream does not decide: the interval of the difference includes 0."
        )
    if better:
        sentences.append(f"By NDCG@10 {_listed(better)} {'is' if len(better) == 1 else 'are'} surely better than {ours}.")
    return sentences


def _sign(report: Mapping[str, Any], name: str, window: str) -> int:
    """1 where ours is surely better by NDCG@10, -1 where it is surely worse, 0 where that is open."""
    low, high = report["intervals"][window][name]["ndcg@10"]["difference_interval"]
    return 1 if low > 0 else -1 if high < 0 else 0


def _difference(report: Mapping[str, Any], name: str, window: str) -> str:
    """How ours compares with a method, in words."""
    told = report["intervals"][window][name]["ndcg@10"]
    other = report["methods"][name]["windows"][window]["ndcg@10"]
    difference, (low, high) = told["difference"], told["difference_interval"]
    figures = f"NDCG@10 {difference:+.4f}, interval {low:+.4f} to {high:+.4f}"
    if _sign(report, name, window) == 0:
        return f"neither surely better nor surely worse ({figures})"
    relative = abs(difference) / other if other else 0.0
    much = f" by {_percent(relative)}" if other else ""
    small = ", a small difference" if other and relative < CLOSE else ""
    return f"{'better' if difference > 0 else 'worse'}{much} ({figures}){small}"


def _in_the_later_window(report: Mapping[str, Any], others: Sequence[str]) -> str:
    """Whether the judgement changes where the first 30 % are left out too."""
    windows = list(report["protocol"]["windows"])
    chief = report["protocol"]["chief_window"]
    later = next(name for name in windows if name != chief)
    if not others or not report["intervals"][later]:
        return ""
    changed = [name for name in others if _sign(report, name, later) != _sign(report, name, chief)]
    shown = later.replace("-", " to ")
    if not changed:
        return f"Over {shown} % of the stream the judgement is the same."
    return f"Over {shown} % of the stream the judgement differs for {_listed(changed)}: see the table."


def _served(report: Mapping[str, Any], ours: str, window: str) -> list[str]:
    fresh = report["methods"][ours]["windows"][window]["hr@10"]
    sentences = []
    for period, found in report.get("served", {}).items():
        served = found[window]["hr@10"]
        share = f", {_percent(served / fresh)} of what fresh lists reach" if fresh else ""
        how = (
            "without a sweep, lists as old as the last visit"
            if period == "off"
            else f"with a sweep every {_duration(float(period))}"
        )
        sentences.append(f"As served, {how}: HR@10 {_percent(served)}{share}.")
    return sentences


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 and seconds % 60 == 0 else f"{seconds:g} seconds"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them.

    >>> _listed(["a"]), _listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
