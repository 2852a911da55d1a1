// The one door to the app: calls a function by name, remembers the call for the tape, turns failures into problems.
import { base } from './base.js';
import { find, known } from './functions.js';
import { credential, endSession, expiring, headersFor, signedIn } from './credential.js';
import { remember, state, tell } from './state.js';

/** A problem (RFC 9457) of the app, or of the network: `body.status` 0 means that no response came. */
export class Problem extends Error {
  constructor(body) { super(body.title); this.body = body; }
}

const SECRET = /password|passphrase|token|secret|private_key|^code$|recovery|^ticket$|code_verifier|plaintext/;
/** Fields as they may be kept, shown and copied: secrets are replaced before anything remembers them. */
export const masked = (fields) => JSON.parse(JSON.stringify(fields, (k, v) => SECRET.test(k) && typeof v !== 'boolean' ? '…' : v) ?? '{}');
export const isSecret = (name) => SECRET.test(name);

/** The URL, method, headers and JSON body of a call, without the credential. Undefined and null fields are left out. */
export function request(fn, fields = {}, { method = fn.method ?? fn.methods[0], body = /** @type {any} */ (undefined) } = {}) {
  const rest = new Map(Object.entries(fields).filter(([, v]) => v !== undefined && v !== null));
  let template = fn.path;
  // A path cannot contain these names of blobs: a browser removes `.`, `..` and what stands before them, and the host reads `%252F` as a slash.
  if (template === '/blobs/{container}/{name}' && /(^|\/)(\.{0,2})(\/|$)|%2f/i.test(String(rest.get('name') ?? ''))) template = '/blobs/{container}';
  const path = template.replace(/\{(\w+)\}/g, (_, f) => { const v = String(rest.get(f) ?? ''); rest.delete(f); return inPath(v); });
  const url = new URL(path.slice(1), base);
  const headers = {};
  for (const f of fn.fields ?? []) if (f.in === 'header' && rest.has(f.name)) { headers[f.name.replaceAll('_', '-')] = String(rest.get(f.name)); rest.delete(f.name); }
  const withBody = !fn.raw && method !== 'GET' && method !== 'HEAD' && method !== 'DELETE';
  if (!withBody) for (const [k, v] of rest) url.searchParams.set(k, typeof v === 'string' ? v : JSON.stringify(v));
  else if (rest.size || fn.fields?.some((f) => f.in === 'body')) { headers['content-type'] = 'application/json'; body = JSON.stringify(Object.fromEntries(rest)); }
  return { url, method, headers, body, fields: Object.fromEntries(rest) };
}
/** A value as part of a path. Slashes stay slashes, because names of blobs have them. */
const inPath = (text) => text.split('/').map(encodeURIComponent).join('/');

/**
 * Call a function by name. Resolves with the JSON of the response (null without a body), or with the Response itself
 * for `raw: true`. Rejects with Problem, and with AbortError when `signal` aborts.
 * @type {Call}
 */
export const call = async (name, fields = {}, { signal, method, body, headers = {}, raw = false, quiet = false } = /** @type {CallOptions & {raw?: boolean}} */ ({})) => {
  let fn;
  try { fn = await find(name); } catch (error) { if (error instanceof TypeError && known()) throw error; throw new Problem(offline(error)); }
  signal?.throwIfAborted();
  const wanted = request(fn, fields, { method, body });
  const started = performance.now();
  const at = new Date();
  const authorization = await authorize(fn.access);
  const note = (status, id) => { if (!quiet) remember({ id, name, method: wanted.method, status, fields: masked(fields), path: decodePath(wanted.url), ms: performance.now() - started, at, body: body !== undefined }); };
  let response;
  try {
    response = await fetch(wanted.url, { method: wanted.method, headers: { ...wanted.headers, ...headers, ...authorization }, body: wanted.body, signal, credentials: 'same-origin', cache: 'no-store' });
  } catch (error) {
    signal?.throwIfAborted();
    const problem = offline(error);
    note(0, '');
    throw new Problem(problem);
  }
  return settle(fn, response, note, { raw, signal });
};

