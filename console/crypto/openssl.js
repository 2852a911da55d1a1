// The commands with which OpenSSL verifies a signature, complete: they can be pasted into a shell as they are.
import { toBase64url, fromBase64 } from '../lib/format.js';
import { SIZES, toDer } from './der.js';

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const base64 = (bytes) => { const text = toBase64url(bytes).replaceAll('-', '+').replaceAll('_', '/'); return text.padEnd(Math.ceil(text.length / 4) * 4, '='); };

/**
 * @param {{ pem: string, type: string, algorithm: string, format: string, signature: string, text?: string | null, file?: string | null }} signed
 * `text` is the message, or `file` the name of the file with it; a compact JWS needs neither.
 */
export function openssl({ pem, type, algorithm, format, signature, text, file }) {
  const lines = [`cat > key.pem <<'EOF'\n${pem.trim()}\nEOF`];
  let bytes, input = file ? (file.startsWith('-') ? `./${file}` : file) : 'message.txt';
  if (format.startsWith('jws')) {
    const [header, payload, last] = signature.trim().split('.');
    bytes = fromBase64(last);
    if (format === 'jws') { input = 'message.txt'; lines.push(`printf %s ${quote(`${header}.${payload}`)} > message.txt`); }
    else if (file) { lines.push(`{ printf %s ${quote(`${header}.`)}; cat ${quote(input)}; } > message.bin`); input = 'message.bin'; }
    else lines.push(`printf %s ${quote(`${header}.${text}`)} > message.txt`);
  } else {
    bytes = fromBase64(signature.trim());
    if (!file) lines.push(`printf %s ${quote(text ?? '')} > message.txt`);
  }
  if (SIZES[type] && format !== 'der') bytes = toDer(bytes); // OpenSSL reads ECDSA signatures as DER
  lines.push(`printf %s ${quote(base64(bytes))} | openssl base64 -d -A > message.sig`);
  const hash = { 256: 'sha256', 384: 'sha384', 512: 'sha512' }[algorithm.slice(2)];
  if (hash && !algorithm.startsWith('ML')) lines.push(`openssl dgst -${hash} -verify key.pem${algorithm.startsWith('PS') ? ' -sigopt rsa_padding_mode:pss' : ''} -signature message.sig ${quote(input)}`);
  else lines.push(`${algorithm.startsWith('ML') ? '# needs OpenSSL 3.5\n' : ''}openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in ${quote(input)} -sigfile message.sig`);
  return lines.join('\n');
}
