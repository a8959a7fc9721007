// Sales in tables: those that move, and all that ever were.

import { get } from "./admin-api.js";
import { act, button } from "./admin-dialog.js";
import {
  card,
  cell,
  h,
  keep,
  labelled,
  options,
  pill,
  put,
  row,
  sayIfEmpty,
  setData,
  setPill,
  table,
} from "./admin-dom.js";
import { NONE, int, money, span, time, wholeSpan } from "./admin-format.js";
import { serverNow } from "./admin-live.js";
import { pager } from "./admin-pages.js";
import { createSale } from "./admin-sale-form.js";

export const SALE_COLUMNS = [
  ["name", "Sale"],
  ["state", "State"],
  ["stock", "Remaining", "number"],
  ["in-flight", "In flight", "number"],
  ["sold", "Sold", "number"],
  ["held", "Held", "number"],
  ["queue", "Queue", "number"],
  ["consumers", "Consumers", "number"],
  ["outbox-age", "Outbox age", "number"],
  ["dead-letters", "Dead letters", "number"],
];
const ALL_COLUMNS = [
  ["name", "Sale"],
  ["state", "State"],
  ["starts", "Starts"],
  ["ends", "Ends"],
  ["total", "Stock", "number"],
  ["sold", "Sold", "number"],
  ["price", "Price", "number"],
];
const OLD_OUTBOX_MS = 5_000;
const STUCK_OUTBOX_MS = 30_000;

/** What a sale is doing at this moment: a word, its colour, and what comes next. */
export function stateOf(sale, now) {
  const [starts, ends] = [Date.parse(sale.startsAt), Date.parse(sale.endsAt)];
  const window =
    now < starts
      ? `starts in ${wholeSpan(starts - now)}`
      : now < ends
        ? `ends in ${wholeSpan(ends - now)}`
        : "its window is over";
  if (sale.state === "ended") return ["Ended", "still", sale.halted === "ended" ? "by an operator" : ""];
  if (sale.halted === "ended") return ["Ending", "warn", "until all that was won is written"];
  if (sale.state === "draining") return ["Draining", "warn", "its gate is being rebuilt"];
  if (sale.halted === "paused") return ["Paused", "warn", window];
  if (sale.state === "closed") return ["Closed", "still", "not opened yet"];
  return now >= starts && now < ends ? ["Open", "ok", window] : ["Open", "info", window];
}

/** A bar of what is left of the stock. */
export function stockBar() {
  return h("span", { class: "bar", "aria-hidden": "true" }, h("span"));
}

export function setStockBar(bar, remaining, totalStock) {
  const share = remaining === null || totalStock === 0 ? 0 : Math.min(1, remaining / totalStock);
  bar.firstElementChild.style.width = `${(share * 100).toFixed(1)}%`;
  setData(bar, "level", share === 0 ? "none" : share < 0.1 ? "low" : "some");
}

export function saleRow(sale) {
  return row(
    SALE_COLUMNS,
    {
      name: h("a", { href: `#/sale/${sale.saleId}/orders` }),
      state: h("span", { class: "stated" }, pill("", "still"), h("small", {})),
      stock: h("span", { class: "stocked" }, h("span", { class: "of" }), stockBar()),
      "dead-letters": h("a", { href: `#/dead-letters?saleId=${sale.saleId}` }),
    },
    { "data-sale": sale.saleId, onclick: openRow },
  );
}

/** A click anywhere in the row opens the sale; the link in it is for the keyboard. */
function openRow(event) {
  if (event.target.closest("a, button") || getSelection().toString() !== "") return;
  event.currentTarget.querySelector("a").click();
}

