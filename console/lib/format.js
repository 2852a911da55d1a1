// Pure functions from values to exact text.
export const bytes = (n) => n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(n < 10240 ? 1 : 0)} KiB`
  : n < 1073741824 ? `${(n / 1048576).toFixed(1)} MiB` : `${(n / 1073741824).toFixed(2)} GiB`;
export const count = (n) => Number(n).toLocaleString('en-GB').replaceAll(',', '\u202f');
export const ms = (n) => n < 10 ? `${n.toFixed(1)} ms` : n < 1000 ? `${Math.round(n)} ms` : `${(n / 1000).toFixed(1)} s`;
export const short = (id, n = 10) => id.length > n + 2 ? `${id.slice(0, n)}…` : id;

export function ago(iso) {
  const seconds = (Date.now() - new Date(iso).getTime()) / 1000;
  const [n, unit] = Math.abs(seconds) < 90 ? [seconds, 's'] : Math.abs(seconds) < 5400 ? [seconds / 60, 'min']
    : Math.abs(seconds) < 129600 ? [seconds / 3600, 'h'] : [seconds / 86400, 'd'];
  const whole = Math.round(Math.abs(n));
  return seconds < 0 ? `in ${whole} ${unit}` : `${whole} ${unit} ago`;
}
export const day = (iso) => iso.slice(0, 10);
export const clock = (iso) => iso.slice(11, 19);

const utf8 = new TextEncoder();
export const toBytes = (text) => utf8.encode(text);
export function fromBase64(text) {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (c) => c.charCodeAt(0));
}
/** Base64url without padding, as the app writes bytes. */
export function toBase64url(data) {
  let binary = '';
  for (let at = 0; at < data.length; at += 8192) binary += String.fromCharCode(...data.subarray(at, at + 8192));
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}
export const hex = (data) => Array.from(data, (b) => b.toString(16).padStart(2, '0')).join('');
