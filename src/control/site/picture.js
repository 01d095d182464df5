// The picture: routers above, bridges with their ports in the middle, the peers of tunnels below, and what joins them.
//
// It is laid out anew only when something comes or goes; from second to second, only numbers and curves change. Whatever
// is shown is text in a text node: names and addresses are other people's.

const SVG = "http://www.w3.org/2000/svg";
const PAD = 10, GAP = 8, HEAD = 46, BIG = { width: 146, height: 60 }, SMALL = { width: 96, height: 26 };
/** A bridge with more ports than these shows them small. */
const MANY = 24;
/** Most peers that have a place of their own. */
const MAX_PEERS = 24;
const ORDER = new Intl.Collator("en", { numeric: true }).compare;

/** How ports and peers are, by sign and by colour. */
export const SIGNS = {
  up: ["●", "ok"], down: ["▼", "warn"], "no-carrier": ["○", "warn"], waiting: ["…", "warn"], missing: ["✕", "bad"],
};

export function health(peer) {
  if (peer.state === "up") return ["✓", "ok"];
  if (peer.state === "group") return ["∗", ""];
  return peer.state === "unheard" ? ["?", "warn"] : ["✕", "bad"];
}

const WORST = ["bad", "warn", "ok", ""];
const worst = (list) => list.reduce((a, b) => (WORST.indexOf(b[1]) < WORST.indexOf(a[1]) ? b : a));

/** A number in three digits, and of what: `1.25 Mbit/s`. */
export function rate(value, of = "") {
  const prefixes = ["", "k", "M", "G", "T"];
  let at = 0;
  for (; value >= 999.5 && at < prefixes.length - 1; at++) value /= 1000;
  const digits = at === 0 ? Math.round(value) : value >= 99.5 ? value.toFixed(0) : value.toPrecision(3);
  return `${digits} ${prefixes[at]}${of}`.trimEnd();
}

export function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const text = (x, y, words, kind = "") => svg("text", { x, y, class: kind }, words);

/** A name in so many letters: its beginning and its end say most. */
function short(name, letters) {
  if (name.length <= letters) return name;
  const tail = Math.floor((letters - 1) / 2);
  return `${name.slice(0, letters - 1 - tail)}…${name.slice(name.length - tail)}`;
}

/** The curves of a port's last minute: what came in as an area, what went out as a line, drops along the bottom. */
export class Curves {
  constructor(width, height) {
    [this.width, this.height] = [width, height];
    [this.area, this.line, this.losses] = ["area", "line", "losses"].map((kind) => svg("path", { class: kind }));
    this.all = [this.area, this.line, this.losses];
  }

  draw(samples, now) {
    const seen = samples.filter((sample) => now - sample.at <= 60);
    const most = Math.max(1000, ...seen.map((sample) => Math.max(sample.rx, sample.tx)));
    const x = (sample) => (this.width * (1 - (now - sample.at) / 60)).toFixed(1);
    const y = (value) => (this.height * (1 - value / most)).toFixed(1);
    const path = (key) => seen.map((sample, i) => `${i ? "L" : "M"}${x(sample)} ${y(sample[key])}`).join("");
    const [first, last] = [seen[0], seen[seen.length - 1]];
    this.area.setAttribute("d", seen.length > 1 ? `${path("rx")}V${this.height}H${x(first)}Z` : "");
    this.line.setAttribute("d", seen.length > 1 && last ? path("tx") : "");
    const lost = seen.filter((sample) => sample.drops > 0);
    this.losses.setAttribute("d", lost.map((sample) => `M${x(sample)} ${this.height}v-4`).join(""));
  }
}

export class Picture {
  /** Draws into `place`; `choose` is told of a port that is clicked. */
  constructor(place, choose) {
    Object.assign(this, { place, choose, folded: new Set(), chips: new Map(), heads: new Map(), filter: "", drawn: "" });
    this.chosen = null;
    new ResizeObserver(() => this.state && this.show(this.state, this.rates)).observe(place);
  }

