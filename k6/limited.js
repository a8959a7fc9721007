// One client floods the sale for 10 s, beside 50 buyers a second who click once each. The flood gets no further than
// its limit, and takes nothing away from the others.
//
// The stack must run with this limit; one that runs without is stopped first:
//   cargo xtask down && FLASHSALE__LIMITS__PURCHASE_PER_USER=5/60 cargo xtask up --detach
// It makes a sale of its own.

import exec from 'k6/execution';
import { click, closeSale, load, openOwnSale, takeTurn } from './lib/flashsale.js';
import { summary } from './lib/summary.js';

const LIMIT = 5;
const WINDOW_SECONDS = 60;
const SECONDS = 10;
const PER_SECOND = 50;
const BUYERS = PER_SECOND * SECONDS;
// The first click of the flood wins. Then come those that the limit admits: at once, and while it goes on.
const REPEATED = LIMIT - 1 + Math.ceil(((SECONDS + 5) * LIMIT) / WINDOW_SECONDS);

export const options = load(
  {
    flood: { executor: 'constant-vus', exec: 'flood', tags: { client: 'flood' }, vus: 20, duration: `${SECONDS}s` },
    others: {
      executor: 'shared-iterations',
      exec: 'others',
      tags: { client: 'other' },
      vus: 20,
      iterations: BUYERS,
      maxDuration: '60s',
    },
  },
  {
    answers_success: [`count==${BUYERS + 1}`],
    answers_already_purchased: [`count<=${REPEATED}`],
    answers_rate_limited: ['count>0'],
    'answers_rate_limited{client:other}': ['count==0'],
    answers_sold_out: ['count==0'],
    answers_try_again: ['count==0'],
    answers_none: ['count==0'],
    'click_duration{client:flood}': ['p(95)<1000'],
    'click_duration{client:other}': ['p(95)<50'],
  },
);

function floods(sale) {
  return click(sale, `k6-${sale.run}-flood`).status;
}

export function setup() {
  const sale = openOwnSale(BUYERS + 1, BUYERS + 100);
  const answers = Array.from({ length: LIMIT + 1 }, () => floods(sale));
  if (answers.indexOf('RATE_LIMITED') !== LIMIT) {
    const limit = `FLASHSALE__LIMITS__PURCHASE_PER_USER=${LIMIT}/${WINDOW_SECONDS}`;
    const start = `cargo xtask down && ${limit} cargo xtask up --detach`;
    exec.test.abort(`the API does not limit a buyer to ${LIMIT} clicks (${answers.join(', ')}); start it so: ${start}`);
  }
  return sale;
}

export function flood(sale) {
  floods(sale);
}

export function others(sale) {
  click(sale, `k6-${sale.run}-${takeTurn(PER_SECOND)}`);
}

export const teardown = closeSale;

export function handleSummary(data) {
  const trend = (client) => `click_duration{client:${client}}`;
  const trends = { 'latency, flood': trend('flood'), 'latency, others': trend('other') };
  return summary(`one client floods, ${PER_SECOND} others a second`, data, trends);
}
