// Looking up: a user and why he got what he got, an item, dead letters, snapshots.

import { ago, announce, ask, bytes, count, el, fill, marked, percent, problem, ratio, table, when } from "./words.js";

const titles = {};
let nowMs = () => Date.now();
export const setClock = (clock) => (nowMs = clock);

export function itemWord(id, { alone = true } = {}) {
  if (id === null || id === undefined) return "an item whose row was freed";
  const title = titles[id];
  return el("span", {}, el("a", { href: `#item=${encodeURIComponent(id)}` }, title ?? id), title && alone ? el("span", { class: "id" }, id) : null);
}

const userWord = (id) => el("a", { href: `#user=${encodeURIComponent(id)}` }, id);
const learn = (found) => Object.assign(titles, found);
const note = (text) => el("p", { class: "dim" }, marked(text));

export async function showUser(id) {
  document.getElementById("user-id").value = id;
  fill("user-answer", note("Looking…"));
  try {
    const found = await ask(`/console/user?id=${encodeURIComponent(id)}`);
    learn(found.titles);
    fill("user-answer", userAnswer(found));
    announce(`What is known of user ${id} is shown.`);
  } catch (error) {
    fill("user-answer", problem(error));
  }
}

function userAnswer(found) {
  const { state, served } = found;
  const about = [];
  if (found.no_state) about.push(el("p", { class: "card warn" }, found.no_state, " The list below is what readers get, from the store."));
  else if (!state) about.push(el("p", {}, `No user ${found.user_id} is known to the state: no event came, or its row was given to a later one.`));
  if (found.store_error) about.push(el("p", { class: "card warn" }, `The store does not answer, so the list as served is not known: ${found.store_error}`));
  const left = el("div", { class: "card" }, el("h3", {}, "The list, as readers get it"), served ? listSaid(found) : el("p", {}, found.store_error ? "Not known." : "There is none, not even a popular one."));
  if (served) left.append(...list(served).filter(Boolean));
  const right = state ? el("div", { class: "card" }, el("h3", {}, `What is known of user ${found.user_id}`), facts(state), windowTable(state)) : null;
  return [...about, el("div", { class: "two" }, left, right)];
}

function listSaid({ served, state, user_id, floor }) {
  const lines = [];
  if (!served.personal) lines.push(`User ${user_id} has no list of his own: this is the popular one.`);
  lines.push(`Written ${when(served.written_ms, nowMs())}, with ${count(served.head_step)} blocks learned.`);
  if (state?.list_waits) lines.push("Something happened since: a newer list is on its way to the store.");
  else if (state && served.personal) lines.push("Nothing happened to this user since it was written.");
  if (state && served.personal) {
    const then = served.items.map((one) => one.item_id);
    const other = state.now.filter((one) => !then.includes(one)).length;
    if (other) lines.push(`Written now, ${other} of ${state.now.length} places would hold other items: the rest of the stream went on${floor ? ", or other providers are below their floor by what lists have shown since" : ""}.`);
  }
  if (state?.fixed_weights) lines.push("Lists come from the fixed weights now.");
  return el("p", { class: "dim" }, lines.join(" "));
}

const SHOWN = 10;

function list(served) {
  const largest = Math.max(0.01, ...served.items.flatMap((one) => one.parts.map((part) => Math.abs(part.value))));
  const entries = served.items.map((one, n) =>
    el("li", {},
      el("span", { class: "rank" }, `${n + 1}.`),
      el("span", {}, itemWord(one.item_id)),
      el("span", { class: "score", title: "score: the larger, the likelier" }, one.score.toFixed(2)),
      el("span", { class: "why" }, words(one.parts)),
      el("details", {}, el("summary", {}, "how the score adds up"), el("div", { class: "parts" }, one.parts.flatMap((part) => [track(part.value, largest), el("span", { class: "value" }, part.value.toFixed(2)), el("span", {}, part.words)]))),
    ));
  const rest = entries.slice(SHOWN);
  return [el("ol", { class: "list" }, entries.slice(0, SHOWN)), rest.length ? el("details", {}, el("summary", {}, `${rest.length} more`), el("ol", { class: "list", start: String(SHOWN + 1) }, rest)) : null];
}

function words(parts) {
  const said = parts.filter((part) => part.words.startsWith("because")).map((part) => part.words.slice(8));
  const first = said.length ? `because ${said.join("; and because ")}` : parts[0]?.words ?? "no reason given";
  return `${first[0].toUpperCase()}${first.slice(1)}.`;
}

