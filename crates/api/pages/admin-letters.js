// Messages that became no order: read, made to orders after all, or given up.

import { Unreachable, get, post } from "./admin-api.js";
import { act, button, openDialog, tellError, toast } from "./admin-dialog.js";
import { card, cell, h, labelled, options, pill, put, row, sayIfEmpty, setData, table } from "./admin-dom.js";
import { NONE, count, int, time } from "./admin-format.js";
import { lastLive } from "./admin-live.js";
import { pager } from "./admin-pages.js";

const COLUMNS = [
  ["chosen", "", "plain"],
  ["created", "When"],
  ["sale", "Sale"],
  ["user", "Buyer"],
  ["quantity", "Units", "number"],
  ["reason", "Reason"],
  ["result", "Decision"],
  ["actions", ""],
];
const RESOLUTIONS = { redriven: ["Redriven", "ok"], discarded: ["Discarded", "still"], split: ["Split", "info"] };

/** The body of a message as text: JSON laid out, bytes as a hex dump. */
function decoded(letter) {
  if (letter.bodyEncoding === "base64")
    return hexDump(Uint8Array.from(atob(letter.body), (char) => char.charCodeAt(0)));
  try {
    return JSON.stringify(JSON.parse(letter.body), null, 2);
  } catch {
    return letter.body;
  }
}

