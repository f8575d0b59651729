"""How alike items are in what they say and look like: coordinates of their frozen vectors along the directions in which the catalog differs most.

    place(v) = [sqrt(TEXT_SHARE) text(v) A_text / |.|,  sqrt(1 - TEXT_SHARE) image(v) A_image / |.|]        alike(v, w) = place(v) . place(w)

``A`` are the principal axes of a modality's vectors (as they lie in ``ContentVectors``: centred and of length one), so ``alike`` is the
cosine in the directions that tell items apart, text and image side by side; what an item lacks gives nothing. Nothing of it is learned
from choices: it holds for an item that nobody has had, and says the same of one that everybody had.

The axes are taken anew whenever the mean of the vectors is, at 16, 32, ... 4,096 of them; in between a new item finds its place along those that are there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.items import Items
from streamer.catalog.vectors import ContentVectors
from streamer.catalog.young import YOUNG_MAX, Young
from streamer.tables.arrays import Array, grown, resized

TEXT_AXES, IMAGE_AXES = 32, 16
AXES = TEXT_AXES + IMAGE_AXES
TEXT_SHARE = 0.8
"""Of the likeness of two items that have both: what text gives, image gives the rest."""
ITEMS_AN_AXIS = 2
"""Fewer items than this an axis, and axes follow chance."""
PLACED_AT_ONCE = 4_096
RIDGE = 1e-3
"""Of the number of items: keeps a fit from following noise where there are fewer items than columns."""


class Likeness(NamedTuple):
    """``place_IL``: items' coordinates, text first, 0 where there is nothing (no rows before the first axes); ``there_I``: who has any; ``axis_EL``: the axes, a row for each column of ``ContentVectors``."""

    place_IL: Array
    there_I: Array
    axis_EL: Array
    young_AY: Array
    """The coordinates of the pool of young items, in its order; no state of its own."""


def new_likeness(items: int) -> Likeness:
    """No item has content yet, and none a place."""
    return Likeness(np.zeros((0, AXES), np.float32), np.zeros(items, np.bool_), np.zeros((0, AXES), np.float32), _no_young())


def reserve_likeness(likeness: Likeness, items: int) -> Likeness:
    """Room for ``items`` rows in all; the same object where there is room already."""
    if items <= len(likeness.there_I):
        return likeness
    likeness = likeness._replace(there_I=grown(likeness.there_I, items))
    return _with_room(likeness) if len(likeness.place_IL) else likeness


def _with_room(likeness: Likeness) -> Likeness:
    return likeness._replace(place_IL=grown(likeness.place_IL, len(likeness.there_I)))


def likeness_out(likeness: Likeness, items: int) -> dict[str, Array]:
    """For a snapshot."""
    return {"likeness.place": likeness.place_IL[:items], "likeness.axes": likeness.axis_EL}


def likeness_in(tables: dict[str, Array], items: int) -> Likeness:
    """From a snapshot, with room for ``items`` rows; nothing is placed where it was made before there was likeness."""
    if "likeness.axes" not in tables:
        return new_likeness(items)
    axis_EL = resized(tables["likeness.axes"], 0)
    place_IL = resized(tables["likeness.place"], items) if len(axis_EL) else np.zeros((0, AXES), np.float32)
    there_I = place_IL.any(axis=1) if len(axis_EL) else np.zeros(items, np.bool_)
    return Likeness(place_IL, np.asarray(there_I), axis_EL, _no_young())


def _no_young() -> Array:
    return np.zeros((AXES, YOUNG_MAX), np.float32)


def keep_young(likeness: Likeness, young: Young) -> None:
    """Lays the coordinates of the pool's items side by side, after it or they have changed."""
    count = int(young.tended[0])
    if count:
        likeness.young_AY[:, :count] = likeness.place_IL[young.item_Y[:count]].T


def placed(likeness: Likeness, items: Items, content: ContentVectors, row: int, rows: int, *, moved: bool) -> Likeness:
    """With the place of an item whose vectors have just come; with new axes and all places where ``moved``: the mean of the vectors did."""
    if moved or len(likeness.axis_EL) != content.widths.total:
        return fitted(likeness, items, content, rows)
    place_rows(likeness, items, content, np.array([row]))
    return likeness


def fitted(likeness: Likeness, items: Items, content: ContentVectors, rows: int) -> Likeness:
    """With axes of the vectors as they are, and each of the ``rows`` items in its place."""
    axis_EL = np.zeros((content.widths.total, AXES), np.float32)
    known_T = np.flatnonzero(items.vector_I[:rows] >= 0)
    for m, (part_E, part_L) in enumerate(_parts(content)):
        chosen_T = known_T[content.has(items, known_T)[:, m]]
        gram_EE = np.zeros((part_E.stop - part_E.start,) * 2)
        for first in range(0, len(chosen_T), PLACED_AT_ONCE):
            vector_TE = content.of_rows(items, chosen_T[first : first + PLACED_AT_ONCE])[:, part_E].astype(np.float64)
            gram_EE += vector_TE.T @ vector_TE
        axis_EL[part_E, part_L] = principal_axes(gram_EE, len(chosen_T), part_L.stop - part_L.start)
    return _all_placed(_with_room(likeness._replace(axis_EL=axis_EL)), items, content, rows)


