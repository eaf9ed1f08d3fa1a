// Admin: users, permissions, virtual hosts, policies, limits, definitions.

import { del, get, path, post, put } from "./api.js";
import { area, attempt, badge, choice, confirm, field, fill, form, h, notice, object } from "./dom.js";

export function admin(root, _, user) {
  const may = (tag) => user.tags.includes("administrator") || user.tags.includes(tag);
  if (!may("policymaker")) {
    fill(root, h("div", { class: "head" }, h("h1", {}, "Admin")), h("p", { class: "empty", id: "no-permission" }, "This user may see its own queues and connections, and administer nothing."));
    return { every: 60000, async update() {} };
  }
  const sections = [];
  if (may("administrator")) sections.push(users(), permissions(), topicPermissions(), hosts());
  sections.push(policies());
  if (may("administrator")) sections.push(operatorPolicies());
  if (may("administrator")) sections.push(hostLimits(), userLimits(), definitions());
  fill(root, h("div", { class: "head" }, h("h1", {}, "Admin")), sections.map((section) => section.element));
  const view = { every: 5000, async update() { await Promise.all(sections.map((section) => section.update())); } };
  sections.forEach((section) => { section.changed = () => view.update(); });
  return view;
}

/** A card with a table, whose rows can be deleted, and a form. */
function card(title, source, labels, cells, address, add) {
  const body = h("tbody", {});
  const pages = h("div", { class: "bar" });
  let page = 1, drawn = "";
  const section = {
    changed: () => {},
    element: h("section", { class: "card" }, h("h2", {}, title), pages, h("div", { class: "wide" }, h("table", {}, h("thead", {}, h("tr", {}, [...labels, ""].map((label) => h("th", { scope: "col" }, label)))), body))),
    async update() {
      const answer = await get(`${source}?page=${page}&page_size=50`).catch((error) => {
        if (error.status !== 400 || page === 1) throw error;
        page = 1;
        return get(`${source}?page=1&page_size=50`);
      });
      const rows = answer.items;
      pages.hidden = answer.page_count <= 1;
      fill(pages, h("span", { class: "soft" }, `${answer.filtered_count} in all`), h("span", { class: "space" }),
        h("button", { type: "button", "aria-label": "previous page", disabled: page <= 1, onclick: () => { page -= 1; section.update(); } }, "‹"),
        h("button", { type: "button", "aria-label": "next page", disabled: page >= answer.page_count, onclick: () => { page += 1; section.update(); } }, "›"));
      // Who stands on a row with the keyboard stays there unless something has changed.
      const state = JSON.stringify(answer);
      if (state === drawn) return;
      drawn = state;
      fill(body, rows.length === 0 ? h("tr", {}, h("td", { colspan: labels.length + 1, class: "empty" }, "None.")) : rows.map((row) => h("tr", {}, cells(row).map((cell) => h("td", {}, cell)),
        h("td", { class: "number" }, h("button", { type: "button", class: "plain", onclick: async () => {
          if (await confirm(`Delete ${address(row).map(decodeURIComponent).slice(1).join(" ")}?`, "Delete")) await attempt("Deleted", async () => { await del(address(row).join("/")); section.changed(); });
        } }, "Delete")))));
    },
  };
  section.element.append(h("details", {}, h("summary", {}, add.title), form(add.fields, add.button, (values) => attempt("Done", async () => { await add.submit(values); section.changed(); }).then((ok) => ok && "reset"), add.id)));
  return section;
}

const encode = encodeURIComponent;

function users() {
  return card("Users", "users", ["Name", "Tags", "Redis rules", "Password"],
    (row) => [h("b", {}, row.name), row.tags.flatMap((tag) => [badge(tag, "info"), " "]), h("span", { class: "mono soft" }, row.redis_acl), row.password_hash === "" ? h("span", { class: "soft" }, "none, or that of requirepass") : "set"],
    (row) => ["users", encode(row.name)],
    { title: "Add or change a user", button: "Save", id: "add-user",
      fields: [field("name", "Name", { required: true }), field("password", "Password", { type: "password", autocomplete: "new-password" }), choice("tags", "Tag", [["", "none"], ["management", "management"], ["policymaker", "policymaker"], ["monitoring", "monitoring"], ["administrator", "administrator"]])],
      submit: (values) => put(`users/${path(values.name)}`, { password: values.password, tags: values.tags }) });
}

function permissions() {
  return card("Permissions", "permissions", ["User", "Virtual host", "Configure", "Write", "Read"],
    (row) => [h("b", {}, row.user), row.vhost, h("code", {}, row.configure), h("code", {}, row.write), h("code", {}, row.read)],
    (row) => ["permissions", encode(row.vhost), encode(row.user)],
    { title: "Set permissions", button: "Set", id: "set-permissions",
      fields: [field("user", "User", { required: true }), field("vhost", "Virtual host", { value: "/" }), field("configure", "Configure", { value: ".*" }), field("write", "Write", { value: ".*" }), field("read", "Read", { value: ".*" })],
      submit: ({ user, vhost, configure, write, read }) => put(`permissions/${path(vhost, user)}`, { configure, write, read }) });
}

