// The shell: what works without a key, navigation by mouse and keys, the palette, the tape, widths and colours.
import { execFileSync } from 'node:child_process';

const BAD = `<img src=x onerror="document.title='run'">`;

check('it opens without a key and says what works', async (t) => {
  const files = [], calls = [];
  t.page.on('request', (r) => (r.url().startsWith(t.url) ? files : calls).push(r.url()));
  await t.open('', { key: '' });
  await t.until(async () => (await t.text()).includes('Every service responds'));
  const text = await t.text();
  t.assert.match(text, /You are not connected/);
  t.assert.match(text, /These work already/);
  t.assert.equal(await t.page.title(), 'Home – Strongroom');
  t.assert.ok(files.length <= 4, `four files of the console at most: ${files.join(' ')}`);
  t.assert.deepEqual(calls, [`${t.app.url}/api/health`]);
});

check('without enforced keys, the first page shows what exists', async (t) => {
  await t.open('');
  await t.until(async () => /\d+\+? keys?/.test(await t.text('.holds')) && /\d+ databases?/.test(await t.text('.holds')));
  t.assert.match(await t.text('#top'), /No key needed/);
}, { app: 'open' });

check('Home links to what exists and lists the last calls as curl', async (t) => {
  await t.open('#/home');
  await t.until(async () => !(await t.page.locator('.hold[aria-busy]').count()));
  t.assert.match(await t.text('.holds'), /\d+\+? users?/);
  const row = t.page.locator('section', { hasText: 'Last calls' }).getByRole('row', { name: /list-keys/ });
  t.assert.match(await t.copy(row.getByRole('button')), /^curl -G "\$A\/keys"/);
});

check('the address names the view, and Back leads back', async (t) => {
  await t.open('#/home');
  await t.page.getByRole('link', { name: 'All functions' }).click();
  await t.page.getByRole('heading', { level: 1, name: 'sign', exact: true }).waitFor();
  t.assert.equal(new URL(t.page.url()).hash, '#/functions');
  await t.page.goBack();
  await t.page.getByRole('heading', { level: 1, name: new URL(t.app.url).host }).waitFor();
  await t.go('#/nowhere');
  t.assert.match(await t.text('main'), /names no view/);
  await t.go('#/functions/no-such-function');
  await t.page.getByRole('heading', { level: 1, name: 'No such function' }).waitFor();
});

check('the palette finds views, functions and objects, whatever their names', async (t) => {
  const name = `p ${BAD}`;
  await t.api('POST', 'execute-sql', { sql: `create table if not exists "${name.replaceAll('"', '""')}" (a)` });
  try {
    await t.open('#/home');
    await t.page.keyboard.press('Control+k');
    await t.page.keyboard.type('p <img');
    const option = t.page.getByRole('option', { name: 'onerror' });
    await option.waitFor();
    t.assert.match(await option.innerText(), /main\.p <img src=x onerror=/);
    await t.page.keyboard.press('Enter');
    await t.until(() => t.page.url().includes('#/sql?'));
    t.assert.notEqual(await t.page.title(), 'run');
    await t.page.keyboard.press('Control+k');
    await t.page.keyboard.type('rotatekey');
    await t.page.getByRole('option', { name: /rotate-key/ }).first().waitFor();
    await t.page.keyboard.press('Enter');
    await t.page.getByRole('heading', { level: 1, name: 'rotate-key' }).waitFor();
    t.assert.equal(await t.page.locator('dialog').count(), 0);
  } finally { await t.api('POST', 'execute-sql', { sql: `drop table "${name.replaceAll('"', '""')}"` }); }
});

check('everything is reached by keys alone, and changes are announced', async (t) => {
  await t.open('', { key: '' });
  await t.page.keyboard.press('Tab');
  t.assert.equal(await t.page.evaluate(() => document.activeElement.id), 'skip');
  await t.page.keyboard.press('Enter');
  t.assert.equal(await t.page.evaluate(() => document.activeElement.id), 'main');
  await t.page.keyboard.type('gc');
  await t.page.getByRole('heading', { level: 1, name: 'Connect' }).waitFor();
  t.assert.equal(await t.page.evaluate(() => document.activeElement.tagName), 'H1');
  for (let n = 0; n < 9 && !(await t.page.evaluate(() => document.activeElement.name === 'key')); n++) await t.page.keyboard.press('Tab');
  await t.page.keyboard.type(t.key);
  await t.page.keyboard.press('Enter');
  await t.until(async () => (await t.text('#live')) === 'Connected');
  await t.page.keyboard.press('Control+k');
  await t.page.keyboard.type('list-queries');
  await t.page.getByRole('option', { name: /^list-queries/ }).waitFor();
  await t.page.keyboard.press('Enter');
  await t.page.getByRole('heading', { level: 1, name: 'list-queries' }).waitFor();
  await t.page.getByRole('button', { name: 'Send' }).waitFor();
  for (let n = 0; n < 20 && (await t.page.evaluate(() => document.activeElement.innerText)) !== 'Send'; n++) await t.page.keyboard.press('Tab');
  await t.page.keyboard.press('Enter');
  await t.page.locator('.answer-line').waitFor();
});

