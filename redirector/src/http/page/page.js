// The status page: hears snapshots from /api/v1/stream and keeps the document in step with them.
"use strict";

const HISTORY = 120;
const MAX_EVENTS = 100;
const COLOURS = [
  "#2f6fed", "#e8833a", "#18a999", "#a65bd8", "#d6496c",
  "#7c9a1e", "#2aa3d9", "#b98a16", "#6a6fe0", "#c2599f",
];

const $ = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Changes a text only where it differs, so that nothing is read out again in vain. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function wear(element, name) {
  if (element.className !== name) element.className = name;
}

// ---- numbers for people

function count(value) {
  if (value === null) return "–";
  if (value >= 1e9) return (value / 1e9).toFixed(2) + " G";
  if (value >= 1e6) return (value / 1e6).toFixed(2) + " M";
  if (value >= 1e4) return (value / 1e3).toFixed(1) + " k";
  if (value > 0 && value < 10 && !Number.isInteger(value)) return value.toFixed(1);
  return Math.round(value).toLocaleString("en");
}

function bits(bytesPerSecond) {
  if (bytesPerSecond === null) return "–";
  let value = bytesPerSecond * 8;
  for (const unit of ["bit/s", "kbit/s", "Mbit/s"]) {
    if (value < 1000) return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(2)} Gbit/s`;
}

function span(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const from = parts.findIndex(([, unit]) => seconds >= unit);
  if (from < 0) return "0s";
  let rest = Math.floor(seconds);
  return parts.slice(from, from + 2).map(([name, unit]) => {
    const whole = Math.floor(rest / unit);
    rest -= whole * unit;
    return whole + name;
  }).join(" ");
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

// ---- rates: totals become differences per second

const series = new Map();

/** Notes a total that only grows; gives its rate and the rates before. */
function rate(key, total, at) {
  let known = series.get(key);
  if (!known) series.set(key, (known = { total, at, rates: [] }));
  else if (at > known.at) {
    // A counter that fell has begun anew.
    const grown = total >= known.total ? total - known.total : total;
    known.rates.push((grown * 1000) / (at - known.at));
    if (known.rates.length > HISTORY) known.rates.shift();
    known.total = total;
    known.at = at;
  }
  known.heard = at;
  return known.rates;
}

const latest = (rates) => (rates.length ? rates[rates.length - 1] : null);

const SVG = "http://www.w3.org/2000/svg";

function spark(label) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", `0 0 ${HISTORY - 1} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.dataset.label = label;
  for (const name of ["area", "line"]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    svg.append(path);
  }
  return svg;
}

function draw(svg, values) {
  const most = Math.max(...values, 1e-9);
  const start = HISTORY - values.length;
  const points = values.map((value, i) => `${start + i},${(96 - (value / most) * 90).toFixed(1)}`);
  const [area, line] = svg.children;
  line.setAttribute("d", points.length > 1 ? "M" + points.join("L") : "");
  area.setAttribute("d", points.length > 1
    ? `M${start},100L${points.join("L")}L${HISTORY - 1},100Z` : "");
  const now = values.length ? count(values[values.length - 1]) : "unknown";
  svg.setAttribute("aria-label", `${svg.dataset.label}: now ${now}, at most ${count(most < 1e-6 ? 0 : most)}`);
}

// ---- tiles

const tiles = new Map();

function tile(key, title, text, values, unit = "") {
  let known = tiles.get(key);
  if (!known) {
    const value = make("span", { class: "value" });
    const dd = make("dd", {}, value, make("span", { class: "unit", textContent: unit }));
    const graph = values && spark(title);
    if (graph) dd.append(graph);
    $("tiles").append(make("div", { class: "tile" }, make("dt", { textContent: title }), dd));
    tiles.set(key, (known = { value, graph }));
  }
  say(known.value, text);
  if (known.graph) draw(known.graph, values);
}

// ---- redirects and nodes

const pools = (redirect) => [redirect.pool, redirect.backup].filter(Boolean);

/** What a node is, in a word, and how it looks. */
function state(node) {
  if (node.operator === "disabled") return ["disabled", "warn"];
  if (node.operator === "draining") return ["draining", "warn"];
  return [node.health, node.health === "unknown" ? "unknown" : node.health];
}

