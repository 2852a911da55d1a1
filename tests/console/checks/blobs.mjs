// Blobs: names of every kind, previews that run nothing, uploads, links, pages, costs.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';

const NASTY = '<img src=x onerror=alert(1)>';
const PNG = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');
const put = (t, container, name, body, type = 'text/plain') => t.api('PUT', `blobs/${container}?name=${encodeURIComponent(name)}`, body, { 'content-type': type });
const container = async (t, name) => { await t.api('POST', 'containers', { container: name }); return name; };
const names = (t) => t.page.locator('.work tbody th').evaluateAll((all) => all.map((th) => th.textContent));
const detail = (t) => t.page.getByRole('complementary', { name: 'The chosen blob' });
const choose = async (t, name) => { await t.page.locator('.work').getByRole('link', { name, exact: true }).click(); await detail(t).locator('.preview').waitFor(); };

check('blobs of any name are listed, opened, read and deleted by the page', async (t) => {
  const box = await container(t, 'console-names');
  const all = ['100%.txt', '%2F.txt', 'a#b?c&d=e.txt', 'ein Name mit Leerzeichen .txt', '☂️👩‍👩‍👧.txt', 'مكتب النور.txt', `${NASTY.replaceAll('/', '')}.txt`, "quote'\"`$.txt", 'x'.repeat(1020) + '.txt', '\u202egpj.exe.txt'];
  for (const name of all) await put(t, box, name, `content of ${name}`);
  await put(t, box, '/slash//twice.txt', 'content of slashes');
  await put(t, box, 'folder/../up.txt', 'content of dots');
  await t.open(`#/blobs/${box}`);
  for (const name of all) {
    const link = t.page.locator(`.work tbody a[href$=${JSON.stringify(`blob=${new URLSearchParams({ b: name }).toString().slice(2)}`)}]`);
    await link.click();
    await t.until(async () => (await detail(t).innerText()).includes('content of') && (await detail(t).locator('pre').innerText()) === `content of ${name}`, name);
    t.assert.equal(await detail(t).locator('.kv code').first().textContent(), name);
  }
  t.assert.equal(await t.page.locator('.work img, .detail img').count(), 0);
  await t.accessibleInAllColours('Blobs of any name');
  for (const width of [768, 320]) { await t.page.setViewportSize({ width, height: 700 }); await t.fits(`Blobs at ${width} px`); }
  // On a narrow page the pane of the chosen blob is above the list, and comes into sight.
  await t.page.locator('.work tbody a').last().click();
  const close = await detail(t).getByRole('button', { name: 'Close the preview' }).boundingBox();
  t.assert.ok(close.y > 0 && close.y < 700, `the pane is at ${close.y} px`);
  await t.page.setViewportSize({ width: 1280, height: 800 });

  // Names with empty segments and dots: by folders, and then read through the query.
  await t.go(`#/blobs/${box}?prefix=${encodeURIComponent('/slash//')}`);
  await choose(t, 'twice.txt');
  await t.page.getByText('content of slashes').waitFor();
  await t.go(`#/blobs/${box}?prefix=${encodeURIComponent('folder/../')}`);
  await choose(t, 'up.txt');
  await t.page.getByText('content of dots').waitFor();
  // Deleting asks for the name.
  await detail(t).getByRole('button', { name: 'Delete…' }).click();
  const dialog = t.page.getByRole('dialog');
  t.assert.ok(await dialog.getByRole('button', { name: 'Delete' }).isDisabled());
  await t.accessibleInAllColours('Blobs, delete');
  await dialog.getByRole('textbox').fill('up.txt');
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await t.page.getByText('Empty').waitFor();
  t.assert.equal((await t.api('GET', `list-blobs?container=${box}&prefix=folder/`)).blobs.length, 0);
}, { blobs: true });

