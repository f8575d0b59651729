"""The fusion head in its bilinear form, its block of examples, and its learner on the CPU.

    fused(v) = E_text(v) W_text + E_image(v) W_image + t_v e_v    frozen content through learned matrices, plus a free vector per item
    fused(u) = M sum_p a_p fused(w_p)                             the window's items, newest first, a = softmax(place_p + key . fused(w_p))
    s(u, v)  = fused(u) . fused(v) + b_v

``t_v = n / (n + YOUTH)`` after n examples of an item with content, else 1: a young item is where its content puts it, an old one where its
choices do. In learning a part of the items lose a modality or their free vector for one step, so that each part can stand alone.

Learned by blocks of examples by maximum likelihood (binomial): each example's target against negatives shared by the block, drawn
half evenly from the catalog and half from recent targets, with the log-odds correction for their sampling,
``sigmoid(s(u, v) - log(N q(v)))`` (Gutmann and Hyvarinen 2010). What was shown and not chosen is a negative of its own, without correction. One optimizer float a row: Adagrad with decaying accumulators.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.signals.pairs import CONTEXT
from streamer.tables.arrays import Array, grown, resized
from streamer.tables.compile import brief_kernel, kernel, leaf_kernel
from streamer.tables.prefetch import prefetch
from streamer.tables.random import DROPOUT, NEGATIVES, draw_rows, random_below, random_u64
from streamer.tables.vectors import add_scaled, dot

DIMENSIONS = 32
RECENCY = 0.8
"""What a place of the window weighs beside the newer one before attention is learned."""
ATTENTION_MAX = 20.0
"""Bound on the logit of a place of the window."""
RECENT_TARGETS = 4_096
EXTRA_TARGETS = 64
"""A group may overfill a block by so many examples; what comes beyond is not learned by the head."""
SQUARE_DECAY = 0.99
INIT_SCALE = 0.1
YOUTH = 8.0
"""Examples after which the free vector of an item with content has half its weight."""
DROP_TEXT, DROP_IMAGE, DROP_FREE = 0.1, 0.1, 0.2
"""Shares of a block's items that learn without one of two modalities, and of those with content without their free vector."""
KEEP, WITHOUT_TEXT, WITHOUT_IMAGE, WITHOUT_FREE = range(4)
REFRESHED = 256
"""Rows of ``fused_ID`` computed anew after each block, in turn, beside the rows that it touched."""

BLOCK_EXAMPLES, BLOCK_RECORDS, BLOCK_FIRST_MS, BLOCK_SHOWN = range(4)
STEP, SKIPPED, CURSOR = 0, 1, 2


class Head(NamedTuple):
    """Parameters of the head and their accumulators; ``steps`` = [blocks, skipped, cursor], ``seen_I`` examples of an item as target.

    ``fused_ID`` caches fused(v) (the same array as ``free_ID`` while there is no content), ``text_ID`` and ``image_ID`` what the modalities give to it. Of the rows of ``content_ED`` the first
    ``widths`` [0] are the text's, as many as [1] the image's.
    """

    free_ID: Array
    bias_I: Array
    square_I: Array
    seen_I: Array
    fused_ID: Array
    text_ID: Array
    image_ID: Array
    content_ED: Array
    content_square_E: Array
    widths: Array
    turn_DD: Array
    turn_square: Array
    place_C: Array
    key_D: Array
    attention_square: Array
    """Accumulators of ``place_C`` and ``key_D``."""
    steps: Array
    recent_T: Array
    recent_count_I: Array
    recent: Array
    """[targets ever noted]."""


class Block(NamedTuple):
    """The open block: contexts (items newest first), targets, weights (negative: shown and not chosen); ``state`` = [examples, records, first event time, examples shown]."""

    context_BN: Array
    length_B: Array
    target_B: Array
    weight_B: Array
    state: Array


