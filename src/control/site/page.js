// The page: asks the switch once a second while somebody looks, and shows the answer.
//
// Whatever is shown is text in a text node: names and addresses are other people's.

import { Curves, Picture, SIGNS, health, rate, svg, write } from "./picture.js";

/** How often the switch is asked, in milliseconds, and how often while it does not answer. */
const PERIOD = 1000, RETRY = 2000;
/** Most rows of a table; the rest is counted. */
const MAX_ROWS = 100;
/** The FDB entries behind a port, and how often they are looked for, in milliseconds. */
const BEHIND = 20, BEHIND_PERIOD = 5000;

const $ = (selector) => document.querySelector(selector);

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const count = (n) => Math.round(n).toLocaleString("en-GB");
const one = (n, what) => `${count(n)} ${what}${n === 1 ? "" : "s"}`;

function span(seconds) {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} days`;
}

function short(nanos) {
  return nanos < 1e6 ? `${Math.round(nanos / 1e3)} µs` : `${(nanos / 1e6).toPrecision(3)} ms`;
}

/** An answer of the switch. Fails with its own words, or with those of the browser where it does not answer. */
async function ask(path, query = {}) {
  const words = new URLSearchParams(query).toString();
  const answer = await fetch(`/api/${path}${words && `?${words}`}`, { signal: AbortSignal.timeout(10_000) });
  const type = answer.headers.get("content-type") ?? "";
  const said = type.startsWith("application/json") ? await answer.json() : { error: await answer.text() };
  if (!answer.ok) throw Object.assign(new Error(said.error), { status: answer.status });
  return said;
}

/** What passed in each second of the last minute, from the counters of one answer to the next. */
class Rates {
  constructor() {
    [this.before, this.now, this.samples] = [new Map(), 0, new Map()];
  }

  /** Takes the counters that `list` has at `now`, in seconds of the switch's own clock. */
  take(now, list) {
    if (now === this.now) return;
    const passed = now - this.now, next = new Map();
    for (const [name, counters] of list) {
      next.set(name, counters);
      const before = this.before.get(name);
      // One that counts from the start again has been opened anew.
      if (!before || passed <= 0 || before.some((value, i) => value > counters[i])) continue;
      const [rx, tx, drops, rxFrames, txFrames] = counters.map((value, i) => (value - before[i]) / passed);
      const samples = (this.samples.get(name) ?? []).filter((sample) => now - sample.at <= 62);
      samples.push({ at: now, rx: rx * 8, tx: tx * 8, drops, rxFrames, txFrames });
      this.samples.set(name, samples);
    }
    for (const name of this.samples.keys()) if (!next.has(name)) this.samples.delete(name);
    [this.before, this.now] = [next, now];
  }

  history(name) {
    return this.samples.get(name) ?? [];
  }

  of(name) {
    const samples = this.history(name);
    return samples[samples.length - 1] ?? { rx: 0, tx: 0, drops: 0, rxFrames: 0, txFrames: 0 };
  }
}

/** Makes a table's rows those of `rows`: cells are text, `[text, class]`, or a node. Rows that stay are changed in place. */
function fill(table, titles, rows) {
  if (!table.tHead) {
    table.append(make("thead", {}, make("tr")), make("tbody"));
    for (const title of titles) {
      const number = title.startsWith(">");
      table.tHead.rows[0].append(make("th", number ? { class: "number" } : {}, number ? title.slice(1) : title));
    }
  }
  const body = table.tBodies[0];
  table.tHead.hidden = rows.length === 0;
  while (body.rows.length > rows.length) body.lastChild.remove();
  rows.forEach((cells, i) => {
    const row = body.rows[i] ?? body.insertRow();
    cells.forEach((content, j) => {
      const cell = row.cells[j] ?? row.insertCell();
      if (content instanceof Node) return cell.replaceChildren(content);
      const [words, kind = ""] = Array.isArray(content) ? content : [content];
      write(cell, String(words ?? "-"));
      const wanted = `${titles[j].startsWith(">") ? "number " : ""}${kind}`.trim();
      if (cell.className !== wanted) cell.className = wanted;
    });
  });
}

function list(section, titles, rows, none) {
  fill($(`${section} table`), titles, rows.slice(0, MAX_ROWS));
  const more = $(`${section} .more`), left = rows.length - MAX_ROWS;
  if (more) write(more, rows.length === 0 ? none : left > 0 ? `and ${one(left, "more row")}` : "");
}

const ports = new Rates(), reasons = new Rates(), peers = new Rates(), workers = new Rates();
const picture = new Picture($("#picture"), choose);
let state = null;

// -- Asking

let timer = null, asking = false;

async function look() {
  clearTimeout(timer);
  if (document.hidden || asking) return;
  asking = true;
  let next = PERIOD;
  try {
    take(await ask("state"));
    $("#gone").hidden = true;
    write($("#contact"), "● live");
    $("#contact").className = "ok";
    if ($("#talk").checked) showTalkers(await ask("talkers"));
  } catch (error) {
    next = RETRY;
    const known = error.status ? `The switch says: ${error.message}` : "The switch does not answer: it has ended, or cannot be reached.";
    write($("#gone"), `${known} What is shown is old. Asking again every ${RETRY / 1000} seconds.`);
    $("#gone").hidden = false;
    write($("#contact"), "✕ gone");
    $("#contact").className = "bad";
  }
  asking = false;
  if (!document.hidden) timer = setTimeout(look, next);
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));

function take(next) {
  const { stats } = next;
  // Another switch, or the same anew: what was counted before says nothing about it.
  if (state && state.version.pid !== next.version.pid) {
    for (const rates of [ports, reasons, peers, workers]) Object.assign(rates, new Rates());
  }
  state = next;
  const now = Math.max(0, ...stats.workers.map((worker) => worker.at_nanos)) / 1e9;
  ports.take(now, stats.ports.map((port) => [port.name, [port.rx_bytes, port.tx_bytes, port.drops, port.rx_frames, port.tx_frames]]));
  reasons.take(now, state.drops.map((drop) => [`${drop.port} ${drop.reason}`, [0, 0, drop.frames, 0, 0]]));
  peers.take(now, state.tunnels.flatMap((tunnel) => tunnel.peers.map((peer) =>
    [`${tunnel.name} ${peer.address}`, [peer.rx_bytes, peer.tx_bytes, peer.drops, peer.rx_packets, peer.tx_packets]])));
  workers.take(now, stats.workers.map((worker) => [worker.index, [worker.at_nanos, worker.busy_nanos, worker.batches, worker.frames, 0]]));
  picture.show(state, ports);
  showHeader();
  showDrops();
  showTunnels();
  showWorkers();
  showTables();
  showMatches();
  details.show();
}

// -- The panels

function showHeader() {
  const { version, stats } = state;
  write($("#about"), `${version.version}, up ${span(stats.uptime_secs)}`);
  const sum = { rx: 0, rxFrames: 0, drops: 0 };
  for (const { name } of state.ports) for (const key of Object.keys(sum)) sum[key] += ports.of(name)[key];
  write($("#total"), `in ${rate(sum.rx, "bit/s")}, ${rate(sum.rxFrames, "frames/s")}, ${rate(sum.drops, "drops/s")}`);
  const names = state.ports.map((port) => port.name);
  if ($("#ports").children.length !== names.length || names.some((name, i) => $("#ports").children[i].value !== name)) {
    $("#ports").replaceChildren(...names.map((value) => make("option", { value })));
  }
}

function showMatches() {
  const found = state.ports.filter((port) => picture.fits(port)).length;
  write($("#matches"), picture.filter.trim() ? `${found} of ${one(state.ports.length, "port")}` : one(state.ports.length, "port"));
}

function showDrops() {
  const each = state.drops.map((drop) => [reasons.of(`${drop.port} ${drop.reason}`).drops, drop]);
  each.sort(([a, one], [b, other]) => b - a || other.frames - one.frames);
  const rows = each.map(([now, drop]) => [drop.port === "-" ? "(gone)" : drop.port, drop.reason, [rate(now), now > 0 ? "bad" : ""],
    count(drop.frames), [drop.meaning, "words"], [drop.remedy, "words"]]);
  list("#drops", ["port", "reason", ">frames/s", ">frames", "meaning", "look at"], rows, "no frame was dropped");
}

function showTunnels() {
  const rows = state.tunnels.flatMap((tunnel) => tunnel.peers.map((peer) => {
    const [sign, kind] = health(peer), { rx, tx } = peers.of(`${tunnel.name} ${peer.address}`);
    return [tunnel.name, `${tunnel.type} ${tunnel.number ?? ""}`, peer.address, [`${sign} ${peer.state}`, kind],
      peer.heard_secs === null ? "never" : `${span(peer.heard_secs)} ago`, rate(rx), rate(tx), count(peer.drops), peer.mtu, count(peer.fdb_entries)];
  }));
  list("#tunnels", ["tunnel", "type", "peer", "state", "heard", ">in bit/s", ">out bit/s", ">drops", ">MTU", ">stations"], rows, "there are no peers of tunnels");
}

function showWorkers() {
  const rows = state.stats.workers.map((worker) => {
    const { rx: time, tx: busy, drops: batches, rxFrames: frames } = workers.of(worker.index);
    const load = time > 0 ? busy / time : 0, pause = worker.recent_pause, longest = worker.longest_pause;
    return [worker.index, meter(load, 1, 0.9), `${Math.round(load * 100)} %`, rate(frames), batches > 0 ? (frames / batches).toFixed(1) : "-",
      [`${short(pause.nanos)} ${pause.nanos ? pause.chore : ""}`, pause.nanos >= 1e6 ? "warn" : ""], `${short(longest.nanos)} ${longest.nanos ? longest.chore : ""}`,
      short(worker.recent_turn_nanos)];
  });
  list("#workers", ["worker", "load", ">", ">frames/s", ">a batch", "recent pause", "longest pause", "recent turn"], rows);
}

function showTables() {
  const row = (of, entries, limit, more) => [of, count(entries), meter(entries, limit, 0.8 * limit), count(limit), [more, "words"]];
  const fdbs = state.bridges.map((bridge) => row(`FDB of ${bridge.name}`, bridge.fdb_entries, bridge.fdb_limit,
    [bridge.evictions && `${count(bridge.evictions)} made room`, bridge.flaps && `${count(bridge.flaps)} moved to and fro`].filter(Boolean).join(", ")));
  const routers = state.routers.flatMap((router) => [
    row(`neighbours of ${router.name}`, router.neighbors, router.neighbor_limit, ""),
    ...(router.session_limit ? [row(`sessions of ${router.name}`, router.sessions, router.session_limit, `${router.routes} routes, ${router.rules} rules`)] : []),
  ]);
  list("#tables", ["table", ">entries", "", ">limit", ""], [...fdbs, ...routers]);
}

function meter(value, max, high) {
  return make("meter", { min: 0, max: max || 1, high, optimum: 0, value, title: `${Math.round((100 * value) / (max || 1))} %` });
}

function showTalkers(talkers) {
  const end = (mac, address, port) => (address ? (port === null ? address : address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`) : mac ?? "-");
  const rows = talkers.map((talker) => [talker.port, end(talker.source_mac, talker.source, talker.source_port),
    end(talker.destination_mac, talker.destination, talker.destination_port), talker.protocol ?? "-", rate(talker.bits_per_sec), rate(talker.frames_per_sec)]);
  list("#talkers", ["in by", "from", "to", "protocol", ">bit/s", ">frames/s"], rows, "nobody talks");
}

