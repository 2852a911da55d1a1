// SQL: what runs, what is shown, what writes, and what is kept.

const NASTY = '<img src=x onerror=alert(1)>';
const editor = (t) => t.page.getByRole('textbox', { name: 'Statement' });
/** Write a statement and run it. */
async function run(t, sql) {
  await t.page.locator('.tree summary').first().waitFor(); // The view has its databases.
  await editor(t).fill(sql);
  await t.page.keyboard.press('Control+Enter');
}
/** The shown rows: each cell by its text. */
const rows = (t) => t.page.locator('.results .result tbody tr').evaluateAll((all) => all.map((tr) => [...tr.cells].slice(1).map((td) => td.textContent)));
async function result(t, sql, count) {
  await run(t, sql);
  await t.until(async () => (await t.text('.facts')).includes(`${count} `) && !(await t.page.locator('.of-older').count()), `${count} rows of ${sql}`);
  return rows(t);
}

check('every type of value is shown exactly, and distinctly from all others', async (t) => {
  await t.api('POST', 'execute-sql', { statements: [
    { sql: `create table "exact_${'t'}" (big integer, small integer, r real, dec decimal(12,3), txt text, js json, b blob, yes boolean, d date, ts timestamp, "${NASTY}" text)` },
    { sql: `insert into exact_t values (9007199254740993, 0, 1.0, 1284.5, '', '{"n": 1.10, "big": 12345678901234567890, "t": "${NASTY}"}', x'00ff', 1, '2026-12-28', '2026-11-28T09:30:00Z', 'NULL')` },
    { sql: `insert into exact_t values (-5, null, -0.5, -250, null, '[1e2, 2.0]', x'', 0, null, '2026-11-28T09:30:00', ?)`, params: [NASTY] },
  ] });
  await t.open('#/sql?db=main');
  const [first, second] = await result(t, 'select * from exact_t order by big desc', 2);
  t.assert.equal(first[0], '>2⁵³9007199254740993');
  t.assert.deepEqual(first.slice(1, 5), ['0', '1.0', '1284.500', "''empty text"]);
  t.assert.deepEqual(first.slice(6), ['2 B00 ff', 'true', '2026-12-28', '2026-11-28T09:30:00Z', 'NULL']);
  for (const exact of ['1.10', '12345678901234567890', NASTY]) t.assert.ok(first[5].includes(exact), first[5]);
  t.assert.deepEqual(second, ['-5', 'NULL', '-0.5', '-250.000', 'NULL', '[1e2, 2.0]', '0 B', 'false', 'NULL', '2026-11-28T09:30:00no zone', NASTY]);
  // NULL, the text NULL and the empty text differ in their elements, and a number is copied as its digits.
  const kinds = await t.page.locator('.result tbody tr').evaluateAll((all) => all.map((tr) => [tr.cells[5], tr.cells[11]].map((td) => td.firstElementChild?.className ?? 'plain')));
  t.assert.deepEqual(kinds, [['v-empty', 'plain'], ['v-null', 'plain']]);
  await t.page.locator('.result td').nth(5).click();
  t.assert.match(await t.text('.inspect'), /"big": 12345678901234567890/);
  t.assert.match(await t.text('.result thead'), /<img src=x onerror=alert\(1\)>/);
  t.assert.equal(await t.page.locator('img').count(), 0);
  await t.accessibleInAllColours('SQL with rows and a value');
  for (const width of [320, 768]) { await t.page.setViewportSize({ width, height: 700 }); await t.fits(`SQL at ${width} px`); }
});

