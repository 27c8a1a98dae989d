"""Publishes a trained model of every family with the trainer and compares its logits with transformers': see README.md.

    back.py TRAINER LOGITS DIR
"""
import json
import os
import subprocess
import sys

import torch
import transformers

LLAMA = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3)
YARN = dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=16)
FAMILIES = {
    "llama": dict(LLAMA, rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)),
    "mistral": dict(LLAMA, sliding_window=5),
    "qwen2": dict(LLAMA, use_sliding_window=True, sliding_window=4, max_window_layers=1, rope_scaling=YARN),
    "qwen3": dict(LLAMA, head_dim=8, tie_word_embeddings=True),
    "gpt2": dict(n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3),
    "gpt_neox": dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, rotary_pct=0.5, initializer_range=0.3),
}


def train(trainer, folder, name, config):
    path = f"{folder}/{name}.json"  # JSON is YAML
    config = dict(config, version=1, name=name, seed=1, output={"uri": f"file://{folder}/{name}"}, checkpoint={"everySteps": 0}, training={
        "maxSteps": 3, "batchSize": 8, "learningRate": 0.01})
    config["data"] = dict(config["data"], maxLength=64)
    with open(path, "w") as f:
        json.dump(config, f)
    subprocess.run([trainer, "train", "--config", path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def compare(logits, folder):
    ours = torch.tensor(json.loads(subprocess.run([logits, folder], check=True, capture_output=True).stdout))
    tokens = torch.arange(1, 13)[None]
    score = transformers.AutoConfig.from_pretrained(folder).architectures[0].endswith("ForSequenceClassification")
    cls = transformers.AutoModelForSequenceClassification if score else transformers.AutoModelForCausalLM
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    with torch.no_grad():
        theirs = model.score(getattr(model, model.base_model_prefix)(tokens)[0]) if score else model(tokens).logits
    if score:
        theirs = theirs + getattr(model.config, "reward_shift", 0.0)  # which transformers keeps, and does not know
    off = (ours - theirs.flatten()).abs().max().item()
    assert off < 1e-4, off
    print(f"{type(model).__name__}: {len(ours)} numbers, off by at most {off:.1e}")


def main(trainer, logits, folder):
    os.makedirs(folder)
    text, ranked = f"{folder}/text.jsonl", f"{folder}/ranked.jsonl"
    with open(text, "w") as f, open(ranked, "w") as g:
        for i in range(200):
            f.write(json.dumps({"prompt": f"double {i} =", "completion": f" {2 * i}"}) + "\n")
            g.write(json.dumps({"prompt": f"double {i} =", "chosen": f" {2 * i}", "rejected": f" {2 * i + 1}"}) + "\n")
    for name, init in FAMILIES.items():
        train(trainer, folder, name, {"method": "SFT", "data": {"train": [{"uri": f"file://{text}"}]}, "model": {
            "init": dict(init, model_type=name), "tokenizer": {"train": {"vocabSize": 280}}}})
        compare(logits, f"{folder}/{name}")
        train(trainer, folder, name + "-score", {"method": "RewardModel", "objective": {"type": "KWise"}, "model": {"uri": f"file://{folder}/{name}"},
                                                 "data": {"train": [{"uri": f"file://{ranked}"}]}})
        compare(logits, f"{folder}/{name}-score")


main(*sys.argv[1:])
