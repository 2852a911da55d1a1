// Sign & verify: the server's verdict beside this browser's own, as an equation; offline, the browser's alone.
import { h, fill, keepFocus } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { replace, to } from '../lib/router.js';
import { bytes, toBytes, toBase64url, fromBase64, hex, ms } from '../lib/format.js';
import { Problem } from '../lib/api.js';
import { may } from '../lib/functions.js';
import { credential } from '../lib/credential.js';
import { state, watch } from '../lib/state.js';
import { head, band, field, input, select, setOptions, segmented, taskButton, verdict, equation, exact, code, kv, notice, say, tabs } from '../parts/bits.js';
import { problem } from '../parts/load.js';
import { dropzone } from '../parts/dropzone.js';
import { verifyHere, explain, webCrypto } from '../crypto/verify.js';
import { algorithmsOf, readKeys, toPem } from '../crypto/jwk.js';
import { openssl } from '../crypto/openssl.js';

const MOST_IN_ONE_CALL = 256 * 1024 * 1024; // WebCrypto hashes a whole buffer or nothing
const MOST_IN_A_REQUEST = 6 * 1024 * 1024 - 65536; // a body of 8 MiB carries this much as base64
const FORMATS = [['raw', 'raw (ECDSA: r then s)'], ['der', 'DER'], ['jws', 'JWS, compact'], ['jws-detached', 'JWS, detached']];
const WHY = {
  mismatch: 'This is not a signature by this key over this message.', malformed: 'No key of this type makes such a signature.', 'unknown-version': 'The key has no such version.',
  disabled: 'The signature matches, but its version is disabled.', revoked: 'The signature matches, but its version was revoked.',
};

/** What the person works on. It is kept while the page is open, so that signing leads on to verifying; it is stored nowhere. */
/** @type {{ source: string, text: string, file: File | null, data: Uint8Array<ArrayBuffer> | null, digests: Record<string, Uint8Array>, digest: string, key: string, algorithm: any, format: any, version: string, signature: string, publicKeys: string }} */
const work = fresh();
function fresh() { return { source: 'text', text: '', file: null, data: null, digests: {}, digest: '', key: '', algorithm: '', format: 'raw', version: '', signature: '', publicKeys: '' }; }
// Without the credential nothing of it stays.
watch((what) => { if (what === 'credential' && !credential() && !state.open) Object.assign(work, fresh()); });

/** The message as bytes; null where only its digest is known. */
const message = () => work.source === 'text' ? toBytes(work.text) : work.source === 'file' ? work.data : null;

/** A digest of the file, computed once: some browsers hash without letting the page go on. */
const digestOf = async (hash) => work.digests[hash] ??= new Uint8Array(await crypto.subtle.digest(hash, work.data));
const painted = () => new Promise((resolve) => { requestAnimationFrame(() => setTimeout(resolve)); });
const LONG = 16 * 1024 * 1024; // bytes that take so long to hash that a person sees it
const hashing = (size) => `Hashing ${bytes(size)} …${size >= LONG ? ' The page may stand still until that is done: a browser hashes a file in one piece.' : ''}`;
/** Before a large file is hashed, say so in `host`, on the screen. */
async function sayHashing(host) {
  if (work.source !== 'file' || !work.data || work.data.length < LONG) return;
  fill(host, h('p.hint', hashing(work.data.length)));
  await painted();
}

