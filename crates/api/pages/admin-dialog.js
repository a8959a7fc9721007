// What came of an action, and what is asked before one.

import { h, put } from "./admin-dom.js";
import { LoggedOut } from "./admin-api.js";

const OK_MS = 6_000;

/** Tells something for a moment; what went wrong stays until it is put away. */
export function toast(text, kind = "ok") {
  const region = document.getElementById("toasts");
  const bad = kind === "error";
  const dismiss = () => {
    note.remove();
    // The keyboard would start at the top of the page again.
    (region.querySelector(".close") ?? document.getElementById("main")).focus({ preventScroll: true });
  };
  const note = h(
    "div",
    { class: "toast", "data-toast": kind, role: bad ? "alert" : "status" },
    h("span", { class: "dot", "aria-hidden": "true" }),
    h("p", {}, text),
    h("button", { type: "button", class: "close", "aria-label": "Dismiss", onclick: dismiss }, "×"),
  );
  region.append(note);
  while (region.childElementCount > 4) region.firstElementChild.remove();
  if (!bad) setTimeout(() => note.remove(), OK_MS);
}

export function tellError(error) {
  if (!(error instanceof LoggedOut)) toast(error.message, "error");
}

/** Does something with its button disabled meanwhile, and tells what went wrong. Gives what was done, or undefined. */
export async function act(button, work) {
  const focused = document.activeElement === button;
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    return await work();
  } catch (error) {
    tellError(error);
    return undefined;
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
    if (focused && document.activeElement === document.body && button.isConnected) button.focus();
  }
}

/** A button that does something. */
export function button(name, label, work, kind = "") {
  const element = h("button", { type: "button", "data-action": name, class: kind || null }, label);
  element.addEventListener("click", () => act(element, () => work(element)));
  return element;
}

const plain = (text) => text.trim().replace(/\s+/g, " ");

/** A field that must have the sale's name before anything happens. */
function typedName(name, changed) {
  const input = h("input", {
    name: "confirm",
    type: "text",
    autocomplete: "off",
    spellcheck: "false",
    oninput: changed,
  });
  const label = h(
    "label",
    { class: "field" },
    h("span", {}, "To confirm, type the sale’s name: ", h("strong", {}, name)),
    input,
  );
  return { label, input, fits: () => plain(input.value) === plain(name) };
}

/**
 * Opens a dialog. `work(dialog)` is done on the confirming button: when it gives a text the dialog closes and the text
 * is told; when it gives nothing the dialog stays; what it throws is shown in the dialog.
 *
 * @param {{name: string, title: string, body: Node[], confirm: string, danger?: boolean, wide?: boolean,
 *   typed?: string, cancel?: string, work: (dialog: object) => Promise<string | undefined>}} asked
 */
export function openDialog(asked) {
  const problem = h("p", { class: "problem", "data-problem": true, role: "alert", hidden: true });
  const cancel = h(
    "button",
    { type: "button", "data-cancel": true, onclick: () => element.close() },
    asked.cancel ?? "Cancel",
  );
  const confirm = h(
    "button",
    { type: "submit", "data-confirm": true, class: asked.danger ? "danger" : "primary" },
    asked.confirm,
  );
  const typed = asked.typed === undefined ? null : typedName(asked.typed, () => refresh());
  const body = h("div", { class: "dialog-body" }, asked.body, typed?.label ?? null);
  const form = h(
    "form",
    { novalidate: true, autocomplete: "off", onsubmit: (event) => submit(event) },
    h("h2", { id: "dialog-title" }, asked.title),
    body,
    problem,
    h("div", { class: "dialog-actions" }, cancel, confirm),
  );
  const element = h(
    "dialog",
    {
      "data-dialog": asked.name,
      "aria-labelledby": "dialog-title",
      class: asked.wide ? "wide" : null,
      onclose: () => element.remove(),
    },
    form,
  );
  let [busy, blocked] = [false, false];

  const refresh = () => {
    confirm.disabled = busy || blocked || (typed !== null && !typed.fits());
    confirm.toggleAttribute("aria-busy", busy);
  };
  const dialog = {
    element,
    form,
    body,
    confirm,
    typed,
    get open() {
      return element.open;
    },
    close: () => element.close(),
    block(on) {
      blocked = on;
      refresh();
    },
    problem(text) {
      put(problem, text);
      problem.hidden = text === "";
    },
  };

  async function submit(event) {
    event.preventDefault();
    if (confirm.disabled) return;
    busy = true;
    dialog.problem("");
    refresh();
    try {
      const done = await asked.work(dialog);
      if (done) {
        element.close();
        toast(done);
      }
    } catch (error) {
      if (error instanceof LoggedOut) element.close();
      else if (element.open) dialog.problem(error.message);
      else tellError(error);
    } finally {
      busy = false;
      refresh();
    }
  }

  document.body.append(element);
  refresh();
  element.showModal();
  return dialog;
}

export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}