/** The headers of the credential; a session whose access token is about to end is renewed first, once for all calls. */
async function authorize(access) {
  const refresh = access === 'public' ? null : expiring();
  if (refresh) await (renewing ??= renew(refresh).finally(() => { renewing = undefined; }));
  return headersFor(access);
}
/** @type {Promise<void>|undefined} */
let renewing;
async function renew(refresh) {
  try {
    const { authorization, ...key } = headersFor('function');
    const response = await fetch(new URL('sessions/refresh', base), { method: 'POST', headers: { 'content-type': 'application/json', ...key }, body: JSON.stringify({ refresh_token: refresh }), credentials: 'same-origin', cache: 'no-store' });
    if (!response.ok) return;
    const tokens = await response.json();
    if (tokens.signed_in) signedIn(tokens); else endSession({ byApp: true });
  } catch { /* No connection: the call itself says so. */ }
}

async function settle(fn, response, note, { raw, signal }) {
  const id = response.headers.get('x-request-id') ?? '';
  note(response.status, id);
  learn(fn, response.status);
  if (!response.ok && response.status !== 304) throw new Problem(await problemOf(fn, response));
  if (raw) return response;
  try {
    const text = await response.text();
    return text ? JSON.parse(text) : null;
  } catch (error) {
    signal?.throwIfAborted();
    throw new Problem({ status: response.status, title: 'The response is not JSON', detail: 'The connection ended early, or something between this browser and the app replaced the response.', code: 'not-json', request_id: id });
  }
}

/** The meaning of a failed response, by its sender: the app, the host (no body), or a proxy (HTML). */
async function problemOf(fn, response) {
  const text = await response.text().catch(() => '');
  let body = null;
  try { body = JSON.parse(text); } catch { /* not from the app */ }
  if (!body || typeof body !== 'object' || !('title' in body)) {
    body = { status: response.status, ...(WITHOUT_BODY[response.status] ?? { title: `The host responded ${response.status}`, detail: 'The response has no problem details, so it does not come from the app itself.', code: 'no-details' }), response: body };
  }
  return { ...body, status: response.status, function: fn.name, retry_after: response.headers.get('retry-after') ?? undefined, request_id: body.request_id ?? response.headers.get('x-request-id') ?? undefined };
}
const WITHOUT_BODY = {
  401: { title: 'The host refused the credential', detail: 'The host sent no reason. Each function has its own keys: a key for one does not open another.', code: 'unauthorized' },
  403: { title: 'Refused before it reached the app', detail: 'A network rule, a firewall or sign-in by Easy Auth refused the call.', code: 'forbidden' },
  404: { title: 'No such function here', detail: 'The host knows no function with this address and method. Perhaps the app was updated: reload the page.', code: 'no-route' },
  413: { title: 'The body is too large', detail: 'Something before the app limits the size of a request.', code: 'body-too-large' },
  414: { title: 'The request line is too long', detail: 'The address is over 8 KiB. Shorten the fields.', code: 'uri-too-long' },
  429: { title: 'Too many calls', detail: 'Wait a moment and try again.', code: 'busy' },
  500: { title: 'The app failed', detail: 'The host sent no details. Its log has them, under the time of this call.', code: 'host-error' },
  502: { title: 'The app does not respond', detail: 'A proxy could not reach it. It may be starting: try again.', code: 'bad-gateway' },
  503: { title: 'The app is not available', detail: 'It may be starting: try again in a few seconds.', code: 'unavailable' },
};
const offline = (error) => ({ status: 0, title: 'The app cannot be reached', code: 'offline',
  detail: navigator.onLine === false ? 'This device is offline. Nothing was changed; try again when it is connected.' : 'No response came. The app may have stopped, or the network changed. Whether a change was made is not known.', reason: String(error?.name ?? '') });

/** Learn from a response what the credential may call: the host's 401 says no, anything that the app said says yes. */
export function learn(fn, status) {
  if (fn.access === 'public') return;
  const before = state.allowed.get(fn.name);
  const now = status !== 401;
  if (now && fn.access === 'function' && !credential() && !state.open) { state.open = true; tell('credential'); }
  if (before !== now) { state.allowed.set(fn.name, now); if (before !== undefined || !now) tell('allowed'); }
}

/**
 * Whether the credential may call a function, without running it: a field that does not exist is 400 if the call is
 * allowed, and 401 if not.
 */
