// The key browser: keys by pattern, and one key with its value as its type asks for.

import { del, get, path, post } from "./api.js";
import { area, attempt, badge, bytes, choice, confirm, duration, fill, field, form, h, notice, number, time } from "./dom.js";

const TYPES = [["", "all types"], ["string", "strings"], ["list", "lists"], ["hash", "hashes"], ["set", "sets"], ["zset", "sorted sets"], ["stream", "streams"]];
const PAGE = 100;

/** A text that the node has sent: `text`, or bytes, which are shown as redis-cli does. */
export function shown(value) {
  const text = value.text !== undefined ? value.text
    : [...atob(value.base64)].map((one) => (one >= " " && one <= "~" ? one : `\\x${one.charCodeAt(0).toString(16).padStart(2, "0")}`)).join("");
  return [text === "" ? h("span", { class: "soft" }, "(empty)") : text, value.cut_from !== undefined ? h("span", { class: "soft" }, ` … ${bytes(value.cut_from)} in all`) : null];
}

/** What stands for the same bytes in a request; nothing if they were cut. */
function sent(value) {
  if (value.cut_from !== undefined) return null;
  return value.text !== undefined ? value.text : { base64: value.base64 };
}

function plain(value) {
  return value.text ?? "(bytes)";
}

function life(ttl) {
  return ttl === null ? h("span", { class: "soft" }, "none") : duration(ttl);
}