def new_head(items: int) -> Head:
    """An untrained head without content."""
    free_ID = np.zeros((items, DIMENSIONS), np.float32)
    return Head(
        free_ID=free_ID,
        bias_I=np.zeros(items, np.float32),
        square_I=np.zeros(items, np.float32),
        seen_I=np.zeros(items, np.float32),
        fused_ID=free_ID,
        text_ID=np.zeros((0, DIMENSIONS), np.float32),
        image_ID=np.zeros((0, DIMENSIONS), np.float32),
        content_ED=np.zeros((0, DIMENSIONS), np.float32),
        content_square_E=np.zeros(0, np.float32),
        widths=np.zeros(2, np.int64),
        turn_DD=np.eye(DIMENSIONS, dtype=np.float32),
        turn_square=np.zeros(1, np.float32),
        place_C=(np.arange(CONTEXT) * np.log(RECENCY)).astype(np.float32),
        key_D=np.zeros(DIMENSIONS, np.float32),
        attention_square=np.zeros(2, np.float32),
        steps=np.zeros(3, np.int64),
        recent_T=np.zeros(RECENT_TARGETS, np.int32),
        recent_count_I=np.zeros(items, np.int32),
        recent=np.zeros(1, np.int64),
    )


BY_ITEM = ("free_ID", "bias_I", "square_I", "seen_I", "fused_ID", "text_ID", "image_ID", "recent_count_I")
"""Fields with a row for each item, but for those of a modality that no item has had yet, and what is fused without content: they have none."""
OF_MODALITY = ("text_ID", "image_ID")


def reserve_head(head: Head, items: int) -> Head:
    """Room for ``items`` rows in all; the same object where there is room already."""
    if items <= len(head.bias_I):
        return head
    return with_rows(head, items)


def with_rows(head: Head, items: int) -> Head:
    """Every field that has rows with at least so many; without content what is fused is the free vector itself, and not kept twice."""
    head = head._replace(**{name: grown(getattr(head, name), items) for name in fields_by_item(head)})
    return head if head.widths.any() else head._replace(fused_ID=head.free_ID)


def fields_by_item(head: Head) -> list[str]:
    """Those of ``BY_ITEM`` that have rows now."""
    absent = {name for name, width in zip(OF_MODALITY, head.widths, strict=True) if not width}
    return [name for name in BY_ITEM if name not in absent and (name != "fused_ID" or head.widths.any())]


def with_content(head: Head, widths: tuple[int, int], seed: int) -> Head:
    """The head with a matrix for each modality of these widths, drawn once when its first vector arrives; what was learned stays."""
    if tuple(head.widths) == tuple(widths):
        return head
    parts_ED, parts_E = [], []
    first = 0
    for m in range(2):
        had = int(head.widths[m])
        part_ED, part_E = head.content_ED[first : first + had], head.content_square_E[first : first + had]
        first += had
        if had != widths[m]:
            part_ED, part_E = np.zeros((widths[m], DIMENSIONS), np.float32), np.zeros(widths[m], np.float32)
            draw_rows(part_ED, 0, widths[m], seed, (1 << 40) + (m << 32), INIT_SCALE * 2.0)
        parts_ED.append(part_ED)
        parts_E.append(part_E)
    fused_ID = resized(head.fused_ID, 0) if head.fused_ID is head.free_ID else head.fused_ID
    head = head._replace(
        content_ED=np.concatenate(parts_ED),
        content_square_E=np.concatenate(parts_E),
        widths=np.array(widths, np.int64),
        fused_ID=fused_ID,
    )
    return with_rows(head, len(head.bias_I))


