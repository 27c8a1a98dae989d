"""Loads what publish.py published with vLLM on a CPU and compares its logits and scores with ours: see README.md beside it.

    vllm_loads.py LOGITS DIR [CASE...]
"""
import json
import os
import subprocess
import sys

os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1", VLLM_LOGGING_LEVEL="ERROR", HF_HUB_OFFLINE="1")

import torch
import transformers
import vllm

import publish

CHAT = [{"role": "user", "content": "What is 2 doubled?"}]
TOKENS = {"prompt_token_ids": list(range(1, 13))}


def scores(model, folder, ours):
    out = model.classify(TOKENS, pooling_params=vllm.PoolingParams(use_activation=False), use_tqdm=False)
    with open(f"{folder}/config.json") as f:
        shift = json.load(f).get("reward_shift", 0)  # which vLLM does not know
    off = abs(out[0].outputs.probs[0] + shift - ours[-1, 0].item())
    assert off < 1e-4, off
    return f"the score of the last token off by {off:.1e}"


def logits(model, folder, ours):
    vocab = ours.shape[1]
    every = -1 if vocab < 1000 else None  # position, or the last
    out = model.generate(TOKENS, vllm.SamplingParams(temperature=0, max_tokens=1, logprobs=-1, prompt_logprobs=every), use_tqdm=False)[0]
    rows = [*(out.prompt_logprobs or [])[1:], out.outputs[0].logprobs[0]]
    theirs = torch.tensor([[row[i].logprob for i in range(vocab)] for row in rows])  # raw logits
    off = (theirs - ours[-len(rows):]).abs().max().item()
    chat = model.chat(CHAT, vllm.SamplingParams(max_tokens=1), use_tqdm=False)[0].prompt_token_ids
    assert chat == transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    assert off < 1e-4, off
    return f"{vocab} logits of {len(rows)} tokens off by at most {off:.1e}, a conversation's tokens the same"


def compare(program, folder):
    ours = torch.tensor(json.loads(subprocess.run([program, folder], check=True, capture_output=True).stdout)).view(12, -1)
    model = vllm.LLM(folder, dtype="float32", enforce_eager=True, max_model_len=64, max_num_seqs=1, max_logprobs=-1, logprobs_mode="raw_logits")
    return model.llm_engine.model_config.architecture + ", " + (scores if folder.endswith("-score") else logits)(model, folder, ours)


def main(program, folder, *cases):
    for name in cases or [*publish.CASES, *(s + "-score" for s in publish.SCORES)]:
        print(f"{name}: {compare(program, f'{folder}/{name}')}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
