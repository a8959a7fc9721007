// Elements, and tables whose rows stay where they are while their figures change.

/** An element. Attributes that are null, undefined or false are left out; `onclick` and the like are listeners. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Writes a text only where it is another one: what does not change is not laid out, selected or read out anew. */
export function put(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function setData(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

/**
 * A table in a region that scrolls by itself, where the window is narrow.
 * `columns` are `[name, label, kind]`, `kind` being nothing, `number` or `plain`; the first one that is not plain is the
 * row's header.
 * The roles are said although the elements have them: as cards on a phone they are laid out as something else.
 */
export function table(id, caption, columns) {
  const heads = columns.map(([name, label, kind]) =>
    h(
      "th",
      { scope: "col", role: "columnheader", "data-col": name, class: kind === "number" ? "number" : null },
      label || h("span", { class: "unseen" }, "Actions"),
    ),
  );
  const body = h("tbody", { role: "rowgroup" });
  const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads));
  const element = h("table", { id, role: "table" }, h("caption", { class: "unseen" }, caption), head, body);
  const empty = h("p", { class: "empty", hidden: true });
  const region = h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption }, element);
  return { element, body, empty, region, all: h("div", { class: "tabled" }, region, empty) };
}

/** The cells of a row in the order of the columns: `cells` has an element, a text or nothing for each name. */
export function row(columns, cells, attributes = {}) {
  const header = columns.find(([, , kind]) => kind !== "plain");
  return h(
    "tr",
    { role: "row", ...attributes },
    columns.map((column) => {
      const [name, label, kind] = column;
      const roles = column === header ? { scope: "row", role: "rowheader" } : { role: "cell" };
      return h(
        column === header ? "th" : "td",
        { ...roles, "data-col": name, "data-label": label, class: kind === "number" ? "number" : null },
        cells[name] ?? null,
      );
    }),
  );
}

export function cell(line, name) {
  return line.querySelector(`:scope > [data-col="${name}"]`);
}

/** Brings the rows of a body in line with a list. Rows that stay are not touched but by `update`, so focus stays too. */
export function keep(body, items, key, make, update) {
  const there = new Map([...body.children].map((line) => [line.dataset.key, line]));
  const wanted = new Set(items.map(key));
  for (const [name, line] of there) if (!wanted.has(name)) line.remove();
  let place = body.firstElementChild;
  for (const item of items) {
    const name = key(item);
    const line = there.get(name) ?? make(item);
    setData(line, "key", name);
    update(line, item);
    if (line === place) place = place.nextElementSibling;
    else body.insertBefore(line, place);
  }
}

/** Says so where a table has no rows. */
export function sayIfEmpty(shown, text) {
  const nothing = shown.body.childElementCount === 0;
  put(shown.empty, text);
  shown.empty.hidden = !nothing;
  shown.region.hidden = nothing;
}

/** A small coloured word: `tone` is ok, warn, bad, info or still. */
export function pill(text, tone) {
  return h("span", { class: "pill", "data-tone": tone }, text);
}

export function setPill(element, text, tone) {
  put(element, text);
  setData(element, "tone", tone);
}

/** A card with a heading of the third level; `side` stands to the right of it. */
export function card(title, side, ...children) {
  return h(
    "section",
    { class: "card" },
    h("div", { class: "card-head" }, h("h3", {}, title), side ? h("div", { class: "side" }, side) : null),
    children,
  );
}

/** A field with its label above it. */
export function labelled(label, control) {
  return h("label", { class: "field" }, h("span", {}, label), control);
}

export function options(pairs, chosen) {
  return pairs.map(([value, label]) => h("option", { value, selected: value === chosen }, label));
}
