// Line charts and stacked shares in SVG: axes with units, gaps where nothing was measured, values under the pointer or the arrow keys.

import { clock, el } from "./words.js";

const NS = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const EDGE = { left: 52, right: 10, top: 10, bottom: 24 };
const TIME_STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600].map((s) => s * 1000);

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function niceStep(size, parts) {
  const rough = size / parts;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((n) => n * power).find((step) => step >= rough * 0.999);
}

export class Chart {
  // spec: title, about, unit, format(value), series(rows) -> [{name, colour, values}], stacked, floor, empty
  constructor(spec) {
    this.spec = spec;
    this.rows = [];
    this.at = null;
    this.plot = el("div", { class: "plot", role: "slider", tabindex: "0", "aria-label": spec.title, "aria-orientation": "horizontal", "aria-valuemin": "0" });
    this.legend = el("ul", { class: "legend" });
    this.time = el("span", { class: "dim" });
    this.figure = el("figure", { class: "card" }, el("h3", {}, spec.title, " ", el("small", {}, spec.unit)), el("figcaption", {}, spec.about), this.plot, el("div", { class: "under" }, this.time, this.legend));
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerdown", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => this.choose(null));
    this.plot.addEventListener("blur", () => this.choose(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  show(rows, spanMs, stepMs) {
    this.rows = rows;
    this.spanMs = spanMs;
    this.stepMs = stepMs;
    if (this.at !== null) this.at = Math.min(this.at, rows.length - 1);
    this.draw();
  }

  point(event) {
    if (!this.rows.length || !this.scale) return;
    const x = event.clientX - this.plot.getBoundingClientRect().left;
    const wanted = this.scale.fromX(x);
    let best = 0;
    for (let n = 1; n < this.rows.length; n++) if (Math.abs(this.rows[n].at_ms - wanted) < Math.abs(this.rows[best].at_ms - wanted)) best = n;
    this.choose(best);
  }

  key(event) {
    const last = this.rows.length - 1;
    const now = this.at ?? last;
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 10, PageDown: now + 10, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.choose(to === null ? null : Math.max(0, Math.min(last, to)));
  }

  choose(at) {
    this.at = at;
    this.mark();
  }

  draw() {
    const width = Math.max(240, this.plot.clientWidth);
    const series = this.spec.series(this.rows);
    this.series = series;
    const known = series.flatMap((one) => one.values).filter((value) => value !== null && value !== undefined);
    const picture = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
    if (!known.length) {
      picture.append(svg("text", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle", class: "tick" }));
      picture.lastChild.textContent = this.spec.empty ?? "nothing measured yet";
      this.scale = null;
      this.plot.replaceChildren(picture);
      this.mark();
      return;
    }
    const stacked = this.spec.stacked;
    const top = stacked ? 1 : Math.max(...known);
    const bottom = Math.min(0, ...known);
    const step = stacked ? 0.25 : niceStep(Math.max(top - bottom, this.spec.floor ?? 1e-6), 4);
    const yMax = stacked ? 1 : Math.max(Math.ceil(top / step - 1e-9), bottom < 0 ? 0 : 1) * step;
    const yMin = Math.floor(bottom / step + 1e-9) * step;
    const end = this.rows.at(-1).at_ms;
    const begin = Math.min(Math.max(this.rows[0].at_ms, end - this.spanMs), end - 60000);
    const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
    const x = (ms) => EDGE.left + (inner.width * (ms - begin)) / (end - begin);
    const y = (value) => EDGE.top + inner.height * (1 - (value - yMin) / (yMax - yMin));
    this.scale = { x, y, fromX: (px) => begin + ((px - EDGE.left) / inner.width) * (end - begin), begin };
    for (let value = yMin; value <= yMax + step / 2; value += step) {
      const at = y(value);
      picture.append(svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: at, y2: at, class: Math.abs(value) < step / 1e3 ? "zero" : "grid" }));
      const label = svg("text", { x: EDGE.left - 6, y: at + 4, "text-anchor": "end", class: "tick" });
      label.textContent = this.spec.format(Math.abs(value) < step / 1e3 ? 0 : value, step);
      picture.append(label);
    }
    this.times(picture, begin, end, inner.width, x);
    if (stacked) this.areas(picture, series, x, y);
    else series.forEach((one) => this.line(picture, one, x, y));
    this.cursor = svg("g", { class: "cursor" });
    picture.append(this.cursor);
    this.plot.replaceChildren(picture);
    this.mark();
  }

  times(picture, begin, end, width, x) {
    const step = TIME_STEPS.find((one) => (end - begin) / one <= width / 78) ?? 43200000;
    const zone = new Date(end).getTimezoneOffset() * 60000;
    for (let at = Math.ceil((begin - zone) / step) * step + zone; at <= end; at += step) {
      if (x(at) < EDGE.left + 4) continue;
      picture.append(svg("line", { x1: x(at), x2: x(at), y1: HEIGHT - EDGE.bottom, y2: HEIGHT - EDGE.bottom + 4, class: "zero" }));
      const label = svg("text", { x: Math.min(x(at), EDGE.left + width - 14), y: HEIGHT - 6, "text-anchor": "middle", class: "tick" });
      label.textContent = clock(at, step < 60000);
      picture.append(label);
    }
  }

  line(picture, one, x, y) {
    let path = "";
    let before = null;
    const lone = [];
    this.rows.forEach((row, n) => {
      const value = one.values[n];
      if (value === null || value === undefined || row.at_ms < this.scale.begin) return;
      const joined = before !== null && row.at_ms - before.at <= Math.max(3.5 * this.stepMs, 5000);
      if (!joined && before?.lone) lone.push(before);
      path += `${joined ? "L" : "M"}${x(row.at_ms).toFixed(1)} ${y(value).toFixed(1)}`;
      before = { at: row.at_ms, value, lone: !joined };
    });
    if (before?.lone) lone.push(before);
    const group = svg("g", { class: `line ${one.colour}` });
    group.append(svg("path", { d: path || "M0 0" }));
    for (const dot of lone) group.append(svg("circle", { cx: x(dot.at), cy: y(dot.value), r: 1.8 }));
    picture.append(group);
  }

  areas(picture, series, x, y) {
    const places = this.rows.map((row, n) => n).filter((n) => series.some((one) => one.values[n] !== null) && this.rows[n].at_ms >= this.scale.begin);
    const below = new Map(places.map((n) => [n, 0]));
    for (const one of series) {
      const lower = places.map((n) => [x(this.rows[n].at_ms), y(below.get(n))]);
      for (const n of places) below.set(n, Math.min(1, below.get(n) + (one.values[n] ?? 0)));
      const upper = places.map((n) => [x(this.rows[n].at_ms), y(below.get(n))]);
      if (places.length === 1) upper.push([upper[0][0] + 6, upper[0][1]]), lower.push([lower[0][0] + 6, lower[0][1]]);
      const points = [...upper, ...lower.reverse()].map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`);
      picture.append(svg("path", { d: `M${points.join("L")}Z`, class: `area ${one.colour}` }));
    }
  }

  mark() {
    const last = this.rows.length - 1;
    const at = this.at ?? last;
    const row = this.rows[at];
    const series = this.series ?? [];
    const said = series.map((one) => ({ ...one, value: row ? (this.at === null ? newest(one.values) : one.values[at]) : null }));
    this.time.textContent = row ? (this.at === null ? "latest" : clock(row.at_ms)) : "";
    this.legend.replaceChildren(
      ...said.map((one) => el("li", {}, el("i", { class: `${one.colour} ${this.spec.stacked ? "block" : ""}` }), `${one.name} `, el("b", {}, one.value === null || one.value === undefined ? "–" : this.spec.format(one.value)))),
    );
    this.plot.setAttribute("aria-valuemax", String(Math.max(0, last)));
    this.plot.setAttribute("aria-valuenow", String(Math.max(0, at)));
    this.plot.setAttribute("aria-valuetext", `${row ? clock(row.at_ms) : "no time"}: ${said.map((one) => `${one.name} ${one.value === null || one.value === undefined ? "not measured" : this.spec.format(one.value)}`).join(", ")} (${this.spec.unit})`);
    if (!this.cursor || !this.scale) return;
    this.cursor.replaceChildren();
    if (this.at === null || !row || row.at_ms < this.scale.begin) return;
    const x = this.scale.x(row.at_ms);
    this.cursor.append(svg("line", { x1: x, x2: x, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
    if (!this.spec.stacked) {
      for (const one of said) if (one.value !== null && one.value !== undefined) this.cursor.append(svg("circle", { cx: x, cy: this.scale.y(one.value), r: 3.5, class: one.colour }));
    }
  }
}

function newest(values) {
  for (let n = values.length - 1; n >= 0; n--) if (values[n] !== null && values[n] !== undefined) return values[n];
  return null;
}
