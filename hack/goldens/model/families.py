"""Writes tiny random models of every family and what transformers makes of them: see README.md beside it."""
import os
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3

VOCAB, WIDTH, LENGTHS, PROMPTS = 24, 20, [20, 13], [5, 3]
COMMON = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
              max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
GQA = dict(COMMON, num_attention_heads=4, num_key_value_heads=2)
ONE_HEAD = dict(COMMON, num_attention_heads=1, num_key_value_heads=1)  # of 16 dimensions: 8 frequencies
GPT2 = dict(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def rope(kind, **more):
    return dict(rope_type=kind, rope_theta=100.0, **more)


# name: class, config, what positions begin with
CASES = {
    "llama": ("Llama", dict(GQA, head_dim=6, attention_bias=True, mlp_bias=True), 0),
    "llama-linear": ("Llama", dict(ONE_HEAD, rope_parameters=rope("linear", factor=2.5)), 200),
    "llama-dynamic": ("Llama", dict(ONE_HEAD, max_position_embeddings=12, rope_parameters=rope("dynamic", factor=3.0)), 0),
    "llama-llama3": ("Llama", dict(ONE_HEAD, max_position_embeddings=512, tie_word_embeddings=True, rope_parameters=rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)), 300),
    "llama-yarn": ("Llama", dict(ONE_HEAD, max_position_embeddings=128, rope_parameters=rope(
        "yarn", factor=4.0, original_max_position_embeddings=32)), 90),
    "llama-longrope": ("Llama", dict(ONE_HEAD, max_position_embeddings=64, rope_parameters=rope(
        "longrope", original_max_position_embeddings=16, factor=4.0,
        short_factor=[1 + i / 10 for i in range(8)], long_factor=[2 + i / 3 for i in range(8)])), 0),
    "mistral": ("Mistral", dict(GQA, sliding_window=5), 0),
    "mistral-full": ("Mistral", dict(GQA, head_dim=8, sliding_window=None), 0),
    "qwen2": ("Qwen2", dict(GQA, tie_word_embeddings=True), 0),
    "qwen2-window": ("Qwen2", dict(GQA, use_sliding_window=True, sliding_window=4, max_window_layers=1, rope_parameters=rope(
        "yarn", factor=2.0, original_max_position_embeddings=16, beta_fast=4.0, beta_slow=2.0)), 0),
    "qwen3": ("Qwen3", dict(GQA, head_dim=8, tie_word_embeddings=True), 0),
    "qwen3-window": ("Qwen3", dict(GQA, head_dim=4, attention_bias=True, use_sliding_window=True, sliding_window=3,
                                   layer_types=["sliding_attention", "full_attention"]), 0),
    "gpt2": ("GPT2", GPT2, 0),
    "gpt2-variant": ("GPT2", dict(GPT2, n_inner=20, activation_function="gelu", scale_attn_by_inverse_layer_idx=True,
                                  scale_attn_weights=False, tie_word_embeddings=False), 0),
    "neox": ("GPTNeoX", COMMON, 0),
    "neox-sequential": ("GPTNeoX", dict(COMMON, use_parallel_residual=False, attention_bias=False, hidden_act="gelu_new", rope_parameters=rope(
        "linear", factor=2.0, partial_rotary_factor=1.0)), 0),
}
SCORES = ["mistral", "qwen2", "qwen3", "gpt2", "neox"]
CLASSES = {"GPT2": transformers.GPT2LMHeadModel}


