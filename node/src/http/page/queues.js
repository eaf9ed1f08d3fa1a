// Queues: the list, and one queue with its messages.

import { del, get, path, post, put } from "./api.js";
import { Chart } from "./chart.js";
import { area, attempt, badge, check, choice, confirm, facts, field, fill, form, h, number, object, rate } from "./dom.js";
import { Table } from "./table.js";

export function link(row) {
  return h("a", { href: `#/queue/${encodeURIComponent(row.vhost)}/${encodeURIComponent(row.name)}` }, row.name);
}

export function marks(row) {
  return [row.durable ? badge("D") : null, row.auto_delete ? badge("AD") : null, row.exclusive ? badge("Excl") : null,
    ...Object.keys(row.arguments).map((name) => badge(name.replace(/^x-/, ""))), row.policy ? badge(row.policy, "info") : null].filter((mark) => mark !== null).flatMap((mark) => [mark, " "]);
}

export async function vhosts() {
  return (await get("vhosts?columns=name")).map((vhost) => [vhost.name, vhost.name]);
}

export function queues(root) {
  const table = new Table("queues", [
    { name: "name", label: "Name", show: link },
    { name: "vhost", label: "Virtual host", show: (row) => row.vhost },
    { label: "Features", show: marks },
    { name: "messages_ready", label: "Ready", number: true, show: (row) => number(row.messages_ready) },
    { name: "messages_unacknowledged", label: "Unacked", number: true, show: (row) => number(row.messages_unacknowledged) },
    { name: "messages", label: "Total", number: true, show: (row) => number(row.messages) },
    { name: "consumers", label: "Consumers", number: true, show: (row) => number(row.consumers) },
    { name: "message_stats.publish_details.rate", label: "In", number: true, show: (row) => rate(row.message_stats.publish_details.rate) },
    { name: "message_stats.deliver_get_details.rate", label: "Out", number: true, show: (row) => rate(row.message_stats.deliver_get_details.rate) },
    { name: "message_stats.ack_details.rate", label: "Ack", number: true, show: (row) => rate(row.message_stats.ack_details.rate) },
  ], { empty: "No queues yet. Declare one below, or let a client do it." });
  const host = h("div", {});
  const declare = form([
    host,
    field("name", "Name", { required: true }),
    choice("durable", "Durability", [["true", "Durable"], ["false", "Transient"]]),
    check("auto_delete", "Delete with its last consumer"),
    field("arguments", "Arguments (JSON)", { placeholder: '{"x-max-length": 1000}' }),
  ], "Declare", (values) => attempt(`Queue ${values.name} is declared`, async () => {
    await put(`queues/${path(values.vhost, values.name)}`, { durable: values.durable === "true", auto_delete: values.auto_delete, arguments: object(values.arguments) });
    await table.go(1);
  }).then((ok) => ok && "reset"), "declare-queue");
  fill(root, h("div", { class: "head" }, h("h1", {}, "Queues")), table.element, h("section", { class: "card" }, h("details", {}, h("summary", {}, "Declare a queue"), declare)));
  vhosts().then((list) => fill(host, choice("vhost", "Virtual host", list)), () => fill(host, choice("vhost", "Virtual host", [["/", "/"]])));
  return { every: 2000, update: () => table.update() };
}

