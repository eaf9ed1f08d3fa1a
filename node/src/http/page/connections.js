// Connections and channels.

import { del } from "./api.js";
import { attempt, badge, confirm, fill, h, number, time } from "./dom.js";
import { Table } from "./table.js";

export function connections(root) {
  const table = new Table("connections?protocol=all", [
    { name: "name", label: "Name", show: (row) => h("span", {}, row.name, row.user_provided_name ? h("span", { class: "soft" }, ` ${row.user_provided_name}`) : null) },
    { name: "protocol", label: "Protocol", show: (row) => badge(row.protocol, row.protocol.startsWith("AMQP") ? "info" : "") },
    { name: "user", label: "User", show: (row) => row.user },
    { name: "state", label: "State", show: (row) => badge(row.state, row.state === "running" ? "good" : "warn") },
    { name: "channels", label: "Channels", number: true, show: (row) => number(row.channels) },
    { name: "connected_at", label: "Since", show: (row) => time(row.connected_at) },
    { label: "Client", show: (row) => [row.client_properties.product, row.client_properties.version].filter((part) => part).join(" ") || row.last_command || "" },
    { label: "", show: (row) => h("button", { type: "button", class: "plain", onclick: async () => {
      if (await confirm(`Close the connection ${row.name}?`, "Close")) await attempt("Closed", async () => { await del(`connections/${encodeURIComponent(row.name)}`); await table.update(); });
    } }, "Close") },
  ], { empty: "Nobody is connected." });
  fill(root, h("div", { class: "head" }, h("h1", {}, "Connections")), table.element);
  return { every: 2000, update: () => table.update() };
}

export function channels(root) {
  const table = new Table("channels", [
    { name: "name", label: "Channel", show: (row) => row.name },
    { name: "user", label: "User", show: (row) => row.user },
    { name: "vhost", label: "Virtual host", show: (row) => row.vhost },
    { label: "Mode", show: (row) => [row.confirm ? badge("confirms", "info") : null, row.transactional ? badge("transactions", "warn") : null].filter((mark) => mark) },
    { name: "consumer_count", label: "Consumers", number: true, show: (row) => number(row.consumer_count) },
    { name: "prefetch_count", label: "Prefetch", number: true, show: (row) => number(row.prefetch_count) },
    { name: "messages_unacknowledged", label: "Unacked", number: true, show: (row) => number(row.messages_unacknowledged) },
  ], { empty: "No channel is open." });
  fill(root, h("div", { class: "head" }, h("h1", {}, "Channels")), table.element);
  return { every: 2000, update: () => table.update() };
}
