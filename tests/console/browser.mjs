// Runs checks of the console in Chromium: one browser for all, a fresh context for each. Driven by conftest.py: each line of
// standard input is a request {file, name, apps}, each line of standard output the result {ok, error}.
//
// A check is `check('what it proves', async (t) => { … }, { app: 'keys' | 'open' })` in checks/*.mjs; the titles are at
// the beginning of a line, because conftest.py reads them there. Every check fails on an error in the page's console,
// an uncaught error, a report of the Content-Security-Policy, and a request to another origin.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const AXE = readFileSync(new URL('../../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const SLOWER = Number(process.env.CPU_THROTTLING ?? 1); // 6: as on a computer that is six times slower
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--disable-dev-shm-usage'] });

/** The checks of a file, by title. */
const files = new Map();
async function checksOf(file) {
  if (!files.has(file)) {
    const found = new Map();
    globalThis.check = (title, run, options = {}) => { found.set(title, { run, options }); };
    await import(pathToFileURL(file).href);
    files.set(file, found);
  }
  return files.get(file);
}

/** What a check works with. */
class Tools {
  faults = [];
  constructor(app, apps, context, options) {
    Object.assign(this, { app, apps, context, options, url: `${app.url}/api/console/`, key: app.key, assert });
  }

  /** A new tab of the same browser profile, with all guards. */
  async tab() {
    const page = await this.context.newPage();
    await page.addInitScript(() => addEventListener('securitypolicyviolation', (e) => console.error(`CSP report: ${e.violatedDirective} ${e.blockedURI} ${e.sample}`), true));
    page.on('console', (message) => {
      // Chromium itself logs each response with an error status; a check of errors has them.
      if (message.type() === 'error' && !this.options.expected?.test(message.text()) && !/^Failed to load resource: (the server responded with a status of|net::)/.test(message.text())) this.faults.push(`console: ${message.text()}`);
    });
    page.on('pageerror', (error) => this.faults.push(`page error: ${error.stack}`));
    page.on('request', (request) => {
      const origin = new URL(request.url()).origin;
      const own = request.url().startsWith('blob:') || request.url().startsWith('data:') || origin === this.app.url;
      if (!own && !(this.options.blobs && origin === this.app.blobs) && !(this.options.provider && [origin, new URL(request.headers().referer ?? request.url()).origin].includes(this.app.provider))) this.faults.push(`request to ${request.url()}`);
    });
    page.on('dialog', (dialog) => { this.faults.push(`dialog: ${dialog.message()}`); dialog.dismiss().catch(() => {}); });
    page.setDefaultTimeout(30000);
    if (SLOWER > 1) await (await this.context.newCDPSession(page)).send('Emulation.setCPUThrottlingRate', { rate: SLOWER });
    return page;
  }

  /** Open an address of the console (`#/sql`), connected by the app's key, or by `key`; "" connects by none. */
  async open(hash = '#/home', { key = this.key, page = this.page } = {}) {
    const joined = !key ? hash : `#key=${encodeURIComponent(key)}&to=${encodeURIComponent(hash.slice(1))}`;
    await page.goto('about:blank');
    await page.goto(this.url + joined);
    await page.locator('#main[data-ready] h1').first().waitFor();
    return page;
  }
  /** Go to an address by the hash, as a link does. */
  async go(hash) {
    await this.page.evaluate((h) => { location.hash = h; }, hash);
    await this.page.locator(`#main[data-ready=${JSON.stringify(hash)}] h1`).first().waitFor();
  }
  /**
   * Hold back the responses to requests of `url`. Returns the function that lets them go: those of the app, or `response`
   * instead. It waits for the first request, and resolves when the page has each response.
   */
  async hold(url, { response = undefined, page = this.page } = {}) {
    const held = [];
    let released = false;
    const handler = (route) => (released ? route.fallback() : held.push(route));
    await page.route(url, handler);
    return async () => {
      await this.until(() => held.length, `a request of ${url}`);
      released = true;
      await Promise.all(held.map((route) => Promise.all([
        page.waitForEvent('requestfinished', (request) => request === route.request()),
        response ? route.fulfill(response) : route.continue(),
      ])));
      await page.unroute(url, handler);
    };
  }
  /** Press a button that copies. Returns what it copied. */
  async copy(button, page = this.page) {
    await page.evaluate(() => navigator.clipboard.writeText(''));
    await button.click();
    return this.until(() => page.evaluate(() => navigator.clipboard.readText()), 'something is copied');
  }
  /** What has the focus, by its text or label. */
  focused(page = this.page) { return page.evaluate(() => { const el = document.activeElement; return (el.labels?.[0] ?? el).textContent.trim() || el.getAttribute('aria-label') || el.tagName; }); }