def full_precision():
    """Makes transformers keep the model's own type in softmax and norms."""
    softmax = torch.nn.functional.softmax
    torch.nn.functional.softmax = lambda x, dim=None, dtype=None: softmax(x, dim=dim)

    def norm(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    for c in (modeling_llama.LlamaRMSNorm, modeling_mistral.MistralRMSNorm, modeling_qwen2.Qwen2RMSNorm, modeling_qwen3.Qwen3RMSNorm):
        c.forward = norm


def build(case, suffix="ForCausalLM"):
    name, options, _ = CASES[case]
    if suffix == "ForSequenceClassification":
        options = dict(options, num_labels=1)
    config = getattr(transformers, name + "Config")(**options)
    cls = CLASSES[name] if suffix == "ForCausalLM" and name in CLASSES else getattr(transformers, name + suffix)
    config._attn_implementation = "eager"
    torch.manual_seed(len(case))
    model = cls(config).double().eval()
    with torch.no_grad():  # far from initialisation, so that no term is small
        for n, p in model.named_parameters():
            scale = n.endswith("weight") and p.dim() == 1
            p.normal_(1 if scale else 0, 0.3)
            p.copy_(p.bfloat16())  # bfloat16 holds the weights exactly
    return model


def batch(case):
    generator = torch.Generator().manual_seed(1)
    column = torch.arange(WIDTH)
    tokens = torch.randint(3, VOCAB, (len(LENGTHS), WIDTH), generator=generator)
    mask = torch.stack([column < n for n in LENGTHS])
    tokens[~mask] = 0
    counts = torch.stack([(column >= p) & (column < n) for p, n in zip(PROMPTS, LENGTHS)])
    return tokens, mask, counts, (CASES[case][2] + column).expand(len(LENGTHS), WIDTH)


def logits(model, tokens, mask, positions):
    return model(input_ids=tokens, attention_mask=mask.long(), position_ids=positions).logits  # [rows, width, vocab]


def generate(model, tokens, prompt):
    return model.generate(tokens[None, :prompt], attention_mask=torch.ones(1, prompt, dtype=torch.long), do_sample=False,
                          min_new_tokens=10, max_new_tokens=10)[0, prompt:]


def language_model(folder, case):
    tokens, mask, counts, positions = batch(case)
    model = build(case)
    out = {"tokens": tokens, "lengths": torch.tensor(LENGTHS), "prompts": torch.tensor(PROMPTS), "positions": positions.contiguous()}
    with torch.no_grad():
        out["logits32"] = logits(model.float(), tokens, mask, positions)
    model = model.double()
    full = logits(model, tokens, mask, positions)
    logps = torch.log_softmax(full, -1)[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
    loss = -(logps * counts[:, 1:]).sum() / counts.sum()
    loss.backward()
    out["logits"], out["loss"] = full.detach(), loss.detach()
    for name, p in model.named_parameters():
        if p.dim() == 1 or "layers.0." in name or ".h.0." in name or "wpe" in name:
            out["gradient." + name] = p.grad.clone()  # save changes its type
    if CASES[case][2] == 0:
        out["generated"] = torch.stack([generate(model, t, n) for t, n in zip(tokens, PROMPTS)])
    save(model, f"{folder}/{case}", out)


def score_model(folder, case):
    tokens, mask, _, positions = batch(case)
    model = build(case, "ForSequenceClassification")
    inner = getattr(model, model.base_model_prefix)
    hidden = inner(input_ids=tokens, attention_mask=mask.long(), position_ids=positions)[0]
    scores = model.score(hidden)[..., 0]
    pooled = model(input_ids=tokens, attention_mask=mask.long(), position_ids=positions).logits[:, 0]
    assert torch.equal(pooled, scores[torch.arange(len(LENGTHS)), torch.tensor(LENGTHS) - 1])
    save(model, f"{folder}/{case}-score", {"tokens": tokens, "lengths": torch.tensor(LENGTHS), "scores": scores.detach()})


def save(model, folder, out):
    shutil.rmtree(folder, ignore_errors=True)
    model.bfloat16().save_pretrained(folder)
    for extra in set(os.listdir(folder)) - {"config.json", "model.safetensors"}:
        os.remove(f"{folder}/{extra}")
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    save_file({k: v.contiguous() for k, v in out.items()}, f"{folder}/expected.safetensors", versions)


def main(folder):
    torch.set_num_threads(1)
    full_precision()
    for case in CASES:
        language_model(folder, case)
    for case in SCORES:
        score_model(folder, case)
    # A checkpoint of the base model alone, as the hub's gpt2 is: names without "transformer.".
    save(build("gpt2").transformer, f"{folder}/gpt2-base", {})


if __name__ == "__main__":
    main(sys.argv[1])