check('names, errors and values that look like markup stay text, everywhere', async (t) => {
  const name = `${NASTY}"';--`;
  await t.api('POST', 'execute-sql', { sql: `create table "${name.replaceAll('"', '""')}" ("${NASTY}" text, "order" integer)` });
  await t.api('PUT', 'queries/nasty', { sql: `select '${NASTY}' as "${NASTY}"`, database: 'main', parameters: [], description: NASTY });
  await t.open('#/sql');
  const table = t.page.locator('details.tbl', { hasText: NASTY });
  await table.locator('summary').click();
  await table.getByRole('button', { name: `Insert ${NASTY}` }).click();
  t.assert.ok((await editor(t).inputValue()).endsWith(`"${NASTY}"`));
  await table.getByRole('button', { name: 'First 100 rows' }).click();
  await t.page.getByText('No rows').waitFor();
  t.assert.equal(await editor(t).inputValue(), `select *\nfrom "${name.replaceAll('"', '""')}"\nlimit 100`);
  await run(t, `select * from "${NASTY}2"`);
  await t.page.locator('.problem', { hasText: `no such table: ${NASTY}2` }).waitFor();
  await t.page.getByRole('link', { name: 'nasty' }).click();
  await t.until(async () => (await editor(t).inputValue()) === `select '${NASTY}' as "${NASTY}"`);
  await t.page.getByText('Not run yet').waitFor();
  t.assert.equal(await t.page.locator('.problem').count(), 0); // a link fills the editor, and runs nothing
  t.assert.deepEqual(await result(t, await editor(t).inputValue(), 1), [[NASTY]]);
  await t.page.getByRole('radio', { name: 'History' }).click();
  t.assert.match(await t.text('.history'), /<img src=x/);
  t.assert.equal(await t.page.locator('img').count(), 0);
  await t.accessibleInAllColours('SQL, history');
});

check('exactly the visible text or the selection runs, and an error is marked at its place', async (t) => {
  await t.open('#/sql');
  await editor(t).fill('select 1 as one;\n-- drop table fruit\nselect 2 as two');
  await t.page.keyboard.press('Control+Enter');
  await t.page.locator('.problem', { hasText: 'multiple-statements' }).waitFor();
  await editor(t).evaluate((area) => area.setSelectionRange(area.value.indexOf('-- drop'), area.value.length));
  await t.page.keyboard.press('Control+Enter');
  await t.until(async () => (await rows(t))[0]?.[0] === '2');
  t.assert.deepEqual(await t.page.locator('.result thead .clip').allInnerTexts(), ['two']);
  await run(t, 'select 1 as one');
  await t.until(async () => (await rows(t))[0]?.[0] === '1');
  await editor(t).pressSequentially(', 2');
  t.assert.match(await t.text('.facts'), /as it ran, not as it stands/);
  await run(t, "select '😀' as a, nope from fruit");
  await t.page.locator('.problem', { hasText: 'no such column' }).waitFor();
  t.assert.equal(await t.page.locator('.q-error').innerText(), 'nope');
});

check('parameters are fields, bound by the database and kept nowhere', async (t) => {
  await t.open('#/sql');
  await editor(t).fill("select :a as a, typeof(:a) as t, :b as b, ':no' as c -- :neither");
  const field = (name) => t.page.getByLabel(name, { exact: true });
  await field(':a').fill('007');
  await field(':b').fill("'; drop table fruit; --");
  await t.page.getByRole('button', { name: 'Run' }).click();
  await t.until(async () => (await rows(t)).length === 1);
  t.assert.deepEqual(await rows(t), [['007', 'text', "'; drop table fruit; --", ':no']]);
  t.assert.equal(await t.page.locator('.param').count(), 2);
  const set = async (value, type, expected) => {
    await field('Type of :a').selectOption(type);
    if (type !== 'null') await field(':a').fill(value);
    await editor(t).press('Control+Enter');
    await t.until(async () => JSON.stringify((await rows(t))[0]?.slice(0, 2)) === JSON.stringify(expected), `${value} as ${type}`);
  };
  await set('7', 'auto', ['7', 'integer']);
  await set('7', 'text', ['7', 'text']);
  await set('9007199254740993', 'number', ['>2⁵³9007199254740993', 'integer']);
  await set('', 'text', ["''empty text", 'text']);
  await set('', 'null', ['NULL', 'null']);
  await set('AP8', 'bytes', ['2 B00 ff', 'blob']);
  await field('Type of :a').selectOption('number');
  await field(':a').fill('1,5');
  await editor(t).press('Control+Enter');
  await t.page.locator('.results .notice', { hasText: ':a is a number' }).waitFor();
  const link = await t.copy(t.page.getByRole('button', { name: 'Link', exact: true }));
  const kept = await t.page.evaluate(() => JSON.stringify(sessionStorage) + document.location.href);
  for (const place of [link, kept]) t.assert.ok(!place.includes('drop') && place.includes('neither'), place);
  t.assert.ok(!link.includes('key='));
  // The link fills the editor, and nothing runs before the person says so.
  const calls = [];
  const page = await t.tab();
  page.on('request', (r) => calls.push(r.url()));
  await t.open(link.slice(link.indexOf('#')), { page });
  await t.until(async () => (await page.getByRole('textbox', { name: 'Statement' }).inputValue()).startsWith('select :a'));
  await page.locator('.tree summary').first().waitFor();
  t.assert.ok(!calls.some((url) => url.includes('query-sql')), calls.join('\n'));
});

