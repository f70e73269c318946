// A page that reads a stream: its shards with their lag, its messages as they come, its checkpoint in `localStorage`.
// Each message is also an event of the document, `kinesis-message`, for whoever builds on this page.

import { read, storageState } from "../dist/kinesis-reader.js";
import { printable } from "../src/printable.js";

const at = (id) => document.getElementById(id);
const form = at("connection");

/** What the log holds; older messages are counted, and gone. */
const LOG_LENGTH = 60;

/** The right end of the bars. A stream holds its records for a day, where nobody has changed that. */
const LAG_MAX_MS = 86_400_000;
const TICKS = [[1000, "1 s"], [60_000, "1 min"], [3_600_000, "1 h"], [LAG_MAX_MS, "1 day"]];

/** Colours that stay apart for most eyes, by Okabe and Ito. */
const HUES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a600", "#7f6bd9"];

/** States of a shard that has no lag, in words. */
const STATES = { blocked: "waits for parent", drained: "read to its end", seeking: "starting", sought: "starting", ready: "starting", reading: "starting" };

let reading;
/** Messages that came since the page was drawn last. */
let fresh = [];
let count = 0;
let past = [];

fill();
drawScale();
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (reading) reading.stop();
  else run(Object.fromEntries(new FormData(form)));
});
at("forget").addEventListener("click", () => {
  if (reading) return tell("reading", "Stop first: what reads keeps its checkpoint.");
  localStorage.removeItem(keyOf(Object.fromEntries(new FormData(form))));
  tell("idle", "The checkpoint is forgotten: the next run begins at the start.");
});

/** What the address says goes into the form; with `go` in it, the page connects by itself. */
function fill() {
  const query = new URLSearchParams(location.search);
  form.elements.endpointUrl.value = new URL("/kinesis", location.href).href;
  for (const [name, value] of query) if (form.elements[name]) form.elements[name].value = value;
  if (query.has("go")) queueMicrotask(() => form.requestSubmit());
}

async function run({ endpointUrl, stream, region, start, accessKeyId, secretAccessKey }) {
  const key = keyOf({ endpointUrl, stream });
  const resumed = localStorage.getItem(key) !== null;
  reading = read({
    stream, endpointUrl, region, start, until: "forever",
    credentials: { accessKeyId, secretAccessKey },
    state: storageState(key),
    onNotice: ({ kind, message }) => kind === "gap" && tell("reading", message),
  });
  at("connect").textContent = "Stop";
  count = 0;
  past = [[performance.now(), 0]];
  at("log").replaceChildren();
  tell("reading", `Reading ${stream}${resumed ? ", on from the checkpoint in this browser" : ", from the start"}.`);
  const drawing = setInterval(draw, 100);
  try {
    for await (const message of reading) {
      count += 1;
      fresh.push(message);
      if (fresh.length > LOG_LENGTH) fresh.shift();
      document.dispatchEvent(new CustomEvent("kinesis-message", { detail: message }));
    }
    tell("idle", `Stopped. The checkpoint is kept in this browser, and the next run goes on from it.`);
  } catch (error) {
    tell("failed", error.message);
  }
  clearInterval(drawing);
  draw();
  reading = undefined;
  at("connect").textContent = "Connect";
}

function keyOf({ endpointUrl, stream }) {
  return `kinesis-reader ${endpointUrl} ${stream}`;
}

function tell(state, words) {
  at("status").dataset.state = state;
  at("status").textContent = words;
}

function draw() {
  const shards = reading.shards();
  const totals = reading.totals();
  at("messages").textContent = count.toLocaleString("en");
  at("rate").textContent = Math.round(rate()).toLocaleString("en");
  at("bytes").textContent = sizeInWords(totals?.bytes ?? 0);
  at("open").textContent = shards.filter((shard) => !shard.closed).length;
  const lags = shards.filter(isLive).map(({ behind }) => behind);
  at("lag").textContent = lags.length ? lagInWords(Math.max(...lags)) : "–";
  at("shards").replaceChildren(...shards.map(shardElement));
  at("log").prepend(...fresh.reverse().map(messageElement));
  fresh = [];
  while (at("log").children.length > LOG_LENGTH) at("log").lastElementChild.remove();
}

/** Messages a second, over the last two seconds. */
function rate() {
  const now = performance.now();
  past.push([now, count]);
  while (past.length > 2 && now - past[0][0] > 2000) past.shift();
  const [[then, before]] = past;
  return now > then ? ((count - before) / (now - then)) * 1000 : 0;
}

function isLive({ state, behind }) {
  return behind !== undefined && state !== "drained";
}

function shardElement(shard) {
  const { state, behind, closed, parents } = shard;
  const live = isLive(shard);
  const words = live ? (behind === 0 ? "caught up" : lagInWords(behind)) : STATES[state] ?? state;
  const level = behind >= 3_600_000 ? "bad" : behind >= 60_000 ? "late" : "";
  return element("li", { class: closed ? "shard closed" : "shard", title: shard.shard }, [
    element("span", { class: "name", style: `--hue: ${hue(shard.shard)}` }, [
      element("span", { class: "dot" }),
      String(numberOf(shard.shard)),
      ...(parents.length ? [element("i", {}, [`of ${parents.map(numberOf).join(" and ")}`])] : []),
    ]),
    element("div", { class: "bar" }, live && behind > 0 ? [element("div", { class: level, style: `width: ${share(behind) * 100}%` })] : []),
    element("span", { class: live && behind === 0 ? "words good" : "words" }, [words]),
  ]);
}

function messageElement({ _kinesis, _kinesis_msg_id, ...payload }) {
  return element("li", { title: `${_kinesis.shard_id} ${_kinesis.seq_no}` }, [
    element("time", {}, [_kinesis.ts.slice(11, 23)]),
    element("span", { class: "name", style: `--hue: ${hue(_kinesis.shard_id)}` }, [element("span", { class: "dot" }), String(numberOf(_kinesis.shard_id))]),
    element("code", {}, [printable(JSON.stringify(payload))]),
  ]);
}

function drawScale() {
  const ticks = TICKS.map(([ms, words]) => element("span", { style: `left: ${share(ms) * 100}%` }, [words]));
  at("scale").append(element("li", {}, ticks));
}

/** Where a lag is on the bar: its order of magnitude from a tenth of a second on. */
function share(ms) {
  return Math.min(Math.log10(1 + ms / 100) / Math.log10(1 + LAG_MAX_MS / 100), 1);
}

function lagInWords(ms) {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1000)} s`;
  return `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} min`;
}

function sizeInWords(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; bytes >= 1024 && unit < units.length - 1; unit += 1) bytes /= 1024;
  return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
}

function numberOf(shard) {
  return Number(shard.slice("shardId-".length));
}

function hue(shard) {
  return HUES[numberOf(shard) % HUES.length];
}

function element(name, attributes, children = []) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}
