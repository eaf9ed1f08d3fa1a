// Streams of the gateway: which are open, and how much they ask.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { duration, fill, h, number, rate, tile } from "./dom.js";
import { ranges } from "./overview.js";

export function streams(root) {
  const tiles = h("div", { class: "tiles" });
  const open = new Chart("Open streams", [["streams", "streams"]], number);
  const requests = new Chart("Requests", [["gateway", "requests"]], rate);
  const charts = [open, requests];
  const list = h("section", { class: "card" });
  const range = ranges(() => view.update());
  fill(root, h("div", { class: "head" }, h("h1", {}, "Streams of the gateway"), h("span", { class: "space" }), range.element), tiles, h("div", { class: "grid" }, charts.map((chart) => chart.element)), list);
  const view = {
    async update() {
      const [now, history] = await Promise.all([get("streams"), get(`history?seconds=${range.seconds()}&series=streams,gateway`)]);
      fill(tiles, tile("open", number(now.open)), tile("so far", number(now.opened)), tile("requests", number(now.requests)), tile("requests now", rate(now.requests_per_second)));
      charts.forEach((chart) => chart.set(history.series));
      if (now.items.length === 0) {
        fill(list, h("h2", {}, "Open streams"), h("p", { class: "empty" }, "None. Try one:"),
          h("pre", {}, `grpcurl -plaintext -d '{"num": 41}' 127.0.0.1:${now.port} schema.Gateway/Call`));
        return;
      }
      fill(list, h("h2", {}, now.items.length < now.open ? `The oldest ${number(now.items.length)} of ${number(now.open)}` : "Open streams"), h("div", { class: "wide" }, h("table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Client"), h("th", { scope: "col", class: "number" }, "Open for"), h("th", { scope: "col", class: "number" }, "Requests"), h("th", { scope: "col", class: "number" }, "Answers"))),
        h("tbody", {}, now.items.slice(0, 200).map((row) => h("tr", {}, h("td", { class: "mono" }, row.peer || "–"), h("td", { class: "number" }, duration(row.age_ms)), h("td", { class: "number" }, number(row.requests)), h("td", { class: "number" }, number(row.answers))))))));
    },
    dispose() { charts.forEach((chart) => chart.dispose()); },
  };
  return view;
}
