// A real browser that a test tells what to do: a JSON line in, a JSON line out. See browser.py for what there is.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.env.CLIENTS + "/");
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
});
let context, page;
let said = [];

async function open({ width = 1280, height = 800, script = true, dark = false, mobile = false }) {
  await context?.close();
  context = await browser.newContext({
    viewport: { width, height }, javaScriptEnabled: script, colorScheme: dark ? "dark" : "light", isMobile: mobile,
    hasTouch: mobile, reducedMotion: "reduce", locale: "en-GB", timezoneId: "UTC",
  });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  page = await context.newPage();
  page.setDefaultTimeout(8000);
  said = [];
  page.on("console", (message) => {
    // What a page gets for a status of 400 and more is said by the browser itself: the test has the status.
    if (["error", "warning"].includes(message.type()) && !message.text().startsWith("Failed to load resource")) said.push(message.text());
  });
  page.on("pageerror", (error) => said.push(String(error)));
  page.on("requestfailed", (request) => {
    const why = request.failure()?.errorText ?? "";
    if (!why.includes("ERR_ABORTED")) said.push(`${request.url()}: ${why}`);
  });
}

const does = {
  open,
  async goto({ url }) { return (await page.goto(url, { waitUntil: "load" }))?.status() ?? 0; },
  async click({ target, wait = true }) {
    await find(target).click();
    if (wait) await page.waitForLoadState("load");
  },
  async fill({ target, value }) { await find(target).fill(value); },
  async select({ target, value }) { await find(target).selectOption(value); },
  async check({ target, on = true }) { await find(target).setChecked(on); },
  async press({ key }) { await page.keyboard.press(key); },
  async upload({ target, files }) { await find(target).setInputFiles(files); },
  async text({ target = "body" }) { return await find(target).innerText(); },
  async value({ target }) { return await find(target).inputValue(); },
  async count({ target }) { return await page.locator(target).count(); },
  async visible({ target }) { return await find(target).isVisible(); },
  async wait({ target, state = "visible" }) { await find(target).waitFor({ state }); },
  async resize({ width, height }) { await page.setViewportSize({ width, height }); },
  async scheme({ dark }) { await page.emulateMedia({ colorScheme: dark ? "dark" : "light" }); },
  async url() { return page.url(); },
  async title() { return await page.title(); },
  async html() { return await page.content(); },
  async eval({ code }) { return await page.evaluate(code); },
  async shot({ path, whole = true }) { await page.screenshot({ path, fullPage: whole }); },
  async cookies() { return await context.cookies(); },
  async said() { const now = said; said = []; return now; },
  async axe() {
    await page.evaluate((await import("node:fs")).readFileSync(axe, "utf8"));
    const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
    return found.violations.map(({ id, impact, help, nodes }) => ({
      id, impact, help, nodes: nodes.slice(0, 5).map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary}`),
    }));
  },
  async paints() {
    return await page.evaluate(async () => {
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)));
      const paint = performance.getEntriesByType("paint").find(({ name }) => name === "first-contentful-paint");
      const shifts = await new Promise((done) => {
        let sum = 0;
        const observer = new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
        });
        observer.observe({ type: "layout-shift", buffered: true });
        setTimeout(() => { observer.disconnect(); done(sum); }, 100);
      });
      return { paint: paint?.startTime ?? null, shifts };
    });
  },
  async close() { await browser.close(); },
};

// "role=button[name='Save']", "label=Name", "text=..." or a CSS selector.
function find(target) {
  if (target.startsWith("label=")) return page.getByLabel(target.slice(6), { exact: true }).first();
  if (target.startsWith("button=")) return page.getByRole("button", { name: target.slice(7), exact: true }).first();
  if (target.startsWith("link=")) return page.getByRole("link", { name: target.slice(5), exact: true }).first();
  return page.locator(target).first();
}

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...given } = JSON.parse(line);
  let answer;
  try {
    answer = { good: (await does[name](given)) ?? null };
  } catch (error) {
    answer = { bad: String(error).slice(0, 2000), url: page?.url() };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
  if (name === "close") break;
}
