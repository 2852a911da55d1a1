// Functions: every function of the OpenAPI document, with a form, the real response, and the same call elsewhere.
import { h, fill, keepFocus } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { to } from '../lib/router.js';
import { bytes, ms } from '../lib/format.js';
import { state } from '../lib/state.js';
import { curl, isSecret, python } from '../lib/api.js';
import { functions, may, resolve } from '../lib/functions.js';
import { credential } from '../lib/credential.js';
import { grouped, groupName } from '../lib/groups.js';
import { viewOf } from '../views.js';
import { chip, code, field, head, input, kv, notice, roving, segmented, select, status } from '../parts/bits.js';
import { blank, inked, load, problem } from '../parts/load.js';
import { confirm } from '../parts/dialog.js';

const LONG = new Set(['message', 'sql', 'plaintext', 'private_key', 'public_key', 'certificate', 'data', 'ciphertext', 'signature', 'description', 'receipt']);
const SHOWN_BYTES = 256 * 1024;

/** @param {HTMLElement} root @param {ViewContext} context */
export default function show(root, { path, query, signal, call: send }) {
  const host = h('div.view');
  root.append(host);
  root.classList.add('bench');
  load(host, functions, () => null, { signal, title: path[0] ?? 'Functions' })
    .catch((error) => fill(host, h('div.sheet', head('Functions'), problem({ status: 0, title: 'The list of functions could not be loaded', detail: 'The app cannot be reached.', code: 'offline', reason: String(error) }, () => show(fill(root), { path, query, signal, call: send, credential: credential() })))))
    .then(() => functions()).then((all) => { if (!signal.aborted) { host.remove(); draw(root, all, { path, query, signal, send }); if (document.activeElement?.id === 'main') root.querySelector('h1')?.focus({ preventScroll: true }); } }, () => {});
}

function draw(root, all, { path, query, signal, send }) {
  const fn = path[0] === undefined ? all.get('sign') ?? [...all.values()][0] : all.get(path[0]);
  const index = h('div.list');
  const list = (wanted) => {
    const shown = [...all.values()].filter((f) => !wanted || `${f.name} ${f.summary} ${groupName(f.group)}`.toLowerCase().includes(wanted));
    fill(index, shown.length ? [...grouped(shown)].map(([g, members]) => [h('h3', groupName(g)), members.map((f) => h('a', { href: to('functions', [f.name]), 'aria-current': f === fn ? 'page' : null, class: may(f.name) ? null : 'shut' },
      h('span.clip.mono', f.name), h('span.faint.small', may(f.name) ? (f.access === 'function' ? '' : f.access) : [icon('lock', 12), h('span.sr', 'not allowed')])))]) : h('p.faint.pad', 'No match.'));
    roving(index);
  };
  list('');
  const shell = h('details.fold', { open: innerWidth > 720 }, h('summary', h('h2', `${all.size} functions`)), h('div.pad-s', input({ type: 'search', 'aria-label': 'Filter functions', placeholder: 'Filter', oninput: (e) => list(e.target.value.toLowerCase().trim()) })), index);
  root.append(h('aside.pane.index', { 'aria-label': 'Functions' }, shell));
  index.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest' });
  if (!fn) { root.append(h('div.pane.doc', h('div.pad', h('h1', { tabindex: '-1' }, 'No such function'), h('p.dim', 'The app has no function ', h('code', path[0]), '.')))); return; }
  form(root, fn, { query, signal, send });
}