  /** Call the app, past the browser. Returns the JSON of a success. */
  async api(method, path, body, headers = {}) {
    const raw = body instanceof Uint8Array || typeof body === 'string';
    const response = await fetch(`${this.app.url}/api/${path}`, { method, headers: { 'x-functions-key': this.key, ...(body !== undefined && !raw ? { 'content-type': 'application/json' } : {}), ...headers }, body: body === undefined || raw ? body : JSON.stringify(body) });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
    try { return JSON.parse(text); } catch { return text; }
  }
  /** Wait until `test` returns something true; returns it. */
  async until(test, what = String(test)) {
    for (let n = 0; n < 600; n++) { const result = await test(); if (result) return result; await new Promise((r) => setTimeout(r, 50)); }
    throw new assert.AssertionError({ message: `Not within 30 s: ${what}` });
  }
  /** The visible text of the page, or of what a selector finds, with single spaces. */
  async text(selector = 'body', page = this.page) { return (await page.locator(selector).first().innerText()).replace(/\s+/g, ' '); }

  /** No finding of axe-core in the page as it is now. */
  async accessible(what, page = this.page) {
    await page.evaluate(`if (!globalThis.axe) { ${AXE} }`);
    const findings = await page.evaluate(async (tags) => (await globalThis.axe.run(document, { runOnly: tags })).violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.target.join(' ')} (${n.failureSummary.split('\n')[1]?.trim()})`).join('; ')}`), TAGS);
    assert.deepEqual(findings, [], what);
  }
  /** Nothing of axe-core in light, dark and forced colours. */
  async accessibleInAllColours(what, page = this.page) {
    for (const colours of [{ colorScheme: 'light' }, { colorScheme: 'dark' }, { colorScheme: 'light', forcedColors: 'active' }]) {
      await page.emulateMedia({ forcedColors: 'none', reducedMotion: 'reduce', ...colours });
      await this.accessible(`${what} ${JSON.stringify(colours)}`, page);
    }
    await page.emulateMedia({ colorScheme: null, forcedColors: null, reducedMotion: null });
  }
  /** The page does not scroll sideways. */
  async fits(what, page = this.page) {
    const over = await page.evaluate(() => { const m = document.querySelector('#main'); return Math.max(document.documentElement.scrollWidth - innerWidth, m.scrollWidth - m.clientWidth); });
    assert.ok(over <= 0, `${what} scrolls sideways by ${over} px`);
  }
}

async function run({ file, name, apps }) {
  const found = (await checksOf(file)).get(name);
  const { options } = found;
  const app = { ...apps[options.app ?? 'keys'] };
  if (options.host) app.url = app.url.replace('127.0.0.1', options.host);
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options.context });
  const t = new Tools(app, apps, context, options);
  try {
    if (options.clipboard !== false) await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: app.url });
    t.page = await t.tab();
    await found.run(t);
    assert.deepEqual(t.faults, [], 'the page reported faults');
    return { ok: true };
  } catch (error) {
    if (process.env.CONSOLE_PICTURES && t.page) await t.page.screenshot({ path: `${process.env.CONSOLE_PICTURES}/${name.replace(/\W+/g, '-')}.png` }).catch(() => {});
    return { ok: false, error: `${error.stack ?? error}\n${t.faults.join('\n')}` };
  } finally {
    await context.close();
  }
}

console.log(JSON.stringify({ ready: browser.version() }));
for await (const line of createInterface({ input: process.stdin })) {
  const result = await run(JSON.parse(line)).catch((error) => ({ ok: false, error: String(error.stack ?? error) }));
  console.log(JSON.stringify(result));
}
await browser.close();
