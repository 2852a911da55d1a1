// Home: is it well, what is here, what to try first. Paints at once; health and contents fill in.
import { h, fill, $ } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { to } from '../lib/router.js';
import { ms, count } from '../lib/format.js';
import { curl, python, variables } from '../lib/api.js';
import { functions } from '../lib/functions.js';
import { state, watch } from '../lib/state.js';
import { KINDS, objects, reachable } from '../lib/objects.js';
import { head, band, notice, status, code, copyButton, segmented } from '../parts/bits.js';
import { load, problem } from '../parts/load.js';
import { callRows } from '../parts/tape.js';
import { grid } from '../parts/table.js';

/** @type {Record<string, [string, (n: number) => string, string, string]>} */
const SHOWN = {
  keys: ['key', (n) => n === 1 ? 'key' : 'keys', 'that sign or encrypt', to('functions', ['list-keys'])],
  users: ['person', (n) => n === 1 ? 'user' : 'users', 'with a stored password', to('functions', ['list-users'])],
  databases: ['table', (n) => n === 1 ? 'database' : 'databases', 'with their tables', to('sql')],
  containers: ['box', (n) => n === 1 ? 'container' : 'containers', 'of blobs', to('blobs')],
};
const STEPS = [
  ['Sign a message and verify it twice', 'Once by the app, once by this browser', to('sign')],
  ['Read a table', 'SQL with bound parameters, read-only', to('sql')],
  ['List the blobs of a container', 'Preview, upload, share by an expiring link', to('blobs')],
  ['Hash a password', 'Argon2id; the hash verifies on any other system', to('functions', ['hash-password'])],
  ['Call any other function', 'Every function has a form, examples, curl and Python', to('functions')],
];

/** @param {HTMLElement} root @param {ViewContext} context */
export default function show(root, { call, signal, credential }) {
  const health = h('div.health');
  const here = h('div');
  root.append(h('div.sheet',
    head(location.host, 'Health, contents and first steps of this app.', h('a.button', { href: to('functions') }, icon('book', 14), 'All functions')),
    band('Health', 'The app probes each service at most every 5 s.', health),
    band('What is here', null, here),
    band('Start here', 'Each link opens a form. Nothing is sent until you press its button.', h('ol.steps', STEPS.map(([title, note, href]) => h('li', h('a', { href }, title), h('span.dim', note))))),
    band('Last calls', 'Of this tab alone. Secrets are left out.', lastCalls(signal)),
    band('Outside the console', 'The same calls from a shell. The key stays in a variable.', snippet())));

  load(health, () => call('health').catch((error) => {
    // A service that the app needs is down: the response says which, with status 503.
    if (error.body?.response?.services) return error.body.response;
    throw error;
  }), (response) => {
    const down = Object.entries(response.services).filter(([, s]) => s.status !== 'ok').map(([name]) => name);
    return [h('p.health-word', status(response.status, h('b', response.status)),
      h('span.dim', down.length ? `${down.join(', ')}: no response. All other services respond.` : 'Every service responds.'), h('span.faint', `Version ${response.version}`)),
    grid('Services', ['Service', 'Status', { text: 'Latency', num: true }], Object.entries(response.services).map(([name, s]) =>
      h('tr', h('th', { scope: 'row' }, name), h('td', status(s.status)), h('td.num', ms(s.latency_ms)))))];
  }, { rows: 5, signal });
  contents(here, { signal, credential });
}

function contents(host, { signal, credential }) {
  if (!credential && !state.open) {
    fill(host, notice('info', 'You are not connected. These work already: health, public keys, public queries, links to blobs. ', h('a', { href: to('connect') }, 'Connect'), ' with a function key to see the rest.'),
      h('div.actions', h('button', { type: 'button', onclick: () => { state.open = true; contents(host, { signal, credential }); $('a', host).focus(); } }, icon('eye', 14), 'Look without a key'), h('span.faint.small', 'Works where the app enforces no keys, as on your own machine.')));
    return;
  }
  const holds = h('div.holds');
  fill(host, holds);
  for (const kind of KINDS.filter((k) => SHOWN[k])) {
    const [mark, name, note, href] = SHOWN[kind];
    const number = h('b', '…'), word = h('span', name(0)), small = h('span.faint.small', note);
    const box = h('a.hold', { href, 'aria-busy': 'true' }, icon(mark), number, word, small);
    holds.append(box);
    const set = (n, text, more = '') => { fill(number, n); fill(word, name(n === '1' ? 1 : 2)); fill(small, text); if (more) small.append(more); box.removeAttribute('aria-busy'); };
    if (!reachable(kind)) { set('–', 'not allowed by this credential'); continue; }
    objects(kind).then(({ items, more }) => {
      const tables = items.reduce((n, d) => n + (d.tables?.length ?? 0), 0);
      set(`${count(items.length)}${more ? '+' : ''}`, kind === 'databases' ? `with ${count(tables)} ${tables === 1 ? 'table' : 'tables'}` : note);
    }, (error) => {
      if (!error.body) throw error;
      set('–', error.body.status === 401 ? (credential ? 'not allowed by this credential' : 'needs a key') : error.body.title);
      if (error.body.status !== 401 && !host.querySelector('.problem')) host.append(problem(error.body, () => { contents(host, { signal, credential }); $('a', host)?.focus(); }));
    });
  }
}

function lastCalls(signal) {
  const table = grid('Last calls', ['Status', 'Function', { text: 'Time', num: true }, { sr: 'Copy' }], []), none = h('p.faint', 'No call yet.');
  const draw = () => {
    table.hidden = !state.calls.length;
    none.hidden = !table.hidden;
    callRows($('tbody', table), state.calls.slice(0, 6), (c) => h('tr', h('td', h('b', { class: !c.status || c.status >= 500 ? 'bad' : c.status >= 400 ? 'warn' : 'good' }, c.status || 'offline')), h('td', h('a', { href: to('functions', [c.name]) }, c.name)), h('td.num', ms(c.ms)),
      h('td.num', copyButton(async () => { await functions(); return curl(c); }, 'curl'))));
  };
  draw();
  watch((what) => what === 'calls' && draw(), signal);
  return h('div', table, none);
}

function snippet() {
  const shown = h('div');
  const example = { name: 'sign', method: 'POST', fields: { message: 'hello' } };
  let language = 'curl';
  const fn = { name: 'sign', methods: ['POST'], path: '/sign', access: 'function', fields: [], raw: false };
  const draw = () => fill(shown,
    code(language === 'curl' ? `${variables()}\n${curl(example, fn)}` : python(example, fn), 'Sign a message'));
  draw();
  return h('div', segmented('Language', [['curl', 'curl'], ['python', 'Python']], language, (v) => { language = v; draw(); }), shown);
}
