// A sale is created or edited: every field of the contract, and what is wrong at the field that it is about.

import { Refused, Unreachable, ask, get } from "./admin-api.js";
import { openDialog } from "./admin-dialog.js";
import { h, put } from "./admin-dom.js";
import { digitsOf, int, major, minor } from "./admin-format.js";
import { serverNow } from "./admin-live.js";
import { uuid } from "./flashsale.js";

const CURRENCIES = [
  "EUR",
  "USD",
  "GBP",
  "CHF",
  "JPY",
  "SEK",
  "NOK",
  "DKK",
  "PLN",
  "CZK",
  "CAD",
  "AUD",
  "INR",
  "BRL",
  "KWD",
];
const HOUR_MS = 3_600_000;

/** Where the API's names differ from the form's. */
const FIELD_OF = { unitPriceMinor: "price" };

/** An instant as a `datetime-local` field has it: local time, whole seconds. */
function localText(ms) {
  const at = new Date(ms);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day}T${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

const wholeSecond = (text) => Math.floor(Date.parse(text) / 1_000) * 1_000;

/** A field with its label, hint and place for what is wrong. */
function field(name, label, control, hint) {
  const [hintId, errorId] = [`hint-${name}`, `error-${name}`];
  control.setAttribute("name", name);
  control.id = `field-${name}`;
  control.setAttribute("aria-describedby", hint ? `${hintId} ${errorId}` : errorId);
  return h(
    "div",
    { class: `field field-${name}` },
    h("label", { for: control.id }, label),
    control,
    hint ? h("small", { id: hintId }, hint) : null,
    h("small", { id: errorId, class: "wrong", "data-error-for": name, hidden: true }),
  );
}

const input = (attributes) => h("input", { autocomplete: "off", ...attributes });
const number = (value, min, max) => input({ type: "number", value, min, max, step: "1", inputmode: "numeric" });

function fields(sale) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const moment = (ms) => input({ type: "datetime-local", step: "1", value: localText(ms) });
  return [
    field("name", "Name", input({ type: "text", value: sale.name, maxlength: "200" })),
    field(
      "description",
      "Description (optional)",
      h("textarea", { rows: "2", maxlength: "1000" }, sale.description ?? ""),
    ),
    field(
      "imageUrl",
      "Image URL (optional)",
      input({ type: "url", value: sale.imageUrl ?? "", maxlength: "1000", placeholder: "https://…" }),
    ),
    field("totalStock", "Stock", number(sale.totalStock, 0, 1_000_000_000), "Units in all, sold or not"),
    field("perUserLimit", "Most units per order", number(sale.perUserLimit, 1, 10_000), "A buyer has one order"),
    field(
      "price",
      "Price per unit",
      input({ type: "text", inputmode: "decimal", value: major(sale.unitPriceMinor, sale.currency) }),
    ),
    field(
      "currency",
      "Currency",
      input({ type: "text", value: sale.currency, maxlength: "3", list: "currencies", autocapitalize: "characters" }),
    ),
    field("holdSeconds", "Seconds to pay", number(sale.holdSeconds, 0, 2_592_000), "0: no payment step"),
    field("startsAt", "Starts", moment(Date.parse(sale.startsAt)), `Local time (${zone})`),
    field("endsAt", "Ends", moment(Date.parse(sale.endsAt)), `Local time (${zone})`),
    h(
      "datalist",
      { id: "currencies" },
      CURRENCIES.map((code) => h("option", { value: code })),
    ),
  ];
}

function complain(form, name, text) {
  const place = form.querySelector(`[data-error-for="${name}"]`);
  if (!place) return false;
  put(place, text);
  place.hidden = text === "";
  const control = form.elements.namedItem(name);
  if (text) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
  return true;
}

/** Shows each problem at its field and goes to the first. */
function complainAll(form, problems) {
  for (const place of form.querySelectorAll("[data-error-for]"))
    complain(form, place.dataset.errorFor, problems[place.dataset.errorFor] ?? "");
  form.querySelector("[aria-invalid]")?.focus();
}

/** The field that a detail of the API is about: it begins with its name, or has it in backquotes. */
function fieldNamed(detail) {
  const found = /^(\w+)[ :]/.exec(detail)?.[1] ?? "";
  const quoted = /field `(\w+)`/.exec(detail)?.[1];
  const name = quoted ?? found;
  return FIELD_OF[name] ?? name;
}

/** What the form says, in the API's terms; throws nothing and gives the problems by field instead. */
function read(form) {
  const [values, problems] = [{}, {}];
  const text = (name) => form.elements.namedItem(name).value;
  values.name = text("name").trim();
  if (!values.name) problems.name = "Give the sale a name.";
  for (const name of ["description", "imageUrl"]) values[name] = text(name).trim() || null;
  for (const [name, least] of [
    ["totalStock", 0],
    ["perUserLimit", 1],
    ["holdSeconds", 0],
  ]) {
    values[name] = Number(text(name));
    if (text(name).trim() === "" || !Number.isInteger(values[name]) || values[name] < least) {
      problems[name] = `Give a whole number from ${least} on.`;
    }
  }
  values.currency = text("currency").trim().toUpperCase();
  if (!/^[A-Z]{3}$/.test(values.currency)) problems.currency = "Give a code of three letters, such as EUR.";
  values.unitPriceMinor = minor(text("price"), values.currency);
  if (values.unitPriceMinor === null) {
    const digits = digitsOf(values.currency);
    problems.price = `Give an amount such as ${major(digits === 0 ? 20 : 1_999, values.currency)}, with at most ${digits} digits behind the point.`;
  }
  for (const name of ["startsAt", "endsAt"]) {
    const at = new Date(text(name));
    if (Number.isNaN(at.getTime())) problems[name] = "Give a day and a time.";
    else values[name] = at.toISOString();
  }
  if (values.startsAt && values.endsAt && values.startsAt >= values.endsAt)
    problems.endsAt = "It must end after it starts.";
  return { values, problems };
}

