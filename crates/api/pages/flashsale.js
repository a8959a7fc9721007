// The buyer's side of the Flashsale API: no dependencies, no cookies, no page. For any origin in `api.cors_origins`:
//
//   import { Flashsale } from 'https://shop.example/assets/flashsale.js';
//   const shop = new Flashsale('https://shop.example', { userId: 'ada' });
//   const stop = shop.watch(saleId, (sale, link) => show(sale?.remainingStock, link));
//   const { outcome, orderId } = await shop.buy(saleId);
//   if (outcome === 'SUCCESS') shop.follow(orderId, (order) => show(order?.status));

const TIMEOUT_MS = 10_000;
const LONGEST_PAUSE_MS = 8_000;
const POLL_MS = 2_000;
// Beside its stream a sale is read now and then: for its price, and the server's clock, which takes a few answers.
const REFRESH_MS = 30_000;
const FIRST_READINGS = 3;
const { document } = globalThis;

/** An answer that is none of those promised. Without any, `status` is 0 and `code` is `NO_ANSWER`. */
export class FlashsaleError extends Error {
  constructor(status, { code, detail, orderId } = {}, retryAfterMs = 0) {
    super(detail ?? `The shop answers ${status || 'nothing'}`);
    Object.assign(this, { status, code: code ?? (status ? 'UNAVAILABLE' : 'NO_ANSWER'), orderId, retryAfterMs });
  }

  /** Whether the same request may be answered otherwise in a moment. */
  get passes() {
    return [0, 408, 429].includes(this.status) || (this.status >= 500 && this.status !== 501) || this.code === 'ORDER_PENDING';
  }
}

export class Flashsale {
  #base;
  #identity;
  #clock = { offset: 0, roundTrip: Infinity, at: 0 };

  /**
   * `baseUrl` is the API's origin; '' for the page's own. A buyer is `{userId}` where the API trusts its caller, and
   * `{token: () => string}` where it wants a token; without either sales can be read.
   */
  constructor(baseUrl = '', identity = {}) {
    this.#base = baseUrl.replace(/\/$/, '');
    this.#identity = identity;
  }

  /** The server's time, in milliseconds since 1970, as well as the answers so far tell it. */
  now() {
    return Date.now() + this.#clock.offset;
  }

  /** All sales, by their start. */
  sales() {
    return this.#timed('/api/v1/sales');
  }

  sale(saleId) {
    return this.#timed(`/api/v1/sale/${saleId}/status`);
  }

  /**
   * Calls `callback(sale, link)` with a sale as it is and after each change. `link` is how it is known: `live` (a
   * stream), `polling` (no stream at the moment), `offline` (`sale` is the last that was known, or null) or `missing`
   * (there is none; nothing follows). Returns a function that stops it.
   */
  watch(saleId, callback) {
    return new Watch(this, saleId, `${this.#base}/api/v1/sale/${saleId}/events`, callback).stop;
  }

