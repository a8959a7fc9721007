// What was sold, paid and refused so far.

import { LoggedOut, get } from "./admin-api.js";
import { tellError } from "./admin-dialog.js";
import { card, h, pill, put, row, sayIfEmpty, table } from "./admin-dom.js";
import { NONE, clock, int, money, span, time } from "./admin-format.js";
import { lastLive } from "./admin-live.js";

const EVERY_MS = 10_000;
const REVENUE = [
  ["currency", "Currency"],
  ["revenue", "Revenue", "number"],
  ["units", "Units", "number"],
  ["orders", "Orders", "number"],
];
const REFUSALS = [
  ["reason", "Reason"],
  ["count", "Attempts", "number"],
  ["share", "Share", "number"],
];
const TOP = [
  ["name", "Sale"],
  ["units", "Units", "number"],
  ["orders", "Orders", "number"],
  ["revenue", "Revenue", "number"],
];
const SOLD_OUT = [
  ["name", "Sale"],
  ["at", "Sold out"],
  ["after", "After its start", "number"],
];

export function statistics(main, query) {
  const saleId = query.get("saleId") ?? "";
  const of = saleId ? (lastLive()?.sales.find((sale) => sale.saleId === saleId)?.name ?? saleId) : "";
  const [revenue, refusals] = [
    table("revenue", "Revenue by currency", REVENUE),
    table("refusals", "Refusals by reason", REFUSALS),
  ];
  const [top, soldOut] = [
    table("top-sales", "Sales with most units", TOP),
    table("sell-outs", "Sales that were sold out last", SOLD_OUT),
  ];
  const stat = (name, label) => h("div", {}, h("dt", {}, label), h("dd", { "data-stat": name }, NONE));
  const sums = h(
    "dl",
    { class: "figures wide" },
    stat("units", "Units sold"),
    stat("orders", "Orders"),
    stat("refused", "Refused"),
    stat("held", "Orders to be paid"),
    stat("open", "Not paid yet"),
    stat("paid", "Paid"),
    stat("expired", "Expired"),
    stat("conversion", "Paid of decided"),
  );
  const at = h("span", { class: "sum" });
  const title = h("h2", { tabindex: "-1" }, of ? `Statistics of ${of}` : "Statistics");
  main.append(
    h(
      "div",
      { class: "view-head" },
      h(
        "div",
        {},
        title,
        h(
          "p",
          { class: "lead" },
          "Revenue is that of confirmed orders; what was refunded is not in it. ",
          saleId ? h("a", { href: "#/stats" }, "All sales") : "",
        ),
      ),
      at,
    ),
    h("div", { class: "card" }, sums),
    h(
      "div",
      { class: "halves" },
      card("Revenue", null, revenue.all),
      card("Refusals", null, refusals.all),
      card("Top sales", null, top.all),
      card("Sold out", null, soldOut.all),
    ),
  );

  const show = (stats) => {
    const all = (name) => stats.revenue.rows.reduce((sum, one) => sum + one[name], 0);
    const refused = stats.refusals.rows.reduce((sum, one) => sum + one.count, 0);
    const { held, open, paid, expired, conversionRate } = stats.holds;
    const conversion = conversionRate === null ? NONE : percent(conversionRate);
    const texts = {
      units: int(all("units")),
      orders: int(all("orders")),
      refused: int(refused),
      held: int(held),
      open: int(open),
      paid: int(paid),
      expired: int(expired),
      conversion,
    };
    for (const [name, text] of Object.entries(texts)) put(sums.querySelector(`[data-stat="${name}"]`), text);
    put(at, `as of ${clock(new Date(stats.generatedAt))}`);
    fill(
      revenue,
      REVENUE,
      stats.revenue.rows.map((one) => ({
        currency: one.currency,
        revenue: money(one.revenueMinor, one.currency),
        units: int(one.units),
        orders: int(one.orders),
      })),
      "No order is confirmed yet.",
    );
    fill(
      refusals,
      REFUSALS,
      stats.refusals.rows.map((one) => ({
        reason: pill(one.reason, one.reason === "TRY_AGAIN" ? "warn" : "still"),
        count: int(one.count),
        share: percent(one.count / refused),
      })),
      "Nobody was refused.",
    );
    fill(
      top,
      TOP,
      stats.topSales.rows.map((one) => ({
        name: h("a", { href: `#/sale/${one.saleId}/orders` }, one.name),
        units: int(one.units),
        orders: int(one.orders),
        revenue: money(one.revenueMinor, one.currency),
      })),
      "Nothing is sold yet.",
    );
    fill(
      soldOut,
      SOLD_OUT,
      stats.sellOuts.rows.slice(0, 10).map((one) => ({
        name: h("a", { href: `#/sale/${one.saleId}/orders` }, one.name),
        at: time(one.soldOutAt),
        after: span(one.soldOutAfterMs),
      })),
      "No sale is sold out.",
    );
  };
  let [told, last] = [false, ""];
  async function load() {
    try {
      const stats = await get("/stats", { saleId });
      told = false;
      // The same answer comes for some seconds; tables that somebody reads are left alone.
      if (stats.generatedAt !== last) show(stats);
      last = stats.generatedAt;
    } catch (error) {
      if (!told && !(error instanceof LoggedOut)) tellError(error);
      told = true;
    }
  }
  load();
  const timer = setInterval(load, EVERY_MS);
  return () => clearInterval(timer);
}

const percent = (share) => (share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`);

function fill(shown, columns, lines, nothing) {
  shown.body.replaceChildren(...lines.map((cells) => row(columns, cells)));
  sayIfEmpty(shown, nothing);
}