/** The text of a control as the value of a field: JSON where the field is not text. */
function valueOf(schema, text) {
  const s = resolve(schema);
  const kinds = s.anyOf ? s.anyOf.map((k) => resolve(k).type) : [s.type];
  if (kinds.includes('string') && !(kinds.some((k) => k === 'object' || k === 'array') && /^\s*[[{]/.test(text))) return text;
  try { return JSON.parse(text); } catch { return text; }
}
const textOf = (value) => value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value, null, typeof value === 'object' ? 1 : 0);

/** What a field may be, in a line: type, bounds, default. */
function limits(schema) {
  const s = resolve(schema);
  const words = [];
  const kinds = s.anyOf ? s.anyOf.map((k) => resolve(k).type).filter((k) => k && k !== 'null') : [s.type];
  if (kinds.filter(Boolean).length && !(kinds.length === 1 && kinds[0] === 'string')) words.push(kinds.join(' or '));
  if (s.minimum !== undefined || s.maximum !== undefined) words.push(s.maximum === undefined ? `at least ${s.minimum}` : s.minimum === undefined ? `at most ${s.maximum}` : `${s.minimum} to ${s.maximum}`);
  const preset = s.default ?? schema.default;
  if (preset !== undefined && preset !== null && preset !== '' && typeof preset !== 'object' && typeof preset !== 'boolean' && !s.enum) words.push(`default ${String(preset)}`);
  const text = words.join(', ');
  return text && `${text[0].toUpperCase()}${text.slice(1)}.`;
}

function form(root, fn, { query, signal, send }) {
  const preferred = fn.methods.find((m) => m === 'POST') ?? fn.methods[0];
  let method = preferred, language = 'curl', file = null;
  /** @type {Record<string, any>} */
  let values = {};
  for (const f of fn.fields) if (query.has(f.name) && !isSecret(f.name)) values[f.name] = valueOf(f.schema, query.get(f.name));
  const fields = h('div'), snippet = h('div'), shownCall = h('div'), response = h('div');
  const own = viewOf(fn.name);

  const drawSnippet = () => {
    const example = { name: fn.name, method, fields: values, body: Boolean(file) };
    fill(shownCall, code(language === 'curl' ? curl(example) : python(example), 'The same call'));
  };
  fill(snippet, segmented('Language', [['curl', 'curl'], ['python', 'Python']], language, (v) => { language = v; drawSnippet(); }), shownCall);
  const set = (name, value) => { if (value === undefined || value === '') delete values[name]; else values[name] = value; drawSnippet(); };
  const control = (f) => {
    const s = resolve(f.schema);
    const words = [f.description, s.type === 'boolean' ? '' : limits(f.schema)].filter(Boolean).join(' ');
    const hint = words ? h('span', inked(words)) : undefined;
    const label = [h('code', f.name), ' ', h('span.needed', f.in === 'path' ? 'in the path' : f.in === 'header' ? 'header' : f.required ? 'required' : '')];
    if (s.type === 'boolean' || s.enum) {
      const options = s.enum ? s.enum.filter((o) => o !== null).map(String) : ['true', 'false'];
      const preset = s.default ?? f.schema.default;
      const box = select([['', f.required ? 'Choose' : preset === undefined || preset === null ? 'not set' : `${preset}, the default`], ...options.map((o) => /** @type {[string, string]} */ ([o, o]))], textOf(values[f.name]), { class: 'mono', name: f.name, required: f.required, onchange: (e) => set(f.name, e.target.value === '' ? undefined : s.type === 'boolean' ? e.target.value === 'true' : valueOf(f.schema, e.target.value)) });
      return field(label, box, { hint });
    }
    const kinds = s.anyOf ? s.anyOf.map((k) => resolve(k).type) : [s.type];
    const long = !isSecret(f.name) && (LONG.has(f.name) || kinds.includes('array') || kinds.includes('object')) || f.name === 'private_key';
    const number = kinds.length === 1 && (kinds[0] === 'integer' || kinds[0] === 'number');
    const props = { class: 'mono', name: f.name, required: f.required && !(s.default === ''), autocomplete: isSecret(f.name) ? 'new-password' : 'off', oninput: (e) => set(f.name, e.target.value === '' ? undefined : valueOf(f.schema, e.target.value)) };
    const box = long ? h('textarea', { rows: '3', spellcheck: 'false', ...props }) : input({ type: isSecret(f.name) ? 'password' : 'text', inputmode: number ? 'numeric' : null, placeholder: typeof (s.default ?? f.schema.default) === 'string' ? s.default ?? f.schema.default : null, ...props });
    box.value = textOf(values[f.name]);
    return field(label, box, { wide: long, hint });
  };
  const drawFields = () => {
    // Required ones first, headers last; where there are many, the rarer ones are one press away.
    const rank = (f) => f.in === 'path' ? 0 : f.required ? 1 : f.in === 'header' ? 4 : fn.examples.some((e) => f.name in e.fields) ? 2 : 3;
    const sorted = fn.fields.map((f, i) => ({ f, i })).sort((a, b) => rank(a.f) - rank(b.f) || a.i - b.i).map(({ f }) => f);
    const most = sorted.length > 9 ? 6 : 9;
    const first = sorted.filter((f, i) => i < most || rank(f) < 2 || f.name in values), others = sorted.filter((f) => !first.includes(f));
    const opened = Boolean(fields.querySelector('details')?.open);
    fill(fields,
      fn.raw && method !== 'DELETE' ? h('div.fields', field('Body', h('input', { type: 'file', name: 'body', onchange: (e) => { file = e.target.files[0] ?? null; drawSnippet(); } }), { wide: true, hint: 'The bytes of this file are the body of the request.' })) : null,
      fn.fields.length ? h('div.fields', first.map(control)) : fn.raw ? null : h('p.dim', 'This function has no fields.'),
      others.length ? h('details.more', { open: opened }, h('summary', `${others.length} more optional ${others.length === 1 ? 'field' : 'fields'}`), h('div.fields', others.map(control))) : null);
  };
  const clearSecrets = () => { for (const box of fields.querySelectorAll('[type="password"], [name="private_key"]')) box.value = ''; for (const f of fn.fields) if (isSecret(f.name)) delete values[f.name]; drawSnippet(); };

  const run = () => {
    const sent = { ...values };
    const body = file ?? undefined;
    const sentMethod = method;
    clearSecrets();
    load(response, async () => {
      const started = performance.now();
      const result = await send(fn.name, sent, { method: sentMethod, body, raw: true });
      return { result, data: await result.arrayBuffer(), took: performance.now() - started };
    }, received, { signal, rows: 5 }).finally(() => response.scrollIntoView({ block: 'nearest' })); // on a narrow page it is far below the button
  };
  // A call that cannot be undone needs the object's name.
  const final = /^(revoke|erase|reset-factors|end-|apply-retention|delete-(blob|user|container|factor))/.test(fn.name);
  const destructive = final || fn.methods.length === 1 && fn.methods[0] === 'DELETE';
  const submit = () => {
    if (!destructive) return run();
    const object = String(values.name ?? values.container ?? values.user_id ?? values.id ?? fn.name);
    confirm({ title: `${fn.name} ${object}`, object, typed: final, verb: fn.name, consequences: [fn.summary], onconfirm: run });
  };

  const shut = !may(fn.name);
  root.append(
    h('div.pane.doc', h('div.pad', h('header.fn', h('h1.mono', { tabindex: '-1' }, fn.name), h('p', inked(fn.summary)), fn.description && h('p.dim', inked(fn.description)), h('p.fn-path', fn.methods.map((m) => chip(m, 'mono')), h('code.any', `/api${fn.path}`)),
      h('p.small.dim', fn.access === 'public' ? 'Open to everyone.' : fn.access === 'session' ? ['Needs the access token of a session. ', shut && h('a', { href: to('connect') }, 'Sign in')] : ['Needs a function key. ', credential() || shut ? (shut ? h('b', 'Yours does not allow it.') : '') : state.open ? '' : h('a', { href: to('connect') }, 'Connect')]),
      own && h('p.small', h('a', { href: to(own.id) }, `${own.name}`), ' is the view for this function.')),
    h('div.actions.fn-tools', fn.methods.length > 1 && segmented('Method', fn.methods.map((m) => [m, m]), method, (m) => { method = m; drawFields(); drawSnippet(); }),
      fn.examples.length ? h('span.faint.small', fn.examples.length > 1 ? 'Examples' : 'Example') : null, fn.examples.map((e) => h('button.quiet', { type: 'button', onclick: () => { values = structuredClone(e.fields); drawFields(); drawSnippet(); } }, icon('book', 12), e.summary))),
    h('form', { novalidate: false, onsubmit: (e) => { e.preventDefault(); submit(); } }, fields, h('div.actions', h('button.primary', { type: 'submit' }, icon('play', 12), 'Send'), destructive && h('span.faint.small', 'The console lets you confirm before it sends.'))),
    h('h2', 'Statuses'), h('ul.statuses', Object.entries(fn.responses).sort(([a], [b]) => Number(a) - Number(b)).map(([n, r]) => h('li', h('b', n), problems(r.description)))))),
    h('div.pane.answer', h('div.pad', snippet, h('h2', 'Response'), response)));
  fill(response, blank('play', 'Not sent yet', 'The response appears here, with its status, headers and time.'));
  drawFields();
  drawSnippet();
}
/** The meaning of a status; where it lists many codes, they are folded. */
function problems(text) {
  const lines = String(text).split(/(?<=\.) (?=`)/);
  return lines.length < 4 ? h('span.dim', inked(text)) : h('details.more', h('summary', `${lines.length} codes`), h('ul', lines.map((line) => h('li', h('span.dim', inked(line))))));
}

/** The real response: status, headers, and the body as text where it is text. */
function received({ result, data, took }) {
  const type = result.headers.get('content-type') ?? '';
  const headers = [...result.headers].filter(([name]) => !['content-type', 'content-length', 'date', 'server', 'connection', 'keep-alive'].includes(name));
  const isText = /json|^text\/|xml|javascript|ndjson/.test(type);
  let body;
  if (!data.byteLength) body = h('p.dim', 'No body.');
  else if (isText && data.byteLength <= SHOWN_BYTES) {
    let text = new TextDecoder().decode(data);
    if (type.includes('json') && !type.includes('ndjson')) { try { text = pretty(text); } catch { /* as it is */ } }
    body = secretly(text);
  } else body = [h('p.dim', `${bytes(data.byteLength)} of ${type || 'unknown type'}.`), h('div.actions', h('button', { type: 'button', onclick: () => save(data, type) }, icon('download', 14), 'Save to a file'))];
  return [h('p.answer-line', status('ok', `${result.status}`), h('span.faint', `${ms(took)}, ${bytes(data.byteLength)}${type ? `, ${type}` : ''}`)),
    body, headers.length ? h('details.more', h('summary', `${headers.length} headers`), kv(...headers.map(([name, value]) => [h('code', name), h('span.any', value)]))) : null];
}
/** JSON with line breaks, and every number exactly as it came. */
function pretty(text) {
  const numbers = [];
  const kept = text.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (t) => t[0] === '"' ? t : `"\u0000${numbers.push(t) - 1}"`);
  return JSON.stringify(JSON.parse(kept.replaceAll('"\u0000', '"\\u0000')), null, 2).replace(/"\\u0000(\d+)"/g, (_, n) => numbers[Number(n)]);
}
const REVEALED = /"(access_token|refresh_token|secret|uri|private_key|recovery_codes|plaintext|plaintext_base64|ticket|qr_svg)":/;
/** A response with a secret is hidden until the person reveals it for 30 s. */
function secretly(text) {
  if (!REVEALED.test(text)) return code(text, 'Body');
  const host = h('div');
  let timer;
  const hide = () => { clearTimeout(timer); const refocus = keepFocus(host); fill(host, notice('warn', 'The response contains a secret. '), h('div.actions', h('button', { type: 'button', onclick: reveal }, icon('eye', 14), 'Show it for 30 seconds'))); refocus({ fallback: true }); };
  const reveal = () => { fill(host, code(text, 'Body')); host.querySelector('pre').focus(); timer = setTimeout(hide, 30000); };
  hide();
  return host;
}
function save(data, type) {
  const url = URL.createObjectURL(new Blob([data], { type: 'application/octet-stream' }));
  const link = h('a', { href: url, download: `response${type.includes('csv') ? '.csv' : type.includes('ndjson') ? '.ndjson' : type.includes('json') ? '.json' : '.bin'}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
