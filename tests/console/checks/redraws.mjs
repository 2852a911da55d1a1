// Redraws: what arrives while a person works changes nothing under their hands. Responses are held back until something is
// open, has the focus or contains typed text.

check('what the shell learns closes no popover and moves no focus', async (t) => {
  const release = await t.hold('**/api/openapi.json');
  await t.open('#/home');
  await t.page.getByRole('button', { name: 'Appearance' }).click();
  const dark = t.page.getByRole('radio', { name: 'Dark' });
  await dark.focus();
  await release();
  await t.until(async () => !(await t.page.locator('.hold[aria-busy]').count())); // each list came: three kinds of news
  t.assert.ok(await dark.isVisible(), 'the popover has closed');
  t.assert.equal(await t.focused(), 'Dark');
  await t.page.keyboard.press('Escape');

  // A 401 shuts Blobs in the side, a 200 opens it again; both change the badge and the tape.
  await t.go('#/functions/list-blobs');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.answer-line').waitFor();
  await t.page.locator('#tape').getByRole('button', { name: /calls/ }).click();
  const blobs = t.page.locator('#side').getByRole('link', { name: 'Blobs' });
  for (const control of [blobs, t.page.getByRole('button', { name: /Find a function/ }), t.page.locator('a.credential'), t.page.locator('#tape .tape-line').getByRole('button', { name: 'Copy as curl' }), t.page.locator('#tape tbody tr', { hasText: 'list-users' }).getByRole('button')]) {
    for (const status of [401, 200]) {
      const arrive = await t.hold('**/api/list-blobs', { response: status === 401 ? { status, body: '' } : { json: { containers: [] } } });
      await t.page.getByRole('button', { name: 'Send' }).click();
      await control.focus();
      const before = await control.elementHandle();
      await arrive();
      await t.page.locator(status === 401 ? '.answer .problem' : '.answer .answer-line').waitFor();
      t.assert.ok(await before.evaluate((el) => el === document.activeElement), `the focus left ${await before.evaluate((el) => el.outerHTML)}`);
    }
  }
});

check('the menu of a narrow page stays open, and says so', async (t) => {
  await t.page.setViewportSize({ width: 360, height: 800 });
  const release = await t.hold('**/api/openapi.json');
  await t.open('#/home');
  const menu = t.page.getByRole('button', { name: 'Menu', exact: true });
  await menu.click();
  const link = t.page.locator('#side').getByRole('link', { name: 'SQL' });
  await link.focus();
  await release();
  await t.until(async () => !(await t.page.locator('.hold[aria-busy]').count()));
  t.assert.ok(await link.isVisible());
  t.assert.equal(await menu.getAttribute('aria-expanded'), 'true');
  t.assert.match(await t.focused(), /^SQL/);
});

check('the palette keeps the item that the person moved to', async (t) => {
  const release = await t.hold('**/api/openapi.json');
  await t.open('#/home');
  await t.page.keyboard.press('Control+k');
  await t.page.keyboard.type('s');
  await t.page.keyboard.press('ArrowDown');
  const chosen = t.page.locator('.palette li[aria-selected="true"] .palette-name');
  const name = await chosen.innerText();
  await release();
  await t.page.getByRole('option', { name: /Function/ }).first().waitFor();
  t.assert.equal(await chosen.innerText(), name);
});

check('a dialog ends with its view: a lock leaves nothing of it', async (t) => {
  await t.page.clock.install();
  await t.open('#/blobs/samples');
  await t.page.getByRole('button', { name: 'Cost', exact: true }).click();
  await t.page.getByRole('dialog').getByText('Without versions').waitFor();
  await t.page.clock.fastForward('15:01');
  await t.page.getByText('Locked after 15 minutes').waitFor();
  t.assert.equal(await t.page.locator('dialog').count(), 0);
  t.assert.equal(await t.focused(), 'Connect');
});

check('SQL: databases and saved queries that come late change neither the typed text nor what is unfolded', async (t) => {
  await t.api('POST', 'execute-sql', { sql: 'create table if not exists redraws (a integer)' });
  await t.api('PUT', 'queries/late', { sql: 'select 1 as late', database: 'main', parameters: [] });
  const area = t.page.getByRole('textbox', { name: 'Statement' });
  for (const address of ['#/sql?table=fruit', '#/sql?q=late', '#/sql']) {
    const databases = await t.hold('**/api/databases'), queries = await t.hold('**/api/queries**');
    await t.open(address);
    const typed = `select 42 -- ${address}`;
    await area.fill(typed);
    await area.evaluate((el) => el.setSelectionRange(7, 9));
    await databases();
    await queries();
    await t.page.locator('.tree summary').first().waitFor();
    await t.page.getByRole('link', { name: 'late' }).waitFor();
    t.assert.equal(await area.inputValue(), typed);
    t.assert.deepEqual(await area.evaluate((el) => [document.activeElement === el, el.selectionStart, el.selectionEnd]), [true, 7, 9]);
  }
  // After a write the tree is drawn anew: what the person unfolded stays so, and the focus stays in it.
  await t.page.getByRole('radio', { name: 'Write' }).check();
  const fruit = t.page.locator('details.tbl', { hasText: 'fruit' }).first();
  await fruit.locator('summary').click();
  await area.fill('insert into redraws values (1)');
  await t.page.keyboard.press('Control+Enter');
  const release = await t.hold('**/api/databases');
  await t.page.getByRole('dialog').getByRole('button', { name: 'Write 1 row' }).click();
  const column = fruit.getByRole('button', { name: 'Insert name' });
  await column.focus();
  const old = await column.elementHandle();
  await release();
  await t.until(async () => !(await old.evaluate((el) => el.isConnected)));
  await column.waitFor();
  t.assert.equal(await t.focused(), 'Insert name');
});