class Refused extends Error {}
/** The message as the fields of sign and verify. Throws Refused with a sentence for the person. */
async function messageFields(type, algorithm, format) {
  const detached = format !== 'jws';
  if (work.source === 'text') return { message: work.text };
  const hash = webCrypto(algorithm)?.hash;
  if (work.source === 'digest') {
    if (!hash || !detached) throw new Refused(hash ? 'A compact JWS contains its message, so a digest is not enough.' : `${type} signs the message itself, so a digest is not enough.`);
    return { message_base64: toBase64url(readDigest(hash)), prehashed: true };
  }
  if (!work.data) throw new Refused('Choose a file first.');
  if (hash && !format.startsWith('jws')) return { message_base64: toBase64url(await digestOf(hash)), prehashed: true };
  if (work.data.length > MOST_IN_A_REQUEST) throw new Refused(`${format.startsWith('jws') ? 'A JWS' : type} signs the message itself, and a request carries at most ${bytes(MOST_IN_A_REQUEST)}. An RSA or ECDSA key with the format raw or DER signs the digest of a file of this size.`);
  return { message_base64: toBase64url(work.data) };
}
function readDigest(hash) {
  const compact = work.digest.replace(/\s/g, ''), size = Number(hash.slice(4)) / 8;
  let found;
  try { found = /^[0-9a-f]+$/i.test(compact) && compact.length === 2 * size ? Uint8Array.from(compact.match(/../g), (p) => parseInt(p, 16)) : fromBase64(compact); } catch { /* neither */ }
  if (found?.length !== size) throw new Refused(`This algorithm needs a ${hash} digest: ${2 * size} hexadecimal digits, or base64 of ${size} bytes.`);
  return found;
}

/** The message: a text, a file that stays here, or a digest made elsewhere. */
function messageBand({ withDigest = true, onchange }) {
  const host = h('div.message');
  const size = h('span.hint');
  function draw() {
    const refocus = keepFocus(host);
    if (work.source === 'text') {
      const area = h('textarea.mono', { rows: '3', spellcheck: 'false', id: 'message', oninput: () => { work.text = area.value; measure(); onchange?.(); } });
      area.value = work.text;
      const measure = () => fill(size, `${bytes(toBytes(work.text).length)} of UTF-8, exactly as typed, with no line feed added`);
      measure();
      fill(host, h('div.field', h('label', { for: 'message' }, 'Text'), area, size));
    } else if (work.source === 'digest') {
      const box = input({ class: 'mono', value: work.digest, oninput: () => { work.digest = box.value; onchange?.(); } });
      fill(host, field('Digest', box, { hint: 'Hexadecimal or base64. For a file on a server, or one over 256 MiB:' }), code('openssl dgst -sha256 -binary file | openssl base64 -A', 'Digest of a file'));
    } else {
      fill(host, work.file
        ? h('div.drop.chosen', icon('file'), h('span', h('b.any', work.file.name), h('span.faint', ` ${bytes(work.file.size)}`)), h('button.quiet', { type: 'button', onclick: () => { Object.assign(work, { file: null, data: null, digests: {} }); draw(); onchange?.(); } }, 'Remove'))
        : dropzone('Drop a file here. It stays in this browser where the key allows it: only its digest is sent.', take), status);
    }
    refocus({ fallback: true });
  }
  const status = h('div', { 'aria-live': 'polite' });
  async function take([file]) {
    fill(status);
    if (!globalThis.crypto?.subtle) return fill(status, notice('warn', 'Browsers hash files only over HTTPS and on localhost.'));
    if (file.size > MOST_IN_ONE_CALL) return fill(status, notice('warn', h('b', `${bytes(file.size)} is too large to hash here. `), `A browser hashes at most ${bytes(MOST_IN_ONE_CALL)} in one call. Hash it with OpenSSL, and paste the digest under “Digest”.`));
    work.file = file;
    draw();
    fill(status, h('p.hint', `Reading ${bytes(file.size)} …`));
    try {
      const data = new Uint8Array(await file.arrayBuffer());
      if (work.file !== file) return;
      fill(status, h('p.hint', hashing(file.size)));
      await painted();
      if (work.file !== file) return;
      Object.assign(work, { data, digests: {} });
      fill(status, kv(['SHA-256', exact(hex(await digestOf('SHA-256')))]));
      say(`${file.name} is read`);
    } catch { work.file = null; draw(); fill(status, notice('bad', 'The browser could not read this file. It may have been moved or changed meanwhile.')); }
    onchange?.();
  }
  draw();
  const choices = [['text', 'Text'], ['file', 'File'], ...(withDigest ? [['digest', 'Digest']] : [])];
  if (!withDigest && work.source === 'digest') { work.source = 'text'; draw(); }
  return { node: band('Message', null, segmented('The message is a', choices, work.source, (v) => { work.source = v; draw(); onchange?.(); }), host), draw };
}