const looks = {
  active: "up",
  "active (using backup table)": "warn",
  down: "down",
  draining: "warn",
  disabled: "warn",
};

const cards = new Map();

function card(redirect) {
  const key = `${redirect.name} ${redirect.family}`;
  let known = cards.get(key);
  if (known) return known;
  const title = make("h2", { textContent: redirect.name, id: `r${redirect.id}` });
  known = {
    state: make("span", { class: "pill" }),
    listen: make("code"),
    split: make("span", { class: "quiet" }),
    share: make("div", { class: "share", "aria-hidden": "true" }),
    legend: make("ul", { class: "legend", "aria-label": "Share of the slots" }),
    canvas: make("canvas", { width: 512, height: 128, role: "img" }),
    pools: new Map(),
    rows: new Map(),
    body: make("div"),
    generation: null,
    colours: new Map(),
  };
  const head = make("div", { class: "redirect-head" }, title, known.state,
    make("span", { class: "quiet", textContent: redirect.family }), known.listen, known.split);
  const slots = make("div", { class: "slots" },
    make("div", {}, known.share, known.legend),
    make("div", {}, known.canvas,
      make("p", { class: "caption", textContent: "65,536 slots, a point each; pale where split" })));
  known.section = make("section", { class: "card", "aria-labelledby": title.id }, head, slots, known.body);
  $("redirects").append(known.section);
  cards.set(key, known);
  return known;
}

function table(known, pool, isBackup) {
  let found = known.pools.get(pool.name);
  if (found) return found;
  const heads = ["Node", "State", "Since, and why", "Slots", "New/s", "Sent", "Answered", "Live", ""];
  const right = new Set(["Slots", "New/s", "Sent", "Answered", "Live"]);
  const row = make("tr");
  for (const head of heads) {
    const cell = make("th", { scope: "col", class: right.has(head) ? "number" : "" }, head);
    if (!head) cell.append(make("span", { class: "hidden-title", textContent: "Traffic and actions" }));
    row.append(cell);
  }
  const title = make("h3");
  const body = make("tbody");
  const columns = make("colgroup", {}, ...heads.map((_, i) => make("col", { class: `c${i}` })));
  const whole = make("table", { class: "nodes" },
    make("caption", { class: "hidden-title", textContent: `Nodes of pool ${pool.name}` }),
    columns, make("thead", {}, row), body);
  known.body.append(title, whole);
  found = { title, body, whole, isBackup };
  known.pools.set(pool.name, found);
  return found;
}

function nodeRow(known, place, pool, node) {
  const key = `${pool.name} ${node.name}`;
  let row = known.rows.get(key);
  if (row) return row;
  const number = (label) => make("td", { class: "number", "data-label": label });
  const address = make("code");
  row = {
    name: make("td", { class: "name" }, make("span", { class: "swatch", "aria-hidden": "true" }),
      node.name, make("span", { class: "sub" }, address)),
    address,
    state: make("span", { class: "pill" }),
    since: make("span"),
    why: make("span", { class: "sub" }),
    slots: number("Slots"),
    fresh: number("New/s"),
    sent: number("Sent"),
    answered: number("Answered"),
    live: number("Live"),
    graph: spark(`Packets per second to ${node.name}`),
    actions: make("span", { class: "actions" }),
  };
  row.line = make("tr", { "data-node": node.name }, row.name, make("td", {}, row.state),
    make("td", { class: "why" }, row.since, row.why), row.slots, row.fresh, row.sent, row.answered,
    row.live, make("td", { class: "rates" }, row.graph, row.actions));
  place.body.append(row.line);
  known.rows.set(key, row);
  return row;
}

/** How long clients wait for the node, beside how long the relay's own check did. */
function answers(node) {
  if (!node.answers) return "";
  const within = (micros) => (micros === null ? "over 537 ms" : `${(micros / 1000).toFixed(1)} ms`);
  return `; half of the SYNs answered within ${within(node.answers.median_us)}, 99% ${within(node.answers.p99_us)}`;
}

function why(node) {
  const check = node.last_check;
  const what = check ? `${check.check}: ${check.outcome}, ${(check.took_us / 1000).toFixed(1)} ms` : "not checked yet";
  const name = node.name_lookup?.error ? `; ${node.name_lookup.host}: ${node.name_lookup.error}` : "";
  if (!node.address) return `not checked${name}`;
  return (node.next_hop ? what : `${what}; next hop unknown`) + answers(node) + name;
}