check('a copied call works in a shell, and has no secret in it', async (t) => {
  await t.open('#/functions/sign?message=it%27s%20%24HOME%20%60x%60%20%22q%22');
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.answer-line').waitFor();
  const text = await t.copy(t.page.getByRole('button', { name: 'Copy as curl' }));
  await t.until(async () => (await t.text('#live')).includes('Copied'));
  t.assert.ok(!text.includes(t.key));
  const environ = { ...process.env, A: `${t.app.url}/api`, K: t.key };
  const signed = JSON.parse(execFileSync('bash', ['-c', `${text.replace('curl', 'curl -sS')}`], { env: environ }));
  t.assert.equal(signed.key, 'default');
  const verified = await t.api('POST', 'verify', { message: `it's $HOME \`x\` "q"`, signature: signed.signature });
  t.assert.equal(verified.valid, true);
  await t.page.getByRole('radio', { name: 'Python' }).check();
  const python = await t.page.locator('figure.code pre').first().innerText();
  t.assert.ok(!python.includes(t.key));
  const printed = execFileSync(process.env.PYTHON, ['-c', python], { env: environ }).toString();
  t.assert.match(printed, /^200 \{"key":"default"/);
});

check('the tape keeps the last hundred calls', async (t) => {
  await t.open('#/functions/live');
  await t.page.getByRole('button', { name: 'Send' }).waitFor();
  for (let n = 0; n < 3; n++) { await t.page.getByRole('button', { name: 'Send' }).click(); await t.until(async () => (await t.text('#tape')).includes(`${n + 1} call`)); }
  await t.page.locator('#tape').getByRole('button', { name: /3 calls/ }).click();
  t.assert.equal(await t.page.locator('#tape tbody tr').count(), 3);
  await t.accessibleInAllColours('the tape');
});

check('it fits from 320 px to 4K, and at 400 % zoom', async (t) => {
  for (const [width, height] of [[320, 256], [320, 640], [360, 800], [900, 700], [1440, 900], [3840, 2160]]) {
    await t.page.setViewportSize({ width, height });
    for (const [hash, content] of [['#/home', '.hold:not([aria-busy])'], ['#/connect', '.opens li'], ['#/functions/create-key', 'form .field']]) { await t.open(hash); await t.page.locator(content).first().waitFor(); await t.fits(`${hash} at ${width} px`); }
  }
  await t.page.setViewportSize({ width: 360, height: 800 });
  await t.open('#/home');
  await t.page.getByRole('button', { name: 'Menu', exact: true }).click();
  await t.page.locator('#side').getByRole('link', { name: 'Functions' }).click();
  await t.page.getByRole('heading', { level: 1, name: 'sign', exact: true }).waitFor();
  await t.accessible('a narrow page');
});

check('the shell and its views have no finding of axe-core in any colours', async (t) => {
  await t.open('#/home');
  await t.until(async () => (await t.text('main')).includes('Every service responds'));
  await t.accessibleInAllColours('Home');
  await t.page.keyboard.press('Control+k');
  await t.page.getByRole('option').first().waitFor();
  await t.accessibleInAllColours('the palette');
  await t.page.keyboard.press('Escape');
  await t.page.getByRole('button', { name: 'Appearance' }).click();
  await t.accessible('Appearance');
  await t.open('#/home', { key: '' });
  await t.accessibleInAllColours('Home without a key');
  await t.go('#/nowhere');
  await t.accessible('a page that is not there');
});

check('colours can be chosen, and stay for the tab', async (t) => {
  await t.open('#/home');
  await t.page.getByRole('button', { name: 'Appearance' }).click();
  await t.page.getByRole('radio', { name: 'Dark' }).check();
  const background = () => t.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await background();
  await t.page.reload();
  await t.page.locator('#main[data-ready] h1').first().waitFor();
  t.assert.equal(await background(), dark);
  await t.page.emulateMedia({ colorScheme: 'dark' });
  t.assert.equal(await background(), dark);
  await t.page.evaluate(() => sessionStorage.clear());
});
