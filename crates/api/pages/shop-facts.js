// What both faces of the shop show of a sale: its state, picture, price, stock and time.

import { count, h, left, price, put, svg } from './shop-dom.js';

const BADGES = { upcoming: 'Soon', open: 'Live', 'sold-out': 'Sold out', paused: 'Paused', ended: 'Ended' };
const ALMOST_GONE = 0.1;
const PALETTES = [
  ['#f1d7c1', '#c8330d', '#1f2a44', '#e8a33d', '#fff6ea'],
  ['#d5e2da', '#1d4d4f', '#e2725b', '#f3c969', '#0e2a2b'],
  ['#dcdef1', '#3d3a8c', '#f08a5d', '#ffd9a0', '#1a1838'],
  ['#f2e0ae', '#d1495b', '#2e4057', '#e9a93b', '#66a182'],
  ['#e7d5e1', '#6b2d5c', '#f0a868', '#2b1a2f', '#f9f1ec'],
];
const SHAPES = ['M0 0h10A10 10 0 0 1 0 10z', 'M0 0a10 10 0 0 1 10 10H0z', 'M5 0a5 5 0 0 1 0 10 5 5 0 0 1 0-10', 'M0 0h10a5 5 0 0 1-10 0', 'M0 0h10v10H0z'];

/** `upcoming`, `open`, `sold-out`, `paused` or `ended`, at this time of the server. */
export function stateOf(sale, now) {
  const [starts, ends] = instantsOf(sale);
  if (sale.over || now >= ends) return 'ended';
  if (sale.paused) return 'paused';
  if (now < starts) return 'upcoming';
  // Whether its gate stands as well, a click finds out: it is tried until it does.
  return sale.remainingStock > 0 ? 'open' : 'sold-out';
}

/** When a sale changes by itself. */
export function instantsOf({ startsAt, endsAt }) {
  return [Date.parse(startsAt), Date.parse(endsAt)];
}

/** The parts of a page or a card that change: made once, and shown again and again. */
export class Facts {
  constructor(nameTag, nameProps) {
    const part = (name, tag, props) => h(tag, { 'data-part': name, ...props });
    this.badge = part('badge', 'p', { class: 'badge' });
    this.name = part('name', nameTag, nameProps);
    this.price = part('price', 'p', { class: 'price' });
    this.stock = part('stock', 'p');
    this.label = h('span', { class: 'muted' });
    this.countdown = part('countdown', 'span', { class: 'clock', role: 'timer' });
    this.bar = h('div', { class: 'bar', role: 'meter', 'aria-label': 'Stock', 'aria-valuemin': 0 }, h('i'));
  }

  /** Shows a sale in `element`; returns its state, and the instant that the countdown counts to. */
  show(element, sale, now) {
    const { name, unitPriceMinor, currency, totalStock } = sale;
    const state = stateOf(sale, now);
    const units = Math.max(0, sale.remainingStock);
    const isAhead = now < Date.parse(sale.startsAt);
    const target = isAhead ? sale.startsAt : sale.endsAt;
    const share = totalStock ? units / totalStock : 0;
    let stock = units ? `${count(units)} of ${count(totalStock)} left` : 'Sold out';
    if (state === 'upcoming') stock = totalStock === 1 ? '1 unit' : `${count(totalStock)} units`;
    if (state === 'ended') stock = `${count(totalStock - units)} of ${count(totalStock)} sold`;
    put(element, { 'data-state': state });
    put(this.badge, { text: BADGES[state] });
    put(this.name, { text: name });
    put(this.price, { text: price(unitPriceMinor, currency) });
    put(this.stock, { text: stock });
    put(this.bar, { 'aria-valuenow': units, 'aria-valuemax': Math.max(1, totalStock), 'aria-valuetext': stock });
    put(this.bar, { 'data-low': state === 'open' && share <= ALMOST_GONE });
    this.bar.firstChild.style.transform = `scaleX(${share})`;
    put(this.label, { text: state === 'ended' ? 'Ended' : isAhead ? 'Opens in' : 'Ends in' });
    put(this.countdown, { text: state === 'ended' ? '' : left(Date.parse(target) - now), hidden: state === 'ended' });
    return { state, target };
  }
}

/** A sale's picture: its own, where the page may show it, else a pattern that is always the same for this sale. */
export function picture({ saleId, imageUrl }, imageOrigins) {
  const drawn = h('div', { class: 'picture' }, pattern(saleId));
  const origin = imageUrl && URL.parse(imageUrl)?.origin;
  if (!origin || ![location.origin, ...imageOrigins].includes(origin)) return drawn;
  const image = h('img', { src: imageUrl, alt: '', decoding: 'async', onerror: () => image.remove() });
  drawn.append(image);
  return drawn;
}

/** Six by four tiles of quarters, rounds, halves and squares, drawn by the digits of the id. */
function pattern(id) {
  let seed = Array.from(id).reduce((hash, char) => Math.imul(hash ^ char.charCodeAt(0), 16777619), 2166136261);
  const below = (limit) => {
    seed = Math.imul(seed ^ (seed >>> 15), 2246822519) + 0x9e3779b9;
    return ((seed ^ (seed >>> 13)) >>> 0) % limit;
  };
  const [ground, ...colours] = PALETTES[below(PALETTES.length)];
  const tiles = Array.from({ length: 24 }, (_, at) => {
    const transform = `translate(${(at % 6) * 10} ${Math.floor(at / 6) * 10}) rotate(${below(4) * 90} 5 5)`;
    const [d, fill] = [SHAPES[below(7)], colours[below(4)]];
    return d && svg('path', { d, fill, transform });
  });
  const paper = svg('path', { d: 'M0 0h60v40H0z', fill: ground });
  return svg('svg', { viewBox: '0 0 60 40', preserveAspectRatio: 'xMidYMid slice', 'aria-hidden': true }, paper, tiles);
}