/** Reads the form, or shows what is wrong with it and gives null. */
function readOrComplain(dialog) {
  const { values, problems } = read(dialog.form);
  complainAll(dialog.form, problems);
  return Object.keys(problems).length === 0 ? values : null;
}

/** Shows a refusal at its field where it names one; else throws it on. */
function refused(dialog, error) {
  const name = error instanceof Refused ? fieldNamed(error.message) : "";
  if (!(error instanceof Refused) || !dialog.form.querySelector(`[data-error-for="${name}"]`)) throw error;
  complainAll(dialog.form, { [name]: error.message });
}

export async function createSale() {
  const now = serverNow();
  const starts = Math.ceil((now + 60_000) / 1_000) * 1_000;
  const defaults = {
    name: "",
    description: null,
    imageUrl: null,
    totalStock: 100,
    perUserLimit: 1,
    unitPriceMinor: 1_999,
    currency: "EUR",
    holdSeconds: 0,
    startsAt: new Date(starts).toISOString(),
    endsAt: new Date(starts + HOUR_MS).toISOString(),
  };
  // The same id for each try of this form: a repeated request cannot make a second sale.
  const saleId = uuid();
  let mayBeThere = false;
  openDialog({
    name: "create-sale",
    title: "New sale",
    wide: true,
    confirm: "Create",
    body: [h("div", { class: "fields" }, fields(defaults))],
    async work(dialog) {
      const values = readOrComplain(dialog);
      if (!values) return undefined;
      try {
        await ask("POST", "/sales", { body: { saleId, ...values } });
      } catch (error) {
        if (error.code === "SALE_EXISTS" && mayBeThere) {
          const { name } = await get(`/sales/${saleId}`);
          location.hash = `#/sale/${saleId}/orders`;
          return `${name} was created by the request whose answer was lost`;
        }
        mayBeThere ||= error instanceof Unreachable || error.status >= 500;
        if (error instanceof Unreachable)
          throw new Error(
            "The API did not answer. Press Create again: however this request ended, there will be one sale.",
          );
        refused(dialog, error);
        return undefined;
      }
      location.hash = `#/sale/${saleId}/orders`;
      return `${values.name} is created. It opens within a second or two, and sells from its start on`;
    },
  });
}

/** What differs between a sale and what its form says. */
function changed(sale, values) {
  const changes = {};
  for (const [name, value] of Object.entries(values)) {
    const same = name.endsWith("At") ? wholeSecond(sale[name]) === Date.parse(value) : sale[name] === value;
    if (!same) changes[name] = value;
  }
  return changes;
}

/** `done(sale)` is told what the sale is like afterwards. */
export function editSale(sale, done) {
  const note =
    sale.state === "ended" || sale.halted === "ended"
      ? h(
          "p",
          { class: "note" },
          "The sale has ended: only its name, description and image may change, and its stock become less.",
        )
      : h(
          "p",
          { class: "note" },
          "What is changed counts for the next attempt on. Reservations and orders keep their price, currency and time to pay.",
        );
  openDialog({
    name: "edit-sale",
    title: `Edit ${sale.name}`,
    wide: true,
    confirm: "Save",
    body: [note, h("div", { class: "fields" }, fields(sale))],
    async work(dialog) {
      const values = readOrComplain(dialog);
      if (!values) return undefined;
      const changes = changed(sale, values);
      if (Object.keys(changes).length === 0) return "Nothing was changed";
      try {
        const { status, json } = await ask("PATCH", `/sales/${sale.saleId}`, { body: changes });
        done(json);
        return told(status, json, `${json.name} is changed`);
      } catch (error) {
        refused(
          dialog,
          error.code === "STOCK_TOO_LOW" || error.code === "STOCK_CHANGE_PENDING" ? asStock(error) : error,
        );
        return undefined;
      }
    },
  });
}

/** These two say what is wrong with the stock without beginning with its name. */
function asStock(error) {
  return error.message.startsWith("totalStock")
    ? error
    : Object.assign(error, { message: `totalStock: ${error.message}` });
}

/** What an answer to a change says: 202 is not yet. */
export function told(status, sale, text) {
  if (status !== 202) return text;
  if (sale.pendingTotalStock !== null) {
    return (
      `Not decided yet: the gate has been asked to give up units, so that the stock becomes ${int(sale.pendingTotalStock)}. ` +
      "Nothing else of the request is done; send it again to learn what came of it"
    );
  }
  return `${text}, but the gate could not be told yet: a keeper tells it as soon as it can`;
}