check('only what the server refuses to read leads to a dry run, and only the confirmed statement writes', async (t) => {
  await t.api('POST', 'execute-sql', { statements: [{ sql: 'create table to_write (id integer primary key, n text)' }, { sql: "insert into to_write values (1, 'a'), (2, 'b')" }] });
  const calls = [];
  t.page.on('request', (r) => { if (r.method() === 'POST') calls.push(`${r.url().split('/api/')[1]} ${r.postDataJSON()?.dry_run ?? ''}`.trim()); });
  await t.open('#/sql');
  const taken = () => calls.splice(0).filter((c) => c.includes('sql'));
  // Reading is the default: whatever the text, the engine refuses to write.
  await run(t, 'with t as (select 1) delete from to_write');
  await t.page.locator('.problem', { hasText: 'read-only' }).waitFor();
  t.assert.deepEqual(taken(), ['query-sql']);
  await t.page.getByRole('button', { name: 'Switch to Write' }).click();
  t.assert.match(await t.text('.write-strip'), /Writing is on\s+for main/);
  // A commented DROP is no write, and asks nothing.
  await result(t, '-- drop table to_write\nselect * from to_write', 2);
  t.assert.deepEqual(taken(), ['query-sql']);
  // One that no pattern of keywords finds.
  await run(t, '/* x */ with t as (select 1) delete from to_write where id in (select * from t) returning *');
  const dialog = t.page.getByRole('dialog');
  await dialog.getByText('1 row would change').waitFor();
  t.assert.match(await dialog.innerText(), /returning \*[\s\S]*1\s+a/);
  await t.accessibleInAllColours('SQL, dry run');
  t.assert.deepEqual(taken(), ['query-sql', 'execute-sql true']);
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  t.assert.deepEqual((await t.api('POST', 'query-sql', { sql: 'select count(*) from to_write' })).rows, [[2]]);
  await editor(t).press('Control+Enter');
  await dialog.getByText('1 row would change').waitFor();
  await editor(t).evaluate((area) => { area.value = 'drop table to_write'; }); // what was confirmed runs, not what stands there now
  await dialog.getByRole('button', { name: 'Write 1 row' }).click();
  await t.until(async () => (await t.text('.facts')).includes('1 row changed'));
  t.assert.deepEqual(taken(), ['query-sql', 'execute-sql true', 'execute-sql']);
  t.assert.deepEqual((await t.api('POST', 'query-sql', { sql: 'select * from to_write' })).rows, [[2, 'b']]);
  await run(t, 'drop table to_write');
  await dialog.getByText('No row would change').waitFor();
  await t.page.keyboard.press('Escape');
  t.assert.equal((await t.api('POST', 'query-sql', { sql: 'select count(*) from to_write' })).rows[0][0], 1);
});

check('an older run never shows its rows, and a cancelled one shows nothing', async (t) => {
  await t.open('#/sql');
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  await t.page.route('**/api/query-sql', async (route) => {
    if (route.request().postDataJSON().sql.includes('slow')) await held;
    await route.continue().catch(() => {});
  });
  await run(t, "select 'slow' as word");
  await result(t, "select 'quick' as word", 1);
  release();
  await t.page.unroute('**/api/query-sql');
  t.assert.deepEqual(await result(t, "select 'after' as word", 1), [['after']]);
  t.assert.ok(!(await t.text('.results')).includes('slow'));

  await run(t, 'with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n');
  await t.page.getByRole('button', { name: 'Cancel' }).click();
  await t.page.getByText('Cancelled').first().waitFor();
  await t.page.getByRole('button', { name: 'Run' }).waitFor();
  t.assert.equal(await t.page.locator('.result').count(), 0);
  t.assert.deepEqual(await result(t, "select 'again' as word", 1), [['again']]);
});