  /**
   * Buys, and tries again under the same key until there is an answer or `signal` is aborted. Before each pause
   * `onRetry({code, waitMs})` is told why: `NO_ANSWER`, `RATE_LIMITED` or `UNAVAILABLE`.
   *
   * Resolves to `{outcome, key, message, ...}`, where `outcome` is the answer's `status` (`SUCCESS`,
   * `ALREADY_PURCHASED`, `SOLD_OUT`, with its fields), or a problem's `code`; or `STOPPED`, with the `orderId` that may
   * have come of it where that is known. A page that was lost meanwhile goes on with the same `key` and `quantity`.
   */
  async buy(saleId, { quantity = 1, key = uuid(), onRetry, signal } = {}) {
    const body = JSON.stringify({ saleId, quantity, userId: this.#identity.userId });
    const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key };
    for (let tries = 0, orderId; ; tries++) {
      const answer = await this.#ask('/api/v1/sale/purchase', { method: 'POST', body, headers, signal }).catch((error) => error);
      const { code, status, message, passes, retryAfterMs } = answer;
      if (!passes) return { ...answer, outcome: code ?? status, key, message };
      orderId = answer.orderId ?? orderId;
      const waitMs = backoff(tries, retryAfterMs, 500);
      if (!signal?.aborted) onRetry?.({ code, waitMs });
      await wait(waitMs, signal, status === 0);
      if (signal?.aborted) return { outcome: 'STOPPED', key, orderId };
    }
  }

  /** What this buyer has in a sale: `{purchased, orderId, status}`. */
  purchase(saleId) {
    const user = this.#identity.userId ?? subject(this.#identity.token?.());
    return this.#ask(`/api/v1/sale/${saleId}/user/${encodeURIComponent(user)}/purchase`);
  }

  /** An order; its `status` is `PENDING` while it is on its way. */
  order(orderId, options) {
    return this.#ask(`/api/v1/orders/${orderId}`, options);
  }

  /** Begins to pay: `{orderId, status, payment, payUntil}`; `payment.clientSecret` is for Stripe's payment element. */
  pay(orderId) {
    return this.#ask(`/api/v1/orders/${orderId}/pay`, { method: 'POST' });
  }

  /** Gives an order up that is not paid for. */
  cancel(orderId) {
    return this.#ask(`/api/v1/orders/${orderId}/cancel`, { method: 'POST' });
  }

  /**
   * Calls `callback(order, link)` with an order after each look, until it is final. `link` is `polling`, `offline` (the
   * order is the last that was known, or null), `log-in` or `missing`; nothing follows the last two. Returns a function
   * that stops it.
   */
  follow(orderId, callback) {
    const stopping = new AbortController();
    this.#follow(orderId, callback, stopping.signal);
    return () => stopping.abort();
  }

  async #follow(orderId, callback, signal) {
    for (let order = null, failures = 0, pause; pause !== null; await wait(pause, signal, true)) {
      let link = 'polling';
      try {
        order = await this.order(orderId, { signal });
        failures = 0;
        pause = this.#nextLook(order);
      } catch ({ status, retryAfterMs }) {
        link = { 401: 'log-in', 403: 'log-in', 404: 'missing' }[status] ?? 'offline';
        pause = link === 'offline' ? backoff(failures++, retryAfterMs) : null;
      }
      if (signal.aborted) return;
      callback(order, link);
    }
  }

  /** In how many milliseconds an order is worth another look; null: it is final. */
  #nextLook({ status, expiresAt, payment, retryAfterMs }) {
    if (status === 'PENDING') return jittered(retryAfterMs || 1_000);
    if (status === 'PAYING') return 600;
    if (status === 'HELD') return Math.max(600, Math.min(jittered(5_000), Date.parse(expiresAt) - this.now() + 300));
    // A payment that comes late may still bring it back.
    return status === 'EXPIRED' && ['pending', 'late', 'claiming', 'authorized'].includes(payment?.state) ? 5_000 : null;
  }

  /** Asks, and sets the clock by the answer: the server's time is that of the middle of the request. */
  async #timed(path) {
    const before = Date.now();
    const answer = await this.#ask(path);
    const at = Date.now();
    const offset = Date.parse([answer].flat()[0]?.serverTime) - (before + at) / 2;
    const [roundTrip, last] = [at - before, this.#clock];
    // One that no round trip explains: this machine's clock was set, or it slept.
    const isOff = Math.abs(offset - last.offset) > roundTrip + last.roundTrip;
    const isBetter = roundTrip <= last.roundTrip || at - last.at > 2 * REFRESH_MS;
    if (offset && (isBetter || isOff)) this.#clock = { offset, roundTrip, at };
    return answer;
  }

  /** The answer, with `retryAfterMs` where it is to be asked for again. */
  async #ask(path, { signal, headers, ...request } = {}) {
    const token = this.#identity.token?.();
    const signals = [AbortSignal.timeout(TIMEOUT_MS), signal].filter(Boolean);
    let answer, body;
    try {
      answer = await fetch(this.#base + path, {
        ...request,
        headers: { ...headers, ...(token && { Authorization: `Bearer ${token}` }) },
        signal: AbortSignal.any(signals),
        credentials: 'omit',
        cache: 'no-store',
      });
      body = await answer.json();
    } catch {
      // No answer, one that broke off, or one of a proxy in words of its own.
    }
    const retryAfterMs = 1_000 * answer?.headers.get('Retry-After') || 0;
    if (answer?.ok && body) return retryAfterMs ? { ...body, retryAfterMs } : body;
    throw new FlashsaleError(!answer || answer.ok ? 0 : answer.status, body, retryAfterMs);
  }
}

/** A sale that is looked at: its stream, and readings where there is none. */
class Watch {
  #sale = null;
  #stream = null;
  #isOpen = false;
  #failures = 0;
  #openAt = 0;
  #stopping = new AbortController();
  #waking = new AbortController();