check('previews run nothing: HTML and SVG are text, images are images, bytes are hexadecimal', async (t) => {
  const box = await container(t, 'console-previews');
  const script = `<script>fetch('/api/live');alert(1)</script>${NASTY}`;
  await put(t, box, 'page.html', script, 'text/html');
  await put(t, box, 'drawing.svg', `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)">${script}</svg>`, 'image/svg+xml');
  await put(t, box, 'pixel.png', PNG, 'image/png');
  await put(t, box, 'no-image.png', script, 'image/png');
  await put(t, box, 'bytes.bin', Buffer.from([0, 255, 16]), 'application/octet-stream');
  await put(t, box, 'long.txt', 'ä'.repeat(50000));
  await put(t, box, 'empty.txt', '');
  await t.open(`#/blobs/${box}`);
  for (const [name, expected] of [['page.html', script], ['drawing.svg', script], ['bytes.bin', '0000  00 ff 10']]) {
    await choose(t, name);
    await t.until(async () => (await detail(t).locator('pre').textContent().catch(() => '')).includes(expected), name);
    t.assert.equal(await detail(t).locator('.preview :not(pre, div, svg, path)').filter({ hasText: 'alert' }).count(), 0, name);
  }
  await choose(t, 'pixel.png');
  await t.until(() => detail(t).locator('img').evaluate((img) => img.naturalWidth === 1 && img.src.startsWith('blob:')).catch(() => false));
  await t.accessibleInAllColours('Blobs, image');
  await choose(t, 'no-image.png');
  await t.page.getByText('the bytes are not such an image').waitFor();
  await choose(t, 'long.txt');
  await t.page.getByText('The first 64 KiB of 98 KiB').waitFor();
  await choose(t, 'empty.txt');
  await t.page.getByText('The blob is empty').waitFor();
  // Another tier, by a button of its own.
  await detail(t).getByLabel('Tier').selectOption('Cool');
  await detail(t).getByRole('button', { name: 'Move' }).click();
  await t.until(async () => (await t.api('GET', `list-blobs?container=${box}&prefix=empty`)).blobs[0].tier === 'Cool');
  // Data files by describe-data: columns with types, and the first rows.
  await t.go('#/blobs/samples?prefix=orchard/');
  for (const [name, column, value] of [['harvest.csv', 'kilograms', '118.5'], ['sales.parquet', 'parquet', 'columns']]) {
    await choose(t, name);
    await t.until(async () => { const text = await detail(t).innerText(); return text.includes(column) && text.includes(value); }, name);
  }
  t.assert.equal(await detail(t).locator('.result').count(), 1);
  t.assert.equal(await t.page.locator('iframe, object, embed').count(), 0);
});

check('a container of 50,000 blobs is paged and filtered by prefix, one page at a time', async (t) => {
  // The app's own listing of so many is tested elsewhere; here its pages are made up, as the app writes them.
  const total = 50000, name = (i) => `n${String(i).padStart(5, '0')}.txt`;
  const listings = [];
  await t.page.route('**/api/list-blobs', (route) => {
    const fields = route.request().postDataJSON();
    if (fields.container !== 'console-many') return route.continue();
    listings.push([fields.prefix, fields.limit, fields.cursor ?? null]);
    const all = Array.from({ length: total }, (_, i) => name(i)).filter((n) => n.startsWith(fields.prefix ?? '')), from = Number(fields.cursor ?? 0);
    const blobs = all.slice(from, from + fields.limit).map((n) => ({ name: n, size: 1, content_type: 'text/plain', last_modified: '2026-11-29T06:00:00Z', etag: '"1"', tier: 'Hot', url: null }));
    return route.fulfill({ json: { blobs, prefixes: [], cursor: from + fields.limit < all.length ? String(from + fields.limit) : null } });
  });
  await t.open('#/blobs/console-many');
  await t.until(async () => (await names(t)).length === 200);
  t.assert.match(await t.text('.more-row'), /Names 1 to 200; there are more/);
  await t.page.getByRole('button', { name: 'Next page' }).click();
  await t.until(async () => (await names(t))[0] === 'n00200.txt');
  t.assert.equal(await t.page.evaluate(() => document.activeElement.textContent), 'n00200.txt');
  await t.page.getByRole('button', { name: 'Previous page' }).click();
  await t.until(async () => (await names(t))[0] === 'n00000.txt');
  await t.page.getByRole('searchbox', { name: 'Names here that start with' }).fill('n4999');
  await t.until(async () => (await names(t)).length === 10);
  t.assert.match(t.page.url(), /prefix=n4999/);
  t.assert.ok(listings.every(([, limit]) => limit === 200));
  t.assert.ok(listings.length <= 4, JSON.stringify(listings));
  await t.page.getByRole('searchbox', { name: 'Names here that start with' }).fill('zzz');
  await t.page.getByText('No match').waitFor();
});

