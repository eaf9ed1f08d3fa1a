// Cluster: who leads, who follows how closely, who watches; and how the last changes of the master went.

import { get } from "./api.js";
import { badge, duration, facts, fill, h, number, time } from "./dom.js";

export function cluster(root) {
  const head = h("div", { class: "head" });
  const nodes = h("section", { class: "card" });
  const state = h("section", { class: "card" });
  const sentinels = h("section", { class: "card" });
  const failovers = h("section", { class: "card", id: "failovers" });
  fill(root, head, nodes, h("div", { class: "grid" }, state, sentinels), failovers);
  return {
    async update() {
      const [now, past] = await Promise.all([get("cluster"), get("failovers")]);
      const well = now.members.filter((member) => member.in_sync).length;
      fill(head, h("h1", {}, "Cluster"),
        now.clustered ? null : badge("a node of its own"),
        badge(`epoch ${now.epoch}`, "info"),
        well >= now.min_isr ? badge(`${well} in sync`, "good") : badge(`${well} in sync, ${now.min_isr} needed`, "bad"),
        now.loading ? badge(now.load ? `loading, ${Math.floor(now.load.percent)} %, ${now.load.seconds_left} s left` : "loading", "warn") : null,
        now.disk_failed ? badge("disk failed", "bad") : null,
        h("span", { class: "space" }), h("span", { class: "soft" }, `as ${now.node} sees it`));
      fill(nodes, h("h2", {}, "Nodes"), h("div", { class: "nodes" }, now.members.map((member) => node(member, now))));
      fill(state, h("h2", {}, "State"), facts([
        ["Master", now.master || "none"],
        ["Lease", !now.clustered ? "none needed" : now.lease.remaining_ms === null ? "not a master" : `${duration(now.lease.remaining_ms)} left of ${now.lease.length_ms} ms`],
        ["Needed in sync", String(now.min_isr)],
        ["Acknowledged when", now.acknowledge === "replicated" ? "on every in-sync copy" : "on this node"],
        ["Journal ends at", number(now.journal.end)],
        ["Committed up to", number(now.journal.commit)],
        ["On disk up to", now.journal.durable === null ? "in memory only" : number(now.journal.durable)],
        ["Checkpoint", now.checkpoint.failure ? `failed: ${now.checkpoint.failure}` : now.checkpoint.running ? running(now.checkpoint) : now.checkpoint.last_at === null ? "none yet" : `${number(now.checkpoint.completed)} so far, the last ${time(now.checkpoint.last_at)}`],
        ["Cluster", now.cluster_id || "–"],
      ]));
      fill(sentinels, h("h2", {}, "Sentinels"), now.sentinels.length === 0
        ? h("p", { class: "empty" }, now.clustered ? "None is known yet." : "This node needs none.")
        : h("table", {}, h("tbody", {}, now.sentinels.map((one) => h("tr", {}, h("td", {}, h("b", {}, one.name)), h("td", { class: "mono" }, one.address), h("td", { class: "mono soft" }, one.id.slice(0, 8)))))));
      fill(failovers, h("h2", {}, "Changes of the master"), past.length === 0
        ? h("p", { class: "empty" }, now.clustered ? ["None so far. Try one: ", h("code", {}, "redis-cli -p 26379 sentinel failover mymaster")] : "A node of its own has nobody to hand over to.")
        : h("div", { class: "timeline" }, past.map(failover)));
    },
  };
}

function running({ progress, backups_waiting: backups }) {
  const far = progress === null ? "under way" : `${Math.floor(progress.percent)} %${progress.seconds_left === null ? "" : `, ${progress.seconds_left} s left`}`;
  return backups === 0 ? far : `${far}, then a backup`;
}

function node(member, now) {
  const isMaster = member.role === "master";
  const state = isMaster ? badge("master", "info")
    : !member.up && now.role === "master" ? badge("down", "bad")
      : member.syncing ? badge(member.full_sync ? `full sync, ${Math.floor(member.full_sync.percent)} %` : "full sync", "warn")
        : member.in_sync ? badge("in sync", "good") : badge("not in sync", "warn");
  const isDown = !member.up && !isMaster && now.role === "master";
  return h("div", { class: `node ${isMaster ? "master" : ""} ${isDown ? "down" : ""}`, "data-node": member.name },
    h("h3", {}, member.name, state),
    facts([
      ["Redis", member.resp || "–"],
      ["AMQP", member.amqp || "–"],
      ["Gateway", member.gateway || "–"],
      member.full_sync ? ["Full sync", `${number(member.full_sync.done)} of ${number(member.full_sync.all)} parts${member.full_sync.seconds_left === null ? "" : `, ${member.full_sync.seconds_left} s left`}`] : null,
      ["Version", member.version || "not known"],
      ["Lag", isMaster ? "–" : member.lag_records === null ? "not known" : `${number(member.lag_records)} records`],
      ["Heard", isMaster ? "–" : member.silent_ms === null ? "not known" : `${duration(member.silent_ms)} ago`],
    ].filter((pair) => pair !== null)));
}

/** One change of the master: a bar whose parts are its phases. */
function failover(one) {
  const parts = one.phases.map((phase, index) => ({ name: phase.name, ms: phase.at_ms - (index === 0 ? 0 : one.phases[index - 1].at_ms), index }));
  const total = Math.max(1, one.took_ms);
  const lane = h("div", { class: "lane", role: "img", "aria-label": `${one.kind} to ${one.to} in ${one.took_ms} ms` }, parts.map((part) => {
    const share = part.ms / total;
    const piece = h("div", { class: `p${part.index % 6}`, title: `${part.name}: ${part.ms} ms` }, share > 0.09 ? `${part.ms} ms` : "");
    piece.style.flexGrow = String(Math.max(part.ms, total / 200));
    piece.style.flexBasis = "0";
    return piece;
  }));
  const legend = h("ol", {}, parts.map((part) => {
    const mark = h("i", { class: `p${part.index % 6}` });
    return h("li", {}, mark, `${part.name} ${part.ms} ms`);
  }));
  return h("article", { "data-epoch": one.epoch },
    h("div", { class: "bar" }, h("b", {}, one.kind), badge(`epoch ${one.epoch}`), h("span", {}, `${one.from || "nobody"} → ${one.to}`),
      badge(`${one.took_ms} ms`, "info"), one.reason ? h("span", { class: "soft" }, one.reason) : null, h("span", { class: "space" }), h("span", { class: "soft" }, time(one.began_at))),
    lane, legend);
}
