// The shell: navigation, credential, palette, tape of calls; mounts one view at a time.
import { h, fill, $ } from './lib/dom.js';
import { icon, mark } from './lib/icons.js';
import { parse, to, go } from './lib/router.js';
import { state, watch } from './lib/state.js';
import { call } from './lib/api.js';
import { known, may } from './lib/functions.js';
import { credential, isLocked, liftFromAddress, locksIn, sessionEnded, share, start } from './lib/credential.js';
import { VIEWS, OTHER, load, view as viewById } from './views.js';
import { segmented, say } from './parts/bits.js';
import { openPalette } from './parts/palette.js';
import { tape } from './parts/tape.js';
import { problem } from './parts/load.js';
import home from './views/home.js';

const local = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(location.hostname);
document.documentElement.dataset.env = local ? 'local' : 'production';

// The side and the top are made once, and drawn by changing what changed: an open popover and the focus stay.
// --- side ---------------------------------------------------------------------------------------------------------
/** @type {{view: any, node: HTMLElement, lock: HTMLElement}[]} */
const links = [];
function makeSide() {
  const link = (v) => {
    const lock = h('span.nav-lock', { hidden: true }, icon('lock', 12), h('span.sr', '(not allowed by this credential)'));
    const node = h('a.nav', { href: to(v.id) }, icon(v.icon), h('span', v.name), lock, h('kbd', { 'aria-hidden': 'true' }, v.key));
    links.push({ view: v, node, lock });
    return h('li', node);
  };
  const groups = [];
  for (const v of VIEWS) v.group ? groups.push([v.group, []]) : (groups.length || groups.push([null, []]), groups.at(-1)[1].push(v));
  fill($('#side'),
    h('div.brand', mark(20), h('span', 'Strongroom'), h('button.quiet.icononly.side-close', { type: 'button', 'aria-label': 'Close the menu', onclick: closeMenu }, icon('cross'))),
    h('div.env', h('b', h('span.sr', 'Environment: '), local ? 'local' : 'deployed'), h('span.clip', { title: location.host }, location.host)),
    groups.map(([name, items]) => h('div.group', name && h('h2', name), h('ul', items.map(link)))),
    h('div.side-foot',
      h('button.quiet', { type: 'button', popovertarget: 'settings' }, icon('sun'), 'Appearance'),
      h('div#settings', { popover: 'auto', class: 'menu' },
        segmented('Colours', [['', 'System'], ['light', 'Light'], ['dark', 'Dark']], document.documentElement.dataset.scheme ?? '', paint, { hideLegend: false }),
        segmented('Letters as shortcuts: g, then one', [['', 'On'], ['off', 'Off']], sessionStorage.getItem('console.letters') ?? '', (v) => sessionStorage.setItem('console.letters', v), { hideLegend: false }))));
}
function drawSide() {
  const here = parse().view;
  for (const { view, node, lock } of links) {
    const shut = Boolean(view.functions?.length) && view.functions.every((name) => !may(name));
    node.classList.toggle('shut', shut);
    lock.hidden = !shut;
    if (view.id === here) node.setAttribute('aria-current', 'page'); else node.removeAttribute('aria-current');
  }
}
function paint(scheme) {
  if (scheme) document.documentElement.dataset.scheme = scheme; else delete document.documentElement.dataset.scheme;
  // Not a secret, and for this tab alone.
  if (scheme) sessionStorage.setItem('console.scheme', scheme); else sessionStorage.removeItem('console.scheme');
}
const openMenu = () => { $('#shell').dataset.menu = 'open'; $('#menu').setAttribute('aria-expanded', 'true'); $('#side a, #side button').focus(); };
function closeMenu() { if ($('#shell').dataset.menu) { delete $('#shell').dataset.menu; $('#menu')?.setAttribute('aria-expanded', 'false'); $('#menu')?.focus(); } }

// --- top ----------------------------------------------------------------------------------------------------------
const crumbs = h('ol'), badge = h('a.credential', { href: to('connect') });
const makeTop = () => fill($('#top'),
  h('button.quiet.icononly#menu', { type: 'button', 'aria-label': 'Menu', 'aria-expanded': 'false', onclick: openMenu }, icon('menu')),
  h('nav.crumbs', { 'aria-label': 'You are here' }, crumbs),
  h('button.find', { type: 'button', onclick: openPalette, 'aria-keyshortcuts': 'Control+K' }, icon('search', 14), h('span', 'Find a function or an object'), h('kbd', 'Ctrl K')),
  badge);
function drawTop() {
  const { view, path } = parse();
  const c = credential();
  const object = path[0];
  const name = viewById(view)?.name ?? 'Not found';
  const all = known();
  const open = all && [...all.keys()].filter(may).length;
  fill(crumbs, h('li', object ? h('a', { href: to(view) }, name) : h('span', { 'aria-current': 'page' }, name)), object && h('li', icon('chevron', 12), h('span.clip', { 'aria-current': 'page' }, object)));
  badge.classList.toggle('none', !c && !state.open);
  fill(badge, c ? [icon('key', 14), h('b', h('span.sr', `Connected by a ${c.kind}: `), c.name), all && state.allowed.size > 10 && h('span.faint', `${open}/${all.size}`, h('span.sr', ' functions open')),
    h('span.faint.lock-in', icon('clock', 12), `${locksIn()} min`, h('span.sr', ' until it locks'))]
    : state.open ? [icon('plug', 14), h('b', 'No key needed')]
      : [icon(isLocked() ? 'lock' : 'plug', 14), h('b', isLocked() ? 'Locked' : 'Not connected')]);
}

