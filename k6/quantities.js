// Mixed quantities: BUYERS (default 5,000) want 1 to LIMIT (default 5) units each of STOCK (default 5,000), as fast as
// they are answered. Who asks for more than are left takes what is left, so in the end exactly the stock is sold, to
// the last unit.
//
// It makes a sale of its own.

import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { click, closeSale, load, openOwnSale, wholeNumber } from './lib/flashsale.js';
import { summary } from './lib/summary.js';

const BUYERS = wholeNumber('BUYERS', 5000);
const STOCK = wholeNumber('STOCK', 5000);
const LIMIT = wholeNumber('LIMIT', 5);
const tookLess = new Counter('took_less');

export const options = load(
  { clicks: { executor: 'shared-iterations', vus: Math.min(BUYERS, 200), iterations: BUYERS, maxDuration: '2m' } },
  {
    iterations: [`count==${BUYERS}`],
    answers_already_purchased: ['count==0'],
    answers_try_again: ['count==0'],
    answers_none: ['count==0'],
    click_duration: ['p(95)<2000'],
  },
);

function wanted(buyer) {
  return 1 + (buyer % LIMIT);
}

export function setup() {
  let demand = 0;
  for (let buyer = 0; buyer < BUYERS; buyer += 1) demand += wanted(buyer);
  return openOwnSale(demand, STOCK, { perUserLimit: LIMIT });
}

export default function (sale) {
  const buyer = exec.scenario.iterationInTest;
  let units = wanted(buyer);
  let answer = click(sale, `k6-${sale.run}-${buyer}`, units);
  // Nothing comes back in this sale: each time fewer are left, until there are none.
  while (answer.status === 'SOLD_OUT' && answer.remainingStock > 0) {
    units = Math.min(units, answer.remainingStock);
    answer = click(sale, `k6-${sale.run}-${buyer}`, units);
  }
  if (answer.status === 'SUCCESS' && units < wanted(buyer)) tookLess.add(1);
}

export const teardown = closeSale;

export function handleSummary(data) {
  const less = data.metrics.took_less ? data.metrics.took_less.values.count : 0;
  return summary(`${BUYERS} buyers of 1 to ${LIMIT} units, ${STOCK} units: ${less} took what was left`, data);
}