check('the queue shows true percentages, survives a failure, and replaces nothing by itself', async (t) => {
  const box = await container(t, 'console-uploads');
  await put(t, box, 'in/there.txt', 'old');
  const at = mkdtempSync(join(tmpdir(), 'console-uploads-'));
  try {
    const files = { 'there.txt': 'new', [`${NASTY.replaceAll('/', '')}.txt`]: 'nasty', 'fails.txt': 'later', '100% ☂ #1.txt': 'fine' };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(at, name), text);
    await t.open(`#/blobs/${box}?prefix=in/`);
    let failures = 1;
    await t.page.route(/\/api\/blobs\/.*fails\.txt/, (route) => (failures-- > 0 ? route.abort() : route.continue()));
    await t.page.locator('.work input[type=file]').setInputFiles(Object.keys(files).map((name) => join(at, name)));
    const queue = t.page.getByRole('region', { name: 'Uploads' });
    await t.until(async () => (await queue.innerText()).includes('2 of 4 stored'));
    await t.until(async () => /exists[\s\S]*A blob of this name exists/.test(await queue.innerText()) && /failed[\s\S]*The connection ended/.test(await queue.innerText()));
    await t.accessibleInAllColours('Blobs, uploads');
    t.assert.equal(await t.api('GET', `blobs/${box}/in/there.txt`), 'old');
    await t.go('#/home'); // the queue goes on and stays while other views are open
    await t.go(`#/blobs/${box}?prefix=in/`);
    await queue.getByRole('button', { name: 'Retry fails.txt' }).or(queue.getByRole('button', { name: 'Retry in/fails.txt' })).click();
    await queue.getByRole('button', { name: 'Replace in/there.txt' }).click();
    await t.until(async () => (await queue.innerText()).includes('4 of 4 stored'));
    for (const [name, text] of Object.entries(files)) t.assert.equal(await t.api('GET', `blobs/${box}?name=${encodeURIComponent(`in/${name}`)}`), text);
    await t.until(async () => (await names(t)).length === 4);
    t.assert.equal(await t.page.locator('.queue img').count(), 0);
  } finally { rmSync(at, { recursive: true }); }
});

check('where storage refuses an upload of the page, the shown command uploads the file', async (t) => {
  const box = await container(t, 'console-large');
  const at = mkdtempSync(join(tmpdir(), 'console-large-')), path = join(at, "it's large.bin");
  writeFileSync(path, Buffer.alloc(9 * 1024 * 1024, 7));
  try {
    await t.open(`#/blobs/${box}`);
    // Storage accepts uploads from another origin alone.
    await t.page.locator('.work input[type=file]').setInputFiles(path);
    const queue = t.page.getByRole('region', { name: 'Uploads' });
    await t.until(async () => (await queue.innerText()).includes('CORS'));
    await queue.getByRole('button', { name: /^Command/ }).click();
    await t.accessibleInAllColours('Blobs, command');
    const command = await t.copy(t.page.getByRole('dialog').getByRole('button', { name: 'Copy' }));
    t.assert.ok(!(await t.page.content()).includes('sig='), 'the write link is in the page');
    execFileSync('sh', ['-c', command], { cwd: at });
    t.assert.equal((await t.api('GET', `list-blobs?container=${box}`)).blobs[0].size, 9 * 1024 * 1024);
    await t.page.keyboard.press('Escape');
  } finally { rmSync(at, { recursive: true }); }
}, { blobs: true, expected: /blocked by CORS policy/ });

check('over the limit of a body a file goes straight to storage, with true percentages', async (t) => {
  const box = await container(t, 'console-direct');
  const at = mkdtempSync(join(tmpdir(), 'console-direct-')), path = join(at, '50 % off.bin');
  writeFileSync(path, Buffer.alloc(9 * 1024 * 1024, 7));
  try {
    await t.open(`#/blobs/${box}`);
    const shown = [];
    await t.page.exposeFunction('shows', (text) => { shown.push(text); });
    await t.page.evaluate(() => { new MutationObserver(() => { const p = document.querySelector('.queue .percent'); if (p) globalThis.shows(p.textContent); }).observe(document.querySelector('.queue'), { subtree: true, childList: true, characterData: true }); });
    const direct = t.page.waitForRequest((r) => r.method() === 'PUT' && r.url().startsWith(t.app.blobs));
    await t.page.locator('.work input[type=file]').setInputFiles(path);
    t.assert.equal((await direct).headers()['x-functions-key'], undefined);
    await t.until(async () => /1 of 1 stored/.test(await t.text('.queue')));
    t.assert.ok(shown.length && shown.every((text) => /^(\d\d? %|storing|queued|stored)$/.test(text)), shown.join());
    t.assert.deepEqual((await t.api('GET', `list-blobs?container=${box}`)).blobs.map((b) => [b.name, b.size]), [['50 % off.bin', 9 * 1024 * 1024]]);
    await t.until(async () => (await names(t)).length === 1);
  } finally { rmSync(at, { recursive: true }); }
}, { app: 'open', blobs: true });

