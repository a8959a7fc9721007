// What an operator may do to a sale, and what is asked before.

import { ask, get, post } from "./admin-api.js";
import { openDialog, toast } from "./admin-dialog.js";
import { h, put, setData } from "./admin-dom.js";
import { count, int } from "./admin-format.js";
import { told } from "./admin-sale-form.js";
import { booksList, invariantsTable } from "./admin-verify.js";

const para = (text) => h("p", {}, text);
const radio = (name, value, label, checked) =>
  h("label", { class: "choice" }, h("input", { type: "radio", name, value, checked }), h("span", {}, label));

export function pauseSale(sale, done) {
  openDialog({
    name: "pause",
    title: `Pause ${sale.name}?`,
    confirm: "Pause",
    danger: true,
    body: [para("Nobody buys until you resume it. What was won before becomes orders as usual, and holds run on.")],
    async work() {
      const { status, json } = await ask("POST", `/sales/${sale.saleId}/pause`);
      done(json);
      return told(status, json, `${sale.name} is paused`);
    },
  });
}

export async function resumeSale(sale, done) {
  const { status, json } = await ask("POST", `/sales/${sale.saleId}/resume`);
  done(json);
  toast(told(status, json, `${sale.name} sells again, within its window`));
}

export function endSale(sale, done) {
  openDialog({
    name: "end",
    title: `End ${sale.name} for good?`,
    confirm: "End the sale",
    danger: true,
    typed: sale.name,
    body: [
      para(
        "Nobody buys any more, and that is final: neither resume nor reset opens it again. What was won before becomes orders, and then its state is “ended”.",
      ),
    ],
    async work() {
      const { status, json } = await ask("POST", `/sales/${sale.saleId}/end`);
      done(json);
      return told(status, json, `${sale.name} is ended`);
    },
  });
}

/** More or less stock. The total is worked out from the sale as it is when the button is pressed. */
export function changeStock(sale, done) {
  const over = sale.state === "ended" || sale.halted === "ended";
  const units = h("input", {
    type: "number",
    name: "units",
    min: "1",
    max: "1000000000",
    step: "1",
    value: "",
    inputmode: "numeric",
    autocomplete: "off",
  });
  const total = h("output", { name: "total", class: "outcome" });
  const note = h("p", { class: "note" });
  const body = [
    h(
      "fieldset",
      { class: "choices" },
      h("legend", { class: "unseen" }, "What to do"),
      over ? null : radio("direction", "add", "Add units", true),
      radio("direction", "remove", "Take units away", over),
    ),
    h("label", { class: "field" }, h("span", {}, "Units"), units),
    h("p", {}, total),
    note,
  ];
  let known = sale;
  const dialog = openDialog({
    name: "stock",
    title: `Stock of ${sale.name}`,
    confirm: "Change the stock",
    body,
    async work() {
      known = await get(`/sales/${sale.saleId}`);
      show();
      const { status, json } = await ask("PATCH", `/sales/${sale.saleId}`, { body: { totalStock: wanted() } });
      done(json);
      if (status === 202 && json.pendingTotalStock !== null) return told(status, json, "");
      return told(status, json, `The stock of ${json.name} is ${int(json.totalStock)}`);
    },
  });
  const adds = () => dialog.form.querySelector('[name="direction"]:checked').value === "add";
  const wanted = () => known.totalStock + (adds() ? 1 : -1) * Number(units.value);
  function show() {
    const valid = /^\d+$/.test(units.value) && Number(units.value) > 0 && wanted() >= 0;
    put(
      total,
      valid ? `${int(known.totalStock)} → ${int(wanted())} units in all` : `${int(known.totalStock)} units in all`,
    );
    put(
      note,
      adds()
        ? "More stock is for sale at once."
        : `Taken from what the gate still has${known.remainingStock === null ? "" : ` (${int(known.remainingStock)} now)`}: what is sold, reserved or withheld stays. The answer waits for the gate, ten seconds at most.`,
    );
    dialog.block(!valid);
  }
  dialog.form.addEventListener("input", show);
  show();
  units.focus();
}

export function resetSale(sale, done) {
  const body = h(
    "div",
    {},
    para(
      `Deletes what the sale has sold (${count(sale.sold, "unit")} in orders) and opens it anew with all its stock, in about 3 s. Every order of it is void. A pause or an end stays.`,
    ),
  );
  let force = false;
  openDialog({
    name: "reset",
    title: `Reset ${sale.name}?`,
    confirm: "Delete its orders",
    danger: true,
    typed: sale.name,
    body: [body],
    async work(dialog) {
      try {
        await post("/reset", { saleId: sale.saleId, force });
      } catch (error) {
        if (error.code !== "SALE_BUSY" || force) throw error;
        force = true;
        demandForce(dialog, body, error.message);
        return undefined;
      }
      done(await get(`/sales/${sale.saleId}`), true);
      return `${sale.name} has been reset${force ? "; what was on its way is lost" : ""}`;
    },
  });
}

