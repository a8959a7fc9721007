// The books of every open sale as one line, always in sight.

import { LoggedOut, Refused, get } from "./admin-api.js";
import { put, setData } from "./admin-dom.js";
import { clock, count, int } from "./admin-format.js";
import { lastLive } from "./admin-live.js";

/** A reading locks the sale's row for a moment: one sale after the other, each about so often. */
const EVERY_MS = 5_000;
/** What a sale without a gate cannot fulfil; it is being rebuilt then, and not wrong. */
const NEEDS_GATE = new Set(["the_gate_stands", "the_gate_knows_every_buyer", "every_unit_is_somewhere"]);

/** Of each sale the last reading, when it was taken, and why there is no later one. */
const readings = new Map();
const listeners = new Set();
let run = 0;

export function onBooks(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function stopBooks() {
  run += 1;
  readings.clear();
}

export async function startBooks() {
  run += 1;
  const mine = run;
  while (run === mine) {
    const began = Date.now();
    const live = lastLive();
    if (live) await readAll(live, mine);
    if (run === mine) show();
    await new Promise((resolve) => setTimeout(resolve, live ? Math.max(1_000, EVERY_MS - (Date.now() - began)) : 200));
  }
}

async function readAll(live, mine) {
  const open = live.sales.filter((sale) => sale.state !== "ended");
  for (const id of readings.keys()) if (!open.some((sale) => sale.saleId === id)) readings.delete(id);
  for (const sale of open) {
    const before = readings.get(sale.saleId);
    try {
      if (sale.state === "open") await readBooks(sale.saleId, sale.name);
      else
        readings.set(sale.saleId, {
          name: sale.name,
          at: before?.at ?? null,
          verification: before?.verification ?? null,
          rebuilding: true,
        });
    } catch (error) {
      if (error instanceof LoggedOut || run !== mine) return;
      failed(sale, before, error);
    }
    if (run !== mine) return;
    show();
  }
}

function failed(sale, before, error) {
  if (error.code === "SALE_NOT_FOUND") readings.delete(sale.saleId);
  else
    readings.set(sale.saleId, {
      name: sale.name,
      at: before?.at ?? null,
      verification: before?.verification ?? null,
      rebuilding: error.code === "RECONCILE_RUNNING",
      failure: error instanceof Refused ? error.message : "the API does not answer",
      failedSince: before?.failedSince ?? Date.now(),
    });
}

/** Reads the books of one sale now, for the line too. */
export async function readBooks(id, name) {
  const verification = await get(`/sales/${id}/verify`);
  if (verification.state !== "ended") {
    const rebuilding = verification.state === "draining" || verification.state === "closed";
    readings.set(id, { name, at: Date.now(), verification, rebuilding });
  }
  for (const listener of [...listeners]) listener(id, verification);
  return verification;
}

/** The invariants that do not hold, without those that a sale being rebuilt cannot fulfil. */
export function broken(verification) {
  const rebuilding = verification.state === "draining" || verification.state === "closed";
  return verification.invariants.filter((one) => !one.ok && !(rebuilding && NEEDS_GATE.has(one.name)));
}

/** `120 sold + 80 available + 3 in flight = 203`; what is zero is left out, but for the first two. */
export function equation(books) {
  const terms = [
    [books.sold, "sold"],
    [books.available, "available"],
    [books.inFlight, "in flight"],
    [books.adjustments, "on the way back"],
    [books.deadLetters, "behind dead letters"],
    [books.claimed, "being withdrawn"],
  ];
  const shown = terms.filter(([units], place) => place < 2 || units !== 0);
  const text = shown.map(
    ([units, what], place) => `${place === 0 ? "" : units < 0 ? " − " : " + "}${int(Math.abs(units))} ${what}`,
  );
  return `${text.join("")} = ${int(books.total)}`;
}

function total(readingsOfOpen) {
  const sum = { sold: 0, available: 0, inFlight: 0, adjustments: 0, deadLetters: 0, claimed: 0, total: 0 };
  for (const { verification } of readingsOfOpen)
    for (const field of Object.keys(sum)) sum[field] += verification.books[field];
  return sum;
}

/** What the line says: its colour, its text, whether all is settled, and where to look. */
function verdict() {
  const all = [...readings].map(([id, reading]) => ({ id, ...reading }));
  const wrong = all.filter((one) => one.verification && !one.failure && broken(one.verification).length > 0);
  const unknown = all.filter((one) => one.failure && !one.rebuilding);
  const rebuilding = all.filter((one) => one.rebuilding);
  const known = all.filter((one) => one.verification && !one.failure && !one.rebuilding);
  const settled = rebuilding.length === 0 && known.every((one) => one.verification.settled);
  if (wrong.length > 0) {
    const texts = wrong.slice(0, 2).map((one) => {
      const [first, ...more] = broken(one.verification);
      return `${one.name}: ${first.name} expected ${first.expected}, actual ${first.actual}${more.length ? ` (and ${more.length} more)` : ""}`;
    });
    const rest = wrong.length > 2 ? `; and ${count(wrong.length - 2, "more sale")}` : "";
    return {
      books: "bad",
      settled,
      text: `Books do not balance: ${texts.join("; ")}${rest}`,
      href: `#/sale/${wrong[0].id}/verify`,
    };
  }
  if (unknown.length > 0) {
    const since = Math.min(...unknown.map((one) => one.at ?? one.failedSince));
    const text = `Books unknown since ${clock(since)}: ${unknown[0].name}${unknown.length > 1 ? ` and ${unknown.length - 1} more` : ""}: ${unknown[0].failure}`;
    return { books: "unknown", settled, text, href: `#/sale/${unknown[0].id}/verify` };
  }
  const waiting = rebuilding.length
    ? `${known.length ? "; " : ""}${rebuilding[0].name}${rebuilding.length > 1 ? ` and ${rebuilding.length - 1} more` : ""} being opened or rebuilt`
    : "";
  if (known.length === 0) {
    return waiting
      ? { books: "unknown", settled, text: `Books: ${waiting}`, href: "#/overview" }
      : { books: "none", settled: true, text: "No sale is open", href: "#/overview" };
  }
  const text = `Books balance: ${count(known.length, "sale")}, ${equation(total(known))}${waiting}`;
  return { books: "ok", settled, text, href: known.length === 1 ? `#/sale/${known[0].id}/verify` : "#/overview" };
}

function show() {
  if (!lastLive()) return;
  const line = document.getElementById("books");
  const { books, settled, text, href } = verdict();
  const news = line.dataset.books !== books && books !== "none";
  setData(line, "books", books);
  setData(line, "settled", String(settled));
  put(document.getElementById("books-text"), text);
  put(document.getElementById("books-settled"), books === "ok" ? (settled ? "settled" : "settling") : "");
  line.setAttribute("href", href);
  line.title = text;
  // Said aloud only when the colour changes: the sum moves with every order.
  if (news) put(document.getElementById("books-news"), text);
}
