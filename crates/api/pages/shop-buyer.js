// Who buys: a name of one's own choice (identity "trusted"), an account of this shop ("accounts"), or a token that
// another shop hands over in the address, `#token=...` ("token").

import { subject } from './flashsale.js';
import { $, dialog, h, put } from './shop-dom.js';

const [NAME, TOKEN] = ['flashsale.buyer', 'flashsale.token'];
const NAMES = ['Amber Brave Calm Clever Gentle Golden Quick Quiet', 'Badger Finch Fox Hare Heron Lynx Otter Wren'];

/** Storage; where a browser refuses it a value lasts as long as the page. */
function storage(area) {
  try {
    return globalThis[area];
  } catch {
    const own = new Map();
    return { getItem: (key) => own.get(key) ?? null, setItem: (key, value) => own.set(key, value), removeItem: (key) => own.delete(key) };
  }
}

export const forGood = storage('localStorage');
const forTab = storage('sessionStorage');

export class Buyer {
  /** `onchange` is called when another buyer sits here by their own will; not after a log-in that a click has asked for. */
  constructor(identity, onchange) {
    Object.assign(this, { identity, onchange });
    const token = identity === 'token' && /^#token=(.+)$/.exec(location.hash)?.[1];
    if (token) {
      forTab.setItem(TOKEN, decodeURIComponent(token));
      history.replaceState(null, '', location.pathname);
    }
    if (identity === 'trusted') this.#rename(forTab.getItem(NAME) ?? forGood.getItem(NAME) ?? friendlyName());
    $('buyer').addEventListener('click', () => this.#pressed());
    this.#show();
  }

  /** Whom the API takes this buyer for; null: it is not known yet. */
  get id() {
    return this.name ?? subject(this.token()) ?? null;
  }

  token() {
    return forTab.getItem(TOKEN);
  }

  /** What the client of the API is to be told. */
  forApi() {
    return this.name ? { userId: this.name } : { token: () => this.token() };
  }

  /** Asks for a log-in; resolves to whether there was one. `wasRefused`: the present token counts no more. */
  async logIn(wasRefused = false) {
    if (wasRefused) forTab.removeItem(TOKEN);
    this.#show();
    const isIn = this.identity === 'accounts' && (await askForAccount());
    this.#show();
    return isIn;
  }

  #rename(name) {
    this.name = name;
    forTab.setItem(NAME, name);
    forGood.setItem(NAME, name);
  }

  #show() {
    put($('buyer'), { hidden: this.identity === 'token' });
    const unseen = (text) => h('span', { class: 'unseen' }, text);
    if (this.name) $('buyer').replaceChildren(unseen('Buying as '), h('span', { id: 'buyer-name' }, this.name), unseen(', change'));
    else put($('buyer'), { text: this.id ? 'Log out' : 'Log in' });
  }

  async #pressed() {
    if (this.name) return this.#askForName();
    if (this.id) forTab.removeItem(TOKEN);
    else if (!(await this.logIn())) return;
    this.#show();
    this.onchange();
  }

  #askForName() {
    const input = h('input', { id: 'buyer-input', maxlength: 128, required: true, autocomplete: 'nickname', value: this.name });
    const onsubmit = (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (!name) return;
      shown.close();
      if (name === this.name) return;
      this.#rename(name);
      this.#show();
      this.onchange();
    };
    const shown = dialog('buyer-dialog', 'Who is buying?', h('p', { class: 'muted' }, 'Each name may buy once in a sale.'),
      h('form', { onsubmit }, h('label', { for: 'buyer-input' }, 'Your name'), input,
        h('div', { class: 'row' }, h('button', { id: 'buyer-save', class: 'primary' }, 'Save'), closer('Leave it'))));
    input.select();
  }
}

function closer(text) {
  return h('button', { type: 'button', onclick: ({ target }) => target.closest('dialog').close() }, text);
}

function friendlyName() {
  const below = (limit) => Math.floor(Math.random() * limit);
  const words = NAMES.map((names) => names.split(' ')[below(8)]);
  return [...words, 100 + below(900)].join(' ');
}

/** Shows the log-in until it succeeds (true) or is closed (false). */
function askForAccount() {
  const email = h('input', { id: 'login-email', type: 'email', required: true, maxlength: 254, autocomplete: 'username' });
  const password = h('input', { id: 'login-password', type: 'password', required: true, minlength: 8, maxlength: 128 });
  const problem = h('p', { id: 'login-problem', class: 'notice', 'data-kind': 'problem', role: 'alert' });
  const submit = h('button', { id: 'login-submit', class: 'primary' });
  const turn = h('button', { id: 'login-switch', type: 'button', onclick: () => become(!isNew) });
  const form = h('form', {}, h('label', { for: email.id }, 'E-mail'), email,
    h('label', { for: password.id }, 'Password, at least 8 characters'), password, problem,
    h('div', { class: 'row' }, submit, turn, closer('Close')));
  const shown = dialog('login-dialog', 'Log in to buy', form);
  let isNew;
  const become = (wantsNew) => {
    isNew = wantsNew;
    const texts = isNew ? ['Create an account', 'Create account', 'I have an account'] : ['Log in to buy', 'Log in', 'Create an account'];
    [shown.firstChild, submit, turn].forEach((element, at) => put(element, { text: texts[at] }));
    put(shown, { 'data-mode': isNew ? 'register' : 'log-in' });
    put(password, { autocomplete: isNew ? 'new-password' : 'current-password' });
    put(problem, { text: '' });
  };
  become(false);
  return new Promise((resolve) => {
    shown.addEventListener('close', () => resolve(false));
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      put(submit, { disabled: true });
      const account = { email: email.value, password: password.value };
      let answer = isNew ? await send('/api/v1/accounts', account) : {};
      if (!answer.code) answer = await send('/api/v1/accounts/login', account);
      put(submit, { disabled: false });
      if (answer.code === 'EMAIL_TAKEN') become(false);
      if (answer.code) return put(problem, { text: explain(answer) });
      forTab.setItem(TOKEN, answer.token);
      resolve(true);
      shown.close();
    });
  });
}

/** The answer, or a problem with a `code`. */
async function send(path, body) {
  try {
    const request = { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } };
    const answer = await fetch(path, { ...request, signal: AbortSignal.timeout(15_000) });
    return { ...(await answer.json()), retryAfter: answer.headers.get('Retry-After') };
  } catch {
    return { code: 'UNAVAILABLE' };
  }
}

function explain({ code, detail, retryAfter }) {
  const texts = {
    EMAIL_TAKEN: 'There is an account with this e-mail already: log in with its password.',
    INVALID_CREDENTIALS: 'There is no account with this e-mail and password.',
    RATE_LIMITED: `Too many tries. Try again in ${retryAfter} s.`,
    UNAVAILABLE: 'The shop cannot be reached. Try again in a moment.',
  };
  return texts[code] ?? `${detail}.`;
}
