// Small pieces that every view composes from.
import { h, append, uid, fill } from '../lib/dom.js';
import { icon } from '../lib/icons.js';

/** Tell the live region, once, politely. */
export function say(text) {
  const region = document.getElementById('live');
  region.textContent = '';
  requestAnimationFrame(() => { region.textContent = text; });
}

export const head = (title, lead, ...actions) => h('header.head',
  h('div.head-words', h('h1', { tabindex: '-1' }, title), lead && h('p.dim', lead)),
  actions.flat().length ? h('div.actions', actions) : null);

/** A section of a sheet: its name is in the margin column. */
export function band(name, note, ...body) {
  const id = uid('band');
  return h('section.band', { 'aria-labelledby': id },
    h('div.band-name', h('h2', { id }, name), note && h('p.faint.small', note)), h('div.band-body', body));
}

export const chip = (text, kind) => h('span.chip', { data: kind ? { kind } : {} }, text);

const MARKS = { ok: 'check', good: 'check', enabled: 'check', done: 'check', degraded: 'warn', paused: 'clock', warn: 'warn', negative: 'dash',
  down: 'cross', bad: 'cross', denied: 'lock', revoked: 'cross', disabled: 'dash', pending: 'clock', open: 'clock', none: 'dash' };
const TONES = { ok: 'good', enabled: 'good', done: 'good', degraded: 'warn', warn: 'warn', open: 'warn', down: 'bad', bad: 'bad', revoked: 'bad', denied: 'warn' };
/** A word with a mark; colour only repeats what both say. */
export const status = (kind, text = kind) => h('span.status', { class: TONES[kind] }, icon(MARKS[kind] ?? 'dash', 14), text);

export const kv = (...pairs) => h('dl.kv', pairs.filter(Boolean).map(([k, ...v]) => h('div', h('dt', k), h('dd', v))));

/** @param {any} label @param {any} control @param {{hint?: any, error?: any, wide?: any, mono?: boolean}} [options] */
export function field(label, control, { hint, error, wide, mono } = {}) {
  const id = control.id || (control.id = uid('f'));
  const notes = [];
  if (hint) { const n = h('span.hint', { id: uid('hint') }, hint); notes.push(n); }
  if (error) { const n = h('span.hint.bad', { id: uid('err') }, icon('warn', 12), error); notes.push(n); control.setAttribute('aria-invalid', 'true'); }
  if (notes.length) control.setAttribute('aria-describedby', notes.map((n) => n.id).join(' '));
  if (mono) control.classList.add('mono');
  return h('div.field', { class: wide && 'wide' }, h('label', { for: id }, label), control, notes);
}
export const input = (props) => h('input', { autocomplete: 'off', spellcheck: 'false', ...props });
export const select = (options, value, props = {}) => h('select', props, options.map((o) => {
  const [v, text] = Array.isArray(o) ? o : [o, o];
  return h('option', { value: v, selected: v === value }, text);
}));

/** Give a select other options, if they are others: an open list of options stays open. */
export function setOptions(box, options, value) {
  const made = select(options, value);
  if (JSON.stringify([...made.options].map((o) => [o.value, o.text])) !== JSON.stringify([...box.options].map((o) => [o.value, o.text]))) fill(box, [...made.options]);
  box.value = value;
}

/** One of a few: radio buttons that look like a switch. */
export function segmented(legend, options, value, onchange, { hideLegend = true } = {}) {
  const name = uid('seg');
  return h('fieldset.seg', h('legend', { class: hideLegend && 'sr' }, legend), options.map(([v, text, props = {}]) =>
    h('label', { data: { value: v } }, h('input', { type: 'radio', name, value: v, checked: v === value, onchange: () => onchange(v), ...props }), h('span', text))));
}

/**
 * A button for a task that takes time. It ignores presses until the task ends. It is not `disabled` meanwhile, because that
 * takes the focus away.
 */
export function taskButton(spec, task, ...words) {
  const button = h(spec, { type: 'button', onclick: async () => {
    if (button.ariaDisabled === 'true') return;
    button.ariaDisabled = 'true';
    try { await task(); } finally { button.ariaDisabled = null; }
  } }, words);
  return button;
}

/** Choose the value of a `segmented`. */
export const setSegment = (set, value) => set.querySelectorAll('input').forEach((radio) => { radio.checked = radio.value === value; });

export function copyButton(text, label = 'Copy') {
  const word = h('span', label);
  const button = h('button.quiet', { type: 'button', onclick: async () => {
    try { await navigator.clipboard.writeText(typeof text === 'function' ? await text() : text); fill(word, 'Copied'); say('Copied to the clipboard'); }
    catch { fill(word, 'Press Ctrl+C'); }
    setTimeout(() => fill(word, label), 1600);
  } }, icon('copy', 14), word);
  return button;
}

/** Exact text with a copy button: identifiers, signatures, hashes. */
export const exact = (text, { label = 'Copy', clip = false } = {}) => h('div.exact', h('code', { class: clip ? 'clip' : 'any', title: clip ? text : null }, text), copyButton(text, label));

