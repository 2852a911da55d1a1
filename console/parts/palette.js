// Ctrl+K: every view, function and object of this app, by name.
import { h, fill, uid } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { to } from '../lib/router.js';
import { functions, may } from '../lib/functions.js';
import { KINDS, objects, reachable } from '../lib/objects.js';
import { OTHER, VIEWS } from '../views.js';
import { show } from './dialog.js';

const views = () => [...VIEWS, ...OTHER].filter((v) => v.id).map((v) => ({ kind: 'View', mark: v.icon, name: v.name, note: '', href: to(v.id), hint: `g ${v.key}` }));
const ITEMS = {
  keys: (k) => [{ kind: 'Key', mark: 'key', name: k.name, note: k.type, href: to('functions', ['get-key'], { name: k.name }) }],
  databases: (d) => (d.tables ?? []).map((t) => ({ kind: 'Table', mark: 'table', name: `${d.name}.${t.name}`, note: `${t.columns?.length ?? 0} columns`, href: to('sql', [], { db: d.name, table: t.name }) })),
  containers: (c) => [{ kind: 'Container', mark: 'box', name: c.name ?? c, note: '', href: to('blobs', [c.name ?? c]) }],
  queries: (q) => [{ kind: 'Query', mark: 'table', name: q.name, note: q.description ?? '', href: to('sql', [], { q: q.name }) }],
  models: (m) => [{ kind: 'Model', mark: 'model', name: m.name, note: m.description ?? '', href: to('functions', ['get-model'], { name: m.name }) }],
  users: (u) => [{ kind: 'User', mark: 'person', name: u.user, note: '', href: to('functions', ['get-user'], { user_id: u.user_id }) }],
};
/** Letters in order, better where they begin a word. */
function score(text, wanted) {
  let at = -1, total = 0;
  const low = text.toLowerCase();
  for (const letter of wanted) {
    const next = low.indexOf(letter, at + 1);
    if (next < 0) return -1;
    total += next === at + 1 ? 3 : /[\s.\-/&]/.test(low[next - 1] ?? ' ') ? 2 : 0;
    at = next;
  }
  return total - low.length / 50;
}

export function openPalette() {
  if (document.querySelector('dialog.palette')) return;
  let all = views();
  const list = h('ul', { role: 'listbox', id: uid('list'), 'aria-label': 'Matches' });
  const box = h('input', { type: 'text', role: 'combobox', 'aria-label': 'Find a view, a function or an object', 'aria-controls': list.id, 'aria-expanded': 'true', 'aria-autocomplete': 'list', autocomplete: 'off', spellcheck: 'false', placeholder: 'Find a view, a function, a key, a table …' });
  let shown = [], at = 0;
  let chosen = null; // the item that the person moved to: it stays marked when more items arrive
  const dialog = h('dialog.palette', { 'aria-label': 'Find anything' }, h('div.palette-box', icon('search'), box, h('kbd', 'Esc')), list,
    h('footer.faint.small', h('span', h('kbd', '↑'), ' ', h('kbd', '↓'), ' choose'), h('span', h('kbd', '↵'), ' open'), h('span', icon('lock', 12), ' not allowed by this credential')));
  const pick = (i) => { const item = shown[i]; if (item) { dialog.close(); location.hash = item.href; } };
  const mark = (i) => {
    at = Math.max(0, Math.min(shown.length - 1, i));
    [...list.children].forEach((li, n) => li.setAttribute('aria-selected', String(n === at)));
    const li = list.children[at];
    if (li?.id) { box.setAttribute('aria-activedescendant', li.id); li.scrollIntoView({ block: 'nearest' }); } else box.removeAttribute('aria-activedescendant');
  };
  const draw = () => {
    const wanted = box.value.toLowerCase().replace(/\s+/g, '');
    shown = wanted ? all.map((i) => /** @type {[number, any]} */ ([score(i.name, wanted), i])).filter(([n]) => n >= 0).sort((a, b) => b[0] - a[0]).map(([, i]) => i).slice(0, 40) : all.slice(0, 14);
    fill(list, shown.map((i, n) => h('li', { role: 'option', id: `o-${n}`, class: i.shut ? 'shut' : null, onclick: () => pick(n), onmousemove: () => { if (n !== at) { mark(n); chosen = i; } } },
      icon(i.mark, 14), h('span.palette-name', { class: i.kind === 'View' ? null : 'mono' }, i.name), h('span.palette-note.faint.clip', i.note), h('span.faint.small', i.hint ?? i.kind))),
      shown.length ? null : h('li', { role: 'option', 'aria-disabled': 'true', 'aria-selected': 'false' }, 'No match.'));
    mark(0);
  };
  const add = (items) => { all = [...all, ...items]; if (dialog.open) { draw(); if (chosen) mark(shown.indexOf(chosen)); } };
  box.addEventListener('input', () => { chosen = null; draw(); });
  box.addEventListener('keydown', (e) => {
    if (e.key === 'ArrowDown' || e.key === 'ArrowUp') { mark(at + (e.key === 'ArrowDown' ? 1 : -1)); chosen = shown[at]; }
    else if (e.key === 'Enter') pick(at); else return;
    e.preventDefault();
  });
  dialog.addEventListener('click', (e) => { if (e.target === dialog) dialog.close(); });
  show(dialog);
  draw();
  functions().then((found) => add([...found.values()].map((f) => ({ kind: 'Function', mark: may(f.name) ? 'explore' : 'lock', name: f.name, note: f.summary, href: to('functions', [f.name]), shut: !may(f.name) }))), () => {});
  for (const kind of KINDS) if (reachable(kind)) objects(kind).then(({ items }) => add(items.flatMap(ITEMS[kind])), () => {});
}