$("#talk").addEventListener("change", () => {
  $("#talkers table").replaceChildren();
  write($("#talkers .more"), "");
  look();
});

$("#filter").addEventListener("input", () => {
  picture.filter = $("#filter").value;
  if (!state) return;
  picture.show(state, ports);
  showMatches();
});

// -- One port

function choose(name) {
  location.hash = name === null ? "" : `port=${encodeURIComponent(name)}`;
}

const FOUND = ["address", ">VLAN", "bridge", "port", "peer", "kind", ">age"];
const entry = (found) => [found.mac, found.vlan, found.bridge, found.port ?? "the bridge", found.remote, found.kind, found.age_secs === null ? "-" : span(found.age_secs)];

const details = {
  place: $("#details"),
  name: null,

  /** Shows the port that the address of the page names. */
  open() {
    const name = location.hash.startsWith("#port=") ? decodeURIComponent(location.hash.slice(6)) : null;
    this.name = picture.chosen = name;
    this.place.hidden = name === null;
    $("main").classList.toggle("open", name !== null);
    if (name === null) return state && picture.show(state, ports);
    const close = make("button", { type: "button", "aria-label": "Close" }, "✕"), trace = make("button", { type: "button" }, "Trace from here");
    close.addEventListener("click", () => choose(null));
    trace.addEventListener("click", () => {
      $("#trace-port").value = name;
      $("#trace").scrollIntoView({ behavior: "smooth" });
      $("#trace-frame").focus({ preventScroll: true });
    });
    this.curves = new Curves(340, 70);
    [this.facts, this.counters, this.drops, this.behind, this.found] = ["dl", "table", "dl", "table", "p"].map((tag) => make(tag));
    const scroll = (table) => make("div", { class: "scroll" }, table);
    this.found.className = "faint";
    this.place.replaceChildren(make("div", { class: "bar" }, make("h2", {}, name), trace, close), this.facts,
      make("h3", {}, "The last minute"), svg("svg", { viewBox: "0 0 340 72", "aria-hidden": "true" }, ...this.curves.all), scroll(this.counters),
      make("h3", {}, "Drops"), this.drops, make("h3", {}, "Stations behind it"), scroll(this.behind), this.found);
    this.place.focus({ preventScroll: true });
    this.searched = 0;
    if (state) picture.show(state, ports);
    this.show();
  },

  show() {
    if (this.name === null || !state) return;
    const port = state.ports.find((port) => port.name === this.name);
    if (!port) return describe(this.facts, [["state", ["✕ there is no such port (any more)", "bad"]]]);
    const [sign, kind] = SIGNS[port.state] ?? ["?", "warn"], tunnel = state.tunnels.find((tunnel) => tunnel.name === port.name);
    const flags = [port.mode !== "bridge" && port.mode, port.hairpin && "hairpin", port.isolated && "isolated"].filter(Boolean).join(", ");
    describe(this.facts, [
      ["state", [`${sign} ${port.state}`, kind]], ["type", port.type], ["bridge", port.bridge], ["other end", port.wire],
      ["device", [port.device, port.netns && `in ${port.netns}`].filter(Boolean).join(" ")], ["MTU", port.mtu], ["MAC", port.mac],
      ["VLAN", port.vlan], ["mode", flags], ["queues", port.queues], ["offloads", port.offloads.join(" ")],
      ["sends mirror", (port.mirrors ?? []).join(" ")],
      ...(tunnel ? [["tunnel", `${tunnel.type} ${tunnel.number ?? ""} from ${tunnel.local} over ${tunnel.underlay}`],
        ...tunnel.peers.slice(0, BEHIND).map((peer) => ["peer", [`${health(peer)[0]} ${peer.address} ${peer.state}`, health(peer)[1]]])] : []),
    ]);
    this.curves.draw(ports.history(port.name), ports.now);
    const now = ports.of(port.name), counted = state.stats.ports.find((one) => one.name === port.name);
    fill(this.counters, ["", ">bit/s", ">frames/s", ">frames", ">bytes"], [
      ["in", rate(now.rx), rate(now.rxFrames), count(port.rx_frames), rate(port.rx_bytes, "B")],
      ["out", rate(now.tx), rate(now.txFrames), count(port.tx_frames), rate(port.tx_bytes, "B")],
      ["dropped", "", rate(now.drops), count(port.drops), ""],
      ["flooded, to a group", "", "", count(counted?.groups ?? 0), ""],
      ["flooded, unknown", "", "", count(counted?.unknown ?? 0), ""],
    ]);
    const drops = state.drops.filter((drop) => drop.port === port.name).sort((a, b) => b.frames - a.frames);
    describe(this.drops, drops.map((drop) => [drop.reason, `${count(drop.frames)}: ${drop.meaning}. Look at: ${drop.remedy}`]), "none");
    if (performance.now() - this.searched > BEHIND_PERIOD || this.searched === 0) this.search(port);
  },

  async search(port) {
    this.searched = performance.now();
    const [table, note] = [this.behind, this.found];
    try {
      const { entries, count: all } = await ask("fdb", { port: port.name, limit: BEHIND });
      const rows = entries.map(entry).map(([address, vlan, , , ...more]) => [address, vlan, ...more]);
      fill(table, ["address", ">VLAN", "peer", "kind", ">age"], rows);
      write(note, all > entries.length ? `${count(entries.length)} of ${count(all)}` : all === 0 ? "none" : "");
    } catch (error) {
      write(note, error.message);
    }
  },
};

