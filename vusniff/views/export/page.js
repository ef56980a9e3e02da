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
  const stacked = matchMedia("(max-width: 799px)"); // the details are below all messages, as page.css has it
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
    const back = make("a", "back to the list", "back");
    back.href = "#row" + message.number;
    box.append(back);
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

  // As `ring_state` has it: what was never armed is not set up, and not stopped.
  const ringState = (ring) => !ring.life ? null
    : ring.life.value === "stopped" && (!ring.life.by || !ring.kick) ? "not set up" : ring.life.value;

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
  const plot = (ring, now, within) => {
    const points = ring.points;
    const [first, last] = within || [points[0][1], points[points.length - 1][1]];
    const most = Math.max(1, ...points.map((one) => one[2]));
    const x = (time) => last > first ? (Math.min(Math.max(time, first), last) - first) / (last - first) * WIDE : 0;
    const y = (count) => HIGH - 1 - count / most * (HIGH - 2);
    const words = "vring " + ring.ring + ": in flight from " + first.toFixed(3) + " s to " + last.toFixed(3) + " s, at most " + most;
    const made = draw("svg", { viewBox: "0 0 " + WIDE + " " + HIGH, class: "plot", preserveAspectRatio: "none", role: "img", "aria-label": words });
    points.forEach((one, place) => {
      const until = place + 1 < points.length ? points[place + 1][1] : last;
      if (one[5]) made.append(draw("rect", { x: x(one[1]), y: 0, width: Math.max(1, x(until) - x(one[1])), height: HIGH, class: "stall" }));
    });
    const line = points.map((one, place) => (place ? "H" + x(one[1]) + "V" : "M" + x(one[1]) + " ") + y(one[2])).join("") + "H" + WIDE;
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

  // Rings over time: a line for each, spans in per cent of it; a click on a span leads to the message that began it.
  let byTime = true;
  const RINGS = 64;
  const LOOKS = { "not set up": "none", armed: "armed", started: "started", stopped: "stopped" };
  const look = (state, enabled) => state === null ? "unknown"
    : (state === "armed" || state === "started") && enabled === false ? "off" : LOOKS[state] || "unknown";
  const marks = [];
  const scaleOf = (session) => {
    const own = messages.filter((message) => message.session === session.number).map((message) => message.number);
    const [first, last] = session.span;
    const share = (number, seconds) => {
      if (byTime) return last > first ? (seconds - first) / (last - first) : 0;
      let at = own.findIndex((one) => one >= number);
      if (at < 0) at = own.length;
      return own.length ? at / own.length : 0;
    };
    return [own, (number, seconds) => Math.max(0, Math.min(1, share(number, seconds))) * 100];
  };
  const span = (track, number, from, to, kind, title, text) => {
    const made = make("a", text || "", kind);
    made.href = "#m" + number;
    made.title = title;
    made.style.left = from + "%";
    made.style.width = Math.max(0, to - from) + "%";
    track.append(made);
  };
  const trackOf = (chart, name, kind) => {
    const made = make("div", null, "track" + (kind ? " " + kind : ""));
    chart.append(make("div", name, "of"), made);
    return made;
  };
  const mark = (session, track) => {
    const line = make("i", null, "here");
    line.hidden = true;
    track.append(line);
    marks.push([session, line]);
  };
  const drawSession = (session) => {
    const [own, at] = scaleOf(session);
    if (!own.length) return null;
    const chart = make("div", null, "chart");
    const axis = trackOf(chart, "", "axis");
    for (let step = 0; step < 5; step++) {
      const tick = make("span", byTime ? (session.span[0] + (session.span[1] - session.span[0]) * step / 5).toFixed(3) + " s"
        : "#" + own[Math.floor(own.length * step / 5)]);
      tick.style.left = step * 20 + "%";
      axis.append(tick);
    }
    const ribbon = trackOf(chart, "phases", "ribbon");
    for (const phase of session.phases) {
      if (phase.first === null && !byTime) continue;
      const to = phase.open ? 100 : at(phase.last === null ? 0 : phase.last + 1, phase.to);
      span(ribbon, phase.first || own[0], at(phase.first || 0, phase.from), to, phase.kind.replace("feature ", ""),
        phase.kind + ", " + (phase.to - phase.from).toFixed(3) + " s", phase.kind);
    }
    mark(session, ribbon);
    const sampled = new Map(session.rings.map((ring) => [ring.ring, ring]));
    const names = [...new Set([...Object.keys(session.lives).map(Number), ...sampled.keys()])].sort((one, other) => one - other);
    for (const ring of names.slice(0, RINGS)) {
      const track = trackOf(chart, "vring " + ring);
      const lives = session.lives[ring] || [];
      lives.forEach(([number, seconds, state, enabled], place) => {
        const next = lives[place + 1];
        const on = enabled === null ? "" : enabled ? ", enabled" : ", disabled";
        span(track, number, at(number, seconds), next ? at(next[0], next[1]) : 100, look(state, enabled),
          "vring " + ring + ": " + (state || "unknown") + on + " since #" + number + " (" + seconds.toFixed(3) + " s)");
      });
      mark(session, track);
      if (sampled.has(ring) && byTime) {
        const flight = trackOf(chart, "in flight", "flight");
        flight.append(plot(sampled.get(ring), -1, session.span));
        mark(session, flight);
      }
    }
    const box = make("div");
    box.append(make("div", "session " + session.number + ": " + session.path + ", " + (session.device || "unknown device"), "small"), chart);
    if (names.length > RINGS) box.append(make("p", (names.length - RINGS) + " more rings are not drawn", "small"));
    return box;
  };
  const drawGantt = () => {
    marks.length = 0;
    byId("gantt").replaceChildren(...capture.sessions.map(drawSession).filter(Boolean));
    byId("legend").hidden = !capture.sessions.some((one) => one.rings.length || Object.keys(one.lives).length);
    byId("by-time").setAttribute("aria-pressed", String(byTime));
    byId("by-message").setAttribute("aria-pressed", String(!byTime));
    if (chosen >= 0) moveMarks(messages[chosen]);
  };
  const moveMarks = (message) => {
    const scales = new Map();
    for (const [session, line] of marks) {
      line.hidden = session.number !== message.session;
      if (line.hidden) continue;
      if (!scales.has(session)) scales.set(session, scaleOf(session)[1](message.number, Number(message.time)));
      line.style.left = scales.get(session) + "%";
    }
  };

  // The memory of the chosen message: regions by guest address, each as wide as it is large, with marks where rings lie.
  const memoryMap = (regions, rings) => {
    const box = make("div", null, "map");
    const ordered = regions.map((region, number) => ({ region, number, start: BigInt(region.guest_address) }))
      .sort((one, other) => one.start < other.start ? -1 : 1);
    const total = regions.reduce((sum, region) => sum + Number(region.size), 0) || 1;
    let end = null;
    for (const { region, number, start } of ordered) {
      if (end !== null && start > end) box.append(make("div", "\u22ef", "gap"));
      const made = make("div", "r" + number, "region");
      made.style.flexGrow = String(Math.max(1, 1000 * Number(region.size) / total));
      made.title = "r" + number + ": guest " + address(region.guest_address) + ", " + size(region.size);
      for (const ring of rings) {
        for (const name of ["descriptor", "available", "used"]) {
          const place = ring.addresses && ring.addresses[name];
          if (!place || place.region !== number) continue;
          const tick = make("i", null, "mark");
          tick.style.left = 100 * Number(place.offset) / Number(region.size) + "%";
          tick.title = "vring " + ring.index + " " + name;
          made.append(tick);
        }
      }
      box.append(made);
      const stop = start + BigInt(region.size);
      if (end === null || stop > end) end = stop;
    }
    return box;
  };
  const chips = (rings, changed) => {
    const box = make("div", null, "chips");
    for (const ring of rings) {
      const enabled = ring.enabled ? ring.enabled.value : null;
      const state = ringState(ring);
      const chip = make("span", null, "chip" + (changed && changed[ring.index] ? " changed" : ""));
      chip.append(make("i", null, look(state, enabled)), "vring " + ring.index + " " + (state || "unknown")
        + (enabled === null ? "" : enabled ? ", enabled" : ", disabled"));
      box.append(chip);
    }
    return box;
  };

  const showState = (position) => {
    const [state, changed] = stateAt(position);
    const box = byId("state");
    box.replaceChildren(make("h3", "State after message " + messages[position].number + " (what it changed is marked)"));
    const unknown = state.followed_from_start ? "-" : "?";
    const value = (seen) => seen ? String(seen.value) : unknown;
    const on = (seen) => seen ? (seen.value ? "enabled" : "disabled") : unknown;
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
      box.append(chips(rings.slice(0, RINGS), position > 0 ? changed.vrings : null));
      box.append(table(["vring", "state", "enabled", "size", "base", "descriptor", "available", "used", "kick", "call", "err"],
        rings.map((ring) => [[String(ring.index), ringState(ring) || unknown, on(ring.enabled), value(ring.num), value(ring.base),
          ...(ring.addresses ? ["descriptor", "available", "used"].map((name) => place(ring.addresses[name]))
            : [unknown, unknown, unknown]), held(ring.kick), held(ring.call), held(ring.err)],
        Boolean(changed.vrings && changed.vrings[ring.index] && position > 0)])));
    } else box.append(make("p", state.followed_from_start ? "none set up" : "unknown", "small"));
    showSamples(box, messages[position], state.vrings || {});
    box.append(make("h3", state.regions && !state.regions_complete ? "Memory, as far as it is known" : "Memory"));
    if (state.regions && state.regions.length) {
      box.append(memoryMap(state.regions, rings));
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
    moveMarks(messages[position]);
    if (scroll === "inside") {
      const list = byId("timeline");
      list.scrollTop = Math.max(0, rows[position].offsetTop - list.offsetTop - list.clientHeight / 3);
    } else if (scroll) rows[position].scrollIntoView({ block: "nearest" });
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
  for (const one of capture.ranked) {
    button(byId("findings"), one.number, "", one.severity);
    const rank = one.severity + " #" + one.number;
    byId("findings").lastChild.append(make("span", rank, "rank"), one.words.slice(rank.length));
  }
  list(byId("sessions"), "none");
  list(byId("findings"), "none");
  list(byId("phases"), "none");
  const body = byId("rows");
  messages.forEach((message, position) => {
    if (begins.has(message.number)) {
      const line = make("tr", null, "phase");
      const cell = make("td", begins.get(message.number));
      cell.colSpan = 7;
      line.append(cell);
      body.append(line);
    }
    const row = make("tr", null, message.answers || / (reply|ack)$/.test(message.title) ? "reply" : "");
    row.id = "row" + message.number;
    const found = findings.get(message.number) || [];
    const said = make("td");
    said.append(make("div", message.said + (message.fds ? " [" + message.fds.join(", ") + "]" : ""), "said"));
    for (const finding of found) said.append(make("div", finding.severity + ": " + finding.rule, finding.severity));
    const arrow = message.sender === "frontend" ? "\u2192 " : message.sender === "backend" ? "\u2190 " : "";
    const from = make("td", arrow, message.sender || "");
    from.append(make("span", who(message) || "unknown", arrow ? "role" : ""));
    const took = make("td", message.answered_by ? message.latency : "");
    if (message.answered_by) took.className = message.failed ? "failed" : message.slow ? "slow" : "";
    row.append(make("td", message.number), make("td", message.time), make("td", message.session),
      from, make("td", (message.channel ? message.channel + ": " : "") + message.title), said, took);
    row.addEventListener("click", () => {
      choose(position, false);
      if (stacked.matches) byId("details").scrollIntoView();
    });
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
  for (const [name, time] of [["by-time", true], ["by-message", false]]) {
    byId(name).addEventListener("click", () => {
      byTime = time;
      drawGantt();
    });
  }
  document.body.classList.toggle("single", capture.sessions.length < 2);
  select();
  drawGantt();
  byId("drawings").hidden = !messages.length;
  if (messages.length) {
    const asked = positions.get(Number(location.hash.slice(2)));
    const pointed = capture.verdicts.slice(0, 1).map((one) => one.trouble ? positions.get(one.message) : undefined)[0];
    choose(asked !== undefined ? asked : pointed === undefined ? 0 : pointed, asked !== undefined ? true : "inside");
  }
})();
