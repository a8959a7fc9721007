// The API as this page asks it: the operator's token, requests, and what may come of them.

const KEY = "flashsale.operator";
/** Operators are answered within 60 s, whatever happens behind the API. */
const PATIENCE_MS = 70_000;

/** The API said no. `detail` is for the operator, `code` for the page. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.message ?? problem.title ?? `The API answered ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
  }
}

/** Nothing came back: what was asked may have been done or not. */
export class Unreachable extends Error {
  constructor() {
    super("The API did not answer. If this was a change, it may have been made: look before you repeat it.");
  }
}

/** The token does not count any more. The page has gone back to the log-in by now. */
export class LoggedOut extends Error {}

let onLogOut = () => {};

/** The token of this tab. It is in no URL, and gone with the tab. */
export const session = {
  get token() {
    return sessionStorage.getItem(KEY);
  },
  begin(token) {
    sessionStorage.setItem(KEY, token);
  },
  end(message) {
    sessionStorage.removeItem(KEY);
    onLogOut(message);
  },
  whenEnded(listener) {
    onLogOut = listener;
  },
};

/** Asks below `/api/v1/admin` and reads the answer's JSON, with its status. */
export async function ask(method, path, { body, token = session.token, patienceMs = PATIENCE_MS } = {}) {
  const headers = { authorization: `Bearer ${token}`, accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer, json;
  try {
    const signal = AbortSignal.timeout(patienceMs);
    answer = await fetch(`/api/v1/admin${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
    json = await answer.json().catch((error) => {
      // A proxy's page is no JSON and still an answer; a connection that broke is none.
      if (error instanceof SyntaxError) return {};
      throw error;
    });
  } catch {
    throw new Unreachable();
  }
  if (answer.status === 401 && token === session.token) {
    session.end("You have been logged out: the API no longer takes this token.");
    throw new LoggedOut("logged out");
  }
  if (!answer.ok) throw new Refused(answer.status, json);
  return { status: answer.status, json };
}

export const get = async (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return (await ask("GET", text ? `${path}?${text}` : path)).json;
};
export const post = async (path, body) => (await ask("POST", path, { body })).json;

/** Whether the API takes this token. Throws where that cannot be told. */
export async function counts(token) {
  try {
    await ask("GET", "/sales?limit=1", { token, patienceMs: 10_000 });
    return true;
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return false;
    throw error;
  }
}
