// The page of one sale: what it is, how it stands, and the way to buy.

import { announce, everySecond, h, moment, put, showLink, showProblem } from './shop-dom.js';
import { Facts, instantsOf, picture } from './shop-facts.js';
import { Purchase } from './shop-purchase.js';

/** Shows a sale until `signal` is aborted. */
export function showSale(main, { shop, buyer, config, saleId }, signal) {
  const page = new SalePage(main, { shop, buyer, config, signal });
  const stop = shop.watch(saleId, (sale, link) => page.hear(sale, link));
  signal.addEventListener('abort', stop);
}

class SalePage {
  #facts = new Facts('h1');
  #article = null;
  #sale = null;
  #state = null;

  constructor(main, around) {
    Object.assign(this, { main, ...around });
  }

  hear(sale, link) {
    if (link === 'missing') return this.#missing();
    showLink(link);
    if (!sale) return showProblem(this.main);
    this.#sale = sale;
    if (this.#article) this.#show(this.shop.now());
    else this.#build();
  }

  #missing() {
    document.title = 'Not found · Flashsale';
    showLink('live');
    this.main.replaceChildren(h('div', { id: 'not-found', class: 'panel' },
      h('h1', {}, 'There is no such sale'), h('p', {}, 'The address may be mistyped.'),
      h('p', {}, h('a', { href: '/' }, 'See all sales'))));
  }

  #build() {
    const { badge, name, price, stock, bar, label, countdown } = this.#facts;
    const { shop, buyer, config, signal } = this;
    this.description = h('p', { 'data-part': 'description' });
    this.when = h('p', { class: 'muted' });
    this.purchase = new Purchase({ shop, buyer, config, signal, sale: this.#sale, onmissing: () => this.#missing() });
    this.#article = h('article', { id: 'sale', 'data-sale': this.#sale.saleId },
      picture(this.#sale, config.imageOrigins),
      h('div', { class: 'facts' },
        h('div', { class: 'head' }, badge, name, price),
        h('div', { class: 'pace' }, h('div', {}, label, countdown, this.when), h('div', { class: 'stock' }, stock, bar)),
        this.purchase.element, this.description));
    this.main.replaceChildren(h('a', { class: 'back', href: '/' }, 'All sales'), this.#article);
    everySecond(() => shop.now(), (now) => this.#show(now), () => instantsOf(this.#sale), signal);
  }

  #show(now) {
    const sale = this.#sale;
    const { state, target } = this.#facts.show(this.#article, sale, now);
    put(this.description, { text: sale.description ?? '' });
    if (this.when.dataset.at !== target) {
      this.when.dataset.at = target;
      this.when.replaceChildren(moment(target));
    }
    document.title = `${state === 'open' ? 'Open: ' : ''}${sale.name} · Flashsale`;
    this.purchase.show(sale, state, now);
    this.#tell(state, now);
  }

  /** Speaks of what a buyer waits for, and of nothing else: not of each unit, nor of each second. */
  #tell(state, now) {
    const last = this.#state;
    this.#state = state;
    const seconds = Math.ceil((Date.parse(this.#sale.startsAt) - now) / 1000);
    if (state === 'upcoming' && [60, 10].includes(seconds)) announce(`Opens in ${seconds} seconds.`);
    if (last === null || last === state) return;
    announce({
      open: last === 'sold-out' ? 'Units are back: you can buy now.' : 'The sale is open: you can buy now.',
      'sold-out': 'Sold out.', paused: 'The sale is paused.', ended: 'The sale has ended.', upcoming: 'The sale opens later.',
    }[state]);
  }
}
