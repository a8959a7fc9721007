// One sale: its figures, what may be done to it, and its records.

import { LoggedOut, Refused, get } from "./admin-api.js";
import { button } from "./admin-dialog.js";
import { h, pill, put, setData, setPill } from "./admin-dom.js";
import { NONE, int, money, span, time } from "./admin-format.js";
import { liveSale, onLive, serverNow } from "./admin-live.js";
import { auditTab, ordersTab } from "./admin-records.js";
import { changeStock, endSale, pauseSale, reconcileSale, resetSale, resumeSale } from "./admin-sale-actions.js";
import { editSale } from "./admin-sale-form.js";
import { consumersTone, figure, outboxTone, queueTone, setStockBar, stateOf, stockBar } from "./admin-sales.js";
import { verifyTab } from "./admin-verify.js";

const AGAIN_MS = 5_000;
const TABS = { orders: "Orders", audit: "Audit trail", verify: "Verify", details: "Details" };
const FIGURES = [
  ["remaining", "Remaining"],
  ["total", "Stock"],
  ["sold", "Sold"],
  ["held", "Held"],
  ["in-flight", "In flight"],
  ["queue", "Queue"],
  ["consumers", "Consumers"],
  ["outbox-age", "Outbox age"],
  ["dead-letters", "Dead letters"],
];

