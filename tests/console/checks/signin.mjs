// Sign-in as a user: password, second factors, passkeys, renewal, sign-out.
import { createHmac } from 'node:crypto';

const PASSWORD = 'seven llamas cross the river 7';

/** The code of an authenticator app (RFC 6238) for a base32 secret. */
function totp(secret) {
  const bits = [...secret.replace(/=+$/, '')].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000)));
  const mac = createHmac('sha1', key).update(counter).digest();
  const at = mac.at(-1) & 15;
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1e6).padStart(6, '0');
}
async function user(t, name) {
  await t.api('POST', 'hash-password', { user: name, password: PASSWORD });
  return t.api('POST', 'sign-in', { user: name, password: PASSWORD });
}
async function signIn(t, name, password = PASSWORD) {
  await t.page.getByRole('radio', { name: 'Sign in' }).check();
  await t.page.locator('[name="user"]').fill(name);
  await t.page.locator('[name="password"]').fill(password);
  await t.page.getByRole('button', { name: 'Sign in' }).click();
}

check('a user signs in, calls functions of the session, and signs out', async (t) => {
  const name = 'console-1 <img src=x onerror=alert(1)>';
  await user(t, name);
  await t.open('#/connect');
  await signIn(t, name, 'wrong');
  await t.page.getByText('The user or the password is wrong.').waitFor();
  t.assert.equal(await t.page.locator('[name="password"]').inputValue(), '');
  await t.accessibleInAllColours('sign-in');
  await signIn(t, name);
  await t.until(async () => (await t.text('#top')).includes('console-1 <img'));
  await t.go('#/functions/who-am-i');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.answer-line').waitFor();
  t.assert.match(await t.text('.answer'), /"user": "console-1 <img/);
  const page = await t.page.evaluate(() => document.documentElement.outerHTML + JSON.stringify({ ...sessionStorage }));
  t.assert.ok(!page.includes('eyJ'), 'no token in the page or its storage');
  t.assert.ok((await t.copy(t.page.getByRole('button', { name: 'Copy as curl' }))).includes('Bearer $T'));
  await t.go('#/connect');
  await t.page.getByRole('button', { name: 'Sign out' }).click();
  await t.until(async () => (await t.text('#top')).includes('Function key'));
  await t.go('#/functions/who-am-i');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.problem').waitFor();
});

check('a session is renewed before its access token ends, once for several calls', async (t) => {
  await user(t, 'console-2');
  await t.page.clock.install();
  const renewals = [];
  t.page.on('request', (r) => r.url().endsWith('/sessions/refresh') && renewals.push(r));
  await t.open('#/connect');
  await signIn(t, 'console-2');
  await t.until(async () => (await t.text('#top')).includes('console-2'));
  t.assert.equal(renewals.length, 0);
  await t.page.clock.fastForward('09:30');
  await t.go('#/home');
  await t.go('#/functions/who-am-i');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.answer-line').waitFor();
  t.assert.equal(renewals.length, 1);
  t.assert.ok(!renewals[0].url().includes('token'));
});

check('a second factor is asked for: a code, or a recovery code', async (t) => {
  const first = await user(t, 'console-3');
  const bearer = { authorization: `Bearer ${first.access_token}` };
  const enrolled = await t.api('POST', 'me/totp', {}, bearer);
  const confirmed = await t.api('POST', `me/totp/${enrolled.factor_id}/confirm`, { code: totp(enrolled.secret) }, bearer);
  await t.open('#/connect');
  await signIn(t, 'console-3');
  await t.page.locator('[name="code"]').fill('000000');
  await t.page.getByRole('button', { name: 'Confirm' }).click();
  await t.page.getByText('The code is wrong, or was used before.').waitFor();
  await t.accessibleInAllColours('the second factor');
  await t.page.locator('[name="recovery_code"]').fill(confirmed.recovery_codes[0]);
  await t.page.getByRole('button', { name: 'Use it' }).click();
  await t.until(async () => (await t.text('#top')).includes('console-3'));
});

check('a passkey alone signs in', async (t) => {
  const { access_token: token } = await user(t, 'console-4');
  const client = await t.context.newCDPSession(t.page);
  await client.send('WebAuthn.enable');
  await client.send('WebAuthn.addVirtualAuthenticator', { options: { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true } });
  await t.open('#/connect');
  await t.page.evaluate(async ([bearer]) => {
    const send = async (path, body) => (await fetch(`../${path}`, { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${bearer}` }, body: JSON.stringify(body) })).json();
    const begun = await send('me/passkeys/begin', {});
    const created = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(begun.options) });
    const registered = await send('me/passkeys', { ticket: begun.ticket, credential: created.toJSON() });
    if (!registered.factor_id) throw new Error(JSON.stringify(registered));
  }, [token]);
  await t.page.getByRole('radio', { name: 'Sign in' }).check();
  await t.page.getByRole('button', { name: 'Passkey' }).click();
  await t.until(async () => !(await t.text('#top')).includes('Function key'));
  await t.go('#/functions/who-am-i');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.answer-line').waitFor();
  t.assert.match(await t.text('.answer'), /"user": "console-4"/);
}, { host: 'localhost' });

check('single sign-on leads to the provider and back, signed in, and nothing of it stays in the address', async (t) => {
  await t.open('#/connect');
  await t.page.getByRole('radio', { name: 'Sign in' }).check();
  await t.page.route('https://fonts.googleapis.com/**', (route) => route.abort()); // of the provider's page
  await t.page.getByRole('button', { name: 'Continue with real' }).click();
  await t.page.locator('[name="login"]').fill('console-5');
  await t.page.locator('[name="password"]').fill('x');
  await t.page.getByRole('button', { name: 'Sign-in' }).click();
  await t.page.getByRole('button', { name: 'Continue' }).click();
  await t.page.locator('#top').getByText('single sign-on').waitFor();
  t.assert.ok(!(await t.page.content()).includes('ticket='));
  t.assert.equal(t.page.url(), `${t.url}#/home`);
  t.assert.ok(!(await t.page.evaluate(() => JSON.stringify(sessionStorage))).includes('sso'));
  await t.go('#/functions/who-am-i');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.answer-line').waitFor();
  t.assert.match(await t.text('.answer'), /"user": /);
  // The provider refuses: the console says so, and keeps nothing of the address.
  await t.page.goto(`${t.url}?error=access_denied`);
  await t.page.getByText('Single sign-on failed: access_denied').waitFor();
  t.assert.equal(t.page.url(), `${t.url}#/connect`);
  t.assert.ok(!(await t.page.content()).includes('access_denied"'));
}, { app: 'open', host: 'localhost', provider: true });