// --- views ----------------------------------------------------------------------------------------------------------
let current;
async function mount() {
  const { view, path, query } = parse();
  current?.abort(new DOMException('The view was left', 'AbortError'));
  current = new AbortController();
  const { signal } = current;
  const entry = viewById(view);
  closeMenu();
  for (const dialog of document.querySelectorAll('dialog')) dialog.close(); // What a dialog shows belongs to the view that is left.
  drawSide(); drawTop();
  document.title = `${[path[0], entry?.name ?? 'Not found'].filter(Boolean).join(' · ')} – Strongroom`;
  const root = h('div.view', { class: `view-${entry?.id ?? 'none'}` });
  const main = $('#main');
  let show;
  if (!entry) show = lost;
  else if (entry.id === 'home') show = home;
  else {
    try { ({ default: show } = await load(entry.id)); }
    catch (error) { show = (host) => host.append(h('div.sheet', h('h1', { tabindex: '-1' }, entry.name), problem({ status: 0, title: 'This view could not be loaded', detail: 'The app cannot be reached, or was updated meanwhile. Reload the page.', code: 'offline', reason: String(error) }, () => location.reload()))); }
  }
  if (signal.aborted) return;
  const first = main.dataset.ready === undefined;
  show(root, { path, query, signal, call: (name, fields, options = {}) => call(name, fields, { signal, ...options }), credential: credential() });
  fill(main, root);
  main.dataset.ready = location.hash; // the address that is shown; the view may have erased a ticket from it
  main.scrollTop = 0;
  if (!first) (root.querySelector('h1') ?? main).focus({ preventScroll: true });
}
const lost = (root) => root.append(h('div.sheet', h('h1', { tabindex: '-1' }, 'No such page'), h('p.dim', 'The address names no view of this console. ', h('a', { href: to('home') }, 'Home'))));

// --- keyboard -------------------------------------------------------------------------------------------------------
let waiting = false; // after g, for the letter of a view; without a limit of time
addEventListener('keydown', (e) => {
  const target = /** @type {Element} */ (e.target);
  const second = waiting;
  waiting = false;
  if ((e.ctrlKey || e.metaKey) && !e.shiftKey && !e.altKey && e.key.toLowerCase() === 'k') { e.preventDefault(); return openPalette(); }
  if (e.key === 'Escape') closeMenu();
  if (sessionStorage.getItem('console.letters') === 'off' || e.ctrlKey || e.metaKey || e.altKey || target.closest?.('input, textarea, select, dialog, [contenteditable]')) return;
  waiting = e.key === 'g';
  const wanted = second && [...VIEWS, ...OTHER].find((v) => v.key === e.key);
  if (wanted) go(wanted.id);
});
addEventListener('pointerdown', () => { waiting = false; });
$('#skip').addEventListener('click', (e) => { e.preventDefault(); $('#main').focus(); });
$('#shell').addEventListener('click', (e) => { if (e.target === e.currentTarget) closeMenu(); });
addEventListener('hashchange', () => { liftFromAddress(); mount(); }); // A link with a key may open in a tab that was here already.

/** Who the credential is, without the tokens, which change. */
const identity = () => { const c = credential(); return c && `${c.key} ${c.sessionId ?? ''}`; };
let before = null;
watch((what) => {
  if (what === 'calls') return;
  if (what === 'clock') { const left = $('.lock-in'); if (left) left.replaceChildren(icon('clock', 12), `${locksIn()} min`, h('span.sr', ' until it locks')); return; }
  drawSide(); drawTop();
  if (what !== 'credential') return;
  const now = identity();
  // What a view shows belongs to the credential that fetched it: without one nothing of it stays.
  const reason = before && before !== now && (isLocked() ? 'Locked after a time without input' : sessionEnded() && 'The session has ended');
  if (reason) {
    say(reason);
    if (parse().view !== 'connect') history.pushState(null, '', to('connect', [], { back: location.hash.slice(1) })); // unlike `go`, it waits for no event
    mount();
  } else if (before !== now) mount();
  before = now;
});

/** Another tab of the console requests the credential: the person decides, once. */
function onask() {
  const host = $('#ask');
  if (host.childElementCount) return;
  const close = () => { host.replaceChildren(); };
  fill(host, h('div.notice', { data: { kind: 'info' }, role: 'group', 'aria-label': 'Another tab' }, icon('plug', 16), h('div', h('p', 'Another tab of this console requests your credential.'),
    h('div.actions', h('button.primary', { type: 'button', onclick: () => { share(); close(); say('Shared with your other tabs'); } }, 'Share with my tabs'), h('button', { type: 'button', onclick: close }, 'Not now')))));
  say('Another tab of this console requests your credential');
}

const scheme = sessionStorage.getItem('console.scheme');
if (scheme === 'light' || scheme === 'dark') document.documentElement.dataset.scheme = scheme;
// On a developer's machine the host may enforce no keys; the page's own response says so.
const [navigation] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType('navigation'));
state.open = Boolean(navigation?.serverTiming?.some((t) => t.name === 'open'));
start({ onask });
before = identity();
makeSide(); makeTop();
tape($('#tape'));
mount();