/** Change one bit of the message: enough to make every verdict negative. */
function flip() {
  if (work.source === 'file' && work.data?.length) { Object.assign(work, { data: work.data.slice(), digests: {} }); work.data[0] ^= 1; return 'The lowest bit of the first byte is flipped, in memory only.'; }
  if (work.source === 'digest' || !work.text) return null;
  work.text = String.fromCharCode(work.text.charCodeAt(0) ^ 1) + work.text.slice(1);
  return 'The lowest bit of the first character is flipped.';
}

const LIMITS = ['Whether the version was revoked or disabled since.', 'When the signature was made.', 'Whether this public key belongs to whom you think: it trusts the key that you provide.'];
const limits = (open = false) => h('details.small', { open }, h('summary', 'What the browser cannot know'), h('ul.plain.dim', LIMITS.map((t) => h('li', t))));

function browserPanel(local, server, why) {
  const kind = local.verdict === 'matches' ? (server?.valid ? 'holds' : 'matches') : local.verdict === 'unknown' ? 'unknown' : 'mismatch';
  return verdict(kind, 'This browser', local.because, [why && h('p.because-hint', why), local.verdict === 'unknown' ? h('p.small.dim', 'The signature may still be valid.') : limits(!server)]);
}
function serverPanel(server, why) {
  const refused = !server.valid && server.signature_valid;
  return verdict(server.valid ? 'valid' : refused ? 'refused' : 'invalid', 'Server', server.valid ? `${server.algorithm}, version ${server.version}, enabled.` : WHY[server.reason] ?? server.reason,
    [why && h('p.because-hint', why), refused && kv(['Signature', 'mathematically valid'], ['Version', server.version], server.disabled_at && ['Disabled', server.disabled_at], server.revoked_at && ['Revoked', server.revoked_at], server.revocation_reason && ['Reason', server.revocation_reason])]);
}

/** The commands for OpenSSL, for the public key that matched, or the only one there is. */
async function elsewhere(keys, local, server) {
  const key = local.key ?? keys.find((k) => k.version === server?.version) ?? (keys.length === 1 ? keys[0] : null);
  const algorithm = local.algorithm ?? server?.algorithm ?? key?.algorithm;
  if (!key || !algorithm || work.source === 'digest') return h('p.dim', work.source === 'digest' ? 'Run these checks where the file is: openssl dgst -verify needs the file, not its digest.' : 'The commands appear here once a public key matches.');
  const pem = key.pem ?? await toPem(Object.fromEntries(['kty', 'crv', 'x', 'y', 'n', 'e'].filter((m) => m in key.jwk).map((m) => [m, key.jwk[m]])), webCrypto(algorithm).key);
  try {
    return code(openssl({ pem, type: key.type, algorithm, format: work.format, signature: work.signature, text: work.source === 'text' ? work.text : null, file: work.source === 'file' ? work.file?.name : null }), 'OpenSSL, complete to paste into a shell');
  } catch { return h('p.dim', 'The signature cannot be decoded, so there is nothing to verify elsewhere.'); }
}

