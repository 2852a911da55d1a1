// The credential: how it comes, where it is and is not, other tabs, Forget, the lock, what it may do.

const everywhere = (page) => page.evaluate(() => [
  document.documentElement.outerHTML, location.href, document.cookie, document.title, JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage }),
  JSON.stringify(history.state), ...[...document.querySelectorAll('input, textarea')].map((x) => x.value),
].join('\n'));

check('a key in #key= or ?code= is taken over and erased, and nothing shows it', async (t) => {
  const logged = [];
  t.page.on('console', (m) => logged.push(m.text()));
  await t.open('#/functions/live');
  t.assert.equal(new URL(t.page.url()).hash, '#/functions/live');
  t.assert.match(await t.text('#top'), /Function key/);
  for (const page of ['#/home', '#/connect', '#/functions/sign']) { await t.go(page); t.assert.ok(!(await everywhere(t.page)).includes(t.key), page); }
  const length = await t.page.evaluate(() => history.length);
  for (let n = 1; n < length; n++) { await t.page.goBack().catch(() => {}); t.assert.ok(!t.page.url().includes(t.key)); }
  await t.page.goto(`${t.url}?x=1&code=${t.key}#/connect`);
  await t.page.getByText('Replace this key.').waitFor();
  t.assert.equal(t.page.url(), `${t.url}?x=1#/connect`);
  t.assert.ok(!(await everywhere(t.page)).includes(t.key));
  t.assert.match(await t.text('main'), /in the logs of every server on the way/);
  await t.page.goto(`${t.url}#key=${t.key}`);
  await t.page.reload();
  await t.page.locator('#main[data-ready]').waitFor();
  t.assert.match(await t.text('#top'), /Not connected/);
  await t.page.evaluate((key) => { location.hash = `#key=${key}&to=%2Ffunctions%2Fsign%3Fkey%3Dinvoices`; }, t.key);
  await t.page.getByRole('heading', { level: 1, name: 'sign', exact: true }).waitFor();
  t.assert.equal(new URL(t.page.url()).hash, '#/functions/sign?key=invoices');
  t.assert.equal(await t.page.locator('[name="key"]').inputValue(), 'invoices');
  t.assert.match(await t.text('#top'), /Function key/);
  t.assert.deepEqual(logged, []);
});

check('a key that is typed in stays in memory, and in the tab only if asked', async (t) => {
  await t.open('#/connect?back=%2Ffunctions%2Flive', { key: '' });
  await t.page.locator('[name="key"]').fill('ключ');
  await t.page.getByRole('button', { name: 'Connect', exact: true }).click();
  t.assert.match(await t.text('main'), /only visible ASCII characters/);
  await t.page.locator('[name="key"]').fill(` ${t.key}\n`);
  await t.page.getByRole('button', { name: 'Connect', exact: true }).click();
  await t.page.getByRole('heading', { level: 1, name: 'live' }).waitFor();
  t.assert.ok(!(await everywhere(t.page)).includes(t.key));
  await t.page.reload();
  await t.page.getByText('Not connected').waitFor();
  await t.open('#/connect', { key: '' });
  await t.page.locator('[name="key"]').fill(t.key);
  await t.page.getByLabel('Keep it until this tab closes').check();
  await t.page.getByRole('button', { name: 'Connect', exact: true }).click();
  await t.go('#/functions/list-keys');
  await t.page.reload();
  await t.page.getByRole('heading', { level: 1, name: 'list-keys' }).waitFor();
  t.assert.match(await t.text('#top'), /Function key/);
  t.assert.ok(await t.page.evaluate((key) => sessionStorage.getItem('strongroom.credential').includes(key), t.key));
  t.assert.equal(await t.page.evaluate(() => localStorage.length), 0);
});

