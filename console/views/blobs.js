// Blobs: containers, folders, pages; a preview that runs nothing; uploads; links with their end; what a container costs.
import { h, fill, keepFocus } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { go, replace, to } from '../lib/router.js';
import { bytes, ago, day, count, hex, short } from '../lib/format.js';
import { Problem } from '../lib/api.js';
import { exists, functions } from '../lib/functions.js';
import { openSigned, saveFile } from '../lib/files.js';
import { field, input, select, kv, status, chip, meter, say, notice, secret, copyButton, taskButton } from '../parts/bits.js';
import { load, blank, problem } from '../parts/load.js';
import { grid, resultTable, cell } from '../parts/table.js';
import { open, confirm } from '../parts/dialog.js';
import { acceptDrop, fileButton } from '../parts/dropzone.js';
import { uploads, onUpload, add, retry, remove, writeLink, uploadCommand } from '../parts/uploads.js';

const PAGE = 200;
const TEXT_BYTES = 65536;
const IMAGES = /^image\/(png|jpeg|gif|webp|avif|bmp|x-icon|vnd\.microsoft\.icon)$/; // raster images: nothing in them can run
const DATA = /\.(csv|tsv|ndjson|jsonl|parquet)(\.gz)?$/i;
const TYPE = (b) => (b.content_type ?? '').split(';')[0].trim().toLowerCase();

/** A name as text: blanks and control characters are visible, and its direction does not leak out. */
const named = (text) => h('bdi', text ? cell(text, 'text', { whole: true }) : h('span.faint', '(empty)'));
const tryOrShow = async (host, act) => {
  try { return await act(); } catch (error) {
    if (error?.name === 'AbortError') return undefined;
    if (!(error instanceof Problem)) throw error;
    fill(host, problem(error.body));
    say(error.body.title);
    return undefined;
  }
};
/** What to type before a blob is deleted: its name, where it can be typed. */
const typeable = (name) => /^[ -~]{1,40}$/.test(name) ? name : 'delete';
/** Run an action of a dialog that has closed; a problem opens one of its own. */
async function act(title, task) {
  try { await task(); } catch (error) {
    if (error?.name === 'AbortError') return;
    if (!(error instanceof Problem)) throw error;
    const dialog = open(title, [problem(error.body)], [h('button', { type: 'button', onclick: () => dialog.close() }, 'Close')]);
  }
}

// --- links -------------------------------------------------------------------------------------------------------------
/** @param {{container: string, name?: string, prefix?: string}} what @param {any} context */
function share({ container, name, prefix }, { call, signal }) {
  const out = h('div', { 'aria-live': 'polite' });
  const revocable = h('input', { type: 'checkbox', checked: true, onchange: () => fit() }), once = h('input', { type: 'checkbox', onchange: () => fit() });
  const minutes = select([['5', '5 minutes'], ['60', '1 hour'], ['1440', '1 day'], ['10080', '7 days'], ['43200', '30 days'], ['525600', '1 year']], '60');
  const uses = input({ type: 'number', min: '1', placeholder: 'any number' }), owner = input({ maxlength: '256', placeholder: 'who gets it' }), address = input({ class: 'mono', placeholder: 'any address' });
  const fit = () => {
    if (prefix != null) { revocable.checked = true; revocable.disabled = true; once.disabled = true; }
    for (const control of [uses, owner]) control.disabled = !revocable.checked;
    uses.disabled ||= once.checked;
    if (prefix == null) once.disabled = !revocable.checked;
    for (const option of minutes.options) option.disabled = !revocable.checked && Number(option.value) > 10080;
    if (minutes.selectedOptions[0]?.disabled) minutes.value = '10080';
  };
  fit();
  const make = taskButton('button.primary', async () => {
    const got = await tryOrShow(out, () => call('share-blob', { container, name, prefix, minutes: Number(minutes.value), ip_range: address.value.trim() || undefined, ...(revocable.checked ? { revocable: true, one_shot: once.checked || undefined, max_uses: !once.checked && uses.value ? Number(uses.value) : undefined, owner: owner.value.trim() || undefined } : {}) }));
    if (!got) return;
    fill(out, kv(['Link', secret(got.url, { signal, label: 'link' })], ['Expires', [got.expires, ' ', h('span.faint', ago(got.expires))]], ['Revocable', got.id ? ['yes, as ', h('code', short(got.id, 8))] : 'no: it works until it expires'], got.max_uses && ['Uses', `at most ${count(got.max_uses)}`], got.network === 'private' && ['Network', 'works only inside the private network']));
    say('The link is created');
  }, 'Create');
  const dialog = open('Create a link', [h('p.mono.any', `${container}/`, named(name ?? `${prefix}…`)), h('div.fields', field('Expires after', minutes), field('Uses at most', uses), field('Note: owner', owner), field('Only from', address, { hint: 'IPv4 address or range' })),
    h('label.check', revocable, 'Revocable: an address of this app, listed under Links'), h('label.check', once, 'Single use'), h('p.small.dim', prefix != null ? 'It opens every blob whose name begins so, one by one, and lists none.' : 'Anyone with the link can read the blob.'), out],
  [h('button', { type: 'button', onclick: () => dialog.close() }, 'Close'), make]);
}

