// The console: listens to the worker, and shows what it says. Without a stream it asks every few seconds.

import { showActions } from "./act.js";
import { Chart } from "./charts.js";
import { setClock, showItem, showLetters, showRecent, showSnapshots, showUser } from "./look.js";
import { ago, announce, ask, bytes, clock, count, el, fill, marked, percent, ratio, say, seconds, table, when } from "./words.js";

const SILENT_MS = 5000;
let state = null;
let heardAt = 0;
let skew = 0;
let span = null;
let history = [];
let stepMs = 1000;
setClock(() => Date.now() + skew);

const COLOURS = ["c1", "c2", "c3", "c5", "c4", "c6", "c0", "c7"];
const colours = new Map(); // a kind of signal has one colour on every chart
const column = (rows, name) => rows.map((row) => row[name]);

function colourOf(name) {
  if (!colours.has(name)) colours.set(name, COLOURS[colours.size % COLOURS.length]);
  return colours.get(name);
}

function families(rows, name) {
  const found = new Set(rows.flatMap((row) => Object.keys(row[name])));
  return [...found].map((one) => ({ name: one, colour: colourOf(one), values: rows.map((row) => (Object.keys(row[name]).length ? (row[name][one] ?? 0) : null)) }));
}

// Shares of about the last 15 rows that have any: one second's lists are few.
function smooth(rows) {
  const recent = [];
  return rows.map((row) => {
    if (!Object.keys(row.made_of).length) return row;
    recent.push(row.made_of);
    if (recent.length > 15) recent.shift();
    const mean = {};
    for (const shares of recent) for (const [name, share] of Object.entries(shares)) mean[name] = (mean[name] ?? 0) + share / recent.length;
    return { ...row, made_of: mean };
  });
}

const CHARTS = [
  new Chart({ title: "From an event to its list in the store", unit: "seconds", about: "How stale a list is: the half of them, and all but 1 %.", format: (value) => (value === 0 ? "0" : seconds(value)), floor: 0.02, empty: "no list was written for an event in this time", series: (rows) => [{ name: "99 %", colour: "c0", values: column(rows, "fresh_most_s") }, { name: "half", colour: "c1", values: column(rows, "fresh_half_s") }] }),
  new Chart({ title: "How good lists are, lately", unit: "NDCG@10", about: "Over about the last 1,000 judged. Learning helps where the thick line is above counting (fixed weights) and popularity.", format: (value) => value.toFixed(3), floor: 0.02, empty: "nothing was judged yet", series: (rows) => [{ name: "learned", colour: "c0", values: column(rows, "live") }, { name: "counting", colour: "c1", values: column(rows, "fixed") }, { name: "popularity", colour: "c7", values: column(rows, "popularity") }, { name: "as served", colour: "c2", values: column(rows, "served") }] }),
  new Chart({ title: "Events", unit: "per second", about: "Applied to the state; and records rejected, which become dead letters.", format: count, floor: 4, series: (rows) => [{ name: "applied", colour: "c1", values: column(rows, "events_per_s") }, { name: "rejected", colour: "c0", values: column(rows, "dead_per_s") }] }),
  new Chart({ title: "Behind", unit: "records, lists", about: "Records of events on the log and not yet read; users whose list is older than their last event.", format: count, floor: 4, series: (rows) => [{ name: "records behind", colour: "c1", values: column(rows, "lag") }, { name: "lists waiting", colour: "c0", values: column(rows, "unpublished") }] }),
  new Chart({ title: "What lists are made of", unit: "share of the score", about: "Of what the largest terms gave to the entries of lists written just then.", format: (value) => `${Math.round(100 * value)} %`, stacked: true, empty: "no list was written in this time", series: (rows) => families(smooth(rows), "made_of") }),
  new Chart({ title: "What signals weigh", unit: "sum of the gate's weights", about: "For a user with a full window, by kind of signal: what the stream has taught the gate to trust.", format: (value) => value.toFixed(2), floor: 0.2, series: (rows) => families(rows, "weights") }),
];
fill("charts", CHARTS.map((chart) => chart.figure));

