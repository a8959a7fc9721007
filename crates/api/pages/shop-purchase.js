// The buy box: one click becomes one purchase, whatever happens to the connection, the page or the shop meanwhile. The
// key of a purchase under way, and the order that came of it, are kept for each sale and buyer.

import { uuid } from './flashsale.js';
import { forGood } from './shop-buyer.js';
import { announce, count, h, left, money, put } from './shop-dom.js';
import { Order } from './shop-order.js';

// A click on the second of the start may be decided by a clock that is a little behind.
const [EARLY_MS, EARLY_PAUSE_MS] = [3_000, 150];
const CHECK_AFTER_MS = [300, 1_500, 4_000];
const NOTES = {
  upcoming: 'The button opens by itself, on the second.',
  'sold-out': 'If units come back, this button opens by itself.',
  paused: 'The shop has paused this sale. It goes on by itself.',
  ended: 'This sale is over.',
};
const LABELS = { sending: 'Reserving…', retrying: 'Still trying…', 'sold-out': 'Sold out', paused: 'Paused', ended: 'Ended' };
const KEPT = 'Nothing is lost: the same purchase is sent again until there is an answer, and it counts once.';
const RETRIES = {
  UNAVAILABLE: `The shop is busy and has not decided yet. ${KEPT}`,
  NO_ANSWER: `No connection to the shop. ${KEPT}`,
  RATE_LIMITED: 'Too many tries in a short time. The next one goes out by itself.',
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Purchase {
  #sale;
  #state;
  #phase = 'idle';
  #note = null;
  #retryAt = 0;
  #stopping;
  #order = null;

  /** `element` has the box, or the order once there is one. `signal` ends it. */
  constructor({ sale, ...around }) {
    Object.assign(this, around);
    this.#sale = sale;
    this.#build();
    addEventListener('storage', (event) => this.#heardFromOtherTab(event), { signal: this.signal });
    const { key, quantity, orderId, isStopped } = this.#kept();
    if (orderId) this.#follow({ orderId });
    else if (key && isStopped) this.#check();
    else if (key) this.#buy({ key, quantity }, 'Going on with your purchase where it stopped.');
  }

  /** The sale as it is now. */
  show(sale, state, now) {
    if (state !== this.#state && this.#note?.of === this.#state) this.#note = null;
    this.#sale = sale;
    this.#state = state;
    this.#order?.tick(now);
    this.#render();
  }

  #build() {
    const button = (id, text, onclick, more) => h('button', { id, type: 'button', onclick, ...more }, text);
    const typed = { oninput: () => this.#render(), onblur: () => this.#step(0) };
    this.quantity = h('input', { id: 'quantity', type: 'number', inputmode: 'numeric', min: 1, value: 1, ...typed });
    this.fewer = button('fewer', '−', () => this.#step(-1), { 'aria-label': 'One fewer' });
    this.more = button('more', '+', () => this.#step(1), { 'aria-label': 'One more' });
    this.limit = h('span', { class: 'muted' });
    this.picker = h('div', { class: 'picker' },
      h('label', { for: 'quantity' }, 'Quantity'), h('div', { class: 'stepper' }, this.fewer, this.quantity, this.more), this.limit);
    this.button = button('buy-button', '', () => this.#clicked(), { class: 'primary big', 'aria-describedby': 'notice' });
    this.notice = h('p', { id: 'notice', class: 'notice' });
    this.stopper = button('stop', 'Stop trying', () => this.#stopping.abort());
    this.box = h('div', { id: 'buy' }, this.picker, this.button, this.notice, this.stopper);
    this.element = h('div', { class: 'deal' }, this.box);
  }

  get #place() {
    return `flashsale.purchase.${this.#sale.saleId}.${this.buyer.id}`;
  }

  /** `{key, quantity, isStopped?}` of a purchase that is not decided, with the `orderId` that came of it, or `{}`. */
  #kept() {
    return JSON.parse(forGood.getItem(this.#place)) ?? {};
  }

  #keep(record) {
    if (record) forGood.setItem(this.#place, JSON.stringify(record));
    else forGood.removeItem(this.#place);
  }

  #heardFromOtherTab({ key }) {
    const { orderId } = this.#kept();
    if (key === this.#place && orderId && !this.#order && this.#phase === 'idle') this.#follow({ orderId, note: 'Bought in another tab.' });
  }

  get #most() {
    const { perUserLimit, remainingStock } = this.#sale;
    return remainingStock > 0 ? Math.min(perUserLimit, remainingStock) : perUserLimit;
  }

  get #wanted() {
    return Math.min(this.#most, Math.max(1, Math.trunc(Number(this.quantity.value)) || 1));
  }

  #step(by) {
    this.quantity.value = Math.min(this.#most, Math.max(1, this.#wanted + by));
    this.#render();
  }

  /** Says something under the button; for as long as the sale is in the state `of`, where one is given. */
  #say(text, kind = 'info', of = null) {
    this.#note = text && { text, kind, of };
    if (text) announce(text);
    this.#render();
  }

  #render() {
    if (!this.#state || this.#order) return;
    const isIdle = this.#phase === 'idle';
    const state = isIdle ? this.#state : this.#phase;
    const { text, kind } = this.#note ?? { text: NOTES[state] ?? '', kind: NOTES[state] ? 'info' : '' };
    put(this.box, { 'data-state': state });
    put(this.button, { 'aria-disabled': state !== 'open', 'aria-busy': !isIdle, text: this.#label(state) });
    put(this.notice, { text, 'data-kind': kind });
    put(this.stopper, { hidden: !['retrying', 'limited'].includes(state) });
    put(this.picker, { hidden: this.#sale.perUserLimit === 1 || this.#state === 'ended' });
    put(this.limit, { text: `up to ${count(this.#sale.perUserLimit)} each` });
    for (const control of [this.quantity, this.fewer, this.more]) put(control, { disabled: !isIdle });
    put(this.quantity, { max: this.#most });
  }

  #label(state) {
    const { unitPriceMinor, currency, startsAt } = this.#sale;
    const quantity = this.#wanted;
    if (state === 'upcoming') return `Opens in ${left(Date.parse(startsAt) - this.shop.now())}`;
    if (state === 'limited') return `Trying again in ${Math.max(1, Math.ceil((this.#retryAt - Date.now()) / 1000))} s`;
    if (state !== 'open') return LABELS[state];
    if (unitPriceMinor === 0) return quantity > 1 ? `Get ${count(quantity)} for free` : 'Get it for free';
    return `Buy ${quantity > 1 ? `${count(quantity)} ` : ''}for ${money(unitPriceMinor * quantity, currency)}`;
  }

  async #clicked() {
    if (this.button.ariaDisabled) return announce(this.notice.textContent);
    const quantity = this.#wanted;
    if (!this.buyer.id && !(await this.#logIn())) return;
    const { orderId, ...kept } = this.#kept();
    if (orderId) this.#follow({ orderId });
    else this.#buy({ key: kept.quantity === quantity ? kept.key : uuid(), quantity });
  }

  async #logIn(wasRefused) {
    if (await this.buyer.logIn(wasRefused)) return true;
    const elsewhere = 'Your log-in is missing or has run out. Open this sale from the shop once more.';
    this.#say(this.buyer.identity === 'token' ? elsewhere : 'Log in to buy.', 'warning');
    return false;
  }

  async #buy(click, note) {
    this.#stopping = new AbortController();
    this.#keep(click);
    this.#phase = 'sending';
    this.#say(note);
    if (!note) announce('Reserving.');
    const signal = AbortSignal.any([this.signal, this.#stopping.signal]);
    const answer = await this.#ask({ ...click, signal, onRetry: (retry) => this.#retries(retry) });
    if (this.signal.aborted) return;
    this.#phase = 'idle';
    this.#note = null;
    this.#decided(answer, click);
  }

  async #ask(options) {
    for (;;) {
      const answer = await this.shop.buy(this.#sale.saleId, options);
      const isEarly = this.shop.now() - Date.parse(this.#sale.startsAt) < EARLY_MS && !this.#sale.paused;
      if (answer.outcome !== 'NOT_ACTIVE' || !isEarly) return answer;
      await sleep(EARLY_PAUSE_MS);
    }
  }

  #retries({ code, waitMs }) {
    const text = RETRIES[code] ?? RETRIES.UNAVAILABLE;
    this.#phase = code === 'RATE_LIMITED' ? 'limited' : 'retrying';
    this.#retryAt = Date.now() + waitMs;
    if (this.#note?.text === text) this.#render();
    else this.#say(text, 'warning');
  }

  async #decided({ outcome, status, orderId, expiresAt, remainingStock, message }, click) {
    if (outcome === 'SUCCESS') return this.#follow({ ...click, orderId, expiresAt });
    if (outcome === 'ALREADY_PURCHASED') return this.#follow({ orderId, note: 'You have an order in this sale already: one per buyer.' });
    if (outcome === 'STOPPED' || outcome === 'IDEMPOTENCY_KEY_REUSED') return this.#check();
    if (status === 401 || status === 403) return (await this.#logIn(true)) && this.#buy(click);
    this.#keep(null);
    if (status === 404) return this.onmissing();
    let text = `The shop did not take this purchase: ${message}.`;
    if (outcome === 'SOLD_OUT') {
      this.#sale.remainingStock = remainingStock;
      this.#state = remainingStock > 0 ? 'open' : 'sold-out';
      this.quantity.value = Math.max(1, remainingStock);
      text = `Sold out: others were faster. ${NOTES['sold-out']}`;
      if (remainingStock > 0) text = `Only ${count(remainingStock)} left, fewer than you asked for. The quantity is lowered: buy again.`;
    }
    if (outcome === 'NOT_ACTIVE') text = 'The sale was not open when your click arrived. Nothing was bought.';
    if (outcome === 'QUANTITY_NOT_ALLOWED') text = `Each buyer may have ${count(this.#sale.perUserLimit)} at most. Nothing was bought.`;
    this.#say(text, 'warning', this.#state);
  }

  /** After a stop: looks whether an earlier try got through all the same. */
  async #check() {
    const { key, quantity } = this.#kept();
    this.#keep({ key, quantity, isStopped: true });
    this.#say('Stopped. Looking whether an earlier try got through…');
    let found;
    for (const pause of CHECK_AFTER_MS) {
      await sleep(pause);
      found = await this.shop.purchase(this.#sale.saleId).catch(() => null);
      if (this.signal.aborted || this.#phase !== 'idle' || this.#order) return;
      if (found?.orderId) return this.#follow({ orderId: found.orderId, note: 'An earlier try got through.' });
    }
    if (found) this.#keep(null);
    const unknown = 'Whether an earlier try got through is not known yet; buying again cannot buy twice.';
    this.#say(`Stopped. ${found ? 'Nothing was bought.' : unknown}`);
  }

  #follow({ note, ...record }) {
    const hadFocus = this.box.contains(document.activeElement);
    const click = { ...this.#kept(), ...record, isStopped: undefined };
    this.#keep(click);
    const { shop, buyer, config, signal } = this;
    this.#order = new Order({ shop, buyer, config, signal, sale: this.#sale, click, note, onmissing: () => this.#orderIsGone() });
    this.element.replaceChildren(this.#order.element);
    if (hadFocus) this.#order.title.focus();
  }

  #orderIsGone() {
    this.#order = null;
    this.#keep(null);
    this.element.replaceChildren(this.box);
    this.#say('Your earlier order is not there any more: the shop has opened this sale anew.', 'warning');
  }
}
