// Connect: take a credential, see what it may call, forget it.
import { h, fill } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { to } from '../lib/router.js';
import { call, probe } from '../lib/api.js';
import { functions, may } from '../lib/functions.js';
import { grouped, groupName } from '../lib/groups.js';
import { state, tell, watch } from '../lib/state.js';
import { cameByCode, connect, credential, endSession, forget, idleMinutes, isLocked, lock, locksIn, sessionEnded, setIdleMinutes, share } from '../lib/credential.js';
import { band, field, head, input, kv, notice, roving, say, segmented, select, taskButton } from '../parts/bits.js';
import { open } from '../parts/dialog.js';
import { load } from '../parts/load.js';
import { backFromSso, signIn } from '../parts/signin.js';

/** @param {HTMLElement} root @param {ViewContext} context */
export default function show(root, { query, signal }) {
  const c = credential();
  root.append(h('div.sheet',
    head('Connect', 'The key stays in this page’s memory. It enters storage and other tabs only if you say so, and never an address or a log.'),
    isLocked() && !c ? notice('info', `Locked after ${idleMinutes()} minutes without input. Connect again to go on. Drafts are kept.`) : null,
    sessionEnded() ? notice('info', 'The app has ended your session: it expired, or someone signed it out. Sign in again to go on.') : null,
    c && cameByCode() ? notice('warn', h('b', 'Replace this key. '), 'It came in the address as ', h('code', '?code='), ', so it is in the logs of every server on the way and may be in this browser’s history. The console has erased it from the address.') : null,
    c && now(c, signal),
    kinds(c, query, signal),
    band('What may it call?', 'Each function is called with a field that does not exist. A 400 shows that the call is allowed, a 401 that it is not. Nothing is executed.', reach(signal))));
}

/** The two kinds of credential; a person may hold one of each. */
function kinds(c, query, signal) {
  const body = h('div');
  const notes = { key: 'A key of the app opens every function; a key of one function opens that function.', session: 'As a user of this app, for the functions of a session. You may hold a key, too.' };
  const note = h('p.faint.small');
  let back = backFromSso(query);
  const then = query.get('back') ? `#${query.get('back')}` : to('home');
  let kind = back ? 'session' : 'key';
  const draw = () => { fill(note, notes[kind]); fill(body, kind === 'key' ? form(then) : signIn(signal, back, then)); back = null; };
  draw();
  return band(c ? 'Add or replace' : 'Credential', note, segmented('Kind of credential', [['key', 'Function key'], ['session', 'Sign in']], kind, (v) => { kind = v; draw(); }), body);
}

function now(c, signal) {
  const others = h('span'), locks = h('span');
  const draw = () => {
    const current = credential();
    if (!current) return;
    fill(locks, `after ${locksIn()} more minutes without input`);
    fill(others, current.shares ? 'Other tabs of this console get it' : ['Not shared. ', h('button.quiet', { type: 'button', onclick: () => { share(); say('Shared with your other tabs'); forgetting.focus(); } }, 'Share with my tabs')]);
  };
  const forgetting = h('button.danger', { type: 'button', onclick: askForget }, 'Forget');
  draw();
  watch((what) => (what === 'credential' || what === 'clock') && draw(), signal);
  return band('Now', null, kv(c.key && ['Function key', h('span.dim', { link: 'from a link', code: 'from ?code=', typed: 'typed in', stored: 'kept in this tab', 'signed in': 'held' }[c.from] ?? `from ${c.from}`)],
    c.user !== undefined && ['Signed in as', h('b', c.user || 'a user'), ' ', h('button.quiet', { type: 'button', onclick: signOut }, 'Sign out')],
    ['App', h('code', location.host)],
    ['Kept', c.keep ? 'in this tab’s sessionStorage, until the tab closes' : 'in memory, until the page is reloaded'],
    ['Other tabs', others],
    ['Locks', locks]),
  h('div.actions', forgetting, h('button', { type: 'button', onclick: lock }, icon('lock', 14), 'Lock now')));
}
/** End the session at the app, and drop it here whatever the app says. */
async function signOut() {
  await call('sign-out').catch(() => {});
  endSession();
  say('Signed out');
}

function askForget() {
  const dialog = open('Forget this credential', [h('p', 'The console drops the key from memory and storage, here and in every other tab of this console. It also erases drafts, the history of statements and the list of calls.')],
    [h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), h('button.primary', { type: 'button', onclick: () => { dialog.close(); forget(); say('Forgotten in all tabs'); } }, 'Forget everywhere')]);
}