export async function probe(fn, signal) {
  const method = fn.methods.includes('GET') ? 'GET' : fn.methods[0];
  const filled = Object.fromEntries([...fn.path.matchAll(/\{(\w+)\}/g)].map((m) => [m[1], 'x']));
  const wanted = request({ ...fn, method }, { ...filled, 'no-such-field': '' }, { method });
  if (fn.raw) wanted.body = undefined;
  const response = await fetch(wanted.url, { method, headers: { ...wanted.headers, ...headersFor(fn.access) }, body: wanted.body, signal, credentials: 'same-origin', cache: 'no-store' });
  await response.body?.cancel();
  learn(fn, response.status);
  return response.status !== 401 && response.status !== 403;
}

/** The address below the host, without the query. Percent-encoding stays where decoding would change the meaning. */
const decodePath = (url) => { try { return decodeURI(url.pathname); } catch { return url.pathname; } };

const FALLBACK = (name, method) => ({ name, methods: [method], path: `/${name}`, fields: [], raw: false, access: 'public' });
const quote = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
/** The same call for a shell. The credential is a variable, never its value; secret fields are left as `…`. */
export function curl({ name, method, fields, body = false }, fn = known()?.get(name) ?? FALLBACK(name, method)) {
  const wanted = request({ ...fn, method }, masked(fields), { method });
  const shown = `${wanted.url.pathname.slice(base.pathname.length)}`;
  const words = ['curl'];
  const query = [...wanted.url.searchParams];
  if (query.length && method === 'GET') words.push('-G');
  if (method === 'HEAD') words.push('-I');
  else if (!(method === 'GET' || (method === 'POST' && wanted.body))) words.push(`-X ${method}`);
  const inline = query.length && method !== 'GET' ? `?${wanted.url.searchParams}` : '';
  const key = fn.access === 'function' ? ' -H "x-functions-key: $K"' : fn.access === 'session' ? ' -H "authorization: Bearer $T"' : '';
  const lines = [`${words.join(' ')} "$A/${shown.replace(/["\\$`]/g, '\\$&')}${inline.replace(/["\\$`]/g, '\\$&')}"${key}`];
  for (const [k, v] of Object.entries(wanted.headers)) if (k !== 'content-type') lines.push(`-H ${quote(`${k}: ${v}`)}`);
  if (method === 'GET') for (const [k, v] of query) lines.push(`--data-urlencode ${quote(`${k}=${v}`)}`);
  else if (typeof wanted.body === 'string') lines.push(`--json ${quote(wanted.body)}`);
  else if (body || (fn.raw && method !== 'DELETE')) lines.push('--data-binary @file');
  return lines.join(' \\\n  ');
}
/** The same call in Python. */
export function python({ name, method, fields, body = false }, fn = known()?.get(name) ?? FALLBACK(name, method)) {
  const wanted = request({ ...fn, method }, masked(fields), { method });
  const access = fn?.access === 'function' ? '    headers={"x-functions-key": os.environ["K"]},\n' : fn?.access === 'session' ? '    headers={"authorization": f"Bearer {os.environ[\'T\']}"},\n' : '';
  const query = [...wanted.url.searchParams];
  const extra = (query.length ? `    params=${literal(Object.fromEntries(query))},\n` : '') + (typeof wanted.body === 'string' ? `    json=${literal(wanted.fields)},\n` : body || fn?.raw ? '    content=open("file", "rb"),\n' : '');
  return `import os\nimport httpx\n\nresponse = httpx.request(\n    ${literal(method)},\n    os.environ["A"] + ${literal(`/${wanted.url.pathname.slice(base.pathname.length)}`)},\n${access}${extra})\nprint(response.status_code, response.text)`;
}
/** A JSON value as a Python literal. */
const literal = (v) => v === null ? 'None' : v === true ? 'True' : v === false ? 'False' : Array.isArray(v) ? `[${v.map(literal).join(', ')}]`
  : typeof v === 'object' ? `{${Object.entries(v).map(([k, x]) => `${JSON.stringify(k)}: ${literal(x)}`).join(', ')}}` : JSON.stringify(v);
/** The two variables that every snippet uses. */
export const variables = () => `A=${base.href.replace(/\/$/, '')}\nread -rs K  # paste a function key`;
