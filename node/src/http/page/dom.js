// Building and filling of elements. Text of users becomes text nodes, never markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if ((value === false && !name.startsWith("aria-")) || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (name.startsWith("aria-")) element.setAttribute(name, String(value));
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replaces what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  return Math.round(value).toLocaleString("en");
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : (Math.round(value * 10) / 10).toString();
  return `${text}/s`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}

export function time(ms) {
  return new Date(ms).toLocaleString();
}

export function badge(text, kind = "") {
  return h("span", { class: `badge ${kind}` }, text);
}

export function tile(label, value, title) {
  return h("div", { class: "tile", title }, h("b", {}, value), h("span", {}, label));
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

export function notice(text, kind = "") {
  const box = h("div", { class: kind }, text);
  document.getElementById("notices").append(box);
  setTimeout(() => box.remove(), kind === "bad" ? 9000 : 4000);
}

/** Runs what may fail, and says what came of it. */
export async function attempt(done, work) {
  try {
    await work();
    if (done) notice(done);
    return true;
  } catch (error) {
    notice(error.message, "bad");
    return false;
  }
}

/** Asks before something that cannot be undone. */
export function confirm(question, action) {
  return new Promise((resolve) => {
    const answer = (value) => { dialog.close(); dialog.remove(); resolve(value); };
    const dialog = h("dialog", { oncancel: () => answer(false) }, h("p", {}, question),
      h("div", { class: "bar" },
        h("button", { type: "button", onclick: () => answer(false) }, "Cancel"),
        h("button", { type: "button", class: "danger", id: "confirm", onclick: () => answer(true) }, action)));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A form of named fields. `submit` gets their values. */
export function form(fields, button, submit, id) {
  const element = h("form", { id, onsubmit: async (event) => {
    event.preventDefault();
    const values = {};
    for (const input of element.querySelectorAll("[name]")) values[input.name] = input.type === "checkbox" ? input.checked : input.value;
    const main = element.querySelector("button.main");
    main.disabled = true;
    const ok = await submit(values, element);
    main.disabled = false;
    if (ok === "reset") element.reset();
  } });
  element.append(h("div", { class: "row" }, fields), h("button", { class: "main", type: "submit" }, button));
  return element;
}

export function field(name, label, attributes = {}) {
  return h("label", {}, label, h("input", { name, autocomplete: "off", spellcheck: "false", ...attributes }));
}

export function area(name, label, attributes = {}) {
  return h("label", { class: "whole" }, label, h("textarea", { name, spellcheck: "false", ...attributes }));
}

export function choice(name, label, options, chosen) {
  return h("label", {}, label, h("select", { name }, options.map(([value, text]) => h("option", { value, selected: value === chosen }, text))));
}

export function check(name, label, checked = false) {
  return h("label", { class: "line" }, h("input", { type: "checkbox", name, checked }), label);
}

/** A JSON object out of a field, or nothing. */
export function object(text) {
  if (!text || text.trim() === "") return {};
  let value;
  try { value = JSON.parse(text); } catch { throw new Error(`not JSON: ${text}`); }
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Error("an object {…} is expected");
  return value;
}
