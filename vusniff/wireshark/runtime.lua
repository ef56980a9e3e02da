-- SPDX-License-Identifier: GPL-2.0-or-later
-- vhost-user and its relatives for Wireshark 4.0 and later: the packets of vusniff's captures.
-- Generated from vusniff's message tables by "vusniff wireshark install"; do not edit, install it again.
--
-- This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
-- License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
-- version. It is distributed without any warranty; see the license.

local proto = Proto("vhost_user", "vhost-user")

-- Bytes of the header of the packet at hand.
local HEADER_SIZE = 12
local REPLY_FLAG, NEED_REPLY_FLAG = 4, 8
local INFO_LIMIT = 200

local F, BITS, VALUES, BITS_BY_DEVICE, LAYOUTS, CHANNELS = {}, {}, {}, {}, {}, {}
-- The protocols in the order of their rows in vusniff, vhost-user first, and where their headers hold what.
local FAMILIES
local DEDUCTION, CODES, SEVERITIES, RANKS, CALLS
local MAIN_SIZES, BACKEND_SIZES, WITH_DESCRIPTOR, AMBIGUOUS
local ACKNOWLEDGES, MAX_WAITING, MAX_CODES
local RAW, EMPTY = {}, {}
local registered = {}
-- Name of a field of a ring -> it, and its kind; rings that were sampled behind a message are told in its comments.
local RINGS = {}

local MAKERS = {
  u8 = ProtoField.uint8, u16 = ProtoField.uint16, u32 = ProtoField.uint32, u64 = ProtoField.uint64,
  i8 = ProtoField.int8, i16 = ProtoField.int16, i32 = ProtoField.int32, i64 = ProtoField.int64,
  bool = ProtoField.bool, bytes = ProtoField.bytes, ether = ProtoField.ether, guid = ProtoField.guid,
  text = ProtoField.string, frame = ProtoField.framenum, time = ProtoField.relative_time, node = ProtoField.none,
}

