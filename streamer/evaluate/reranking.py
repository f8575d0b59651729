"""What fairness and diversity cost and what they buy: the engine re-ranked beside the engine as configured, as rows of figures."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from streamer.evaluate.names import DIVERSE, FAIR, OURS, reranked

SETTING_OF = {FAIR: "ranking.provider_exposure_min", DIVERSE: "ranking.diversity"}
_HEADS = (
    *("", "NDCG@10", "cost", "providers: Gini", "for their sizes", "lowest tenth", "shown"),
    *("alike by vectors", "by categories"),
)


def rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a re-ranked run, behind that of OURS; none where there is no such run, or OURS is not there to compare with.

    ``ndcg@10_lost`` is what re-ranking takes (and its interval), ``providers`` and ``categories`` are exposure as in the methods'
    own figures, ``likeness`` that of lists.
    """
    names = [name for name in report["methods"] if reranked(name) is not None]
    if OURS not in report["methods"] or not names:
        return []
    return [_row(report, name) for name in (OURS, *sorted(names, key=reranked))]  # type: ignore[arg-type]


def _row(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    found, window = report["methods"][name], report["protocol"]["chief_window"]
    told = report["intervals"][window].get(name, {}).get("ndcg@10", {})
    return {
        "method": name,
        "setting": setting_in_words(name),
        "ndcg@10": found["windows"][window]["ndcg@10"],
        "ndcg@10_lost": told.get("difference") if name != OURS else None,
        "interval": told.get("difference_interval") if name != OURS else None,
        **{kind: found.get("exposure", {}).get(kind) for kind in ("providers", "categories")},
        "likeness": found.get("likeness", {}),
    }


def setting_in_words(name: str) -> str:
    """Of a re-ranked run its setting, as it would stand in a configuration.

    >>> setting_in_words("fair-0.5")
    'ranking.provider_exposure_min = 0.5'
    """
    setting = reranked(name)
    return "as configured" if setting is None else f"{SETTING_OF[setting.kind]} = {setting.amount:g}"


def _short(row: Mapping[str, Any]) -> str:
    return str(row["setting"]).removeprefix("ranking.")


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row as people read it, beside its setting."""
    providers, alike = row["providers"], row["likeness"]
    ndcg, lost = row["ndcg@10"], row["ndcg@10_lost"]
    return [
        "" if ndcg is None else f"{ndcg:.4f}",
        "" if lost is None or not ndcg else f"{100 * lost / (ndcg + lost):.1f} %",
        "" if providers is None else f"{providers['gini']:.3f}",
        "" if providers is None else f"{providers['catalogue_gini']:.3f}",
        "" if providers is None else f"{providers['parity']['tenth']:.2f}",
        "" if providers is None else f"{providers['shown']:,} of {providers['known']:,}",
        *(f"{alike[kind]:.3f}" if kind in alike else "" for kind in ("vectors", "categories")),
    ]


def text_table(report: Mapping[str, Any]) -> list[str]:
    """Lines for a terminal; none where nothing was re-ranked."""
    found = [[_short(row), *cells(row)] for row in report["reranking"]]
    if not found:
        return []
    table = [[*_HEADS], *found]
    widths = [max(len(line[n]) for line in table) for n in range(len(_HEADS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]


def section(report: Mapping[str, Any]) -> str:
    """The same for the page."""
    found = report["reranking"]
    if not found:
        return ""
    head = "".join(f"<th>{name}</th>" for name in _HEADS)
    lines = "".join(
        f"<tr><th>{escape(_short(row))}</th>{''.join(f'<td>{cell}</td>' for cell in cells(row))}</tr>" for row in found
    )
    return (
        "<section><h2>What fairness and diversity cost</h2><p>A floor on the exposure of providers and the diversity of lists are paid for in "
        "NDCG: <b>cost</b> is what is lost against the run as configured. The second Gini is over items, each with an equal part of what its provider gets: 0 where providers are shown by the sizes of their "
        "catalogues. <b>Lowest tenth</b>: one in ten providers gets no more than this times what its size would give it. <b>Alike</b> is the mean over all pairs of a list's first ten: the cosine of their learned vectors, and how many "
        f'categories two have in common.</p><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></section>'
    )