check('a hundred thousand rows come in pages, at most 10,000 on the page, and as a file', async (t) => {
  await t.open('#/sql');
  await t.page.getByRole('combobox', { name: 'Time limit' }).selectOption('60');
  const sql = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) select i, '=1+1' as f, '-5' as text, -5 as neg from n";
  await run(t, sql);
  await t.until(async () => /^1.000\+ rows/.test(await t.text('.facts')));
  await t.until(async () => (await rows(t)).length === 1000);
  await t.page.getByRole('button', { name: /Next 1.000/ }).click();
  await t.until(async () => (await t.page.locator('.result tbody tr').count()) === 2000);
  await t.page.getByRole('button', { name: /Up to 10.000/ }).click();
  await t.until(async () => (await t.page.locator('.result tbody tr').count()) === 10000);
  t.assert.match(await t.text('.tail'), /most that a page shows/);
  t.assert.equal(await t.page.locator('.result tbody tr').last().locator('td').first().textContent(), '10000');
  // The arrow keys move among the rows: one stop for Tab.
  await t.page.locator('.result td').first().click();
  await t.page.keyboard.press('ArrowDown');
  await t.page.keyboard.press('ArrowRight');
  t.assert.equal(await t.page.evaluate(() => `${document.activeElement.closest('tr').sectionRowIndex} ${document.activeElement.textContent}`), '1 =1+1');
  t.assert.equal(await t.page.locator('.result [tabindex="0"]').count(), 1);
  // The export runs the statement behind the rows, page by page, not the text in the editor.
  await run(t, sql.replace('100000', '20001'));
  await t.until(async () => /^1.000\+ rows/.test(await t.text('.facts')) && !(await t.page.locator('.of-older').count()));
  await editor(t).fill('delete from fruit');
  const save = async (choice) => {
    await t.page.getByRole('button', { name: 'Export' }).click();
    const [file] = await Promise.all([t.page.waitForEvent('download'), t.page.getByRole('button', { name: choice }).click()]);
    const chunks = [];
    for await (const chunk of await file.createReadStream()) chunks.push(chunk);
    return Buffer.concat(chunks).toString().split(/\r?\n/);
  };
  const safe = await save('CSV, formulas made harmless');
  t.assert.deepEqual([safe.length, safe[0], safe[1], safe[10001], safe[20001]], [20003, 'i,f,text,neg', "1,'=1+1,'-5,-5", "10001,'=1+1,'-5,-5", "20001,'=1+1,'-5,-5"]);
  await result(t, "select '=1+1' as f, -5 as neg", 1);
  t.assert.equal((await save('CSV, raw'))[1], '=1+1,-5');
});

check('drafts and history survive a reload, statements alone, and Forget erases them', async (t) => {
  await t.open('#/sql');
  await result(t, 'select name from fruit where id = 1 -- kept', 1);
  t.assert.deepEqual(await rows(t), [['apple']]);
  await editor(t).fill('select 42 as draft');
  const stored = await t.page.evaluate(() => JSON.stringify(sessionStorage));
  t.assert.ok(stored.includes('draft') && stored.includes('kept') && !stored.includes('apple'), stored);
  await t.page.reload();
  await t.until(async () => (await editor(t).inputValue()) === 'select 42 as draft');
  await t.page.getByRole('radio', { name: 'History' }).click();
  await t.page.getByRole('button', { name: /select name from fruit/ }).click();
  t.assert.equal(await editor(t).inputValue(), 'select name from fruit where id = 1 -- kept');
  await t.open('#/connect');
  await t.page.getByRole('button', { name: 'Forget' }).click();
  await t.page.getByRole('button', { name: 'Forget everywhere' }).click();
  t.assert.ok(!(await t.page.evaluate(() => JSON.stringify(sessionStorage))).includes('kept'));
  await t.open('#/sql');
  await t.until(async () => (await editor(t).inputValue()).includes('from'));
  t.assert.ok(!(await editor(t).inputValue()).includes('kept'));
  // So does a lock, in the other views: a message and its signature go with the credential that was there.
  await t.go('#/sign/sign?name=sample-ed25519');
  await t.page.locator('#message').fill('between us');
  await t.page.getByRole('button', { name: 'Sign', exact: true }).click();
  await t.page.locator('.verdict').waitFor();
  await t.go('#/connect');
  await t.page.getByRole('button', { name: 'Lock now' }).click();
  await t.go('#/sign/verify');
  t.assert.deepEqual([await t.page.locator('#message').inputValue(), await t.page.locator('#signature').inputValue()], ['', '']);
});

