// The demo page in a headless browser: with the emulator directly, and through the demo's server.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";

import { chromium } from "playwright-core";

import { serve } from "../demo/server.js";
import { credentials, range, sorted, startEmulator } from "./emulator.js";

const SCREENSHOTS = process.env.SCREENSHOTS ?? tmpdir();
let emulator;
let demo;
let profile;
let browser;
let proxy;
const errors = [];

before(async () => {
  emulator = await startEmulator();
  demo = await serve({ port: 0, endpointUrl: emulator.url, region: "us-east-1", credentials });
  profile = await mkdtemp(join(tmpdir(), "kinesis-reader-"));
  browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM_BIN ?? "/usr/bin/chromium",
    headless: true,
    viewport: { width: 1360, height: 900 },
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
  await browser.addInitScript(() => {
    window.received = [];
    document.addEventListener("kinesis-message", ({ detail }) => window.received.push(detail.n));
  });
});
afterEach(() => assert.deepEqual(errors, []));
after(async () => {
  await browser?.close();
  proxy?.close();
  demo?.server.close();
  demo?.server.closeAllConnections();
  await emulator?.close();
  await rm(profile, { recursive: true, force: true });
});

test("a page reads 10,000 messages across a reshard and continues after a reload", async () => {
  await emulator.create("orders", 2);
  await emulator.put("orders", 0, 2000, order);
  await emulator.split("orders", 0);
  await emulator.put("orders", 2000, 8000, order);
  // Another origin, which allows the page by CORS.
  proxy = await startProxy(emulator.url, 8000);
  const page = await open({ endpointUrl: proxy.url, stream: "orders" });
  await page.waitForFunction(() => window.received.length > 3500);
  await page.screenshot({ path: join(SCREENSHOTS, "demo-behind.png") });
  await emulator.split("orders", 2);
  await emulator.merge("orders", 0);
  await emulator.put("orders", 8000, 10_000, order);
  await page.waitForFunction(() => window.received.length >= 10_000);
  await page.waitForFunction(() => document.querySelector("#messages").textContent === "10,000");
  assert.deepEqual(sorted(await page.evaluate(() => window.received)), range(0, 10_000));
  await page.waitForFunction(() => document.querySelectorAll(".label.good").length === 3);
  assert.equal(await page.locator("#open").textContent(), "3");
  assert.equal(await page.locator(".shard.closed").count(), 4);
  await page.screenshot({ path: join(SCREENSHOTS, "demo.png") });

  // After a reload, the page knows only what is in its storage.
  await page.click("#connect");
  await page.waitForFunction(() => document.querySelector("#status").textContent.startsWith("Stopped."));
  await emulator.put("orders", 10_000, 10_050, order);
  await page.reload();
  await page.waitForFunction(() => window.received.length >= 50);
  assert.deepEqual(sorted(await page.evaluate(() => window.received)), range(10_000, 10_050));
  assert.match(await page.locator("#status").textContent(), /from the checkpoint/);
  await page.close();
});

test("through its own server, the page needs neither CORS nor credentials", async () => {
  await emulator.create("served", 1);
  await emulator.put("served", 0, 100);
  const page = await open({ stream: "served" });
  await page.waitForFunction(() => window.received.length >= 100);
  assert.deepEqual(await page.evaluate(() => window.received), range(0, 100));
  const status = await page.evaluate(async () => {
    const answer = await fetch("/kinesis", { method: "POST", headers: { "x-amz-target": "Kinesis_20131202.DeleteStream" }, body: "{}" });
    return answer.status;
  });
  assert.equal(status, 400);
  await page.close();
});

test("a second page cannot use the checkpoint of the first one until that is closed", async () => {
  await emulator.create("shared", 1);
  await emulator.put("shared", 0, 10);
  const first = await open({ stream: "shared" });
  await first.waitForFunction(() => window.received.length >= 10);
  const second = await open({ stream: "shared" });
  await second.waitForFunction(() => document.querySelector("#status").dataset.state === "failed");
  assert.match(await second.locator("#status").textContent(), /^state in use by another reader: kinesis-reader /);
  // Without stopping first, as in a crash.
  await first.close();
  await emulator.put("shared", 10, 20);
  await second.click("#connect");
  await second.waitForFunction(() => window.received.includes(19));
  await second.close();
});

test("messages are shown escaped and cut", async () => {
  await emulator.create("odd", 1);
  await emulator.put("odd", 0, 1, () => JSON.stringify({ n: 0, name: "abc\u202egnp.exe", long: "x".repeat(100_000) }));
  const page = await open({ stream: "odd" });
  const shown = page.locator("#log code");
  await shown.waitFor();
  const text = await shown.textContent();
  assert.match(text, /abc\\u\{202e\}gnp\.exe/);
  assert.ok(text.length < 1100, `${text.length} characters`);
  await page.close();
});

test("the page shows errors", async () => {
  const page = await open({ stream: "nowhere" });
  await page.waitForFunction(() => document.querySelector("#status").dataset.state === "failed");
  assert.match(await page.locator("#status").textContent(), /ResourceNotFoundException[^]*hint:/);
  await page.close();
});

async function open(query) {
  const page = await browser.newPage();
  // Tolerates a busy machine. The tests have a timeout of their own.
  page.setDefaultTimeout(90_000);
  page.on("pageerror", (error) => errors.push(error.stack));
  await page.goto(`${demo.url}?${new URLSearchParams({ ...query, go: "" })}`);
  return page;
}

function order(n) {
  const item = ["kettle", "żółta herbata", 'cup "XL"', "Teekännchen"][n % 4];
  return JSON.stringify({ n, item, price: (n % 500) / 4, paid: n % 3 === 0 });
}

/**
 * Starts a proxy that makes the emulator behave more like Kinesis. The emulator returns as many records as requested, and
 * claims to be at the tip with each page. The proxy makes pages small and reports a lag, as if ten of the first `total`
 * records had arrived per second.
 */
async function startProxy(url, total) {
  const server = createServer(async (request, response) => {
    const { host, connection, "content-length": _, ...headers } = request.headers;
    const isRead = request.headers["x-amz-target"]?.endsWith("GetRecords");
    let body = "";
    for await (const part of request.setEncoding("utf8")) body += part;
    if (isRead) body = JSON.stringify({ ...JSON.parse(body), Limit: 200 });
    const answer = await fetch(url, { method: request.method, headers, body: request.method === "POST" ? body : undefined });
    let text = await answer.text();
    if (isRead && answer.ok) {
      const page = JSON.parse(text);
      const last = page.Records.at(-1);
      // A page without records is at the tip, even the last page of a closed shard.
      page.MillisBehindLatest = last ? Math.max(0, total - 20 - JSON.parse(Buffer.from(last.Data, "base64")).n) * 100 : 0;
      text = JSON.stringify(page);
    }
    const { "content-length": length, "content-encoding": encoding, ...kept } = Object.fromEntries(answer.headers);
    response.writeHead(answer.status, kept).end(text);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