/** @param {HTMLElement} root @param {ViewContext} context */
export default function show(root, { path, query, signal, call }) {
  const mode = ['verify', 'sign', 'offline'].includes(path[0]) ? path[0] : 'verify';
  if (query.get('name')) work.key = query.get('name');
  if (query.get('version')) work.version = query.get('version');
  let run = 0;
  /** @type {any} the key as get-key describes it */
  let key = null;
  let signers = [];
  let ready = Promise.resolve(); // resolves when the key of the form is known
  const stale = () => { run++; fill(out, mode === 'sign' ? null : waiting()); fill(after); };
  const out = h('div', { 'aria-live': 'polite' }), after = h('div');
  const msg = messageBand({ withDigest: true, onchange: stale });

  const waiting = () => mode === 'offline' ? verdict('pending', 'This browser', 'Checks the mathematics, with the pasted public keys alone')
    : equation(verdict('pending', 'Server', 'Checks the signature and the state of the key version'), verdict('pending', 'This browser', 'Checks the mathematics, with the public key alone'), null);
  const refusal = (error) => error instanceof Refused ? notice('warn', error.message) : error instanceof Problem ? problem(error.body) : null;

  // --- the key, its versions and algorithms ----------------------------------------------------------------------------
  let listed = false; // whether the keys were listed, or that failed
  const keyBox = select([], '', { onchange: () => { work.key = keyBox.value; work.algorithm = work.version = ''; replace('sign', [mode], { name: work.key }); stale(); ready = loadKey(); } });
  const keyInput = input({ class: 'mono', value: work.key, oninput: () => { work.key = keyInput.value; stale(); }, onchange: () => { ready = loadKey(); } });
  const algorithmBox = select([], '', { onchange: () => { work.algorithm = algorithmBox.value; stale(); } });
  const formatBox = select(FORMATS, work.format, { onchange: () => { work.format = formatBox.value; stale(); } });
  const versionBox = select([], '', { onchange: () => { work.version = versionBox.value; stale(); } });
  const keyField = field('Key', keyBox), typedField = field('Key', keyInput, { hint: 'This credential may not list keys: type the name.' }), versionField = field('Version', versionBox);
  const keyHost = h('div.fields', keyField, typedField, field('Algorithm', algorithmBox), field('Format', formatBox), versionField);
  const type = () => key?.type ?? signers.find((k) => k.name === work.key)?.type;
  const algorithm = () => work.algorithm || key?.algorithm || (type() ? algorithmsOf(type())[0] : 'PS256');
  /** @returns {import('../crypto/jwk.js').PublicKey[]} */
  const publicKeys = () => (key?.versions ?? []).filter((v) => v.public_key_jwk).map((v) => ({ jwk: v.public_key_jwk, type: key.type, kid: v.key_id, algorithm: key.algorithm ?? undefined, version: v.version, state: v.state, pem: v.public_key_pem }));
  function drawKey() {
    const names = [...new Set([...signers.map((k) => k.name), work.key])].filter(Boolean);
    keyField.hidden = listed && !signers.length;
    typedField.hidden = !keyField.hidden;
    setOptions(keyBox, names.map((n) => [n, listed ? `${n} · ${signers.find((k) => k.name === n)?.type ?? 'not created yet'}` : n]), work.key);
    const all = type() ? algorithmsOf(type()) : work.algorithm ? [work.algorithm] : [];
    if (!all.includes(work.algorithm)) work.algorithm = '';
    setOptions(algorithmBox, [['', `the key’s own${all.length ? `, ${key?.algorithm ?? all[0]}` : ''}`], ...all], work.algorithm);
    versionField.hidden = !(key?.versions.length > 1);
    setOptions(versionBox, [['', mode === 'sign' ? `the current, ${key?.current_version}` : 'any'], ...(key?.versions ?? []).map((v) => [String(v.version), `${v.version} · ${v.state}`])], work.version);
  }
  async function loadKey() {
    const name = work.key;
    key = null;
    try {
      const found = await call('get-key', { name });
      if (work.key === name && !signal.aborted) key = found;
    } catch (error) {
      if (!(error instanceof Problem)) { if (error?.name === 'AbortError') return; throw error; }
      // Without get-key, the published keys still say what is public.
      const set = await call('key-jwks', { name }).catch(() => null);
      if (set && work.key === name) key = { name, type: (await readKeys(JSON.stringify(set)))[0]?.type, algorithm: null, versions: set.keys.map((jwk) => ({ public_key_jwk: jwk, key_id: jwk.kid })) };
    }
    if (!signal.aborted) drawKey();
  }
  async function loadKeys() {
    drawKey();
    try {
      const page = await call('list-keys', { limit: 1000 });
      signers = page.keys.filter((k) => k.purpose === 'sign');
      if (!signers.some((k) => k.name === 'default')) signers.push({ name: 'default', type: undefined });
    } catch (error) { if (!(error instanceof Problem)) { if (error?.name === 'AbortError') return; throw error; } }
    if (signal.aborted) return;
    listed = true;
    work.key ||= signers[0]?.name ?? 'default';
    if (!signers.length) keyInput.value = work.key;
    drawKey();
    await loadKey();
  }

  // --- verify ------------------------------------------------------------------------------------------------------------
  const signature = h('textarea.mono', { rows: '3', spellcheck: 'false', id: 'signature', oninput: () => { work.signature = signature.value; stale(); } });
  signature.value = work.signature;
  const signatureField = h('div.field', h('label', { for: 'signature' }, 'Signature'), signature, h('span.hint', 'Base64 or base64url; for JWS the whole token'));

  async function check() {
    const mine = ++run;
    await ready;
    if (mine !== run) return;
    fill(after);
    if (!work.signature.trim()) { fill(out, notice('info', 'Paste a signature first.')); signature.focus(); return; }
    if (mode !== 'offline' && !key) await loadKey();
    let keys = publicKeys();
    if (mode === 'offline') {
      try { keys = await readKeys(work.publicKeys); } catch (error) { fill(out, notice('warn', error.message)); return; }
    }
    const version = mode === 'offline' || !work.version ? undefined : Number(work.version);
    await sayHashing(out);
    if (mine !== run) return;
    const question = { keys, message: message(), signature: work.signature, format: work.format, algorithm: work.algorithm || undefined, version };
    const here = message() || work.format === 'jws' ? verifyHere(question) : Promise.resolve({ verdict: 'unknown', because: work.source === 'file' ? 'There is no file.' : 'WebCrypto hashes the message itself, so it needs the message and not its digest.', ms: 0 });
    const started = performance.now();
    let took = 0;
    const there = mode === 'offline' ? null : messageFields(type() ?? '', algorithm(), work.format)
      .then((fields) => call('verify', { key: work.key, ...(work.format === 'jws' ? {} : fields), signature: work.signature.trim(), algorithm: work.algorithm || undefined, version, format: work.format }))
      .then((server) => /** @type {any} */ ({ server })).catch((error) => /** @type {any} */ ({ error })).finally(() => { took = performance.now() - started; });
    const [local, result] = /** @type {[any, any]} */ (await Promise.all([here, there]));
    if (mine !== run || signal.aborted || result?.error?.name === 'AbortError') return;
    const negative = local.verdict === 'mismatch' || local.verdict === 'malformed';
    const why = negative ? await explain(question, work.source === 'text' ? work.text : null) : null;
    if (mine !== run || signal.aborted) return;
    if (mode === 'offline') {
      fill(out, browserPanel(local, null, why), h('p.small.faint.timing', `No call was made. Browser ${ms(local.ms)}.`));
      say(`This browser: ${local.because}`);
    } else if (result.error) {
      const shown = refusal(result.error);
      if (!shown) throw result.error;
      fill(out, equation(verdict('unknown', 'Server', 'The server returned no verdict.', shown), browserPanel(local, null, why), null), h('p.small.dim.timing', 'Only the browser gave a verdict, and it cannot know everything.'));
      say('The server returned no verdict');
    } else {
      const { server } = result;
      const equal = local.verdict === 'unknown' ? null : (local.verdict === 'matches') === Boolean(server.valid || server.signature_valid);
      const refused = !server.valid && server.signature_valid;
      fill(out, equation(serverPanel(server, why), browserPanel(local, server), refused && equal ? 'in mathematics' : equal),
        h('p.small.dim.timing', refused && equal ? 'Both agree that the signature matches. Only the server knows that its version is no longer trusted: act on “Refused”.'
          : equal == null ? 'The browser has no verdict, so there is nothing to compare.' : equal ? 'Both agree.' : 'The verdicts differ. Report this with the copied call.',
        h('span.faint', ` Server ${ms(took)}, browser ${ms(local.ms)}.`)));
      say(`Server: ${server.valid ? 'valid' : refused ? 'refused' : 'not valid'}. Browser: ${local.because}`);
    }
    if (work.format === 'jws' && local.payload) out.append(h('div.field', h('p.label', 'Payload, whether or not it verifies'), h('pre.code-plain', { tabindex: '0', role: 'group', 'aria-label': 'Payload of the JWS' }, new TextDecoder().decode(local.payload))));
    fill(after, await elsewhere(keys, local, result?.server));
  }
  const flipped = h('span.faint.small', { role: 'status' });
  const verifyBands = () => [
    msg.node,
    mode === 'offline' && band('Public keys', 'A JWKS, one JWK, or PEM. Nothing is fetched.', field('Public keys', Object.assign(h('textarea.mono', { rows: '6', spellcheck: 'false', oninput: (e) => { work.publicKeys = e.target.value; stale(); } }), { value: work.publicKeys })),
      h('div.fields', field('Algorithm', select([['', 'the key’s own'], 'ES256', 'ES384', 'ES512', 'EdDSA', 'PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512'], work.algorithm, { onchange: (e) => { work.algorithm = e.target.value; stale(); } })), field('Format', select(FORMATS, work.format, { onchange: (e) => { work.format = e.target.value; stale(); } }))),
      h('div.actions', h('button', { type: 'button', onclick: async (e) => {
        const area = e.target.closest('.band').querySelector('textarea');
        try { area.value = work.publicKeys = JSON.stringify(await call('jwks'), null, 2); stale(); } catch (error) { const shown = refusal(error); if (shown) fill(out, shown); else throw error; }
      } }, 'Take this app’s JWKS'))),
    band('Signature', null, mode === 'offline' ? null : keyHost, signatureField,
      h('div.actions', h('button.primary', { type: 'button', onclick: check }, mode === 'offline' ? 'Verify here' : 'Verify twice'),
        h('button', { type: 'button', onclick: () => { const words = flip(); if (words) { msg.draw(); fill(flipped, words); check(); } else fill(flipped, 'There is no message to change.'); } }, 'Flip one bit of the message'), flipped)),
    band(mode === 'offline' ? 'Verdict' : 'Verdicts', mode === 'offline' ? 'By this browser alone.' : 'A double rule marks a proof.', out),
    band('Verify elsewhere', 'It takes the public key and OpenSSL.', after)];

  // --- sign ----------------------------------------------------------------------------------------------------------------
  const button = taskButton('button.primary', async () => {
    const mine = ++run;
    fill(out); fill(after);
    await ready;
    await sayHashing(out);
    try {
      const started = performance.now();
      const fields = await messageFields(type() ?? '', algorithm(), work.format);
      const signed = await call('sign', { key: work.key || 'default', ...fields, algorithm: work.algorithm || undefined, version: work.version ? Number(work.version) : undefined, format: work.format });
      const took = performance.now() - started;
      if (mine !== run || signal.aborted) return;
      work.signature = signed.signature;
      if (!key) await loadKey();
      const keys = publicKeys();
      const local = message() || work.format === 'jws' ? await verifyHere({ keys, message: message(), signature: signed.signature, format: work.format, algorithm: signed.algorithm, version: signed.version })
        : { verdict: 'unknown', because: 'WebCrypto hashes the message itself, so it needs the message and not its digest.', ms: 0 };
      if (mine !== run || signal.aborted) return;
      fill(out, kv(['Signature', exact(signed.signature)], ['Key', `${signed.key}, version ${signed.version}`], ['Algorithm', signed.algorithm], ['Key id', exact(signed.key_id)], ['Took', ms(took)]),
        h('div.first-check', browserPanel(local, local.verdict === 'matches' ? { valid: true } : null)), h('div.actions', h('a.button', { href: to('sign', ['verify'], { name: work.key }) }, 'Verify it twice')));
      say('Signed');
      fill(after, await elsewhere(keys, local, signed));
      if (!signers.some((k) => k.name === signed.key && k.type)) loadKeys();
    } catch (error) {
      if (error?.name === 'AbortError' || signal.aborted) return;
      const shown = refusal(error);
      if (!shown) throw error;
      fill(out, shown);
      say(error.message);
    }
  }, icon('seal', 14), 'Sign');
  const signBands = () => [msg.node, band('Key', null, keyHost, h('div.actions', button, !may('sign') && h('span.faint.small', 'This credential may not call sign.'))), band('Response', null, out), band('Verify elsewhere', 'It takes the public key and OpenSSL.', after)];

  root.append(h('div.sheet', head('Sign & verify', 'Private keys stay in the app. Anyone can check their signatures.'),
    tabs('Modes', [['Verify', to('sign', ['verify']), mode === 'verify'], ['Sign', to('sign', ['sign']), mode === 'sign'], ['Offline', to('sign', ['offline']), mode === 'offline']]),
    h('div.bands', mode === 'sign' ? signBands() : verifyBands())));
  if (mode !== 'sign') fill(out, waiting());
  if (mode !== 'offline') ready = loadKeys();
}