function tile(name, big, small) {
  return el("div", {}, el("dt", {}, name), el("dd", { class: "big" }, big), el("dd", { class: "small" }, small));
}

function helps() {
  const { live, fixed, popularity } = state.quality;
  if (!live?.recent || live.judged < 500) return ["not known yet", `${count(live?.judged ?? 0)} of 500 interactions judged`];
  const beside = (other) => (other?.recent ? `${live.recent >= other.recent ? "+" : "−"}${Math.abs(100 * (live.recent / other.recent - 1)).toFixed(0)} %` : "–");
  const yes = live.recent > fixed.recent && live.recent > popularity.recent;
  return [yes ? "yes" : "not now", `${beside(fixed)} over counting, ${beside(popularity)} over popularity`];
}

// Of the last minute; where no event came, of when some last did, as far as the charts know.
function staleness() {
  const last = state.fresh_s ? null : history.findLast((one) => one.fresh_half_s !== null);
  const [half, most] = state.fresh_s ?? (last ? [last.fresh_half_s, last.fresh_most_s] : [null, null]);
  const of = state.fresh_s ? `from event to list, for half; 99 %: ${seconds(most)}` : last ? `from event to list, when one last came (${clock(last.at_ms, false)}); 99 %: ${seconds(most)}` : "no event came within the last minute";
  return tile("How stale a list is", half === null ? "–" : seconds(half), `${of}. Others: again every ${seconds(state.refresh_ms_max / 1000)} while anything changes`);
}

function tiles() {
  const row = state.row ?? {};
  const owns = state.role === "owner";
  if (!owns) return fill("tiles", tile("Role", state.role, "numbers of the stream are told by the owner"), tile("Up since", clock(state.started_ms, false), ago(state.started_ms, state.now_ms)));
  const lag = Object.values(state.lag.events ?? {}).reduce((sum, one) => sum + one, 0);
  const [yes, how] = helps();
  const applied = Object.values(state.counters?.applied ?? {}).reduce((sum, one) => sum + one, 0);
  fill("tiles",
    staleness(),
    tile("Learning helps", yes, how),
    tile("Events", `${count(row.events_per_s ?? 0)}/s`, `${count(applied)} applied`),
    tile("Behind the log", count(lag), lag && state.lag_s !== null ? `records of events, the oldest for about ${seconds(state.lag_s)}` : "records of events"),
    tile("Lists waiting", count(state.lists?.unpublished), `${count(state.lists_written)} written since the start`),
    tile("Last snapshot", state.snapshot.written_ms ? ago(state.snapshot.written_ms, state.now_ms) : "none yet", state.snapshot.written_ms ? `${bytes(state.snapshot.bytes)}; after a crash, what came since is done again` : "the first comes soon"),
    tile("Users, items", `${count(state.users)}, ${count(state.items)}`, "in the state"),
    tile("Dead letters", count(Object.values(state.rejected).reduce((sum, one) => sum + one, 0)), "since this worker started"));
}

function quality() {
  const names = { live: "learned", fixed: "counting (fixed weights)", popularity: "popularity" };
  const rows = Object.entries(state.quality).map(([name, one]) => ({ class: name === "live" ? "mine" : null, cells: [names[name] ?? name, ratio(one.recent), ratio(one.ndcg), ratio(one.hr), count(one.judged)] }));
  const { arrived, judged, hits, ndcg } = state.served;
  if (judged) rows.push({ cells: [`as served (${percent(judged / arrived)} of all)`, ratio(state.row?.served), ratio(ndcg / judged), ratio(hits / judged), count(judged)] });
  fill("quality", rows.length ? table(["lists by", "NDCG@10 lately", "NDCG@10 in all", "HR@10 in all", "judged"], rows) : el("p", { class: "dim" }, state.role === "owner" ? "Nothing was judged yet." : "The owner knows."));
}