function showNode(known, place, pool, node, redirect, at, now) {
  const row = nodeRow(known, place, pool, node);
  const [word, look] = state(node);
  say(row.state, word);
  say(row.address, node.address ?? "unresolved");
  wear(row.state, `pill ${look}`);
  say(row.since, node.since ? `${span(now - node.since)}` : "–");
  say(row.why, why(node));
  const share = ((node.slots / redirect.slots) * 100).toFixed(1);
  say(row.slots, `${share}%`);
  const key = `${redirect.id}/${pool.name}/${node.name}`;
  const hears = redirect.delivery !== "route-to";
  say(row.fresh, count(latest(rate(`${key}/syn`, node.traffic.syns, at))));
  say(row.sent, bits(latest(rate(`${key}/out`, node.traffic.forward_bytes, at))));
  const answered = rate(`${key}/in`, node.traffic.reply_bytes, at);
  say(row.answered, hears ? bits(latest(answered)) : "–");
  say(row.live, count(node.live));
  draw(row.graph, rate(`${key}/packets`, node.traffic.forward_packets, at));
  row.name.firstChild.style.background = known.colours.get(node.id) || "transparent";
  showActions(row, pool, node);
  return row;
}

function showRedirect(redirect, at, now) {
  const known = card(redirect);
  say(known.state, redirect.state);
  wear(known.state, `pill ${looks[redirect.state] || ""}`);
  say(known.listen, redirect.listen.join("  "));
  say(known.split, [
    redirect.delivery,
    redirect.split_slots ? `${count(redirect.split_slots)} slots split` : "all slots settled",
    redirect.associations === null || redirect.associations === undefined
      ? "" : `${count(redirect.associations)} UDP associations`,
  ].filter(Boolean).join(" · "));
  const nodes = pools(redirect).flatMap((pool) => pool.nodes);
  nodes.forEach((node, i) => {
    if (node.id) known.colours.set(node.id, COLOURS[i % COLOURS.length]);
  });
  const kept = new Set();
  pools(redirect).forEach((pool, i) => {
    const place = table(known, pool, i > 0);
    const able = pool.nodes.filter((node) => node.health === "up" && node.operator === "enabled").length;
    say(place.title, `${i ? "Backup pool" : "Pool"} ${pool.name}, ${able} of ${pool.nodes.length} nodes available`);
    for (const node of pool.nodes) {
      showNode(known, place, pool, node, redirect, at, now);
      kept.add(`${pool.name} ${node.name}`);
    }
  });
  for (const [key, row] of known.rows) {
    if (!kept.has(key)) { row.line.remove(); known.rows.delete(key); }
  }
  for (const [name, place] of known.pools) {
    if (!pools(redirect).some((pool) => pool.name === name)) {
      place.title.remove(); place.whole.remove(); known.pools.delete(name);
    }
  }
  showShares(known, redirect, nodes);
  if (known.generation !== redirect.generation) {
    known.generation = redirect.generation;
    paint(known, redirect, nodes);
  }
}

function showShares(known, redirect, nodes) {
  const owners = nodes.filter((node) => node.slots > 0);
  const text = owners.map((node) => `${node.id}:${node.slots}`).join();
  if (known.shares === text) return;
  known.shares = text;
  const none = redirect.slots - owners.reduce((sum, node) => sum + node.slots, 0);
  known.share.replaceChildren(...owners.map((node) => {
    const part = make("span", { title: node.name });
    part.style.width = `${(node.slots / redirect.slots) * 100}%`;
    part.style.background = known.colours.get(node.id);
    return part;
  }));
  known.legend.replaceChildren(...owners.map((node) => {
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = known.colours.get(node.id);
    return make("li", {}, swatch, `${node.name} ${((node.slots / redirect.slots) * 100).toFixed(1)}%`);
  }));
  if (none > 0) known.legend.append(make("li", { textContent: `nobody ${((none / redirect.slots) * 100).toFixed(1)}%` }));
  known.canvas.setAttribute("aria-label",
    "Owners of the slots: " + (owners.map((node) => `${node.name} ${node.slots}`).join(", ") || "nobody"));
}

