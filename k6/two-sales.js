// Two sales at once: in the hot one RATE (default 2,000) buyers a second click for 100 units, in the quiet one 50 a
// second for as many units as they are. The crowd at the one must not slow down or starve the other.
//
// It makes both sales itself.

import exec from 'k6/execution';
import { click, closeSale, load, openOwnSale, takeTurn, wholeNumber } from './lib/flashsale.js';
import { summary } from './lib/summary.js';

const SECONDS = 10;
const RATES = { hot: wholeNumber('RATE', 2000), quiet: 50 };
const STOCKS = { hot: 100, quiet: RATES.quiet * SECONDS };
const SALES = ['hot', 'quiet'];

function scenario(name, vus) {
  const iterations = RATES[name] * SECONDS;
  return { executor: 'shared-iterations', exec: name, tags: { sale: name }, vus, iterations, maxDuration: '60s' };
}

export const options = load(
  { hot: scenario('hot', 200), quiet: scenario('quiet', 20) },
  {
    answers_already_purchased: ['count==0'],
    answers_try_again: ['count==0'],
    answers_none: ['count==0'],
    // What is wrong in one sale must not be made up for by the other.
    ...Object.fromEntries(
      SALES.flatMap((sale) => [
        [`clicks{sale:${sale}}`, [`count==${RATES[sale] * SECONDS}`]],
        [`units_unsold{sale:${sale}}`, ['count==0']],
        [`promises_unkept{sale:${sale}}`, ['count==0']],
      ]),
    ),
    'click_duration{sale:hot}': ['p(95)<100'],
    'click_duration{sale:quiet}': ['p(95)<20'],
    'behind_schedule{sale:quiet}': ['p(95)<50'],
  },
);

/** What is counted until the next call is the sale's. */
function count(name) {
  exec.vu.metrics.tags.sale = name;
}

export function setup() {
  const open = (name) => {
    count(name);
    return openOwnSale(RATES[name] * SECONDS, STOCKS[name]);
  };
  return Object.fromEntries(SALES.map((name) => [name, open(name)]));
}

export function hot(sales) {
  click(sales.hot, `k6-${sales.hot.run}-${takeTurn(RATES.hot)}`);
}

export function quiet(sales) {
  click(sales.quiet, `k6-${sales.quiet.run}-${takeTurn(RATES.quiet)}`);
}

export function teardown(sales) {
  for (const name of SALES) {
    count(name);
    closeSale(sales[name]);
  }
}

export function handleSummary(data) {
  const trends = Object.fromEntries(SALES.map((sale) => [`latency, ${sale} sale`, `click_duration{sale:${sale}}`]));
  return summary(`${RATES.hot} buyers a second in one sale, ${RATES.quiet} in another`, data, trends);
}
