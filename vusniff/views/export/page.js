"use strict";
(() => {
  const capture = JSON.parse(document.getElementById("capture").textContent);
  const byId = (id) => document.getElementById(id);
  const make = (name, text, kind) => {
    const node = document.createElement(name);
    if (text !== undefined && text !== null) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };
  const SIDES = { frontend: "front-end", backend: "back-end", either: "either side" };
  const messages = capture.messages;
  const positions = new Map(messages.map((message, position) => [message.number, position]));
  const findings = new Map();
  for (const finding of capture.findings) {
    if (!findings.has(finding.number)) findings.set(finding.number, []);
    findings.get(finding.number).push(finding);
  }
  const roles = new Map(capture.sessions.map((session) => [session.number, session.roles]));
  const who = (message) => {
    const names = roles.get(message.session);
    if (message.sender === null) return null;
    return names ? names[message.sender === "frontend" ? 0 : 1] : SIDES[message.sender];
  };
  const rows = [];
  let chosen = -1;

  const searchable = messages.map((message) => [message.number, message.title, message.said, message.channel,
    (message.fds || []).join(" "), (message.stack || []).join(" "), message.malformed,
    (findings.get(message.number) || []).map((one) => one.rule + " " + one.sentence).join(" "),
  ].join(" ").toLowerCase());

  // The state after a message: all changes of its session up to it.
  const stateAt = (position) => {
    const state = {};
    let changed = {};
    const session = messages[position].session;
    for (let at = 0; at <= position; at++) {
      const message = messages[at];
      if (message.session !== session) continue;
      changed = message.change || {};
      for (const [name, value] of Object.entries(changed)) {
        state[name] = name === "vrings" ? Object.assign({}, state.vrings, value) : value;
      }
    }
    return [state, changed];
  };

  const hex = (value) => typeof value === "number" && value > 65535 ? "0x" + BigInt(value).toString(16) : String(value);
  const address = (value) => "0x" + BigInt(value).toString(16);
  const size = (value) => {
    if (typeof value !== "number") return String(value);
    const units = ["", "K", "M", "G", "T", "P", "E"];
    let unit = 0;
    while (value && value % 1024 === 0 && unit < 6) { value /= 1024; unit++; }
    return value + units[unit];
  };
  const fd = (value) => value === null ? "none"
    : (value.identity || value.kind) + (value.name && value.kind !== "eventfd" && value.kind !== "socket"
      ? " \"" + value.name + "\"" : "") + (value.size && value.kind !== "eventfd" ? " " + size(value.size) : "");

  const fields = (values) => {
    const list = make("dl");
    for (const [name, value] of Object.entries(values)) {
      if (value === null || name.endsWith("_names") || name.endsWith("_name")) continue;
      list.append(make("dt", name));
      const cell = make("dd", null, "value");
      const named = values[name + "_names"] || values[name + "_name"];
      if (Array.isArray(value)) {
        const shown = value.slice(0, 256);
        for (const [place, one] of shown.entries()) {
          const line = make("div");
          if (one !== null && typeof one === "object") line.append(make("span", "[" + place + "]", "small"), fields(one));
          else line.textContent = "[" + place + "] " + hex(one);
          cell.append(line);
        }
        if (value.length > shown.length) cell.append(make("div", (value.length - shown.length) + " more", "small"));
      } else if (value !== null && typeof value === "object") {
        cell.append(fields(value));
      } else {
        const text = hex(value);
        cell.append(make("span", text.length > 400 ? text.slice(0, 400) + "..." : text));
        if (named && named.length) cell.append(make("span", " " + (Array.isArray(named) ? named.join(" ") : named), "small"));
      }
      list.append(cell);
    }
    return list;
  };

  const link = (number, words) => {
    if (!positions.has(number)) return make("span", words);
    const anchor = make("a", words);
    anchor.href = "#m" + number;
    return anchor;
  };

  const dump = (bytes, total) => {
    const lines = [];
    for (let at = 0; at < bytes.length; at += 32) {
      const part = bytes.slice(at, at + 32).match(/../g);
      const text = part.map((byte) => {
        const code = parseInt(byte, 16);
        return code > 31 && code < 127 ? String.fromCharCode(code) : ".";
      }).join("");
      lines.push((at / 2).toString(16).padStart(4, "0") + "  " + part.join(" ").padEnd(47) + "  " + text);
    }
    if (bytes.length / 2 < total) lines.push((total - bytes.length / 2) + " more bytes");
    return make("pre", lines.join("\n"));
  };

  const showDetails = (message) => {
    const box = byId("details");
    box.replaceChildren(make("h2", "Message " + message.number));
    const list = make("dl");
    const row = (name, node) => {
      const cell = make("dd");
      cell.append(node);
      list.append(make("dt", name), cell);
    };
    row("message", make("strong", message.title));
    if (capture.about[message.name]) row("what for", make("span", capture.about[message.name]));
    row("from", make("span", (who(message) || "unknown") + (message.process ? ", " + message.process : "")
      + (message.channel ? ", " + message.channel + " channel" : "")));
    if (message.answers) row("answers", link(message.answers, "#" + message.answers + " after " + message.latency));
    if (message.answered_by) row("answered by", link(message.answered_by, "#" + message.answered_by + " after " + message.latency));
    for (const [place, words] of (message.fds || []).entries()) row("descriptor " + place, make("code", words));
    for (const [place, words] of (message.stack || []).entries()) row(place ? "" : "called by", make("code", words));
    if (message.malformed) row("malformed", make("span", message.malformed, "error"));
    box.append(list);
    for (const finding of findings.get(message.number) || []) {
      const card = make("div", null, "finding " + finding.severity);
      card.append(make("strong", finding.severity + ", " + SIDES[finding.side]), make("div", finding.sentence),
        make("div", finding.rule + " (" + finding.section + ")", "small"));
      for (const number of finding.evidence) if (number !== finding.number) card.append(link(number, "#" + number), " ");
      box.append(card);
    }
    if (message.payload) box.append(make("h3", "Fields"), fields(message.payload));
    box.append(make("h3", "Bytes"), dump(message.bytes, message.size));
  };

  const table = (columns, lines) => {
    const box = make("div", null, "scroll");
    const made = make("table");
    const head = make("tr");
    for (const column of columns) head.append(make("th", column));
    made.append(head);
    for (const [cells, changed] of lines) {
      const line = make("tr", null, changed ? "changed" : "");
      for (const cell of cells) line.append(make("td", cell, "value"));
      made.append(line);
    }
    box.append(made);
    return box;
  };

  const SVG = "http://www.w3.org/2000/svg";
  const draw = (name, values) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(values)) node.setAttribute(key, String(value));
    return node;
  };
  const WIDE = 320, HIGH = 44;

  // What is in flight over time, as steps; red where it was not served; a line where the chosen message was sent.
  const plot = (ring, now) => {
    const points = ring.points, first = points[0][1], last = points[points.length - 1][1];
    const most = Math.max(1, ...points.map((one) => one[2]));
    const x = (time) => last > first ? (Math.min(Math.max(time, first), last) - first) / (last - first) * WIDE : 0;
    const y = (count) => HIGH - 1 - count / most * (HIGH - 2);
    const words = "vring " + ring.ring + ": in flight from " + first.toFixed(3) + " s to " + last.toFixed(3) + " s, at most " + most;
    const made = draw("svg", { viewBox: "0 0 " + WIDE + " " + HIGH, class: "plot", role: "img", "aria-label": words });
    points.forEach((one, place) => {
      const until = place + 1 < points.length ? points[place + 1][1] : last;
      if (one[5]) made.append(draw("rect", { x: x(one[1]), y: 0, width: Math.max(1, x(until) - x(one[1])), height: HIGH, class: "stall" }));
    });
    const line = points.map((one, place) => (place ? "H" + x(one[1]) + "V" : "M0 ") + y(one[2])).join("") + "H" + WIDE;
    made.append(draw("path", { d: line, class: "flight" }));
    if (now >= first && now <= last) made.append(draw("path", { d: "M" + x(now) + " 0V" + HIGH, class: "now" }));
    return made;
  };

  const showSamples = (box, message, vrings) => {
    const session = capture.sessions.find((one) => one.number === message.session);
    const rings = session ? session.rings : [];
    if (!rings.length) return;
    box.append(make("h3", "Rings, as sampled before the next message"));
    for (const ring of rings) {
      const stands = ring.points.filter((one) => one[0] <= message.number + 1).pop();
      const told = vrings[ring.ring];
      const runs = stands && told && told.life && told.life.value !== "stopped";
      const words = !runs ? "not sampled yet, or stopped" : stands[4] + ", " + stands[2] + " of " + ring.size + " in flight"
        + (stands[3] ? ", " + stands[3] + "/s" : "");
      box.append(make("div", "vring " + ring.ring + ": " + words, runs && stands[5] ? "error" : ""), plot(ring, Number(message.time)));
    }
  };

  const showState = (position) => {
    const [state, changed] = stateAt(position);
    const box = byId("state");
    box.replaceChildren(make("h3", "State after message " + messages[position].number + " (what it changed is marked)"));
    const unknown = state.followed_from_start ? "-" : "?";
    const value = (seen) => seen ? String(seen.value) : unknown;
    const yes = (seen) => seen ? (seen.value ? "yes" : "no") : unknown;
    const held = (seen) => seen ? fd(seen.value) : unknown;
    const place = (one) => one.region === null ? hex(one.address) : "r" + one.region + "+" + address(one.offset);
    for (const one of state.tables || []) {
      box.append(make("h3", one.title));
      if (one.rows.length) box.append(table(one.columns, one.rows.map((cells) => [cells, false])));
      else box.append(make("p", "nothing seen", "small"));
    }
    if (state.tables) return;
    const rings = Object.values(state.vrings || {});
    box.append(make("h3", "Vrings"));
    if (rings.length) {
      box.append(table(["vring", "state", "enabled", "size", "base", "descriptor", "available", "used", "kick", "call", "err"],
        rings.map((ring) => [[String(ring.index), value(ring.life), yes(ring.enabled), value(ring.num), value(ring.base),
          ...(ring.addresses ? ["descriptor", "available", "used"].map((name) => place(ring.addresses[name]))
            : [unknown, unknown, unknown]), held(ring.kick), held(ring.call), held(ring.err)],
        Boolean(changed.vrings && changed.vrings[ring.index] && position > 0)])));
    } else box.append(make("p", state.followed_from_start ? "none set up" : "unknown", "small"));
    showSamples(box, messages[position], state.vrings || {});
    box.append(make("h3", state.regions && !state.regions_complete ? "Memory, as far as it is known" : "Memory"));
    if (state.regions && state.regions.length) {
      box.append(table(["region", "guest address", "size", "user address", "offset", "descriptor"],
        state.regions.map((region, number) => [["r" + number, address(region.guest_address), size(region.size),
          address(region.user_address), address(region.mmap_offset),
          region.fd ? fd(region.fd) : "none"], Boolean(changed.regions)])));
    } else box.append(make("p", state.regions ? "no regions" : "unknown", "small"));
    for (const [name, title] of [["features", "Features acknowledged"], ["features_offered", "Features offered"],
      ["protocol_features", "Protocol features acknowledged"], ["protocol_features_offered", "Protocol features offered"]]) {
      if (!state[name]) continue;
      box.append(make("h3", title), make("div", state[name].names.join(" ") || "none",
        "value" + (changed[name] ? " changed" : "")));
    }
    const rest = make("dl");
    const done = ["vrings", "regions", "features", "features_offered", "protocol_features", "protocol_features_offered",
      "regions_complete", "followed_from_start", "refused"];
    for (const [name, one] of Object.entries(state)) {
      if (one === null || done.includes(name)) continue;
      let words;
      if (Object.hasOwn(one, "value")) words = one.value !== null && typeof one.value === "object" ? fd(one.value) : String(one.value);
      else words = Object.entries(one).filter(([key]) => key !== "by" && key !== "known")
        .map(([key, inner]) => key + " " + (inner !== null && typeof inner === "object" ? fd(inner) : String(inner))).join(", ");
      rest.append(make("dt", name.replaceAll("_", " ")),
        make("dd", words + " (#" + one.by + ")", "value" + (changed[name] ? " changed" : "")));
    }
    for (const one of state.refused || []) rest.append(make("dt", "refused"), make("dd", one.name + " #" + one.request, "value error"));
    if (rest.childElementCount) box.append(make("h3", "Also"), rest);
  };

  const choose = (position, scroll) => {
    if (position < 0 || position >= messages.length) return;
    if (chosen >= 0) {
      rows[chosen].classList.remove("chosen");
      rows[chosen].removeAttribute("aria-selected");
    }
    chosen = position;
    rows[position].classList.add("chosen");
    rows[position].setAttribute("aria-selected", "true");
    showDetails(messages[position]);
    showState(position);
    if (scroll) rows[position].scrollIntoView({ block: "nearest" });
    const fragment = "#m" + messages[position].number;
    if (location.hash !== fragment) history.replaceState(null, "", fragment);
  };
  const visible = (position) => !rows[position].hidden;
  const step = (by, wanted) => {
    for (let at = chosen + by; at >= 0 && at < messages.length; at += by) {
      if (visible(at) && (!wanted || wanted(messages[at]))) return choose(at, true);
    }
    return undefined;
  };
  const goTo = (number) => {
    if (!positions.has(number)) return;
    if (!visible(positions.get(number))) {
      byId("search").value = "";
      byId("problems").checked = false;
      select();
    }
    choose(positions.get(number), true);
  };

  const select = () => {
    const wanted = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const problems = byId("problems").checked;
    let count = 0;
    rows.forEach((row, position) => {
      const passes = wanted.every((word) => searchable[position].includes(word))
        && (!problems || findings.has(messages[position].number));
      row.hidden = !passes;
      count += passes ? 1 : 0;
    });
    for (const line of document.querySelectorAll("tr.phase")) line.hidden = wanted.length > 0 || problems;
    byId("count").textContent = count + " of " + messages.length + " messages";
  };

  const begins = new Map();
  const list = (box, empty) => { if (!box.childElementCount) box.append(make("p", empty, "small")); };
  const button = (box, number, words, kind) => {
    const made = make("button", words, kind);
    made.type = "button";
    made.addEventListener("click", () => goTo(number));
    box.append(made);
  };
  byId("verdict").textContent = capture.verdict;
  byId("verdict").className = capture.verdicts.length && capture.verdicts[0].trouble ? "trouble" : "";
  for (const [name, value] of Object.entries(capture.why)) byId("why").append(make("dt", name), make("dd", value));
  byId("title").textContent = capture.title;
  byId("meta").textContent = [capture.captured, capture.made, ...capture.notes].filter(Boolean).join("; ");
  if (capture.shown < capture.total) {
    byId("bounded").hidden = false;
    byId("bounded").textContent = "This page holds the first " + capture.shown + " of " + capture.total
      + " messages; --limit makes it hold more.";
  }
  for (const session of capture.sessions) {
    const first = messages.find((message) => message.session === session.number);
    const words = session.number + ": " + session.path + ", " + session.frontend + " and " + session.backend
      + (session.device ? ", " + session.device : "") + (session.late ? ", joined late" : "")
      + (session.closed ? ", ended: " + session.closed : "");
    button(byId("sessions"), first ? first.number : 0, words);
    for (const phase of session.phases) {
      if (phase.first === null || !positions.has(phase.first)) continue;
      begins.set(phase.first, (capture.sessions.length > 1 ? "session " + session.number + ": " : "") + phase.kind);
      button(byId("phases"), phase.first, "#" + phase.first + " " + begins.get(phase.first));
    }
  }
  for (const one of capture.ranked) button(byId("findings"), one.number, one.words, one.severity);
  list(byId("sessions"), "none");
  list(byId("findings"), "none");
  list(byId("phases"), "none");
  const body = byId("rows");
  messages.forEach((message, position) => {
    if (begins.has(message.number)) {
      const line = make("tr", null, "phase");
      const cell = make("td", begins.get(message.number));
      cell.colSpan = 6;
      line.append(cell);
      body.append(line);
    }
    const row = make("tr", null, message.answers || / (reply|ack)$/.test(message.title) ? "reply" : "");
    row.id = "row" + message.number;
    const found = findings.get(message.number) || [];
    const said = make("td");
    said.append(make("div", message.said + (message.fds ? " [" + message.fds.join(", ") + "]" : ""), "said"));
    for (const finding of found) said.append(make("div", finding.severity + ": " + finding.rule, finding.severity));
    row.append(make("td", message.number), make("td", message.time), make("td", message.session),
      make("td", who(message) || "?"),
      make("td", (message.channel ? message.channel + ": " : "") + message.title), said);
    row.addEventListener("click", () => choose(position, false));
    rows.push(row);
    body.append(row);
  });

  byId("search").addEventListener("input", select);
  byId("problems").addEventListener("change", select);
  addEventListener("hashchange", () => goTo(Number(location.hash.slice(2))));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      byId("search").blur();
      byId("timeline").focus();
      return;
    }
    if (event.target === byId("search")) {
      if (event.key === "Enter") {
        byId("search").blur();
        step(1);
      }
      return;
    }
    const keys = {
      j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
      n: () => step(1, (message) => findings.has(message.number)),
      N: () => step(-1, (message) => findings.has(message.number)),
      p: () => step(1, (message) => begins.has(message.number)),
      g: () => goTo(messages[0].number), G: () => goTo(messages[messages.length - 1].number),
      "/": () => byId("search").focus(),
    };
    if (messages.length && Object.hasOwn(keys, event.key)) {
      event.preventDefault();
      keys[event.key]();
    }
  });
  select();
  if (messages.length) {
    const wanted = [Number(location.hash.slice(2)), ...capture.verdicts.slice(0, 1).map((one) => one.trouble ? one.message : 0)]
      .find((number) => positions.has(number));
    choose(wanted === undefined ? 0 : positions.get(wanted), true);
  }
})();