check('names complete by keyboard, and queries are saved, opened and deleted', async (t) => {
  await t.api('POST', 'execute-sql', { sql: 'create table if not exists complete_me (first_column integer, "a ""b" text)' });
  await t.open('#/sql');
  await t.page.locator('.tree summary', { hasText: 'complete_me' }).waitFor();
  await editor(t).fill('');
  await editor(t).pressSequentially('select c.fi');
  t.assert.equal(await t.page.locator('.suggest').isVisible(), false);
  await editor(t).fill('select * from complete_me c where c.');
  await t.page.keyboard.press('Control+Space');
  t.assert.deepEqual(await t.page.locator('.suggest li span:first-child').allInnerTexts(), ['first_column', 'a "b']);
  await t.accessibleInAllColours('SQL, completion');
  await t.page.keyboard.press('ArrowDown');
  await t.page.keyboard.press('Enter');
  t.assert.equal(await editor(t).inputValue(), 'select * from complete_me c where c."a ""b"');
  await t.page.keyboard.press('Control+z');
  t.assert.equal(await editor(t).inputValue(), 'select * from complete_me c where c.');
  await editor(t).fill('select * from complete_me where first_column > :least');
  await t.page.getByRole('button', { name: 'Save' }).click();
  const dialog = t.page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('by-console');
  await dialog.getByLabel('Type of :least').selectOption('integer');
  await t.accessibleInAllColours('SQL, save');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await t.page.getByRole('link', { name: 'by-console' }).waitFor();
  const { queries } = await t.api('GET', 'queries?prefix=by-console');
  t.assert.deepEqual(queries.map((q) => [q.sql, q.parameters.map((p) => [p.name, p.type])]), [['select * from complete_me where first_column > :least', [['least', 'integer']]]]);
  await t.page.getByRole('button', { name: 'Delete the query by-console' }).click();
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await t.until(async () => !(await t.api('GET', 'queries?prefix=by-console')).queries.length);
});

check('a chart shows negative values, and the explained plan is marked as such', async (t) => {
  await t.open('#/sql');
  await result(t, "select 'a' as k, -2 as v union all select 'b', 3 union all select 'c', null order by 1", 3);
  await t.page.getByRole('radio', { name: 'Chart' }).click();
  await t.until(async () => (await t.page.locator('.chart rect.bar').count()) === 2);
  for (const kind of ['Line', 'Scatter', 'Bar']) await t.page.getByRole('radio', { name: kind }).click();
  t.assert.match(await t.text('.chart figcaption'), /v by k, 2 rows; 1 without a number/);
  await t.accessibleInAllColours('SQL, chart');
  await t.page.getByRole('button', { name: 'Explain' }).click();
  await t.page.getByRole('radio', { name: 'Rows' }).click();
  await t.until(async () => (await t.text('.facts')).includes('plan'));
});

