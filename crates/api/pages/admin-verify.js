// The books of one sale in full: where its units are, and every invariant.

import { act } from "./admin-dialog.js";
import { broken, equation, onBooks, readBooks } from "./admin-books.js";
import { h, pill, put, row, setData, table } from "./admin-dom.js";
import { clock, int } from "./admin-format.js";

const COLUMNS = [
  ["name", "Invariant"],
  ["expected", "Expected", "number"],
  ["actual", "Actual", "number"],
  ["holds", "Holds"],
];
const MEANINGS = {
  never_oversold: "Units of orders are at most the stock",
  sold_counter_is_sum_of_orders: "The sale’s counter is the sum of its orders",
  one_order_per_user: "As many buyers as orders",
  no_reservation_refused: "No promise met an empty stock",
  every_payment_fits_its_order: "No payment contradicts its order",
  every_unit_is_somewhere: "Sold, available and on the way are all there is",
  the_gate_stands: "The gate is open and of this epoch",
  the_gate_knows_every_buyer: "The gate has every buyer with an order",
};
const PLACES = [
  ["sold", "Sold"],
  ["available", "Available in the gate"],
  ["inFlight", "In flight: reserved, not written yet"],
  ["adjustments", "On the way back to the gate"],
  ["deadLetters", "Behind dead letters"],
  ["claimed", "Being withdrawn"],
];

export function invariantsTable(id, verification) {
  const shown = table(id, "Invariants", COLUMNS);
  shown.body.append(
    ...verification.invariants.map((one) =>
      row(
        COLUMNS,
        {
          name: h("span", { class: "stated" }, h("code", {}, one.name), h("small", {}, MEANINGS[one.name] ?? "")),
          expected: one.expected,
          actual: one.actual,
          holds: pill(one.ok ? "yes" : "no", one.ok ? "ok" : "bad"),
        },
        { "data-invariant": one.name, "data-ok": String(one.ok) },
      ),
    ),
  );
  return shown.all;
}

export function booksList({ books, queuedMessages }) {
  const facts = [
    ...PLACES.map(([name, label]) => [label, books[name]]),
    ["Sum", books.sum],
    ["Stock", books.total],
    ["Messages in the queue", queuedMessages],
  ];
  return h(
    "dl",
    { class: "facts" },
    facts.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, int(value)))),
  );
}

function verdictOf(verification) {
  const rebuilding = verification.state === "draining" || verification.state === "closed";
  const settled = verification.settled ? "Nothing is on its way." : "Some of it is on its way: settling.";
  if (verification.ok) return ["ok", `The books balance: ${equation(verification.books)}. ${settled}`];
  if (rebuilding && broken(verification).length === 0)
    return ["warn", `The sale is ${verification.state}: it has no gate to count with yet.`];
  return [
    "bad",
    `The books do not balance: ${broken(verification)
      .map((one) => one.name)
      .join(", ")}.`,
  ];
}

/** The tab. An open sale's reading comes anew with each round of the line at the top. */
export function verifyTab(place, id, nameOf) {
  const verdict = h("p", { class: "verdict", "data-verdict": "", role: "status" }, "Reading the books…");
  const at = h("span", { class: "sum" });
  const again = h("button", { type: "button", "data-action": "verify" }, "Verify now");
  const found = h("div");
  const show = (verification) => {
    const [tone, text] = verdictOf(verification);
    setData(verdict, "tone", tone);
    setData(verdict, "verdict", tone);
    put(verdict, text);
    put(at, `as of ${clock(Date.now())}`);
    // A table that reads the same is left alone: somebody may be reading it.
    const text2 = JSON.stringify([verification.invariants, verification.books, verification.queuedMessages]);
    if (found.dataset.shown === text2) return;
    found.dataset.shown = text2;
    found.replaceChildren(booksList(verification), invariantsTable("invariants", verification));
  };
  const end = onBooks((sale, verification) => sale === id && show(verification));
  const read = () => act(again, () => readBooks(id, nameOf()));
  again.addEventListener("click", read);
  place.append(h("div", { class: "tab-head" }, verdict, h("div", { class: "side" }, at, again)), found);
  read();
  return end;
}