function topicPermissions() {
  return card("Topic permissions", "topic-permissions", ["User", "Virtual host", "Exchange", "Write", "Read"],
    (row) => [h("b", {}, row.user), row.vhost, row.exchange, h("code", {}, row.write), h("code", {}, row.read)],
    (row) => ["topic-permissions", encode(row.vhost), encode(row.user), encode(row.exchange)],
    { title: "Set topic permissions", button: "Set", id: "set-topic-permissions",
      fields: [field("user", "User", { required: true }), field("vhost", "Virtual host", { value: "/" }), field("exchange", "Topic exchange", { value: "amq.topic", required: true }), field("write", "Write", { value: ".*" }), field("read", "Read", { value: ".*" })],
      submit: ({ user, vhost, exchange, write, read }) => put(`topic-permissions/${path(vhost, user)}`, { exchange, write, read }) });
}

function hosts() {
  return card("Virtual hosts", "vhosts", ["Name", "Description", "Messages"],
    (row) => [h("b", {}, row.name), row.description, String(row.messages)],
    (row) => ["vhosts", encode(row.name)],
    { title: "Add a virtual host", button: "Add", id: "add-vhost",
      fields: [field("name", "Name", { required: true }), field("description", "Description")],
      submit: (values) => put(`vhosts/${path(values.name)}`, { description: values.description }) });
}

function policies() {
  return policiesOf("Policies", "policies", "Add or change a policy", "add-policy");
}

/** What bounds the policies of users, and the arguments of their queues. */
function operatorPolicies() {
  return policiesOf("Operator policies", "operator-policies", "Add or change an operator policy", "add-operator-policy");
}

function policiesOf(heading, source, title, id) {
  const applies = source === "policies" ? [["queues", "queues"], ["exchanges", "exchanges"], ["all", "both"]] : [["queues", "queues"]];
  return card(heading, source, ["Name", "Virtual host", "Pattern", "Applies to", "Definition", "Priority"],
    (row) => [h("b", {}, row.name), row.vhost, h("code", {}, row.pattern), row["apply-to"], h("code", {}, JSON.stringify(row.definition)), String(row.priority)],
    (row) => [source, encode(row.vhost), encode(row.name)],
    { title, button: "Save", id,
      fields: [field("name", "Name", { required: true }), field("vhost", "Virtual host", { value: "/" }), field("pattern", "Pattern", { required: true, placeholder: "^tasks" }), choice("apply", "Applies to", applies), field("definition", "Definition (JSON)", { required: true, placeholder: '{"max-length": 1000}' }), field("priority", "Priority", { type: "number", value: "0" })],
      submit: (values) => put(`${source}/${path(values.vhost, values.name)}`, { pattern: values.pattern, "apply-to": values.apply, definition: object(values.definition), priority: Number(values.priority) }) });
}

/** Limits of one thing, each of which can be taken away by itself. */
function limits(title, source, label, of, names, id) {
  const body = h("tbody", {});
  const section = {
    changed: () => {},
    element: h("section", { class: "card" }, h("h2", {}, title), h("div", { class: "wide" }, h("table", {}, h("thead", {}, h("tr", {}, [label, "Limit", "Most", ""].map((text) => h("th", { scope: "col" }, text)))), body))),
    async update() {
      const rows = (await get(`${source}?page=1&page_size=500`)).items.flatMap((row) => Object.entries(row.value).map(([name, value]) => [row[of], name, value]));
      fill(body, rows.length === 0 ? h("tr", {}, h("td", { colspan: 4, class: "empty" }, "None.")) : rows.map(([owner, name, value]) => h("tr", {}, h("td", {}, h("b", {}, owner)), h("td", {}, name), h("td", {}, String(value)),
        h("td", { class: "number" }, h("button", { type: "button", class: "plain", onclick: () => attempt("The limit is gone", async () => { await del(`${source}/${path(owner, name)}`); section.changed(); }) }, "Remove")))));
    },
  };
  section.element.append(h("details", {}, h("summary", {}, "Set a limit"), form([field("owner", label, { required: true, value: of === "vhost" ? "/" : "" }), choice("name", "Limit", names.map((name) => [name, name])), field("value", "Most", { type: "number", min: "0", required: true })], "Set",
    (values) => attempt("Set", async () => { await put(`${source}/${path(values.owner, values.name)}`, { value: Number(values.value) }); section.changed(); }).then((ok) => ok && "reset"), id)));
  return section;
}

function hostLimits() {
  return limits("Limits of virtual hosts", "vhost-limits", "Virtual host", "vhost", ["max-connections", "max-queues"], "set-vhost-limit");
}

function userLimits() {
  return limits("Limits of users", "user-limits", "User", "user", ["max-connections", "max-channels"], "set-user-limit");
}

function definitions() {
  const save = h("button", { type: "button", id: "export", onclick: () => attempt("", async () => {
    const file = new Blob([JSON.stringify(await get("definitions"), null, 2)], { type: "application/json" });
    const address = URL.createObjectURL(file);
    h("a", { href: address, download: "definitions.json" }).click();
    URL.revokeObjectURL(address);
  }) }, "Export");
  const choose = h("input", { type: "file", accept: "application/json,.json", "aria-label": "file to import" });
  const load = h("button", { type: "button", id: "import", onclick: () => attempt("Imported", async () => {
    if (choose.files.length === 0) throw new Error("choose a file first");
    await post("definitions", object(await choose.files[0].text()));
    notice("Users, virtual hosts, policies, exchanges, queues and bindings of the file are here now.");
    section.changed();
  }) }, "Import");
  const section = {
    changed: () => {},
    element: h("section", { class: "card" }, h("h2", {}, "Definitions"), h("p", { class: "soft" }, "Everything that is declared, as one file. One that RabbitMQ has exported can be imported; nothing is removed by it."), h("div", { class: "bar" }, save, choose, load)),
    async update() {},
  };
  return section;
}
