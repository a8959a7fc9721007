// How the shop's page makes elements, writes money and time, and speaks to screen readers.

export const $ = (id) => document.getElementById(id);

/** Sets attributes (false, null: none), the `text` and listeners (`on...`). What is unchanged is left alone. */
export function put(element, props) {
  for (const [name, value] of Object.entries(props)) {
    const text = value === true && !name.startsWith('aria-') ? '' : String(value);
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'text') element.textContent === text || (element.textContent = text);
    else if (value == null || value === false) element.removeAttribute(name);
    else if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
  return element;
}

export function h(tag, props = {}, ...children) {
  return grow(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return grow(document.createElementNS('http://www.w3.org/2000/svg', tag), props, children);
}

function grow(element, props, children) {
  put(element, props).append(...children.flat().filter(Boolean));
  return element;
}

/** Says a sentence to screen readers. */
export function announce(text) {
  // The same words twice in a row are a change nevertheless.
  $('announcer').textContent = $('announcer').textContent === text ? `${text}\u00a0` : text;
}

/** Shows in the header how the page is connected. */
export function showLink(link) {
  const texts = { live: 'Live', polling: 'Live, every few seconds', offline: 'Offline' };
  const last = $('link').dataset.link;
  if (link === last) return;
  if (link === 'offline') announce('No connection to the shop. Trying again.');
  else if (last === 'offline') announce('Connected again.');
  put($('link'), { 'data-link': link, text: texts[link] });
}

/** Instead of what cannot be read yet. */
export function showProblem(main) {
  const text = 'Trying again. Nothing is to be done: this page goes on by itself.';
  if ($('problem')) return;
  main.replaceChildren(h('div', { id: 'problem', class: 'panel' }, h('h1', {}, 'The shop cannot be reached'), h('p', {}, text)));
}

/** An amount in the currency's minor unit, as the reader writes money. */
export function money(minor, currency) {
  const format = new Intl.NumberFormat(undefined, { style: 'currency', currency });
  return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
}

export const price = (minor, currency) => (minor === 0 ? 'Free' : money(minor, currency));

export const count = (number) => number.toLocaleString();

/** What is left, rounded up to the second: `0:42`, `12:07`, `3:04:05`, `2 d 3:04:05`. */
export function left(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  const two = (number) => String(number).padStart(2, '0');
  return `${days ? `${days} d ` : ''}${days || hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds % 60)}`;
}

/** An instant in the reader's own time. */
export function moment(at, options = { weekday: 'short', day: 'numeric', month: 'short', hour: 'numeric', minute: '2-digit' }) {
  return h('time', { datetime: at }, new Intl.DateTimeFormat(undefined, options).format(new Date(at)));
}

/** Calls `look(now)` at once, on each second of the server's clock and at the `instants()`, until `signal` is aborted. */
export function everySecond(clock, look, instants, signal) {
  let timer;
  const tick = () => {
    clearTimeout(timer);
    if (signal.aborted) return;
    const now = clock();
    const next = [Math.floor(now / 1000) * 1000 + 1000, ...instants().filter((at) => at > now)];
    timer = setTimeout(tick, Math.min(...next) - now + 2);
    look(now);
  };
  document.addEventListener('visibilitychange', tick, { signal });
  tick();
}

/** A dialog, shown at once and gone once it is closed. */
export function dialog(id, title, ...children) {
  const shown = h('dialog', { id, 'aria-labelledby': `${id}-title` }, h('h2', { id: `${id}-title` }, title), children);
  shown.addEventListener('close', () => shown.remove());
  document.body.append(shown);
  shown.showModal();
  return shown;
}
