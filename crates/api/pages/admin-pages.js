// Pages of a list: the API hands on a cursor, and there is no way back but to the first one.

import { act } from "./admin-dialog.js";
import { h } from "./admin-dom.js";

/** `load(cursor)` shows a page and gives the cursor of the next one, or null. */
export function pager(load) {
  let next = null;
  let number = 1;
  const first = h("button", { type: "button", "data-action": "first-page" }, "First page");
  const further = h("button", { type: "button", "data-action": "next-page" }, "Next page");
  const where = h("span", { class: "sum" });
  const element = h("div", { class: "pages", hidden: true }, where, first, further);

  async function show(cursor, page) {
    next = await load(cursor);
    number = page;
    where.textContent = `Page ${number}`;
    element.hidden = number === 1 && next === null;
  }
  const enable = () => {
    further.disabled = next === null;
    first.disabled = number === 1;
  };
  const pages = {
    element,
    /** Loads the first page, for whoever waits and tells what went wrong. */
    async first() {
      await show(null, 1);
      enable();
    },
    /** Loads the first page and tells what went wrong. */
    start: () => act(first, () => show(null, 1)).then(enable),
  };
  first.addEventListener("click", () => pages.start());
  further.addEventListener("click", () => act(further, () => show(next, number + 1)).then(enable));
  return pages;
}