check('a database over files shows what a query would read before it runs', async (t) => {
  const calls = [];
  t.page.on('request', (r) => { if (r.url().endsWith('/api/query-sql')) calls.push(Boolean(r.postDataJSON().dry_run)); });
  await t.open('#/sql?db=lake');
  await t.page.locator('.tree summary', { hasText: 'harvest' }).waitFor();
  await run(t, 'select fruit from harvest order by date limit 1');
  await t.until(async () => (await rows(t))[0]?.[0] === 'cherry');
  t.assert.match(await t.text('.strip'), /At most 136 B\s+of 1 file in 1 request/);
  t.assert.match(await t.text('.facts'), /136 B read in 1 requests?/);
  t.assert.deepEqual(calls, [true, false]);
  // Over a limit, nothing is read before another press.
  await t.page.route('**/api/query-sql', (route) => route.request().postDataJSON().dry_run
    ? route.fulfill({ json: { files: [{ name: '<img src=x onerror=alert(1)>', size: 1, etag: '' }], file_count: 900, bytes_to_read: 5e9, requests_to_make: 1200, plan: '' } }) : route.continue());
  await run(t, 'select count(*) as n from harvest');
  await t.page.getByRole('button', { name: 'Read 4.66 GiB' }).waitFor();
  await t.accessibleInAllColours('SQL over files');
  t.assert.equal(calls.length, 3);
  await t.page.getByRole('button', { name: 'Read 4.66 GiB' }).click();
  await t.until(async () => (await rows(t)).length === 1 && calls.length === 4);
}, { app: 'open' });

check('the whole way by keyboard: statement, rows, a value and back, and the live region tells it', async (t) => {
  await t.open('#/sql');
  await t.page.locator('.tree summary').first().waitFor();
  const reach = async (selector) => {
    for (let n = 0; n < 60; n++) { await t.page.keyboard.press('Tab'); if (await t.page.evaluate((s) => document.activeElement.matches(s), selector)) return; }
    t.assert.fail(`Tab does not reach ${selector}`);
  };
  await t.page.locator('#main h1').focus();
  await reach('.editor textarea');
  await t.page.keyboard.press('Control+a');
  await t.page.keyboard.type('select id, name from fruit order by id');
  await t.page.keyboard.press('Escape');
  await t.page.keyboard.press('Control+Enter');
  await t.until(async () => (await t.page.locator('#live').textContent()) === '12 rows');
  await reach('.result td');
  await t.page.keyboard.press('ArrowRight');
  await t.page.keyboard.press('PageDown');
  await t.page.keyboard.press('Enter');
  t.assert.match(await t.text('.inspect'), /name[\s\S]*Row\s+12[\s\S]*plum/);
  await t.page.locator('.inspect button').first().focus();
  await t.page.keyboard.press('Escape');
  t.assert.equal(await t.page.evaluate(() => document.activeElement.textContent), 'plum');
  await t.go('#/blobs/samples');
  await t.page.locator('.work tbody a', { hasText: 'welcome.txt' }).waitFor();
  for (let n = 0; n < 60 && !(await t.page.evaluate(() => document.activeElement.textContent === 'welcome.txt')); n++) await t.page.keyboard.press('Tab');
  await t.page.keyboard.press('Enter');
  await t.page.getByRole('button', { name: 'Close the preview' }).press('Enter');
  t.assert.equal(await t.page.evaluate(() => document.activeElement.textContent), 'welcome.txt');
});

check('where the database cannot undo a statement the person types its name, and a cancelled write says what is not known', async (t) => {
  await t.api('POST', 'execute-sql', { sql: 'create table if not exists no_undo (a integer)' });
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  await t.page.route('**/api/execute-sql', async (route) => {
    // As MySQL responds to `create table`.
    if (route.request().postDataJSON().dry_run) return route.fulfill({ status: 422, contentType: 'application/problem+json', json: { type: 'urn:strongroom:problem:sql-error', title: 'The database refused the statement', status: 422, code: 'sql-error', detail: 'CREATE cannot be undone by MySQL. Send it in a call of its own, and not as a dry run.' } });
    await held;
    return route.continue().catch(() => {});
  });
  await t.open('#/sql');
  await t.page.locator('.tree summary').first().waitFor();
  await t.page.getByRole('radio', { name: 'Write' }).click();
  await run(t, 'insert into no_undo values (1)');
  const dialog = t.page.getByRole('dialog');
  await dialog.getByText('There is no dry run').waitFor();
  const write = dialog.getByRole('button', { name: 'Write' });
  t.assert.ok(await write.isDisabled());
  await dialog.getByRole('textbox').fill('main');
  await t.accessibleInAllColours('SQL, no dry run');
  await write.click();
  await t.page.getByRole('button', { name: 'Cancel' }).click();
  await t.page.getByText('Whether the statement was written is not known').first().waitFor();
  release();
});
