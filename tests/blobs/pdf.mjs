// Opens each URL in Chromium, and prints what it shows and requests: { [url]: { frames, requests, title } }.
// node pdf.mjs <path of Chromium> <url> …
import { chromium } from 'playwright-core';

const [executablePath, ...urls] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
const found = {};
for (const url of urls) {
  const context = await browser.newContext();
  const page = await context.newPage(), requests = [];
  context.on('request', (request) => requests.push(request.url()));
  await page.goto(url);
  // The viewer is an extension in a frame.
  for (let i = 0; page.frames().length < 2 && i < 300; i++) await page.waitForTimeout(100);
  await page.waitForLoadState('networkidle'); // A script of the document would have called by then.
  found[url] = { frames: page.frames().map((frame) => frame.url()), requests, title: await page.title() };
  await context.close();
}
console.log(JSON.stringify(found));
await browser.close();