function track(value, largest) {
  const bar = el("i", { class: value >= 0 ? "for" : "against" });
  bar.style.width = `${(50 * Math.abs(value)) / largest}%`;
  return el("span", { class: "track", "aria-hidden": "true" }, bar);
}

function facts(state) {
  return el("dl", { class: "facts" },
    el("dt", {}, "Last event"), el("dd", {}, state.last_ms ? `${when(state.last_ms, nowMs())}, by its own time` : "none that counts"),
    el("dt", {}, "Interactions"), el("dd", {}, `${count(state.interactions)} ever, with ${count(state.items_remembered)} different items remembered`),
    el("dt", {}, "Repeats"), el("dd", {}, `${percent(state.repeats_ratio)} of the last ones were with items had before`),
  );
}

function windowTable(state) {
  if (!state.window.length) return note("The window is empty.");
  const rows = state.window.map((one, n) => ({ cells: [itemWord(one.item_id, { alone: false }), one.type, ago(one.time_ms, nowMs())], class: n ? null : "mine" }));
  return el("div", {}, note(`The window: the last ${state.window.length} interactions, from which the list is made, the newest first.`), el("div", { class: "wide" }, table(["item", "event", "when"], rows)));
}

export async function showItem(id) {
  document.getElementById("item-id").value = id;
  fill("item-answer", note("Looking…"));
  try {
    const found = await ask(`/console/item?id=${encodeURIComponent(id)}`);
    learn(found.titles);
    fill("item-answer", itemAnswer(found));
    announce(`What is known of item ${id} is shown.`);
  } catch (error) {
    fill("item-answer", problem(error));
  }
}

function itemAnswer(found) {
  const { state, document: doc } = found;
  const parts = [];
  if (found.no_state) parts.push(el("p", { class: "card warn" }, found.no_state));
  else if (!state) parts.push(el("p", {}, `No item ${found.item_id} is known to the state: neither event nor document came.`));
  parts.push(el("div", { class: "two" }, documentCard(found, doc), state ? countsCard(state) : null));
  if (state) {
    const similar = state.similar === null ? [note("The catalogue is too large to be searched between two batches.")] : [ranked(state.similar, "cosine", ratio, "no vectors yet")];
    parts.push(el("p", {}), el("div", { class: "three" },
      el("div", { class: "card" }, el("h3", {}, "What came after it"), note("share of what followed within a window, of all users"), ranked(state.after, "wide_ratio", percent, "nothing yet")),
      el("div", { class: "card" }, el("h3", {}, "What came before it"), note("the same, the other way"), ranked(state.before, "wide_ratio", percent, "nothing yet")),
      el("div", { class: "card" }, el("h3", {}, "Alike"), note("nearest learned vectors, by cosine"), similar)));
  }
  return parts;
}

function documentCard(found, doc) {
  const state = found.state;
  const flags = state ? [state.withdrawn ? "withdrawn: never listed" : "may be listed", state.document ? "its document came" : "no document came", state.vector ? "its text has a vector" : "without a vector of its text"].join("; ") : "";
  if (!doc) return el("div", { class: "card" }, el("h3", {}, found.item_id), note(flags), note(found.log_error ?? (found.documents_read ? "No document is on the log (or it is beyond the 50,000 that this page keeps)." : "Documents are being read from the log: look again in a moment.")));
  return el("div", { class: "card" }, el("h3", {}, doc.title ?? found.item_id), note(flags), el("p", {}, doc.text || "", doc.text_cut ? "…" : ""), el("dl", { class: "facts" },
    el("dt", {}, "Id"), el("dd", {}, found.item_id),
    doc.categories.length ? [el("dt", {}, "Categories"), el("dd", {}, doc.categories.join(", "))] : [],
    doc.provider ? [el("dt", {}, "Provider"), el("dd", {}, doc.provider)] : [],
    doc.image ? [el("dt", {}, "Image"), el("dd", {}, doc.image)] : [],
    el("dt", {}, "Where"), el("dd", {}, el("code", {}, doc.at))));
}