async function paint(known, redirect, nodes) {
  const answer = await fetch(`/api/v1/redirects/${redirect.id}/slots`).catch(() => null);
  if (!answer || !answer.ok) { known.generation = null; return; }
  const slots = new DataView(await answer.arrayBuffer());
  const context = known.canvas.getContext("2d");
  const { width, height } = known.canvas;
  const image = context.createImageData(width, height);
  const colours = new Map([[0, [128, 128, 128]]]);
  for (const node of nodes) {
    const colour = known.colours.get(node.id);
    if (colour) colours.set(node.id, [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)));
  }
  for (let slot = 0; slot < width * height && slot * 2 < slots.byteLength; slot++) {
    const owner = slots.getUint16(slot * 2, true);
    const colour = colours.get(owner & 0x7fff) || [128, 128, 128];
    image.data.set([...colour, owner & 0x8000 ? 110 : 255], slot * 4);
  }
  context.putImageData(image, 0, 0);
}

// ---- the operator's actions

const token = () => $("token").value.trim();

function showActions(row, pool, node) {
  const offers = !token() ? [] : node.operator === "enabled" ? ["drain", "disable"] : ["enable"];
  if (row.offers === offers.join()) return;
  row.offers = offers.join();
  row.actions.replaceChildren(...offers.map((action) => {
    const button = make("button", { type: "button", textContent: action, "aria-label": `${action} ${node.name}` });
    button.addEventListener("click", () => act(action, pool.name, node.name));
    return button;
  }));
}

async function act(action, pool, node) {
  const path = [pool, node, action].map(encodeURIComponent);
  const answer = await fetch(`/api/v1/pools/${path[0]}/nodes/${path[1]}/${path[2]}`, {
    method: "POST",
    headers: { authorization: `Bearer ${token()}` },
  }).catch(() => null);
  if (answer && answer.ok) return;
  const said = answer && await answer.json().catch(() => null);
  tell(Date.now() / 1000, `${action} ${node}: ${said ? said.error : "no answer"}`, "down");
}

// ---- counters

let filter = "drop";

/** Verdicts have a word of their own in front; other counters are of events. */
const KINDS = { drop: "drop", pass: "pass", forward: "sent", reply: "sent", answer: "sent" };

const counterRows = new Map();

function showCounters(counters, at) {
  for (const counter of counters) {
    const kind = KINDS[counter.name.split("-")[0]] || "event";
    const now = latest(rate(`counter/${counter.name}`, counter.packets, at));
    let row = counterRows.get(counter.name);
    if (!row) {
      row = { all: make("td", { class: "number" }), now: make("td", { class: "number" }) };
      row.line = make("tr", { "data-counter": counter.name },
        make("td", {}, make("code", { textContent: counter.name }),
          make("span", { class: "sub", textContent: counter.meaning })), row.all, row.now);
      $("counters").tBodies[0].append(row.line);
      counterRows.set(counter.name, row);
    }
    say(row.all, counter.packets.toLocaleString("en"));
    say(row.now, now === null ? "–" : count(now));
    // Of what went right, only what happens is of interest; every way to be dropped can be looked up.
    const quiet = counter.packets === 0 && filter !== "all" && filter !== "drop";
    row.line.hidden = quiet || (filter !== "all" && filter !== kind);
  }
}

// ---- events

const before = new Map();

function tell(at, text, look) {
  const time = make("time", { textContent: clock(at), dateTime: new Date(at * 1000).toISOString() });
  const line = make("li", {}, time, make("span", {}, text));
  if (look) line.lastChild.prepend(make("span", { class: `pill ${look}`, textContent: look === "up" ? "up" : look === "down" ? "down" : "note" }), " ");
  $("events").prepend(line);
  while ($("events").children.length > MAX_EVENTS) $("events").lastChild.remove();
}