function links(main, { call, signal }) {
  const host = h('div.pad');
  fill(main, h('div.pane-head', h('h1', { tabindex: '-1' }, 'Links'), h('span.faint.small', 'Revocable links only. Others are signed addresses, and are not recorded.')), host);
  const draw = (cursor, { refresh = false } = {}) => load(host, () => call('list-shares', { limit: 100, cursor }), (a) => [grid('Links', ['Opens', 'Expires', 'Used', 'Owner', 'Id', { sr: 'Actions' }], a.shares.map((s) => {
    const left = new Date(s.expires).getTime() - Date.now(), part = Math.max(0, Math.min(1, left / (new Date(s.expires).getTime() - new Date(s.created).getTime()))), soon = left < 15 * 60000;
    const what = `${s.container}/${s.name ?? s.prefix}`;
    return h('tr', h('th', { scope: 'row' }, h('span.mono.any', `${s.container}/`, named(s.name ?? s.prefix)), s.prefix != null && h('span.n', 'all blobs that begin so'), s.one_shot && h('span.n', 'single use')),
      h('td.ends', s.open ? meter(part, h('span', { class: soon && 'warn' }, ago(s.expires)), soon ? 'warn' : null) : h('span.faint', 'spent')), h('td.nowrap', s.max_uses ? `${count(s.uses)} of ${count(s.max_uses)}` : count(s.uses)), h('td.any', s.owner ?? h('span.faint', '–')), h('td', h('code', short(s.id, 8))),
      h('td', h('div.actions.ends-row', s.open && copyButton(s.url, 'Copy link'), h('button.quiet', { type: 'button', onclick: () => confirm({ title: 'Revoke a link', object: s.id.slice(0, 8), typed: false, verb: 'Revoke', consequences: [`Nobody opens ${what} by it from now on.`], keeps: ['The blob. A download that began within the last minute ends by itself.'],
        onconfirm: () => act('Not revoked', async () => { await call('revoke-share', { id: s.id }); say('Revoked'); draw(cursor, { refresh: true }); }) }) }, 'Revoke', h('span.sr', ` the link to ${what}`)))));
  })), h('div.more-row', cursor && h('button', { type: 'button', onclick: () => draw() }, 'First page'), a.cursor && h('button', { type: 'button', onclick: () => draw(a.cursor) }, 'Next page'))],
  { signal, refresh, isEmpty: (a) => !a.shares.length && !cursor, empty: () => blank('link', 'No links', 'Revocable links are listed here until they expire. Create one from a blob or a folder.') });
  draw();
}