check('links are created with limits and an end, listed, and revoked; a download takes a link of five minutes', async (t) => {
  const box = await container(t, 'console-links');
  await put(t, box, 'shared/report.txt', 'for Ada');
  await t.open(`#/blobs/${box}?prefix=shared/`);
  await choose(t, 'report.txt');
  await detail(t).getByRole('button', { name: 'Link…' }).click();
  const dialog = t.page.getByRole('dialog');
  await dialog.getByLabel('Uses at most').fill('3');
  await dialog.getByLabel('Note: owner').fill(NASTY);
  await dialog.getByRole('button', { name: 'Create' }).click();
  await dialog.getByText('at most 3').waitFor();
  t.assert.match(await dialog.innerText(), /Expires\s+\d{4}-\d\d-\d\dT[\s\S]*in (60|1) (min|h)/);
  t.assert.ok(!(await t.page.content()).includes('/api/s/'), 'the link is in the page before it is shown');
  const link = await t.copy(dialog.getByRole('button', { name: 'Copy' }));
  t.assert.equal(await (await fetch(link, { headers: { 'user-agent': 'curl/8' } })).text(), 'for Ada');
  await t.accessibleInAllColours('Blobs, link');
  await t.page.keyboard.press('Escape');
  const request = t.page.waitForRequest((r) => r.url().endsWith('/api/share-blob'));
  const [download] = await Promise.all([new Promise((resolve) => { t.page.on('download', resolve); t.context.on('page', (page) => page.on('download', resolve)); }), detail(t).getByRole('button', { name: 'Download' }).click()]);
  t.assert.equal((await request).postDataJSON().minutes, 5);
  t.assert.equal(download.suggestedFilename(), 'report.txt');
  t.assert.equal(readFileSync(await download.path(), 'utf8'), 'for Ada');
  await t.api('POST', 'share-blob', { batch: Array(120).fill({ container: box, name: 'shared/report.txt', revocable: true, minutes: 5, owner: 'another' }) });
  await t.go('#/blobs?show=links');
  const row = t.page.locator('tr', { hasText: `${box}/shared/report.txt` }).filter({ hasText: NASTY });
  const next = t.page.getByRole('button', { name: 'Next page' });
  await t.until(async () => { // Links are in the order of their ids, a hundred on a page.
    await row.or(next).first().waitFor();
    if (await row.count()) return true;
    await next.click();
    return false;
  });
  t.assert.match(await row.innerText(), /1 of 3/);
  t.assert.ok((await row.innerText()).includes(NASTY));
  await t.accessibleInAllColours('Links');
  await t.page.setViewportSize({ width: 320, height: 700 });
  await t.fits('Links at 320 px');
  await row.getByRole('button', { name: /^Revoke/ }).click();
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await t.until(async () => (await row.count()) === 0);
  t.assert.equal((await fetch(link, { headers: { 'user-agent': 'curl/8' } })).status, 404);
}, { blobs: true });

