// Public keys as people paste them: a JWKS, one JWK, or PEM.
import { fromBase64, toBase64url } from '../lib/format.js';

/**
 * @typedef {{ jwk: JsonWebKey & { kid?: string, pub?: string }, type: string, kid?: string, algorithm?: string, version?: number, state?: string, pem?: string }} PublicKey
 */

export class UnreadableKey extends Error {}

/** The type as create-key names it, or null for a key that makes no signatures that the console knows. */
export function typeOf(jwk) {
  if (jwk.kty === 'EC') return ['P-256', 'P-384', 'P-521'].includes(jwk.crv) ? jwk.crv : null;
  if (jwk.kty === 'OKP') return jwk.crv === 'Ed25519' ? 'Ed25519' : null;
  if (jwk.kty === 'RSA') return `RSA-${8 * fromBase64(jwk.n ?? '').length}`;
  if (jwk.kty === 'AKP') return /^ML-DSA-(44|65|87)$/.test(jwk.alg) ? jwk.alg : null;
  return null;
}

const RSA = ['PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512'];
const ONE = { 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512', Ed25519: 'EdDSA' };
/** The algorithms of a type of key, the app's default first. */
export const algorithmsOf = (type) => type.startsWith('RSA') ? RSA : [ONE[type] ?? type];

/** @returns {PublicKey | null} */
function publicKey(jwk) {
  if (!jwk || typeof jwk !== 'object') throw new UnreadableKey('An entry of the set is not an object.');
  if ('d' in jwk || 'k' in jwk || 'priv' in jwk) throw new UnreadableKey('This is a private or symmetric key. Remove it, and paste public keys only.');
  const type = typeOf(jwk);
  if (!type || jwk.use === 'enc') return null;
  return { jwk, type, kid: jwk.kid, algorithm: jwk.alg };
}

// The object identifiers of RFC 3279, 5480 and 8410, as hexadecimal of their DER.
/** @type {[string, any][]} */
const OIDS = [['2a864886f70d010101', { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }], ['2a8648ce3d030107', { name: 'ECDSA', namedCurve: 'P-256' }],
  ['2b81040022', { name: 'ECDSA', namedCurve: 'P-384' }], ['2b81040023', { name: 'ECDSA', namedCurve: 'P-521' }], ['2b6570', { name: 'Ed25519' }]];

async function fromPem(text) {
  const found = /-----BEGIN ([A-Z ]+)-----([\s\S]*?)-----END \1-----/.exec(text);
  if (!found || found[1] !== 'PUBLIC KEY') throw new UnreadableKey(found?.[1].includes('PRIVATE') ? 'This is a private key. Remove it, and paste the public key only.' : 'Only PEM of the kind PUBLIC KEY can be read here.');
  const der = fromBase64(found[2].replace(/\s/g, ''));
  const head = Array.from(der.subarray(0, 40), (b) => b.toString(16).padStart(2, '0')).join('');
  const algorithm = /** @type {[string, any][]} */ (OIDS).find(([oid]) => head.includes(oid))?.[1];
  if (!algorithm) throw new UnreadableKey('This PEM has a type of key that this page does not know.');
  const key = await crypto.subtle.importKey('spki', der, algorithm, true, ['verify']);
  const { kty, crv, x, y, n, e } = await crypto.subtle.exportKey('jwk', key);
  return JSON.parse(JSON.stringify({ kty, crv, x, y, n, e })); // without the members that WebCrypto adds: alg, ext, key_ops
}

/**
 * The public keys for signatures in a pasted text. Raises UnreadableKey with a sentence for the person.
 * @param {string} text @returns {Promise<PublicKey[]>}
 */
export async function readKeys(text) {
  let found;
  if (text.includes('-----BEGIN')) {
    try { found = [await fromPem(text)]; }
    catch (error) { throw error instanceof UnreadableKey ? error : new UnreadableKey('This PEM is damaged.'); }
  } else {
    try { found = JSON.parse(text); } catch { throw new UnreadableKey('This is neither JSON nor PEM.'); }
    found = Array.isArray(found?.keys) ? found.keys : [found];
  }
  const keys = found.map(publicKey).filter(Boolean);
  if (!keys.length) throw new UnreadableKey('There is no public key for signatures in it.');
  return keys;
}

/** SubjectPublicKeyInfo as PEM (RFC 7468), for OpenSSL. @param {JsonWebKey} jwk @param {any} algorithm as importKey takes it */
export async function toPem(jwk, algorithm) {
  const key = await crypto.subtle.importKey('jwk', jwk, algorithm, true, ['verify']);
  const text = toBase64url(new Uint8Array(await crypto.subtle.exportKey('spki', key))).replaceAll('-', '+').replaceAll('_', '/');
  return `-----BEGIN PUBLIC KEY-----\n${text.padEnd(Math.ceil(text.length / 4) * 4, '=').replace(/.{64}(?=.)/g, '$&\n')}\n-----END PUBLIC KEY-----\n`;
}
