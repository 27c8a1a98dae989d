-- What Argo CD offers to do with a training stage: suspend it, or let it go on.
local trained = false
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, c in ipairs(obj.status.conditions) do
    if c.type == "Trained" and c.status == "True" then
      trained = true
    end
  end
end
local suspended = obj.spec.suspend == true
return {
  suspend = {disabled = trained or suspended},
  resume = {disabled = not suspended},
}
