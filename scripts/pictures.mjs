// Takes the pictures of the console for README and docs/console.md: real screenshots of the running app. Started by
// scripts/pictures.py with the app's address and key as JSON.
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { url, key, folder } = JSON.parse(process.argv[2]);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--force-device-scale-factor=1'] });

async function api(method, path, body, headers = {}) {
  const raw = typeof body === 'string';
  const response = await fetch(`${url}/api/${path}`, { method, headers: { 'x-functions-key': key, ...(body && !raw ? { 'content-type': 'application/json' } : {}), ...headers }, body: raw || !body ? body : JSON.stringify(body) });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
}
const ORDERS = `create table orders (id integer primary key, customer text not null, total decimal(10, 2), ordered timestamp, note text, receipt blob);
insert into orders values
 (48208, 'Acme Ltd', 1204.50, '2026-11-28T09:12:44Z', null, x'89504e470d0a1a0a0000'),
 (48207, 'Birch & Sons', 99.00, '2026-11-28T08:51:02Z', '', null),
 (48206, 'Cobalt GmbH', -14.25, '2026-11-27T17:30:00Z', 'returned, see 48102', null),
 (48205, 'Δelta', 310.99, '2026-11-27T16:02:19Z', 'gift  ', null),
 (48204, 'Elm Street Bakery', 18.40, '2026-11-27T11:45:37Z', null, null),
 (48203, 'Fjord AS', 7300.00, '2026-11-26T14:20:55Z', 'two deliveries', null),
 (48202, 'Acme Ltd', 640.00, '2026-11-26T10:05:11Z', null, null),
 (48201, 'Gusto S.r.l.', 27.80, '2026-11-25T19:59:59Z', 'NULL', null)`;
for (const sql of ORDERS.split(/;\n/)) await api('POST', 'execute-sql', { sql });
await api('POST', 'keys', { name: 'invoices', type: 'P-256', published: true });
await api('POST', 'keys/invoices/rotate', {});
await api('POST', 'keys', { name: 'backups', type: 'AES-256' });
await api('POST', 'containers', { container: 'invoices' });
for (const [name, content, type] of [
  ['2026/11/48208.json', '{"order": 48208, "customer": "Acme Ltd", "total": "1204.50"}', 'application/json'], ['2026/11/48207.json', '{"order": 48207}', 'application/json'],
  ['2026/11/summary.csv', 'day,orders,total\n2026-11-25,1,27.80\n2026-11-26,2,7940.00\n2026-11-27,3,315.14\n2026-11-28,2,1303.50\n', 'text/csv'], ['2026/10/summary.csv', 'day,orders\n', 'text/csv'],
  ['readme.txt', 'Invoices by year and month.\n', 'text/plain'], ['terms.html', '<h1>Terms</h1>', 'text/html'],
]) await api('PUT', `blobs/invoices/${name}`, content, { 'content-type': type });

async function open(hash, { scheme = 'light', width = 1360, height = 820 } = {}) {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: scheme, reducedMotion: 'reduce' });
  await page.goto(`${url}/api/console/#key=${key}&to=${encodeURIComponent(hash.slice(1))}`);
  await page.locator('#main[data-ready] h1').first().waitFor();
  return page;
}
async function take(page, name) {
  await page.mouse.move(0, 0);
  await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement)?.blur());
  await page.waitForTimeout(300); // Fonts, and bars that move.
  await page.screenshot({ path: join(folder, `${name}.png`) });
  await page.close();
}

async function home(scheme) {
  const page = await open('#/home', { scheme });
  await page.getByText('Every service responds').waitFor();
  await page.locator('.holds:not(:has([aria-busy]))').waitFor();
  return page;
}
async function sql(scheme) {
  const page = await open(`#/sql?db=main&sql=${encodeURIComponent('select id, customer, total, ordered, note, receipt\nfrom orders\nwhere total > :least -- refunds stay out\norder by id desc')}`, { scheme });
  await page.getByRole('textbox', { name: /least/ }).fill('0');
  await page.getByRole('button', { name: /^Run/ }).click();
  await page.locator('table.result tbody tr').first().waitFor();
  await page.getByText('orders', { exact: true }).first().click();
  return page;
}
async function sign() {
  const page = await open('#/sign/sign');
  await page.getByRole('textbox', { name: 'Text' }).fill('Invoice 48208: 1204.50 EUR, due 2026-12-12');
  await page.getByRole('combobox', { name: 'Key' }).selectOption('invoices').catch(() => page.getByLabel('Key').first().fill('invoices'));
  await page.getByRole('button', { name: /^Sign/ }).click();
  await page.getByRole('link', { name: 'Verify it twice' }).click();
  await page.getByRole('button', { name: 'Verify twice' }).click();
  await page.getByText('Both agree').waitFor();
  return page;
}

for (const scheme of ['light', 'dark']) await take(await sql(scheme), `console-${scheme}`);
await take(await home('light'), 'home');
const connect = await open('#/connect');
await connect.getByRole('button', { name: 'What may this key do?' }).click();
await connect.getByText(/functions checked/).waitFor();
await connect.locator('.reach button:not([aria-disabled])').waitFor();
await take(connect, 'connect');
const form = await open('#/functions/sign');
await form.locator('.fn-tools button').first().click();
await form.getByRole('button', { name: 'Send' }).click();
await form.locator('.answer-line').waitFor();
await form.locator('.doc').evaluate((pane) => { pane.scrollTop = 0; });
await take(form, 'functions');
await take(await sign(), 'sign');
const blobs = await open('#/blobs/invoices?prefix=2026%2F11%2F');
await blobs.getByText('summary.csv').first().click();
await blobs.waitForTimeout(1500);
await take(blobs, 'blobs');
const narrow = await home('dark');
await narrow.setViewportSize({ width: 390, height: 800 });
await take(narrow, 'narrow');
await browser.close();
