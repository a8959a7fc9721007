// The order, as a receipt: where it stands, how long it is held, paying and cancelling.

import { announce, count, dialog, h, left, moment, money, price, put, svg } from './shop-dom.js';

const LONG_MS = 8_000;
const PAY_AGAIN_MS = 1_500;
const EVENTS = {
  HELD: 'Held for payment', PAYING: 'Payment begun', EXPIRED: 'Hold ran out', REFUNDED: 'Money given back',
  LATE_PAYMENT: 'Paid late, still in time',
};
const ROWS = { item: 'Item', quantity: 'Quantity', total: 'Total', id: 'Order' };
const NEXT = { PENDING: 'Order written', HELD: 'Payment', PAYING: 'Confirmed' };
const BACK = 'The units went back on sale, and nothing was charged. Each buyer has one order in a sale, so it cannot be made again.';
const OFF = 'This shop takes no payments at the moment: the hold runs out by itself.';

export class Order {
  #order;
  #link;
  #status = null;
  #note = null;
  #isPaying = false;
  #unfollow;
  #since = Date.now();

  /** `click` is what is known before the order is: `{orderId, quantity, expiresAt}`. `signal` ends it. */
  constructor({ click, note, ...around }) {
    Object.assign(this, around);
    this.#order = { ...click, status: 'PENDING', timeline: [{ event: 'RESERVED' }] };
    this.#build(note);
    this.#render();
    this.signal.addEventListener('abort', () => this.#unfollow());
    this.#follow();
  }

  #follow() {
    this.#unfollow?.();
    if (this.signal.aborted) return;
    this.#unfollow = this.shop.follow(this.#order.orderId, async (order, link) => {
      if (link === 'missing') return this.onmissing();
      this.#link = link;
      // One on its way has not much to tell yet.
      if (order) this.#order = order.status === 'PENDING' ? { ...this.#order, ...order } : order;
      this.#render();
      if (link === 'log-in' && (await this.buyer.logIn(true))) this.#follow();
    });
  }

  #build(note) {
    const button = (id, text, onclick, more) => h('button', { id, type: 'button', onclick, ...more }, text);
    this.title = h('h2', { id: 'order-title', tabindex: -1 });
    this.text = h('p', { id: 'order-text' });
    this.hold = h('p', { id: 'hold-left', class: 'clock', role: 'timer' });
    this.holdBar = h('i');
    this.holdShown = h('div', { class: 'hold' }, this.hold, h('div', { class: 'bar', 'aria-hidden': true }, this.holdBar));
    this.payButton = button('pay-button', '', () => this.#pay(), { class: 'primary big' });
    this.payNote = h('p', { id: 'pay-note', class: 'notice', 'data-kind': 'warning' });
    this.cancelButton = button('cancel-button', 'Cancel order', () => this.#askToCancel());
    this.facts = h('dl');
    this.steps = h('ol', { id: 'order-timeline', 'aria-label': 'What has happened' });
    const seal = svg('svg', { class: 'seal', viewBox: '0 0 40 40', 'aria-hidden': true },
      svg('circle', { cx: 20, cy: 20, r: 17 }), svg('path', { d: 'M12.5 20.5l5 5 10-11' }));
    this.element = h('section', { id: 'order', 'aria-labelledby': 'order-title' },
      h('div', { class: 'stub' }, seal, this.title, this.text, note && h('p', { id: 'notice-order', class: 'notice' }, note),
        this.holdShown, this.payButton, this.payNote),
      h('div', { class: 'receipt' }, this.facts, this.steps, this.cancelButton));
  }

  /** What changes with time. */
  tick(now) {
    const { status, expiresAt, reservedAt } = this.#order;
    if (status === 'PENDING' && Date.now() - this.#since > LONG_MS) {
      put(this.text, { text: 'This takes a little longer than usual. The units are yours, and this page goes on by itself.' });
    }
    const isHeld = status === 'HELD';
    put(this.holdShown, { hidden: !isHeld });
    if (!isHeld) return;
    const remains = Date.parse(expiresAt) - now;
    put(this.hold, { text: left(remains), 'aria-label': `${left(remains)} left to pay` });
    this.holdBar.style.transform = `scaleX(${Math.min(1, Math.max(0, remains / (Date.parse(expiresAt) - Date.parse(reservedAt))))})`;
    if (Math.ceil(remains / 1000) === 30) announce('30 seconds left to pay.');
  }

  #render() {
    const { status, payment, amountMinor, quantity, currency = this.sale.currency } = this.#order;
    const [title, text] = this.#words();
    if (status !== this.#status) {
      this.#status = status;
      this.#note = null;
      announce(`${title}. ${text}`);
    }
    put(this.element, { 'data-status': status });
    put(this.title, { text: title });
    put(this.text, { text: this.#link === 'offline' ? `${text} No connection at the moment: trying again.` : text });
    const cost = amountMinor ?? this.sale.unitPriceMinor * quantity;
    const canPay = status === 'HELD' || (status === 'PAYING' && payment?.state === 'starting');
    const isOff = canPay && this.config.payments === 'none' && cost > 0;
    const wish = cost === 0 ? 'Confirm, it is free' : `Pay ${money(cost, currency)}`;
    const isPaying = this.#isPaying;
    put(this.payButton, { hidden: !canPay || isOff, 'aria-busy': isPaying, 'aria-disabled': isPaying, text: isPaying ? 'One moment…' : wish });
    const note = this.#note ?? (isOff ? OFF : '');
    put(this.payNote, { text: note, hidden: !note });
    put(this.cancelButton, { hidden: !['HELD', 'PAYING'].includes(status) });
    this.#receipt(quantity && price(cost, currency));
    this.tick(this.shop.now());
  }

  #receipt(total) {
    const { orderId, quantity, status, timeline } = this.#order;
    const rows = Object.entries({ item: this.sale.name, quantity: quantity && count(quantity), total, id: orderId });
    const drawn = JSON.stringify([rows, timeline, status]);
    if (this.drawn === drawn) return;
    this.drawn = drawn;
    const row = ([id, value]) => h('div', {}, h('dt', {}, ROWS[id]), h('dd', { id: `order-${id}` }, value));
    this.facts.replaceChildren(...rows.filter(([, value]) => value).map(row));
    const time = { hour: 'numeric', minute: '2-digit', second: '2-digit' };
    const named = (event) => EVENTS[event] ?? event[0] + event.slice(1).toLowerCase().replaceAll('_', ' ');
    const done = timeline.map(({ at, event }) => h('li', { 'data-event': event }, h('span', {}, named(event)), at && moment(at, time)));
    this.steps.replaceChildren(...done, ...(NEXT[status] ? [h('li', { class: 'next' }, NEXT[status])] : []));
  }

  /** Title and explanation. */
  #words() {
    const { status, payment, timeline, amountMinor } = this.#order;
    const has = (event, actor) => timeline.some((moment) => moment.event === event && (!actor || moment.actor === actor));
    switch (status) {
      case 'PENDING':
        return ['Reserved', 'The units are yours. Your order is being written.'];
      case 'HELD':
        return ['Held for you', `${amountMinor === 0 ? 'Confirm' : 'Pay'} before the time runs out, else the units go back on sale.`];
      case 'PAYING':
        if (payment?.provider === 'stripe') return ['Paying', 'Complete the payment on the shop’s payment page. This page shows what comes of it.'];
        return ['Paying', 'The payment is under way. It goes on even if you close this page.'];
      case 'CONFIRMED':
        return ['It is yours', payment ? 'Paid and confirmed. Thank you!' : 'Confirmed. Thank you!'];
      case 'EXPIRED':
        return ['The hold ran out', `It was not paid in time. ${BACK}`];
      case 'CANCELLED':
        if (has('CANCELLED', 'provider')) return ['The payment failed', `The payment was refused. ${BACK}`];
        if (has('CANCELLED', 'buyer')) return ['Cancelled', `You have given this order up. ${BACK}`];
        return ['Cancelled by the shop', has('REFUNDED') ? 'Your money is given back.' : 'Money that was taken is given back.'];
      default:
        return ['Something went wrong', 'The shop could not keep its promise for this order. Please tell the shop the order’s number.'];
    }
  }

  /** Says something under the button, until the status changes. */
  #say(text) {
    this.#note = text;
    if (text) announce(text);
    this.#render();
  }

  /** Pays; tries again for as long as there is a chance. */
  async #pay() {
    if (this.#isPaying) return;
    this.#isPaying = true;
    this.#say(null);
    while (!this.signal.aborted && ['HELD', 'PAYING'].includes(this.#order.status)) {
      try {
        const { status, payment } = await this.shop.pay(this.#order.orderId);
        this.#order = { ...this.#order, status, payment };
        break;
      } catch (error) {
        if (!(await this.#mayPayAgain(error))) break;
        await new Promise((resolve) => setTimeout(resolve, Math.max(PAY_AGAIN_MS, error.retryAfterMs)));
      }
    }
    this.#isPaying = false;
    this.#render();
    this.#follow();
  }

  async #mayPayAgain({ status, code, message, passes }) {
    if (status === 401) return this.buyer.logIn(true);
    if (passes) this.#say('The payment cannot be begun at the moment. Trying again; the order stays yours.');
    // A state that forbids it is shown as soon as it is read.
    else if (status !== 409) this.#say(code === 'PAYMENTS_OFF' ? OFF : `The payment cannot be begun: ${message}.`);
    return passes;
  }

  #askToCancel() {
    const button = (id, text, act, name) => h('button', { id, type: 'button', class: name, onclick: () => (shown.close(), act?.()) }, text);
    const text = 'The units go back on sale at once. Each buyer has one order in a sale: you cannot order here again.';
    const keep = button('cancel-keep', 'Keep it', null, 'primary');
    const confirm = button('cancel-confirm', 'Cancel the order', () => this.#cancel(), 'danger');
    const shown = dialog('cancel-dialog', 'Cancel this order?', h('p', {}, text), h('div', { class: 'row' }, keep, confirm));
  }

  async #cancel() {
    try {
      const { status, payment } = await this.shop.cancel(this.#order.orderId);
      this.#order = { ...this.#order, status, payment, timeline: [...this.#order.timeline, { event: 'CANCELLED', actor: 'buyer' }] };
      this.#render();
      this.title.focus();
    } catch ({ status, code }) {
      if (status === 401 && (await this.buyer.logIn(true))) return this.#cancel();
      const isOver = code === 'ORDER_STATE_FORBIDS';
      this.#say(isOver ? 'It cannot be cancelled any more.' : 'The order could not be cancelled. Try again in a moment.');
    }
    this.#follow();
  }
}
