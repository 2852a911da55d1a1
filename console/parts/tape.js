// The tape: the last call always in sight, the last hundred one press away, each to be copied as curl.
import { h, fill } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { state, watch } from '../lib/state.js';
import { curl } from '../lib/api.js';
import { functions } from '../lib/functions.js';
import { to } from '../lib/router.js';
import { ms } from '../lib/format.js';
import { copyButton } from './bits.js';

const tone = (s) => !s || s >= 500 ? 'bad' : s >= 400 ? 'warn' : 'good';
const word = (s) => s || 'offline';
/** The snippet needs the function's route. */
const asCurl = async (c) => { await functions(); return curl(c); };

/** Keep `body` at one row per call, newest first. A row is made once; one with the focus stays until the focus leaves it. */
export function callRows(body, calls, row) {
  const known = new Set([...body.rows].map((tr) => tr.call));
  for (const tr of [...body.rows]) if (!calls.includes(tr.call) && !tr.contains(document.activeElement)) tr.remove();
  body.prepend(...calls.filter((c) => !known.has(c)).map((c) => Object.assign(row(c), { call: c })));
}

export function tape(host) {
  let open = false;
  const status = h('span'), method = h('span.tape-method'), path = h('span.tape-path.clip'), time = h('span.faint.tape-ms');
  const copy = copyButton(() => asCurl(state.calls[0]), 'Copy as curl');
  const body = h('tbody');
  const list = h('div.tape-list', { id: 'tape-list', tabindex: '0', role: 'region', 'aria-label': 'List of last calls', hidden: true },
    h('table.flush', h('caption.sr', 'The last calls of this tab, newest first'),
      h('thead', h('tr', ['Status', 'Call', 'Function', 'Time', 'At', 'Request id'].map((t) => h('th', { scope: 'col', class: t === 'Time' ? 'num' : null }, t)), h('th', h('span.sr', 'Copy')))), body));
  const toggle = h('button.quiet', { type: 'button', 'aria-controls': 'tape-list', onclick: () => { open = !open; draw(); } });
  const draw = () => {
    const [last] = state.calls;
    status.className = last ? `tape-status ${tone(last.status)}` : 'faint';
    fill(status, last ? word(last.status) : 'No call yet');
    fill(method, last?.method);
    fill(path, last?.path);
    fill(time, last && ms(last.ms));
    copy.hidden = !last;
    toggle.setAttribute('aria-expanded', String(open));
    fill(toggle, icon(open ? 'down' : 'up', 12), `${state.calls.length} ${state.calls.length === 1 ? 'call' : 'calls'}`);
    list.hidden = !open;
    if (open) callRows(body, state.calls, (c) => h('tr', h('td', { class: tone(c.status) }, h('b', word(c.status))), h('td.mono.any', `${c.method} ${c.path}`), h('td', h('a', { href: to('functions', [c.name]) }, c.name)), h('td.num', ms(c.ms)), h('td', c.at.toISOString().slice(11, 19)), h('td.mono.faint', c.id), h('td.num', copyButton(() => asCurl(c), 'curl'))));
    host.dataset.open = String(open);
  };
  fill(host, list, h('div.tape-line', status, method, path, time, copy, toggle));
  watch((what) => what === 'calls' && draw());
  draw();
}