/** Makes a list of names and values; those without a value are left out. */
function describe(place, pairs, none) {
  const some = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== "-");
  const wanted = some.flatMap(([name, value]) => {
    const [words, kind = ""] = Array.isArray(value) ? value : [value];
    return [["DT", name, ""], ["DD", String(words), kind]];
  });
  if (!wanted.length && none) wanted.push(["DD", none, ""]);
  while (place.children.length > wanted.length) place.lastChild.remove();
  wanted.forEach(([tag, words, kind], i) => {
    if (place.children[i]?.tagName !== tag) {
      const made = make(tag);
      if (place.children[i]) place.children[i].replaceWith(made);
      else place.append(made);
    }
    write(place.children[i], words);
    place.children[i].className = kind;
  });
}

window.addEventListener("hashchange", () => details.open());
document.addEventListener("keydown", (event) => event.key === "Escape" && details.name !== null && choose(null));

// -- The search and the trace

let typed = 0, waiting = null;

async function find() {
  clearTimeout(waiting);
  const mine = ++typed, note = $("#fdb .more");
  try {
    const { entries, count: all } = await ask("fdb", { text: $("#fdb-text").value.trim(), limit: MAX_ROWS });
    if (mine !== typed) return;
    fill($("#fdb table"), FOUND, entries.map(entry));
    write(note, all === 0 ? "no station" : all > entries.length ? `the first ${count(entries.length)} of ${one(all, "station")}` : one(all, "station"));
  } catch (error) {
    if (mine !== typed) return;
    write(note, error.message);
    if (error.status === 429) waiting = setTimeout(find, PERIOD);
  }
}

