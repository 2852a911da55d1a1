// Measures the console and Datasette's page for the same rows, in Chromium. Prints JSON; bench/console.py starts it.
import { chromium } from 'playwright-core';

const { app, datasette, rounds } = JSON.parse(process.argv[2]);
const SQL = 'select * from orders order by id limit 1000';
const SLOW = { offline: false, latency: 150, downloadThroughput: 1.6e6 / 8, uploadThroughput: 750e3 / 8 };
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

/** A page in a fresh profile, with counters of what crosses the network; throttled or not. */
async function fresh(slow) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  const client = await context.newCDPSession(page);
  await client.send('Network.enable');
  const seen = { bytes: 0, requests: 0 };
  client.on('Network.responseReceived', () => { seen.requests++; });
  client.on('Network.loadingFinished', (e) => { seen.bytes += e.encodedDataLength; });
  if (slow) {
    await client.send('Network.emulateNetworkConditions', SLOW);
    await client.send('Emulation.setCPUThrottlingRate', { rate: 4 });
  }
  await page.addInitScript(() => {
    globalThis.shift = 0;
    globalThis.slowest = 0;
    new PerformanceObserver((list) => { for (const e of list.getEntries()) if (!e.hadRecentInput) globalThis.shift += e.value; }).observe({ type: 'layout-shift', buffered: true });
    new PerformanceObserver((list) => { for (const e of list.getEntries()) globalThis.slowest = Math.max(globalThis.slowest, e.duration); }).observe({ type: 'event', durationThreshold: 16, buffered: true });
  });
  return { context, page, seen };
}
const paint = (page) => page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN);
const now = (page) => page.evaluate(() => performance.now());

/** First paint, usable, layout shift and the slowest interaction of the first page, throttled. */
async function firstPage() {
  const { context, page, seen } = await fresh(true);
  await page.goto(`${app.url}/api/console/`, { waitUntil: 'commit' });
  await page.locator('#main[data-ready] h1').waitFor();
  const usable = await now(page);
  const files = { ...seen };
  await page.getByText('Every service responds').waitFor();
  await page.waitForTimeout(500);
  const shift = await page.evaluate(() => globalThis.shift);
  for (let n = 0; n < 3; n++) { await page.keyboard.press('Control+k'); await page.locator('dialog[open]').waitFor(); await page.keyboard.press('Escape'); await page.waitForTimeout(300); }
  const result = { paint: await paint(page), usable, shift, interaction: await page.evaluate(() => globalThis.slowest), bytes: files.bytes, requests: files.requests };
  await context.close();
  return result;
}
/** From the address to 1,000 rows: bytes, requests, time. */
async function consoleRows(slow) {
  const { context, page, seen } = await fresh(slow);
  const to = encodeURIComponent(`/sql?${new URLSearchParams({ db: 'main', sql: SQL })}`);
  await page.goto(`${app.url}/api/console/#key=${app.key}&to=${to}`, { waitUntil: 'commit' });
  await page.getByRole('button', { name: /^Run/ }).click();
  await page.locator('table.result tbody tr').first().waitFor();
  const time = await now(page);
  const sum = { ...seen };
  let all = 0;
  if (!slow) {
    await page.evaluate(() => { globalThis.began = 0; addEventListener('click', () => { globalThis.began = performance.now(); }, true); });
    const statement = page.getByRole('textbox', { name: /statement|SQL/i }).first();
    await statement.fill('select * from orders order by id');
    await page.getByRole('button', { name: /^Run/ }).click();
    await page.getByRole('button', { name: /^Up to/ }).click();
    all = await page.evaluate(() => new Promise((resolve) => { const wait = () => document.querySelectorAll('table.result tbody tr').length >= 10000 ? requestAnimationFrame(() => resolve(performance.now() - globalThis.began)) : setTimeout(wait, 5); wait(); }));
  }
  await context.close();
  return { time, all, ...sum };
}
async function datasetteRows(slow) {
  const { context, page, seen } = await fresh(slow);
  await page.goto(`${datasette}/main?${new URLSearchParams({ sql: SQL })}`, { waitUntil: 'commit' });
  await page.locator('table.rows-and-columns tbody tr').nth(999).waitFor({ state: 'attached' });
  const time = await now(page);
  await page.waitForLoadState('load');
  const result = { time, paint: await paint(page), ...seen };
  await context.close();
  return result;
}

const lists = { first: [], rows: [], slowRows: [], datasette: [], slowDatasette: [] };
for (let n = 0; n < rounds; n++) {
  lists.first.push(await firstPage());
  lists.rows.push(await consoleRows(false));
  lists.datasette.push(await datasetteRows(false));
  lists.slowRows.push(await consoleRows(true));
  lists.slowDatasette.push(await datasetteRows(true));
}
const result = {};
for (const [name, list] of Object.entries(lists)) result[name] = Object.fromEntries(Object.keys(list[0]).map((key) => [key, median(list.map((each) => each[key]))]));
console.log(JSON.stringify(result));
await browser.close();
