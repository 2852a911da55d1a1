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
const line = (c) => [h('span.tape-status', { class: tone(c.status) }, word(c.status)), h('span.tape-method', c.method), h('span.tape-path.clip', c.path), h('span.faint.tape-ms', ms(c.ms))];

export function tape(host) {
  let open = false;
  const draw = () => {
    const [last] = state.calls;
    fill(host,
      open ? h('div.tape-list', { id: 'tape-list', tabindex: '0', role: 'region', 'aria-label': 'List of last calls' },
        h('table.flush', h('caption.sr', 'The last calls of this tab, newest first'),
          h('thead', h('tr', ['Status', 'Call', 'Function', 'Time', 'At', 'Request id'].map((t) => h('th', { scope: 'col', class: t === 'Time' ? 'num' : null }, t)), h('th', h('span.sr', 'Copy')))),
          h('tbody', state.calls.map((c) => h('tr', h('td', { class: tone(c.status) }, h('b', word(c.status))), h('td.mono.any', `${c.method} ${c.path}`), h('td', h('a', { href: to('functions', [c.name]) }, c.name)), h('td.num', ms(c.ms)), h('td', c.at.toISOString().slice(11, 19)), h('td.mono.faint', c.id), h('td.num', copyButton(() => asCurl(c), 'curl'))))))) : null,
      h('div.tape-line',
        last ? line(last) : h('span.faint', 'No call yet'),
        last ? copyButton(() => asCurl(last), 'Copy as curl') : null,
        h('button.quiet', { type: 'button', 'aria-expanded': String(open), 'aria-controls': open ? 'tape-list' : null, onclick: () => { open = !open; draw(); host.querySelector('.tape-line > button:last-child').focus(); } },
          icon(open ? 'down' : 'up', 12), `${state.calls.length} ${state.calls.length === 1 ? 'call' : 'calls'}`)));
    host.dataset.open = String(open);
  };
  watch((what) => { if (what === 'calls' && !(open && host.contains(document.activeElement))) draw(); });
  draw();
}
