// Failures: each status has words of its own, and nothing that a response contains runs.

async function send(t, name, query = '') {
  await t.go(`#/functions/${name}${query}`);
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.problem').waitFor();
  return t.text('.problem');
}

check('401, 403, 404 and 400 of the app have their own words', async (t) => {
  await t.open('#/functions/list-keys', { key: t.app.signKey });
  await t.page.getByRole('heading', { level: 1, name: 'list-keys' }).waitFor();
  t.assert.match(await send(t, 'list-keys'), /401 Not allowed by this credential[\s\S]*No access to list-keys[\s\S]*See what it may call/);
  await t.open('#/home', { key: '' });
  t.assert.match(await send(t, 'list-keys'), /401 This needs a key[\s\S]*You are not connected/);
  await t.open('#/home');
  t.assert.match(await send(t, 'sign', '?key=_tokens&message=x'), /403 Refused for this object[\s\S]*reserved-key/);
  t.assert.match(await send(t, 'get-key', '?name=no-such'), /404 Not found[\s\S]*unknown-key/);
  t.assert.match(await send(t, 'sign', '?version=x&message=1'), /400 The request is malformed[\s\S]*invalid-request[\s\S]*version/);
  await t.accessibleInAllColours('a problem');
});

check('429, 500 and what a proxy sends have their own words', async (t) => {
  await t.open('#/home');
  for (const [response, words] of [
    [{ status: 429, headers: { 'retry-after': '7', 'content-type': 'application/problem+json' }, body: '{"title":"Too many calls at the same time","status":429,"detail":"Wait.","code":"busy"}' }, /429 The app is busy[\s\S]*Try again in 7 s/],
    [{ status: 500, headers: { 'content-type': 'application/problem+json' }, body: '{"title":"The app failed unexpectedly","status":500,"detail":"It is logged.","code":"internal-error","request_id":"r-1"}' }, /500 The app failed[\s\S]*request id r-1/],
    [{ status: 500, body: '' }, /500 The app failed[\s\S]*no details/],
    [{ status: 502, headers: { 'content-type': 'text/html' }, body: '<script>alert(1)</script>' }, /502 The app does not respond/],
    [{ status: 403, headers: { 'content-type': 'text/html' }, body: '<h1>Forbidden</h1>' }, /403[\s\S]*Refused before it reached the app/],
  ]) {
    await t.page.route('**/api/live', (route) => route.fulfill(response));
    t.assert.match(await send(t, 'live'), words);
    await t.page.unroute('**/api/live');
    await t.go('#/home');
  }
});

check('Home shows which service is down, also where the app responds 503', async (t) => {
  const service = (status) => ({ status, latency_ms: 5000 });
  for (const [status, body] of [[503, { status: 'down', version: '0.1.0', services: { storage: service('down'), keys: service('ok') } }], [200, { status: 'degraded', version: '0.1.0', services: { storage: service('ok'), databases: service('down') } }]]) {
    await t.page.route('**/api/health', (route) => route.fulfill({ status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }));
    await t.open('#/home', { key: '' });
    await t.page.getByText(status === 503 ? 'storage: no response' : 'databases: no response').waitFor();
    t.assert.match(await t.text('.health-word'), status === 503 ? /^down/ : /^degraded/);
    await t.accessible(`Home, ${body.status}`);
    await t.page.unroute('**/api/health');
  }
  await t.page.route('**/api/health', (route) => route.fulfill({ status: 503, body: '' }));
  await t.open('#/home', { key: '' });
  await t.page.locator('.problem .title', { hasText: 'The app is not available' }).waitFor();
});

check('offline is said, and a retry works when the connection is back', async (t) => {
  await t.open('#/functions/live');
  await t.page.getByRole('button', { name: 'Send' }).waitFor();
  await t.context.setOffline(true);
  t.assert.match(await send(t, 'live'), /offline No connection[\s\S]*This device is offline/);
  t.assert.match(await t.text('#tape'), /offline/);
  await t.context.setOffline(false);
  await t.page.getByRole('button', { name: 'Retry' }).click();
  await t.page.locator('.answer-line').waitFor();
});

check('a response of the app is text, whatever it contains', async (t) => {
  const bad = '<img src=x onerror="alert(1)"><script>alert(2)</script>';
  await t.open('#/home');
  await t.page.route('**/api/keys/nope', (route) => route.fulfill({ status: 404, headers: { 'content-type': 'application/problem+json' }, body: JSON.stringify({ title: bad, status: 404, detail: bad, code: bad, errors: [{ field: bad, detail: `${bad}!` }] }) }));
  const text = await send(t, 'get-key', '?name=nope');
  t.assert.equal(text.split('<img src=x').length, 6);
  t.assert.equal(await t.page.locator('main img, main script').count(), 0);
  await t.page.unroute('**/api/keys/nope');
  await t.go(`#/functions/query-sql?sql=${encodeURIComponent(`select '${bad.replaceAll("'", "''")}' as "${bad.replaceAll('"', '""')}"`)}`);
  await t.page.getByRole('button', { name: 'Send' }).click();
  await t.page.locator('.answer-line').waitFor();
  t.assert.match(await t.text('.answer'), /<script>alert\(2\)/);
  await t.go(`#/functions/${encodeURIComponent(bad)}`);
  await t.page.getByRole('heading', { level: 1, name: 'No such function' }).waitFor();
  t.assert.equal(await t.page.locator('main img, #top img').count(), 0);
});