function hexDump(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const line = [...bytes.slice(at, at + 16)];
    const hex = line.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = line.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${hex.padEnd(47)}  ${text}`);
  }
  return lines.join("\n");
}

export function deadLetters(main, query) {
  const names = new Map((lastLive()?.sales ?? []).map((sale) => [sale.saleId, sale.name]));
  const shown = table("letters", "Dead letters, the oldest first", COLUMNS);
  const state = h(
    "select",
    { name: "state" },
    options(
      [
        ["unresolved", "Unresolved"],
        ["resolved", "Resolved"],
        ["all", "All"],
      ],
      query.get("state") ?? "unresolved",
    ),
  );
  const sale = h("select", { name: "saleId" });
  const chosen = new Map();
  const pages = pager(load);
  const redriveSelected = h(
    "button",
    { type: "button", "data-action": "redrive-selected", disabled: true },
    "Redrive selected",
  );
  const all = h("input", {
    type: "checkbox",
    "aria-label": "Select all on this page",
    onchange: () => selectAll(all.checked),
  });
  const again = button("reload", "Load again", () => pages.first(), "quiet");
  const filter = h(
    "form",
    {
      class: "filter",
      "data-filter": "letters",
      role: "search",
      "aria-label": "Dead letters",
      onsubmit: (event) => event.preventDefault(),
      onchange: () => act(again, () => pages.first()),
    },
    labelled("State", state),
    labelled("Sale", sale),
    redriveSelected,
    again,
  );
  shown.element.querySelector('thead [data-col="chosen"]').replaceChildren(all);

  function showSales() {
    const asked = sale.value || query.get("saleId") || "";
    if (asked && !names.has(asked)) names.set(asked, asked);
    sale.replaceChildren(...options([["", "Any"], ...[...names].sort((a, b) => a[1].localeCompare(b[1]))], asked));
  }
  async function load(cursor) {
    const page = await get("/dead-letters", { state: state.value, saleId: sale.value, cursor, limit: 50 });
    chosen.clear();
    all.checked = false;
    for (const id of new Set(page.deadLetters.map((letter) => letter.saleId))) await learnName(id);
    showSales();
    shown.body.replaceChildren(...page.deadLetters.map(letterRow));
    sayIfEmpty(
      shown,
      state.value === "unresolved" ? "No dead letter waits for you. Every message became an order." : "No dead letter.",
    );
    refresh();
    return page.nextCursor;
  }
  async function learnName(id) {
    if (id === null || (names.has(id) && names.get(id) !== id)) return;
    // A sale whose name cannot be had is shown by its id.
    names.set(id, (await get(`/sales/${id}`).catch(() => ({ name: id }))).name);
  }
  function refresh() {
    redriveSelected.disabled = chosen.size === 0;
    put(redriveSelected, chosen.size === 0 ? "Redrive selected" : `Redrive ${count(chosen.size, "letter")}`);
  }
  function selectAll(on) {
    for (const box of shown.body.querySelectorAll("[data-select]")) if (box.checked !== on) box.click();
  }
  function letterRow(letter) {
    const about = `the letter of ${letter.userId ?? "an unknown buyer"}`;
    const open = letter.resolution === null;
    const box = h("input", {
      type: "checkbox",
      "data-select": true,
      "aria-label": `Select ${about}`,
      onchange: () => {
        if (box.checked) chosen.set(letter.id, { letter, line });
        else chosen.delete(letter.id);
        refresh();
      },
    });
    const body = button("body", "Message", () => toggleBody(line, letter, body), "small");
    body.setAttribute("aria-expanded", "false");
    const redrive = button("redrive", "Redrive", async () => toast(await decide(line, letter, "redrive")), "small");
    const discard = button("discard", "Discard", () => askDiscard(line, letter), "small danger-quiet");
    for (const [one, word] of [
      [body, "Message of"],
      [redrive, "Redrive"],
      [discard, "Discard"],
    ])
      one.setAttribute("aria-label", `${word} ${about}`);
    const line = row(
      COLUMNS,
      {
        chosen: open ? box : null,
        created: time(letter.createdAt),
        sale:
          letter.saleId === null
            ? NONE
            : h("a", { href: `#/sale/${letter.saleId}/orders` }, names.get(letter.saleId) ?? letter.saleId),
        user: letter.userId === null ? NONE : h("span", { class: "long" }, letter.userId),
        quantity: int(letter.quantity),
        reason: h("span", { class: "detail" }, letter.reason),
        result: decision(letter),
        actions: h("span", { class: "row-actions" }, body, open ? [redrive, discard] : null),
      },
      { "data-letter": letter.id, "data-resolution": letter.resolution ?? "" },
    );
    return line;
  }
  function decision(letter) {
    if (letter.resolution === null) return h("span", { class: "stated" }, pill("Unresolved", "bad"));
    const [word, tone] = RESOLUTIONS[letter.resolution] ?? [letter.resolution, "still"];
    return h("span", { class: "stated" }, pill(word, tone), h("small", {}, time(letter.resolvedAt)));
  }
  /** Redrives or discards one, and shows in its row what came of it. Gives the same in a few words. */
  async function decide(line, letter, what) {
    const result = cell(line, "result");
    try {
      const answer = await post(`/dead-letters/${letter.id}/${what}`);
      resolved(line, letter, answer.resolution);
      const returned = answer.unitsReturned > 0 ? `; ${count(answer.unitsReturned, "unit")} back on sale` : "";
      const done = answer.message.replace(`Dead letter ${letter.id} has been `, "");
      const [word, tone] = RESOLUTIONS[answer.resolution] ?? [answer.resolution, "ok"];
      result.replaceChildren(
        h("span", { class: "stated" }, pill(word, tone), h("small", { title: answer.message }, `${done}${returned}`)),
      );
      setData(result, "result", "ok");
      return `The letter of ${letter.userId ?? "an unknown buyer"} is ${done}${returned}`;
    } catch (error) {
      // Who was asked in vain stays as it is; what another operator has decided shows once the list is loaded again.
      const word = error instanceof Unreachable ? "Unknown" : "Refused";
      result.replaceChildren(h("span", { class: "stated" }, pill(word, "bad"), h("small", {}, error.message)));
      setData(result, "result", "error");
      throw error;
    }
  }
  function resolved(line, letter, resolution) {
    setData(line, "resolution", resolution);
    line.querySelector("[data-select]")?.remove();
    for (const name of ["redrive", "discard"]) line.querySelector(`[data-action="${name}"]`)?.remove();
    chosen.delete(letter.id);
    refresh();
  }
  function askDiscard(line, letter) {
    const units =
      letter.quantity === null
        ? "Its units go"
        : `${count(letter.quantity, "unit")} ${letter.quantity === 1 ? "goes" : "go"}`;
    openDialog({
      name: "discard",
      title: `Discard the letter of ${letter.userId ?? "an unknown buyer"}?`,
      confirm: "Discard",
      danger: true,
      body: [
        h(
          "p",
          {},
          "The buyer was told that the purchase succeeded. They will read “cancelled”, and cannot buy again in this sale.",
        ),
        h("p", {}, `${units} back on sale. This is once and for good.`),
        h(
          "p",
          { class: "note" },
          "If the order can still be made, mend what refused it and redrive the letter instead.",
        ),
      ],
      work: () => decide(line, letter, "discard"),
    });
  }
  async function redriveAll() {
    const [picked, failures] = [[...chosen.values()], []];
    let done = 0;
    for (const { letter, line } of picked) {
      put(redriveSelected, `Redriving ${done + failures.length + 1} of ${picked.length}`);
      try {
        await decide(line, letter, "redrive");
        done += 1;
      } catch (error) {
        failures.push(error);
        // Nobody there, or nobody logged in: the rest would go the same way.
        if (error instanceof Unreachable || error.status === undefined) break;
      }
    }
    const left = picked.length - done - failures.length;
    if (failures.length === 0) toast(`${count(done, "letter")} redriven`);
    else
      toast(
        `${done} redriven, ${failures.length} not${left ? `, ${left} not tried` : ""}: ${failures[0].message}`,
        "error",
      );
  }
  redriveSelected.addEventListener("click", () => act(redriveSelected, redriveAll).then(refresh));

  main.append(
    h(
      "div",
      { class: "view-head" },
      h(
        "div",
        {},
        h("h2", { tabindex: "-1" }, "Dead letters"),
        h(
          "p",
          { class: "lead" },
          "Messages that PostgreSQL refused: each is a purchase that was promised and is no order yet.",
        ),
      ),
    ),
    card("The oldest first", null, filter, shown.all, pages.element),
  );
  showSales();
  pages.start();
  knownSales(names).then(showSales, tellError);
}

/** Sales to choose from: those of now are known, the others by a page. */
async function knownSales(names) {
  for (const sale of (await get("/sales", { limit: 200 })).sales) names.set(sale.saleId, sale.name);
}

async function toggleBody(line, letter, toggle) {
  if (line.nextElementSibling?.matches("[data-body-of]")) {
    line.nextElementSibling.remove();
    toggle.setAttribute("aria-expanded", "false");
    return;
  }
  // A list has the first kilobytes of a long message only.
  const whole = await get(`/dead-letters/${letter.id}`);
  const about = `${letter.bodyEncoding === "base64" ? "not text, shown in hexadecimal" : "text"}, ${count(whole.bodyBytes, "byte")}`;
  line.after(
    h(
      "tr",
      { "data-body-of": letter.id },
      h(
        "td",
        { colspan: String(COLUMNS.length) },
        h(
          "p",
          { class: "note" },
          `Message ${letter.id}, order ${letter.orderId ?? "unknown"}, epoch ${letter.epoch ?? "unknown"}: ${about}`,
        ),
        h(
          "pre",
          { "data-body": true, tabindex: "0", role: "region", "aria-label": `Message ${letter.id}` },
          decoded(whole),
        ),
      ),
    ),
  );
  toggle.setAttribute("aria-expanded", "true");
}
