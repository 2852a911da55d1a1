// Sign & verify: two verdicts side by side, offline verification, files, and what OpenSSL says to all of it.
import { execFileSync } from 'node:child_process';
import { createHash, createPublicKey, generateKeyPairSync, sign as nodeSign, verify as nodeVerify } from 'node:crypto';
import { mkdtempSync, writeFileSync, copyFileSync, openSync, closeSync, ftruncateSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = () => mkdtempSync(join(tmpdir(), 'console-sign-'));
const verdicts = (t) => t.page.locator('.verdict .verdict-word').allInnerTexts();
async function choose(t, label, value) { await t.page.getByLabel(label, { exact: true }).selectOption(value); }

/** Sign the text by the form. Returns the signature that the page shows. */
async function sign(t, { key, text, algorithm = '', format = 'raw' }) {
  await t.go(`#/sign/sign?name=${key}`);
  await t.until(async () => (await t.page.getByLabel('Algorithm', { exact: true }).locator('option').count()) > 1);
  await t.page.getByRole('radio', { name: 'Text' }).check({ force: true });
  await t.page.locator('#message').fill(text);
  await choose(t, 'Algorithm', algorithm);
  await choose(t, 'Format', format);
  await t.page.getByRole('button', { name: 'Sign', exact: true }).click();
  await t.page.locator('.verdict').waitFor();
  return t.page.locator('.kv .exact code').first().innerText();
}
/** Run the commands that the page shows, in a folder of their own. */
async function shell(t, files = {}) {
  const commands = await t.page.locator('figure.code', { hasText: 'OpenSSL' }).locator('pre').textContent();
  const at = folder();
  for (const [name, path] of Object.entries(files)) copyFileSync(path, join(at, name));
  try { return execFileSync('sh', ['-e', '-c', commands], { cwd: at, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }); } finally { rmSync(at, { recursive: true }); }
}

check('what the form signs, the browser, the server and the shown OpenSSL commands verify', async (t) => {
  const types = { 'sign-p256': 'P-256', 'sign-p384': 'P-384', 'sign-p521': 'P-521', 'sign-ed': 'Ed25519', 'sign-rsa': 'RSA-2048' };
  for (const [name, type] of Object.entries(types)) await t.api('POST', 'keys', { name, type });
  const text = "It's 1284.50 €\nline two, with `quotes` and $variables";
  await t.open('#/sign/sign');
  for (const [key, algorithm, format] of [['sign-p256', '', 'raw'], ['sign-p384', '', 'der'], ['sign-p521', '', 'raw'], ['sign-ed', '', 'raw'], ['sign-rsa', '', 'raw'], ['sign-rsa', 'RS256', 'raw'], ['sign-rsa', 'PS512', 'raw'], ['sign-p521', '', 'jws'], ['sign-p256', '', 'jws-detached']]) {
    const what = `${key} ${algorithm} ${format}`;
    await sign(t, { key, text, algorithm, format });
    t.assert.deepEqual(await verdicts(t), ['Matches'], what);
    t.assert.match(await shell(t), /Verified OK|Signature Verified Successfully/, what);
    await t.page.getByRole('link', { name: 'Verify it twice' }).click();
    await t.page.getByRole('button', { name: 'Verify twice' }).click();
    await t.page.locator('.verdict[data-verdict="valid"]').first().waitFor();
    t.assert.deepEqual(await verdicts(t), ['Valid', 'Matches'], what);
    if (format === 'jws') continue; // a compact JWS contains its message
    await t.page.getByRole('button', { name: 'Flip one bit of the message' }).click();
    await t.page.locator('.verdict[data-verdict="invalid"]').first().waitFor();
    t.assert.deepEqual(await verdicts(t), ['Not valid', 'Does not match'], `${what}, flipped`);
  }
  await t.accessibleInAllColours('Verify with verdicts');
});

check('a negative verdict says why, and which change would make it positive', async (t) => {
  await t.api('POST', 'keys', { name: 'why', type: 'P-256' });
  await t.api('POST', 'keys', { name: 'why-rsa', type: 'RSA-2048' });
  await t.open('#/sign/verify?name=why');
  const ask = async ({ key, message, signature, format = 'raw' }) => {
    await t.go(`#/sign/verify?name=${key}&n=${Math.random()}`);
    await t.until(async () => (await t.page.getByLabel('Algorithm', { exact: true }).locator('option').count()) > 1);
    await t.page.locator('#message').fill(message);
    await t.page.locator('#signature').fill(signature);
    await choose(t, 'Format', format);
    await t.page.getByRole('button', { name: 'Verify twice' }).click();
    await t.page.locator('.timing').waitFor();
    return t.text('.equation');
  };
  const { signature } = await t.api('POST', 'sign', { key: 'why', message: 'a\nb\n' });
  t.assert.match(await ask({ key: 'why', message: 'a\nb', signature }), /Not valid[\s\S]*matches the text with a line feed at its end[\s\S]*Does not match/);
  const der = await t.api('POST', 'sign', { key: 'why', message: 'x', format: 'der' });
  t.assert.match(await ask({ key: 'why', message: 'x', signature: der.signature }), /matches as DER/);
  t.assert.match(await ask({ key: 'why', message: 'x', signature: (await t.api('POST', 'sign', { key: 'why', message: 'x', format: 'jws' })).signature }), /is a JWS/);
  const rs = await t.api('POST', 'sign', { key: 'why-rsa', message: 'x', algorithm: 'RS256' });
  t.assert.match(await ask({ key: 'why-rsa', message: 'x', signature: rs.signature }), /matches with RS256/);
  t.assert.match(await ask({ key: 'why-rsa', message: 'x', signature: '!!' }), /not base64/);

  // After a rotation the old version verifies, and is named; revoked, the server refuses it and the browser still matches.
  await t.api('POST', 'keys/why/rotate', {});
  t.assert.match(await ask({ key: 'why', message: 'a\nb\n', signature }), /Valid\s+ES256, version 1[\s\S]*Matches[\s\S]*version 1/);
  await t.api('POST', 'keys/why/revoke', { version: 1, reason: '<img src=x onerror=alert(1)>' });
  const refused = await ask({ key: 'why', message: 'a\nb\n', signature });
  t.assert.match(refused, /Refused\s+The signature matches, but its version was revoked[\s\S]*<img src=x onerror=alert\(1\)>[\s\S]*Matches/);
  t.assert.match(await t.text('.timing'), /act on “Refused”/);
  await t.accessibleInAllColours('Verify, refused');
  await t.page.setViewportSize({ width: 320, height: 700 });
  await t.fits('Verify at 320 px');
});

check('what the browser does not support is no verdict, whatever the server says', async (t) => {
  await t.api('POST', 'keys', { name: 'unknown-here', type: 'Ed25519' });
  await t.page.addInitScript(() => {
    if (!globalThis.SubtleCrypto) return; // about:blank
    const { importKey } = SubtleCrypto.prototype;
    SubtleCrypto.prototype.importKey = function (format, key, algorithm, ...rest) { return algorithm.name === 'Ed25519' ? Promise.reject(new DOMException('Not here', 'NotSupportedError')) : importKey.call(this, format, key, algorithm, ...rest); };
  });
  await t.open('#/sign/verify');
  const { signature } = await t.api('POST', 'sign', { key: 'unknown-here', message: 'x' });
  for (const message of ['x', 'y']) {
    await t.go(`#/sign/verify?name=unknown-here&n=${message}`);
    await t.until(async () => (await t.page.getByLabel('Algorithm', { exact: true }).locator('option').count()) > 1);
    await t.page.locator('#message').fill(message);
    await t.page.locator('#signature').fill(signature);
    await t.page.getByRole('button', { name: 'Verify twice' }).click();
    await t.page.locator('.timing').waitFor();
    t.assert.deepEqual(await verdicts(t), [message === 'x' ? 'Valid' : 'Not valid', 'Cannot tell']);
    t.assert.match(await t.text('.equation'), /does not support EdDSA/);
  }
});

check('offline, pasted public keys are enough, and no call is made', async (t) => {
  const pairs = [['ec', { namedCurve: 'P-256' }, 'sha256', 'ES256'], ['ec', { namedCurve: 'P-384' }, 'sha384', 'ES384'], ['ed25519', {}, null, 'EdDSA'], ['rsa', { modulusLength: 2048 }, 'sha256', 'RS256']];
  await t.open('#/sign/offline');
  await t.context.setOffline(true);
  const calls = [];
  t.page.on('request', (r) => calls.push(r.url()));
  const verify = async (keys, message, signature, algorithm = '', format = 'raw') => {
    await t.page.locator('#message').fill(message);
    await t.page.getByRole('textbox', { name: 'Public keys' }).fill(keys);
    await t.page.locator('#signature').fill(signature);
    await choose(t, 'Algorithm', algorithm);
    await choose(t, 'Format', format);
    await t.page.getByRole('button', { name: 'Verify here' }).click();
    await t.page.locator('.timing, .notice').first().waitFor();
    return (await verdicts(t))[0] ?? t.text('.bands .notice');
  };
  for (const [kind, options, hash, alg] of pairs) {
    const { privateKey, publicKey } = generateKeyPairSync(kind, options);
    const signature = nodeSign(hash, Buffer.from('offline €'), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url');
    const other = generateKeyPairSync(kind, options).publicKey.export({ format: 'jwk' });
    const jwks = JSON.stringify({ keys: [{ ...other, alg, kid: 'other' }, { ...publicKey.export({ format: 'jwk' }), alg, kid: 'right', use: 'sig', key_ops: ['verify'] }] });
    t.assert.equal(await verify(jwks, 'offline €', signature), 'Matches', alg);
    t.assert.match(await t.text('.verdict'), /right/);
    t.assert.equal(await verify(jwks, 'offline', signature), 'Does not match', alg);
    t.assert.equal(await verify(publicKey.export({ type: 'spki', format: 'pem' }), 'offline €', signature, alg), 'Matches', `${alg} by PEM`);
    t.assert.match(await shell(t), /Verified OK|Signature Verified Successfully/, alg);
  }
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  t.assert.match(await verify(JSON.stringify(privateKey.export({ format: 'jwk' })), 'x', 'AAAA'), /private or symmetric key/);
  t.assert.match(await verify('<b>', 'x', 'AAAA'), /neither JSON nor PEM/);
  t.assert.deepEqual(calls, []);
  await t.context.setOffline(false);
  await t.accessibleInAllColours('Offline');
});

check('a file of 100 MiB stays in the browser: only its digest is sent, and OpenSSL verifies it', async (t) => {
  await t.api('POST', 'keys', { name: 'sign-file', type: 'P-256' });
  const at = folder(), path = join(at, 'back up.tar');
  const file = openSync(path, 'w');
  ftruncateSync(file, 100 * 1024 * 1024);
  closeSync(file);
  try {
    await t.open('#/sign/sign?name=sign-file');
    await t.page.getByRole('radio', { name: 'File' }).check({ force: true });
    await t.page.locator('input[type=file]').setInputFiles(path);
    await t.page.getByText('20492a4d0d84f8beb1767f6616229f85d44c2827b64bdbfb260ee12fa1109e0e').waitFor(); // sha256sum of 100 MiB of zeros
    const sent = t.page.waitForRequest((r) => r.url().endsWith('/api/sign'));
    await choose(t, 'Format', 'der');
    await t.page.getByRole('button', { name: 'Sign', exact: true }).click();
    const body = (await sent).postDataJSON();
    t.assert.deepEqual([body.prehashed, body.message_base64], [true, createHash('sha256').update(Buffer.alloc(100 * 1024 * 1024)).digest('base64url')]);
    await t.page.locator('.verdict').waitFor();
    t.assert.deepEqual(await verdicts(t), ['Matches']);
    t.assert.match(await shell(t, { 'back up.tar': path }), /Verified OK/);
    await t.page.getByRole('link', { name: 'Verify it twice' }).click();
    await t.page.getByRole('button', { name: 'Flip one bit of the message' }).click();
    await t.page.locator('.timing').waitFor();
    t.assert.deepEqual(await verdicts(t), ['Not valid', 'Does not match']);

    // A digest made elsewhere: signed and verified by the server, and the browser says that it cannot tell.
    await t.go('#/sign/sign?name=sign-file');
    await t.page.getByRole('radio', { name: 'Digest' }).check({ force: true });
    await t.page.getByRole('textbox', { name: 'Digest' }).fill(createHash('sha256').update('abc').digest('hex'));
    await t.page.getByRole('button', { name: 'Sign', exact: true }).click();
    await t.page.locator('.verdict').waitFor();
    t.assert.deepEqual(await verdicts(t), ['Cannot tell']);
    const der = await t.page.locator('.kv .exact code').first().innerText();
    const { versions } = await t.api('GET', 'keys/sign-file');
    t.assert.ok(nodeVerify('sha256', Buffer.from('abc'), createPublicKey(versions[0].public_key_pem), Buffer.from(der, 'base64url')));
  } finally { rmSync(at, { recursive: true }); }
});

check('a key that signs large files only itself says so, and the page stays usable', async (t) => {
  const at = folder(), path = join(at, 'large.bin');
  writeFileSync(path, Buffer.alloc(7 * 1024 * 1024));
  try {
    await t.api('POST', 'keys', { name: 'sign-ed-file', type: 'Ed25519' });
    await t.open('#/sign/sign?name=sign-ed-file');
    await t.page.getByRole('radio', { name: 'File' }).check({ force: true });
    await t.page.locator('input[type=file]').setInputFiles(path);
    await t.page.getByText('SHA-256').waitFor();
    await t.page.getByRole('button', { name: 'Sign', exact: true }).click();
    await t.page.locator('.notice', { hasText: 'Ed25519 signs the message itself' }).waitFor();
    await t.page.setViewportSize({ width: 320, height: 700 });
    await t.fits('Sign at 320 px');
    await t.accessibleInAllColours('Sign, refused here');
  } finally { rmSync(at, { recursive: true }); }
});