function weights() {
  const kinds = state.weights;
  if (!kinds.length) return void (fill("weights", el("p", { class: "dim" }, "The owner knows.")), fill("weights-short"));
  const head = ["signal", ...kinds.map((kind) => kind.who)];
  const rows = state.terms.map((term, n) => ({ cells: [term.replaceAll("_", " "), ...kinds.map((kind) => (kind.weight[n] ?? 0).toFixed(2))] }));
  const full = kinds.find((kind) => kind.who === "with a full window");
  const start = kinds.at(-1);
  const moved = rows.map((row, n) => ({ row, by: Math.abs(full.weight[n] - start.weight[n]) })).sort((a, b) => b.by - a.by).slice(0, 5);
  fill("weights", table(head, rows));
  fill("weights-short", table(head, moved.map((one) => one.row), "The five that moved most"));
}

function drift() {
  const rows = state.drift.map((one) => ({ class: one.alarm_ms ? "mine" : null, cells: [one.what.replace(/^the /, ""), one.mean.toFixed(3), one.before === null ? "–" : one.before.toFixed(3), one.alarm_ms ? ago(one.alarm_ms, state.now_ms) : "never"] }));
  fill("drift", rows.length ? table(["of events, or NDCG@10", "now", "before", "alarm"], rows) : el("p", { class: "dim" }, state.role === "owner" ? "Too little has come yet." : "The owner knows."));
}

function exposure() {
  const kinds = { provider: "providers", category: "categories" };
  const shown = Object.entries(state.exposure).filter(([, one]) => one.shown);
  document.getElementById("exposure-card").hidden = !shown.length;
  fill("exposure", shown.map(([kind, one]) => {
    const largest = Object.entries(one.most).slice(0, 5);
    const rest = 1 - largest.reduce((sum, [, share]) => sum + share, 0);
    const rows = [...largest.map(([name, share]) => ({ cells: [name, percent(share)] }))];
    if (one.known > largest.length) rows.push({ cells: [`${count(one.known - largest.length)} others`, percent(Math.max(0, rest))] });
    return table([`${kinds[kind]}: ${count(one.shown)} of ${count(one.known)} shown, Gini ${one.gini.toFixed(2)}`, "share"], rows);
  }));
}

function journal() {
  const made = state.journal.map((one) => el("li", { class: one.level }, el("time", { datetime: new Date(one.at_ms).toISOString() }, clock(one.at_ms)), one.text));
  fill("journal", made.length ? made : el("li", {}, "nothing yet"));
}

let findingsShown = "";
let announced = "";
let journalShown = "";
let slowAt = 0;

function show() {
  document.title = `${state.verdict.title} · ${state.namespace}`;
  say("namespace", state.namespace);
  say("role", state.role);
  document.getElementById("role").className = `chip ${state.role}`;
  say("version", `Streamer ${state.version}`);
  const card = document.getElementById("verdict");
  card.className = `card verdict ${state.verdict.level}`;
  say("verdict-title", state.verdict.title);
  say("verdict-text", state.verdict.text);
  const { findings } = state.verdict;
  const told = JSON.stringify(findings);
  if (told !== findingsShown) {
    findingsShown = told;
    fill("findings", findings.map((one) => el("li", { class: one.level }, el("b", {}, marked(one.what)), el("span", {}, marked(one.todo)))));
  }
  const news = `${state.verdict.title}. ${findings.map((one) => one.what).join(" ")}`;
  if (news.replace(/\d/g, "") !== announced) {
    announced = news.replace(/\d/g, "");
    announce(news);
  }
  tiles();
  if (Date.now() - slowAt > 4000) {
    slowAt = Date.now();
    quality();
    weights();
    drift();
    exposure();
  }
  const happened = JSON.stringify(state.journal);
  if (happened !== journalShown) {
    journalShown = happened;
    journal();
  }
  const reasons = Object.entries(state.rejected).map(([name, number]) => `${name} ${count(number)}`).join(", ");
  say("letters-said", reasons ? `Since this worker started: ${reasons}.` : "None since this worker started; the log may hold those of before.");
  const { snapshot } = state;
  say("snapshot-said", snapshot.written_ms ? `The last was taken ${when(snapshot.written_ms, state.now_ms)}, in ${seconds(snapshot.write_s)} beside the stream, which stood still for ${seconds(snapshot.pause_s)} at most; one every ${seconds(snapshot.interval_ms / 1000)} while anything is applied.${snapshot.failures ? ` ${count(snapshot.failures)} failed.` : ""}` : snapshot.name ? `In force: ${snapshot.name}; none was taken since the start.` : "None was taken since the start.");
  say("tenure-said", `This process started ${when(state.started_ms, state.now_ms)} and became the owner ${state.takeovers === 1 ? "once" : `${state.takeovers} times`}${state.generation === null ? "" : `; generation ${state.generation}, epoch ${state.epoch}`}.`);
  showActions(state.access, showRecent);
}

