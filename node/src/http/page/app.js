// The page: login, navigation, and the clock that keeps the open view up to date.

import { get, isLoggedIn, keepLogin, logIn, logOut } from "./api.js";
import { badge, field, fill, h } from "./dom.js";
import { overview } from "./overview.js";
import { cluster } from "./cluster.js";
import { queue, queues } from "./queues.js";
import { cache } from "./cache.js";
import { key } from "./keys.js";
import { streams } from "./streams.js";
import { exchange, exchanges } from "./exchanges.js";
import { channels, connections } from "./connections.js";
import { admin } from "./admin.js";

/** Name in the address, label, view. */
const VIEWS = [
  ["overview", "Overview", overview],
  ["cluster", "Cluster", cluster],
  ["cache", "Cache", cache],
  ["queues", "Queues", queues],
  ["exchanges", "Exchanges", exchanges],
  ["connections", "Connections", connections],
  ["channels", "Channels", channels],
  ["streams", "Streams", streams],
  ["admin", "Admin", admin],
];
const DETAILS = { queue: [queue, "queues"], exchange: [exchange, "exchanges"], key: [key, "cache"] };
const EVERY = 1000;

const app = document.getElementById("app");
let view = null;
let user = null;
let timer = null;
let shown = 0;

function theme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  localStorage.setItem("tercet-theme", name);
}
theme(localStorage.getItem("tercet-theme") || "system");

function showLogin(message) {
  stop();
  const error = h("p", { class: "error", role: "alert", id: "login-error" }, message || "");
  const form = h("form", { class: "card", onsubmit: async (event) => {
    event.preventDefault();
    const { user: name, password } = form.elements;
    logIn(name.value, password.value);
    try {
      user = await get("whoami");
      keepLogin();
      start();
    } catch (problem) {
      logOut();
      error.textContent = problem.status === 401
        ? (problem.message === "Login failed" ? "Wrong user or password." : "This user may not use the management page.")
        : problem.message;
      password.select();
    }
  } },
  h("div", { class: "brand" }, h("img", { src: "/icon.svg", alt: "" }), "Tercet"),
  field("user", "User", { autofocus: true, autocomplete: "username", required: true }),
  field("password", "Password", { type: "password", autocomplete: "current-password" }),
  error,
  h("button", { class: "main", type: "submit", id: "log-in" }, "Log in"));
  fill(app, h("main", { class: "login" }, form));
  form.elements.user.focus();
}

function start() {
  const select = h("select", { "aria-label": "theme", onchange: () => theme(select.value) },
    [["system", "System"], ["light", "Light"], ["dark", "Dark"]].map(([value, label]) => h("option", { value, selected: value === (localStorage.getItem("tercet-theme") || "system") }, label)));
  const nav = h("nav", { "aria-label": "pages" }, VIEWS.map(([name, label]) => h("a", { href: `#/${name}`, "data-view": name }, label)));
  const main = h("main", { id: "main", tabindex: "-1" });
  fill(app, h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "Skip to the content"),
    h("div", { class: "shell" },
      h("aside", { class: "side" },
        h("div", { class: "brand" }, h("img", { src: "/icon.svg", alt: "" }), "Tercet"),
        nav,
        h("div", { class: "who" },
          h("span", {}, user.name, " ", ...user.tags.slice(0, 1).map((tag) => badge(tag, "info"))),
          select,
          h("button", { type: "button", id: "log-out", onclick: () => { logOut(); showLogin(); } }, "Log out"))),
      main));
  window.onhashchange = () => route(main, nav);
  route(main, nav);
}

function stop() {
  clearTimeout(timer);
  view?.dispose?.();
  view = null;
  window.onhashchange = null;
}

function route(main, nav) {
  clearTimeout(timer);
  view?.dispose?.();
  const [name = "overview", ...parts] = location.hash.replace(/^#\/?/, "").split("/").filter((part) => part !== "").map(decodeURIComponent);
  const detail = DETAILS[name];
  const found = VIEWS.find(([other]) => other === name);
  const make = detail ? detail[0] : (found || VIEWS[0])[2];
  const current = detail ? detail[1] : (found || VIEWS[0])[0];
  for (const link of nav.children) {
    if (link.dataset.view === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const body = h("div", {});
  const offline = h("div", { class: "offline", role: "alert", hidden: true });
  fill(main, offline, body);
  shown += 1;
  const turn = shown;
  view = make(body, parts, user);
  document.title = `Tercet – ${name}`;
  const tick = async () => {
    if (turn !== shown) return;
    if (!document.hidden) {
      try {
        await view.update();
        offline.hidden = true;
      } catch (error) {
        if (turn !== shown) return;
        if (error.status === 401 && error.message === "Login failed") { logOut(); showLogin("You are logged out."); return; }
        offline.hidden = false;
        offline.textContent = error.status === 404 ? "This is not there (any more)." : `${error.message}. Trying again.`;
      }
    }
    if (turn === shown) timer = setTimeout(tick, view.every || EVERY);
  };
  tick();
}

if (isLoggedIn()) {
  get("whoami").then((who) => { user = who; start(); }, () => { logOut(); showLogin(); });
} else {
  showLogin();
}
