// The rush at the opening: BUYERS (default 500) click at once for STOCK (default 10) units. A buyer who is told to try
// again, or whose connection is lost, does so until the answer is final. So this load may run while servers are killed
// and started again, and its books must still balance; only its latency may then miss the threshold.
//
// STOCK must not exceed the sale's stock; what it has beyond STOCK is sold in advance.

import exec from 'k6/execution';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
import { click, closeSale, load, openSale, wholeNumber, won } from './lib/flashsale.js';
import { summary } from './lib/summary.js';

const BUYERS = wholeNumber('BUYERS', 500);
const STOCK = wholeNumber('STOCK', 10);
const MOST_AT_ONCE = 500;
// Counted from the opening. A fault that happens during the rush is healed within a minute.
const PATIENCE_SECONDS = 120;
const gaveUp = new Counter('buyers_gave_up');

export const options = load(
  {
    clicks: {
      executor: 'shared-iterations',
      vus: Math.min(BUYERS, MOST_AT_ONCE),
      iterations: BUYERS,
      maxDuration: '5m',
    },
  },
  {
    iterations: [`count==${BUYERS}`],
    buyers_gave_up: ['count==0'],
    click_duration: ['p(95)<2000'],
  },
);

export function setup() {
  return openSale(BUYERS, STOCK);
}

export default function (sale) {
  const buyer = `k6-${sale.run}-${exec.scenario.iterationInTest}`;
  const deadline = exec.scenario.startTime + PATIENCE_SECONDS * 1000;
  let answer = click(sale, buyer);
  let unknown = false;
  while (isOpen(answer) && Date.now() < deadline) {
    unknown = unknown || answer.status === 'NO_ANSWER' || Boolean(answer.orderId);
    sleep(answer.retryAfterSeconds);
    answer = click(sale, buyer);
  }
  if (isOpen(answer)) gaveUp.add(1);
  // Nobody else clicks for this buyer: the purchase is the one whose outcome was unknown.
  if (unknown && answer.status === 'ALREADY_PURCHASED') won();
}

function isOpen(answer) {
  return answer.status === 'TRY_AGAIN' || answer.status === 'NO_ANSWER';
}

export const teardown = closeSale;

export function handleSummary(data) {
  return summary(`${BUYERS} buyers at once for ${STOCK} units`, data);
}
