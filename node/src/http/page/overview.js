// Overview: what comes, goes and waits.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { badge, bytes, fill, h, number, rate, tile } from "./dom.js";

const RANGES = [[120, "2 min"], [3600, "1 h"], [86400, "1 day"]];

export function ranges(onchange) {
  let seconds = RANGES[0][0];
  const buttons = RANGES.map(([value, label]) => h("button", { type: "button", "aria-pressed": value === seconds, onclick: () => {
    seconds = value;
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", RANGES[index][0] === value));
    onchange();
  } }, label));
  return { element: h("div", { class: "tabs", role: "group", "aria-label": "time range" }, buttons), seconds: () => seconds };
}

export function overview(root) {
  const head = h("div", { class: "head" });
  const tiles = h("div", { class: "tiles" });
  const hint = h("div", {});
  const queued = new Chart("Queued messages", [["messages_ready", "ready"], ["messages_unacknowledged", "unacknowledged"]], number);
  const rates = new Chart("Message rates", [["publish", "publish"], ["deliver", "deliver"], ["ack", "acknowledge"], ["get", "get"], ["redeliver", "redeliver"]], rate);
  const commands = new Chart("Redis commands", [["commands", "commands"], ["hits", "hits"], ["misses", "misses"]], rate);
  const traffic = new Chart("Journal", [["journal", "records"], ["lag", "lag of the slowest in-sync replica", number]], rate);
  const charts = [queued, rates, commands, traffic];
  const ports = h("section", { class: "card" });
  const range = ranges(() => view.update());
  fill(root, head, tiles, hint, h("div", { class: "grid" }, charts.map((chart) => chart.element)), ports);
  const view = {
    async update() {
      const seconds = range.seconds();
      const [all, history] = await Promise.all([
        get("overview"),
        get(`history?seconds=${seconds}`),
      ]);
      fill(head, h("h1", {}, all.cluster_name), badge(`answered by ${all.node}`), badge(`${all.product_name} ${all.product_version}`), h("span", { class: "space" }), range.element);
      const { queue_totals: totals, object_totals: objects, message_stats: stats, tercet } = all;
      fill(tiles,
        tile("messages ready", number(totals.messages_ready)),
        tile("unacknowledged", number(totals.messages_unacknowledged)),
        tile("published", rate(stats.publish_details.rate)),
        tile("delivered", rate(stats.deliver_get_details.rate)),
        tile("commands", rate(tercet.commands_details.rate)),
        tile("keys", number(tercet.keys)),
        tile("memory", bytes(tercet.memory)),
        tile("queues", number(objects.queues)),
        tile("exchanges", number(objects.exchanges)),
        tile("connections", number(tercet.clients)),
        tile("channels", number(objects.channels)),
        tile("consumers", number(objects.consumers)));
      const isEmpty = objects.queues === 0 && tercet.keys === 0;
      fill(hint, isEmpty ? first(all) : null);
      charts.forEach((chart) => chart.set(history.series));
      if (all.listeners) {
        fill(ports, h("h2", {}, "Ports of this node"), h("div", { class: "wide" }, h("table", {},
          h("thead", {}, h("tr", {}, ["Protocol", "Address", "Port"].map((label) => h("th", { scope: "col" }, label)))),
          h("tbody", {}, all.listeners.map((one) => h("tr", {}, h("td", {}, one.protocol), h("td", { class: "mono" }, one.ip_address), h("td", { class: "mono" }, String(one.port))))))));
      }
      ports.hidden = !all.listeners;
    },
    dispose() { charts.forEach((chart) => chart.dispose()); },
  };
  return view;
}

/** What to try in an empty cluster. */
function first(all) {
  const port = (protocol, usual) => all.listeners?.find((one) => one.protocol === protocol)?.port ?? usual;
  return h("section", { class: "card", id: "first-steps" }, h("h2", {}, "Nothing here yet: three things to try"),
    h("pre", {}, [
      `redis-cli -p ${port("redis", 6379)} SET greeting hello`,
      `rabbitmqadmin -P ${port("http", 15672)} declare queue name=tasks durable=true`,
      `rabbitmqadmin -P ${port("http", 15672)} publish routing_key=tasks payload=work`,
    ].join("\n")),
    h("p", { class: "soft" }, "Or declare a queue on the page ", h("a", { href: "#/queues" }, "Queues"), "."));
}