  /** Shows what runs, and how much passes. */
  show(state, rates) {
    [this.state, this.rates] = [state, rates];
    const unit = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    this.width = Math.max(280, Math.floor(this.place.clientWidth / unit));
    const structure = JSON.stringify([
      this.width, this.filter, [...this.folded],
      state.ports.map((port) => [port.name, port.type, port.bridge, port.wire, this.fits(port)]),
      state.bridges.map((bridge) => bridge.name),
      state.routers.map((router) => [router.name, router.interfaces.map((one) => [one.name, one.on, one.addresses])]),
      state.tunnels.map((tunnel) => [tunnel.name, tunnel.peers.map((peer) => [peer.address, health(peer)])]),
      state.mirrors.map((mirror) => [mirror.name, mirror.ports, mirror.bridge, mirror.to]),
    ]);
    if (structure !== this.drawn) this.draw(structure);
    this.refresh();
  }

  /** Whether a port is one of those that are looked for. */
  fits(port) {
    const words = [port.name, port.type, port.bridge, port.state, port.vlan, port.device].join(" ").toLowerCase();
    return this.filter.toLowerCase().split(/\s+/).every((word) => words.includes(word));
  }

  draw(structure) {
    this.drawn = structure;
    const { state } = this;
    this.chips.clear();
    this.heads.clear();
    this.seers = new Map();
    // Where links begin and end: of each port, bridge, router and peer, the middle of its upper and lower edge.
    this.spots = new Map();
    const focused = document.activeElement?.dataset?.port;
    const [under, boxes, over] = [svg("g", {}), svg("g", {}), svg("g", {})];
    this.mirroring = new Map();
    for (const mirror of state.mirrors) {
      const of = this.mirroring.get(mirror.to) ?? [];
      this.mirroring.set(mirror.to, [...of, mirror.name]);
    }

    let y = this.flow(state.routers.map((router) => this.router(router)), 4, boxes);
    y = this.flow(this.groups().map((group) => this.group(group)), y ? y + 40 : 4, boxes);
    y = this.flow(this.peers(), y + (state.tunnels.some((tunnel) => tunnel.peers.length) ? 44 : 0), boxes);
    const deepest = this.links(under, over);
    const height = Math.max(y, deepest) + 6;
    const all = svg("svg", { viewBox: `0 0 ${this.width} ${height}`, role: "group", "aria-label": "Bridges and ports" }, under, boxes, over);
    this.place.replaceChildren(all);
    if (focused) this.chips.get(focused)?.chip.focus();
  }

  /** Puts boxes in rows, each row in the middle; says where the last ends. */
  flow(list, top, into) {
    let [row, x, y] = [[], 0, top];
    const end = () => {
      // They stand on one line, so that no box hides what leaves another at its lower edge.
      const free = (this.width - (x - GAP * 2)) / 2, bottom = y + Math.max(...row.map(([box]) => box.height));
      for (const [box, at] of row) {
        const top = bottom - box.height;
        box.drawn.setAttribute("transform", `translate(${at + free} ${top})`);
        for (const [key, spot] of box.spots) {
          this.spots.set(key, { x: at + free + spot.x, y: top + spot.y, top, bottom, box: box.key });
        }
        into.append(box.drawn);
      }
      return bottom;
    };
    for (const box of list) {
      if (row.length && x + box.width > this.width) {
        y = end() + 34;
        [row, x] = [[], 0];
      }
      row.push([box, x]);
      x += box.width + GAP * 2;
    }
    return row.length ? end() : top === 4 ? 0 : top;
  }

  router(router) {
    const shown = router.interfaces.slice(0, 4);
    const lines = shown.map((one) => `${one.name}: ${one.addresses.join(" ") || "no address"}`);
    if (router.interfaces.length > shown.length) lines.push(`and ${router.interfaces.length - shown.length} more`);
    const [width, height] = [Math.min(250, this.width - 2), 26 + lines.length * 15];
    const drawn = svg("g", { class: "router" }, svg("rect", { class: "box", width, height, rx: 6, x: 0, y: 0 }),
      text(PAD, 18, short(`router ${router.name}`, 32), "name"),
      ...lines.map((line, i) => text(PAD, 34 + i * 15, short(line, 38), "small")));
    const key = `router ${router.name}`;
    return { key, width, height, drawn, spots: [[key, { x: width / 2, y: 0 }]] };
  }

