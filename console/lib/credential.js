// The credential: in this module's memory, in the tab's sessionStorage only if the person chooses that, and in other
// tabs of the console only after the person agreed. Nothing else of the console sees it; api.js gets the headers.
import { state, tell } from './state.js';

const STORED = 'strongroom.credential';
const IDLE_MINUTES = 15;

/** @typedef {{token: string, refresh: string, expires: number, user: string, sessionId: string}} Session tokens, and when the access token ends (ms) */
/** @type {{key?: string, session?: Session, from: string, keep: boolean}|null} */
let held = null;
let shares = false;           // the person agreed that other tabs get the credential
let active = Date.now();
let idle = IDLE_MINUTES;
let locked = false;
let ended = false;            // the session ended without the person's doing
let warned = false;
const channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel('strongroom-console') : null;

/** What may be shown of the credential; null without one. */
export const credential = () => held && {
  kind: held.session ? 'session' : 'key', name: held.session?.user ?? 'Function key', key: Boolean(held.key), user: held.session?.user, sessionId: held.session?.sessionId,
  from: held.from, keep: held.keep, shares,
};
export const isLocked = () => locked;
export const sessionEnded = () => ended;
/** Whether the key came in the address as `?code=`, where logs and histories have it now. */
export const cameByCode = () => warned;
export const idleMinutes = () => idle;
export const setIdleMinutes = (minutes) => { idle = minutes; active = Date.now(); tell('credential'); };
/** Minutes until the console locks. */
export const locksIn = () => Math.max(0, Math.ceil(idle - (Date.now() - active) / 60000));

/** The headers that carry the credential to a function of this access. */
export function headersFor(access) {
  if (!held || access === 'public') return {};
  return { ...(held.key ? { 'x-functions-key': held.key } : {}), ...(held.session ? { authorization: `Bearer ${held.session.token}` } : {}) };
}
/** The refresh token if the access token ends within a minute. */
export const expiring = () => held?.session && held.session.expires - Date.now() < 60000 ? held.session.refresh : null;
/** Take the tokens of `sign-in` or `refresh-session`. */
export function signedIn(response, user = held?.session?.user ?? '') {
  connect({ session: { token: response.access_token, refresh: response.refresh_token, expires: Date.now() + response.expires_in * 1000, user, sessionId: response.session_id } }, { from: held?.from ?? 'signed in' });
  if (shares) offer(); // The old refresh token is spent: other tabs must not use it.
}
/** Drop the session: the person signed out, or the app ended it. A function key stays. */
export function endSession({ byApp = false } = {}) {
  if (!held?.session) return;
  ended = byApp;
  const { session, ...rest } = held;
  held = rest.key ? rest : null;
  state.allowed.clear();
  store();
  tell('credential');
}

/**
 * Take a credential. `keep`: also in the tab's sessionStorage, so that a reload finds it.
 * @typedef {{key?: string, session?: Session}} Credential
 * @param {Credential} credential
 * @param {{from?: string, keep?: boolean, share?: boolean}} [options]
 */
export function connect({ key, session }, { from = 'typed', keep = held?.keep ?? false, share = shares } = {}) {
  held = { ...held, ...(key ? { key } : {}), ...(session ? { session } : {}), from, keep };
  shares = share;
  locked = ended = false;
  active = Date.now();
  state.allowed.clear();
  store();
  tell('credential');
}
function store() {
  if (held?.keep) sessionStorage.setItem(STORED, JSON.stringify({ ...held, shares }));
  else sessionStorage.removeItem(STORED);
}
/** Forget the credential, drafts and the list of calls, here and in every other tab of the console. */
export function forget() { drop(); channel?.postMessage({ type: 'forget' }); }
function drop({ lock = false } = {}) {
  held = null;
  shares = false;
  locked = lock;
  ended = false;
  warned = false;
  state.allowed.clear();
  state.calls.length = 0;
  if (lock) sessionStorage.removeItem(STORED); else for (const name of Object.keys(sessionStorage)) if (name.startsWith('strongroom.')) sessionStorage.removeItem(name);
  tell('credential');
  tell('calls');
}
/** Drop the credential of this tab. Drafts stay. */
export const lock = () => held && drop({ lock: true });

/**
 * Take over a key of the address and erase it there, before anything else reads the address: `#key=…` (with `&to=%2Fsql`
 * also a page), or `?code=…`. A field named `key` in the query of a page (`#/functions/sign?key=invoices`) is no credential.
 */
export function liftFromAddress() {
  const search = new URLSearchParams(location.search);
  const code = search.get('code');
  const linked = location.hash.startsWith('#key=') ? new URLSearchParams(location.hash.slice(1).replaceAll('+', '%2B')) : null;
  if (search.has('ticket') || search.has('error')) {
    // Back from single sign-on: the ticket goes to Connect, and out of the address there.
    const back = new URLSearchParams([...search].filter(([name]) => name === 'ticket' || name === 'error'));
    history.replaceState(null, '', `${location.pathname}#/connect?${back}`);
    return false;
  }
  if (code === null && !linked) return false;
  search.delete('code');
  const page = linked ? linked.get('to') ?? '' : location.hash.slice(1);
  history.replaceState(null, '', `${location.pathname}${search.size ? `?${search}` : ''}${page ? `#${page}` : ''}`);
  const key = linked?.get('key') || code;
  if (key) connect({ key }, { from: linked ? 'link' : 'code' });
  warned = Boolean(code);
  return Boolean(key);
}

/** Start: the address, then sessionStorage, then the other tabs. `onask` runs when another tab requests the credential. */
export function start({ onask }) {
  if (!liftFromAddress()) {
    try {
      const kept = JSON.parse(sessionStorage.getItem(STORED) ?? 'null');
      if (kept) { const { shares: shared, ...rest } = kept; held = rest; shares = shared; }
    } catch { sessionStorage.removeItem(STORED); }
  }
  if (channel) {
    channel.onmessage = ({ data }) => {
      if (data?.type === 'forget') drop();
      else if (data?.type === 'active') active = Date.now();
      else if (data?.type === 'hello' && held) { if (shares) offer(); else onask(); }
      else if (data?.type === 'offer' && data.credential?.session && held?.session?.sessionId === data.credential.session.sessionId) { held.session = data.credential.session; store(); }
      else if (data?.type === 'offer' && !held && data.credential) connect(data.credential, { from: 'another tab', keep: false, share: true });
    };
    if (!held) channel.postMessage({ type: 'hello' });
  }
  let reported = 0;
  const touch = () => {
    active = Date.now();
    if (held && active - reported > 10000) { reported = active; channel?.postMessage({ type: 'active' }); }
  };
  for (const type of ['pointerdown', 'keydown', 'wheel', 'touchstart']) addEventListener(type, touch, { passive: true, capture: true });
  const check = () => { if (held && Date.now() - active >= idle * 60000) lock(); };
  setInterval(() => { check(); if (held) tell('clock'); }, 15000);
  document.addEventListener('visibilitychange', check);
}
/** The person agrees: other tabs of the console get the credential, now and later. */
export function share() { shares = true; store(); offer(); tell('credential'); }
const offer = () => channel?.postMessage({ type: 'offer', credential: held });
