// What exists behind the credential: keys, databases, containers, users. Loaded once, on demand, and again on request.
import { call } from './api.js';
import { exists, may } from './functions.js';
import { state, tell, watch } from './state.js';
import { credential } from './credential.js';

/** @typedef {'keys'|'databases'|'containers'|'users'|'queries'|'models'} Kind */
/** @type {Record<Kind, [FunctionName, any, (response: any) => any[]]>} */
const LISTS = {
  keys: ['list-keys', { limit: 200 }, (r) => r.keys],
  databases: ['list-databases', {}, (r) => r.databases],
  containers: ['list-blobs', {}, (r) => r.containers],
  users: ['list-users', { limit: 200 }, (r) => r.users],
  queries: ['list-queries', {}, (r) => r.queries],
  models: ['list-models', {}, (r) => r.models],
};
/** @type {Map<string, Promise<{items: any[], more: boolean}>>} */
const cached = new Map();
watch((what) => { if (what === 'credential' && !credential()) cached.clear(); });

/**
 * The objects of one kind ('keys', 'databases', 'containers', 'users'); `more` if the list goes on behind the first
 * page. Rejects with Problem.
 * @param {Kind} kind
 */
export function objects(kind, { fresh = false, signal = undefined } = {}) {
  const [name, fields, pick] = LISTS[kind];
  if (fresh || !cached.has(kind)) {
    const result = call(name, fields, { signal }).then((body) => { tell('objects'); return { items: pick(body) ?? [], more: Boolean(body.cursor) }; });
    cached.set(kind, result);
    result.catch(() => { if (cached.get(kind) === result) cached.delete(kind); });
  }
  return /** @type {Promise<{items: any[], more: boolean}>} */ (cached.get(kind));
}
/** Whether a list may be worth a call: there is a credential, or the app enforces none. @param {Kind} kind */
export const reachable = (kind) => Boolean(credential() || state.open) && exists(LISTS[kind][0]) && may(LISTS[kind][0]);
export const KINDS = /** @type {Kind[]} */ (Object.keys(LISTS));