/** The view of a sale; `show(tab)` changes the tab without making it anew. */
export function saleView(main, id) {
  const view = { sale: null, gone: false, endTab: () => {} };
  const section = h("section", { id: "sale", "data-sale": id, "aria-labelledby": "sale-name" });
  const name = h("h2", { id: "sale-name", tabindex: "-1" }, liveSale(id)?.name ?? "Sale");
  const state = h(
    "span",
    { class: "stated row" },
    h("span", { "data-field": "state" }, pill("", "still")),
    h("small", {}),
  );
  const bar = stockBar();
  const pending = h("p", { class: "note warn", hidden: true });
  const figures = h(
    "dl",
    { class: "figures wide" },
    FIGURES.map(([field, label]) => h("div", {}, h("dt", {}, label), h("dd", { "data-field": field }, NONE))),
  );
  const tabs = h(
    "nav",
    { class: "tabs", "aria-label": "Records of the sale" },
    Object.entries(TABS).map(([tab, label]) => h("a", { href: `#/sale/${id}/${tab}`, "data-tab": tab }, label)),
  );
  const place = h("div", { class: "tab" });
  const changed = (sale, ordersToo = false) => {
    view.sale = sale;
    render();
    // Filters and pages of the orders stay as they are, unless the orders are gone.
    if (view.tab === "details" || view.tab === "audit" || (ordersToo && view.tab === "orders")) openTab(view.tab);
  };
  const actions = saleActions(() => view.sale, changed);
  section.append(
    h("a", { class: "back", href: "#/overview" }, "‹ Overview"),
    h("div", { class: "view-head" }, h("div", { class: "titled" }, name, state), actions.element),
    h("div", { class: "card" }, figures, bar, pending),
    h("div", { class: "card" }, tabs, place),
  );
  main.append(section);

  function render() {
    const merged = { ...view.sale, ...liveSale(id) };
    if (merged.saleId === undefined) return;
    setData(section, "state", merged.state);
    setData(section, "halted", merged.halted ?? "");
    put(name, view.sale?.name ?? merged.name);
    const [word, tone, next] = stateOf(merged, serverNow());
    setPill(section.querySelector(".pill"), word, tone);
    put(state.querySelector("small"), next);
    showFigures(section, merged);
    setStockBar(bar, merged.remainingStock, merged.totalStock);
    const text = pendingText(view.sale);
    put(pending, text);
    pending.hidden = text === "";
    actions.update(merged, view.sale !== null);
  }
  async function load() {
    try {
      view.sale = await get(`/sales/${id}`);
      render();
    } catch (error) {
      if (error instanceof LoggedOut) return;
      // What is only away for the moment shows in the banner; it is asked for again.
      if (error instanceof Refused && error.status < 500 && !view.gone) {
        view.gone = true;
        clearInterval(timer);
        section.replaceChildren(
          h("a", { class: "back", href: "#/overview" }, "‹ Overview"),
          h("h2", { tabindex: "-1" }, "No such sale"),
          h("p", { class: "empty" }, error.message),
        );
      }
    }
  }
  function openTab(tab) {
    view.endTab();
    view.endTab = () => {};
    view.tab = tab;
    for (const link of tabs.children) {
      if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    place.replaceChildren();
    if (tab === "orders") ordersTab(place, id);
    else if (tab === "audit") auditTab(place, id);
    else if (tab === "verify") view.endTab = verifyTab(place, id, () => view.sale?.name ?? liveSale(id)?.name ?? id);
    else if (view.sale) place.append(details(view.sale));
    else load().then(() => view.sale && view.tab === "details" && place.replaceChildren(details(view.sale)));
  }
  const timer = setInterval(load, AGAIN_MS);
  const endLive = onLive(render);
  load();
  return {
    show: openTab,
    close() {
      clearInterval(timer);
      endLive();
      view.endTab();
    },
  };
}

function showFigures(section, sale) {
  const field = (name) => section.querySelector(`[data-field="${name}"]`);
  const texts = {
    remaining: int(sale.remainingStock),
    total: int(sale.totalStock),
    sold: int(sale.sold),
    held: int(sale.held),
    "in-flight": int(sale.inFlight),
  };
  for (const [name, text] of Object.entries(texts)) put(field(name), text);
  figure(field("queue"), int(sale.queuedMessages), queueTone(sale));
  figure(field("consumers"), int(sale.consumers), consumersTone(sale));
  figure(field("outbox-age"), (sale.outboxAgeMs ?? null) === null ? NONE : span(sale.outboxAgeMs), outboxTone(sale));
  figure(field("dead-letters"), int(sale.deadLetters), sale.deadLetters > 0 ? "bad" : "");
}

function pendingText(sale) {
  if (!sale) return "";
  if (sale.pendingTotalStock !== null)
    return `The stock is to become ${int(sale.pendingTotalStock)}: the gate has not answered yet whether it can give up the units.`;
  return sale.inEffect || sale.state !== "open"
    ? ""
    : "The last change is written, and the gate has not been told yet. A keeper tells it as soon as it can.";
}

/** The buttons. They stay where they are; which of them make sense changes with the sale. */
function saleActions(sale, changed) {
  const buttons = {
    pause: button("pause", "Pause", () => pauseSale(sale(), changed)),
    resume: button("resume", "Resume", () => resumeSale(sale(), changed), "primary"),
    stock: button("stock", "Stock", () => changeStock(sale(), changed)),
    edit: button("edit", "Edit", () => editSale(sale(), changed)),
    reconcile: button("reconcile", "Reconcile", () => reconcileSale(sale(), changed)),
    reset: button("reset", "Reset", () => resetSale(sale(), changed), "danger-quiet"),
    end: button("end", "End", () => endSale(sale(), changed), "danger-quiet"),
  };
  for (const one of Object.values(buttons)) one.disabled = true;
  let ready = false;
  return {
    element: h("div", { class: "actions", role: "group", "aria-label": "Actions" }, Object.values(buttons)),
    update(merged, loaded) {
      if (loaded && !ready) {
        ready = true;
        for (const one of Object.values(buttons)) one.disabled = false;
      }
      const over = merged.state === "ended" || merged.halted === "ended";
      buttons.pause.hidden = over || merged.halted === "paused";
      buttons.resume.hidden = over || merged.halted !== "paused";
      buttons.end.hidden = over;
    },
  };
}

function details(sale) {
  const facts = [
    ["Sale’s id", h("code", {}, sale.saleId)],
    ["Description", sale.description ?? NONE],
    ["Image", sale.imageUrl ?? NONE],
    ["Price per unit", money(sale.unitPriceMinor, sale.currency)],
    ["Most units per order", int(sale.perUserLimit)],
    ["Time to pay", sale.holdSeconds === 0 ? "no payment step" : span(sale.holdSeconds * 1_000)],
    ["Starts", time(sale.startsAt)],
    ["Ends", time(sale.endsAt)],
    ["Created", time(sale.createdAt)],
    ["Ended", time(sale.endedAt)],
    ["Epoch of its gate", int(sale.epoch)],
    ["Revision", int(sale.revision)],
    ["In effect", sale.inEffect ? "yes" : "not yet"],
  ];
  return h(
    "div",
    {},
    h(
      "dl",
      { class: "facts" },
      facts.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))),
    ),
    h(
      "p",
      { class: "links" },
      h("a", { href: `/sale/${sale.saleId}`, target: "_blank", rel: "noopener" }, "The shop’s page of it"),
      h("a", { href: `#/stats?saleId=${sale.saleId}` }, "Its statistics"),
      h("a", { href: `#/dead-letters?saleId=${sale.saleId}&state=all` }, "Its dead letters"),
    ),
  );
}
