// What a run prints at its end: one short table and a verdict.

import { ANSWERS } from './flashsale.js';

/** For `handleSummary`: the table under `title`; `trends` are the script's own trends by their label. */
export function summary(title, data, trends = {}) {
  const { metrics } = data;
  if (count(metrics.clicks) === 0) return { stdout: `\n${title}\nNOT RUN\n` };
  const counted = (label, metric) => line(label, number(count(metrics[metric])));
  const measured = Object.entries({ latency: 'click_duration', ...trends });
  const text = [
    '',
    title,
    counted('clicks', 'clicks'),
    ...Object.entries(ANSWERS).map(([status, metric]) => counted(`  ${status}`, metric)),
    ...measured.map(([label, metric]) => trend(label, metrics[metric])),
    counted('units unsold', 'units_unsold'),
    counted('promises unkept', 'promises_unkept'),
    counted('broken invariants', 'broken_invariants'),
    verdict(metrics),
    '',
  ];
  return { stdout: text.join('\n') };
}

function verdict(metrics) {
  const crossed = Object.entries(metrics).flatMap(([name, { thresholds = {} }]) =>
    Object.entries(thresholds).filter(([, { ok }]) => !ok).map(([limit]) => `${name} ${limit}`),
  );
  return crossed.length === 0 ? 'PASSED' : `FAILED: ${crossed.join(', ')}`;
}

function trend(label, metric) {
  if (!metric) return line(label, '-');
  const { med, 'p(95)': p95, 'p(99)': p99, max } = metric.values;
  const parts = Object.entries({ p50: med, p95, p99, max }).map(([name, ms]) => `${name} ${ms.toFixed(1)} ms`);
  return line(label, parts.join('  '));
}

/** A metric that nothing was added to is not there. */
function count(metric) {
  return metric ? metric.values.count : 0;
}

function line(label, text) {
  return `  ${label.padEnd(22)}${text}`;
}

function number(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',').padStart(8);
}