const JSON_TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null|-?\d[\d.eE+-]*)\b/g;
/** JSON in three inks; anything else as it is. */
function inked(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  const out = [];
  let at = 0;
  for (const m of text.matchAll(JSON_TOKEN)) {
    out.push(text.slice(at, m.index), m[2] ? [h('span.k', m[1]), m[2]] : h(m[1] ? 'span.str' : 'span.lit', m[1] ?? m[3]));
    at = m.index + m[0].length;
  }
  return [out, text.slice(at)];
}
export const code = (text, label) => h('figure.code', label && h('figcaption', label, copyButton(text)), h('pre', { tabindex: '0', role: 'group', 'aria-label': label || 'Code' }, inked(text)));

const VERDICTS = { valid: ['check', 'Valid'], holds: ['check', 'Matches'], matches: ['check', 'Matches'], included: ['check', 'Included'], mismatch: ['cross', 'Does not match'], invalid: ['cross', 'Not valid'], refused: ['cross', 'Refused'], unknown: ['dash', 'Cannot tell'], pending: ['clock', 'Not checked yet'] };
/** A verdict: a double rule below it marks a proof, a single one a disproof, dashes an unknown. */
export function verdict(kind, by, because, details) {
  const [mark, word] = VERDICTS[kind];
  return h('div.verdict', { data: { verdict: kind === 'holds' || kind === 'included' ? 'valid' : kind === 'mismatch' ? 'invalid' : kind } }, h('p.verdict-by', by), h('p.verdict-word', icon(mark, 20), word), h('p.verdict-because', because), details);
}
/** Two verdicts as an equation. */
export function equation(left, right, equal) {
  return h('div.equation', left, h('div.sign', { data: { equal: String(equal) } }, icon(equal === false ? 'unequal' : equal == null ? 'dash' : 'equal', 20),
    h('span.sr', equal == null ? 'is not compared with' : equal === false ? 'disagrees with' : equal === true ? 'agrees with' : `agrees ${equal} with`)), right);
}

/**
 * A secret: hidden behind the envelope pattern, shown for 30 s, never put in an attribute.
 * @param {string} value @param {{signal?: AbortSignal, label?: string}} [options]
 */
export function secret(value, { signal, label = 'secret' } = {}) {
  const text = h('code.secret-text', { 'aria-hidden': 'true' }, '\u2007'.repeat(32));
  const left = h('span.secret-left');
  const box = h('div.secret', { data: { shown: 'false' } }, text, left);
  let timer;
  const word = h('span', 'Show');
  const hide = () => { clearTimeout(timer); box.dataset.shown = 'false'; fill(text, '\u2007'.repeat(32)); text.setAttribute('aria-hidden', 'true'); fill(word, 'Show'); };
  const button = h('button.quiet', { type: 'button', onclick: () => {
    if (box.dataset.shown === 'true') return hide();
    box.dataset.shown = 'true'; fill(text, value); text.removeAttribute('aria-hidden'); fill(word, 'Hide'); say(`The ${label} is shown for 30 seconds`);
    timer = setTimeout(hide, 30000);
  } }, icon('eye', 14), h('span', word, h('span.sr', ` the ${label}`)));
  signal?.addEventListener('abort', hide);
  document.addEventListener('visibilitychange', () => document.hidden && hide(), { signal });
  return h('div.exact', box, button, copyButton(() => value));
}

export const tabs = (label, items) => h('nav.tabs', { 'aria-label': label }, items.map(([text, href, on, n]) =>
  h('a', { href, 'aria-current': on ? 'page' : null }, text, n != null && h('span.n', n))));

/** A long list is one stop for Tab; arrows, Home and End move within it. Call again after the list was drawn anew. */
export function roving(list, selector = 'a') {
  const items = () => [...list.querySelectorAll(selector)];
  const keep = (chosen) => items().forEach((x) => x.setAttribute('tabindex', x === chosen ? '0' : '-1'));
  keep(list.querySelector(`${selector}[aria-current]`) ?? items()[0]);
  list.onkeydown = (e) => {
    const all = items(), i = all.indexOf(e.target);
    const next = { ArrowDown: all[i + 1], ArrowUp: all[i - 1], Home: all[0], End: all.at(-1) }[e.key];
    if (i < 0 || !next) return;
    e.preventDefault();
    keep(next);
    next.focus();
  };
}

/** A strip for one fact that must be read before what follows. */
export const notice = (kind, ...words) => h('div.notice', { data: { kind } }, icon(kind === 'bad' || kind === 'warn' ? 'warn' : kind === 'good' ? 'check' : 'dash', 16), h('div', words));

export const meter = (share, text, kind) => h('div.meter', { data: kind ? { kind } : {} }, h('i', { style: { '--share': share } }), text && h('span', text));

export const disabledFor = (allowed, name) => allowed ? {} : { 'aria-disabled': 'true', title: `This credential may not call ${name}` };
export { append };