check('SQL: rows that arrive close no menu, and leave the focus on the control that was pressed', async (t) => {
  await t.open('#/sql');
  await t.page.locator('.tree summary').first().waitFor();
  const area = t.page.getByRole('textbox', { name: 'Statement' });
  const rows = (n) => t.until(async () => (await t.page.locator('.result tbody tr').count()) === n, `${n} rows`);
  await area.fill('with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000) select i from n');
  let release = await t.hold('**/api/query-sql');
  await t.page.keyboard.press('Control+Enter');
  const database = t.page.getByRole('combobox', { name: 'Database' });
  await database.focus();
  await release();
  await rows(1000);
  t.assert.ok(await database.evaluate((el) => el === document.activeElement));
  const next = t.page.getByRole('button', { name: /Next 1.000/ });
  await next.press('Enter');
  await rows(2000);
  t.assert.ok(await next.evaluate((el) => el === document.activeElement));
  release = await t.hold('**/api/query-sql');
  await next.press('Enter');
  await t.page.getByRole('button', { name: 'Export' }).click();
  const choice = t.page.getByRole('button', { name: 'CSV, raw' });
  await choice.focus();
  await release();
  await rows(3000);
  t.assert.ok(await choice.isVisible(), 'the menu has closed');
  t.assert.ok(await choice.evaluate((el) => el === document.activeElement));
  // A number beside the rows is a number, however the response writes it.
  await t.page.route('**/api/query-sql', (route) => route.fulfill({ contentType: 'application/json', body: '{"columns": [{"name": "a", "type": "real"}], "rows": [[1.0]], "elapsed_ms": 3.0, "truncated": false}' }));
  await area.fill('select 1.0 as a');
  await t.page.keyboard.press('Control+Enter');
  await rows(1);
  t.assert.match(await t.text('.facts'), /^1 row in 3\.0 ms/);
  t.assert.equal(await t.text('.result td'), '1.0');
});

check('Sign: a key that arrives late moves no focus, and pressing Sign keeps it', async (t) => {
  for (const name of ['redraw-1', 'redraw-2']) await t.api('POST', 'keys', { name, type: 'P-256' });
  await t.open('#/sign/sign?name=redraw-1');
  const key = t.page.getByRole('combobox', { name: 'Key', exact: true }), algorithm = t.page.getByRole('combobox', { name: 'Algorithm' });
  await t.until(async () => (await algorithm.innerText()).includes('ES256'));
  const release = await t.hold('**/api/keys/redraw-2');
  await key.selectOption('redraw-2');
  await algorithm.focus();
  const before = await algorithm.elementHandle();
  await release();
  await t.until(async () => (await algorithm.innerText()).includes('ES256'));
  t.assert.ok(await before.evaluate((el) => el === document.activeElement));
  await t.page.locator('#message').fill('x');
  await t.page.getByRole('button', { name: 'Sign', exact: true }).press('Enter');
  await t.page.locator('.verdict').waitFor();
  t.assert.equal(await t.focused(), 'Sign');
});