/** Tells what differs from what was known, and at first what each node last went through. */
function changes(status) {
  const found = [];
  const note = (key, value, at, text, look, first) => {
    const old = before.get(key);
    before.set(key, value);
    if (old === undefined ? first : old !== value) found.push([at, text, look]);
  };
  for (const redirect of status.redirects) {
    const name = `${redirect.name} (${redirect.family})`;
    note(`${redirect.id}`, redirect.state, status.at, `${name} is ${redirect.state}`, looks[redirect.state], false);
    for (const pool of pools(redirect)) {
      for (const node of pool.nodes) {
        const key = `${redirect.id}/${pool.name}/${node.name}`;
        const reason = node.last_check ? ` (${node.last_check.outcome})` : "";
        note(key, node.health, node.since || status.at, `${node.name}, pool ${pool.name}${reason}`,
          node.health, node.health !== "unknown");
        note(`${key}/operator`, node.operator, status.at, `${node.name}, pool ${pool.name}, is ${node.operator}`,
          "warn", node.operator !== "enabled");
      }
    }
  }
  note("generation", status.generation, status.at, `configuration ${status.generation} is in force`, "", false);
  note("pid", status.pid, status.started, `agent ${status.version} started`, "", true);
  found.sort((one, other) => one[0] - other[0]);
  for (const [at, text, look] of found) tell(at, text, look);
}

// ---- all of it

function show(news) {
  const { at_ms: at, status, not_ready: reasons } = news;
  const now = at / 1000;
  const ready = $("ready");
  say(ready, reasons.length ? "not ready" : "ready");
  wear(ready, `pill ${reasons.length ? "down" : "up"}`);
  $("why").hidden = !reasons.length;
  say($("why"), reasons.join("\n"));
  const attached = status.interfaces.map((one) => `${one.interface} (${one.mode})`).join(", ");
  say($("agent"), `${status.version}, running for ${span(now - status.started)}, on ${attached || "no interface"}`);
  // A node's socket that two redirects reach counts once.
  const sockets = new Map();
  for (const redirect of status.redirects) {
    for (const pool of pools(redirect)) {
      for (const node of pool.nodes) if (node.id) sockets.set(node.id, node.traffic);
    }
  }
  const sum = (field) => [...sockets.values()].reduce((all, traffic) => all + traffic[field], 0);
  const fresh = rate("all/syns", sum("syns"), at);
  const packets = rate("all/packets", sum("forward_packets") + sum("reply_packets"), at);
  const out = rate("all/out", sum("forward_bytes"), at);
  const back = rate("all/in", sum("reply_bytes"), at);
  const dropped = status.counters.filter((counter) => counter.name.startsWith("drop-"));
  const drops = rate("all/drops", dropped.reduce((all, counter) => all + counter.packets, 0), at);
  tile("fresh", "New connections/s", count(latest(fresh)), fresh);
  tile("packets", "Packets/s", count(latest(packets)), packets);
  tile("out", "To the nodes", bits(latest(out)), out);
  tile("in", "To the clients", bits(latest(back)), back);
  tile("drops", "Dropped/s", count(latest(drops)), drops);
  tile("flows", "Recorded connections", count(status.flows.recorded), null, ` of ${count(status.flows.max)}`);
  const kept = new Set(status.redirects.map((one) => `${one.name} ${one.family}`));
  for (const [key, known] of cards) {
    if (!kept.has(key)) { known.section.remove(); cards.delete(key); }
  }
  for (const redirect of status.redirects) showRedirect(redirect, at, now);
  showCounters(status.counters, at);
  changes(status);
  for (const [key, known] of series) if (known.heard !== at) series.delete(key);
  document.body.dataset.heard = String(at);
  last = news;
}

let last = null;

function link(text, look) {
  say($("link"), text);
  wear($("link"), `pill ${look}`);
}

function listen() {
  const source = new EventSource("/api/v1/stream");
  source.addEventListener("snapshot", (event) => {
    link("live", "quiet-pill");
    show(JSON.parse(event.data));
  });
  source.addEventListener("stuck", () => link("the agent does not answer", "down"));
  source.addEventListener("error", () => {
    link("connection lost, trying again", "down");
    // A refusal ends the source for good.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  });
}

function theme(name) {
  document.documentElement.dataset.theme = name;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
theme(dark.matches ? "dark" : "light");
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
$("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
for (const button of document.querySelectorAll("[data-filter]")) {
  button.addEventListener("click", () => {
    filter = button.dataset.filter;
    for (const other of document.querySelectorAll("[data-filter]")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    if (last) showCounters(last.status.counters, last.at_ms);
  });
}
$("token").addEventListener("input", () => last && show(last));
listen();
