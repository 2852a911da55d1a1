// SQL: tree, editor, parameters, result. It reads unless the person switches; exactly what is visible or selected runs.
import { h, fill } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { replace, to } from '../lib/router.js';
import { ms, count, bytes } from '../lib/format.js';
import { Problem } from '../lib/api.js';
import { may } from '../lib/functions.js';
import { openSigned, saveFile } from '../lib/files.js';
import { field, input, select, setOptions, segmented, setSegment, taskButton, say, kv, exact, copyButton, notice, chip } from '../parts/bits.js';
import { load, blank, problem } from '../parts/load.js';
import { resultTable, cell, parseExact, ExactNumber, jsonText } from '../parts/table.js';
import { editor, parametersOf, quoteName, suggest } from '../parts/editor.js';
import { chart } from '../parts/chart.js';
import { open, confirm } from '../parts/dialog.js';

const PAGE = 1000, MOST = 10000; // rows of a page, and rows that the page shows at all
const MOST_IN_A_FILE = 100000; // rows that this browser collects for a file; export-sql writes any number into a container
const READS_AT_ONCE = 16 * 1024 * 1024; // bytes of data files that a query may read without another press
const NUMERIC = ['integer', 'real', 'decimal'];
const STORED = 'strongroom.sql'; // drafts and history: statements alone, in this tab. Forget erases all of `strongroom.`

const empty = () => ({ drafts: {}, history: [] });
function stored() { try { return { ...empty(), ...JSON.parse(sessionStorage.getItem(STORED) ?? '{}') }; } catch { return empty(); } }
function store(change) {
  const all = stored();
  change(all);
  all.history.length = Math.min(all.history.length, 100);
  try { sessionStorage.setItem(STORED, JSON.stringify(all)); } catch { /* full: the draft stays in the editor */ }
}

/** How the value of a saved query's parameter is sent: dates, times, decimals and JSON are texts. */
const SAVED_AS = { integer: 'number', real: 'number', boolean: 'boolean', bytes: 'bytes' };
/** A value of a parameter as JSON. Throws SyntaxError with a sentence for the person. */
export function bound(name, text, type) {
  const number = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text);
  switch (type) {
    case 'null': return null;
    case 'text': return text;
    case 'boolean': if (/^(true|false)$/i.test(text)) return text.toLowerCase() === 'true'; throw new SyntaxError(`${name} is a boolean: write true or false.`);
    case 'bytes': if (/^[\w+/-]*={0,2}$/.test(text)) return { base64: text }; throw new SyntaxError(`${name} is bytes: write base64.`);
    case 'number': if (number) return exactNumber(name, text); throw new SyntaxError(`${name} is a number: write digits, such as -12.5.`);
    default: return number && text.length <= 15 ? Number(text) : text;
  }
}
function exactNumber(name, text) {
  if (String(Number(text)) === text || !/^-?\d+$/.test(text)) return Number(text);
  const { rawJSON } = /** @type {any} */ (JSON);
  if (!rawJSON) throw new SyntaxError(`This browser cannot send the number of ${name} exactly. Choose the type text.`);
  return rawJSON(text);
}
/** The place that the database named in its message, counted in characters from 1; 0 without one. */
const placeOf = (body) => body.code === 'sql-error' ? Number(/ at character (\d+)\)/.exec(body.detail ?? '')?.[1] ?? 0) : 0;