/** Reservations are on their way. They would be lost: that wants the name once more. */
function demandForce(dialog, body, detail) {
  setData(dialog.element, "force", "true");
  body.replaceChildren(
    h("p", { class: "problem" }, detail),
    para(
      "Best: cancel, wait until nothing is in flight, and try again. If you reset it now, the reservations on their way are lost: buyers who were told that they have won get no order.",
    ),
  );
  put(dialog.confirm, "Reset and lose them");
  dialog.typed.input.value = "";
  dialog.typed.input.dispatchEvent(new Event("input"));
  dialog.typed.input.focus();
}

const NEEDED = {
  NOTHING: "Nothing needs to be done: the gate stands as it was installed, or the sale is over.",
  REBUILD: "The gate must be rebuilt. That closes the sale for about 3 s.",
  END: "The sale is to be marked as over: its window is past and nothing is on its way.",
};
const DONE = {
  NOTHING: "The gate stood. What was pending has been handed over to it.",
  REBUILD: "The gate has been rebuilt.",
  END: "The sale has been marked as over.",
};
const REASONS = {
  gate_lost: "the gate is gone",
  scripts_lost: "its scripts are gone or of another version",
  queue_lost: "its queue is gone",
  other_server: "Redis is another server than before",
  never_opened: "it has never been opened",
  unfinished: "an earlier rebuild was not finished",
};
const REPORT = [
  ["fromEpoch", "Epoch before"],
  ["epoch", "Epoch now"],
  ["drained", "Orders written from the old queue"],
  ["recovered", "Orders written from the old outbox"],
  ["stockBefore", "Units for sale before"],
  ["stock", "Units for sale now"],
  ["buyers", "Buyers in the new gate"],
  ["tookMs", "Closed for, in ms"],
];

export function reconcileSale(sale, done) {
  const report = h(
    "div",
    { "data-report": true, role: "status" },
    para("Asking what is needed. This changes nothing…"),
  );
  let dry = true;
  const dialog = openDialog({
    name: "reconcile",
    title: `Reconcile ${sale.name}`,
    wide: true,
    confirm: "Do it",
    cancel: "Close",
    body: [report],
    async work() {
      const answer = await post(`/sales/${sale.saleId}/reconcile${dry ? "?dryRun=true" : ""}`);
      showReconciliation(report, answer);
      if (!dry) {
        done(await get(`/sales/${sale.saleId}`));
        toast(`${sale.name}: ${DONE[answer.needed]}`);
      }
      dry = false;
      put(dialog.confirm, answer.dryRun ? (answer.needed === "NOTHING" ? "Do it anyway" : "Do it") : "Do it again");
      return undefined;
    },
  });
  // The dry run is the first thing that the button would do.
  dialog.form.requestSubmit(dialog.confirm);
}

function showReconciliation(report, answer) {
  const { needed, reason, verification } = answer;
  report.dataset.needed = needed;
  report.dataset.done = String(!answer.dryRun);
  report.replaceChildren(
    ...[
      h(
        "p",
        { class: "verdict", "data-tone": needed === "NOTHING" ? "ok" : answer.dryRun ? "warn" : "ok" },
        `${answer.dryRun ? "Dry run. " : ""}${answer.dryRun ? NEEDED[needed] : DONE[needed]}${reason ? ` Reason: ${REASONS[reason] ?? reason}.` : ""}`,
      ),
      answer.report
        ? h(
            "dl",
            { class: "facts" },
            REPORT.map(([name, label]) => h("div", {}, h("dt", {}, label), h("dd", {}, int(answer.report[name])))),
          )
        : null,
      h("h3", {}, answer.dryRun ? "The books now" : "The books after that"),
      booksList(verification),
      invariantsTable("reconciled", verification),
    ].filter(Boolean),
  );
}

/** An order is cancelled, whatever its state. */
export function cancelOrder(order, done) {
  const reason = h("textarea", { name: "reason", rows: "2", maxlength: "500" });
  const paid =
    order.status === "CONFIRMED"
      ? "What was paid is given back. "
      : order.status === "PAYING"
        ? "A payment under way is called off or given back. "
        : "";
  const body = [
    para(`${paid}The buyer reads “cancelled” and cannot buy again in this sale.`),
    h(
      "fieldset",
      { class: "choices column" },
      h("legend", {}, count(order.quantity, "unit")),
      radio("restock", "yes", "goes back on sale", true),
      radio("restock", "no", "is taken out of the sale"),
    ),
    h("label", { class: "field" }, h("span", {}, "Reason (for the audit trail)"), reason),
  ];
  const dialog = openDialog({
    name: "cancel-order",
    title: `Cancel the order of ${order.userId}?`,
    confirm: "Cancel the order",
    cancel: "Keep it",
    danger: true,
    body,
    async work({ form }) {
      const restock = form.querySelector('[name="restock"]:checked').value === "yes";
      const moved = await post(`/orders/${order.orderId}/cancel`, { restock, reason: reason.value.trim() });
      await done();
      return `The order of ${order.userId} is ${moved.status.toLowerCase()}; ${restock ? "its units go back on sale" : "its units are taken out of the sale"}`;
    },
  });
  const fits = () => dialog.block(reason.value.trim() === "");
  reason.addEventListener("input", fits);
  fits();
}
