"""Writes the reference vectors of score models for runtime/model: see README.md beside it."""
import json
import sys

import torch
import transformers

import llama
from llama import CASES, LENGTHS, SIZES, packed


def build(options, dtype):
    """A score model whose decoder is that of llama.py."""
    config = transformers.LlamaConfig(**SIZES, **options, num_labels=1, pad_token_id=0)
    model = transformers.LlamaForSequenceClassification(config).double()
    model.model.load_state_dict(llama.build(options, torch.float64).model.state_dict())
    torch.manual_seed(2)
    with torch.no_grad():
        model.score.weight.normal_()
        model.score.weight.copy_(model.score.weight.float())  # float32 holds it exactly
    return model.to(dtype)


def forward(model, batch):
    """The scores of every token [rows, seqLen], and those that transformers pools [rows]."""
    inputs = dict(input_ids=batch["tokens"], attention_mask=batch["mask"].long())
    return model.score(model.model(**inputs)[0])[..., 0], model(**inputs).logits[:, 0]


def main(folder):
    batch = llama.make_batch()
    last = torch.tensor(LENGTHS) - 1
    out = {}
    for name, options in CASES.items():
        model = build(options, torch.float32)
        model.config.architectures = [type(model).__name__]  # as save_pretrained does
        scores, pooled = forward(model, batch)
        assert torch.equal(pooled, scores[torch.arange(len(LENGTHS)), last])
        out[name] = {
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
            "config": json.loads(model.config.to_json_string()),
            "weights": {"score.weight": packed(model.score.weight)}, "scores32": packed(scores),
        }
    llama.full_precision()
    for name, options in CASES.items():
        model = build(options, torch.float64)
        scores, pooled = forward(model, batch)
        pooled.square().sum().backward()
        out[name]["scores"] = packed(scores)
        out[name]["gradients"] = {k: packed(p.grad) for k, p in model.named_parameters()
                                  if p.dim() == 1 or any(s in k for s in ("score", "embed", "0.self_attn.k_proj"))}
        with open(f"{folder}/score-{name}.json", "w") as f:
            json.dump(out[name], f, indent=1, sort_keys=True)
            f.write("\n")


main(sys.argv[1])