  /** The bridges with their ports, and what is on no bridge. */
  groups() {
    const groups = new Map(this.state.bridges.map((bridge) => [bridge.name, { key: `bridge ${bridge.name}`, bridge, ports: [] }]));
    const loose = { key: "no bridge", bridge: null, ports: [] };
    for (const port of this.state.ports) (groups.get(port.bridge) ?? loose).ports.push(port);
    const all = [...groups.values()].sort((a, b) => ORDER(a.bridge.name, b.bridge.name));
    if (loose.ports.length) all.push(loose);
    for (const group of all) {
      group.shown = group.ports.filter((port) => this.fits(port)).sort((a, b) => ORDER(a.name, b.name));
    }
    return this.filter.trim() ? all.filter((group) => group.shown.length) : all;
  }

  group({ key, bridge, ports, shown }) {
    const folded = this.folded.has(key);
    // What has links stands at the bottom, where these leave.
    const tunnels = new Set(this.state.tunnels.map((tunnel) => tunnel.name));
    const joined = (port) => port.wire || this.mirroring.has(port.name) || tunnels.has(port.name);
    const parts = folded ? [] : [shown.filter((port) => !joined(port)), shown.filter(joined)].filter((part) => part.length);
    const inner = this.width - 2 - 2 * PAD;
    const size = shown.length > MANY ? SMALL : BIG;
    const fit = Math.max(1, Math.floor((inner + GAP) / (size.width + GAP)));
    const wished = size === SMALL ? Math.ceil(Math.sqrt(shown.length * 3.5)) : Math.max(2, Math.ceil(Math.sqrt(shown.length * 2.5)));
    const columns = Math.max(1, Math.min(fit, wished, Math.max(1, ...parts.map((part) => part.length))));
    const width = Math.min(this.width - 2, Math.max(236, columns * (size.width + GAP) - GAP + 2 * PAD));
    const across = (width - 2 * PAD + GAP) / columns - GAP;

    const title = svg("g", { class: "title", tabindex: 0, role: "button", "aria-expanded": !folded });
    const head = { ports, sums: text(PAD, 36, "", "small") };
    const count = `${ports.length} ${ports.length === 1 ? "port" : "ports"}`;
    title.append(svg("rect", { class: "box", width, height: HEAD, rx: 6, stroke: "none", opacity: 0 }),
      text(PAD, 19, `${folded ? "▸" : "▾"} ${short(bridge ? bridge.name : "no bridge", 22)}`, "name"),
      text(width - PAD, 19, shown.length < ports.length ? `${shown.length} of ${count}` : count, "small end"), head.sums);
    pressed(title, () => {
      if (!this.folded.delete(key)) this.folded.add(key);
      this.show(this.state, this.rates);
    });
    this.heads.set(key, head);

    const [drawn, spots] = [svg("g", { class: "bridge" }), []];
    let y = HEAD;
    for (const part of parts) {
      part.forEach((port, i) => {
        const x = PAD + (i % columns) * (across + GAP), at = y + Math.floor(i / columns) * (size.height + GAP);
        const chip = this.chip(port, across, size);
        chip.setAttribute("transform", `translate(${x} ${at})`);
        drawn.append(chip);
        spots.push([`port ${port.name}`, { x: x + across / 2, y: at }]);
      });
      y += Math.ceil(part.length / columns) * (size.height + GAP);
    }
    const height = y + (parts.length ? PAD - GAP : 0);
    for (const port of folded ? ports : []) spots.push([`port ${port.name}`, { x: width / 2, y: 0 }]);
    spots.push([key, { x: width / 2, y: 0 }]);
    drawn.prepend(svg("rect", { class: "box", width, height, rx: 6 }), title);
    return { key, width, height, drawn, spots };
  }