def place_rows(likeness: Likeness, items: Items, content: ContentVectors, row_T: Array) -> None:
    """Puts item rows in their places along the axes."""
    vector_TE = content.of_rows(items, row_T)
    likeness.place_IL[row_T] = 0.0
    for (part_E, part_L), share in zip(_parts(content), (TEXT_SHARE, 1.0 - TEXT_SHARE), strict=True):
        place_TL = vector_TE[:, part_E] @ likeness.axis_EL[part_E, part_L]
        length_T = np.sqrt(np.einsum("tl,tl->t", place_TL, place_TL))
        likeness.place_IL[row_T, part_L] = (
            place_TL * (np.sqrt(share) / np.maximum(length_T, np.float32(1e-6))).astype(np.float32)[:, None]
        )
    likeness.there_I[row_T] = likeness.place_IL[row_T].any(axis=1)


def clear_places(likeness: Likeness, row_T: Array) -> None:
    """Leaves nothing of freed rows."""
    if len(likeness.place_IL):
        likeness.place_IL[row_T] = 0.0
    likeness.there_I[row_T] = False


def refitted(likeness: Likeness, items: Items, content: ContentVectors, chosen_T: Array, rows: int) -> Likeness:
    """Under vectors of another encoder: axes along which they come as near as they can to the places as they were (ridge regression).

    Items of ``chosen_T`` stay exactly where they are, so that their lists do too; the others go where the new vectors put them.
    """
    known_T = np.flatnonzero((items.vector_I[:rows] >= 0) & likeness.place_IL[:rows].any(axis=1))
    before_TL = likeness.place_IL[known_T]
    kept_TL = likeness.place_IL[chosen_T]
    axis_EL = np.zeros((content.widths.total, AXES), np.float32)
    for part_E, part_L in _parts(content):
        vector_TE = content.of_rows(items, known_T)[:, part_E].astype(np.float64)
        if before_TL[:, part_L].any():
            axis_EL[part_E, part_L] = ridge(vector_TE, before_TL[:, part_L])
        else:  # of a modality that comes with these vectors
            axis_EL[part_E, part_L] = principal_axes(vector_TE.T @ vector_TE, len(vector_TE), part_L.stop - part_L.start)
    likeness = _all_placed(likeness._replace(axis_EL=axis_EL), items, content, rows)
    likeness.place_IL[chosen_T] = kept_TL
    likeness.there_I[chosen_T] = kept_TL.any(axis=1)
    return likeness


def _all_placed(likeness: Likeness, items: Items, content: ContentVectors, rows: int) -> Likeness:
    likeness.place_IL[:] = 0.0
    likeness.there_I[:] = False
    known_T = np.flatnonzero(items.vector_I[:rows] >= 0)
    for first in range(0, len(known_T), PLACED_AT_ONCE):
        place_rows(likeness, items, content, known_T[first : first + PLACED_AT_ONCE])
    return likeness


def principal_axes(gram_EE: Array, items: int, axes: int) -> Array:
    """Eigenvectors of the products of ``items`` vectors, as columns: the largest first, each with its largest component above 0.

    As many of the ``axes`` as there are items for, and 0 in the others.
    """
    found_EA = np.zeros((len(gram_EE), axes))
    used = min(axes, len(gram_EE), items // ITEMS_AN_AXIS)
    if used:
        axis_EA = np.linalg.eigh(gram_EE)[1][:, ::-1][:, :used]
        largest_A = np.take_along_axis(axis_EA, np.abs(axis_EA).argmax(axis=0)[None, :], axis=0)
        found_EA[:, :used] = axis_EA * np.where(largest_A < 0, -1.0, 1.0)
    return found_EA


def ridge(from_TE: Array, to_TD: Array) -> Array:
    """W that makes ``from @ W`` nearest to ``to``, by the normal equations with a penalty."""
    gram_EE = from_TE.T @ from_TE
    gram_EE[np.diag_indices_from(gram_EE)] += RIDGE * max(len(from_TE), 1)
    fit_ED: Array = np.linalg.solve(gram_EE, from_TE.T @ to_TD.astype(np.float64)).astype(np.float32)
    return fit_ED


def _parts(content: ContentVectors) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Of either modality: its columns among the vectors', and among the coordinates."""
    text, total = content.widths.text, content.widths.total
    return (slice(0, text), slice(0, TEXT_AXES)), (slice(text, total), slice(TEXT_AXES, AXES))