/** @param {HTMLElement} root @param {ViewContext} context */
export default function show(root, { query, signal, call }) {
  const wanted = { db: query.get('db'), sql: query.get('sql'), table: query.get('table'), saved: query.get('q') };
  let db = wanted.db ?? 'main', mode = 'read', tab = 'rows', seconds = 5;
  /** @type {{name: string, engine: string, writable: boolean, available: boolean, tables: any[]}[]} */
  let databases = [];
  /** @type {any[]} */
  let saved = [];
  let last = null;       // the result on the page, with the statement and the values that it came from
  let table = null;      // its rows on the page
  let runs = 0;
  let running = null;    // an AbortController while a statement runs
  let writing = false;   // it is a confirmed write
  const engine = () => databases.find((d) => d.name === db);
  const values = new Map();

  const params = h('div.params');
  const results = h('div.results'), bar = h('div.runbar'), strips = h('div'), tabsHost = h('div.result-tabs');
  const ed = editor({
    value: wanted.sql ?? (wanted.table ? firstRows(wanted.table) : stored().drafts[db] ?? ''), label: 'Statement', signal, onrun: () => run(),
    oninput: (text) => { store((s) => { s.drafts[db] = text; }); drawParams(); drawFacts(); },
    complete: (before, always) => suggest(before, engine()?.tables ?? [], engine()?.engine, { always }),
  });
  /** Put a text into the editor, unless the person has changed the one that the view put there. */
  let prefilled = ed.area.value;
  const untouched = () => ed.area.value === prefilled;
  const prefill = (text) => { if (untouched()) { prefilled = text; ed.set(text); } };
  function firstRows(name) { return `select *\nfrom ${quoteName(name, engine()?.engine)}\nlimit 100`; }

  // --- parameters ------------------------------------------------------------------------------------------------------------
  function drawParams() {
    const names = parametersOf(ed.area.value);
    if (params.dataset.names === JSON.stringify(names)) return;
    params.dataset.names = JSON.stringify(names);
    params.hidden = !names.length;
    const declared = saved.find((q) => q.name === wanted.saved)?.parameters ?? [];
    fill(params, names.map((n) => {
      const own = declared.find((p) => p.name === n);
      if (!values.has(n)) values.set(n, { text: String(own?.default ?? ''), type: own ? SAVED_AS[own.type] ?? 'text' : 'auto' });
      const v = values.get(n), label = /^\d+$/.test(n) ? `?${n}` : `:${n}`;
      const box = input({ value: v.text, class: 'mono', disabled: v.type === 'null', oninput: (e) => { v.text = e.target.value; } });
      return h('div.param', field(label, box), select([['auto', 'auto'], ['text', 'text'], ['number', 'number'], ['boolean', 'boolean'], ['bytes', 'bytes'], ['null', 'NULL']], v.type,
        { 'aria-label': `Type of ${label}`, title: 'auto: digits are a number, all else is text', onchange: (e) => { v.type = e.target.value; box.disabled = v.type === 'null'; } }));
    }), names.length ? h('p.faint.small', 'Bound by the database, never pasted into the text. Links, drafts and history leave them out.') : null);
  }
  function boundParams(sql) {
    const names = parametersOf(sql);
    if (!names.length) return undefined;
    const get = (n) => { const v = values.get(n) ?? { text: '', type: 'auto' }; return bound(/^\d+$/.test(n) ? `?${n}` : `:${n}`, v.text, v.type); };
    return /^\d+$/.test(names[0]) ? names.map(get) : Object.fromEntries(names.map((n) => [n, get(n)]));
  }

  // --- running -----------------------------------------------------------------------------------------------------------------
  /** Call, and keep every digit of the rows. */
  async function exactCall(name, fields, own) {
    const response = await call(name, fields, { signal: own, raw: true });
    let text;
    try { text = await response.text(); } catch (error) {
      own.throwIfAborted();
      throw new Problem({ status: 0, code: 'offline', title: 'The response ended early', detail: 'The connection was lost while the rows arrived. Run the statement again.' });
    }
    // Beside the rows a number is a number, also where the response writes 1.0.
    return Object.fromEntries(Object.entries(parseExact(text)).map(([name, value]) => [name, value instanceof ExactNumber ? Number(value) : value]));
  }
  const readFields = (what, more) => ({ sql: what.sql, params: what.params, database: what.database, timeout_ms: what.seconds * 1000, big_integers: 'string', ...more });

  function begin({ writes = false } = {}) {
    writing = writes;
    running?.abort(new DOMException('A newer run began', 'AbortError'));
    running = new AbortController();
    const mine = ++runs, controller = running;
    const own = AbortSignal.any([signal, controller.signal]);
    return { own, live: () => mine === runs && !own.aborted, end: () => { if (mine === runs) { running = null; drawBar(); drawTail(); } } };
  }
  function cancel() {
    if (!running) return;
    runs++;
    running.abort(new DOMException('Cancelled', 'AbortError'));
    running = null;
    last = table = null;
    closeInspector();
    results.removeAttribute('aria-busy');
    fill(results, h('div.pad', writing ? notice('warn', h('b', 'This page no longer waits. '), 'Whether the statement was written is not known: look before you run it again.')
      : blank('stop', 'Cancelled', `This page no longer waits, and shows nothing of this run. The database stops a statement by itself at its time limit, ${seconds} s.`)));
    drawBar(); drawTabs();
    say('Cancelled');
    ed.area.focus();
  }
  /** What would run now: the text or the selection, its values and its database, taken once. */
  function taken() {
    const { sql, from } = ed.selection();
    if (!sql.trim()) { fill(results, h('div.pad', blank('play', 'Nothing to run', 'Write a statement first.'))); return null; }
    try { return { sql, from, params: boundParams(sql), database: db, seconds, started: new Date().toISOString() }; }
    catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      fill(results, h('div.pad', notice('warn', error.message)));
      say(error.message);
      return null;
    }
  }

  async function run({ explain = false, dry = false, agreed = false } = {}) {
    const what = taken();
    if (!what) return;
    const { own, live, end } = begin();
    ed.mark();
    if (tab === 'history') tab = 'rows';
    last = table = null;
    closeInspector();
    if (results.contains(document.activeElement)) ed.area.focus(); // Retry, for example, disappears
    drawBar(); drawTabs();
    results.setAttribute('aria-busy', 'true');
    fill(results, h('p.pad.dim.waits', 'Running …'));
    try {
      if (engine()?.engine === 'blobs' && !explain && !agreed) {
        const plan = await exactCall('query-sql', readFields(what, { dry_run: true }), own);
        if (!live()) return;
        fill(strips, h('p.strip', icon('file', 14), h('b', `At most ${bytes(plan.bytes_to_read)}`), ` of ${count(plan.file_count)} ${plan.file_count === 1 ? 'file' : 'files'} in ${count(plan.requests_to_make)} ${plan.requests_to_make === 1 ? 'request' : 'requests'}: `, h('span.clip', { title: plan.files.map((f) => f.name).join('\n') }, plan.files.slice(0, 3).map((f) => f.name).join(', '), plan.file_count > 3 && ' …')));
        if (plan.bytes_to_read > READS_AT_ONCE) {
          results.removeAttribute('aria-busy');
          fill(results, h('div.pad', blank('file', `This query would read ${bytes(plan.bytes_to_read)}`, 'Storage bills each request and, out of its region, each byte. A narrower path, fewer columns or Parquet reads less.', h('button.primary', { type: 'button', onclick: () => run({ agreed: true }) }, `Read ${bytes(plan.bytes_to_read)}`))));
          return;
        }
      } else if (engine()?.engine !== 'blobs') drawStrips();
      let found;
      if (dry) found = { ...await exactCall('execute-sql', { sql: what.sql, params: what.params, database: what.database, timeout_ms: what.seconds * 1000, dry_run: true }, own), dry_run: true };
      else {
        try { found = await exactCall('query-sql', readFields(what, explain ? { explain: true } : { limit: PAGE }), own); }
        catch (error) {
          // The server decides what writes, not a pattern here: only its refusal to read leads on to a dry run.
          if (!(error instanceof Problem) || error.body.code !== 'read-only' || mode !== 'write' || explain || !live()) throw error;
          results.removeAttribute('aria-busy');
          fill(results, h('div.pad', blank('warn', 'This statement writes', 'Confirm it in the dialog.')));
          return await ask(what, own, live);
        }
      }
      if (live()) finish(what, found, explain ? 'plan' : dry ? 'dry' : 'read');
    } catch (error) {
      if (!live() || error?.name === 'AbortError') return;
      if (!(error instanceof Problem)) throw error;
      fail(what, error.body);
    } finally { if (live()) results.removeAttribute('aria-busy'); end(); }
  }
  function finish(what, found, kind) {
    last = { ...what, ...found, columns: found.columns ?? [], rows: found.rows ?? [], kind };
    const n = last.columns.length ? last.rows.length : null;
    store((s) => { s.history.unshift({ sql: what.sql.slice(0, 20000), db: what.database, at: what.started, ok: true, rows: n ?? found.rows_affected ?? 0, ms: found.elapsed_ms, wrote: kind === 'written' }); });
    drawTabs();
    fill(results, body());
    say(kind === 'written' ? `Written. ${found.rows_affected} rows changed` : kind === 'dry' ? `${found.rows_affected} rows would change` : `${n} rows${last.truncated ? ', and there are more' : ''}`);
  }
  function fail(what, found) {
    last = table = null;
    store((s) => { s.history.unshift({ sql: what.sql.slice(0, 20000), db: what.database, at: what.started, ok: false, error: found.code }); });
    const place = placeOf(found);
    if (place) ed.mark([...ed.area.value.slice(0, what.from)].length + place);
    const switches = found.code === 'read-only' && mode === 'read' && (engine()?.writable ?? true);
    fill(results, h('div.pad', problem(found, () => run()), switches && h('div.actions', h('button', { type: 'button', onclick: () => { setMode('write'); ed.area.focus(); } }, 'Switch to Write'), h('span.faint.small', 'A dry run comes first.'))));
    drawTabs();
    say(`${found.title}. ${found.detail ?? ''}`);
  }

  /** A writing statement: its dry run first, and the person's word; then exactly this statement with these values. */
  async function ask(what, own, live) {
    let plan = null, refused = null;
    try { plan = await exactCall('execute-sql', { sql: what.sql, params: what.params, database: what.database, timeout_ms: what.seconds * 1000, dry_run: true }, own); }
    catch (error) {
      if (!(error instanceof Problem) || !/dry run/.test(error.body.detail ?? '')) throw error; // else the database cannot undo this kind of statement
      refused = error.body;
    }
    if (!live()) return;
    const n = plan?.rows_affected;
    const words = plan ? [h('b', n ? `${count(n)} ${n === 1 ? 'row' : 'rows'} would change` : 'No row would change'), ` in ${what.database}. `, n ? 'The dry run was undone.' : 'A statement such as create table or drop table changes no rows, and yet writes.'] : [h('b', 'There is no dry run. '), refused.detail];
    const word = plan ? null : input({ class: 'mono', 'aria-label': `Type ${what.database} to continue`, placeholder: `Type ${what.database} to continue`, oninput: (e) => { go.disabled = e.target.value !== what.database; } });
    const go = h('button.danger.primary', { type: 'button', disabled: !plan, onclick: async () => {
      dialog.close();
      const next = begin({ writes: true });
      results.setAttribute('aria-busy', 'true');
      fill(results, h('p.pad.dim', 'Writing …'));
      drawBar();
      try { const done = await exactCall('execute-sql', { sql: what.sql, params: what.params, database: what.database, timeout_ms: what.seconds * 1000 }, next.own); if (next.live()) finish(what, done, 'written'); }
      catch (error) { if (!next.live() || error?.name === 'AbortError') return; if (!(error instanceof Problem)) throw error; fail(what, error.body); }
      finally { if (next.live()) results.removeAttribute('aria-busy'); next.end(); }
      loadTree();
    } }, n ? `Write ${count(n)} ${n === 1 ? 'row' : 'rows'}` : 'Write');
    const dialog = open('This statement writes', [notice('bad', words), h('pre.code-plain', { tabindex: '0', role: 'group', 'aria-label': 'Statement' }, what.sql),
      what.params && kv(...Object.entries(what.params).map(([k, v]) => [Array.isArray(what.params) ? `?${Number(k) + 1}` : `:${k}`, cell(v, typeof v === 'number' ? 'real' : 'text')])),
      plan?.columns?.length ? resultTable({ columns: plan.columns, rows: plan.rows.slice(0, 100) }, { label: 'Rows of the dry run' }) : null, word],
    [h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), go], { wide: true });
    (word ?? dialog.querySelector('footer button')).focus();
  }

  // --- pages ---------------------------------------------------------------------------------------------------------------------
  async function more(limit) {
    if (running) return;
    const from = last;
    const { own, live, end } = begin();
    drawBar(); drawTabs();
    try {
      const page = await exactCall('query-sql', readFields(from, { cursor: from.cursor, limit }), own);
      if (!live()) return;
      from.rows.push(...page.rows);
      Object.assign(from, { cursor: page.cursor, truncated: page.truncated });
      drawTabs();
      await table?.grow(page.rows);
      say(`${from.rows.length} rows`);
    } catch (error) {
      if (!live() || error?.name === 'AbortError') return;
      if (!(error instanceof Problem)) throw error;
      const dialog = open('The next rows did not come', [problem(error.body)], [h('button.primary', { type: 'button', onclick: () => dialog.close() }, 'Close')]);
    } finally { end(); drawTabs(); }
  }
  const rowsLeft = () => MOST - (last?.rows.length ?? 0);
  const next = taskButton('button', () => more(Math.min(PAGE, rowsLeft()))), rest = taskButton('button.quiet', () => more(rowsLeft()), `Up to ${count(MOST)}`);
  const shownRows = h('span'), noMore = h('span.faint');
  const tail = h('div.more-row.tail', shownRows, next, rest, noMore);
  function drawTail() {
    const left = rowsLeft();
    const shown = last?.kind === 'read' && tab === 'rows' && last.truncated, pages = shown && last.cursor && left > 0;
    const focused = tail.contains(document.activeElement);
    tail.hidden = !shown;
    if (shown) fill(shownRows, `${count(last.rows.length)} rows are shown, and there are more.`);
    next.hidden = !pages;
    rest.hidden = !pages || left <= PAGE;
    fill(next, `Next ${count(Math.min(PAGE, left))}`);
    fill(noMore, pages ? null : left > 0 ? 'The app has no cursor now; run the statement again later.' : 'This is the most that a page shows: export the rest as a file.');
    if (focused && /** @type {HTMLElement} */ (document.activeElement).offsetParent === null) results.querySelector('td[tabindex="0"]')?.focus({ preventScroll: true });
  }

  // --- files -----------------------------------------------------------------------------------------------------------------------
  async function saveRows(format, defuse) {
    const from = last, parts = [];
    let cursor, rows = 0, page = 0;
    const status = h('p', { role: 'status' }, 'Reading rows …');
    const controller = new AbortController();
    const dialog = open('Export', [status, h('p.small.dim', 'It runs the statement behind the shown rows again, page by page.')], [h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel')]);
    dialog.addEventListener('close', () => controller.abort());
    try {
      do {
        const response = await call('query-sql', { sql: from.sql, params: from.params, database: from.database, timeout_ms: 60000, limit: MOST, format, defuse_formulas: defuse || undefined, cursor }, { signal: AbortSignal.any([signal, controller.signal]), raw: true });
        const text = await response.text();
        parts.push(page++ && format === 'csv' ? text.slice(text.indexOf('\n') + 1) : text); // each page begins with the names of the columns
        cursor = response.headers.get('x-cursor') ?? undefined;
        rows += MOST;
        fill(status, `${count(rows)} rows …`);
      } while (cursor && rows < MOST_IN_A_FILE);
      saveFile(new Blob(parts, { type: format === 'csv' ? 'text/csv;charset=utf-8' : 'application/x-ndjson' }), `${from.database}.${format}`);
      if (cursor) return void fill(status, h('b', `The file has the first ${count(MOST_IN_A_FILE)} rows. `), 'For all of them, export into a container.');
      dialog.close();
      say('Saved');
    } catch (error) {
      if (error?.name === 'AbortError') return;
      if (!(error instanceof Problem)) throw error;
      fill(status, problem(error.body));
    }
  }
  function exportInto() {
    const from = last;
    const container = input({ class: 'mono', value: 'exports' }), name = input({ class: 'mono', value: `${from.database}-${from.started.slice(0, 10)}.parquet` });
    const format = select([['parquet', 'Parquet'], ['csv', 'CSV'], ['ndjson', 'NDJSON']], 'parquet', { onchange: () => { name.value = name.value.replace(/\.\w+$/, `.${format.value}`); } });
    const raw = h('input', { type: 'checkbox' });
    const out = h('div', { 'aria-live': 'polite' });
    const go = taskButton('button.primary', async () => {
      fill(out, h('p.dim', 'Exporting …'));
      try {
        const done = await call('export-sql', { sql: from.sql, params: from.params, database: from.database, container: container.value, name: name.value, format: format.value, ...(format.value === 'csv' ? { defuse_formulas: !raw.checked } : {}) });
        fill(out, kv(['Rows', count(done.row_count)], ['Size', bytes(done.size)], ['SHA-256', exact(done.sha256)]), h('div.actions', h('button', { type: 'button', onclick: () => openSigned(done.url) }, icon('download', 14), 'Download'), h('a.button', { href: to('blobs', [done.container], { prefix: done.name.slice(0, done.name.lastIndexOf('/') + 1), blob: done.name }), onclick: () => dialog.close() }, 'Show it in Blobs')));
        say('Exported');
      } catch (error) { if (!(error instanceof Problem)) { if (error?.name === 'AbortError') return; throw error; } fill(out, problem(error.body)); }
    }, 'Export');
    const dialog = open('Export into a container', [h('p.small.dim', 'All rows of the statement behind the shown rows, however many. A blob of this name keeps its content until the new one is complete.'),
      h('div.fields', field('Format', format), field('Container', container), field('Name', name, { wide: true })), h('label.check', raw, 'CSV raw: leave texts that a spreadsheet would run as formulas'), out],
    [h('button', { type: 'button', onclick: () => dialog.close() }, 'Close'), go]);
  }

  // --- saved queries -----------------------------------------------------------------------------------------------------------------
  function save() {
    const sql = ed.area.value, names = parametersOf(sql), old = saved.find((q) => q.name === wanted.saved);
    const name = input({ class: 'mono', value: old?.name ?? '', required: true }), about = input({ value: old?.description ?? '' });
    const types = names.map((n) => [n, select(['text', 'integer', 'real', 'decimal', 'boolean', 'bytes', 'date', 'time', 'timestamp', 'json'], old?.parameters.find((p) => p.name === n)?.type ?? 'text')]);
    const isPublic = h('input', { type: 'checkbox', checked: Boolean(old?.public) }), out = h('div', { 'aria-live': 'polite' });
    const positional = names.some((n) => /^\d+$/.test(n));
    const dialog = open('Save this query', [positional && notice('warn', 'A saved query has named parameters: write :name instead of ?.'),
      h('div.fields', field('Name', name, { hint: 'Part of its URL' }), field('Database', input({ class: 'mono', value: db, readonly: true })), field('Description', about, { wide: true })),
      !positional && types.length ? h('div.fields', types.map(([n, control]) => field(`Type of :${n}`, control))) : null,
      h('label.check', isPublic, 'Public: anyone may run it, for at most 1,000 rows and 2 s'), h('p.small.dim', 'A key for run-query runs saved queries and nothing else. The values in the fields are not saved.'), out],
    [h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), h('button.primary', { type: 'button', disabled: positional, onclick: async () => {
      try {
        await call('save-query', { query_name: name.value.trim(), sql, database: db, parameters: types.map(([n, control]) => ({ name: n, type: control.value })), public: isPublic.checked, description: about.value || undefined });
        dialog.close();
        wanted.saved = name.value.trim();
        say('Saved');
        loadSaved();
      } catch (error) { if (!(error instanceof Problem)) { if (error?.name === 'AbortError') return; throw error; } fill(out, problem(error.body)); }
    } }, 'Save')]);
    name.focus();
  }
  const remove = (q) => confirm({ title: 'Delete a saved query', object: q.name, typed: false, verb: 'Delete', consequences: [`Nobody runs ${q.name} any more${q.public ? ', and its public address is 404' : ''}.`], keeps: ['The data that it reads.'],
    onconfirm: async () => { try { await call('delete-query', { query_name: q.name }); say('Deleted'); } catch (error) { if (!(error instanceof Problem)) throw error; const d = open('Not deleted', [problem(error.body)], [h('button', { type: 'button', onclick: () => d.close() }, 'Close')]); } loadSaved(); } });

  // --- results -------------------------------------------------------------------------------------------------------------------------
  const facts = h('p.facts');
  function drawFacts() {
    fill(facts);
    if (!last) return;
    const n = last.columns.length ? last.rows.length : last.rows_affected;
    const changed = last.kind === 'written' ? 'changed' : last.kind === 'dry' ? 'would change' : '';
    fill(facts, changed ? [h('b', count(last.rows_affected)), ` ${last.rows_affected === 1 ? 'row' : 'rows'} ${changed}`] : [h('b', `${count(n)}${last.truncated ? '+' : ''}`), ` ${n === 1 ? 'row' : 'rows'}`],
      h('span.faint', ` in ${ms(last.elapsed_ms)}`), last.kind === 'plan' && [' ', chip('plan')], last.kind === 'dry' && [' ', chip('undone')], last.database !== db && [' ', chip(last.database)],
      last.bytes_scanned != null && h('span.faint', `, ${bytes(last.bytes_scanned)} read in ${count(last.requests ?? 0)} requests`),
      last.sql !== ed.area.value && h('span.warn.small.of-older', { title: last.sql }, ' of the statement as it ran, not as it stands above'));
  }
  const tabSet = segmented('Show', [['rows', 'Rows'], ['chart', 'Chart'], ['history', 'History']], tab, (v) => { tab = v; fill(results, body()); drawTail(); closeInspector(); });
  const menu = h('div#export', { popover: 'auto', class: 'menu export', onclick: (e) => { if (e.target.closest('button')) menu.hidePopover(); } }, h('p.small.dim', 'An export runs the statement behind these rows, not the text in the editor.'),
    [['CSV, formulas made harmless', () => saveRows('csv', true)], ['CSV, raw', () => saveRows('csv', false)], ['NDJSON', () => saveRows('ndjson', false)], ['Into a container: Parquet, CSV …', exportInto]].map(([t, act]) => h('button.quiet', { type: 'button', onclick: act }, t)));
  const exporting = h('div.actions', h('button.quiet', { type: 'button', popovertarget: 'export' }, icon('download', 14), 'Export'), menu);
  function drawTabs() {
    setSegment(tabSet, tab);
    exporting.hidden = !(last?.kind === 'read' && last.columns.length);
    if (exporting.hidden && menu.isConnected) menu.hidePopover();
    drawFacts();
    drawTail();
  }
  const inspector = h('aside.inspect', { 'aria-label': 'Value', hidden: true, onkeydown: (e) => { if (e.key === 'Escape') inspector.querySelector('button').click(); } });
  const closeInspector = () => { inspector.hidden = true; results.querySelector('td.on')?.classList.remove('on'); };
  function pick(value, column, row, td) {
    closeInspector();
    td.classList.add('on');
    inspector.hidden = false;
    td.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    const text = value === null ? null : typeof value === 'object' && !('source' in value) ? (column.type === 'json' ? jsonText(value) : value.base64 ?? jsonText(value)) : String(value);
    fill(inspector, h('div.pane-head', h('h2.any', column.name), h('button.quiet.icononly', { type: 'button', 'aria-label': 'Close the value', onclick: () => { closeInspector(); td.focus(); } }, icon('cross', 14))),
      h('div.pad', kv(['Row', count(row + 1)], ['Type', h('code', column.type)], column.type === 'text' && text !== null && ['Length', `${count([...text].length)} characters`], column.note && ['Note', column.note]),
        column.type === 'json' && value !== null ? h('pre.code-plain', { tabindex: '0', role: 'group', 'aria-label': 'JSON' }, text) : h('p.inspect-value', cell(value, column.type, { whole: true })), text !== null && copyButton(text)));
  }
  function historyList() {
    const { history } = stored();
    return history.length ? h('ul.history', history.map((r) => h('li', h('button.bare', { type: 'button', onclick: () => { if (databases.some((d) => d.name === r.db)) chooseDatabase(r.db); ed.set(r.sql); ed.area.focus(); } },
      h('span.faint', r.at.slice(11, 19)), icon(r.ok ? 'check' : 'cross', 12), h('code.clip', r.sql), h('span.faint', r.ok ? `${count(r.rows)} rows, ${ms(r.ms ?? 0)}` : r.error), h('span.small', { class: r.wrote ? 'bad' : 'faint' }, r.wrote ? `wrote ${r.db}` : r.db)))))
      : h('div.pad', blank('clock', 'No statement yet', 'The statements of this tab are listed here, without their values. “Forget” erases them.'));
  }
  function body() {
    table = null;
    if (tab === 'history') return historyList();
    if (!last) return h('div.pad', blank('play', 'Not run yet', ['Press ', h('kbd', 'Ctrl'), ' ', h('kbd', '↵'), ' in the editor: exactly the visible text runs, or the selection. ', h('kbd', 'Ctrl'), ' ', h('kbd', 'Space'), ' completes names.']));
    if (!last.columns.length) return h('div.pad', notice(last.kind === 'written' ? 'good' : 'info', last.kind === 'written' ? 'Written. The statement returned no rows.' : 'The statement returns no rows. The dry run was undone.'));
    if (tab === 'chart') return chartBody();
    if (!last.rows.length) return h('div.pad', blank('table', 'No rows', ['The statement ran and returned its columns without rows: ', last.columns.map((c, i) => [i ? ', ' : '', h('code', c.name)])]));
    table = resultTable(last, { onpick: pick });
    return table;
  }
  function chartBody() {
    const numeric = last.columns.map((c, i) => [String(i), c.name]).filter(([i]) => NUMERIC.includes(last.columns[i].type));
    if (!numeric.length || !last.rows.length) return h('div.pad', blank('chart', 'Nothing to draw', 'A chart needs rows and a numeric column.'));
    const out = h('div');
    let kind = 'bar', x = 0, y = Number((numeric.find(([i]) => i !== '0') ?? numeric[0])[0]);
    const draw = () => fill(out, chart(last, { kind, x, y, width: Math.max(320, Math.min(960, results.clientWidth - 48 || 720)) }));
    requestAnimationFrame(draw);
    return h('div.pad', h('div.chart-tools', segmented('Kind of chart', [['bar', 'Bar'], ['line', 'Line'], ['scatter', 'Scatter']], kind, (v) => { kind = v; draw(); }),
      field('Across', select(last.columns.map((c, i) => [String(i), c.name]), String(x), { onchange: (e) => { x = Number(e.target.value); draw(); } })), field('Height', select(numeric, String(y), { onchange: (e) => { y = Number(e.target.value); draw(); } }))), out);
  }

  // --- bar, tree ---------------------------------------------------------------------------------------------------------------------------
  function setMode(v) { mode = v; drawBar(); drawStrips(); say(v === 'write' ? 'Writing is on' : 'Reading only'); }
  function chooseDatabase(name) {
    if (name === db) return;
    db = name;
    mode = 'read';
    replace('sql', [], { db });
    drawBar(); drawStrips(); drawFacts();
  }
  function drawStrips() {
    fill(strips, mode === 'write' ? h('p.write-strip', icon('warn', 14), h('b', 'Writing is on'), ` for ${db}. A dry run comes before each statement that writes, and you confirm it.`) : null);
  }
  const databaseBox = select([], '', { 'aria-label': 'Database', class: 'db', onchange: () => { const draft = stored().drafts[databaseBox.value]; chooseDatabase(databaseBox.value); if (draft) ed.set(draft); } });
  const modeSet = segmented('Mode', [['read', 'Read'], ['write', 'Write']], mode, setMode);
  const plan = h('button.quiet', { type: 'button', onclick: () => run(mode === 'write' ? { dry: true } : { explain: true }) });
  const go = h('button', { type: 'button', onclick: () => { if (running) cancel(); else run(); } });
  fill(bar, h('h1.sr', { tabindex: '-1' }, 'SQL'), databaseBox, modeSet,
    select([['5', '5 s'], ['30', '30 s'], ['60', '60 s']], String(seconds), { 'aria-label': 'Time limit', class: 'limit', onchange: (e) => { seconds = Number(e.target.value); } }),
    h('span.grow'), copyButton(() => location.href.replace(/#.*/, '') + to('sql', [], { db, sql: ed.area.value }), 'Link'), plan, h('button.quiet', { type: 'button', onclick: save }, 'Save'), go);
  function drawBar() {
    root.dataset.mode = mode;
    setOptions(databaseBox, databases.length ? databases.map((d) => [d.name, `${d.name} · ${d.engine}`]) : [[db, db]], db);
    setSegment(modeSet, mode);
    modeSet.querySelector('[value="write"]').disabled = engine()?.writable === false || !may('execute-sql');
    fill(plan, mode === 'write' ? 'Dry run' : 'Explain');
    go.className = running ? '' : mode === 'write' ? 'primary danger' : 'primary';
    fill(go, running ? [icon('stop', 12), 'Cancel'] : [icon('play', 12), mode === 'write' ? 'Run or write…' : 'Run', h('kbd', 'Ctrl ↵')]);
  }

  const unfolded = new Map(); // by database and table, what the person opened and closed
  /** @param {string} key @param {boolean} preset @param {(open: boolean) => void} [then] */
  const folds = (key, preset, then) => ({ open: unfolded.get(key) ?? preset, ontoggle: (e) => { unfolded.set(key, e.target.open); then?.(e.target.open); } });
  const filters = new Map(); // of tables, by database
  const tree = h('div.tree'), savedHost = h('div.list');
  const columns = (d, t) => [h('ul', t.columns.map((c) => h('li', h('button.bare', { type: 'button', onclick: () => ed.insert(quoteName(c.name, d.engine)) }, h('span.sr', 'Insert '), h('span.any', c.name), c.primary_key && [icon('key', 12), h('span.sr', ', primary key')]), h('span.faint.small.clip', { title: c.type }, c.type)))),
    h('button.quiet.open-table', { type: 'button', onclick: () => { chooseDatabase(d.name); wanted.saved = null; ed.set(firstRows(t.name)); run(); } }, 'First 100 rows')];
  function tableNode(d, t, opened) {
    const unfold = (open) => { if (open && node.childElementCount === 1) node.append(...columns(d, t).flat()); };
    const node = h('details.tbl', folds(JSON.stringify([d.name, t.name]), opened, unfold),
      h('summary', h('span.any', t.name), h('span.faint.small', t.type !== 'table' ? t.type : t.row_estimate != null ? `~${count(t.row_estimate)}` : '')));
    unfold(node.open);
    return node;
  }
  function databaseNode(d) {
    const list = h('div');
    const draw = (start) => { const fitting = d.tables.filter((t) => t.name.toLowerCase().includes(start)); fill(list, fitting.slice(0, 200).map((t) => tableNode(d, t, fitting.length === 1)), fitting.length > 200 && h('p.small.faint.pad-s', `${count(fitting.length - 200)} more: narrow the filter.`)); };
    draw(filters.get(d.name) ?? '');
    return h('details', folds(d.name, d.name === db), h('summary', h('b.any', d.name), h('span.faint.small', d.available ? d.engine : h('span.bad', 'down'), d.available && !d.writable ? ', read' : '')),
      !d.available ? h('p.small.faint.pad-s', 'The database does not respond.') : !d.tables.length ? h('p.small.faint.pad-s', 'No tables.') : null,
      d.tables.length > 20 && h('div.pad-s', input({ type: 'search', 'aria-label': `Tables of ${d.name} that contain`, placeholder: 'Filter tables', value: filters.get(d.name), oninput: (e) => { filters.set(d.name, e.target.value.toLowerCase()); draw(filters.get(d.name)); } })), list);
  }
  const loadTree = () => load(tree, () => call('list-databases', {}), (a) => {
    databases = a.databases;
    if (!wanted.db && !databases.some((d) => d.name === db)) db = databases[0].name;
    if (wanted.table && !wanted.sql && engine()) { prefill(firstRows(wanted.table)); wanted.table = null; }
    if (!ed.area.value && engine()?.tables[0]) prefill(firstRows(engine().tables[0].name));
    drawBar();
    return databases.map(databaseNode);
  }, { signal, refresh: true, rows: 8, isEmpty: (a) => !a.databases.length, empty: () => h('div.pad', blank('table', 'No database', ['Name one by the setting ', h('code', 'DATABASE_MAIN'), '.'])) });
  const loadSaved = () => load(savedHost, () => call('list-queries', { limit: 1000 }), (a) => {
    saved = a.queries;
    const chosen = saved.find((q) => q.name === wanted.saved);
    if (chosen && !wanted.sql && savedHost.dataset.first !== 'false' && untouched()) { chooseDatabase(chosen.database); delete params.dataset.names; prefill(chosen.sql); }
    savedHost.dataset.first = 'false';
    return [h('h3', 'Saved queries'), saved.length ? saved.map((q) => h('div.saved', h('a', { href: to('sql', [], { db: q.database, q: q.name }), 'aria-current': q.name === wanted.saved ? 'true' : null, title: q.description || null }, icon('file', 14), h('span.clip', q.name), q.public && h('span.faint.small', 'public')),
      h('button.quiet.icononly', { type: 'button', 'aria-label': `Delete the query ${q.name}`, onclick: () => remove(q) }, icon('trash', 12)))) : h('p.small.faint.pad-s', 'None yet. “Save” keeps the statement under a name.')];
  }, { signal, refresh: true, rows: 2 });

  fill(tabsHost, tabSet, facts, exporting);
  root.classList.add('bench');
  root.append(h('aside.pane.schema', { 'aria-label': 'Schema and saved queries' }, h('details.fold', { open: innerWidth > 720 }, h('summary', h('h2', 'Schema')), tree, savedHost)),
    h('div.pane.work', bar, strips, ed.node, params, tabsHost, h('div.out', results, inspector), tail));
  drawBar(); drawStrips(); drawParams(); drawTabs(); fill(results, body());
  loadTree();
  loadSaved();
  signal.addEventListener('abort', () => { runs++; running?.abort(); });
}
