// Two charts of the last two minutes, drawn by uPlot (a script of its own, `window.uPlot`).

import { h, put } from "./admin-dom.js";
import { clock, millis, short } from "./admin-format.js";

const SECONDS = 120;
/** What `traffic` leaves out: a second is complete after two. */
const LAG_S = 2;

/** Each second of the last two minutes: counts are 0 and percentiles null where there was no attempt. */
export function lastMinutes(live) {
  const last = Math.floor(Date.parse(live.at) / 1_000) - LAG_S;
  const points = new Map(live.traffic.map((point) => [Math.floor(Date.parse(point.at) / 1_000), point]));
  const nothing = { attempts: 0, successes: 0, refusals: 0, unknown: 0, p50Ms: null, p95Ms: null, p99Ms: null };
  return Array.from({ length: SECONDS }, (_, index) => {
    const second = last - SECONDS + 1 + index;
    return { ...nothing, ...points.get(second), second };
  });
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Where a value stands alone a line shows nothing: such points get a dot. */
function alone(chart, series) {
  const values = chart.data[series];
  const indices = values.map((_, index) => index);
  return indices.filter(
    (index) => values[index] !== null && (values[index - 1] ?? null) === null && (values[index + 1] ?? null) === null,
  );
}

function plan(chart, width) {
  const line = ({ field, tone, dash, fill }) => ({
    stroke: colour(tone),
    width: 1.75,
    dash,
    fill: fill ? colour(`${tone}-fill`) : undefined,
    points: { size: 5, fill: colour(tone), filter: (plot, series) => alone(plot, series) },
    label: field,
  });
  const axis = { stroke: colour("muted"), font: `11px ${getComputedStyle(document.body).fontFamily}` };
  const grid = { stroke: colour("grid"), width: 1 };
  const narrow = width < 420;
  return {
    width,
    height: narrow ? 160 : 190,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false, setScale: false }, sync: { key: "traffic" }, points: { size: 7 } },
    scales: {
      x: { time: true, range: (plot, least, most) => [least, most] },
      y: { range: (plot, least, most) => [0, Math.max(most === null ? 0 : most * 1.12, chart.least)] },
    },
    series: [{}, ...chart.lines.map(line)],
    axes: [
      {
        ...axis,
        grid: { show: false },
        ticks: { ...grid, size: 4 },
        space: narrow ? 84 : 110,
        gap: 4,
        size: 28,
        values: (plot, splits) => splits.map((split) => clock(split * 1_000)),
      },
      {
        ...axis,
        grid,
        ticks: { show: false },
        size: 46,
        gap: 6,
        space: 34,
        values: (plot, splits) => splits.map((split) => chart.axis(split)),
      },
    ],
    hooks: { setCursor: [(plot) => chart.pointed(plot.cursor.idx ?? null)] },
  };
}

/** A chart in its host. `lines` are `{field, label, tone, dash?, fill?}`; `least` is the least top of its scale. */
function chart(host, readout, lines, least, write) {
  const made = { lines, least, axis: write, plot: null, points: [] };
  made.pointed = (index) => {
    const point = index === null ? null : made.points[index];
    const values = point ? lines.map(({ field, label }) => `${label} ${write(point[field])}`) : [];
    put(readout, point ? `${clock(point.second * 1_000)}  ${values.join("  ")}` : "");
  };
  const data = () => [
    made.points.map((point) => point.second),
    ...lines.map(({ field }) => made.points.map((point) => point[field])),
  ];
  const draw = () => {
    made.plot?.destroy();
    made.plot = new window.uPlot(plan(made, host.clientWidth), data(), host);
  };
  const resized = new ResizeObserver(() => {
    if (made.plot && host.clientWidth > 0 && host.clientWidth !== made.plot.width) draw();
  });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  resized.observe(host);
  dark.addEventListener("change", draw);
  return {
    update(points) {
      made.points = points;
      if (made.plot) made.plot.setData(data());
      else if (host.clientWidth > 0) draw();
    },
    close() {
      resized.disconnect();
      dark.removeEventListener("change", draw);
      made.plot?.destroy();
    },
  };
}

export const RATES = [
  { field: "attempts", label: "Attempts", tone: "c-attempts", fill: true },
  { field: "successes", label: "Successes", tone: "c-successes", fill: true },
  { field: "refusals", label: "Refusals", tone: "c-refusals", dash: [6, 3] },
  { field: "unknown", label: "Unknown", tone: "c-unknown", dash: [2, 3] },
];

export const LATENCIES = [
  { field: "p50Ms", label: "p50", tone: "c-p50" },
  { field: "p95Ms", label: "p95", tone: "c-p95", dash: [6, 3] },
  { field: "p99Ms", label: "p99", tone: "c-p99", dash: [2, 3] },
];

export const ratesChart = (host, readout) => chart(host, readout, RATES, 5, (number) => short(number));
export const latencyChart = (host, readout) => chart(host, readout, LATENCIES, 2, (number) => millis(number));

/** The key of a chart, and its figures of the last second. */
export function figures(lines, unit) {
  return h(
    "dl",
    { class: "figures", "data-count": String(lines.length) },
    lines.map(({ field, label, tone }) =>
      h(
        "div",
        { class: tone },
        h("dt", {}, h("span", { class: "swatch", "aria-hidden": "true" }), label),
        h("dd", {}, h("span", { "data-figure": field.replace("Ms", "") }, "–"), h("small", {}, ` ${unit}`)),
      ),
    ),
  );
}
