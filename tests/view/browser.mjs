// Drives a headless browser: a line of JSON in is a page and what to do with it, a line
// out is what came of each step, and what the page did that it must not do.
//
//     node browser.mjs FOLDER   FOLDER has node_modules and the browser
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = process.argv[2];
const require = createRequire(join(folder, 'package.json'));
const { chromium } = require('playwright-core');
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];
/** After it a test fails and says what it waited for, rather than hang. */
const PATIENCE = 60_000;
const home = mkdtempSync(join(tmpdir(), 'spanrun-browser-'));

const STEPS = {
  eval: (page, code) => page.evaluate(code),
  // By the keyboard alone, as far as it takes.
  async tab(page, what) {
    for (let n = 0; n < 200; n++) {
      await page.keyboard.press('Tab');
      if (await page.evaluate((selector) => document.activeElement.matches(selector), what)) return;
    }
    throw new Error(`no tab stop is ${what}`);
  },
  press: (page, key) => page.keyboard.press(key),
  type: (page, text) => page.keyboard.type(text),
  click: (page, what) => page.click(what),
  // Not by `waitForFunction`, which the page's policy forbids.
  async wait(page, code) {
    const until = Date.now() + PATIENCE;
    while (!(await page.evaluate(code))) {
      if (Date.now() > until) throw new Error(`never came true: ${code}\n${await page.evaluate('document.body.innerText.slice(0, 500)')}`);
      await page.waitForTimeout(20);
    }
  },
  size: (page, [width, height]) => page.setViewportSize({ width, height }),
  async shot(page, path) { await page.screenshot({ path, fullPage: true }); },
  async view(page, path) { await page.screenshot({ path }); },
  async go(page, hash) {
    await page.evaluate((to) => { location.hash = to; }, hash);
    await settled(page);
  },
  async reload(page) { await page.reload(); await page.waitForSelector('body[data-ready]'); await settled(page); },
  async axe(page) {
    await page.evaluate(AXE);
    return page.evaluate(async () => (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((each) => `${each.html.slice(0, 160)} ${each.any.map((one) => one.message).join(' ')}`).join(' | ')}`));
  },
};

const settled = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done()))));

// A file loads nothing else; a server's page asks its server.
const allowed = (asked, url) => (url.startsWith('http:') ? new URL(asked).origin === new URL(url).origin : asked.split('#')[0] === url.split('#')[0]);

async function run(browser, { url, width = 1440, height = 900, dark = false, steps }) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce', bypassCSP: false });
  const page = await context.newPage();
  const faults = [];
  const results = [];
  page.setDefaultTimeout(120_000);
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) faults.push(`console: ${message.text()}`); });
  page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
  page.on('dialog', (dialog) => { faults.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', (request) => { if (!allowed(request.url(), url)) faults.push(`request: ${request.url()}`); });
  try {
    await page.goto(url);
    await page.waitForSelector('body[data-ready]');
    await settled(page);
    for (const [what, argument] of steps) {
      results.push((await STEPS[what](page, argument)) ?? null);
      await settled(page);
    }
  } catch (error) {
    faults.push(`driver: ${error.message}`);
  }
  await context.close();
  return { results, faults };
}

const browser = await chromium.launch({ executablePath: join(folder, 'chromium'), headless: true, args: FLAGS, env: { ...process.env, HOME: home } });
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await run(browser, JSON.parse(line)))}\n`);
}
await browser.close();
rmSync(home, { recursive: true, force: true });