// --- costs -------------------------------------------------------------------------------------------------------------
function costs(container, { call, signal }, prefix = '') {
  const out = h('div.costs', h('p.dim', { role: 'status' }, 'Counting …'));
  const controller = new AbortController();
  const dialog = open(`What ${container} holds and costs`, [out], [h('button', { type: 'button', onclick: () => dialog.close() }, 'Close')], { wide: true });
  dialog.addEventListener('close', () => controller.abort());
  const own = AbortSignal.any([signal, controller.signal]);
  const money = (n) => n === 0 ? '0' : n < .01 ? '< 0.01' : n.toFixed(2);
  tryOrShow(out, async () => {
    let sum, cursor;
    do {
      sum = await call('summarize-blobs', { container, prefix, cursor }, { signal: own });
      cursor = sum.cursor ?? undefined;
      const most = Math.max(1, ...sum.by_prefix.map((p) => p.bytes));
      fill(out, kv(['Blobs', h('b', count(sum.count))], ['Size', [bytes(sum.bytes), h('span.n', `${count(sum.bytes)} bytes`)]], ['A month', [h('b', money(sum.monthly_cost)), h('span.n', 'for storing the bytes, in the currency of the price list of the app')]], ['Deleting now', [money(sum.early_deletion_cost), h('span.n', 'is still billed, because of the minimum times of Cool, Cold and Archive')]], sum.newest && ['Changed', [day(sum.oldest), ' to ', day(sum.newest)]]),
        h('h3', 'By tier'), grid('By tier', ['Tier', { text: 'Blobs', num: true }, { text: 'Size', num: true }, { text: 'A month', num: true }], Object.entries(sum.by_tier).map(([tier, t]) => h('tr', h('th', { scope: 'row' }, tier), h('td.num', count(t.count)), h('td.num', bytes(t.bytes)), h('td.num', money(t.monthly_cost))))),
        h('h3', 'By folder'), h('ul.shares', sum.by_prefix.slice(0, 20).map((p) => h('li', h('span.mono.clip', p.prefix === '' ? h('span.faint', 'not in a folder') : p.prefix === '*' ? 'all others' : named(p.prefix)), meter(p.bytes / most, bytes(p.bytes))))),
        cursor ? h('p.dim', { role: 'status' }, 'Still counting …') : h('p.small.faint', 'Without versions, snapshots and operations.'));
    } while (cursor && !own.aborted);
    say('Counted');
  });
}

// --- preview -----------------------------------------------------------------------------------------------------------
/** What a text preview shows: text, or the first bytes as hexadecimal where there is a NUL. */
function textOf(data) {
  if (!data.subarray(0, 4096).includes(0)) return new TextDecoder().decode(data);
  return Array.from({ length: Math.min(16, Math.ceil(data.length / 16)) }, (_, i) => `${(i * 16).toString(16).padStart(4, '0')}  ${hex(data.subarray(i * 16, i * 16 + 16)).replace(/(..)(?=.)/g, '$1 ')}`).join('\n');
}
async function preview(host, b, container, { call, signal }) {
  const type = TYPE(b), say1 = (kind, ...words) => fill(host, notice(kind, words));
  if (b.deleted) return say1('info', 'Deleted. Restore it to read it.');
  if (b.tier === 'Archive') return say1('info', 'Archived. Move it to another tier first; that takes hours.');
  if (!b.size) return say1('info', 'The blob is empty.');
  fill(host, h('p.dim', { role: 'status' }, 'Loading a preview …'));
  await functions().catch(() => null);
  if (DATA.test(b.name) && exists('describe-data') && !b.version_id && !b.snapshot) {
    try {
      const found = await call('describe-data', { container, path: b.name });
      const columns = found.columns.map((c) => ({ name: c.name, type: c.type }));
      return fill(host, h('p.small.dim', `${found.format === 'csv' ? 'CSV' : found.format}, ${columns.length} columns${found.row_count == null ? '' : `, ${count(found.row_count)} rows`}`), resultTable({ columns, rows: (found.sample ?? []).map((r) => columns.map((c) => r[c.name] ?? null)) }, { label: 'First rows' }));
    } catch (error) { if (!(error instanceof Problem)) throw error; } // else show it as text
  }
  const image = IMAGES.test(type);
  const fields = { container, name: b.name, redirect: false, version_id: b.is_current_version === false ? b.version_id : undefined, snapshot: b.snapshot, ...(image ? {} : { range: `bytes=0-${TEXT_BYTES - 1}` }) };
  const response = await call('get-blob', fields, { raw: true });
  const data = await response.arrayBuffer();
  if (response.status === 200 && b.size !== data.byteLength && (response.headers.get('content-type') ?? '').startsWith('application/json')) return say1('info', `${bytes(b.size)} is too large for a preview through the app. Download it instead.`);
  if (signal.aborted) return undefined;
  if (image) {
    const url = URL.createObjectURL(new Blob([data], { type }));
    signal.addEventListener('abort', () => URL.revokeObjectURL(url));
    return fill(host, h('img', { src: url, alt: 'Preview of the image', onload: () => URL.revokeObjectURL(url), onerror: () => say1('warn', `The type is ${type}, but the bytes are not such an image.`) }));
  }
  const active = type === 'text/html' || type === 'image/svg+xml' || type === 'application/xhtml+xml';
  return fill(host, active && notice('info', 'The source, as text. Nothing in it runs.'), h('pre.code-plain', { tabindex: '0', role: 'group', 'aria-label': 'Text of the blob' }, textOf(new Uint8Array(data))),
    b.size > data.byteLength && h('p.small.faint', `The first ${bytes(data.byteLength)} of ${bytes(b.size)}.`));
}

