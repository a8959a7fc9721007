// Steady load: 10,000 buyers, 2,000 a second for 5 s, for the units of one sale. Everybody gets an answer, quickly,
// and exactly the sale's stock is sold.

import { click, closeSale, load, openSale, takeTurn } from './lib/flashsale.js';
import { summary } from './lib/summary.js';

const BUYERS = 10000;
const PER_SECOND = 2000;

export const options = load(
  // 200 connections carry this pace as long as answers take less than 100 ms.
  { clicks: { executor: 'shared-iterations', vus: 200, iterations: BUYERS, maxDuration: '60s' } },
  {
    clicks: [`count==${BUYERS}`],
    answers_already_purchased: ['count==0'],
    answers_try_again: ['count==0'],
    answers_none: ['count==0'],
    click_duration: ['p(95)<20'],
    behind_schedule: ['p(95)<50'],
  },
);

export function setup() {
  return openSale(BUYERS);
}

export default function (sale) {
  click(sale, `k6-${sale.run}-${takeTurn(PER_SECOND)}`);
}

export const teardown = closeSale;

export function handleSummary(data) {
  const title = `${BUYERS} buyers, ${PER_SECOND} a second`;
  return summary(title, data, { 'behind schedule': 'behind_schedule' });
}
