"""Loads an adapter with PEFT and prints the logits or the scores of tokens 1 2 3: see README.md beside it."""
import json
import pathlib
import sys

import peft
import torch
import transformers
from safetensors import safe_open

base, adapter, *merged = sys.argv[1:]
config = json.loads(pathlib.Path(adapter, "adapter_config.json").read_text())
scores = config["task_type"] == "SEQ_CLS"
kind = transformers.AutoModelForSequenceClassification if scores else transformers.AutoModelForCausalLM
options = {"num_labels": 1} if scores else {}
tokens = torch.tensor([[1, 2, 3]])


def output(model):
    return model.score(model.model(tokens)[0]) if scores else model(tokens).logits


model = peft.PeftModel.from_pretrained(kind.from_pretrained(base, **options), adapter)
saved = peft.get_peft_model_state_dict(model)
with safe_open(f"{adapter}/adapter_model.safetensors", "pt") as f:
    assert sorted(saved) == sorted(f.keys()), (sorted(saved), sorted(f.keys()))
    for name in f.keys():
        assert torch.equal(saved[name], f.get_tensor(name)), name
values = output(model.base_model.model)
print(type(model).__name__, *values.flatten().tolist()[:8])
without = output(kind.from_pretrained(base, **options))
if not scores:
    print("without it the first logits differ by up to", (values - without).abs().max().item())
if merged:
    other = output(kind.from_pretrained(merged[0]))
    print("merged", *other.flatten().tolist()[:8])
    print("largest difference", (values - other).abs().max().item())
    torch.testing.assert_close(values, other, atol=1e-4, rtol=1e-4)