check('another tab gets the key after the person agreed, and Forget forgets in both', async (t) => {
  await t.open('#/home');
  await t.page.evaluate(() => sessionStorage.setItem('strongroom.draft.main', 'select 1'));
  const other = await t.tab();
  await t.open('#/home', { key: '', page: other });
  t.assert.match(await t.text('#top', other), /Not connected/);
  await t.page.getByRole('button', { name: 'Share with my tabs' }).click();
  await other.getByText('Function key').first().waitFor();
  await t.until(async () => /\d+\+? users?/.test(await t.text('.holds', other)));
  const third = await t.tab(); // agreed once: no question any more
  await t.open('#/connect', { key: '', page: third });
  await third.getByText('from another tab').waitFor();
  t.assert.ok(!(await everywhere(third)).includes(t.key));
  await third.getByRole('button', { name: 'Forget' }).click();
  await third.getByRole('button', { name: 'Forget everywhere' }).click();
  for (const page of [t.page, other, third]) {
    await page.locator('#top').getByText('Not connected').waitFor();
    t.assert.equal(await page.evaluate(() => Object.keys(sessionStorage).length), 0);
  }
  await t.until(async () => (await t.text('main')).includes('You are not connected'));
  t.assert.match(await t.text('#tape'), /No call yet|1 call/);
});

check('without agreement another tab gets nothing', async (t) => {
  await t.open('#/home');
  const other = await t.tab();
  await t.open('#/home', { key: '', page: other });
  await t.page.getByRole('button', { name: 'Not now' }).waitFor();
  await t.accessibleInAllColours('the question of another tab');
  await t.page.getByRole('button', { name: 'Not now' }).click();
  await other.evaluate(() => { globalThis.heard = []; new BroadcastChannel('strongroom-console').onmessage = (e) => globalThis.heard.push(e.data); new BroadcastChannel('strongroom-console').postMessage({ type: 'hello' }); });
  await t.page.getByRole('button', { name: 'Not now' }).waitFor();
  t.assert.ok(!JSON.stringify(await other.evaluate(() => globalThis.heard)).includes(t.key));
  t.assert.match(await t.text('#top', other), /Not connected/);
});

check('it locks after a time without input, and shows nothing then', async (t) => {
  await t.page.clock.install();
  await t.open('#/functions/list-users');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.answer-line').waitFor();
  await t.page.clock.fastForward('14:00');
  await t.page.keyboard.press('Shift');
  await t.page.clock.fastForward('14:00');
  t.assert.match(await t.text('#top'), /Function key/);
  await t.page.clock.fastForward('02:00');
  await t.page.getByText('Locked after 15 minutes').waitFor();
  t.assert.ok(!(await everywhere(t.page)).includes('alice@example.org'));
  t.assert.match(await t.text('#top'), /Locked/);
  await t.page.locator('[name="key"]').fill(t.key);
  await t.page.getByRole('button', { name: 'Connect', exact: true }).click();
  await t.page.getByRole('heading', { level: 1, name: 'list-users' }).waitFor();
});

check('what a key may do is shown for each function, and nothing is executed', async (t) => {
  const count = async () => (await t.api('GET', 'keys')).keys.length + (await t.api('GET', 'users')).users.length;
  const before = await count();
  await t.open('#/connect', { key: t.app.signKey });
  await t.page.getByRole('button', { name: 'What may this key do?' }).click();
  await t.page.getByText(/\d+ functions checked, 1 allowed/).waitFor();
  await t.page.getByRole('button', { name: 'What may this key do?', disabled: false }).waitFor();
  t.assert.match(await t.page.getByRole('listitem').filter({ hasText: /^sign/ }).first().innerText(), /^sign\s*allowed$/);
  t.assert.match(await t.page.getByRole('listitem').filter({ hasText: 'delete-key' }).innerText(), /not allowed/);
  t.assert.equal(await t.page.locator('#side a.shut').filter({ hasText: 'SQL' }).count(), 1);
  t.assert.equal(await count(), before);
  await t.open('#/connect');
  await t.page.getByRole('button', { name: 'What may this key do?' }).click();
  await t.page.getByText(/functions checked, \d+ allowed/).waitFor();
  await t.page.getByRole('button', { name: 'What may this key do?', disabled: false }).waitFor();
  t.assert.equal(await t.page.getByRole('listitem').filter({ hasText: 'delete-key' }).locator('.sr').last().innerText(), 'allowed');
  t.assert.equal(await count(), before);
  await t.accessibleInAllColours('Connect');
  await t.page.getByRole('button', { name: 'Forget' }).click();
  await t.accessible('the dialog of Forget');
});
