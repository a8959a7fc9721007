// How figures, times and money are written.

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en-GB", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });
const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const yearFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

export const NONE = "–";

export const int = (number) => (number === null || number === undefined ? NONE : whole.format(number));
export const short = (number) => compact.format(number);
export const rate = (number) =>
  number === null || number === undefined
    ? NONE
    : number >= 100 || number === 0
      ? whole.format(number)
      : tenth.format(number);
export const count = (number, one, many = `${one}s`) => `${int(number)} ${number === 1 ? one : many}`;

/** Milliseconds as they are read best: 0.8, 12, 1,204. */
export const millis = (number) =>
  number === null || number === undefined
    ? NONE
    : number < 10 && number !== 0
      ? tenth.format(number)
      : whole.format(number);

/** `12:03:04`, local time. */
export const clock = (instant) => clockFormat.format(instant);

/** `12:03:04` of today, else with the day, and the year where it is another one. */
function stamp(text) {
  const [at, now] = [new Date(text), new Date()];
  if (at.toDateString() === now.toDateString()) return clock(at);
  return `${(at.getFullYear() === now.getFullYear() ? dayFormat : yearFormat).format(at)}, ${clock(at)}`;
}

/** An instant for a cell: local time, with UTC for who points at it. */
export function time(text) {
  if (text === null || text === undefined) return NONE;
  const element = document.createElement("time");
  element.dateTime = text;
  element.title = text;
  element.textContent = stamp(text);
  return element;
}

/** `850 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function span(ms) {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 10_000) return `${tenth.format(ms / 1_000)} s`;
  return wholeSpan(ms);
}

/** The same in whole seconds, for what counts down. */
export function wholeSpan(ms) {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3_600)];
  if (seconds < 60) return `${seconds} s`;
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// ISO 4217's minor units. Not the browser's own: those follow custom, and the API counts by the standard.
const DIGITS = new Map(
  Object.entries({
    BIF: 0,
    CLP: 0,
    DJF: 0,
    GNF: 0,
    ISK: 0,
    JPY: 0,
    KMF: 0,
    KRW: 0,
    PYG: 0,
    RWF: 0,
    UGX: 0,
    UYI: 0,
    VND: 0,
    VUV: 0,
    XAF: 0,
    XOF: 0,
    XPF: 0,
    BHD: 3,
    IQD: 3,
    JOD: 3,
    KWD: 3,
    LYD: 3,
    OMR: 3,
    TND: 3,
    CLF: 4,
    UYW: 4,
  }),
);

export const digitsOf = (currency) => DIGITS.get(currency) ?? 2;

/** Minor units as a plain number in major ones, as it stands in a field: `1999`, EUR -> `19.99`. */
export function major(minor, currency) {
  const digits = digitsOf(currency);
  const text = String(minor).padStart(digits + 1, "0");
  return digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/** What somebody typed as minor units, or null where it is no such amount. Never by way of a floating-point product. */
export function minor(typed, currency) {
  const digits = digitsOf(currency);
  const found = /^(\d{1,12})(?:[.,](\d*))?$/.exec(typed.trim());
  if (!found || (found[2] ?? "").length > digits) return null;
  return Number(found[1] + (found[2] ?? "").padEnd(digits, "0"));
}

export function money(minorUnits, currency) {
  const digits = digitsOf(currency);
  const style = { style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits };
  try {
    return new Intl.NumberFormat("en-GB", style).format(minorUnits / 10 ** digits);
  } catch {
    return `${major(minorUnits, currency)} ${currency}`;
  }
}

/** The first and last digits of an id: enough to tell two apart; the whole one is in the title. */
export function shortId(id) {
  const element = document.createElement("code");
  element.title = id;
  element.textContent = `${id.slice(0, 8)}…${id.slice(-4)}`;
  return element;
}