check('Blobs: a finished upload draws the listing anew, and the focus, the choice and other uploads stay', async (t) => {
  await t.api('POST', 'containers', { container: 'console-redraws' });
  for (let n = 0; n < 40; n++) await t.api('PUT', `blobs/console-redraws?name=f${n}.txt`, `${n}`, { 'content-type': 'text/plain' });
  await t.page.route('**/fails.txt', (route) => route.abort());
  await t.open('#/blobs/console-redraws');
  const files = (name) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(name) });
  const picker = t.page.locator('.work input[type=file]'), queue = t.page.getByRole('region', { name: 'Uploads' });
  await picker.setInputFiles(files('fails.txt'));
  const again = queue.getByRole('button', { name: 'Retry fails.txt' });
  await again.waitFor();
  // The queue: another upload goes from its start to its end.
  const release = await t.hold('**/api/blobs/console-redraws/new.txt');
  await picker.setInputFiles(files('new.txt'));
  await again.focus();
  await release();
  await t.until(async () => (await queue.innerText()).includes('1 of 2 stored'));
  await t.page.locator('.work').getByRole('link', { name: 'new.txt' }).waitFor();
  t.assert.equal(await t.focused(), 'Retry fails.txt');
  // The listing: a link with the focus, the chosen blob, and the place that is scrolled to.
  await t.page.locator('.work').getByRole('link', { name: 'f9.txt' }).click();
  const chosen = t.page.locator('.work tr.on');
  await t.page.locator('.detail .preview pre').waitFor();
  const scrolled = () => t.page.locator('.work').evaluate((el) => el.scrollTop);
  const top = await scrolled();
  t.assert.ok(top > 0);
  const listing = await t.hold('**/api/list-blobs');
  await picker.setInputFiles(files('newer.txt'));
  await t.page.locator('.work').getByRole('link', { name: 'f8.txt' }).focus();
  await listing();
  await t.page.locator('.work').getByRole('link', { name: 'newer.txt' }).waitFor();
  t.assert.equal(await t.focused(), 'f8.txt');
  t.assert.match(await chosen.innerText(), /^f9.txt/);
  t.assert.ok(Math.abs(await scrolled() - top) < 100, 'the page is scrolled elsewhere');
});

check('Functions and Home: choices by keyboard, a retry and a revealed secret keep the focus', async (t) => {
  await t.open('#/home');
  for (const hash of ['#/home', '#/functions/live']) {
    await t.go(hash);
    const curl = t.page.getByRole('radio', { name: 'curl', exact: true });
    await curl.focus();
    await t.page.keyboard.press('ArrowRight');
    t.assert.equal(await t.focused(), 'Python', hash);
    t.assert.match(await t.text('figure.code'), /import httpx/);
  }
  await t.page.route('**/api/live', (route) => route.abort());
  await t.page.getByRole('button', { name: 'Send' }).click();
  const release = await t.hold('**/api/live', { response: { status: 503, body: '' } });
  await t.page.getByRole('button', { name: 'Retry' }).press('Enter');
  await release();
  await t.page.locator('.problem .title', { hasText: 'The app is not available' }).waitFor();
  t.assert.equal(await t.focused(), 'Retry');
  await t.api('POST', 'keys', { name: 'console-data-key', type: 'AES-256' }).catch(() => {});
  await t.go('#/functions/generate-data-key?key=console-data-key');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.getByRole('button', { name: 'Show it for 30 seconds' }).press('Enter');
  t.assert.match(await t.focused(), /plaintext_base64/);
});

check('Connect: what is found marks the list in place, and sharing the key keeps what is typed', async (t) => {
  await t.open('#/connect');
  const link = t.page.locator('.reach').getByRole('link', { name: 'sign', exact: true });
  await link.waitFor();
  await t.page.getByRole('button', { name: 'What may this key do?' }).press('Enter');
  t.assert.equal(await t.focused(), 'What may this key do?');
  await link.focus();
  await t.page.getByText(/\d+ functions checked/).waitFor();
  await t.page.getByRole('button', { name: 'What may this key do?', disabled: false }).waitFor();
  t.assert.equal(await t.focused(), 'sign');
  await t.page.locator('[name="key"]').fill('half a k');
  await t.page.getByRole('button', { name: 'Share with my tabs' }).press('Enter');
  await t.page.getByText('Other tabs of this console get it').waitFor();
  t.assert.equal(await t.page.locator('[name="key"]').inputValue(), 'half a k');
  t.assert.equal(await t.focused(), 'Forget');
});

check('a session that the app has ended leads to Connect, which says so, and back after sign-in', async (t) => {
  const password = 'seven llamas cross the river 7';
  await t.api('POST', 'hash-password', { user: 'console-ended', password });
  const { user_id: id } = await t.api('POST', 'sign-in', { user: 'console-ended', password });
  await t.page.clock.install();
  await t.open('#/connect');
  const signIn = async () => {
    await t.page.getByRole('radio', { name: 'Sign in' }).check();
    await t.page.locator('[name="user"]').fill('console-ended');
    await t.page.locator('[name="password"]').fill(password);
    await t.page.getByRole('button', { name: 'Sign in' }).click();
    await t.page.locator('#top').getByText('console-ended').waitFor();
  };
  await signIn();
  await t.api('DELETE', `users/${id}/sessions`);
  await t.go('#/functions/who-am-i');
  await t.page.getByRole('button', { name: 'Send' }).waitFor();
  await t.page.clock.fastForward('09:30'); // the access token ends soon, and its renewal is refused
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.getByText('The app has ended your session').waitFor();
  t.assert.equal(await t.focused(), 'Connect');
  await signIn();
  await t.page.getByRole('heading', { level: 1, name: 'who-am-i' }).waitFor();
});