export function updateSaleRow(line, sale, now) {
  setData(line, "state", sale.state);
  setData(line, "halted", sale.halted ?? "");
  const [word, tone, next] = stateOf(sale, now);
  put(cell(line, "name").firstElementChild, sale.name);
  setPill(line.querySelector(".pill"), word, tone);
  put(line.querySelector(".stated small"), next);
  put(line.querySelector(".of"), `${int(sale.remainingStock)} / ${int(sale.totalStock)}`);
  setStockBar(line.querySelector(".bar"), sale.remainingStock, sale.totalStock);
  figure(cell(line, "in-flight"), int(sale.inFlight), "");
  figure(cell(line, "sold"), int(sale.sold), "");
  figure(cell(line, "held"), sale.holdSeconds === 0 && sale.held === 0 ? NONE : int(sale.held), "");
  figure(cell(line, "queue"), int(sale.queuedMessages), queueTone(sale));
  figure(cell(line, "consumers"), int(sale.consumers), consumersTone(sale));
  figure(cell(line, "outbox-age"), sale.outboxAgeMs === null ? NONE : span(sale.outboxAgeMs), outboxTone(sale));
  figure(cell(line, "dead-letters").firstElementChild, int(sale.deadLetters), sale.deadLetters > 0 ? "bad" : "");
}

/** A figure and its colour. Where there is nothing it steps back, so that the eye finds what is there. */
export function figure(element, text, tone) {
  put(element, text);
  setData(element, "tone", tone || (text === "0" || text === NONE ? "none" : ""));
}

export const consumersTone = (sale) => (sale.consumers === 0 && sale.state === "open" ? "bad" : "");
export const queueTone = (sale) => (sale.queuedMessages > 0 && sale.consumers === 0 ? "bad" : "");
export const outboxTone = (sale) =>
  sale.outboxAgeMs > STUCK_OUTBOX_MS ? "bad" : sale.outboxAgeMs > OLD_OUTBOX_MS ? "warn" : "";

export function allSales(main) {
  const shown = table("all-sales", "All sales by their start", ALL_COLUMNS);
  const state = h(
    "select",
    { name: "state" },
    options(
      [
        ["", "Any"],
        ["open", "Open"],
        ["closed", "Closed"],
        ["draining", "Draining"],
        ["ended", "Ended"],
      ],
      "",
    ),
  );
  const name = h("input", {
    name: "name",
    type: "search",
    maxlength: "200",
    autocomplete: "off",
    placeholder: "Part of the name",
  });
  const pages = pager((cursor) => load(cursor));
  const search = h("button", { type: "submit" }, "Search");
  const filter = h(
    "form",
    {
      class: "filter",
      "data-filter": "sales",
      role: "search",
      "aria-label": "Sales",
      onsubmit: (event) => {
        event.preventDefault();
        act(search, () => pages.first());
      },
      onchange: (event) => event.target === state && act(search, () => pages.first()),
    },
    labelled("State", state),
    labelled("Name", name),
    search,
  );

  async function load(cursor) {
    const page = await get("/sales", { state: state.value, name: name.value.trim(), cursor, limit: 50 });
    shown.body.replaceChildren();
    keep(
      shown.body,
      page.sales,
      (sale) => sale.saleId,
      allRow,
      () => {},
    );
    sayIfEmpty(shown, state.value || name.value ? "No sale fits." : "There is no sale yet.");
    return page.nextCursor;
  }

  main.append(
    h(
      "div",
      { class: "view-head" },
      h("h2", { tabindex: "-1" }, "All sales"),
      button("create-sale", "New sale", createSale, "primary"),
    ),
    card("By their start", null, filter, shown.all, pages.element),
  );
  pages.start();
}

function allRow(sale) {
  const [word, tone, next] = stateOf(sale, serverNow());
  return row(
    ALL_COLUMNS,
    {
      name: h("a", { href: `#/sale/${sale.saleId}/orders` }, sale.name),
      state: h("span", { class: "stated" }, pill(word, tone), h("small", {}, next)),
      starts: time(sale.startsAt),
      ends: time(sale.endsAt),
      total: int(sale.totalStock),
      sold: int(sale.sold),
      price: money(sale.unitPriceMinor, sale.currency),
    },
    { "data-sale": sale.saleId, "data-state": sale.state, onclick: openRow },
  );
}
