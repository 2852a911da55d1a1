// The shell: what it shows without a key, navigation, the palette, the tape, problems.

check('it opens without a key and says what works', async (t) => {
  await t.open('', { key: '' });
  await t.until(async () => (await t.text()).includes('Every service responds'));
  const text = await t.text();
  t.assert.match(text, /You are not connected/);
  t.assert.match(text, /These work already/);
  t.assert.equal(await t.page.title(), 'Home – Strongroom');
});

check('the first page takes four files of the console and one call', async (t) => {
  const files = [], calls = [];
  t.page.on('request', (r) => (r.url().startsWith(t.url) ? files : calls).push(r.url()));
  await t.open('', { key: '' });
  await t.until(async () => (await t.text()).includes('Every service responds'));
  t.assert.ok(files.length <= 4, files.join('\n'));
  t.assert.deepEqual(calls, [`${t.app.url}/api/health`]);
});
