// The upload queue: it goes on while other views are open, and one failure stops nothing else.
import { request, Problem, call, learn } from '../lib/api.js';
import { find } from '../lib/functions.js';
import { credential, headersFor } from '../lib/credential.js';
import { remember, state, watch } from '../lib/state.js';

const AT_ONCE = 2;
let through = 8 * 1024 * 1024; // bytes of a body that pass through the app; a 413 lowers it

/**
 * @typedef {{ id: number, file: File, container: string, name: string, sent: number, state: 'waiting' | 'sending' | 'storing' | 'done' | 'exists' | 'failed' | 'refused',
 *   note: string, overwrite: boolean, stop?: () => void }} Upload
 */
/** @type {Upload[]} */
export const uploads = [];
const listeners = new Set();
let serial = 0;

/** Call `fn` with each upload that changed, and with null when the list did. */
export function onUpload(fn, signal) { listeners.add(fn); signal.addEventListener('abort', () => listeners.delete(fn)); }
const tell = (upload) => listeners.forEach((fn) => fn(upload));
const busy = () => uploads.filter((u) => u.state === 'sending' || u.state === 'storing').length;

export function add(container, folder, files) {
  for (const file of files) uploads.push({ id: ++serial, file, container, name: folder + file.name, sent: 0, state: 'waiting', note: '', overwrite: false });
  tell(null);
  next();
}
export function retry(upload, { overwrite = upload.overwrite } = {}) { Object.assign(upload, { state: 'waiting', sent: 0, note: '', overwrite }); tell(upload); next(); }
export function remove(upload) { upload.stop?.(); const at = uploads.indexOf(upload); if (at >= 0) uploads.splice(at, 1); tell(null); next(); }

function next() {
  while (busy() < AT_ONCE) {
    const upload = uploads.find((u) => u.state === 'waiting');
    if (!upload) return;
    upload.state = 'sending';
    tell(upload);
    send(upload).catch((error) => {
      if (error?.name === 'AbortError') return;
      if (!(error instanceof Problem)) { settle(upload, 'failed', 'The upload failed for an unknown reason.'); throw error; }
      const { code, status, title, detail } = error.body;
      if (code === 'blob-exists' || status === 409 || status === 412) settle(upload, 'exists', 'A blob of this name exists.');
      else settle(upload, 'failed', `${title}. ${detail ?? ''}`);
    }).finally(next);
  }
}
function settle(upload, to, note = '') { upload.state = to; upload.note = note; upload.stop = undefined; tell(upload); }

async function send(upload) {
  if (upload.file.size <= through) {
    try { return await sendThroughApp(upload); }
    catch (error) {
      if (!(error instanceof Problem) || error.body.status !== 413) throw error;
      through = upload.file.size - 1; // this app takes less: from now on, straight to storage
      upload.sent = 0;
    }
  }
  return sendToStorage(upload);
}
async function sendThroughApp(upload) {
  const fn = await find('put-blob');
  const fields = { container: upload.container, name: upload.name, ...(upload.overwrite ? {} : { if_none_match: '*' }) };
  const wanted = request(fn, fields, { method: 'PUT', body: upload.file });
  const started = performance.now(), at = new Date();
  const response = await transfer(upload, 'PUT', wanted.url.href, { ...wanted.headers, ...headersFor(fn.access) });
  learn(fn, response.status);
  remember({ id: response.id, name: 'put-blob', method: 'PUT', status: response.status, fields, path: wanted.url.pathname, ms: performance.now() - started, at, body: true });
  if (response.status !== 201 && response.status !== 200) throw new Problem({ title: `The upload was refused (${response.status})`, ...response.body, status: response.status });
  settle(upload, 'done');
}
async function sendToStorage(upload) {
  const link = await writeLink(upload);
  let response;
  try { response = await transfer(upload, link.method, link.url, { ...link.headers, ...(upload.file.type ? { 'content-type': upload.file.type } : {}) }); }
  catch (error) {
    if (!(error instanceof Problem) || upload.sent > 0) throw error;
    return settle(upload, 'refused', 'The storage account does not accept uploads from this page: its CORS rules do not list this address. The command uploads the file.');
  }
  if (response.status === 409) return settle(upload, 'exists', 'A blob of this name exists.');
  if (response.status >= 300 || !response.status) throw new Problem({ status: response.status, title: `Storage refused the upload (${response.status})`, detail: 'The write link may have expired, or the network changed. Try again.' });
  settle(upload, 'done');
}
export const writeLink = (upload) => call('share-blob', { container: upload.container, name: upload.name, permissions: 'write', minutes: 60, overwrite: upload.overwrite });

/** Send the file. XMLHttpRequest, because fetch reports no progress of a request. */
function transfer(upload, method, url, headers) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open(method, url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    upload.stop = () => xhr.abort();
    xhr.upload.onprogress = (e) => { upload.sent = e.loaded; if (e.loaded >= upload.file.size) upload.state = 'storing'; tell(upload); };
    xhr.onload = () => {
      let body = null;
      try { body = JSON.parse(xhr.responseText); } catch { /* storage responds with XML, and with nothing on success */ }
      resolve({ status: xhr.status, body, id: url.startsWith(location.origin) ? xhr.getResponseHeader('x-request-id') ?? '' : '' });
    };
    xhr.onerror = () => reject(new Problem({ status: 0, title: 'The connection ended', detail: 'Whether the blob was stored is not known. Try again: an existing blob is not replaced.' }));
    xhr.onabort = () => reject(new DOMException('The upload was removed', 'AbortError'));
    xhr.send(upload.file);
  });
}

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
/** The command that uploads the file by a write link. It contains the link: show it like a secret. */
export const uploadCommand = (upload, link) => `curl -T ${quote(`./${upload.file.name}`)} ${Object.entries({ ...link.headers, ...(upload.file.type ? { 'content-type': upload.file.type } : {}) }).map(([k, v]) => `-H ${quote(`${k}: ${v}`)}`).join(' ')} ${quote(link.url)}`;

// Without the credential nothing goes on in its name.
watch((what) => { if (what === 'credential' && !credential() && !state.open && uploads.length) { for (const u of [...uploads]) u.stop?.(); uploads.length = 0; tell(null); } });
addEventListener('beforeunload', (e) => { if (busy()) e.preventDefault(); });
