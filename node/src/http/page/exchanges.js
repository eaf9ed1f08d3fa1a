// Exchanges: the list, and one with its bindings.

import { del, get, path, post, put } from "./api.js";
import { area, attempt, badge, check, choice, confirm, facts, field, fill, form, h, object } from "./dom.js";
import { vhosts } from "./queues.js";
import { Table } from "./table.js";

const TYPES = ["direct", "fanout", "topic", "headers"].map((name) => [name, name]);
const named = (name) => (name === "" ? "amq.default" : name);

function link(row) {
  return h("a", { href: `#/exchange/${encodeURIComponent(row.vhost)}/${encodeURIComponent(named(row.name))}` }, row.name === "" ? "(default)" : row.name);
}

export function exchanges(root) {
  const table = new Table("exchanges", [
    { name: "name", label: "Name", show: link },
    { name: "vhost", label: "Virtual host", show: (row) => row.vhost },
    { name: "type", label: "Type", show: (row) => row.type },
    { label: "Features", show: (row) => [row.durable ? badge("D") : null, " ", row.auto_delete ? badge("AD") : null, " ", row.internal ? badge("I") : null, " ", ...Object.keys(row.arguments).map((name) => badge(name))] },
  ]);
  const host = h("div", {});
  const declare = form([
    host, field("name", "Name", { required: true }), choice("type", "Type", TYPES), choice("durable", "Durability", [["true", "Durable"], ["false", "Transient"]]),
    check("auto_delete", "Delete with its last binding"), check("internal", "Internal"), field("arguments", "Arguments (JSON)", { placeholder: '{"alternate-exchange": "x"}' }),
  ], "Declare", (values) => attempt(`Exchange ${values.name} is declared`, async () => {
    await put(`exchanges/${path(values.vhost, values.name)}`, { type: values.type, durable: values.durable === "true", auto_delete: values.auto_delete, internal: values.internal, arguments: object(values.arguments) });
    await table.go(1);
  }).then((ok) => ok && "reset"), "declare-exchange");
  fill(root, h("div", { class: "head" }, h("h1", {}, "Exchanges")), table.element, h("section", { class: "card" }, h("details", {}, h("summary", {}, "Declare an exchange"), declare)));
  vhosts().then((list) => fill(host, choice("vhost", "Virtual host", list)), () => fill(host, choice("vhost", "Virtual host", [["/", "/"]])));
  return { every: 3000, update: () => table.update() };
}

export function exchange(root, [vhost, name]) {
  const here = `exchanges/${path(vhost, name)}`;
  const head = h("div", { class: "head" });
  const about = h("section", { class: "card" });
  const bindings = h("section", { class: "card" });
  const publish = form([field("routing_key", "Routing key"), field("headers", "Headers (JSON)"), field("properties", "Properties (JSON)"), area("payload", "Payload")], "Publish",
    (values) => attempt("", async () => {
      const properties = { ...object(values.properties), headers: object(values.headers) };
      const answer = await post(`${here}/publish`, { properties, routing_key: values.routing_key, payload: values.payload, payload_encoding: "string" });
      if (!answer.routed) throw new Error("no queue wanted it");
    }).then((ok) => ok), "publish");
  const bind = form([choice("kind", "To", [["q", "queue"], ["e", "exchange"]]), field("destination", "Name", { required: true }), field("routing_key", "Routing key"), field("arguments", "Arguments (JSON)")], "Bind",
    (values) => attempt("Bound", async () => {
      await post(`bindings/${path(vhost, "e", name, values.kind, values.destination)}`, { routing_key: values.routing_key, arguments: object(values.arguments) });
      await view.update();
    }).then((ok) => ok && "reset"), "bind");
  const remove = h("button", { type: "button", class: "danger", onclick: async () => {
    if (await confirm(`Delete the exchange ${name} with its bindings?`, "Delete") && await attempt("Deleted", () => del(here))) location.hash = "#/exchanges";
  } }, "Delete");
  fill(root, head, about, bindings, h("section", { class: "card" }, h("details", { open: true }, h("summary", {}, "Publish a message"), publish)), h("section", { class: "card" }, h("details", {}, h("summary", {}, "Bind"), bind)));
  const view = {
    every: 3000,
    async update() {
      const [row, out] = await Promise.all([get(here), get(`${here}/bindings/source`)]);
      fill(head, h("a", { href: "#/exchanges" }, "Exchanges"), h("h1", {}, row.name || "(default)"), badge(row.type), h("span", { class: "space" }), row.name === "" || row.name.startsWith("amq.") ? null : remove);
      fill(about, h("h2", {}, "About"), facts([["Virtual host", row.vhost], ["Durable", row.durable ? "yes" : "no"], ["Internal", row.internal ? "yes" : "no"], ["Arguments", h("code", {}, JSON.stringify(row.arguments))]]));
      fill(bindings, h("h2", {}, `Bindings from it (${out.length})`), out.length === 0 ? h("p", { class: "empty" }, "No bindings: messages to it go nowhere.") : h("table", {}, h("tbody", {}, out.slice(0, 200).map((one) => h("tr", {},
        h("td", {}, badge(one.destination_type), " ", h("a", { href: `#/${one.destination_type}/${encodeURIComponent(vhost)}/${encodeURIComponent(one.destination)}` }, one.destination)),
        h("td", { class: "mono" }, one.routing_key),
        h("td", { class: "mono" }, Object.keys(one.arguments).length > 0 ? JSON.stringify(one.arguments) : ""),
        h("td", { class: "number" }, one.source === "" ? "" : h("button", { type: "button", class: "plain", onclick: () => attempt("Unbound", async () => {
          await del(`bindings/${path(vhost, "e", name, one.destination_type === "queue" ? "q" : "e", one.destination, one.properties_key)}`);
          await view.update();
        }) }, "Unbind")))))));
    },
  };
  return view;
}
