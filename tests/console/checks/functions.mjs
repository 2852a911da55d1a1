// Functions: each one of the OpenAPI document has a form, and a form sends what it says.

check('every function has its form, by #/functions/<name>', async (t) => {
  const document = await t.api('GET', 'openapi.json');
  const names = new Set();
  for (const methods of Object.values(document.paths)) {
    const ids = Object.values(methods).map((o) => o.operationId);
    for (const [method, { operationId }] of Object.entries(methods)) if (!ids.some((id) => operationId === `${id}-${method}`)) names.add(operationId);
  }
  await t.open('#/functions');
  await t.page.locator('.index a').first().waitFor();
  const listed = await t.page.locator('.index a .mono').allInnerTexts();
  t.assert.deepEqual(listed.toSorted(), [...names].toSorted());
  t.assert.ok(names.size > 60);
  for (const name of names) {
    const faults = await t.page.evaluate(async (n) => {
      location.hash = `#/functions/${n}`;
      for (let i = 0; i < 4000; i++) { if (document.querySelector('.doc h1')?.textContent === n && document.querySelector('.answer pre')) break; await new Promise((r) => setTimeout(r, 5)); }
      const missing = [];
      if (document.querySelector('.doc h1')?.textContent !== n) missing.push('heading');
      if (!document.querySelector('.doc form button[type=submit]')) missing.push('form');
      if (!document.querySelector('.answer pre')?.textContent.includes('curl')) missing.push('curl');
      if (!document.querySelector('.statuses li')) missing.push('statuses');
      return missing;
    }, name);
    t.assert.deepEqual(faults, [], name);
  }
});

check('an example fills the form, and the real response is shown with its headers', async (t) => {
  await t.open('#/functions/hash-password');
  await t.page.getByRole('button', { name: 'Send' }).waitFor();
  await t.page.locator('.fn-tools button').first().click();
  const typed = await t.page.locator('[name="password"]').inputValue();
  t.assert.ok(typed.length > 5);
  await t.page.locator('[name="password"]').fill('correct horse ‰ battery staple');
  t.assert.ok(!(await t.text('.answer pre')).includes('correct horse'));
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.answer-line').waitFor();
  t.assert.match(await t.text('.answer'), /\$argon2id\$/);
  t.assert.match(await t.text('.answer'), /200/);
  // The password is gone: from its box, the page, the tape.
  t.assert.equal(await t.page.locator('[name="password"]').inputValue(), '');
  t.assert.ok(!(await t.page.evaluate(() => document.documentElement.outerHTML)).includes('correct horse'));
  t.assert.ok((await t.copy(t.page.getByRole('button', { name: 'Copy as curl' }))).includes('"password":"…"'));
  await t.page.getByText(/\d+ headers/).click();
  t.assert.match(await t.text('.answer'), /x-request-id/);
  // On a narrow page the response is below the form, and comes into sight.
  await t.page.setViewportSize({ width: 360, height: 740 });
  await t.go('#/functions/list-keys');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.answer-line').waitFor();
  await t.until(async () => { const { y } = await t.page.locator('.answer-line').boundingBox(); return y > 40 && y < 700; }, 'the response is in sight');
});

check('a link fills the form, sends nothing, and never fills a secret', async (t) => {
  const calls = [];
  t.page.on('request', (r) => r.url().includes('/api/hash-password') && calls.push(r.url()));
  await t.open('#/functions/hash-password?profile=owasp&password=hunter2hunter2');
  await t.page.getByRole('heading', { level: 1, name: 'hash-password' }).waitFor();
  t.assert.equal(await t.page.locator('[name="profile"]').inputValue(), 'owasp');
  t.assert.equal(await t.page.locator('[name="password"]').inputValue(), '');
  t.assert.deepEqual(calls, []);
});

check('a secret in a response is shown on demand, for 30 seconds', async (t) => {
  await t.page.clock.install();
  await t.api('POST', 'keys', { name: 'console-data-key', type: 'AES-256' }).catch(() => {});
  await t.open('#/functions/generate-data-key?key=console-data-key');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.getByRole('button', { name: 'Show it for 30 seconds' }).waitFor();
  t.assert.ok(!(await t.text('.answer')).includes('plaintext_base64'));
  await t.page.getByRole('button', { name: 'Show it for 30 seconds' }).click();
  t.assert.match(await t.text('.answer'), /plaintext_base64/);
  await t.page.clock.fastForward(31000);
  t.assert.ok(!(await t.page.evaluate(() => document.documentElement.outerHTML)).includes('plaintext_base64&quot;'));
  await t.page.getByRole('button', { name: 'Show it for 30 seconds' }).waitFor();
});

check('every kind of field arrives as its type: numbers, flags, lists, objects, headers, paths, bytes', async (t) => {
  const sent = [];
  t.page.on('request', (r) => r.url().includes('/api/') && sent.push(r));
  const last = () => sent.at(-1);
  const send = async () => { const n = sent.length; await t.page.getByRole('button', { name: 'Send' }).click(); await t.until(() => sent.length > n); await t.page.locator('.answer-line, .problem').first().waitFor(); };
  await t.open('#/functions/query-sql');
  await t.page.locator('[name="sql"]').fill('select :n + 1 as n, :t as t');
  await t.page.locator('[name="params"]').fill('{"n": 9007199254740993, "t": "x"}');
  await t.page.locator('[name="limit"]').fill('10');
  await send();
  t.assert.equal(last().method(), 'POST');
  t.assert.match(last().postData(), /"limit":10/);
  await t.page.getByRole('radio', { name: 'GET' }).check();
  await send();
  t.assert.match(last().url(), /query-sql\?.*limit=10/);
  await t.go('#/functions/create-key');
  await t.page.locator('[name="name"]').fill('console-form-key');
  await t.page.locator('[name="type"]').selectOption('Ed25519');
  await t.page.locator('[name="deletable"]').or(t.page.locator('.more [name="deletable"]')).first().evaluate((x) => { x.closest('details')?.setAttribute('open', ''); x.value = 'true'; x.dispatchEvent(new Event('change')); });
  await send();
  t.assert.equal(last().postDataJSON().deletable, true);
  t.assert.match(await t.text('.answer'), /201|key-exists/);
  await t.go('#/functions/get-key');
  await t.page.locator('[name="name"]').fill('console-form-key');
  await send();
  t.assert.match(await t.text('.answer'), /"type": "Ed25519"/);
  await t.go('#/functions/delete-key?name=console-form-key');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.getByRole('dialog').getByRole('button', { name: 'delete-key' }).click();
  await t.page.locator('.answer-line').waitFor();
  await t.go('#/functions/put-blob');
  await t.page.locator('[name="container"]').fill('samples');
  await t.page.locator('[name="name"]').fill('console/ä b#?%.bin');
  await t.page.locator('[name="body"]').setInputFiles({ name: 'x.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([0, 1, 254, 255]) });
  await send();
  t.assert.match(await t.text('.answer'), /20[01]/);
  await t.go('#/functions/get-blob');
  await t.page.locator('[name="container"]').fill('samples');
  await t.page.locator('[name="name"]').fill('console/ä b#?%.bin');
  await send();
  t.assert.match(await t.text('.answer'), /4 B of application\/octet-stream/);
  await t.accessibleInAllColours('the form of a function');
});
