// Steady load: 10,000 buyers, 2,000 a second for 5 s, for the units of one sale. Everybody gets an answer, quickly,
// and exactly the sale's stock is sold.
//
// k6's arrival-rate executors start a few requests more or fewer than asked for. Here the iterations are counted and
// each waits for its own moment: the number is exact, and how far the pace was missed is measured.

import exec from 'k6/execution';
import { sleep } from 'k6';
import { Trend } from 'k6/metrics';
import { click, closeSale, load, openSale } from './lib/flashsale.js';
import { summary } from './lib/summary.js';

const BUYERS = 10000;
const PER_SECOND = 2000;
const behindSchedule = new Trend('behind_schedule', true);

export const options = load(
  // 200 connections carry this pace as long as answers take less than 100 ms.
  { executor: 'shared-iterations', vus: 200, iterations: BUYERS, maxDuration: '60s' },
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
  const buyer = exec.scenario.iterationInTest;
  const due = exec.scenario.startTime + (buyer * 1000) / PER_SECOND;
  sleep(Math.max(0, due - Date.now()) / 1000);
  behindSchedule.add(Math.max(0, Date.now() - due));
  click(sale, `k6-${sale.run}-${buyer}`);
}

export const teardown = closeSale;

export function handleSummary(data) {
  const title = `${BUYERS} buyers, ${PER_SECOND} a second`;
  return summary(title, data, { 'behind schedule': 'behind_schedule' });
}
