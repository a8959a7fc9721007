// Purchases of new buyers at a rate that is no limit to anybody: how long one takes. `flashsale-bench` runs it.
//
// Environment:
//   URL      where the API is
//   SALE     the sale
//   RUN      a name of this run, which makes the buyers new
//   SECONDS  how long is measured

import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

const { URL, SALE, RUN } = __ENV;
const PER_SECOND = 2000;
// While k6 warms up a click takes longer, whoever answers it.
const WARM_UP_SECONDS = 1;
const PURCHASE = `${URL}/api/v1/sale/purchase`;
const BUYER = { headers: { 'Content-Type': 'application/json' }, timeout: '15s' };

const took = new Trend('took', true);
const successes = new Counter('successes');
const soldOut = new Counter('sold_out');

export const options = {
  scenarios: {
    clicks: {
      executor: 'constant-arrival-rate',
      rate: PER_SECOND,
      timeUnit: '1s',
      duration: `${Number(__ENV.SECONDS) + WARM_UP_SECONDS}s`,
      // Enough for answers that take 150 ms each.
      preAllocatedVUs: 300,
    },
  },
  summaryTrendStats: ['p(99)'],
};

export default function () {
  const answer = http.post(PURCHASE, `{"saleId":"${SALE}","userId":"${RUN}-${exec.scenario.iterationInTest}"}`, BUYER);
  if (answer.body && answer.body.includes('"SUCCESS"')) successes.add(1);
  if (answer.body && answer.body.includes('"SOLD_OUT"')) soldOut.add(1);
  if (Date.now() - exec.scenario.startTime >= WARM_UP_SECONDS * 1000) took.add(answer.timings.duration);
}

/** One line for the bench. */
export function handleSummary({ metrics }) {
  // A metric that nothing was added to is not there.
  const count = (metric) => (metric ? metric.values.count : 0);
  const seen = {
    clicks: count(metrics.iterations),
    dropped: count(metrics.dropped_iterations),
    successes: count(metrics.successes),
    sold_out: count(metrics.sold_out),
    p99_ms: metrics.took.values['p(99)'],
  };
  return { stdout: `\n${JSON.stringify(seen)}\n` };
}
