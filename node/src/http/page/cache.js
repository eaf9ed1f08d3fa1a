// Cache: keys, hits and memory.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { bytes, fill, h, number, rate, tile, time } from "./dom.js";
import { ranges } from "./overview.js";

export function cache(root) {
  const tiles = h("div", { class: "tiles" });
  const commands = new Chart("Commands", [["commands", "commands"]], rate);
  const looks = new Chart("Hits and misses", [["hits", "hits"], ["misses", "misses"]], rate);
  const keys = new Chart("Keys", [["keys", "keys"]], number);
  const memory = new Chart("Memory", [["memory", "allocated"]], bytes);
  const charts = [commands, looks, keys, memory];
  const databases = h("section", { class: "card" });
  const slow = h("section", { class: "card" });
  const range = ranges(() => view.update());
  fill(root, h("div", { class: "head" }, h("h1", {}, "Cache"), h("span", { class: "space" }), range.element), tiles, h("div", { class: "grid" }, charts.map((chart) => chart.element)), databases, slow);
  const view = {
    async update() {
      const [now, history, log] = await Promise.all([get("keyspace"), get(`history?seconds=${range.seconds()}&series=commands,hits,misses,keys,memory`), get("slowlog")]);
      const looked = now.hits + now.misses;
      fill(tiles,
        tile("keys", number(now.databases.reduce((sum, one) => sum + one.keys, 0))),
        tile("with a time to live", number(now.databases.reduce((sum, one) => sum + one.expiring, 0))),
        tile("hit ratio", looked === 0 ? "–" : `${(100 * now.hits / looked).toFixed(1)} %`),
        tile("commands", rate(now.commands_per_second)),
        tile("expired", number(now.expired)),
        tile("memory allocated", bytes(now.memory_allocated)),
        tile("resident", bytes(now.memory_resident)),
        tile("limit", now.maxmemory === 0 ? "none" : bytes(now.maxmemory)));
      charts.forEach((chart) => chart.set(history.series));
      fill(databases, h("h2", {}, "Databases"), h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Database"), h("th", { scope: "col", class: "number" }, "Keys"), h("th", { scope: "col", class: "number" }, "With a time to live"))),
        h("tbody", {}, now.databases.map((one) => h("tr", {}, h("td", {}, String(one.db)), h("td", { class: "number" }, number(one.keys)), h("td", { class: "number" }, number(one.expiring)))))));
      fill(slow, h("h2", {}, "Slow commands"), log.length === 0 ? h("p", { class: "empty" }, "None so far.") : h("div", { class: "wide" }, h("table", {},
        h("thead", {}, h("tr", {}, ["When", "Took", "Command", "Client"].map((label) => h("th", { scope: "col" }, label)))),
        h("tbody", {}, log.map((one) => h("tr", {}, h("td", {}, time(one.at)), h("td", { class: "number" }, `${number(one.microseconds)} µs`), h("td", { class: "mono" }, one.command), h("td", { class: "mono" }, one.client)))))));
    },
    dispose() { charts.forEach((chart) => chart.dispose()); },
  };
  return view;
}