/** Download by a read link of five minutes, straight from storage; without the right to make one, through the app. */
async function download(b, container, { call }) {
  await act('No download', async () => {
    const base = b.name.split('/').at(-1) || 'blob';
    const asName = `attachment; filename*=UTF-8''${encodeURIComponent(base).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`;
    try { openSigned((await call('share-blob', { container, name: b.name, minutes: 5, content_disposition: asName.length <= 256 ? asName : 'attachment' })).url); }
    catch (error) {
      if (!(error instanceof Problem) || ![401, 403].includes(error.body.status)) throw error;
      const response = await call('get-blob', { container, name: b.name, redirect: false }, { raw: true });
      saveFile(await response.blob(), base);
    }
    say('The download begins');
  });
}

// --- the view ------------------------------------------------------------------------------------------------------------
/** @param {HTMLElement} root @param {ViewContext} context */
export default function show(root, context) {
  const { path, query, signal, call } = context;
  const [container] = path;
  const showsLinks = query.get('show') === 'links';
  const prefix = query.get('prefix') ?? '';
  const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
  root.classList.add('bench');
  const side = h('div.list'), main = h('div.pane.work'), detail = h('aside.pane.detail', { 'aria-label': 'The chosen blob', hidden: true });
  root.append(h('aside.pane.containers', { 'aria-label': 'Containers' }, h('div.pane-head', h('h2', 'Containers'), h('button.quiet.icononly', { type: 'button', 'aria-label': 'Create a container', onclick: createContainer }, icon('plus', 14))), side), main, detail);
  const drawSide = () => load(side, () => call('list-blobs', { limit: 5000 }), (a) => [a.containers.map((c) => h('a', { href: to('blobs', [c.name]), 'aria-current': c.name === container ? 'true' : null }, icon('box', 14), h('span.clip', c.name))), a.cursor && h('p.small.faint.pad-s', 'There are more containers.'),
    h('h3', 'Across containers'), h('a', { href: to('blobs', [], { show: 'links' }), 'aria-current': showsLinks ? 'true' : null }, icon('link', 14), 'Links')], { signal, rows: 4, refresh: true });
  drawSide();

  function createContainer() {
    const out = h('div', { 'aria-live': 'polite' }), name = input({ class: 'mono', required: true, maxlength: '63' });
    const dialog = open('Create a container', [field('Name', name, { hint: '3 to 63 lower-case letters, digits and single hyphens' }), h('p.small.dim', 'It is private: blobs are read with a key or by a link.'), out],
      [h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), taskButton('button.primary', async () => { const made = await tryOrShow(out, () => call('create-container', { container: name.value.trim() })); if (made) { dialog.close(); say('Created'); go('blobs', [made.name]); } }, 'Create')]);
    name.focus();
  }
  const deleteContainer = (name, redraw) => confirm({ title: 'Delete a container', object: name, verb: 'Delete', consequences: [`${name} and every blob in it disappear at once.`, 'Links to its blobs stop working.'], keeps: ['Where the account has soft delete for containers, it can be restored for its retention.'],
    onconfirm: () => act('Not deleted', async () => { await call('delete-container', { container: name, force: true }); say('Deleted'); redraw(); drawSide(); }) });

  if (showsLinks) return void links(main, context);
  if (!container) return void containers();

  function containers() {
    const host = h('div.pad');
    fill(main, h('div.pane-head', h('h1', { tabindex: '-1' }, 'Blobs'), h('button.primary', { type: 'button', onclick: createContainer }, icon('plus', 14), 'Create a container')), host);
    const draw = () => load(host, () => call('list-blobs', { limit: 5000 }), (a) => grid('Containers', ['Container', 'Changed', 'Public', { sr: 'Actions' }], a.containers.map((c) => h('tr', h('th', { scope: 'row' }, h('a.with-icon', { href: to('blobs', [c.name]) }, icon('box'), c.name)), h('td.nowrap', ago(c.last_modified)), h('td', c.public_access ? status('warn', c.public_access) : h('span.faint', 'no')),
      h('td.num.nowrap', h('button.quiet', { type: 'button', onclick: () => costs(c.name, context) }, 'Cost', h('span.sr', ` of ${c.name}`)), h('button.quiet', { type: 'button', onclick: () => deleteContainer(c.name, draw) }, 'Delete…', h('span.sr', ` ${c.name}`)))))),
    { signal, refresh: true, isEmpty: (a) => !a.containers.length, empty: () => blank('box', 'No containers', 'The storage account has no container that this app shows.', h('button', { type: 'button', onclick: createContainer }, 'Create a container')) });
    draw();
  }

  // --- one folder ---
  let now = prefix, withDeleted = false, picked = query.get('blob'), chosen = null;
  let outdated = false; // the pane of the chosen blob, until the listing comes again
  const cursors = []; // of the pages before this one
  const parts = folder ? folder.slice(0, -1).split('/') : [];
  const crumbs = h('nav', { 'aria-label': 'Folder', class: 'crumbs folder' }, h('ol', [['', container], ...parts.map((part, i) => [`${parts.slice(0, i + 1).join('/')}/`, part])].map(([p, text], i, all) =>
    h('li', i ? h('span.faint', { 'aria-hidden': 'true' }, '/') : null, i === all.length - 1 ? h('h1', { tabindex: '-1', 'aria-current': 'page' }, named(text)) : h('a', { href: to('blobs', [container], { prefix: p }) }, named(text))))));
  const host = h('div'), pages = h('div.more-row');
  let timer;
  const filter = input({ type: 'search', value: prefix.slice(folder.length), 'aria-label': 'Names here that start with', placeholder: 'Starts with', class: 'filter', oninput: () => { clearTimeout(timer); timer = setTimeout(() => { now = folder + filter.value; cursors.length = 0; replace('blobs', [container], { prefix: now }); draw(); }, 150); } });
  const upload = (files) => { add(container, folder, files); };
  const [uploadButton, picker] = fileButton('Upload', upload, { multiple: true, mark: 'upload' });
  fill(main, h('div.pane-head', crumbs, filter, h('label.check', h('input', { type: 'checkbox', onchange: (e) => { withDeleted = e.target.checked; cursors.length = 0; draw(); } }), 'Deleted'), h('button.quiet', { type: 'button', onclick: () => costs(container, context, folder) }, 'Cost'),
    folder && h('button.quiet', { type: 'button', onclick: () => share({ container, prefix: folder }, context) }, icon('link', 14), 'Link to folder'), uploadButton, picker), host, pages, queueNode());
  acceptDrop(main, upload);

  function queueNode() {
    const stored = h('span.n'), clear = h('button.quiet', { type: 'button', onclick: () => { for (const u of [...uploads]) remove(u); } }, 'Clear');
    const list = h('ul'), node = h('section.queue', { 'aria-label': 'Uploads' }, h('h2', 'Uploads', stored, clear), list);
    const rows = new Map();
    let changed = false; // something came into this folder since it was listed
    const head = () => { const done = uploads.filter((u) => u.state === 'done').length; fill(stored, `${done} of ${uploads.length} stored`); clear.hidden = done < uploads.length; };
    /** The row of an upload is made once, and drawn by changing what changed: a button under the pointer or with the focus stays. */
    const item = (u) => {
      const button = (spec, verb, task, words = ` ${u.name}`) => h(spec, { type: 'button', onclick: () => { cross.focus(); task(); } }, verb, h('span.sr', words));
      const again = button('button', 'Retry', () => retry(u)), replacing = button('button.danger', 'Replace', () => retry(u, { overwrite: true })), command = button('button', 'Command', () => showCommand(u), ` for ${u.name}`);
      const cross = h('button.quiet.icononly', { type: 'button', 'aria-label': `Remove ${u.name} from the list`, onclick: () => { const near = li.nextElementSibling ?? li.previousElementSibling; remove(u); (near?.querySelector('.icononly') ?? uploadButton).focus(); } }, icon('cross', 12));
      const sent = h('span.faint.nowrap.sent'), stage = h('span.percent'), bar = h('progress', { max: u.file.size || 1, 'aria-label': `Upload of ${u.name}` }), note = h('p.small.dim');
      const li = h('li', h('span.mono.clip', { title: u.name }, h('span.faint', `${u.container}/`), named(u.name)), sent, stage, h('span.actions', again, replacing, command, cross), bar, note);
      const stages = { waiting: () => 'queued', sending: () => `${u.file.size ? Math.min(99, Math.floor(u.sent / u.file.size * 100)) : 0} %`, storing: () => 'storing', done: () => status('done', 'stored'), exists: () => status('warn', 'exists'), failed: () => status('bad', 'failed'), refused: () => status('warn', 'refused') };
      const draw = () => {
        li.dataset.state = u.state === 'refused' || u.state === 'exists' ? 'failed' : u.state;
        fill(sent, u.state === 'done' ? bytes(u.file.size) : `${bytes(u.sent)} of ${bytes(u.file.size)}`);
        fill(stage, stages[u.state]());
        stage.classList.toggle('faint', u.state === 'waiting' || u.state === 'sending' || u.state === 'storing');
        for (const [control, state] of [[again, 'failed'], [replacing, 'exists'], [command, 'refused']]) control.hidden = u.state !== state;
        bar.hidden = u.state !== 'sending' && u.state !== 'storing';
        bar.value = u.sent;
        fill(note, u.note);
        note.hidden = !u.note;
      };
      return { li, draw };
    };
    const showCommand = (u) => act('No command', async () => {
      const link = await writeLink(u);
      if (signal.aborted) return;
      const dialog = open('Upload with curl', [h('p.dim', 'Run it in the folder of the file. The address in it writes this one blob, until ', link.expires, '.'), secret(uploadCommand(u, link), { signal, label: 'command' })], [h('button', { type: 'button', onclick: () => dialog.close() }, 'Close')], { wide: true });
    });
    const all = () => {
      if (node.contains(document.activeElement) && !uploads.length) uploadButton.focus();
      node.hidden = !uploads.length;
      for (const [u, { li }] of rows) if (!uploads.includes(u)) { rows.delete(u); li.remove(); }
      for (const u of uploads) if (!rows.has(u)) { rows.set(u, item(u)); list.append(rows.get(u).li); rows.get(u).draw(); }
      head();
    };
    onUpload((u) => {
      if (!u) return all();
      rows.get(u)?.draw();
      head();
      if (u.state === 'done' && u.container === container && u.name.startsWith(folder)) changed = true;
      if (u.state === 'done' && u.container === container && u.name === picked) outdated = true;
      if (changed && !uploads.some((x) => ['sending', 'storing', 'waiting'].includes(x.state))) { changed = false; draw(cursors.at(-1), { refresh: true }); }
      if (u.state === 'done') say(`${u.name} is stored`); else if (['failed', 'exists', 'refused'].includes(u.state)) say(`${u.name}: ${u.note}`);
    }, signal);
    all();
    return node;
  }

  // --- one blob ---
  function close() { detail.hidden = true; delete root.dataset.detail; const tr = host.querySelector('tr.on'); tr?.classList.remove('on'); tr?.querySelector('a')?.focus(); picked = null; chosen?.abort(); replace('blobs', [container], { prefix: now }); }
  function choose(b, tr) {
    host.querySelector('tr.on')?.classList.remove('on');
    tr?.classList.add('on');
    picked = b.name;
    chosen?.abort();
    chosen = new AbortController();
    const own = { call: (name, fields, options) => call(name, fields, { signal: mine, ...options }), signal: AbortSignal.any([signal, chosen.signal]) };
    const mine = own.signal;
    detail.hidden = false;
    root.dataset.detail = 'true';
    const refocus = keepFocus(detail);
    const shown = h('div.preview'), more = h('div');
    const del = () => confirm({ title: 'Delete a blob', object: typeable(b.name.split('/').at(-1)), verb: 'Delete', consequences: [`${container}/${b.name}, ${bytes(b.size)}, disappears from listings at once, with its snapshots.`, 'Links to it stop working.'], keeps: ['Where the account has soft delete or versions, it can be restored for the account’s retention.'],
      onconfirm: () => act('Not deleted', async () => { await call('delete-blob', { container, name: b.name, if_match: b.etag, snapshots: true }); say('Deleted'); close(); draw(cursors.at(-1), { refresh: true }); }) });
    const tier = select(['Hot', 'Cool', 'Cold', 'Archive'], b.tier ?? 'Hot', { 'aria-label': 'Tier', class: 'tier' });
    const move = () => act('The tier stays', async () => { await call('set-tier', { container, name: b.name, tier: /** @type {any} */ (tier.value) }); say(`Moved to ${tier.value}`); drawAgain(); });
    fill(detail, h('div.pane-head', h('h2.any', named(b.name.slice(folder.length))), h('button.quiet.icononly', { type: 'button', 'aria-label': 'Close the preview', onclick: close }, icon('cross', 14))),
      h('div.pad', h('div.actions', b.deleted ? h('button', { type: 'button', onclick: () => act('Not restored', async () => { await call('restore-blob', { container, name: b.name }); say('Restored'); drawAgain(); }) }, icon('rotate', 14), 'Restore')
        : [h('button', { type: 'button', onclick: () => download(b, container, own) }, icon('download', 14), 'Download'), h('button', { type: 'button', onclick: () => share({ container, name: b.name }, context) }, icon('link', 14), 'Link…'), h('button.danger', { type: 'button', onclick: del }, icon('trash', 14), 'Delete…')]), shown,
      kv(['Name', h('div.exact', h('code.any', b.name), copyButton(b.name))], ['Size', [bytes(b.size), h('span.n', `${count(b.size)} bytes`)]], ['Type', b.content_type ?? '–'], ['Changed', [h('span.nowrap', b.last_modified), ' ', h('span.faint', ago(b.last_modified))]], !b.deleted && ['Tier', [tier, ' ', h('button.quiet', { type: 'button', onclick: move }, 'Move', h('span.sr', ' to this tier'))]], ['ETag', h('code.any', b.etag)]), more));
    refocus({ fallback: true });
    tryOrShow(shown, () => preview(shown, b, container, own));
    history(more, b, own);
  }
  /** Metadata, versions and snapshots of one blob. */
  async function history(more, b, own) {
    let all;
    try {
      try { all = await own.call('list-blobs', { container, prefix: b.name, include: ['metadata', 'versions', 'snapshots', 'deleted'], limit: 200 }); }
      catch (error) { if (!(error instanceof Problem)) throw error; all = await own.call('list-blobs', { container, prefix: b.name, include: ['metadata'], limit: 200 }); }
    } catch (error) { if (error instanceof Problem || error?.name === 'AbortError') return; throw error; }
    const these = all.blobs.filter((x) => x.name === b.name), metadata = Object.entries(these.find((x) => x.metadata)?.metadata ?? {});
    const states = these.filter((x) => x.version_id || x.snapshot);
    fill(more, metadata.length ? [h('h3', 'Metadata'), kv(...metadata.map(([k, v]) => [h('code', k), v]))] : null, h('h3', 'Versions'), states.length ? h('ul.versions', states.reverse().map((v) => {
      const id = v.version_id ?? v.snapshot, now = v.is_current_version;
      return h('li', h('code', id.slice(0, 19)), v.snapshot && chip('snapshot'), h('span.faint', bytes(v.size)), now ? h('span.faint', 'current') : h('button.quiet', { type: 'button', onclick: () => confirm({ title: 'Restore a version', object: b.name, typed: false, verb: 'Restore', consequences: [`The content of ${id.slice(0, 19)} becomes the blob again.`], keeps: ['The present content, as a version of its own where the account keeps versions.'],
        onconfirm: () => act('Not restored', async () => { await call('copy-blob', { container, name: b.name, to_name: b.name, version_id: v.version_id, snapshot: v.snapshot, overwrite: true }); say('Restored'); drawAgain(); }) }) }, 'Restore', h('span.sr', ` ${id.slice(0, 19)}`)));
    })) : h('p.small.faint', 'None. The account keeps versions only where that is switched on.'));
  }

  // --- the listing ---
  function draw(cursor, { refresh = false } = {}) {
    const p = now;
    return load(host, () => call('list-blobs', { container, prefix: p, delimiter: '/', limit: PAGE, cursor, include: withDeleted ? ['deleted'] : undefined }), (a) => {
      const from = cursors.length * PAGE, n = a.blobs.length + a.prefixes.length;
      fill(pages, h('span', a.cursor || from ? `Names ${count(from + 1)} to ${count(from + n)}${a.cursor ? '; there are more' : ': the end'}` : `${a.prefixes.length ? `${count(a.prefixes.length)} ${a.prefixes.length === 1 ? 'folder' : 'folders'}, ` : ''}${count(a.blobs.length)} ${a.blobs.length === 1 ? 'blob' : 'blobs'}`),
        from ? h('button', { type: 'button', onclick: () => { cursors.pop(); turn(cursors.at(-1)); } }, 'Previous page') : null, a.cursor && h('button', { type: 'button', onclick: () => { cursors.push(a.cursor); turn(a.cursor); } }, 'Next page'));
      return grid('Blobs', ['Name', { text: 'Size', num: true }, 'Type', 'Tier', 'Changed'], [
        a.prefixes.map((x) => h('tr', h('th', { scope: 'row' }, h('a.with-icon', { href: to('blobs', [container], { prefix: x }) }, icon('folder'), h('span.name', named(x.slice(folder.length))))), h('td.num.faint', '–'), h('td.faint', 'folder'), h('td'), h('td'))),
        a.blobs.map((b) => {
          const tr = h('tr', { class: b.deleted && 'gone' }, h('th', { scope: 'row' }, h('a.with-icon', { href: to('blobs', [container], { prefix: p, blob: b.name }), onclick: (e) => { if (e.ctrlKey || e.metaKey || e.shiftKey) return; e.preventDefault(); replace('blobs', [container], { prefix: p, blob: b.name }); choose(b, tr); detail.scrollIntoView({ block: 'start' }); } }, icon('file'), h('span.name', named(b.name.slice(folder.length)), b.deleted && [' ', chip('deleted')]))),
            h('td.num.nowrap', bytes(b.size)), h('td.faint', TYPE(b)), h('td', { class: b.tier === 'Hot' ? 'faint' : null }, b.tier), h('td.nowrap', day(b.last_modified), h('span.n', ago(b.last_modified))));
          if (b.name === picked && (detail.hidden || outdated)) { outdated = false; queueMicrotask(() => choose(b, tr)); } else if (b.name === picked) tr.classList.add('on');
          return tr;
        })], { flush: true });
    }, { signal, refresh, rows: 12, isEmpty: (a) => !a.blobs.length && !a.prefixes.length && !cursor, empty: () => { fill(pages); return h('div.pad', p !== folder ? blank('search', 'No match', ['No name in this folder starts with ', h('code', p.slice(folder.length)), '.']) : blank('box', 'Empty', 'Drop files here, or press “Upload”.')); } });
  }
  /** The listing, and the pane of the chosen blob, after a change of that blob. */
  const drawAgain = () => { outdated = true; draw(cursors.at(-1), { refresh: true }); };
  /** A blob that the address names may be on a later page. */
  async function chooseFromAddress() {
    if (!picked || !detail.hidden) return;
    const found = await call('list-blobs', { container, prefix: picked, limit: 10 }).catch(() => null);
    const blob = found?.blobs.find((b) => b.name === picked);
    if (blob && detail.hidden && !signal.aborted) choose(blob);
  }
  const turn = async (cursor) => { await draw(cursor); main.scrollTop = 0; host.querySelector('a')?.focus({ preventScroll: true }); };
  draw().then(() => queueMicrotask(chooseFromAddress));
}