def with_learned(ours: Head, theirs: Head, from_T: Array, to_T: Array, *, rows: int, seed: int) -> Head:
    """Our head with what theirs has learned: the matrices, and of items its rows ``from_T`` in ours ``to_T`` (in place).

    Of our other ``rows``, those that are not finite start anew: they would spoil every block that draws them.
    """
    for name in ("free_ID", "bias_I", "square_I", "seen_I"):
        getattr(ours, name)[to_T] = getattr(theirs, name)[from_T]
    sound_I = np.isfinite(ours.free_ID[:rows]).all(axis=1) & np.isfinite(ours.bias_I[:rows]) & np.isfinite(ours.square_I[:rows])
    sound_I[to_T] = True
    for row in np.flatnonzero(~sound_I):
        admit_item(ours, int(row), seed)
    shared = ("content_ED", "content_square_E", "widths", "turn_DD", "turn_square", "place_C", "key_D", "attention_square")
    return ours._replace(**{name: getattr(theirs, name).copy() for name in shared})


def head_out(head: Head, items: int) -> dict[str, Array]:
    """For a snapshot."""
    rows = dict.fromkeys(BY_ITEM, 0) | dict.fromkeys(fields_by_item(head), items)
    return {f"head.{name}": getattr(head, name)[: rows.get(name)] for name in Head._fields}


def head_in(tables: dict[str, Array], items: int) -> Head:
    """From a snapshot, with room for ``items`` rows."""
    head = Head(*(resized(tables[f"head.{name}"], 0) for name in Head._fields))
    # older snapshots have rows of zeros for a modality that no item has had
    empty = {name: getattr(head, name)[:0] for name in OF_MODALITY if name not in fields_by_item(head)}
    return with_rows(head._replace(**empty), items)


def new_block(records: int) -> Block:
    """An empty block for ``records`` examples, those by which a group may overfill it, and as many shown and not chosen."""
    size = 2 * records + EXTRA_TARGETS
    return Block(
        context_BN=np.zeros((size, CONTEXT), np.int32),
        length_B=np.zeros(size, np.int32),
        target_B=np.zeros(size, np.int32),
        weight_B=np.zeros(size, np.float32),
        state=np.zeros(4, np.int64),
    )


def block_out(block: Block) -> dict[str, Array]:
    """For a snapshot: the open block as it is."""
    used = int(block.state[BLOCK_EXAMPLES])
    return {
        f"block.{name}": array if name == "state" else array[:used] for name, array in zip(Block._fields, block, strict=True)
    }


def block_in(tables: dict[str, Array], records: int) -> Block:
    """From a snapshot."""
    size = 2 * records + EXTRA_TARGETS
    return Block(*(resized(tables[f"block.{name}"], 0 if name == "state" else size) for name in Block._fields))


@kernel
def admit_item(head: Head, row: int, seed: int) -> None:
    """Gives a new item its free vector, at random so that items differ."""
    draw_rows(head.free_ID, row, row + 1, seed, 0, INIT_SCALE)
    head.bias_I[row] = 0.0
    head.square_I[row] = 0.0
    head.seen_I[row] = 0.0
    free_D, fused_D = head.free_ID[row], head.fused_ID[row]  # the same one while there is no content
    for d in range(len(free_D)):
        fused_D[d] = free_D[d]
    if head.widths[0] > 0:
        head.text_ID[row] = 0.0
    if head.widths[1] > 0:
        head.image_ID[row] = 0.0


@kernel
def draw_dropout(step: int, item_T: Array, seed: int, part_T: Array) -> None:
    """What each item of a block learns without: a function of (seed, step, item)."""
    for n in range(len(item_T)):
        draw = np.float64(random_u64(seed, DROPOUT, step, item_T[n]) >> np.uint64(11)) / 9007199254740992.0
        part_T[n] = KEEP
        if draw < DROP_TEXT:
            part_T[n] = WITHOUT_TEXT
        elif draw < DROP_TEXT + DROP_IMAGE:
            part_T[n] = WITHOUT_IMAGE
        elif draw < DROP_TEXT + DROP_IMAGE + DROP_FREE:
            part_T[n] = WITHOUT_FREE


