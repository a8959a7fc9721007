// Events for the shop's back end that could not be delivered, and the others.

import { get, post } from "./admin-api.js";
import { act, button, toast } from "./admin-dialog.js";
import { card, cell, h, labelled, options, pill, row, sayIfEmpty, table } from "./admin-dom.js";
import { NONE, int, time } from "./admin-format.js";
import { pager } from "./admin-pages.js";

const COLUMNS = [
  ["created", "Written"],
  ["type", "Type"],
  ["state", "State"],
  ["attempts", "Attempts", "number"],
  ["last", "Last attempt"],
  ["answer", "Answer"],
  ["actions", ""],
];
const STATES = { pending: ["Pending", "info"], delivered: ["Delivered", "ok"], failed: ["Failed", "bad"] };
const EMPTY = {
  failed: "No event has failed.",
  pending: "No event waits to be sent.",
  delivered: "No event was delivered lately.",
  "": "No event was written. Webhooks are off unless webhooks.url is set.",
};

export function webhooks(main) {
  const shown = table("webhooks", "Webhook events, the newest first", COLUMNS);
  const state = h(
    "select",
    { name: "state" },
    options(
      [
        ["failed", "Failed"],
        ["pending", "Pending"],
        ["delivered", "Delivered"],
        ["", "Any"],
      ],
      "failed",
    ),
  );
  const pages = pager(load);
  const again = button("reload", "Load again", () => pages.first(), "quiet");
  const filter = h(
    "form",
    {
      class: "filter",
      "data-filter": "webhooks",
      role: "search",
      "aria-label": "Webhook events",
      onsubmit: (event) => event.preventDefault(),
      onchange: () => act(again, () => pages.first()),
    },
    labelled("State", state),
    again,
  );

  async function load(cursor) {
    const page = await get("/webhooks", { state: state.value, cursor, limit: 50 });
    shown.body.replaceChildren(...page.webhooks.map(eventRow));
    sayIfEmpty(shown, EMPTY[state.value]);
    return page.nextCursor;
  }
  main.append(
    h(
      "div",
      { class: "view-head" },
      h(
        "div",
        {},
        h("h2", { tabindex: "-1" }, "Webhooks"),
        h(
          "p",
          { class: "lead" },
          "Events for the shop’s back end. One that has failed is not tried again until you say so.",
        ),
      ),
    ),
    card("The newest first", null, filter, shown.all, pages.element),
  );
  pages.start();
}

function eventRow(event) {
  const [word, tone] = STATES[event.state] ?? [event.state, "still"];
  const payload = button("payload", "Event", () => togglePayload(line, event, payload), "small");
  payload.setAttribute("aria-expanded", "false");
  const redeliver = button(
    "redeliver",
    "Send again",
    async () => {
      toast((await post(`/webhooks/${event.id}/redeliver`)).message);
      cell(line, "state").replaceChildren(pill("Pending", "info"));
    },
    "small",
  );
  for (const [one, what] of [
    [payload, "Event"],
    [redeliver, "Send again"],
  ])
    one.setAttribute("aria-label", `${what} ${event.type} of ${event.createdAt}`);
  const answer = [event.responseStatus === null ? "" : `${event.responseStatus}`, event.lastError ?? ""]
    .filter(Boolean)
    .join(": ");
  const line = row(
    COLUMNS,
    {
      created: time(event.createdAt),
      type: h("code", {}, event.type),
      state: pill(word, tone),
      attempts: int(event.attempts),
      last: time(event.lastAttemptAt),
      answer: h("span", { class: "detail" }, answer || NONE),
      actions: h("span", { class: "row-actions" }, payload, redeliver),
    },
    { "data-webhook": event.id, "data-state": event.state },
  );
  return line;
}

function togglePayload(line, event, toggle) {
  const shown = line.nextElementSibling?.matches("[data-payload-of]");
  if (shown) line.nextElementSibling.remove();
  else {
    line.after(
      h(
        "tr",
        { "data-payload-of": event.id },
        h(
          "td",
          { colspan: String(COLUMNS.length) },
          h(
            "p",
            { class: "note" },
            h("a", { href: `#/sale/${event.saleId}/orders` }, "Its sale"),
            ` · webhook-id ${event.id}`,
          ),
          h(
            "pre",
            { tabindex: "0", role: "region", "aria-label": `Event ${event.id}` },
            JSON.stringify(event.payload, null, 2),
          ),
        ),
      ),
    );
  }
  toggle.setAttribute("aria-expanded", String(!shown));
}