/** The name of a key in a path. */
function idOf(text) {
  if (text === "") return "-";
  const all = new TextEncoder().encode(text);
  let binary = "";
  all.forEach((byte) => { binary += String.fromCharCode(byte); });
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function unit(type) {
  return { string: "bytes", list: "elements", hash: "fields", set: "members", zset: "members", stream: "entries" }[type];
}

/** Keys of a database that fit a pattern, a page at a time. */
export function browser() {
  const body = h("tbody", {});
  const said = h("span", { class: "soft", "aria-live": "polite" });
  const before = [];
  let cursor = "0", next = null;
  const pattern = h("input", { type: "search", name: "match", placeholder: "user:*", "aria-label": "pattern of keys", spellcheck: "false" });
  const type = h("select", { name: "type", "aria-label": "type", class: "short" }, TYPES.map(([value, label]) => h("option", { value }, label)));
  const database = h("select", { name: "db", "aria-label": "database", class: "short" }, [...Array(16).keys()].map((db) => h("option", { value: String(db) }, `db${db}`)));
  const back = h("button", { type: "button", "aria-label": "previous keys", disabled: true, onclick: () => { cursor = before.pop(); look(); } }, "‹");
  const on = h("button", { type: "button", id: "more-keys", "aria-label": "more keys", disabled: true, onclick: () => { before.push(cursor); cursor = next; look(); } }, "›");
  const start = () => { before.length = 0; cursor = "0"; return look(); };
  const find = h("form", { class: "bar", id: "find-keys", onsubmit: (event) => { event.preventDefault(); start(); } },
    pattern, type, database, h("button", { type: "submit" }, "Find"), h("span", { class: "space" }), said, back, on);
  type.onchange = start;
  database.onchange = start;
  const add = form([
    field("key", "Key", { required: true }),
    choice("type", "Type", TYPES.slice(1).map(([value, label]) => [value, label.replace(/s$/, "")])),
    area("value", "Value: the text, an element, field=value, member, score=member", { required: true }),
  ], "Add", (values) => attempt(`${values.key} is there`, async () => {
    await post(`keys/${path(database.value, idOf(values.key))}`, first(values.type, values.value));
    await start();
  }).then((ok) => ok && "reset"), "add-key");
  const adding = h("details", {}, h("summary", {}, "Add a key"), add);
  const element = h("section", { class: "card", id: "keys" }, h("h2", {}, "Keys"), find,
    h("div", { class: "wide tall", tabindex: "0", role: "region", "aria-label": "keys" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Key"), h("th", { scope: "col" }, "Type"), h("th", { scope: "col", class: "number" }, "Length"), h("th", { scope: "col", class: "number" }, "Time to live"))), body)), adding);

  async function look() {
    fill(said, "looking…");
    let answer;
    try {
      answer = await get(`keys?${new URLSearchParams({ db: database.value, match: pattern.value, type: type.value, cursor, count: PAGE })}`);
    } catch (error) {
      fill(said);
      fill(body, h("tr", {}, h("td", { colspan: 4, class: "empty", id: "no-keys" }, error.status === 401 ? `${error.message}.` : error.message)));
      adding.hidden = error.status === 401;
      return;
    }
    adding.hidden = false;
    next = answer.cursor;
    back.disabled = before.length === 0;
    on.disabled = next === null;
    fill(said, `${number(answer.keys.length)} keys${next === null ? "" : ", and more"}`);
    if (answer.keys.length === 0) {
      const nothing = pattern.value === "" && type.value === "" && next === null
        ? ["No keys in this database. Add one below, or ", h("code", {}, "redis-cli SET greeting hello"), "."]
        : next === null ? "No key fits." : `None among ${number(answer.looked_at)} keys; go on with ›.`;
      fill(body, h("tr", {}, h("td", { colspan: 4, class: "empty" }, nothing)));
      return;
    }
    fill(body, answer.keys.map((row) => h("tr", {},
      h("td", { class: "mono" }, h("a", { href: `#/key/${database.value}/${row.id}` }, shown(row.key))),
      h("td", {}, badge(row.type)), h("td", { class: "number" }, number(row.length)), h("td", { class: "number" }, life(row.ttl_ms)))));
  }
  return { element, look };
}

/** A text in two parts. */
function halves(text, what) {
  const at = text.indexOf("=");
  if (at < 0) throw new Error(`${what} is expected`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** The command that makes a key of a type. */
function first(type, value) {
  switch (type) {
    case "string": return { command: "set", arguments: [value] };
    case "list": return { command: "rpush", arguments: [value] };
    case "hash": return { command: "hset", arguments: halves(value, "field=value") };
    case "set": return { command: "sadd", arguments: [value] };
    case "zset": return { command: "zadd", arguments: halves(value, "score=member") };
    default: return { command: "xadd", arguments: ["*", ...halves(value, "field=value")] };
  }
}

/** One key. */
export function key(root, [database, id]) {
  const here = `keys/${path(database, id)}`;
  const head = h("div", { class: "head" });
  const about = h("section", { class: "card" });
  const value = h("section", { class: "card", id: "value" });
  const change = h("section", { class: "card" });
  fill(root, head, about, value, change);
  let cursor = "", drawn = "", forms = null;
  const before = [];
  const run = (command, args, done) => attempt(done, async () => { await post(here, { command, arguments: args }); await view.update(); });
  const view = {
    every: 2000,
    async update() {
      const now = await get(`${here}?${new URLSearchParams({ cursor, count: PAGE })}`);
      fill(head, h("h1", { class: "mono" }, shown(now.key)), badge(now.type, "info"), badge(now.encoding), badge(`db${database}`), h("span", { class: "space" }),
        now.may_change ? h("button", { type: "button", class: "danger", id: "delete", onclick: async () => {
          if (await confirm(`Delete the key ${plain(now.key)}?`, "Delete")) await attempt("Deleted", async () => { await del(here); location.hash = "#/cache"; });
        } }, "Delete") : null);
      fill(about, h("dl", { class: "facts" },
        h("dt", {}, "Length"), h("dd", {}, `${number(now.length)} ${unit(now.type)}`),
        h("dt", {}, "Memory"), h("dd", {}, bytes(now.memory)),
        h("dt", {}, "Time to live"), h("dd", { id: "ttl" }, now.ttl_ms === null ? "none" : `${duration(now.ttl_ms)}, until ${time(Date.now() + now.ttl_ms)}`),
        now.last_id ? [h("dt", {}, "Last id"), h("dd", { class: "mono" }, now.last_id)] : null));
      // What is being read or edited is not drawn anew unless it has changed.
      const state = JSON.stringify([now.items, now.groups, now.cursor, now.may_change]);
      if (state !== drawn) {
        drawn = state;
        fill(value, h("div", { class: "bar" }, h("h2", {}, "Value"), h("span", { class: "space" }),
          h("button", { type: "button", "aria-label": "previous part", disabled: before.length === 0, onclick: () => { cursor = before.pop(); view.update(); } }, "‹"),
          h("button", { type: "button", id: "more", "aria-label": "next part", disabled: now.cursor === null, onclick: () => { before.push(cursor); cursor = now.cursor; view.update(); } }, "›")),
        VIEWS[now.type](now, run));
      }
      if (forms !== now.type && now.may_change) {
        forms = now.type;
        fill(change, h("h2", {}, "Change"), FORMS[now.type](run), form([field("seconds", "Time to live in seconds; empty: none", { type: "number", min: "0.001", step: "any" })], "Set the time to live", (values) => (values.seconds === ""
          ? run("persist", [], "It stays from now on") : run("pexpire", [Math.round(Number(values.seconds) * 1000)], "It goes in time")), "expire"),
        form([field("name", "New name", { required: true })], "Rename", (values) => attempt("Renamed", async () => {
          await post(here, { command: "rename", arguments: [values.name] });
          location.hash = `#/key/${database}/${idOf(values.name)}`;
        }), "rename"));
      }
      change.hidden = !now.may_change;
    },
  };
  return view;
}

function remove(now, label, action) {
  return h("td", { class: "number" }, now.may_change ? h("button", { type: "button", class: "plain", "aria-label": `remove ${label}`, onclick: async () => {
    if (await confirm(`Remove ${label}?`, "Remove")) await action();
  } }, "Remove") : null);
}

function table(labels, rows) {
  return h("div", { class: "wide" }, h("table", {}, h("thead", {}, h("tr", {}, labels.map((label) => h("th", { scope: "col" }, label)), h("th", {}))), h("tbody", {}, rows)));
}

function whole(value) {
  const given = sent(value);
  if (given === null) notice("It is too long to be named here.", "bad");
  return given;
}

/** By type: what is shown of a value. */
const VIEWS = {
  string: (now) => h("pre", { class: "payload" }, shown(now.items[0])),
  list: (now, run) => table(["#", "Element"], now.items.map((row) => h("tr", {}, h("td", { class: "soft" }, String(row.index)), h("td", { class: "mono" }, shown(row.value)),
    remove(now, plain(row.value), () => { const given = whole(row.value); return given !== null && run("lrem", [1, given], "Removed"); })))),
  hash: (now, run) => table(["Field", "Value"], now.items.map((row) => h("tr", {}, h("td", { class: "mono" }, shown(row.field)), h("td", { class: "mono" }, shown(row.value)),
    remove(now, plain(row.field), () => { const given = whole(row.field); return given !== null && run("hdel", [given], "Removed"); })))),
  set: (now, run) => table(["Member"], now.items.map((row) => h("tr", {}, h("td", { class: "mono" }, shown(row.member)),
    remove(now, plain(row.member), () => { const given = whole(row.member); return given !== null && run("srem", [given], "Removed"); })))),
  zset: (now, run) => table(["Member", "Score"], now.items.map((row) => h("tr", {}, h("td", { class: "mono" }, shown(row.member)), h("td", { class: "mono" }, row.score),
    remove(now, plain(row.member), () => { const given = whole(row.member); return given !== null && run("zrem", [given], "Removed"); })))),
  stream: (now, run) => [
    table(["Id", "Fields"], now.items.map((row) => h("tr", {}, h("td", { class: "mono nowrap" }, row.id),
      h("td", { class: "mono" }, row.fields.map(([name, value]) => h("div", {}, h("b", {}, shown(name)), " ", shown(value))), row.field_count > row.fields.length ? h("span", { class: "soft" }, `and ${row.field_count - row.fields.length} fields more`) : null),
      remove(now, row.id, () => run("xdel", [row.id], "Removed"))))),
    now.groups.length === 0 ? null : h("div", {}, h("h2", {}, "Groups"), table(["Name", "Consumers", "Pending", "Lag"], now.groups.map((row) => h("tr", {}, h("td", { class: "mono" }, shown(row.name)), h("td", {}, String(row.consumers)), h("td", {}, number(row.pending)), h("td", {}, number(row.lag)), h("td", {}))))),
  ],
};

/** By type: how a value is changed. */
const FORMS = {
  string: (run) => form([area("value", "New value (the time to live stays)")], "Set", (values) => run("set", [values.value, "KEEPTTL"], "Set"), "change"),
  list: (run) => form([field("value", "Element"), field("index", "Index, to replace one", { type: "number" })], "Append or replace", (values) => (values.index === ""
    ? run("rpush", [values.value], "Appended") : run("lset", [values.index, values.value], "Replaced")), "change"),
  hash: (run) => form([field("field", "Field"), field("value", "Value")], "Set", (values) => run("hset", [values.field, values.value], "Set"), "change"),
  set: (run) => form([field("member", "Member")], "Add", (values) => run("sadd", [values.member], "Added"), "change"),
  zset: (run) => form([field("member", "Member"), field("score", "Score", { required: true })], "Set", (values) => run("zadd", [values.score, values.member], "Set"), "change"),
  stream: (run) => form([field("field", "Field"), field("value", "Value")], "Add an entry", (values) => run("xadd", ["*", values.field, values.value], "Added"), "change"),
};
