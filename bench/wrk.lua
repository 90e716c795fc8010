-- Arguments: a file of tokens, a path, a seed, milliseconds between an answer and the next request.
local requests = {}

function init(args)
  math.randomseed(tonumber(args[3]))
  for token in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", args[2], {
      ["Accept"] = "*/*",
      ["Cookie"] = "auth_token=" .. token .. "; theme=dark",
      ["User-Agent"] = "wrk",
    })
  end
  local pause = tonumber(args[4])
  if pause > 0 then
    function delay()
      return pause
    end
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    "RESULT %d %d %d %f %f %f\n",
    summary.requests,
    summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50),
    latency:percentile(99),
    latency:percentile(99.9)
  ))
end
