// What moves, asked for each second, and whether the API answers at all.

import { LoggedOut, Refused, ask } from "./admin-api.js";
import { put, setData } from "./admin-dom.js";
import { clock, int } from "./admin-format.js";

const SERVERS = { postgres: "PostgreSQL", redis: "Redis", rabbitmq: "RabbitMQ" };

const EVERY_MS = 1_000;
const PATIENCE_MS = 6_000;

const listeners = new Set();
let latest = null;
let answeredAt = null;
let clockOffsetMs = 0;
let run = 0;

/** Calls the listener with each reading of `GET /live`, the latest one at once. Gives what ends that. */
export function onLive(listener) {
  listeners.add(listener);
  if (latest) listener(latest);
  return () => listeners.delete(listener);
}

export const lastLive = () => latest;
export const liveSale = (id) => latest?.sales.find((sale) => sale.saleId === id) ?? null;

/** The server's time, as far as the last answer tells. */
export const serverNow = () => Date.now() + clockOffsetMs;

export function stopLive() {
  run += 1;
  latest = null;
  answeredAt = null;
  connected(null);
}

export async function startLive() {
  run += 1;
  const mine = run;
  while (run === mine) {
    const began = Date.now();
    await read(mine);
    await pause(Math.max(100, EVERY_MS - (Date.now() - began)));
  }
}

async function read(mine) {
  let reading;
  try {
    reading = (await ask("GET", "/live", { patienceMs: PATIENCE_MS })).json;
  } catch (error) {
    if (run === mine && !(error instanceof LoggedOut)) connected(error);
    return;
  }
  if (run !== mine) return;
  latest = reading;
  answeredAt = Date.now();
  clockOffsetMs = Date.parse(reading.at) - answeredAt;
  connected(null);
  tellMissing(reading.unavailable ?? []);
  badge(reading);
  for (const listener of [...listeners]) listener(reading);
}

/** Shows whether figures come in. The last ones stay, greyed out. */
function connected(error) {
  const [connection, banner] = [document.getElementById("connection"), document.getElementById("lost")];
  setData(connection, "connection", error ? "lost" : "live");
  setData(document.body, "stale", String(error !== null));
  put(document.getElementById("connection-text"), error ? "Lost" : "Live");
  if (error) {
    setData(banner, "kind", "lost");
    const since = answeredAt ? `since ${clock(answeredAt)}` : "yet";
    put(
      banner,
      error instanceof Refused
        ? `The API cannot tell the figures (${error.message}). Those below are ${answeredAt ? `of ${clock(answeredAt)}` : "missing"}. Trying again`
        : `Not connected ${since}, trying again`,
    );
  }
  banner.hidden = error === null;
}

/** The API answers, but a server behind it does not. */
function tellMissing(servers) {
  const banner = document.getElementById("lost");
  setData(banner, "kind", servers.length ? "missing" : "lost");
  if (servers.length === 0) return;
  const names = servers.map((server) => SERVERS[server] ?? server).join(" and ");
  put(banner, `${names} cannot be read: what it knows is missing here or old`);
  banner.hidden = false;
}

function badge(reading) {
  const element = document.querySelector('[data-badge="dead-letters"]');
  const letters = reading.sales.reduce((sum, sale) => sum + (sale.deadLetters ?? 0), 0);
  put(element, letters === 0 ? "" : int(letters));
  element.hidden = letters === 0;
}

/** Waits, but not while somebody comes back to a tab that was in the background. */
function pause(ms) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
      resolve();
    };
    const seen = () => document.visibilityState === "visible" && done();
    const timer = setTimeout(done, ms);
    document.addEventListener("visibilitychange", seen);
  });
}