export function queue(root, [vhost, name]) {
  const here = `queues/${path(vhost, name)}`;
  const head = h("div", { class: "head" });
  const depth = new Chart("Messages", [["messages_ready", "ready"], ["messages_unacknowledged", "unacknowledged"]], number);
  const rates = new Chart("Rates", [["publish", "in"], ["deliver", "delivered"], ["ack", "acknowledged"], ["redeliver", "redelivered"]], rate);
  const about = h("section", { class: "card" });
  const consumers = h("section", { class: "card" });
  const bindings = h("section", { class: "card" });
  const messages = h("div", { id: "messages" });
  const publish = form([
    choice("delivery_mode", "Delivery", [["2", "Persistent"], ["1", "Transient"]]),
    field("headers", "Headers (JSON)"), field("properties", "Properties (JSON)", { placeholder: '{"priority": 5}' }),
    area("payload", "Payload", { required: false }),
  ], "Publish", (values) => attempt("Published", async () => {
    const properties = { ...object(values.properties), delivery_mode: Number(values.delivery_mode), headers: object(values.headers) };
    const answer = await post(`exchanges/${path(vhost, "amq.default")}/publish`, { properties, routing_key: name, payload: values.payload, payload_encoding: "string" });
    if (!answer.routed) throw new Error("the queue did not take it");
    await view.update();
  }), "publish");
  const fetch = form([
    choice("ackmode", "Afterwards", [["ack_requeue_true", "back to its place"], ["ack_requeue_false", "removed"], ["reject_requeue_false", "rejected (dead-lettered)"]]),
    field("count", "Messages", { type: "number", min: 1, max: 1000, value: "1" }),
    choice("encoding", "Encoding", [["auto", "text if it is text"], ["base64", "base64"]]),
  ], "Get messages", (values) => attempt("", async () => {
    const found = await post(`${here}/get`, { ackmode: values.ackmode, count: Number(values.count), encoding: values.encoding, truncate: 50000 });
    fill(messages, found.length === 0 ? h("p", { class: "empty" }, "The queue is empty.") : found.map((message, index) => h("div", {},
      h("p", { class: "soft" }, `${index + 1}: ${message.exchange === "" ? "default exchange" : message.exchange}, key ${message.routing_key}, ${number(message.payload_bytes)} bytes, ${message.payload_encoding}`, " ", message.redelivered ? badge("redelivered", "warn") : null),
      h("pre", { class: "payload" }, message.payload),
      Object.keys(message.properties).length > 0 ? h("pre", {}, JSON.stringify(message.properties, null, 1)) : null)));
    await view.update();
  }), "get");
  const bind = form([field("source", "From exchange", { required: true }), field("routing_key", "Routing key"), field("arguments", "Arguments (JSON)")], "Bind",
    (values) => attempt("Bound", async () => {
      await post(`bindings/${path(vhost, "e", values.source, "q", name)}`, { routing_key: values.routing_key, arguments: object(values.arguments) });
      await view.update();
    }).then((ok) => ok && "reset"), "bind");
  const purge = h("button", { type: "button", class: "danger", id: "purge", onclick: async () => {
    if (await confirm(`Remove all ready messages of ${name}?`, "Purge")) await attempt("Purged", async () => { await del(`${here}/contents`); await view.update(); });
  } }, "Purge");
  const remove = h("button", { type: "button", class: "danger", id: "delete", onclick: async () => {
    if (await confirm(`Delete the queue ${name} with its messages?`, "Delete")) {
      if (await attempt("Deleted", () => del(here))) location.hash = "#/queues";
    }
  } }, "Delete");
  fill(root, head, h("div", { class: "grid" }, depth.element, rates.element), h("div", { class: "grid" }, about, consumers), bindings,
    h("section", { class: "card" }, h("details", { open: true }, h("summary", {}, "Publish a message"), publish)),
    h("section", { class: "card" }, h("details", { open: true }, h("summary", {}, "Get messages"), fetch, messages)),
    h("section", { class: "card" }, h("details", {}, h("summary", {}, "Bind"), bind)));
  const view = {
    every: 2000,
    async update() {
      const [row, history, bound] = await Promise.all([get(here), get(`history/${path(vhost, name)}`), get(`${here}/bindings`)]);
      fill(head, h("a", { href: "#/queues" }, "Queues"), h("h1", {}, row.name), badge(row.type), h("span", { class: "space" }), purge, remove);
      depth.set(history.series);
      rates.set(history.series);
      fill(about, h("h2", {}, "About"), facts([
        ["Virtual host", row.vhost],
        ["Features", h("span", {}, marks(row))],
        ["Policy", row.policy || "none"],
        ["Ready", h("b", { id: "ready" }, number(row.messages_ready))],
        ["Unacknowledged", number(row.messages_unacknowledged)],
        ["Bytes", number(row.message_bytes)],
        ["Arguments", h("code", {}, JSON.stringify(row.arguments))],
      ]));
      fill(consumers, h("h2", {}, `Consumers (${row.consumers})`), row.consumer_details.length === 0 ? h("p", { class: "empty" }, "Nobody consumes from it.") : h("div", { class: "wide" }, h("table", {},
        h("thead", {}, h("tr", {}, ["Channel", "Tag", "Ack", "Prefetch"].map((label) => h("th", { scope: "col" }, label)))),
        h("tbody", {}, row.consumer_details.slice(0, 100).map((one) => h("tr", {}, h("td", {}, one.channel_details.name), h("td", { class: "mono" }, one.consumer_tag), h("td", { class: "nowrap" }, one.ack_required ? "manual" : "automatic"), h("td", { class: "number" }, String(one.prefetch_count))))))));
      fill(bindings, h("h2", {}, "Bindings"), h("table", {}, h("tbody", {}, bound.slice(0, 200).map((one) => h("tr", {},
        h("td", {}, one.source === "" ? "default exchange" : h("a", { href: `#/exchange/${encodeURIComponent(one.vhost)}/${encodeURIComponent(one.source)}` }, one.source)),
        h("td", { class: "mono" }, one.routing_key),
        h("td", { class: "mono" }, Object.keys(one.arguments).length > 0 ? JSON.stringify(one.arguments) : ""),
        h("td", { class: "number" }, one.source === "" ? "" : h("button", { type: "button", class: "plain", onclick: () => attempt("Unbound", async () => {
          await del(`bindings/${path(vhost, "e", one.source, "q", name, one.properties_key)}`);
          await view.update();
        }) }, "Unbind")))))));
    },
    dispose() { depth.dispose(); rates.dispose(); },
  };
  return view;
}
