// A sale's orders and its audit trail, page by page.

import { get } from "./admin-api.js";
import { act, button } from "./admin-dialog.js";
import { h, labelled, options, pill, row, sayIfEmpty, table } from "./admin-dom.js";
import { NONE, int, money, shortId, time } from "./admin-format.js";
import { pager } from "./admin-pages.js";
import { cancelOrder } from "./admin-sale-actions.js";

const PAGE = 50;
const ORDER_COLUMNS = [
  ["user", "Buyer"],
  ["status", "Status"],
  ["quantity", "Units", "number"],
  ["amount", "Amount", "number"],
  ["reserved", "Reserved"],
  ["hold", "Held until"],
  ["order", "Order"],
  ["actions", ""],
];
const AUDIT_COLUMNS = [
  ["at", "When"],
  ["event", "Event"],
  ["actor", "By"],
  ["user", "Buyer"],
  ["order", "Order"],
  ["detail", "Detail"],
];
const TONES = { HELD: "info", PAYING: "info", CONFIRMED: "ok", EXPIRED: "still", CANCELLED: "still", REFUSED: "bad" };
const STATUSES = Object.keys(TONES);

const word = (status) => status[0] + status.slice(1).toLowerCase();

export function ordersTab(place, id) {
  const shown = table("orders", "Orders by buyer", ORDER_COLUMNS);
  const status = h(
    "select",
    { name: "status" },
    options([["", "Any"], ...STATUSES.map((one) => [one, word(one)])], ""),
  );
  const user = h("input", {
    name: "userId",
    type: "search",
    maxlength: "128",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "Exact userId",
  });
  const submit = h("button", { type: "submit" }, "Filter");
  const pages = pager(load);
  const again = () => act(submit, () => pages.first());
  const filter = h(
    "form",
    {
      class: "filter",
      "data-filter": "orders",
      role: "search",
      "aria-label": "Orders",
      onsubmit: (event) => {
        event.preventDefault();
        again();
      },
      onchange: (event) => event.target === status && again(),
    },
    labelled("Status", status),
    labelled("Buyer", user),
    submit,
  );

  async function load(cursor) {
    const page = await get(`/sales/${id}/orders`, {
      status: status.value,
      userId: user.value.trim(),
      cursor,
      limit: PAGE,
    });
    shown.body.replaceChildren(...page.orders.map(orderRow));
    sayIfEmpty(
      shown,
      status.value || user.value
        ? "No order fits."
        : "No order yet. Those on their way to PostgreSQL are not among them.",
    );
    return page.nextCursor;
  }
  function orderRow(order) {
    const open = ["HELD", "PAYING", "CONFIRMED"].includes(order.status);
    const cancel = button("cancel-order", "Cancel", () => cancelOrder(order, () => pages.first()), "small");
    cancel.setAttribute("aria-label", `Cancel the order of ${order.userId}`);
    return row(
      ORDER_COLUMNS,
      {
        user: h("span", { class: "long" }, order.userId),
        status: pill(word(order.status), TONES[order.status] ?? "still"),
        quantity: int(order.quantity),
        amount: money(order.unitPriceMinor * order.quantity, order.currency),
        reserved: time(order.reservedAt),
        hold: time(order.holdUntil),
        order: shortId(order.orderId),
        actions: open ? cancel : null,
      },
      { "data-order": order.orderId, "data-status": order.status },
    );
  }
  place.append(filter, shown.all, pages.element);
  pages.start();
}

const BAD_EVENTS = new Set(["REFUSED", "LATE_PAYMENT_REFUSED"]);
const OPERATORS_EVENTS = new Set([
  "CREATED",
  "EDITED",
  "PAUSED",
  "RESUMED",
  "ENDED_EARLY",
  "STOCK_RAISED",
  "STOCK_LOWERED",
  "RESET",
  "RECONCILE_ASKED",
  "DEAD_LETTER_REDRIVEN",
  "DEAD_LETTER_DISCARDED",
  "DEAD_LETTER_SPLIT",
  "WEBHOOK_REDELIVERED",
]);

/** A detail as text: `field: value` for each field, what is nested as JSON. */
function detailText(detail) {
  if (detail === null || typeof detail !== "object" || Array.isArray(detail))
    return detail === null ? NONE : JSON.stringify(detail);
  const value = (one) => (typeof one === "string" ? one : JSON.stringify(one));
  return (
    Object.entries(detail)
      .map(([name, one]) => `${name}: ${value(one)}`)
      .join(", ") || NONE
  );
}

export function auditTab(place, id) {
  const shown = table("audit", "Audit trail, the newest first", AUDIT_COLUMNS);
  const pages = pager(load);
  const again = button("reload", "Load again", () => pages.first(), "quiet");

  async function load(cursor) {
    const page = await get(`/sales/${id}/audit`, { cursor, limit: PAGE });
    shown.body.replaceChildren(...page.events.map(auditRow));
    sayIfEmpty(shown, "Nothing has happened yet.");
    return page.nextCursor;
  }
  const auditRow = (event) =>
    row(
      AUDIT_COLUMNS,
      {
        at: time(event.at),
        event: pill(
          event.event,
          BAD_EVENTS.has(event.event) ? "bad" : OPERATORS_EVENTS.has(event.event) ? "info" : "still",
        ),
        actor: event.actor ?? "system",
        user: event.userId === null ? NONE : h("span", { class: "long" }, event.userId),
        order: event.orderId === null ? NONE : shortId(event.orderId),
        detail: h("span", { class: "detail" }, detailText(event.detail)),
      },
      { "data-event": event.event },
    );
  place.append(
    h("div", { class: "tab-head" }, h("p", { class: "note" }, "The newest first."), again),
    shown.all,
    pages.element,
  );
  pages.start();
}