function countsCard(state) {
  const rows = state.trends.map((one) => ({ cells: [one.half_life === null ? "for ever" : `about the last ${count(one.half_life)}`, one.users.toFixed(one.users < 10 ? 2 : 0), one.rank === null ? (one.ranked ? `beyond ${one.ranked}` : "–") : `${one.rank}.`] }));
  return el("div", { class: "card" }, el("h3", {}, "How popular it is"), note("Users who chose it, fading with the interactions of the whole stream since; and its place among all items."), el("div", { class: "wide" }, table(["within interactions", "users", "place"], rows)));
}

function ranked(rows, value, format, none) {
  if (!rows.length) return note(none);
  const most = Math.max(...rows.map((one) => one[value]), 1e-9);
  return el("div", { class: "wide" }, table(["item", ""], rows.map((one) => {
    const bar = el("i", { class: "bar" });
    bar.style.width = `${Math.max(1, (60 * one[value]) / most)}px`;
    return { cells: [itemWord(one.item_id, { alone: false }), el("span", {}, format(one[value]), el("span", { class: "track-line", "aria-hidden": "true" }, bar))] };
  })));
}

export async function showRecent() {
  try {
    const found = await ask("/console/recent");
    learn(found.titles);
    const said = (name, words) => (words.length ? [el("span", {}, name), ...words] : []);
    fill("user-recent", said("Seen just now:", found.users.map(userWord)));
    fill("item-recent", said("Chosen just now:", found.items.slice(0, 5).map((id) => itemWord(id, { alone: false }))));
  } catch (error) {
    fill("user-recent", el("span", {}, error.message));
    fill("item-recent");
  }
}

export async function showLetters(reason) {
  fill("letters-answer", note("Looking…"));
  try {
    const found = await ask(`/console/letters${reason ? `?reason=${encodeURIComponent(reason)}` : ""}`);
    fill("letters-answer", lettersAnswer(found, reason));
    announce(`${found.letters.length} dead letters are shown.`);
  } catch (error) {
    fill("letters-answer", problem(error));
  }
}

function lettersAnswer(found, reason) {
  if (!found.looked_at) return note("There are none on the log.");
  const choice = el("div", { class: "choice", role: "group", "aria-label": "Reason" }, [["", found.looked_at], ...Object.entries(found.reasons)].map(([name, number]) =>
    el("button", { type: "button", "aria-pressed": String((reason ?? "") === name), onclick: () => showLetters(name) }, `${name || "any reason"} ${count(number)}`)));
  const letters = found.letters.map((one) => el("li", {}, el("details", {},
    el("summary", {}, el("b", {}, one.reason || "(no reason)"), `${when(one.at_ms, nowMs())}, from `, el("code", {}, one.origin), one.redriven ? ", sent again since" : ""),
    el("p", {}, one.error),
    el("dl", { class: "facts" }, el("dt", {}, "Key"), el("dd", {}, one.key === null ? "(null)" : one.key), el("dt", {}, "Attempts"), el("dd", {}, String(one.attempts)), el("dt", {}, "Letter"), el("dd", {}, el("code", {}, one.letter)), el("dt", {}, "Value"), el("dd", {}, `${count(one.bytes)} bytes${one.cut ? ", cut here" : ""}`)),
    el("pre", { tabindex: "0" }, one.value === null ? "(null)" : pretty(one.value)))));
  return [note(`Of the newest ${count(found.looked_at)} letters; the topic holds ${count(found.records)} records. \`streamer dead-letters\` shows all, \`streamer redrive\` sends them again.`), choice, el("ul", { class: "letters" }, letters.slice(0, SHOWN)), letters.length > SHOWN ? el("details", {}, el("summary", {}, `${letters.length - SHOWN} more`), el("ul", { class: "letters" }, letters.slice(SHOWN))) : null];
}

function pretty(value) {
  try {
    return JSON.stringify(JSON.parse(value), null, 1);
  } catch {
    return value;
  }
}

export async function snapshotList() {
  return (await ask("/console/snapshots")).snapshots;
}

export async function showSnapshots() {
  fill("snapshots-answer", note("Looking…"));
  try {
    const rows = (await snapshotList()).map((one) => ({ class: one.committed ? "mine" : null, cells: [el("span", {}, el("code", {}, one.name), one.committed ? " in force" : ""), ago(one.created_ms, nowMs()), count(one.applied), count(one.head_step), bytes(one.bytes)] }));
    fill("snapshots-answer", rows.length ? table(["snapshot", "taken", "events", "blocks", "tables"], rows) : note("None is complete yet."));
  } catch (error) {
    fill("snapshots-answer", problem(error));
  }
}

