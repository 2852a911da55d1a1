// Sign-in as a user: password, then a factor; a passkey alone; single sign-on.
import { h, fill } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { to } from '../lib/router.js';
import { base } from '../lib/base.js';
import { call, Problem } from '../lib/api.js';
import { signedIn } from '../lib/credential.js';
import { exists } from '../lib/functions.js';
import { field, input, notice, say } from './bits.js';
import { problem } from './load.js';

const REASONS = {
  'wrong-credentials': 'The user or the password is wrong.', 'wrong-code': 'The code is wrong, or was used before.', 'wrong-passkey': 'The passkey does not belong to this user.',
  expired: 'The sign-in took too long. Start again.', reused: 'The session was ended, because its token was used twice.', disabled: 'An operator has disabled this user.',
};
const VERIFIER = 'strongroom.sso';
const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

/** The form of sign-in, which leads to the address `then`; after single sign-on it goes on with `back`. @param {AbortSignal} signal @param {any} back @param {string} then */
export function signIn(signal, back, then) {
  const host = h('div.connect-form');
  const out = h('div', { role: 'status' });
  let name = '';
  /** Send a step; show the next one, the reason, or the problem. */
  async function send(fields) {
    fill(out);
    try {
      const response = await call('sign-in', fields, { signal });
      if (response.signed_in) { signedIn(response, name); say('Signed in'); location.hash = then; }
      else if (response.ticket) factor(response.ticket, response.factors ?? []);
      else { fill(out, notice('bad', REASONS[response.reason] ?? `Refused: ${response.reason}`)); if (response.reason === 'expired') { first(); focusFirst(); } }
    } catch (error) { show(error); }
  }
  function show(error) {
    if (error instanceof Problem) fill(out, problem(error.body)); else if (error.name !== 'AbortError') fill(out, notice('bad', `The browser refused: ${error.message}`));
  }
  /** Let the browser request a passkey: as the second factor of a ticket, or alone. */
  async function passkey(ticket) {
    try {
      const begun = await call('begin-passkey-sign-in', ticket ? { ticket } : {}, { signal });
      const options = /** @type {any} */ (PublicKeyCredential).parseRequestOptionsFromJSON(begun.options);
      const chosen = /** @type {any} */ (await navigator.credentials.get({ publicKey: options, signal }));
      await send({ ticket: begun.ticket, passkey: chosen.toJSON() });
    } catch (error) { show(error); }
  }
  /** After a step replaced the form. */
  const focusFirst = () => /** @type {HTMLElement|null} */ (host.querySelector('button, input'))?.focus();
  function first() {
    const user = input({ name: 'user', autocomplete: 'username', required: true, value: name }), password = input({ name: 'password', type: 'password', autocomplete: 'current-password', required: true });
    const providers = h('div.actions');
    fill(host, h('form', { onsubmit: (e) => { e.preventDefault(); name = user.value; const fields = { user: user.value, password: password.value }; password.value = ''; send(fields); } },
      h('div.fields', field('User', user), field('Password', password)),
      h('div.actions', h('button.primary', { type: 'submit' }, 'Sign in'), 'PublicKeyCredential' in globalThis ? h('button', { type: 'button', onclick: () => passkey(null) }, icon('key', 14), 'Passkey') : null), providers), out);
    if (exists('list-providers')) call('list-providers', {}, { signal, quiet: true }).then(({ providers: found }) => fill(providers, found.map((p) => h('button', { type: 'button', onclick: () => startSso(p) }, `Continue with ${p.name}`))), () => {});
  }
  function factor(ticket, factors) {
    const code = input({ name: 'code', inputmode: 'numeric', autocomplete: 'one-time-code', class: 'mono' }), recovery = input({ name: 'recovery_code', class: 'mono' });
    const one = (box, key, label, verb) => h('form', { onsubmit: (e) => { e.preventDefault(); const value = box.value; box.value = ''; if (value.trim()) send({ ticket, [key]: value }); } }, h('div.fields', field(label, box)), h('div.actions', h('button', { type: 'submit' }, verb)));
    fill(host, h('p.dim', 'The password is right. Confirm with one of your factors.'),
      factors.includes('passkey') ? h('div.actions', h('button.primary', { type: 'button', onclick: () => passkey(ticket) }, icon('key', 14), 'Passkey')) : null,
      factors.includes('totp') ? one(code, 'code', 'Code of your authenticator app', 'Confirm') : null,
      factors.includes('recovery-code') ? one(recovery, 'recovery_code', 'Recovery code', 'Use it') : null,
      h('div.actions', h('button.quiet', { type: 'button', onclick: () => { fill(out); first(); focusFirst(); } }, 'Start again')), out);
    focusFirst();
    say('Confirm with a second factor');
  }
  first();
  if (back instanceof Error) fill(out, notice('bad', back.message)); else if (back) { name = 'single sign-on'; send(back); }
  return host;
}

/** Leave for the provider. The secret of this flow waits in the tab; what the tab holds in memory is lost on the way. */
async function startSso({ start_url }) {
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  const challenge = base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier))));
  sessionStorage.setItem(VERIFIER, verifier);
  const url = new URL(start_url, base);
  url.searchParams.set('return_to', `${new URL('console/', base)}`);
  url.searchParams.set('code_challenge', challenge);
  location.assign(url);
}

/** Back from the provider: what `sign-in` takes now; null if the page does not come from there, an Error if that failed. */
export function backFromSso(query) {
  if (!query.has('ticket') && !query.has('error')) return null;
  const verifier = sessionStorage.getItem(VERIFIER);
  sessionStorage.removeItem(VERIFIER);
  history.replaceState(null, '', to('connect'));
  if (query.has('error')) return new Error(`Single sign-on failed: ${query.get('error')}.`);
  return verifier ? { ticket: query.get('ticket'), code_verifier: verifier } : new Error('This tab did not start the sign-in. Start it again here.');
}