check('versions are listed and restored, deleted blobs come back, and the address opens a blob of a later page', async (t) => {
  // The emulator keeps no versions: these responses are as the app writes those of an account that does.
  const blob = (more) => ({ name: 'a.txt', size: 3, content_type: 'text/plain', last_modified: '2026-11-29T06:00:00Z', etag: '"1"', tier: 'Hot', url: null, ...more });
  const calls = [];
  await t.page.route(/\/api\/(list-blobs|copy-blob|restore-blob|blobs\/)/, (route) => {
    const name = route.request().url().split('/api/')[1].split(/[/?]/)[0], fields = route.request().postDataJSON() ?? {};
    if (name === 'list-blobs' && fields.container !== 'console-versions') return route.continue();
    if (name !== 'list-blobs') { calls.push([name, fields]); return name === 'blobs' ? route.fulfill({ contentType: 'text/plain', body: 'abc' }) : route.fulfill({ json: {} }); }
    if (fields.prefix === 'z.txt') return route.fulfill({ json: { blobs: [blob({ name: 'z.txt' })], prefixes: [], cursor: null } });
    const blobs = fields.include?.includes('versions') ? [blob({ version_id: '2026-01-01T00:00:00.0000000Z', is_current_version: false }), blob({ version_id: '2026-02-01T00:00:00.0000000Z', is_current_version: true })]
      : [blob(), ...(fields.include?.includes('deleted') ? [blob({ name: 'gone.txt', deleted: true })] : [])];
    return route.fulfill({ json: { blobs, prefixes: [], cursor: 'more' } });
  });
  await t.open('#/blobs/console-versions?blob=z.txt');
  await t.until(async () => (await detail(t).innerText()).includes('z.txt'));
  await choose(t, 'a.txt');
  await detail(t).locator('.versions li').nth(1).waitFor();
  t.assert.match(await detail(t).locator('.versions').innerText(), /2026-02-01T00:00:00[\s\S]*current[\s\S]*2026-01-01T00:00:00[\s\S]*Restore/);
  await t.accessibleInAllColours('Blobs, versions');
  await detail(t).getByRole('button', { name: 'Restore 2026-01-01T00:00:00' }).click();
  await t.page.getByRole('dialog').getByRole('button', { name: 'Restore' }).click();
  await t.until(() => calls.some(([name, f]) => name === 'copy-blob' && f.version_id === '2026-01-01T00:00:00.0000000Z' && f.name === 'a.txt' && f.to_name === 'a.txt' && f.overwrite));
  await t.page.getByLabel('Deleted').check();
  await t.page.locator('.work').getByRole('link', { name: /gone.txt/ }).click();
  await detail(t).getByRole('button', { name: 'Restore', exact: true }).click();
  await t.until(() => calls.some(([name, f]) => name === 'restore-blob' && f.name === 'gone.txt'));
});

check('containers are created, summed up with their costs, and deleted by their name', async (t) => {
  await t.open('#/blobs');
  await t.page.getByRole('button', { name: 'Create a container' }).last().click();
  const dialog = t.page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('Not A Name');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await dialog.locator('.problem').waitFor();
  await dialog.getByLabel('Name').fill('console-made');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await t.page.getByText('Drop files here').waitFor();
  await put(t, 'console-made', 'a/1.bin', Buffer.alloc(2048));
  await t.go('#/blobs');
  await t.page.getByRole('button', { name: 'Cost of console-made' }).click();
  await dialog.getByText('Without versions').waitFor();
  t.assert.match(await dialog.innerText(), /Blobs\s+1[\s\S]*2\.0 KiB[\s\S]*Hot[\s\S]*a\//);
  await t.accessibleInAllColours('Blobs, costs');
  await t.page.keyboard.press('Escape');
  await t.page.getByRole('button', { name: 'Delete… console-made' }).click();
  await dialog.getByRole('textbox').fill('console-made');
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await t.until(async () => !(await t.api('GET', 'list-blobs')).containers.some((c) => c.name === 'console-made'));
});

check('the views say what a key may not do, in their own words', async (t) => {
  await t.open('#/blobs/samples', { key: t.app.signKey });
  await t.page.locator('.work .problem', { hasText: 'No access to list-blobs' }).waitFor();
  await t.go('#/sql');
  await t.page.locator('.tree .problem').waitFor();
  await t.page.getByRole('textbox', { name: 'Statement' }).fill('select 1');
  await t.page.keyboard.press('Control+Enter');
  await t.page.locator('.results .problem', { hasText: 'No access to query-sql' }).waitFor();
  await t.accessibleInAllColours('SQL, denied');
  await t.go('#/sign/sign');
  await t.page.getByText('may not list keys').waitFor();
  await t.page.getByLabel('Key', { exact: true }).last().fill('sample-ed25519');
  await t.page.locator('#message').fill('x');
  await t.page.getByRole('button', { name: 'Sign', exact: true }).click();
  await t.page.locator('.verdict').waitFor(); // this key may sign; the published key set has the public key
  t.assert.equal(await t.text('.verdict .verdict-word'), 'Matches');
});