  chip(port, width, size) {
    const big = size === BIG;
    const curves = new Curves(width - 2, SMALL.height - 2);
    const chip = svg("g", { class: "chip", tabindex: 0, role: "button", "data-port": port.name });
    const letters = Math.floor((width - (big ? 62 : 26)) / 6.9);
    const [sign, label] = [text(7, 17, ""), svg("title", {})];
    const parts = { chip, curves, sign, label, big };
    chip.append(label, svg("rect", { width, height: size.height, rx: 5 }), svg("g", { transform: `translate(1 ${size.height - SMALL.height + 1})` }, ...curves.all),
      sign, text(22, 17, short(port.name, letters), "name"));
    if (big) {
      parts.passed = text(7, 32, "", "small");
      parts.lost = text(7, 53, "", "small drop");
      parts.kind = text(width - 6, 17, port.type, "small end");
      parts.note = text(width - 6, 53, this.note(port), "small end");
      chip.append(parts.passed, parts.lost, parts.kind, parts.note);
    }
    pressed(chip, () => this.choose(port.name));
    this.chips.set(port.name, parts);
    return chip;
  }

  /** What is to be said of a port in two words. */
  note(port) {
    const mirrors = this.mirroring.get(port.name);
    if (mirrors) return short(`» ${mirrors.join(" ")}`, 16);
    if (port.wire) return short(`⇄ ${port.wire}`, 16);
    return port.vlan === "-" ? "" : short(port.vlan, 16);
  }

  /** The peers of all tunnels, one for each address, with how it is to each of its tunnels. */
  remotes() {
    const peers = new Map();
    for (const tunnel of this.state.tunnels) {
      for (const peer of tunnel.peers) {
        const of = peers.get(peer.address) ?? { address: peer.address, states: [], seen: peer.state };
        of.states.push(health(peer));
        if (of.states.length > 1 && of.seen !== peer.state) of.seen = `${of.states.length} tunnels`;
        peers.set(peer.address, of);
      }
    }
    return peers;
  }

  /** Their boxes; where there are too many, those that are worst, and the rest as one. */
  peers() {
    const peers = this.remotes();
    const rank = (peer) => WORST.indexOf(worst(peer.states)[1]);
    const all = [...peers.values()].sort((a, b) => rank(a) - rank(b) || ORDER(a.address, b.address));
    const rest = all.length > MAX_PEERS ? all.splice(MAX_PEERS - 1) : [];
    const list = all.sort((a, b) => ORDER(a.address, b.address)).map((peer) => ({ ...peer, addresses: [peer.address] }));
    if (rest.length) {
      list.push({ address: `and ${rest.length} more peers`, addresses: rest.map((peer) => peer.address),
        states: rest.flatMap((peer) => peer.states), seen: "the table below has them" });
    }
    return list.map((peer) => {
      const [sign, kind] = worst(peer.states);
      const width = Math.max(196, Math.min(this.width - 2, 34 + Math.min(peer.address.length, 40) * 7)), height = 38;
      const seen = text(28, 31, "", "small");
      const see = (words) => write(seen, short(words, Math.floor((width - 44) / 5.6)));
      see(peer.seen);
      if (peer.addresses.length === 1) this.seers.set(peer.address, see);
      const drawn = svg("g", { class: `peer ${kind}` }, svg("rect", { class: "box", width, height, rx: 19 }),
        text(12, 24, sign, `name ${kind}`), text(28, 17, short(peer.address, 40), "name"), seen);
      return { key: `peer ${peer.address}`, width, height, drawn,
        spots: peer.addresses.map((address) => [`peer ${address}`, { x: width / 2, y: 0 }]) };
    });
  }

