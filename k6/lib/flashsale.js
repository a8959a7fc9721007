// What every load test does: find a sale and reset it, click, and hold the books against the answers at the end.
//
// Environment:
//   FLASHSALE_ADMIN_TOKEN  the operator's token; required
//   FLASHSALE_URL          where the API is; default http://127.0.0.1:3000
//   SALE_ID                the sale to use; ALL ITS ORDERS ARE DELETED. Default, on this machine only: the first
//                          active sale
//   SETTLE_SECONDS         how long everything may take to be settled after the last click; default 60
// `cargo xtask k6 <script>` sets the first two.

import exec from 'k6/execution';
import http from 'k6/http';
import { sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';

export const URL = (__ENV.FLASHSALE_URL || 'http://127.0.0.1:3000').replace(/\/+$/, '');
const JSON_BODY = { 'Content-Type': 'application/json' };
const OPERATOR = { headers: { ...JSON_BODY, Authorization: `Bearer ${__ENV.FLASHSALE_ADMIN_TOKEN}` }, timeout: '60s' };
// Longer than the API waits for any server before it answers 503.
export const BUYER = { headers: JSON_BODY, timeout: '15s' };

const READY_SECONDS = 30;
const RESET_SECONDS = 60;
const SETTLE_SECONDS = wholeNumber('SETTLE_SECONDS', 60);
const POLL_SECONDS = 0.25;

/** How a click can end, and the metric that counts it. */
export const ANSWERS = {
  SUCCESS: 'answers_success',
  SOLD_OUT: 'answers_sold_out',
  ALREADY_PURCHASED: 'answers_already_purchased',
  RATE_LIMITED: 'answers_rate_limited', // 429: this client asks too often
  TRY_AGAIN: 'answers_try_again', // 503: undecided or unknown
  NO_ANSWER: 'answers_none', // a timeout or a lost connection: unknown
  UNEXPECTED: 'answers_unexpected', // nothing that the contract knows for a well-formed click on an active sale
};
const answered = Object.fromEntries(Object.entries(ANSWERS).map(([status, metric]) => [status, new Counter(metric)]));

const clicks = new Counter('clicks');
const clickDuration = new Trend('click_duration', true);
const behindSchedule = new Trend('behind_schedule', true);
// Thresholds are fixed before the sale's stock is known. So what must be equal is counted up on one side and down on
// the other, and has to end at 0.
const unitsUnsold = new Counter('units_unsold'); // + units that must be sold, - each unit won
const promisesUnkept = new Counter('promises_unkept'); // + each unit won, - each unit of an order
const brokenInvariants = new Counter('broken_invariants');

// For whoever reads k6's own http_req_failed: busy (409), too often (429) and try again (503) are of the contract.
http.setResponseCallback(http.expectedStatuses(200, 201, 409, 429, 503));

/** Options of a script: its scenarios by their names, and its thresholds beside those that hold for every load. */
export function load(scenarios, thresholds) {
  return {
    scenarios,
    setupTimeout: '5m',
    teardownTimeout: `${SETTLE_SECONDS + 90}s`,
    summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
    thresholds: {
      answers_unexpected: ['count==0'],
      answers_rate_limited: ['count==0'],
      units_unsold: ['count==0'],
      promises_unkept: ['count==0'],
      broken_invariants: ['count==0'],
      ...thresholds,
    },
  };
}

/** The whole number of 1 or more that the environment holds under `name`. */
export function wholeNumber(name, otherwise) {
  const value = Number(__ENV[name] || otherwise);
  if (!Number.isInteger(value) || value < 1) {
    throw new Error(`${name} must be a whole number of at least 1, not ${__ENV[name]}`);
  }
  return value;
}

/**
 * For `setup`: resets the sale and leaves `stock` units in it for `buyers` (by default all it has). Returns the sale
 * as the other functions take it: its id, the units sold before the first click, and a name for this run's users.
 */
export function openSale(buyers, stock) {
  if (!__ENV.FLASHSALE_ADMIN_TOKEN) {
    exec.test.abort('FLASHSALE_ADMIN_TOKEN is not set; `cargo xtask k6` sets it, `cargo xtask env` prints it');
  }
  waitUntilReady();
  const sale = { id: __ENV.SALE_ID || firstActiveSale(), run: Date.now().toString(36) };
  reset(sale);
  const total = freshStock(sale);
  const wanted = stock || total;
  if (wanted > total) exec.test.abort(`the sale has ${total} units, so STOCK cannot be ${wanted}`);
  sellInAdvance(sale, total - wanted);
  unitsUnsold.add(Math.min(buyers, wanted));
  console.log(`sale ${sale.id} is reset; for sale: ${wanted} of its ${total} units`);
  return sale;
}

/**
 * As `openSale`, with a new sale of `stock` units and these terms, for buyers who want `demand` units in all. It ends
 * after an hour, and is left as it is by then.
 */
export function openOwnSale(demand, stock, terms = {}) {
  if (!__ENV.FLASHSALE_ADMIN_TOKEN) {
    exec.test.abort('FLASHSALE_ADMIN_TOKEN is not set; `cargo xtask k6` sets it, `cargo xtask env` prints it');
  }
  waitUntilReady();
  const run = Date.now().toString(36);
  const at = (ms) => new Date(Date.now() + ms).toISOString();
  const sold = { name: `k6 ${run}`, totalStock: stock, unitPriceMinor: 1999, currency: 'EUR' };
  const wanted = { ...sold, startsAt: at(-60_000), endsAt: at(3_600_000), ...terms };
  const response = http.post(`${URL}/api/v1/admin/sales`, JSON.stringify(wanted), OPERATOR);
  const { saleId } = json(response) || {};
  if (!saleId) exec.test.abort(`a sale cannot be created: ${problem(response)}`);
  const sale = { id: saleId, run };
  freshStock(sale);
  waitUntilShown(sale);
  unitsUnsold.add(Math.min(demand, stock));
  console.log(`sale ${sale.id} is open with ${stock} units`);
  return sale;
}

/**
 * Waits until it is this iteration's turn, and returns its number: `perSecond` of the scenario's begin in a second.
 *
 * k6's arrival-rate executors start a few requests more or fewer than asked for. Here the iterations are counted and
 * each waits for its own moment: the number is exact, and how far the pace was missed is measured.
 */
export function takeTurn(perSecond) {
  const turn = exec.scenario.iterationInTest;
  const due = exec.scenario.startTime + (turn * 1000) / perSecond;
  sleep(Math.max(0, due - Date.now()) / 1000);
  behindSchedule.add(Math.max(0, Date.now() - due));
  return turn;
}

/**
 * One click of `userId`. Returns `{status, orderId, remainingStock, retryAfterSeconds}`; `status` is a key of ANSWERS.
 */
export function click(sale, userId, quantity = 1) {
  const response = purchase(sale, userId, quantity);
  const answer = read(response);
  clicks.add(1);
  clickDuration.add(response.timings.duration);
  answered[answer.status].add(1);
  if (answer.status === 'SUCCESS') won(quantity);
  if (answer.status === 'UNEXPECTED') console.error(`unexpected: ${response.status} ${response.body}`);
  return answer;
}

/** Books units that a buyer holds: a SUCCESS, or an unknown outcome that turned out to be one. */
export function won(units = 1) {
  unitsUnsold.add(-units);
  promisesUnkept.add(units);
}

/** Books a unit that a buyer held and has given back. */
export function gaveBack() {
  unitsUnsold.add(1);
  promisesUnkept.add(-1);
}

/** For `teardown`: waits until nothing is on its way, prints the books, and counts everything that is wrong in them. */
export function closeSale(sale) {
  const deadline = Date.now() + SETTLE_SECONDS * 1000;
  let [response, books] = verify(sale);
  while (!(books && books.ok && books.settled) && Date.now() < deadline) {
    sleep(POLL_SECONDS);
    [response, books] = verify(sale);
  }
  if (!books) {
    brokenInvariants.add(1);
    console.error(`the books cannot be read: ${problem(response)}`);
    return;
  }
  promisesUnkept.add(-books.books.sold);
  for (const { name, expected, actual, ok } of books.invariants) {
    if (!ok) brokenInvariants.add(1);
    console.log(`${ok ? 'holds ' : 'BROKEN'} ${name}: expected ${expected}, is ${actual}`);
  }
  if (!books.settled) {
    brokenInvariants.add(1);
    const onTheWay = JSON.stringify({ queuedMessages: books.queuedMessages, ...books.books });
    console.error(`not settled after ${SETTLE_SECONDS} s: ${onTheWay}`);
  }
}

function purchase(sale, userId, quantity = 1) {
  return http.post(`${URL}/api/v1/sale/purchase`, JSON.stringify({ saleId: sale.id, userId, quantity }), BUYER);
}

function read(response) {
  const { status, orderId, remainingStock } = json(response) || {};
  switch (response.status) {
    case 0:
      return { status: 'NO_ANSWER', retryAfterSeconds: 1 };
    case 200:
      if (!['SUCCESS', 'SOLD_OUT', 'ALREADY_PURCHASED'].includes(status)) return { status: 'UNEXPECTED' };
      return { status, orderId, remainingStock };
    case 429:
      return { status: 'RATE_LIMITED', retryAfterSeconds: Number(response.headers['Retry-After']) };
    case 503:
      return { status: 'TRY_AGAIN', orderId, retryAfterSeconds: Number(response.headers['Retry-After']) || 1 };
    default:
      return { status: 'UNEXPECTED' };
  }
}

function waitUntilReady() {
  eventually(READY_SECONDS, `no API is ready at ${URL}`, () => {
    const response = http.get(`${URL}/readyz`, BUYER);
    return response.status === 200 ? {} : { problem: problem(response) };
  });
}

/** A reset deletes orders: on another machine the sale has to be named. */
function firstActiveSale() {
  if (!/^https?:\/\/(127\.0\.0\.1|\[::1\]|localhost)(:|\/|$)/.test(URL)) {
    exec.test.abort(`name the sale of ${URL} whose orders may be deleted: SALE_ID=...`);
  }
  const sale = (json(http.get(`${URL}/api/v1/sales`, BUYER)) || []).find((candidate) => candidate.saleActive);
  if (!sale) exec.test.abort('no sale is active; name one by SALE_ID=...');
  return sale.saleId;
}

function reset(sale) {
  eventually(RESET_SECONDS, `sale ${sale.id} cannot be reset`, () => {
    const response = http.post(`${URL}/api/v1/admin/reset`, JSON.stringify({ saleId: sale.id }), OPERATOR);
    if (response.status === 200) return {};
    const passes = [0, 409, 503].includes(response.status);
    return { problem: problem(response), final: !passes };
  });
}

/** The sale's stock, once the books show that a reset sale has all of it. */
function freshStock(sale) {
  return eventually(RESET_SECONDS, `sale ${sale.id} is not clean after its reset`, () => {
    const [response, books] = verify(sale);
    if (!books) return { problem: problem(response) };
    const clean = books.ok && books.settled && books.books.available === books.books.total;
    return clean ? { value: books.books.total } : { problem: JSON.stringify(books) };
  }).value;
}

/** The books are read from the servers; an API knows of a gate's first opening a moment later, and shows it then. */
function waitUntilShown(sale) {
  eventually(READY_SECONDS, `sale ${sale.id} is not shown as active`, () => {
    const response = http.get(`${URL}/api/v1/sale/${sale.id}/status`, BUYER);
    const shown = json(response) || {};
    return shown.saleActive ? {} : { problem: problem(response) };
  });
}

/** Sells `units`, one each, to users whose names say where they come from. */
function sellInAdvance(sale, units) {
  for (let unit = 0; unit < units; unit += 1) {
    const response = purchase(sale, `k6-${sale.run}-in-advance-${unit}`);
    if (read(response).status !== 'SUCCESS') exec.test.abort(`a unit cannot be sold in advance: ${problem(response)}`);
    promisesUnkept.add(1);
  }
}

function verify(sale) {
  const response = http.get(`${URL}/api/v1/admin/sales/${sale.id}/verify`, OPERATOR);
  return [response, response.status === 200 ? json(response) : null];
}

/** Repeats `attempt` until it returns no `problem`; aborts after `seconds`, or at once where the problem is final. */
function eventually(seconds, what, attempt) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const outcome = attempt();
    if (!outcome.problem) return outcome;
    if (outcome.final || Date.now() >= deadline) exec.test.abort(`${what}: ${outcome.problem}`);
    sleep(POLL_SECONDS);
  }
}

/** The body of a response; null where it is no JSON. */
export function json(response) {
  try {
    return response.json();
  } catch {
    return null;
  }
}

function problem(response) {
  return response.error || `${response.status} ${response.body}`;
}
