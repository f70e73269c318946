// A page that reads a stream. It shows the lag of each shard and the messages as they arrive, and keeps the checkpoint in
// `localStorage`. It also dispatches each message on the document as a `kinesis-message` event.

import { read, storageState } from "../dist/kinesis-reader.js";
import { printable } from "../src/printable.js";

const at = (id) => document.getElementById(id);
const form = at("connection");

/** Messages in the log; older ones are removed. */
const LOG_LENGTH = 60;

/** The right end of the bars. By default, a stream retains its records for a day. */
const LAG_MAX_MS = 86_400_000;
const TICKS = [[1000, "1 s"], [60_000, "1 min"], [3_600_000, "1 h"], [LAG_MAX_MS, "1 day"]];

/** Okabe and Ito's palette, which most people can tell apart. */
const HUES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a600", "#7f6bd9"];

/** What to show for a shard without a lag. */
const STATES = { blocked: "waiting for parent", drained: "drained", seeking: "starting", sought: "starting", ready: "starting", reading: "starting" };

let run;
/** Messages that arrived since the page was last drawn. */
let fresh = [];
let count = 0;
/** Pairs of a time and the message count then, from which the rate is calculated. */
let samples = [];

fillForm();
drawScale();
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (run) run.stop();
  else connect(Object.fromEntries(new FormData(form)));
});
at("forget").addEventListener("click", () => {
  if (run) return showStatus("reading", "Stop the run before you delete its checkpoint.");
  localStorage.removeItem(stateKey(Object.fromEntries(new FormData(form))));
  showStatus("idle", "Checkpoint deleted. The next run begins at the chosen start.");
});

/** Fills the form from the page's URL, and connects if that contains `go`. */
function fillForm() {
  const query = new URLSearchParams(location.search);
  form.elements.endpointUrl.value = new URL("/kinesis", location.href).href;
  for (const [name, value] of query) if (form.elements[name]) form.elements[name].value = value;
  if (query.has("go")) queueMicrotask(() => form.requestSubmit());
}

async function connect({ endpointUrl, stream, region, start, accessKeyId, secretAccessKey }) {
  const key = stateKey({ endpointUrl, stream });
  const from = localStorage.getItem(key) === null ? "from the chosen start" : "from the checkpoint in this browser";
  run = read({
    stream, endpointUrl, region, start, until: "forever",
    credentials: { accessKeyId, secretAccessKey },
    state: storageState(key),
    onNotice: ({ kind, message }) => kind === "gap" && showStatus("reading", message),
  });
  at("connect").textContent = "Stop";
  count = 0;
  samples = [[performance.now(), 0]];
  at("log").replaceChildren();
  showStatus("reading", `Reading ${stream} ${from}.`);
  const drawing = setInterval(draw, 100);
  try {
    for await (const message of run) {
      count += 1;
      fresh.push(message);
      if (fresh.length > LOG_LENGTH) fresh.shift();
      document.dispatchEvent(new CustomEvent("kinesis-message", { detail: message }));
    }
    showStatus("idle", "Stopped. The next run continues from the checkpoint in this browser.");
  } catch (error) {
    showStatus("failed", error.message);
  }
  clearInterval(drawing);
  draw();
  run = undefined;
  at("connect").textContent = "Connect";
}

function stateKey({ endpointUrl, stream }) {
  return `kinesis-reader ${endpointUrl} ${stream}`;
}

function showStatus(state, text) {
  at("status").dataset.state = state;
  at("status").textContent = text;
}

function draw() {
  const shards = run.shards();
  const totals = run.totals();
  at("messages").textContent = count.toLocaleString("en");
  at("rate").textContent = Math.round(rate()).toLocaleString("en");
  at("bytes").textContent = formatSize(totals?.bytes ?? 0);
  at("open").textContent = shards.filter((shard) => !shard.closed).length;
  const lags = shards.filter(hasLag).map(({ behind }) => behind);
  at("lag").textContent = lags.length ? formatLag(Math.max(...lags)) : "–";
  at("shards").replaceChildren(...shards.map(shardElement));
  at("log").prepend(...fresh.reverse().map(messageElement));
  fresh = [];
  while (at("log").children.length > LOG_LENGTH) at("log").lastElementChild.remove();
}

/** Returns the messages per second over the last two seconds. */
function rate() {
  const now = performance.now();
  samples.push([now, count]);
  while (samples.length > 2 && now - samples[0][0] > 2000) samples.shift();
  const [[then, before]] = samples;
  return now > then ? ((count - before) / (now - then)) * 1000 : 0;
}

function hasLag({ state, behind }) {
  return behind !== undefined && state !== "drained";
}

function shardElement(shard) {
  const { state, behind, closed, parents } = shard;
  const isLive = hasLag(shard);
  const label = isLive ? (behind === 0 ? "caught up" : formatLag(behind)) : STATES[state] ?? state;
  const level = behind >= 3_600_000 ? "bad" : behind >= 60_000 ? "late" : "";
  return element("li", { class: closed ? "shard closed" : "shard", title: shard.shard }, [
    element("span", { class: "name", style: `--hue: ${hue(shard.shard)}` }, [
      element("span", { class: "dot" }),
      String(numberOf(shard.shard)),
      ...(parents.length ? [element("i", {}, [`from ${parents.map(numberOf).join(" and ")}`])] : []),
    ]),
    element("div", { class: "bar" }, isLive && behind > 0 ? [element("div", { class: level, style: `width: ${share(behind) * 100}%` })] : []),
    element("span", { class: isLive && behind === 0 ? "label good" : "label" }, [label]),
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
  const ticks = TICKS.map(([ms, label]) => element("span", { style: `left: ${share(ms) * 100}%` }, [label]));
  at("scale").append(element("li", {}, ticks));
}

/** Returns where a lag is on the bar, from 0 to 1. The scale is logarithmic from 100 ms on. */
function share(ms) {
  return Math.min(Math.log10(1 + ms / 100) / Math.log10(1 + LAG_MAX_MS / 100), 1);
}

function formatLag(ms) {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1000)} s`;
  return `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} min`;
}

function formatSize(bytes) {
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
  const created = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) created.setAttribute(attribute, value);
  created.append(...children);
  return created;
}
