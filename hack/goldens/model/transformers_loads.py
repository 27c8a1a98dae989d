"""Loads a folder with transformers and prints the logits of tokens 1 2 3: see README.md beside it."""
import sys

import torch
import transformers

model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])
print(type(model).__name__, *model(torch.tensor([[1, 2, 3]])).logits.flatten().tolist())