  /** Draws what joins things: under the boxes, or over them within one box. Says how deep the curves reach. */
  links(under, over) {
    let [deepest, curves] = [0, 0];
    const join = (from, to, kind, says) => {
      const [a, b] = [this.spots.get(from), this.spots.get(to)];
      if (!a || !b) return;
      let path;
      if (a.box === b.box) {
        if (kind !== "mirror" || a.y === b.y && a.x === b.x) return;
        path = `M${a.x} ${a.y + 6}L${b.x} ${b.y + 6}`;
      } else if (a.bottom === b.bottom) {
        const y = a.bottom + 18 + 6 * (curves++ % 4);
        deepest = Math.max(deepest, y - 4);
        path = `M${a.x} ${a.bottom - 2}C${a.x} ${y} ${b.x} ${y} ${b.x} ${b.bottom - 2}`;
      } else {
        const [upper, lower] = a.bottom < b.bottom ? [a, b] : [b, a];
        const middle = (upper.bottom + lower.top) / 2;
        path = `M${upper.x} ${upper.bottom - 2}C${upper.x} ${middle} ${lower.x} ${middle} ${lower.x} ${lower.top + 2}`;
      }
      (a.box === b.box ? over : under).append(svg("path", { class: `link ${kind}`, d: path }, svg("title", {}, says)));
    };
    for (const router of this.state.routers) {
      for (const on of new Set(router.interfaces.map((one) => one.on.replace(/ vlan .*/, "")))) {
        join(`router ${router.name}`, on, "router", `router ${router.name} on ${on}`);
      }
    }
    for (const port of this.state.ports) {
      if (port.wire && port.name < port.wire) join(`port ${port.name}`, `port ${port.wire}`, "patch", `${port.name} ⇄ ${port.wire}`);
    }
    for (const tunnel of this.state.tunnels) {
      for (const peer of tunnel.peers) {
        join(`port ${tunnel.name}`, `peer ${peer.address}`, health(peer)[1], `${tunnel.name} to ${peer.address}: ${peer.state}`);
      }
    }
    for (const mirror of this.state.mirrors) {
      const sources = [...mirror.ports.map((port) => `port ${port}`), ...(mirror.bridge ? [`bridge ${mirror.bridge}`] : [])];
      for (const source of sources) join(source, `port ${mirror.to}`, "mirror", `mirror ${mirror.name}: ${source} to ${mirror.to}`);
    }
    return deepest;
  }

  /** Brings the numbers and curves up to date. */
  refresh() {
    const { now } = this.rates;
    const states = new Map(this.state.ports.map((port) => [port.name, port.state]));
    for (const port of this.state.ports) {
      const parts = this.chips.get(port.name);
      if (!parts) continue;
      const [{ rx, tx, drops }, [sign, kind]] = [this.rates.of(port.name), SIGNS[port.state] ?? ["?", "warn"]];
      write(parts.sign, sign);
      parts.sign.setAttribute("class", kind);
      const off = { warn: " off", bad: " lost" }[kind] ?? "";
      parts.chip.setAttribute("class", `chip${off}${port.name === this.chosen ? " chosen" : ""}`);
      const passed = `↓ ${rate(rx)} ↑ ${rate(tx)}`;
      const lost = drops > 0 ? `${rate(drops, "drops/s")}` : "";
      write(parts.label, `${port.name} (${port.type}, ${port.state}): in ${rate(rx, "bit/s")}, out ${rate(tx, "bit/s")}${lost && ", "}${lost}`);
      parts.chip.setAttribute("aria-label", parts.label.textContent);
      parts.curves.draw(this.rates.history(port.name), now);
      if (!parts.big) continue;
      write(parts.passed, passed);
      write(parts.lost, lost || (port.state === "up" ? "" : port.state));
      parts.lost.setAttribute("class", `small ${lost ? "drop" : kind}`);
    }
    for (const { address, seen } of this.remotes().values()) this.seers.get(address)?.(seen);
    for (const { ports, sums } of this.heads.values()) {
      const sum = { rx: 0, tx: 0, drops: 0 };
      for (const port of ports) for (const key of Object.keys(sum)) sum[key] += this.rates.of(port.name)[key];
      const off = ports.filter((port) => states.get(port.name) !== "up").length;
      const words = [`↓ ${rate(sum.rx, "bit/s")} ↑ ${rate(sum.tx, "bit/s")}`, sum.drops > 0 && rate(sum.drops, "drops/s"), off > 0 && `${off} not up`];
      write(sums, words.filter(Boolean).join(" · "));
    }
  }
}

/** Changes a text only where it is another: what somebody marks stays marked. */
export function write(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

function pressed(node, act) {
  node.addEventListener("click", act);
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act();
  });
}