-- Registers a field; one that has values of several kinds is registered once for each.
local function register(key, abbreviation, kind, title, form)
  local made
  if form == "hex" then
    made = MAKERS[kind](abbreviation, title, base.HEX_DEC)
  else
    made = MAKERS[kind](abbreviation, title)
  end
  F[key] = made
  registered[#registered + 1] = made
  return made
end

local e_malformed = ProtoExpert.new("vhost.malformed.expert", "Malformed payload", expert.group.MALFORMED,
  expert.severity.ERROR)
local e_trailing = ProtoExpert.new("vhost.trailing.expert", "Bytes left over behind the payload",
  expert.group.PROTOCOL, expert.severity.WARN)
local e_unknown = ProtoExpert.new("vhost.unknown.expert", "Unknown request", expert.group.UNDECODED,
  expert.severity.WARN)
local e_failed = ProtoExpert.new("vhost.failed.expert", "The request failed", expert.group.RESPONSE_CODE,
  expert.severity.WARN)
local e_flags = ProtoExpert.new("vhost.flags.expert", "Flags that no such message has", expert.group.PROTOCOL,
  expert.severity.WARN)
local e_findings = {
  error = ProtoExpert.new("vhost.finding.error", "Finding", expert.group.PROTOCOL, expert.severity.ERROR),
  warning = ProtoExpert.new("vhost.finding.warning", "Finding", expert.group.PROTOCOL, expert.severity.WARN),
  note = ProtoExpert.new("vhost.finding.note", "Finding", expert.group.PROTOCOL, expert.severity.NOTE),
}
proto.experts = { e_malformed, e_trailing, e_unknown, e_failed, e_flags, e_findings.error, e_findings.warning,
                  e_findings.note }


-- Reading a payload. A reader works on what these say; every payload is read from its start to its end.

local data, at, stop, little, tree, place, said, meant
-- No bytes: where what the packet does not hold itself is added. Whether anybody looks at the tree.
local nowhere, visible

-- Adds what is deduced.
local function made(parent, f, range, value)
  local item = parent:add(f, range, value)
  if visible then item:set_generated() end
  return item
end

local function fail(path, size)
  error({ sentence = string.format("%d bytes are too few: field %s needs %.0f bytes at offset %d, %d are there",
    stop - HEADER_SIZE, path, size, at - HEADER_SIZE, stop - at) }, 0)
end

-- Bytes that are left of the payload.
local function rest()
  return stop - at
end

local function take(path, size)
  if size > stop - at then fail(path, size) end
  local range = data(at, size)
  at = at + size
  return range
end

local function text_of(value)
  if type(value) == "number" then
    if value > 65535 then return string.format("0x%x", value) end
    return string.format("%d", value)
  elseif type(value) == "boolean" then
    return value and "yes" or "no"
  elseif type(value) == "userdata" then
    if value:higher() == 0 then return text_of(value:lower()) end
    return "0x" .. value:tohex():gsub("^0+", "")
  end
  return tostring(value)
end

local function say(path, value)
  if said and not path:find("padding", 1, true) then
    said[#said + 1] = path:match("[^.]*$") .. " " .. text_of(value)
  end
end

-- As an integer of 64 bits.
local function wide(value)
  if type(value) == "userdata" then return value end
  return UInt64.new(value % 4294967296, math.floor(value / 4294967296))
end

local function bits_of(low, high)
  local bits = {}
  for offset, word in pairs({ [0] = low, [32] = high }) do
    local bit = offset
    while word > 0 do
      if word % 2 == 1 then bits[#bits + 1] = bit end
      word = math.floor(word / 2)
      bit = bit + 1
    end
  end
  table.sort(bits)
  return bits
end

local known_names = setmetatable({}, { __mode = "k" })

local function names_of(value, names)
  local low, high = value, 0
  if type(value) == "userdata" then low, high = value:lower(), value:higher() end
  if names[0] and type(names[0]) == "table" then names = names[place.context.device] or names[0] end
  if low == 0 and high == 0 then return {} end
  local known = known_names[names]
  if not known then
    known = {}
    known_names[names] = known
  end
  local key = high * 4294967296.0 + low
  if high < 2097152 and known[key] then return known[key] end
  local found = {}
  if high < 2097152 then known[key] = found end
  for _, bit in ipairs(bits_of(low, high)) do
    found[#found + 1] = names[bit] or string.format("BIT_%d", bit)
  end
  return found
end

local function short(name)
  for _, prefix in ipairs({ "VHOST_USER_PROTOCOL_F_", "VHOST_USER_GPU_PROTOCOL_F_", "VHOST_USER_F_", "VHOST_F_",
                            "VIRTIO_RING_F_", "VIRTIO_F_" }) do
    if name:sub(1, #prefix) == prefix then return name:sub(#prefix + 1) end
  end
  return name:match("^VIRTIO_.-_F_(.+)$") or name
end

local function name_bits(item, range, path, value, names, f_names)
  local found = names_of(value, names)
  local words = {}
  for position, name in ipairs(found) do
    made(item, f_names, range, name)
    if meant and meant[path] then made(item, meant[path][2], range, name) end
    words[position] = short(name)
  end
  say(path, value)
  if said and #words > 0 then said[#said] = said[#said] .. " " .. table.concat(words, " ") end
end

-- An integer; with the table of names of its bits or values, also those.
local function int(f, path, size, names, f_names)
  local range = take(path, size)
  local value
  if size == 8 then
    value = little and range:le_uint64() or range:uint64()
  else
    value = little and range:le_uint() or range:uint()
  end
  local item = little and tree:add_le(f, range) or tree:add(f, range)
  -- A field whose meaning is its request's has a second name.
  local second = meant and meant[path]
  if second then made(tree, second[1], range, wide(value)) end
  if not names then
    say(path, value)
  elseif names.values then
    local name = names[type(value) == "userdata" and value:tonumber() or value]
    say(path, name or value)
    if name then
      item:append_text(" (" .. name .. ")")
      made(item, f_names, range, name)
    end
  else
    name_bits(item, range, path, value, names, f_names)
  end
  return value
end

local function number(value)
  return type(value) == "userdata" and value:tonumber() or value
end

-- Returns where the bytes are, for a window.
local function bytes(f, path, size)
  size = number(size)
  local start = at
  local range = size > 0 and take(path, size)
  if range then
    tree:add(f, range)
    say(path, string.format("%d bytes", size))
  end
  return { start, size }
end

local function adapted(f, path, size)
  local range = take(path, size)
  tree:add(f, range)
  say(path, f == F[path .. "|ether"] and tostring(range:ether()) or tostring(range:bytes()))
end

local function text(f, path, size)
  local range = take(path, size)
  -- What fills its place has no zero byte, without which stringz() raises.
  local words = range:raw():find("\0", 1, true) and range:stringz(ENC_UTF_8) or range:string(ENC_UTF_8)
  tree:add(f, range, words)
  say(path, words)
end

-- Worked out from the fields before it.
local function shown(f, path, value)
  if type(value) == "number" then value = wide(value) end
  local item = made(tree, f, data(at, 0), value)
  if path ~= "success" then
    say(path, value)
  elseif said then
    if not value then item:add_proto_expert_info(e_failed) end
    said[#said] = value and "success" or "FAILED " .. said[#said]
  end
  return value
end

-- Fields in a subtree; they are shown when all of them are there.
local function struct(path, size, read)
  if size > stop - at then fail(path, size) end
  local before, said_before = tree, said
  tree = tree:add(proto, data(at, size), path:match("[^.]*$"))
  said = nil
  read()
  tree, said = before, said_before
end

local function array(path, count, size, structs, read)
  count = number(count)
  local title = path:match("[^.]*$")
  local before, said_before = tree, said
  if said and count > 0 then said[#said + 1] = string.format("%.0f %s", count, title) end
  said = nil
  local position = 0
  while position < count do
    if size > stop - at then
      tree, said = before, said_before
      fail(path, size)
    end
    if structs then tree = before:add(proto, data(at, size), string.format("%s[%d]", title, position)) end
    read()
    position = position + 1
  end
  tree, said = before, said_before
end

-- The fields of a structure that lie wholly in bytes which begin somewhere in it; little-endian on every host.
local function window(path, where, offset, fields)
  local start, size = where[1], where[2]
  local before, at_before, stop_before, order_before, said_before = tree, at, stop, little, said
  offset = number(offset)
  tree = tree:add(proto, data(start, size), path:match("[^.]*$"))
  little, stop, said = true, start + size, nil
  for _, one in ipairs(fields) do
    local first = one[1] - offset
    if first >= 0 and first + one[2] <= size then
      at = start + first
      one[3]()
    end
  end
  tree, at, stop, little, said = before, at_before, stop_before, order_before, said_before
end

-- Arithmetic of declarations, on numbers and on integers of 64 bits.

local function narrow(value)
  return value:higher() == 0 and value:lower() or value
end

local function band(a, b) return narrow(wide(a):band(wide(b))) end
local function shr(a, b) return narrow(wide(a):rshift(number(b))) end
local function eq(a, b) return wide(a) == wide(b) end
local function ne(a, b) return wide(a) ~= wide(b) end
local function add(a, b) return number(a) + number(b) end
local function sub(a, b) return number(a) - number(b) end
local function mul(a, b) return number(a) * number(b) end

-- @TABLES@

-- What every message has.

local function own(name, kind, title, form)
  return register(name, name, kind, title, form)
end

local f_request = {}
for channel, rows in pairs(CHANNELS) do
  local names = {}
  for code, row in pairs(rows) do names[code] = row.name end
  f_request[channel] = ProtoField.uint32("vhost.request", "Request", base.DEC, names)
  registered[#registered + 1] = f_request[channel]
end
-- What only the header of one family has. That of vhost-user is below.
for position, family in ipairs(FAMILIES) do
  if position > 1 then
    local names, start = {}, family.own .. "."
    for code, row in pairs(CHANNELS[family.main] or {}) do names[code] = row.name end
    family.command = ProtoField.uint32(start .. "command", "Command", base.DEC, names)
    registered[#registered + 1] = family.command
    family.own_flags = own(start .. "flags", "u32", "Flags", "hex")
    family.own_failed = own(start .. "failed", "bool", "Failed")
    for _, one in ipairs(family.more) do one.field = own(start .. one.name, one.kind, one.title) end
  end
end
local f_name = own("vhost.name", "text", "Name")
local f_transport = own("vhost.transport", "text", "Transport")
local f_errno = own("errno", "u32", "Error number")
local f_flags = own("vhost.flags", "u32", "Flags", "hex")
local f_version = own("vhost.version", "u32", "Version")
local f_reply = own("vhost.reply", "bool", "Reply")
local f_need_reply = own("vhost.need_reply", "bool", "Need reply")
local f_size = own("vhost.size", "u32", "Size")
local f_number = own("vhost.number", "u32", "Number")
local f_session = own("vhost.session", "u32", "Session")
local f_channel = own("vhost.channel", "text", "Channel")
local f_sender = own("vhost.sender", "text", "Sender")
local f_answers = own("vhost.answers", "frame", "Answers")
local f_answered_by = own("vhost.answered_by", "frame", "Answered by")
local f_latency = own("vhost.latency", "time", "Latency")
local f_layout = own("vhost.layout", "text", "Layout")
local f_data = own("vhost.data", "bytes", "Payload")
local f_trailing = own("vhost.trailing", "bytes", "Bytes left over")
local f_malformed = own("vhost.malformed", "text", "Malformed")
local f_connection = own("sock.connection", "u32", "Connection")
local f_path = own("sock.path", "text", "Socket")
local f_pid = own("proc.pid", "u32", "Process")
local f_comm = own("proc.comm", "text", "Program")
local f_count = own("fd.count", "u32", "Descriptors")
local f_fd = {
  kind = own("fd.kind", "text", "Kind"), identity = own("fd.identity", "text", "Identity"),
  name = own("fd.name", "text", "Name"), size = own("fd.size", "u64", "Size"),
  number = own("fd.number", "i32", "Number"),
}
local f_severity = ProtoField.uint32("finding.severity", "Severity", base.DEC, SEVERITIES)
registered[#registered + 1] = f_severity
local f_rule = own("finding.rule", "text", "Rule")
local f_side = own("finding.side", "text", "Side")
local f_sentence = own("finding.sentence", "text", "Finding")
proto.fields = registered

proto.prefs.device = Pref.string("Device type", "", "Type of all devices (net, blk, fs, ...) instead of the deduced one")

local function extractor(name)
  local there, made = pcall(Field.new, name)
  return there and made or function() return nil end
end

local x_number = extractor("frame.number")
local x_section = extractor("frame.section_number")
local x_interface = extractor("frame.interface_id")
local x_path = extractor("frame.interface_name")
local x_description = extractor("frame.interface_description")
local x_comment = extractor("frame.comment")
local x_words = { extractor("exported_pdu.col_info_str"), extractor("exported_pdu.unknown_tag.val") }

-- Who is who, as vusniff.analysis.session has it: from headers, in the order of the packets, once for each packet.

local links, numbered, last, sessions, placed, answers, waits, passed, joined

function proto.init()
  links, numbered, last, sessions, placed, answers, waits, passed, joined = {}, {}, 0, 0, {}, {}, {}, {}, {}
end

-- The text that the capture's writer gave the message.
local function words_of()
  for _, extract in ipairs(x_words) do
    local found = extract()
    if found then return found.range:stringz() end
  end
  return ""
end

-- How many descriptors came with a message, by the same text.
local function count_of(words)
  return tonumber(words:match(", (%d+) fds?$") or 0)
end

local function deduce(session)
  if proto.prefs.device ~= "" then return proto.prefs.device end
  if session.calls then return session.device end
  local votes = {}
  local function vote(device, weight) votes[device] = (votes[device] or 0) + weight end
  for request, device in pairs(DEDUCTION.requests) do
    if session.requests[request] then vote(device, DEDUCTION.certain) end
  end
  for _, program in ipairs(session.programs) do
    for _, row in ipairs(DEDUCTION.programs) do
      if program:find(row[1], 1, true) then
        vote(row[2], DEDUCTION.likely)
        break
      end
    end
  end
  local own_bits = {}
  for _, bit in ipairs(session.offered or {}) do
    if DEDUCTION.own[bit] then own_bits[#own_bits + 1] = bit end
  end
  if #own_bits > 0 then
    local fitting, count = {}, 0
    for device, known in pairs(DEDUCTION.known) do
      local fits = true
      for _, bit in ipairs(own_bits) do fits = fits and known[bit] end
      if fits then
        fitting[device] = true
        count = count + 1
      end
    end
    for device, telling in pairs(DEDUCTION.telling) do
      local found = 0
      for _, bit in ipairs(own_bits) do if telling[bit] then found = found + 1 end end
      if fitting[device] and found > 1 then vote(device, 1 + found) end
    end
    if count == 1 then vote(next(fitting), DEDUCTION.likely) end
  end
  local sized = DEDUCTION.sizes[session.config_size or -1]
  if sized then vote(sized, DEDUCTION.likely) end
  local best, weight, second = nil, 0, 0
  for device, votes_of in pairs(votes) do
    if votes_of > weight then
      best, weight, second = device, votes_of, weight
    elseif votes_of > second then
      second = votes_of
    end
  end
  return weight > second and best or nil
end

-- Contexts and places never change: packets that share one keep it.
local function renew(link)
  local session = link.session
  link.place = { link = link, session = session.number, channel = link.channel, requester = link.requester,
                 context = session.context }
end

local function reshape(session)
  session.context = { xen_mmap = session.xen_mmap, log_shmfd = session.log_shmfd, packed = session.packed,
                      postcopy = session.postcopy, device = deduce(session) }
  for _, link in ipairs(session.links) do renew(link) end
end

local function join(link, session, channel)
  link.session, link.channel = session, channel
  session.links[#session.links + 1] = link
  renew(link)
end

local function begin(link, channel, family)
  sessions = sessions + 1
  local session = { number = sessions, links = {}, requests = {}, programs = {}, xen_mmap = false, log_shmfd = false,
                    postcopy = false, calls = family.own == "call", device = CALLS.nodes[link.path:match("^[^ ]*")] }
  for _, process in pairs(link.processes) do session.programs[#session.programs + 1] = process.comm end
  reshape(session)
  join(link, session, channel)
end

-- The device of VDUSE that a node is of, of its back-end or of its driver.
local function vduse_device(path)
  if path == CALLS.control then return nil end
  return path:match("^/dev/vduse/(.+)$") or path:match("^/dev/vhost%-vdpa%-%d+ %((.+), vduse%)$")
end

-- Begins the session of a connection, or joins it to that of the same device, which is open by its other node.
local function begin_or_join(link, channel, family)
  link.family = family.name
  local device = family.own == "call" and vduse_device(link.path)
  local known = device and joined[device]
  if known and known.family ~= family.name then
    join(link, known, channel)
    return
  end
  begin(link, channel, family)
  link.session.family = family.name
  if not device then return end
  joined[device] = link.session
  for _, other in ipairs(known and known.links or {}) do  -- the device goes on with another opener
    if other.session == known and other.family ~= family.name then join(other, link.session, other.channel) end
  end
end

-- The channel of a connection of vhost-user without a path: as its writer called the message, or by its shape.
local function likely_channel(request, flags, size)
  local words = words_of()
  if words:find("^BACKEND_") then return "backend" end
  if words:find("^GPU_") and not words:find("^GPU_SET_SOCKET") then return "gpu" end
  if flags == 0 or flags == REPLY_FLAG then return "gpu" end
  if flags % 8 >= 4 or not BACKEND_SIZES[request] then return "main" end
  local main, backend = (MAIN_SIZES[request] or {})[size], BACKEND_SIZES[request][size]
  if not backend then return "main" end
  if main then return (count_of(words) > 0) == WITH_DESCRIPTOR[request] and "main" or "backend" end
  return (AMBIGUOUS[request] or {})[size] and "unknown" or "backend"
end

local function introduce(link, from, header, size)
  local request, family = header.request, header.family
  local main = family.main
  local channel = main
  if link.path:find("^pair:") or link.path:find("^fd ") or link.path:find("^socket:%[") then
    if family == FAMILIES[1] then
      channel = likely_channel(request, header.flags, size)
    elseif family.other_way[request] then
      channel = family.other_channel
    end
  end
  if channel ~= main then
    -- Of the sessions that passed such a channel and have none yet: that of the same processes, else the last.
    local chosen
    for position, one in ipairs(passed) do
      if one.channel == channel and (one.description == link.description or not chosen
          or passed[chosen].description ~= link.description) then
        chosen = position
      end
    end
    if chosen then
      join(link, table.remove(passed, chosen).session, channel)
    end
  end
  if not link.session then begin_or_join(link, channel, family) end
  link.channel = channel
  if not link.requester then
    link.requester = header.reply and 1 - from or from
    if channel == main and family.other_way[request] then link.requester = 1 - link.requester end
  end
  renew(link)
end

local function u64_bits(payload_size)
  if payload_size ~= 8 then return nil end
  local range = data(HEADER_SIZE, 8)
  local value = little and range:le_uint64() or range:uint64()
  return bits_of(value:lower(), value:higher())
end

local function has(bits, bit)
  for _, one in ipairs(bits) do if one == bit then return true end end
  return false
end

local SHAPING

local function shaping()
  SHAPING = { requests = {}, replies = {} }
  SHAPING.requests[CODES.SET_FEATURES] = function(session, size)
    local bits = u64_bits(size)
    if bits then session.packed = has(bits, 34) end
  end
  SHAPING.requests[CODES.SET_PROTOCOL_FEATURES] = function(session, size)
    local bits = u64_bits(size)
    if bits then session.xen_mmap, session.log_shmfd, session.reply_ack = has(bits, 17), has(bits, 1), has(bits, 3) end
  end
  SHAPING.requests[CODES.POSTCOPY_LISTEN] = function(session) session.postcopy = true end
  SHAPING.requests[CODES.POSTCOPY_END] = function(session) session.postcopy = false end
  for request in pairs(DEDUCTION.requests) do
    SHAPING.requests[request] = SHAPING.requests[request] or function(session) session.requests[request] = true end
  end
  SHAPING.replies[CODES.GET_FEATURES] = function(session, size) session.offered = u64_bits(size) or session.offered end
  SHAPING.replies[CODES.GET_CONFIG] = function(session, size)
    if size <= HEADER_SIZE then return end
    local range = data(HEADER_SIZE, 4)
    local last = (little and range:le_uint() or range:uint()) + size - HEADER_SIZE
    session.config_size = math.max(session.config_size or 0, last)
  end
end

-- What a call tells of how the bytes of its session are read.
local function shape_call(session, request, size)
  if request == CALLS.set_features then
    SHAPING.requests[CODES.SET_FEATURES](session, size)
  elseif CALLS.device_id_in[request] and not session.device then
    local range = size >= CALLS.device_id_in[request] + 4 and data(HEADER_SIZE + CALLS.device_id_in[request], 4)
    session.device = range and CALLS.devices[little and range:le_uint() or range:uint()]
  else
    return
  end
  reshape(session)
end

-- Which reply answers which request: the rule, and why it is so, stands in vusniff/families/pairing.py (`Pairs`), and in
-- vusniff/families/vhost_user/replies.py which request is answered. Here losses are not known.

-- true: it must be answered, nil: it may be, false: it has no reply and does not ask for one.
local function due(link, header)
  local row, session = (CHANNELS[link.channel] or {})[header.request], link.session
  if not row then return nil end
  if row.answered and row.answered(session.context) then
    -- In postcopy the front-end acknowledges the back-end's addresses by the same request, without descriptors.
    return not (session.postcopy and link.channel == "main" and ACKNOWLEDGES[header.request]) or count_of(words_of()) > 0
  end
  if header.need_reply then return session.reply_ack or nil end
  return false
end

local function ask(link, waiting)
  if waiting.due ~= false then
    link.pending[#link.pending + 1] = waiting
    if #link.pending > MAX_WAITING then table.remove(link.pending, 1) end
  end
  local code = waiting.request
  if not link.codes[code] and link.codes.count < MAX_CODES then
    link.codes[code], link.codes.count = true, link.codes.count + 1
  end
  if link.codes[code] then link.asked[code] = waiting end
end

local function answered(link, request)
  local older = false
  for position, waiting in ipairs(link.pending) do
    if waiting.request == request then
      link.asked[request] = nil
      if older then
        table.remove(link.pending, position)
      else  -- what only may be answered is given up
        for _ = 1, position do table.remove(link.pending, 1) end
      end
      return waiting
    end
    older = older or waiting.due
  end
  local waiting = link.asked[request]
  link.asked[request] = nil
  return waiting
end

local function new_link(section, interface, path, description)
  local first_section = not section or section.value == 1
  local number = first_section and (interface and interface.value or 0) + 1 or last + 1
  last = math.max(last, number)
  local link = { number = number, path = path, description = description, pending = {}, asked = {},
                 codes = { count = 0 }, identified = {}, processes = {} }
  local first, second = description:match("^(.*) %-> (.*)$")
  for end_, words in pairs({ [0] = first or "", [1] = second or "" }) do
    local comm, pid = words:match("^(.*) %((%d+)%)$")
    if comm then link.processes[end_] = { comm = comm, pid = tonumber(pid) } end
  end
  numbered[number] = link
  return link
end

local function paired(pinfo, waiting)
  answers[pinfo.number] = waiting.number
  waits[pinfo.number] = math.abs(pinfo.rel_ts - waiting.time)
  answers[waiting.number] = pinfo.number
  waits[waiting.number] = waits[pinfo.number]
end

-- Pairs where a reply names its request by an id. Either side may ask, with ids of its own.
local function pair_by_id(pinfo, link, from, header)
  if header.reply then
    local key = (1 - from) .. ":" .. header.more.id
    if link.identified[key] then paired(pinfo, link.identified[key]) end
    link.identified[key] = nil
  elseif header.need_reply then
    local waiting = { number = pinfo.number, request = header.request, time = pinfo.rel_ts }
    link.identified[from .. ":" .. header.more.id] = waiting
  end
end

local function follow(pinfo, from, header, size)
  local request, reply = header.request, header.reply
  local interface = x_interface()
  local section = x_section()
  local key = (section and section.value or 1) * 65536 + (interface and interface.value or 0)
  local link = links[key]
  if not link then
    local path, description = x_path(), x_description()
    path, description = path and path.value or "", description and description.value or ""
    -- A section that has used up its interfaces is followed by another, where connections go on in interfaces anew. It
    -- is not known of Wireshark 4.0, which gives those the words of the first section's: each is a connection there.
    local words, continues = description:match("^(.*), continues (%d+)$")
    local known = continues and numbered[tonumber(continues)]
    link = known and known.path == path and known or new_link(section, interface, path, words or description)
    links[key] = link
  end
  if not link.session or link.channel == "unknown" then introduce(link, from, header, size) end
  if link.channel == "gpu" then  -- contrib/vhost-user-gpu does not set flags: who sends tells
    reply = reply and from ~= link.requester
    header.reply, header.need_reply = reply, false
  end
  local opened = (reply and header.family.opened_by_reply or header.family.opened_by_request)[request]
  if opened and link.channel == header.family.main and count_of(words_of()) > 0 then
    passed[#passed + 1] = { channel = opened, session = link.session, description = link.description }
  end
  if header.family.by_id then
    pair_by_id(pinfo, link, from, header)
    placed[pinfo.number] = link.place
    return
  end
  if reply then
    local waiting = from ~= link.requester and answered(link, request)
    if waiting then paired(pinfo, waiting) end
  else
    ask(link, { number = pinfo.number, request = request, time = pinfo.rel_ts, due = due(link, header) })
  end
  if link.session.calls then
    shape_call(link.session, request, size)
  elseif link.channel == "main" then
    local shape = (reply and SHAPING.replies or SHAPING.requests)[request]
    if shape then
      shape(link.session, size, link)
      reshape(link.session)
    end
  end
  placed[pinfo.number] = link.place
end

-- One packet.

local OTHER = { frontend = "backend", backend = "frontend" }

local function sender_of(from, family)
  local role = family.requesters[place.channel]
  return from == place.requester and role or OTHER[role]
end

-- What is wrong with the flags of a message's header, whatever the message is.
local function blame_flags(item, flags, from)
  local reply = flags % 8 >= 4
  if place.channel ~= "gpu" and flags % 4 ~= 1 then
    item:add_proto_expert_info(e_flags, string.format("Version %d instead of 1", flags % 4))
  end
  if flags >= 16 then
    item:add_proto_expert_info(e_flags, string.format("Unassigned flag bits 0x%x", flags - flags % 16))
  end
  if reply and from == place.requester then
    item:add_proto_expert_info(e_flags, "A reply, but its sender is who asks here")
  elseif not reply and from ~= place.requester then
    item:add_proto_expert_info(e_flags, "A request, but its sender is who answers here")
  end
end

local function lines_of(text)
  local lines = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = line end
  return lines
end

-- The lines of a packet's comments, each as often as the file has it. A comment has one line; those of older captures
-- have several, and of such a comment Wireshark 4.4 gives the first line, every line, and the whole.
local function lines_said(found)
  local together, lines = {}, {}
  for _, comment in ipairs(found) do
    local parts = lines_of(comment.value)
    if #parts > 1 and not together[comment.value] then
      together[comment.value] = true
      for _, line in ipairs(parts) do
        together[line] = true
        lines[#lines + 1] = line
      end
    end
  end
  for _, comment in ipairs(found) do
    if not together[comment.value] then lines[#lines + 1] = comment.value end
  end
  return lines
end

-- Where a ring stood behind a packet.
local function ring_said(root, told)
  local item = made(root, proto, nowhere, "Ring")
  local function add(name, value)
    local one = RINGS[name]
    if not one then return end
    if one.kind == "u64" then
      value = UInt64(value)
    elseif one.kind == "time" then
      value = NSTime(tonumber(value:sub(1, -10)) or 0, tonumber(value:sub(-9)))
    elseif one.kind == "bool" then
      value = true
    elseif one.kind ~= "text" then
      value = tonumber(value)
    end
    if value == nil then return end
    made(item, one.field, nowhere, value)
    if name == "index" or name == "state" then item:append_text((name == "state" and ": " or " ") .. value) end
  end
  told = told:gsub(" state=(.*)$", function(state)
    add("state", state)
    return ""
  end)
  for name, value in told:gmatch("([%l_]+)=(%d+)") do add(name, value) end
end

-- What vusniff has written into the comments of a packet: findings, descriptors that came with it, and rings.
local function comments(root, ...)
  local fds = 0
  for _, line in ipairs(lines_said({ ... })) do
    local severity, rule, side, sentence = line:match("^vusniff (%l+) (%S+) %((%l+)%): (.*)$")
    local rank = severity and RANKS[severity]
    if rank then
      local item = made(root, f_sentence, nowhere, sentence)
      made(item, f_severity, nowhere, rank)
      made(item, f_rule, nowhere, rule)
      made(item, f_side, nowhere, side)
      item:add_proto_expert_info(e_findings[severity], rule .. ": " .. sentence)
    end
    local told = line:match("^vusniff ring (.*)$")
    if told then ring_said(root, told) end
    local described = line:match("^vusniff fd (.*)$")
    if described then
      local item = made(root, proto, nowhere, "Descriptor " .. fds)
      fds = fds + 1
      described = described:gsub(" name=(.*)$", function(name)
        made(item, f_fd.name, nowhere, name)
        return ""
      end)
      for key, value in described:gmatch("(%l+)=(%S+)") do
        if key == "size" then
          made(item, f_fd.size, nowhere, UInt64(value))
        elseif key == "number" then
          made(item, f_fd.number, nowhere, tonumber(value))
        elseif f_fd[key] then
          made(item, f_fd[key], nowhere, value)
          if key == "identity" then item:append_text(": " .. value) end
        end
      end
    end
  end
end

local function payload(root, layout, whole)
  local size = stop - HEADER_SIZE
  if size > 0 then root:add(f_data, data(HEADER_SIZE, size)) end
  if not whole then
    made(root, f_malformed, nowhere, string.format("payload not captured in full: %d of %d bytes are there", size,
      data:reported_len() - HEADER_SIZE))
  end
  if layout == EMPTY or layout == RAW then
    if size > 0 then
      local item = root:add(f_trailing, data(at, size))
      if layout == EMPTY then item:add_proto_expert_info(e_trailing) end
    end
    return
  end
  made(root, f_layout, nowhere, layout.name)
  tree = size > 0 and root:add(proto, data(HEADER_SIZE, size), layout.name) or root
  local there, problem = pcall(layout.read)
  if not there then
    local sentence = type(problem) == "table" and problem.sentence or tostring(problem)
    if whole then
      made(root, f_malformed, nowhere, sentence):add_proto_expert_info(e_malformed, sentence)
      said = { "MALFORMED: " .. sentence }
    end
  end
  if at < stop then
    local item = root:add(f_trailing, data(at, stop - at))
    if whole and there then item:add_proto_expert_info(e_trailing) end
  end
end

local function number_at(start, size)
  if size == 8 then return (little and data(start, 8):le_uint64() or data(start, 8):uint64()):tonumber() end
  return little and data(start, size):le_uint() or data(start, size):uint()
end

local function masked(value, mask)
  local found, bit = 0, 1
  while mask > 0 do
    if mask % 2 == 1 and value % 2 == 1 then found = found + bit end
    value, mask, bit = math.floor(value / 2), math.floor(mask / 2), bit * 2
  end
  return found
end

local function holds(flags, rule)
  return masked(flags, rule[1]) == rule[2]
end

-- The byte order is the host's and is not told: it is the one in which a number that is always small is small.
local function header_of(family)
  little = data(family.small[1], 4):le_uint() < 65536
  local flags = number_at(family.flags[1], family.flags[2])
  local header = { family = family, request = number_at(family.request[1], family.request[2]),
                   word = data(family.request[1], family.request[2]), flags = flags,
                   size = math.max(number_at(family.size[1], family.size[2]) - family.counts, 0),
                   sized = data(family.size[1], family.size[2]), reply = holds(flags, family.reply),
                   need_reply = holds(flags, family.need_reply), failed = holds(flags, family.failed), more = {} }
  for _, one in ipairs(family.more) do header.more[one.name] = number_at(one[1], one[2]) end
  return header
end

local function dissect(buffer, pinfo, root_tree, protocol, family)
  HEADER_SIZE = family.head
  if buffer:len() < HEADER_SIZE then return 0 end
  if not SHAPING then shaping() end
  data = buffer
  nowhere, visible = data(0, 0), root_tree.visible
  local header = header_of(family)
  local request, flags, size = header.request, header.flags, header.size
  local reply, need_reply = header.reply, header.need_reply
  local from = pinfo.p2p_dir == 1 and 1 or 0
  at, stop = HEADER_SIZE, data:len()
  local whole = data:reported_len() <= stop
  place = placed[pinfo.number]
  if not place then
    if not x_number() then
      -- Of the two passes of "tshark -2" the first has no fields unless it filters (-R): which connection this is can
      -- only be known in the second.
      pinfo.cols.protocol = family.name
      return buffer:len()
    end
    follow(pinfo, from, header, data:reported_len() - HEADER_SIZE)
    place = placed[pinfo.number]
  end

  local row = CHANNELS[place.channel] and CHANNELS[place.channel][request]
  local name = row and row.name or string.format("REQUEST_%d", request)
  local layout = RAW
  if row then
    layout = row[reply and "reply" or "request"](place.context, data:reported_len() - HEADER_SIZE)
  end
  local sender = sender_of(from, family)
  local acknowledges = reply and layout.name == "ack"
  local unusual = not reply and need_reply == (family.unusual == "need_reply")
  local remark = unusual and " " .. family.unusual or ""
  local title = name .. (acknowledges and " ack" or reply and " reply" or remark)

  local root = root_tree:add(protocol, data(), family.name .. ", " .. title)
  made(root, f_number, nowhere, pinfo.number)
  made(root, f_session, nowhere, place.session)
  made(root, f_connection, nowhere, place.link.number)
  made(root, f_path, nowhere, place.link.path)
  local process = place.link.processes[from]
  if process then
    made(root, f_comm, nowhere, process.comm)
    made(root, f_pid, nowhere, process.pid)
  end
  made(root, f_channel, nowhere, place.channel)
  made(root, f_sender, nowhere, sender)
  root:add(f_request[place.channel] or f_request.main, header.word, request)
  made(root, f_name, header.word, name)
  local flagged = data(family.flags[1], family.flags[2])
  if family.command then
    root:add(family.command, header.word, request)
    local item = root:add(family.own_flags, flagged, flags)
    item:add(f_reply, flagged, reply)
    item:add(f_need_reply, flagged, need_reply)
    item:add(family.own_failed, flagged, header.failed)
    for _, one in ipairs(family.more) do
      if little then root:add_le(one.field, data(one[1], one[2])) else root:add(one.field, data(one[1], one[2])) end
    end
    if family.transport ~= "" then made(root, f_transport, nowhere, family.transport) end
    if header.failed and family.own == "call" then root:add(f_errno, nowhere, header.more.error) end
    if header.failed then item:add_proto_expert_info(e_failed) end
  else
    local item = root:add(f_flags, flagged, flags)
    item:add(f_version, flagged, flags % 4)
    item:add(f_reply, flagged, reply)
    item:add(f_need_reply, flagged, need_reply)
    blame_flags(item, flags, from)
    made(root, f_transport, nowhere, family.transport)
  end
  root:add(f_size, header.sized, size)
  local other = answers[pinfo.number]
  if other then
    made(root, reply and f_answers or f_answered_by, nowhere, other)
    local seconds = math.floor(waits[pinfo.number])
    made(root, f_latency, nowhere, NSTime.new(seconds, math.floor((waits[pinfo.number] - seconds) * 1e9 + 0.5)))
  end
  if not row then root:add_proto_expert_info(e_unknown) end
  said, meant = {}, row and layout.name ~= "ack" and row.meant
  local done, problem = pcall(payload, root, layout, whole)
  if not done then root:add_proto_expert_info(e_malformed, tostring(problem)) end
  local count = count_of(words_of())
  made(root, f_count, nowhere, count)
  comments(root, x_comment())

  pinfo.cols.protocol = family.name
  pinfo.cols.src = family.roles[sender]
  pinfo.cols.dst = family.roles[OTHER[sender]]
  local words = said and table.concat(said, " ") or ""
  if header.failed then words = string.format("FAILED (%d) ", header.more.error or 0) .. words end
  if #words > INFO_LIMIT then words = words:sub(1, INFO_LIMIT) .. "..." end
  if words ~= "" then title = title .. "  " .. words end
  if count > 0 then title = title .. string.format("  [%d fd%s]", count, count == 1 and "" or "s") end
  pinfo.cols.info = title
  return buffer:len()
end

for position, family in ipairs(FAMILIES) do
  local protocol = position == 1 and proto or Proto(family.proto, family.name)
  function protocol.dissector(buffer, pinfo, root_tree)
    return dissect(buffer, pinfo, root_tree, protocol, family)
  end
end
