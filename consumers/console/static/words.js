// Numbers and times as people read them, and elements made from text alone: what producers sent is never taken for markup.

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

export function fill(id, ...children) {
  const place = typeof id === "string" ? document.getElementById(id) : id;
  place.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return place;
}

// What stands between backquotes is code.
export const marked = (text) => text.split("`").map((part, n) => (n % 2 ? el("code", {}, part) : part));

export function say(id, text) {
  const place = document.getElementById(id);
  if (place.textContent !== text) place.textContent = text;
}

// For screen readers: what has just come, in one sentence.
export const announce = (text) => say("announce", text);

const whole = new Intl.NumberFormat("en");

export function count(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 100 || Number.isInteger(value) ? whole.format(Math.round(value)) : value.toFixed(value < 10 ? 1 : 0);
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.0995) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${value.toFixed(value < 1 ? 2 : 1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  if (value < 172800) return `${Math.round(value / 3600)} h`;
  return value < 63072000 ? `${Math.round(value / 86400)} days` : `${Math.round(value / 31557600)} years`;
}

export const ratio = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
export const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`);

export function bytes(value) {
  if (!value) return "–";
  const power = Math.min(4, Math.floor(Math.log2(value) / 10));
  return `${(value / 1024 ** power).toFixed(power ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

export function clock(ms, withSeconds = true) {
  const time = { hour: "2-digit", minute: "2-digit", ...(withSeconds ? { second: "2-digit" } : {}), hour12: false };
  return new Date(ms).toLocaleTimeString("en-GB", time);
}

export function when(ms, nowMs) {
  if (!ms) return "never";
  const day = new Date(ms).toDateString() === new Date(nowMs).toDateString() ? "" : `${new Date(ms).toLocaleDateString("en-CA")} `;
  return `${day}${clock(ms)} (${ago(ms, nowMs)})`;
}

export function ago(ms, nowMs) {
  const passed = (nowMs - ms) / 1000;
  if (passed < 0) return `in ${seconds(-passed)}`;
  return passed < 1 ? "just now" : `${seconds(passed)} ago`;
}

export function table(head, rows, caption) {
  const cell = (tag, value, scope) => {
    const node = el(tag, scope ? { scope } : {});
    node.append(value instanceof Node ? value : String(value));
    return node;
  };
  return el(
    "table",
    {},
    caption ? el("caption", { class: "unseen" }, caption) : null,
    el("thead", {}, el("tr", {}, head.map((name) => cell("th", name, "col")))),
    el("tbody", {}, rows.map((row) => el("tr", { class: row.class ?? null }, row.cells.map((value, n) => cell(n ? "td" : "th", value, n ? null : "row"))))),
  );
}

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const TOKEN = "streamer-token";
export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

export async function ask(path, body) {
  const headers = token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  const post = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { ...post, headers, cache: "no-store" });
  } catch {
    throw new Refused("The worker does not answer. Does it run, and is it reachable?", 0);
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(found.error ?? `status ${answer.status}`, answer.status);
  return found;
}

export function problem(error) {
  const hint = error.status === 401 || error.status === 403 ? el("a", { href: "#operate" }, " Give the token under Operate.") : null;
  return el("p", { class: "card warn" }, error.message, error.status === 401 ? hint : null);
}