@kernel
def note_example(head: Head, block: Block, context_W: Array, length: int, target: int, weight: float) -> None:
    """Adds an example to the open block, and its target to the recent ones."""
    at = head.recent[0] % RECENT_TARGETS
    if head.recent[0] >= RECENT_TARGETS:
        head.recent_count_I[head.recent_T[at]] -= 1
    head.recent_T[at] = target
    head.recent_count_I[target] += 1
    head.recent[0] += 1
    if block.state[BLOCK_EXAMPLES] - block.state[BLOCK_SHOWN] < _records(block) + EXTRA_TARGETS:
        _put_example(block, context_W, length, target, weight)


@kernel
def note_shown(block: Block, context_W: Array, length: int, item: int, weight: float) -> None:
    """Adds an item that was shown and not chosen to the open block, as many as it may have records."""
    if length > 0 and block.state[BLOCK_SHOWN] < _records(block):
        block.state[BLOCK_SHOWN] += 1
        _put_example(block, context_W, length, item, -weight)


@leaf_kernel
def _records(block: Block) -> int:
    return (len(block.target_B) - EXTRA_TARGETS) // 2


@kernel
def _put_example(block: Block, context_W: Array, length: int, target: int, weight: float) -> None:
    if length == 0:
        return
    n = block.state[BLOCK_EXAMPLES]
    used = min(length, CONTEXT)
    for at in range(CONTEXT):
        block.context_BN[n, at] = context_W[at] if at < used else 0  # nothing of an earlier block stays
    block.length_B[n] = used
    block.target_B[n] = target
    block.weight_B[n] = weight
    block.state[BLOCK_EXAMPLES] = n + 1


@kernel
def fill_query(head: Head, context_W: Array, length: int, mean_D: Array, query_D: Array) -> None:
    """fused(u) of a context; ``mean_D`` is working memory."""
    mean_D[:] = 0.0
    total = np.float32(0.0)
    for n in range(min(length, CONTEXT)):
        row_D = head.fused_ID[context_W[n]]
        logit = head.place_C[n] + dot(head.key_D, row_D)
        share = np.exp(min(max(logit, np.float32(-ATTENTION_MAX)), np.float32(ATTENTION_MAX)))
        add_scaled(mean_D, share, row_D)
        total += share
    query_D[:] = 0.0
    if total > 0:
        for d in range(DIMENSIONS):
            query_D[d] = dot(head.turn_DD[d], mean_D) / total


@kernel
def affinity(head: Head, query_D: Array, item_C: Array, count: int, out_C: Array) -> None:
    """s(u, v) of candidates."""
    for n in range(count):
        item = np.uint32(item_C[n])
        out_C[n] = dot(query_D, head.fused_ID[item]) + head.bias_I[item]


@brief_kernel
def draw_negatives(head: Head, items: int, seed: int, negative_N: Array, log_odds_N: Array) -> None:
    """Negatives of the block at hand, with log(N q(v)) of each; even numbers from the catalog, odd ones from recent targets."""
    count = len(negative_N)
    noted = min(head.recent[0], RECENT_TARGETS)
    for n in range(count):
        bits = random_u64(seed, NEGATIVES, head.steps[STEP], n)
        if n % 2 == 1 and noted > 0:
            negative_N[n] = head.recent_T[random_below(bits, noted)]
        else:
            negative_N[n] = random_below(bits, items)
        prefetch(head.recent_count_I, negative_N[n])
        prefetch(head.free_ID, negative_N[n])
        prefetch(head.free_ID[negative_N[n]], DIMENSIONS // 2)
    fill_log_odds(head, items, negative_N, count, log_odds_N)


@brief_kernel
def fill_log_odds(head: Head, items: int, item_N: Array, count: int, log_odds_N: Array) -> None:
    """log(N q(v)) of each item under the mixture of ``draw_negatives``, N = ``count``."""
    noted = max(min(head.recent[0], RECENT_TARGETS), 1)
    for n in range(len(item_N)):
        log_odds_N[n] = np.log(count * (0.5 / items + 0.5 * head.recent_count_I[item_N[n]] / noted))