function form(then) {
  const key = input({ type: 'password', name: 'key', class: 'mono', required: true, autocomplete: 'off' });
  const keep = h('input', { type: 'checkbox', name: 'keep' }), shared = h('input', { type: 'checkbox', name: 'share' });
  const minutes = select([['5', '5 minutes'], ['15', '15 minutes'], ['60', '1 hour']], String(idleMinutes()), { name: 'idle' });
  const problem = h('div');
  return h('div.connect-form', h('form', { onsubmit: (e) => {
    e.preventDefault();
    const value = key.value.trim();
    if (!value) return;
    if (/[^\x21-\x7e]/.test(value)) { fill(problem, notice('bad', 'A function key has only visible ASCII characters. Copy it again.')); say('This is not a function key'); return; }
    key.value = '';
    setIdleMinutes(Number(minutes.value));
    connect({ key: value }, { from: 'typed', keep: keep.checked, share: shared.checked });
    say('Connected');
    location.hash = then;
  } },
  h('div.fields', field('Function key', key, { wide: true, hint: h('span', 'Azure portal: the function app, ', h('b', 'App keys'), '. On your machine: ', h('code', 'AUTH=true make start'), ' prints one; without AUTH no key is needed.') }),
    field('Lock after', minutes)),
  h('label.check', keep, 'Keep it until this tab closes (else until the page is reloaded)'),
  h('label.check', shared, 'Share it with other tabs of this console'),
  problem,
  h('div.actions', h('button.primary', { type: 'submit' }, icon('plug', 14), 'Connect'))));
}

function reach(signal) {
  const host = h('div');
  const list = h('div');
  const line = h('p.dim', { role: 'status' });
  const button = taskButton('button', check, icon('eye', 14), 'What may this key do?');
  const shows = (f) => f.access === 'public' ? true : state.allowed.has(f.name) ? may(f.name) : (credential() || state.open) ? undefined : false;
  /** The list, made once: what a check finds changes its marks. */
  function make(all) {
    const marks = [];
    const item = (f) => {
      const mark = h('span'), word = h('span.sr'), li = h('li', mark, h('a', { href: to('functions', [f.name]) }, f.name), f.access !== 'function' && h('span.faint.small', f.access), word);
      marks.push(() => {
        const is = shows(f);
        li.classList.toggle('faint', !is);
        fill(mark, icon(is ? 'check' : is === undefined ? 'dash' : 'lock', 12));
        fill(word, is ? 'allowed' : is === undefined ? 'not checked' : 'not allowed');
      });
      return li;
    };
    const opens = h('div.opens', [...grouped([...all.values()])].map(([name, members]) => {
      const n = h('span.n');
      marks.push(() => fill(n, `${members.filter(shows).length}/${members.length}`));
      return h('section', h('h3', groupName(name), n), h('ul', members.map(item)));
    }));
    const draw = () => marks.forEach((change) => change());
    draw();
    watch((what) => (what === 'allowed' || what === 'credential') && draw(), signal);
    roving(opens);
    return opens;
  }
  async function check() {
    let all;
    try { all = await functions(); } catch { fill(line, 'The app cannot be reached. Try again.'); return; }
    const waiting = [...all.values()].filter((f) => f.access !== 'public');
    let done = 0, open = 0;
    const run = async () => {
      for (let f = waiting.shift(); f && !signal.aborted; f = waiting.shift()) {
        try { if (await probe(f, signal)) open++; } catch (error) { if (error.name === 'AbortError') return; fill(line, 'The app cannot be reached. Try again.'); waiting.length = 0; return; }
        fill(line, `${++done} functions checked, ${open} allowed`);
      }
    };
    await Promise.all([run(), run(), run(), run()]);
    if (signal.aborted) return;
    say(`${open} of ${done} functions are allowed`);
    tell('allowed');
  }
  load(list, functions, make, { signal, rows: 8 }).catch(() => fill(list, notice('bad', 'The list of functions could not be loaded. The app cannot be reached.')));
  host.classList.add('reach');
  fill(host, !credential() && !state.open ? notice('info', 'Without a credential only public functions work. The others are shown with a lock.') : null, h('div.actions', button, line), list);
  return host;
}
