"""Writes reference vectors for runtime/model: see README.md beside it."""
import base64
import json
import sys

import numpy
import torch
import transformers
from transformers.models.llama import modeling_llama

CASES = {
    "gqa-tied": dict(num_key_value_heads=2, tie_word_embeddings=True, attention_bias=False),
    "mha-untied-bias": dict(num_key_value_heads=4, tie_word_embeddings=False, attention_bias=True),
}
SIZES = dict(vocab_size=29, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=100.0, attn_implementation="eager")
LENGTHS, PROMPTS = [11, 7, 9], [4, 1, 6]
LR, BETAS, EPS, DECAY, CLIP = 1e-2, (0.9, 0.95), 1e-8, 0.1, 1.0


def full_precision():
    """Makes transformers keep the model's own type in softmax and norms."""
    softmax = torch.nn.functional.softmax
    torch.nn.functional.softmax = lambda x, dim=None, dtype=None: softmax(x, dim=dim)

    def norm(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    modeling_llama.LlamaRMSNorm.forward = norm


def packed(t):
    a = t.detach().double().numpy()
    return {"shape": list(a.shape), "data": base64.b64encode(numpy.ascontiguousarray(a).tobytes()).decode()}


def build(options, dtype):
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, **options)).double()
    with torch.no_grad():  # far from initialisation, so that no term of a gradient is small
        for name, p in model.named_parameters():
            p.normal_(1 if "norm" in name else 0, 0.3)
            p.copy_(p.float())  # float32 holds the weights exactly
    return model.to(dtype)


def forward(model, batch):
    # Not model(...), which makes float32 of the logits.
    hidden = model.model(input_ids=batch["tokens"], attention_mask=batch["mask"].long())[0]
    logits = model.lm_head(hidden)  # [rows, seqLen, vocab]
    logps = torch.log_softmax(logits, -1)[:, :-1].gather(-1, batch["tokens"][:, 1:, None])[..., 0]
    counts = batch["response"][:, 1:]
    return logits, -(logps * counts).sum() / counts.sum()


def steps(model, batch):
    params = dict(model.named_parameters())
    groups = [{"params": [p for p in params.values() if p.dim() == 2], "weight_decay": DECAY},
              {"params": [p for p in params.values() if p.dim() != 2], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS)
    losses, norms = [], []
    for _ in range(10):
        adamw.zero_grad()
        _, loss = forward(model, batch)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(params.values(), CLIP).item())
        losses.append(loss.item())
        adamw.step()
    return losses, norms


def make_batch():
    width = max(LENGTHS)
    torch.manual_seed(1)
    batch = {"tokens": torch.randint(1, SIZES["vocab_size"], (len(LENGTHS), width))}
    column = torch.arange(width)
    batch["mask"] = torch.stack([column < n for n in LENGTHS])
    batch["tokens"][~batch["mask"]] = 0
    batch["response"] = torch.stack([(column >= p) & (column < n) for p, n in zip(PROMPTS, LENGTHS)])
    return batch


def main(folder):
    batch = make_batch()
    out = {name: {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "lengths": LENGTHS, "prompts": PROMPTS, "tokens": batch["tokens"].tolist(),
        "adamw": {"rate": LR, "beta1": BETAS[0], "beta2": BETAS[1], "epsilon": EPS, "decay": DECAY, "clip": CLIP},
    } for name in CASES}
    for name, options in CASES.items():
        model = build(options, torch.float32)
        out[name]["config"] = {k: v for k, v in model.config.to_dict().items() if v is not None}
        logits, _ = forward(model, batch)
        out[name]["logits32"] = packed(logits)
        out[name]["losses32"], out[name]["norms32"] = steps(model, batch)
    full_precision()
    for name, options in CASES.items():
        model = build(options, torch.float64)
        o = out[name]
        o["weights"] = {k: packed(p) for k, p in model.named_parameters()}
        logits, loss = forward(model, batch)
        loss.backward()
        o["logits"], o["loss"] = packed(logits), loss.item()
        o["gradients"] = {k: packed(p.grad) for k, p in model.named_parameters()}
        o["losses"], o["norms"] = steps(model, batch)
        o["trained"] = {k: packed(p) for k, p in model.named_parameters()}
        with open(f"{folder}/llama-{name}.json", "w") as f:
            json.dump(o, f, indent=1, sort_keys=True)
            f.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