$("#fdb-text").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(find, 250);
});

$("#fdb form").addEventListener("submit", (event) => {
  event.preventDefault();
  find();
});

$("#trace form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const walk = $("#walk"), value = (field) => $(`#trace-${field}`).value.trim();
  try {
    const query = { port: value("port"), remote: value("remote"), frame: value("frame") };
    walk.replaceChildren(...told(await ask("trace", query)));
  } catch (error) {
    walk.replaceChildren(make("p", { id: "verdict", class: "bad" }, error.message));
  }
});

/** A walk, hop by hop, and how it ended. */
function told(info) {
  const hops = make("ol");
  let at = "", steps = null;
  for (const step of info.steps) {
    const here = `${step.hop} ${step.name}`;
    if (here !== at) {
      [at, steps] = [here, make("dl")];
      hops.append(make("li", {}, make("strong", {}, here), steps));
    }
    steps.append(make("dt", {}, step.stage), make("dd", {}, step.text));
  }
  const dropped = info.ends.some((end) => end.outcome === "dropped");
  const verdict = make("p", { id: "verdict", class: dropped ? "bad" : "ok" }, `${dropped ? "✕" : "✓"} ${info.verdict}`);
  const frames = info.left.map((left) =>
    make("details", {}, make("summary", {}, `${one(left.len, "byte")} would leave by ${left.port}${left.remote ? ` to ${left.remote}` : ""}`), make("pre", {}, dump(left.frame))));
  return [verdict, hops, ...frames];
}

/** Bytes in hexadecimal, sixteen in a line. */
function dump(hex) {
  const lines = hex.match(/.{1,32}/g) ?? [];
  return lines.map((line, i) => `${(i * 16).toString(16).padStart(4, "0")}  ${line.match(/.{1,8}/g).join(" ")}`).join("\n");
}

look();
details.open();
find();
