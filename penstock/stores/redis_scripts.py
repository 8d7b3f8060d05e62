"""What the board does inside Redis or Valkey, in Lua: each script is one step that nobody else's can come between.

Each has one key, so all of them run in a cluster. Whatever is over is over by the server's own clock. Nothing is left
behind: every key has an end.
"""

from __future__ import annotations

# KEYS[1]: a hash of ends in ms and values. ARGV: channel, news in ms, then of each mark: field, ms, value, message.
TELL = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for i = 3, #ARGV, 4 do
  local ends = now + tonumber(ARGV[i + 1])
  local had = redis.call('HGET', KEYS[1], ARGV[i])
  if not had or tonumber(string.match(had, '^%d+') or 0) + tonumber(ARGV[2]) < ends then
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f %s', ends, ARGV[i + 2]))
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[i + 1]) then redis.call('PEXPIRE', KEYS[1], ARGV[i + 1]) end
    redis.call('PUBLISH', ARGV[1], ARGV[i + 3])
  end
end
return 1
"""
# KEYS[1]: the same hash. ARGV: the most to return. Forgets what is over.
MARKS = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local all, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local ends, value = string.match(all[i + 1], '^(%d+) (.*)$')
  local left = tonumber(ends or 0) - now
  if left <= 0 then
    redis.call('HDEL', KEYS[1], all[i])
  elseif #found < 3 * tonumber(ARGV[1]) then
    found[#found + 1] = all[i]
    found[#found + 1] = value
    found[#found + 1] = left
  end
end
return found
"""
# KEYS[1]: a hash of a window: by process = name what it has counted, by = name what all have. ARGV: process, ms until
# the window is forgotten, then for each name: name, count.
COUNT = """
local totals, changed = {}, false
for i = 3, #ARGV, 2 do
  local own, all = ARGV[1] .. '=' .. ARGV[i], '=' .. ARGV[i]
  local more = tonumber(ARGV[i + 1]) - tonumber(redis.call('HGET', KEYS[1], own) or 0)
  if more > 0 then
    redis.call('HSET', KEYS[1], own, ARGV[i + 1])
    totals[#totals + 1] = redis.call('HINCRBY', KEYS[1], all, string.format('%.0f', more))
    changed = true
  else
    totals[#totals + 1] = tonumber(redis.call('HGET', KEYS[1], all) or 0)
  end
end
if changed then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return totals
"""

# KEYS[1]: a hash of a budget's window: @ = when it began, = = what all have spent, by process what it has spent. ARGV:
# period, begin (0: not known), age, slack (all in ms), the most names to return, what who asks is called, then of each
# process: name, amount.
SPEND = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local period, at, slack, differs = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4]), 0
if at == 0 then at, differs = now - tonumber(ARGV[3]), slack end
local began = tonumber(redis.call('HGET', KEYS[1], '@') or 0)
if began > 0 and began + period <= now then
  redis.call('DEL', KEYS[1])
  began = 0
end
local earlier = began == 0 or at < began - differs
local joins = #ARGV > 6 and (not earlier or at + period > now + slack)
if joins and earlier then
  began = at
  redis.call('HSET', KEYS[1], '@', string.format('%.0f', began))
end
if joins then
  for i = 7, #ARGV, 2 do
    local more = tonumber(ARGV[i + 1]) - tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)
    if more > 0 then
      redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
      redis.call('HINCRBY', KEYS[1], '=', string.format('%.0f', more))
    end
  end
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(1, began + period - now)))
end
if began == 0 then return {} end
local mine = 0
if joins or #ARGV == 6 then mine = tonumber(redis.call('HGET', KEYS[1], ARGV[6]) or 0) end
local by = {}
if tonumber(ARGV[5]) >= redis.call('HLEN', KEYS[1]) then by = redis.call('HGETALL', KEYS[1]) end
return {began, now - began, tonumber(redis.call('HGET', KEYS[1], '=') or 0), mine, by}
"""
# KEYS[1]: a hash of when figures were seen, in ms, and their values. ARGV: ms that a figure counts, ms within which
# those to return were seen, the most to return, then of each figure: field, ms since it was seen, value.
COMPARE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local hold = tonumber(ARGV[1])
for i = 4, #ARGV, 3 do
  local seen = now - tonumber(ARGV[i + 1])
  local had = redis.call('HGET', KEYS[1], ARGV[i])
  if seen > now - hold and (not had or tonumber(string.match(had, '^%d+') or 0) < seen) then
    redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f %s', seen, ARGV[i + 2]))
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
  end
end
local all, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local seen, value = string.match(all[i + 1], '^(%d+) (.*)$')
  local age = now - tonumber(seen or 0)
  if age > hold then
    redis.call('HDEL', KEYS[1], all[i])
  elseif age < tonumber(ARGV[2]) and #found < 3 * tonumber(ARGV[3]) then
    found[#found + 1] = all[i]
    found[#found + 1] = value
    found[#found + 1] = age
  end
end
return found
"""
