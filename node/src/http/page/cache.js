// Cache: keys, hits and memory; commands by family; the key browser; what was slow.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { bytes, fill, h, number, rate, tile, time } from "./dom.js";
import { browser, shown } from "./keys.js";
import { ranges } from "./overview.js";

const SERIES = "commands,hits,misses,keys,memory,expired,evicted,families";
/** Families that are drawn, the busiest first. */
const FAMILIES = 6;

export function cache(root) {
  const tiles = h("div", { class: "tiles many" });
  const commands = new Chart("Commands by family", [], rate);
  const looks = new Chart("Hits and misses", [["hits", "hits"], ["misses", "misses"]], rate);
  const keys = new Chart("Keys that went", [["expired", "expired"], ["evicted", "evicted"]], rate);
  const memory = new Chart("Memory", [["memory", "allocated"]], bytes);
  const charts = [commands, looks, keys, memory];
  const databases = h("section", { class: "card" });
  const slow = h("section", { class: "card", id: "slow" });
  const range = ranges(() => view.update());
  const found = browser();
  const grid = h("div", { class: "grid" }, charts.map((chart) => chart.element));
  fill(root, h("div", { class: "head" }, h("h1", {}, "Cache"), h("span", { class: "space" }), range.element), tiles, found.element, grid, h("div", { class: "grid" }, databases, slow));
  found.look();
  /** Who may not watch the node browses keys all the same. */
  const allowed = async (path, other) => {
    try { return await get(path); } catch (error) { if (error.status === 401 && error.message !== "Login failed") return other; throw error; }
  };
  const view = {
    async update() {
      const [now, history, log] = await Promise.all([allowed("keyspace", null), get(`history?seconds=${range.seconds()}&series=${SERIES}`), allowed("slowlog", null)]);
      tiles.hidden = databases.hidden = now === null;
      slow.hidden = log === null;
      if (now !== null) figures(now);
      const families = Object.entries(history.series).filter(([name]) => name.startsWith("family."));
      families.sort(([, one], [, other]) => other.at(-1)[1] - one.at(-1)[1] || other.reduce((sum, point) => sum + point[1], 0) - one.reduce((sum, point) => sum + point[1], 0));
      commands.series = families.length === 0 ? [["commands", "all"]] : families.slice(0, FAMILIES).map(([name]) => [name, name.slice("family.".length)]);
      charts.forEach((chart) => chart.set(history.series));
      if (log !== null) slowest(log);
    },
    dispose() { charts.forEach((chart) => chart.dispose()); },
  };

  function figures(now) {
    const looked = now.hits + now.misses;
    fill(tiles,
      tile("keys", number(now.databases.reduce((sum, one) => sum + one.keys, 0))),
      tile("expiring", number(now.databases.reduce((sum, one) => sum + one.expiring, 0))),
      tile("hit ratio", looked === 0 ? "–" : `${(100 * now.hits / looked).toFixed(1)} %`),
      tile("commands", rate(now.commands_per_second)),
      tile("expired", number(now.expired)),
      tile("evicted", number(now.evicted)),
      tile("allocated", bytes(now.memory_allocated)),
      tile("resident", bytes(now.memory_resident)),
      tile("limit", now.maxmemory === 0 ? "none" : bytes(now.maxmemory), `maxmemory-policy ${now.maxmemory_policy}`));
    fill(databases, h("h2", {}, "Databases"), h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Database"), h("th", { scope: "col", class: "number" }, "Keys"), h("th", { scope: "col", class: "number" }, "With a time to live"))),
      h("tbody", {}, now.databases.map((one) => h("tr", {}, h("td", {}, `db${one.db}`), h("td", { class: "number" }, number(one.keys)), h("td", { class: "number" }, number(one.expiring)))))));
  }

  function slowest(log) {
    fill(slow, h("h2", {}, "Slow commands"), log.length === 0 ? h("p", { class: "empty" }, "None so far.") : h("div", { class: "wide" }, h("table", {},
      h("thead", {}, h("tr", {}, ["When", "Took", "Command", "Client"].map((label) => h("th", { scope: "col" }, label)))),
      h("tbody", {}, log.slice(0, 20).map((one) => h("tr", {}, h("td", { class: "nowrap" }, time(one.at)), h("td", { class: "number" }, `${number(one.microseconds)} µs`), h("td", { class: "mono" }, shown(one.command)), h("td", { class: "mono" }, one.client)))))));
  }
  return view;
}
