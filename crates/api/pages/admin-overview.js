// What happens right now: traffic, the sales that are not over, and who works for them.

import { button } from "./admin-dialog.js";
import { LATENCIES, RATES, figures, lastMinutes, latencyChart, ratesChart } from "./admin-chart.js";
import { card, cell, h, keep, pill, put, row, sayIfEmpty, setData, setPill, table } from "./admin-dom.js";
import { clock, count, int, millis, rate, span } from "./admin-format.js";
import { onLive, serverNow } from "./admin-live.js";
import { createSale } from "./admin-sale-form.js";
import { SALE_COLUMNS, saleRow, updateSaleRow } from "./admin-sales.js";

/** Every process is heard of each two seconds. */
const LATE_MS = 5_000;
const TRAFFIC_COLUMNS = [
  ["second", "Second"],
  ["attempts", "Attempts", "number"],
  ["successes", "Successes", "number"],
  ["refusals", "Refusals", "number"],
  ["unknown", "Unknown", "number"],
  ["p50Ms", "p50 ms", "number"],
  ["p95Ms", "p95 ms", "number"],
  ["p99Ms", "p99 ms", "number"],
];
const WORKER_COLUMNS = [
  ["role", "Process"],
  ["heartbeat", "Heartbeat"],
  ["rate", "Per second", "number"],
  ["total", "In all", "number"],
  ["where", "Where"],
  ["version", "Version"],
];

export function overview(main) {
  const [traffic, sales, workers] = [trafficCards(), salesCard(), workersCard()];
  main.append(
    h(
      "div",
      { class: "view-head" },
      h("h2", { tabindex: "-1" }, "Overview"),
      h("div", { class: "actions" }, traffic.toggle, button("create-sale", "New sale", createSale, "primary")),
    ),
    traffic.element,
    sales.element,
    workers.element,
  );
  const end = onLive((live) => {
    traffic.update(live);
    sales.update(live);
    workers.update(live);
  });
  return () => {
    end();
    traffic.close();
  };
}

function trafficCards() {
  const hosts = [chartHost("rates"), chartHost("latency")];
  const charts = [ratesChart(hosts[0].plot, hosts[0].readout), latencyChart(hosts[1].plot, hosts[1].readout)];
  const shown = table("traffic", "Purchases of the last two minutes, second by second", TRAFFIC_COLUMNS);
  const asTable = h("div", { hidden: true, class: "traffic-table" }, shown.all);
  const toggle = button(
    "chart-table",
    "Show table",
    () => {
      asTable.hidden = !asTable.hidden;
      put(toggle, asTable.hidden ? "Show table" : "Hide table");
      toggle.setAttribute("aria-expanded", String(!asTable.hidden));
      fill();
    },
    "quiet",
  );
  toggle.setAttribute("aria-expanded", "false");
  let points = [];
  const fill = () => {
    if (asTable.hidden) return;
    const counted = points.filter((point) => point.attempts > 0).reverse();
    keep(
      shown.body,
      counted,
      (point) => String(point.second),
      () => row(TRAFFIC_COLUMNS, {}),
      (line, point) => {
        put(cell(line, "second"), clock(point.second * 1_000));
        for (const name of ["attempts", "successes", "refusals", "unknown"]) put(cell(line, name), int(point[name]));
        for (const name of ["p50Ms", "p95Ms", "p99Ms"]) put(cell(line, name), millis(point[name]));
      },
    );
    sayIfEmpty(shown, "No purchase was attempted in the last two minutes.");
  };
  const rates = card("Purchases per second", hosts[0].side, figures(RATES, "/s"), hosts[0].plot);
  const latency = card("Latency", hosts[1].side, figures(LATENCIES, "ms"), hosts[1].plot);
  const element = h("div", {}, h("div", { class: "charts" }, rates, latency), asTable);
  return {
    element,
    toggle,
    update(live) {
      points = lastMinutes(live);
      showFigures(element, points);
      hosts[0].tell(points);
      hosts[1].tell(points);
      charts.forEach((chart) => chart.update(points));
      fill();
    },
    close: () => charts.forEach((chart) => chart.close()),
  };
}

