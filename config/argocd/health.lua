-- Health of a training stage for Argo CD; the same for every kind of alignment.dev.
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not seen it yet"}
end

local conditions = {}
for _, c in ipairs(status.conditions) do
  conditions[c.type] = c
end
local function is(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end

local ready = conditions["Ready"]
if ready == nil then
  return {status = "Progressing", message = "the operator has not seen it yet"}
end
local message = ready.reason .. ": " .. ready.message
if is("Ready") then
  if is("Stale") then
    message = message .. "; stale: " .. conditions["Stale"].message
  end
  return {status = "Healthy", message = message}
end
if is("Stalled") then
  return {status = "Degraded", message = message}
end
if is("Suspended") then
  return {status = "Suspended", message = message}
end
local progress = status.progress
if status.phase == "Running" and progress ~= nil and progress.totalSteps ~= nil then
  message = message .. ", step " .. progress.step .. " of " .. progress.totalSteps
end
return {status = "Progressing", message = message}
