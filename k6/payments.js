// BUYERS (default 5,000) want STOCK (default 100) units, and one payment in five fails. Who is told SOLD_OUT clicks
// again, because units of failed payments come back. In the end exactly STOCK orders are paid for.
//
// It makes a sale of its own, with a hold. It speaks for the payment provider, with webhooks that it signs
// (FLASHSALE_PAYMENTS_WEBHOOK_SECRET, set by `cargo xtask k6`), so the API must run with payments.provider=simulated.

import crypto from 'k6/crypto';
import exec from 'k6/execution';
import http from 'k6/http';
import { sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { BUYER, URL, click, closeSale, gaveBack, json, load, openOwnSale, wholeNumber } from './lib/flashsale.js';
import { summary } from './lib/summary.js';

const BUYERS = wholeNumber('BUYERS', 5000);
const STOCK = wholeNumber('STOCK', 100);
const FAILING = 0.2;
// One virtual user is a group of buyers, who click one after the other.
const GROUPS = Math.min(BUYERS, 100);
const ROUND_SECONDS = 3;
// A failed payment's unit is on sale within a second; a chain of failures ends long before so many quiet rounds.
const QUIET_ROUNDS = 5;
const DECIDED_SECONDS = 30;
const SECRET = __ENV.FLASHSALE_PAYMENTS_WEBHOOK_SECRET;

const ordersPaid = new Counter('orders_paid');
const paymentsFailed = new Counter('payments_failed');
const paymentsStuck = new Counter('payments_stuck');
const payDuration = new Trend('pay_duration', true);
const confirmedAfter = new Trend('confirmed_after', true);

export const options = load(
  { clicks: { executor: 'per-vu-iterations', vus: GROUPS, iterations: 1, maxDuration: '10m' } },
  {
    orders_paid: [`count==${Math.min(BUYERS, STOCK)}`],
    payments_stuck: ['count==0'],
    answers_already_purchased: ['count==0'],
    pay_duration: ['p(95)<2000'],
  },
);

export function setup() {
  if (!SECRET) exec.test.abort('FLASHSALE_PAYMENTS_WEBHOOK_SECRET is not set; `cargo xtask k6` sets it');
  return openOwnSale(BUYERS, STOCK, { holdSeconds: 600 });
}

export default function (sale) {
  const group = exec.scenario.iterationInTest;
  let waiting = [];
  for (let buyer = group; buyer < BUYERS; buyer += GROUPS) waiting.push(`k6-${sale.run}-${buyer}`);
  for (let quiet = 0; quiet < QUIET_ROUNDS && waiting.length > 0; quiet += 1) {
    const began = Date.now();
    const still = waiting.filter((buyer) => {
      const answer = click(sale, buyer);
      if (answer.status !== 'SUCCESS') return true;
      quiet = 0;
      pay(answer.orderId);
      return false;
    });
    waiting = still;
    sleep(Math.max(0, ROUND_SECONDS - (Date.now() - began) / 1000));
  }
}

/** Pays for an order, in vain one time in five. */
function pay(order) {
  const began = Date.now();
  const begun = eventually(() => {
    const response = http.post(`${URL}/api/v1/orders/${order}/pay`, null, BUYER);
    if (response.status === 200) payDuration.add(response.timings.duration);
    return response.status === 200 && json(response);
  });
  if (!begun) return stuck(order, 'cannot be paid for');
  const fails = Math.random() < FAILING;
  const type = fails ? 'payment_intent.payment_failed' : 'payment_intent.amount_capturable_updated';
  const expected = fails ? 'CANCELLED' : 'CONFIRMED';
  const isHeard = eventually(() => webhook(type, begun.payment.providerRef, order) === 200);
  if (!isHeard) return stuck(order, 'is not heard of');
  const decided = eventually(() => {
    const { status } = json(http.get(`${URL}/api/v1/orders/${order}`, BUYER)) || {};
    return ['CONFIRMED', 'CANCELLED', 'EXPIRED'].includes(status) && status;
  });
  if (decided !== expected) return stuck(order, `is ${decided}, not ${expected}`);
  if (fails) {
    paymentsFailed.add(1);
    gaveBack();
  } else {
    ordersPaid.add(1);
    confirmedAfter.add(Date.now() - began);
  }
}

function stuck(order, what) {
  paymentsStuck.add(1);
  console.error(`order ${order} ${what}`);
}

/** Reports as the provider does; the same event however often it is sent. */
function webhook(type, payment, order) {
  const object = { id: payment, metadata: { order_id: order } };
  const body = JSON.stringify({ id: `evt_${order}`, type, data: { object } });
  const time = Math.floor(Date.now() / 1000);
  const signature = `t=${time},v1=${crypto.hmac('sha256', SECRET, `${time}.${body}`, 'hex')}`;
  const headers = { ...BUYER.headers, 'Stripe-Signature': signature };
  return http.post(`${URL}/api/v1/payments/webhook`, body, { ...BUYER, headers }).status;
}

function eventually(attempt) {
  const deadline = Date.now() + DECIDED_SECONDS * 1000;
  for (;;) {
    const outcome = attempt();
    if (outcome || Date.now() >= deadline) return outcome;
    sleep(0.2);
  }
}

export const teardown = closeSale;

export function handleSummary(data) {
  const { metrics } = data;
  const count = (metric) => (metrics[metric] ? metrics[metric].values.count : 0);
  const paid = `${count('orders_paid')} paid, ${count('payments_failed')} failed`;
  const trends = { pay: 'pay_duration', 'confirmed after': 'confirmed_after' };
  return summary(`${BUYERS} buyers, ${STOCK} units, one payment in five fails: ${paid}`, data, trends);
}
