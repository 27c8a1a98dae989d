"""Loads a folder with transformers and prints the logits or the scores of tokens 1 2 3: see README.md beside it."""
import sys

import torch
import transformers

config = transformers.AutoConfig.from_pretrained(sys.argv[1])
tokens = torch.tensor([[1, 2, 3]])
if config.architectures == ["LlamaForSequenceClassification"]:
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(sys.argv[1], output_loading_info=True)
    values = model.score(model.model(tokens)[0])
else:
    model, info = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], output_loading_info=True)
    values = model(tokens).logits
assert not any(info.values()), info
print(type(model).__name__, *values.flatten().tolist())