function take(found) {
  const first = state === null;
  state = found;
  heardAt = Date.now();
  skew = found.now_ms - heardAt;
  show();
  if (found.row && span === "10 min" && found.row.at_ms > (history.at(-1)?.at_ms ?? 0)) {
    history.push(found.row);
    if (history.length > 600) history.shift();
    charts();
  }
  if (first) showRecent();
}

const SPAN_MS = { "10 min": 600e3, "2 h": 7200e3, "24 h": 86400e3 };

function charts() {
  const known = history.some((row) => row.lag !== null || row.live !== null || row.events_per_s !== null);
  document.getElementById("time").classList.toggle("bare", !known);
  say("time-none", known ? "" : "This worker has no state, and so no figures yet. The owner's page has them.");
  for (const chart of CHARTS) chart.show(history, SPAN_MS[span], stepMs);
}

async function showSpan(name) {
  try {
    const found = await ask(`/console/history?span=${encodeURIComponent(name)}`);
    span = name;
    history = found.rows;
    stepMs = 1000 * found.step_s;
    fill("spans", found.spans.map((one) => el("button", { type: "button", "aria-pressed": String(one === span), onclick: () => showSpan(one) }, one)));
    charts();
  } catch {
    setTimeout(() => showSpan(name), 3000);
  }
}
setInterval(() => span && span !== "10 min" && !document.hidden && showSpan(span), 15000);

function link() {
  const silent = Date.now() - heardAt;
  const lost = heardAt ? silent > SILENT_MS : silent > SILENT_MS && performance.now() > SILENT_MS;
  document.body.classList.toggle("stale", lost);
  document.getElementById("link").className = `link ${lost ? "lost" : heardAt ? "live" : ""}`;
  const since = heardAt ? `No word since ${clock(heardAt)} (${seconds(silent / 1000)}): what you see is from then. Is the worker up and reachable?` : "The worker does not answer.";
  say("link", lost ? since : heardAt ? "live" : "Connecting…");
}
setInterval(link, 1000);

let polling = null;

function poll() {
  if (polling) return;
  const once = () => ask("/console/state").then(take, () => {});
  polling = setInterval(once, 3000);
  once();
}

let source = null;

function listen() {
  source = new EventSource("/console/events");
  source.addEventListener("state", (event) => {
    clearInterval(polling);
    polling = null;
    take(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    poll();
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 10000);
  });
}

function route() {
  const [name, id] = location.hash.slice(1).split("=");
  if (!id) return;
  const place = document.getElementById(name);
  if (name === "user") showUser(decodeURIComponent(id));
  else if (name === "item") showItem(decodeURIComponent(id));
  place?.scrollIntoView();
}

for (const [name, look] of [["user", showUser], ["item", showItem]]) {
  document.getElementById(`${name}-form`).addEventListener("submit", (event) => {
    event.preventDefault();
    const id = document.getElementById(`${name}-id`).value;
    const hash = `#${name}=${encodeURIComponent(id)}`;
    if (location.hash === hash) look(id);
    else location.hash = hash;
  });
}
document.getElementById("letters-load").addEventListener("click", () => showLetters());
document.getElementById("snapshots-load").addEventListener("click", showSnapshots);
addEventListener("hashchange", route);
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => event.persisted && listen());
showSpan("10 min");
listen();
route();
