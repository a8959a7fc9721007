// One impatient buyer: CLICKS (default 200) clicks at once. One is a success, all others learn that it was.

import { click, closeSale, load, openSale, wholeNumber } from './lib/flashsale.js';
import { summary } from './lib/summary.js';

const CLICKS = wholeNumber('CLICKS', 200);

export const options = load(
  { clicks: { executor: 'per-vu-iterations', vus: CLICKS, iterations: 1, maxDuration: '60s' } },
  {
    clicks: [`count==${CLICKS}`],
    answers_success: ['count==1'],
    answers_already_purchased: [`count==${CLICKS - 1}`],
    click_duration: ['p(95)<1000'],
  },
);

export function setup() {
  return openSale(1);
}

export default function (sale) {
  click(sale, `k6-${sale.run}`);
}

export const teardown = closeSale;

export function handleSummary(data) {
  return summary(`${CLICKS} clicks at once of one buyer`, data);
}
