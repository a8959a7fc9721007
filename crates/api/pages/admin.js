// The operator's page: who is logged in, and which view is open.

import { counts, session } from "./admin-api.js";
import { act, closeDialogs, tellError, toast } from "./admin-dialog.js";
import { h, put, setData } from "./admin-dom.js";
import { startBooks, stopBooks } from "./admin-books.js";
import { deadLetters } from "./admin-letters.js";
import { startLive, stopLive } from "./admin-live.js";
import { overview } from "./admin-overview.js";
import { saleView } from "./admin-sale.js";
import { allSales } from "./admin-sales.js";
import { statistics } from "./admin-stats.js";
import { webhooks } from "./admin-webhooks.js";

const VIEWS = { overview, sales: allSales, "dead-letters": deadLetters, webhooks, stats: statistics };
const main = document.getElementById("main");
const nothing = () => {};

/** The open view: which, what ends it, and for a sale what changes its tab. */
let open = { key: "", close: nothing };

function logIn(message) {
  const token = h("input", {
    id: "token",
    name: "token",
    type: "password",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "login-problem",
  });
  const problem = h("p", { id: "login-problem", class: "problem", role: "alert", hidden: !message }, message ?? "");
  const submit = h("button", { type: "submit", class: "primary" }, "Log in");
  const complain = (text) => {
    put(problem, text);
    problem.hidden = false;
    token.focus();
    token.select();
  };
  const form = h(
    "form",
    {
      id: "login",
      class: "card",
      novalidate: true,
      autocomplete: "off",
      onsubmit: (event) => {
        event.preventDefault();
        const typed = token.value.trim();
        if (typed === "") return complain("Give the operator’s token.");
        // What no header can have would fail in the browser and look like a lost connection.
        if (!/^[\x21-\x7e]+$/.test(typed)) return complain("This token does not count.");
        return act(submit, async () => {
          try {
            if (!(await counts(typed))) return complain("This token does not count.");
          } catch (error) {
            return complain(
              error.message.startsWith("The API did not answer")
                ? "The API does not answer. Try again in a moment."
                : error.message,
            );
          }
          session.begin(typed);
          return begin();
        });
      },
    },
    h("h2", {}, "Log in"),
    h("p", { class: "lead" }, "With the operator’s token of this installation. It is kept in this tab only."),
    h("label", { class: "field" }, h("span", {}, "Operator’s token"), token),
    problem,
    submit,
  );
  setData(document.body, "session", "none");
  setData(main, "view", "login");
  main.replaceChildren(form);
  token.focus();
}

/** Everything of an operator's session ends: figures, views, dialogs. */
function end(message) {
  stopLive();
  stopBooks();
  closeDialogs();
  open.close();
  open = { key: "", close: nothing };
  showFrame(false);
  logIn(message);
}

function showFrame(on) {
  for (const element of [
    document.getElementById("sections"),
    document.getElementById("books"),
    document.querySelector(".session"),
  ])
    element.hidden = !on;
}

function begin() {
  setData(document.body, "session", "operator");
  showFrame(true);
  startLive();
  startBooks();
  navigate();
}

/** `#/sale/<id>/orders` or `#/dead-letters?state=all`: the view, what it is about, and its query. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view = "", id = "", tab = ""] = path.split("/");
  return {
    view: view || "overview",
    id,
    tab: ["orders", "audit", "verify", "details"].includes(tab) ? tab : "orders",
    query: new URLSearchParams(query),
  };
}

function navigate() {
  if (session.token === null) return;
  const { view, id, tab, query } = place();
  const isSale = view === "sale" && /^[0-9a-f-]{36}$/.test(id);
  const name = isSale ? "sale" : view in VIEWS ? view : "overview";
  const key = isSale ? `sale/${id}` : `${name}?${query}`;
  if (key !== open.key) {
    const first = open.key === "";
    open.close();
    main.replaceChildren();
    setData(main, "view", name);
    open = { key, close: nothing, ...(isSale ? saleView(main, id) : { close: VIEWS[name](main, query) ?? nothing }) };
    mark(name);
    scrollTo(0, 0);
    // The keyboard and the screen reader go where the eye goes.
    if (!first) main.querySelector("h2")?.focus({ preventScroll: true });
  }
  open.show?.(tab);
  document.title = `${main.querySelector("h2")?.textContent ?? "Operations"} · Operations`;
}

function mark(name) {
  for (const link of document.querySelectorAll("#sections a")) {
    if (link.dataset.section === (name === "sale" ? "overview" : name)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

document.getElementById("logout").addEventListener("click", () => session.end("You are logged out."));
document.getElementById("skip").addEventListener("click", (event) => {
  // The fragment says which view is open, so the link may not change it.
  event.preventDefault();
  main.focus();
});
session.whenEnded(end);
addEventListener("hashchange", navigate);
addEventListener("unhandledrejection", (event) => tellError(event.reason));
addEventListener("error", (event) => toast(event.message, "error"));

if (session.token === null) logIn();
else begin();
