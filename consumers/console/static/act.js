// Operating: only where a token is set. Rollback and redrive are run dry first, and done only after that.

import { ask, count, el, fill, token, when } from "./words.js";
import { snapshotList } from "./look.js";

let shown = null;

export function showActions(access, changed) {
  const wanted = JSON.stringify(access);
  if (wanted === shown) return;
  shown = wanted;
  const needed = access.acts || access.looks === "token";
  const parts = [];
  if (!access.acts) parts.push(el("p", {}, "This page is read-only. Where ", el("code", {}, "http.token"), " is set (", el("code", {}, "STREAMER_HTTP__TOKEN"), " or ", el("code", {}, "STREAMER_HTTP__TOKEN_FILE"), "), it can freeze and unfreeze learning, roll back and redrive; without it the commands do: ", ["freeze", "unfreeze", "rollback", "redrive"].map((name) => [el("code", {}, `streamer ${name}`), " "])));
  if (access.looks === "closed") parts.push(el("p", {}, "Users and records are not shown: the server can be reached from other machines, and no token is set."));
  if (needed) parts.push(tokenForm(changed));
  if (access.acts) parts.push(el("div", { class: "acts" }, learning(), rollback(), redrive()));
  fill("operate-body", parts);
}

function tokenForm(changed) {
  const field = el("input", { type: "password", id: "token", autocomplete: "off", value: token.get() });
  const said = el("output", { for: "token" }, token.get() ? "Kept until this tab is closed." : "");
  const keep = (event) => {
    event.preventDefault();
    token.set(field.value.trim());
    said.textContent = token.get() ? "Kept until this tab is closed." : "Forgotten.";
    changed();
  };
  return el("form", { class: "ask", onsubmit: keep }, el("label", { for: "token" }, "Token"), field, el("button", {}, "Use it"), said);
}

const field = (label, id, more = {}) => [el("label", { for: id }, label), el("input", { id, maxlength: "200", autocomplete: "off", ...more })];
const value = (id) => document.getElementById(id).value.trim();
const box = (title, about, ...children) => el("fieldset", {}, el("legend", {}, title), el("p", { class: "dim" }, about), children);

async function doing(output, button, work) {
  button.disabled = true;
  output.textContent = "Working…";
  try {
    const found = await work();
    output.textContent = found.text;
    return found;
  } catch (error) {
    output.textContent = `Not done: ${error.message}`;
    return null;
  } finally {
    button.disabled = false;
  }
}

function learning() {
  const output = el("output", {});
  const button = (name, words) => el("button", { type: "button", id: `act-${name}`, onclick: (event) => doing(output, event.target, () => ask(`/console/${name}`, { by: value("act-by"), reason: value("act-why") })) }, words);
  return box("Learning", "Freeze: what is learned stays as it is; counts and lists go on. It holds over restarts until it is unfrozen.", field("Your name", "act-by"), field("Why", "act-why", { maxlength: "500" }), el("div", { class: "row" }, button("freeze", "Freeze"), button("unfreeze", "Unfreeze")), output);
}

function inTwoSteps(name, title, about, fields, body, words) {
  const output = el("output", {});
  const real = el("button", { type: "button", disabled: true, id: `act-${name}` }, words.real);
  const dry = el("button", { type: "button", class: "main", id: `act-${name}-dry` }, words.dry);
  let confirm = "";
  const reset = () => {
    confirm = "";
    real.disabled = true;
  };
  dry.addEventListener("click", async () => {
    reset();
    const found = await doing(output, dry, () => ask(`/console/${name}`, body()));
    confirm = found?.confirm ?? "";
    real.disabled = !confirm;
  });
  real.addEventListener("click", async () => {
    const word = confirm;
    await doing(output, real, () => ask(`/console/${name}`, { ...body(), confirm: word }));
    reset();
  });
  return box(title, about, fields(reset), el("div", { class: "row" }, dry, real), output);
}

function rollback() {
  const choose = el("select", { id: "act-snapshot" }, el("option", { value: "" }, "Choose a snapshot"));
  const load = async () => {
    const chosen = choose.value;
    const options = (await snapshotList().catch(() => [])).map((one) => el("option", { value: one.name }, `${when(one.created_ms, Date.now())}, ${count(one.head_step)} blocks`));
    choose.replaceChildren(el("option", { value: "" }, "Choose a snapshot"), ...options);
    choose.value = chosen;
  };
  choose.addEventListener("focus", load, { once: true });
  choose.addEventListener("pointerdown", load, { once: true });
  load();
  const fields = (reset) => {
    choose.addEventListener("change", reset);
    return [el("label", { for: "act-snapshot" }, "Snapshot"), choose];
  };
  return inTwoSteps("rollback", "Roll back", "What was learned is again as it was in a snapshot; counts and windows stay, every list is written anew.", fields, () => ({ snapshot: choose.value, by: value("act-by"), reason: value("act-why") }), { dry: "What would it do?", real: "Roll back" });
}

function redrive() {
  const choose = el("select", { id: "act-reason" }, ["", "invalid_json", "missing_field", "wrong_type", "unknown_type", "bad_timestamp", "bad_id", "too_large", "engine_error"].map((name) => el("option", { value: name }, name || "any reason")));
  const fields = (reset) => {
    choose.addEventListener("change", reset);
    return [el("label", { for: "act-reason" }, "Letters rejected for"), choose];
  };
  return inTwoSteps("redrive", "Redrive", "Sends dead letters of events again as they are, each once, at most 10,000 at a time. To mend them on the way: streamer redrive --fix.", fields, () => ({ reasons: choose.value ? [choose.value] : [], by: value("act-by") }), { dry: "What would it send?", real: "Send again" });
}