function chartHost(name) {
  const plot = h("div", { class: "chart", "data-chart": name, role: "img", "aria-label": "No figures yet" });
  const [readout, sum] = [h("span", { class: "readout", "aria-hidden": "true" }), h("span", { class: "sum" })];
  const tell = (points) => {
    const total = (field) => points.reduce((all, point) => all + point[field], 0);
    const of = (field) => points.map((point) => point[field]).filter((value) => value !== null);
    const most = (field) => (of(field).length ? millis(Math.max(...of(field))) : "none");
    const [short, long] =
      name === "rates"
        ? [
            `${count(total("attempts"), "attempt")} in 2 min`,
            `${count(total("attempts"), "attempt")}, ${int(total("successes"))} successes, ${int(total("refusals"))} refusals and ${int(total("unknown"))} unknown in the last two minutes`,
          ]
        : [
            of("p99Ms").length ? `highest p99 ${most("p99Ms")} ms` : "no attempt in 2 min",
            `Highest in the last two minutes, in milliseconds: p50 ${most("p50Ms")}, p95 ${most("p95Ms")}, p99 ${most("p99Ms")}`,
          ];
    put(sum, short);
    plot.setAttribute("aria-label", long);
  };
  return { plot, readout, side: h("span", { class: "chart-side" }, readout, sum), tell };
}

function showFigures(element, points) {
  const last = points.at(-1);
  for (const name of ["attempts", "successes", "refusals", "unknown"])
    put(element.querySelector(`[data-figure="${name}"]`), int(last[name]));
  for (const name of ["p50", "p95", "p99"])
    put(element.querySelector(`[data-figure="${name}"]`), millis(last[`${name}Ms`]));
}

function salesCard() {
  const shown = table("live-sales", "Sales that are not over, or ended within the last hour", SALE_COLUMNS);
  const total = h("span", { class: "sum" });
  return {
    element: card("Sales", total, shown.all),
    update(live) {
      const order = (sale) => (sale.state === "ended" ? 1 : 0);
      const sales = [...live.sales].sort(
        (a, b) =>
          order(a) - order(b) || Date.parse(a.startsAt) - Date.parse(b.startsAt) || (a.saleId < b.saleId ? -1 : 1),
      );
      keep(
        shown.body,
        sales,
        (sale) => sale.saleId,
        saleRow,
        (line, sale) => updateSaleRow(line, sale, serverNow()),
      );
      sayIfEmpty(
        shown,
        "No sale is open or about to open. Make one with “New sale”; those that are over are under “All sales”.",
      );
      const open = sales.filter((sale) => sale.state !== "ended").length;
      put(total, `${count(open, "sale")} not over`);
    },
  };
}

/** How a heartbeat looks. */
function health(process) {
  if (!process.alive) return ["dead", "bad"];
  return process.ageMs > LATE_MS ? ["late", "warn"] : ["ok", "ok"];
}

const PLURALS = { api: "API", persister: "persister", keeper: "keeper" };

function workersCard() {
  const shown = table("workers", "Processes that work for the sales", WORKER_COLUMNS);
  const total = h("span", { class: "sum" });
  return {
    element: card("Workers", total, shown.all),
    update(live) {
      const roles = ["api", "persister", "keeper"];
      const processes = [...live.processes].sort(
        (a, b) => roles.indexOf(a.role) - roles.indexOf(b.role) || a.host.localeCompare(b.host) || a.pid - b.pid,
      );
      keep(shown.body, processes, (process) => process.id, workerRow, updateWorkerRow);
      const unknown = live.unavailable?.includes("postgres") ?? false;
      sayIfEmpty(
        shown,
        unknown
          ? "PostgreSQL cannot be read, which knows them."
          : "No process has been heard of. Start the API, a persister and a keeper.",
      );
      const missing = roles.filter((role) => !processes.some((process) => process.role === role && process.alive));
      const dead = processes.filter((process) => !process.alive).length;
      const alive = processes.length - dead;
      put(
        total,
        [
          `${alive} alive`,
          dead ? `${dead} dead` : "",
          missing.length && !unknown ? `no ${missing.map((role) => PLURALS[role]).join(", no ")}` : "",
        ]
          .filter(Boolean)
          .join(", "),
      );
      total.classList.toggle("bad", dead > 0 || (missing.length > 0 && !unknown));
    },
  };
}

function workerRow(process) {
  const beat = h("span", { class: "beat" }, pill("", "still"));
  return row(
    WORKER_COLUMNS,
    {
      role: PLURALS[process.role] ?? process.role,
      where: h("code", {}, `${process.host}:${process.pid}`),
      version: process.version,
      heartbeat: beat,
    },
    { "data-process": process.id, "data-role": process.role },
  );
}

function updateWorkerRow(line, process) {
  const [state, tone] = health(process);
  setData(line, "health", state);
  const text = state === "dead" ? `silent for ${span(process.ageMs)}` : `${span(process.ageMs)} ago`;
  setPill(line.querySelector(".pill"), text, tone);
  put(cell(line, "rate"), state === "dead" ? "–" : rate(process.perSecond));
  put(cell(line, "total"), int(process.handled));
}
