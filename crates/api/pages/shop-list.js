// The list of sales: live, coming up, ended. Cards stay where they are and are changed in place.

import { announce, count, everySecond, h, moment, put, showLink, showProblem } from './shop-dom.js';
import { Facts, instantsOf, picture, stateOf } from './shop-facts.js';

const READ_EVERY_MS = 3_000;
const MOST_ENDED = 12;

/** Shows the sales until `signal` is aborted. */
export function showList(main, { shop, config }, signal) {
  new List(main, shop, config, signal).read();
}

class List {
  #cards = new Map();
  #grids = null;
  #sales = null;
  #most = MOST_ENDED;
  #timer;

  constructor(main, shop, config, signal) {
    Object.assign(this, { main, shop, config, signal });
    const seen = () => document.hidden || this.read();
    document.addEventListener('visibilitychange', seen, { signal });
    addEventListener('online', seen, { signal });
  }

  async read() {
    clearTimeout(this.#timer);
    let pause = READ_EVERY_MS;
    try {
      this.#sales = await this.shop.sales();
      if (this.signal.aborted) return;
      showLink('polling');
      if (this.#grids) this.#show(this.shop.now());
      else this.#build();
    } catch (error) {
      if (!('status' in error)) throw error;
      if (this.signal.aborted) return;
      showLink('offline');
      if (!this.#sales) showProblem(this.main);
      pause = Math.max(pause, error.retryAfterMs);
    }
    clearTimeout(this.#timer);
    if (!document.hidden) this.#timer = setTimeout(() => this.read(), pause * (1 + Math.random() / 4));
  }

  #build() {
    this.#grids = {};
    const section = (id, title, ...more) => {
      this.#grids[id] = h('div', { class: 'grid' });
      return h('section', { id, 'aria-labelledby': `${id}-title` }, h('h2', { id: `${id}-title` }, title), this.#grids[id], more);
    };
    this.more = h('button', { id: 'show-ended', type: 'button', onclick: () => this.#showAll() });
    this.empty = h('div', { id: 'empty', class: 'panel' },
      h('h2', {}, 'No sales yet'), h('p', {}, 'As soon as there is one, it is shown here.'));
    this.main.replaceChildren(
      h('div', { class: 'intro' }, h('h1', {}, 'Few units. One moment.'),
        h('p', {}, 'Every sale opens for everybody on the same second, by the shop’s own clock.')),
      this.empty, section('live', 'Live now'), section('upcoming', 'Coming up'), section('ended', 'Ended', this.more));
    everySecond(() => this.shop.now(), (now) => this.#show(now), () => this.#sales.flatMap(instantsOf), this.signal);
  }

  #showAll() {
    this.#most = Infinity;
    this.#show(this.shop.now());
    this.#grids.ended.querySelector('a').focus();
  }

  #show(now) {
    const placed = { live: [], upcoming: [], ended: [] };
    for (const sale of this.#sales) {
      const state = stateOf(sale, now);
      placed[state === 'ended' ? 'ended' : now < Date.parse(sale.startsAt) ? 'upcoming' : 'live'].push(sale);
    }
    const isGone = (sale) => stateOf(sale, now) === 'sold-out';
    placed.live.sort((a, b) => isGone(a) - isGone(b));
    placed.ended.sort((a, b) => Date.parse(b.endsAt) - Date.parse(a.endsAt));
    put(this.more, { hidden: placed.ended.length <= this.#most, text: `Show all ${count(placed.ended.length)}` });
    placed.ended.splice(this.#most);
    put(this.empty, { hidden: this.#sales.length > 0 });
    const last = this.#cards;
    this.#cards = new Map();
    for (const [id, sales] of Object.entries(placed)) {
      put(this.#grids[id].parentElement, { hidden: sales.length === 0 });
      sales.forEach((sale, at) => {
        const card = last.get(sale.saleId) ?? new Card(sale, this.config);
        last.delete(sale.saleId);
        this.#cards.set(sale.saleId, card);
        card.show(sale, now, this.#grids[id], at);
      });
    }
    for (const { element } of last.values()) element.remove();
  }
}

class Card extends Facts {
  constructor(sale, { imageOrigins }) {
    super('a', { href: `/sale/${sale.saleId}` });
    const { badge, name, price, stock, bar, label, countdown } = this;
    this.element = h('article', { class: 'card', 'data-sale': sale.saleId }, picture(sale, imageOrigins),
      h('div', { class: 'about' }, badge, h('h3', {}, name), price,
        h('div', { class: 'stock' }, h('div', { class: 'spread' }, stock, h('p', { class: 'muted' }, label, ' ', countdown)), bar)));
  }

  show(sale, now, grid, at) {
    // Moved only where it has to be: the focus may be in it.
    if (grid.children[at] !== this.element) {
      const hadFocus = this.element.contains(document.activeElement);
      grid.insertBefore(this.element, grid.children[at] ?? null);
      if (hadFocus) this.name.focus();
    }
    const last = this.element.dataset.state;
    const { state } = super.show(this.element, sale, now);
    if (last === 'upcoming' && state === 'open') announce(`${sale.name} is open now.`);
    if (last !== 'ended' && state === 'ended') this.label.after(' ', moment(sale.endsAt, { day: 'numeric', month: 'short' }));
  }
}