  constructor(shop, saleId, url, callback) {
    Object.assign(this, { shop, saleId, url, callback });
    const on = (target, event, act) => target?.addEventListener?.(event, act, { signal: this.#stopping.signal });
    on(globalThis, 'offline', () => this.#drop('offline'));
    on(globalThis, 'online', () => (this.#openAt = 0));
    // A hidden page has no stream: a browser has six connections for a shop, and the shop not many more for each buyer.
    on(document, 'visibilitychange', () => (document.hidden ? this.#drop() : (this.#openAt = 0)));
    this.#read();
  }

  stop = () => {
    this.#stopping.abort();
    this.#drop();
  };

  /** Tells, but nothing of a sale of which only the stream's part is known. */
  #tell(link) {
    if (!this.#stopping.signal.aborted && (!this.#sale || 'currency' in this.#sale)) this.callback(this.#sale, link);
  }

  #drop(link) {
    this.#stream?.close();
    this.#stream = null;
    this.#isOpen = false;
    if (link) this.#tell(link);
  }

  #open() {
    if (this.#stream || Date.now() < this.#openAt || document?.hidden || !globalThis.EventSource) return;
    const stream = new EventSource(this.url);
    this.#stream = stream;
    stream.onopen = () => {
      this.#isOpen = true;
      this.#failures = 0;
      if (this.#sale) this.#tell('live');
    };
    stream.addEventListener('sale', ({ data }) => {
      const serverTime = new Date(this.shop.now()).toISOString();
      this.#sale = { ...this.#sale, ...JSON.parse(data), serverTime };
      this.#tell('live');
    });
    // Opened again by us: a browser gives up after a 503 and otherwise never waits longer.
    stream.onerror = () => {
      if (stream !== this.#stream) return;
      this.#drop();
      this.#openAt = Date.now() + backoff(this.#failures++);
      this.#waking.abort();
    };
  }

  async #read() {
    const { signal } = this.#stopping;
    for (let failures = 0, readings = 0; !signal.aborted; ) {
      // One that takes so long to open may be held up by a proxy.
      if (this.#stream && !this.#isOpen) this.#failures ||= 1;
      this.#open();
      let pause;
      try {
        const { description, imageUrl, unitPriceMinor, currency, holdSeconds, ...now } = await this.shop.sale(this.saleId);
        failures = 0;
        readings++;
        // What a stream has told is newer than what is read.
        this.#sale = { ...now, ...(this.#isOpen && this.#sale), description, imageUrl, unitPriceMinor, currency, holdSeconds };
        this.#tell(this.#isOpen || (this.#stream && !this.#failures) ? 'live' : 'polling');
      } catch ({ status, retryAfterMs }) {
        if (status === 404 || status === 400) return this.#tell('missing'), this.stop();
        if (!this.#isOpen) this.#tell('offline');
        pause = backoff(failures++, retryAfterMs);
      }
      const isQuiet = document?.hidden || (this.#isOpen && readings >= FIRST_READINGS);
      pause ??= jittered(isQuiet ? REFRESH_MS : POLL_MS);
      this.#waking = new AbortController();
      await wait(pause, AbortSignal.any([signal, this.#waking.signal]), true);
    }
  }
}

/** A random UUID, also where there is no secure context. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** Whom a token is about. */
export function subject(token) {
  try {
    const text = atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (char) => char.charCodeAt(0)))).sub;
  } catch {
    return undefined;
  }
}

/** Up to a quarter longer, so that not all come back at once. */
function jittered(ms) {
  return ms * (1 + Math.random() / 4);
}

function backoff(failures, leastMs = 0, firstMs = 1_000) {
  return jittered(Math.max(leastMs, Math.min(LONGEST_PAUSE_MS, firstMs * 2 ** failures)));
}

/** Waits, until `signal` is aborted or, where that `wakes`, the network or the reader is back. */
function wait(ms, signal, wakes) {
  return new Promise((resolve) => {
    const done = new AbortController();
    const end = () => {
      clearTimeout(timer);
      done.abort();
      resolve();
    };
    const timer = setTimeout(end, ms);
    if (signal?.aborted) return end();
    signal?.addEventListener('abort', end, done);
    if (!wakes) return;
    globalThis.addEventListener?.('online', end, done);
    document?.addEventListener('visibilitychange', () => document.hidden || end(), done);
  });
}
