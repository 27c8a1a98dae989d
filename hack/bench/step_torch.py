#!/usr/bin/python3
"""Times one training step of the demo's model in PyTorch, as a well-written trainer does it.

The model is a Llama written as in Hugging Face's modelling code: padded batches, logits at all
positions. DPO concatenates chosen and rejected with their prompts, as TRL does. A step is
forward, backward, clipping and AdamW. Lengths come from lengths.txt.

Prints one JSON line: the median seconds of a step over the given number of rounds, each over
all batches, and tokens per second without padding.
"""
import argparse
import json
import math
import os
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, INTERMEDIATE = 2048, 128, 4, 4, 2, 352
HEAD_DIM = HIDDEN // HEADS
IGNORE = -100


class RMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x):  # [batch, seqLen, hidden]
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotate(x, cos, sin):  # [batch, heads, seqLen, headDim]
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(HIDDEN, HEADS * HEAD_DIM, bias=False)
        self.k_proj = nn.Linear(HIDDEN, KV_HEADS * HEAD_DIM, bias=False)
        self.v_proj = nn.Linear(HIDDEN, KV_HEADS * HEAD_DIM, bias=False)
        self.o_proj = nn.Linear(HEADS * HEAD_DIM, HIDDEN, bias=False)

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        q = self.q_proj(x).view(batch, length, HEADS, HEAD_DIM).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, KV_HEADS, HEAD_DIM).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, KV_HEADS, HEAD_DIM).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k = k.repeat_interleave(HEADS // KV_HEADS, dim=1)
        v = v.repeat_interleave(HEADS // KV_HEADS, dim=1)
        scores = q @ k.transpose(2, 3) / math.sqrt(HEAD_DIM) + mask  # [batch, heads, seqLen, seqLen]
        y = F.softmax(scores, dim=-1) @ v  # [batch, heads, seqLen, headDim]
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, HEADS * HEAD_DIM))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(), RMSNorm()
        self.self_attn = Attention()
        self.gate_proj = nn.Linear(HIDDEN, INTERMEDIATE, bias=False)
        self.up_proj = nn.Linear(HIDDEN, INTERMEDIATE, bias=False)
        self.down_proj = nn.Linear(INTERMEDIATE, HIDDEN, bias=False)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        h = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


class Llama(nn.Module):
    """Logits [batch, seqLen, vocab]; the head is tied to the embedding."""

    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB, HIDDEN)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = RMSNorm()
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens, attention_mask):  # [batch, seqLen], true: not padding
        length = tokens.shape[1]
        frequencies = 1 / 10000 ** (torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        angles = torch.outer(torch.arange(length).float(), frequencies)
        angles = torch.cat((angles, angles), dim=-1)  # [seqLen, headDim]
        keep = torch.ones(length, length, dtype=torch.bool).tril() & attention_mask[:, None, None, :]
        mask = torch.zeros(keep.shape).masked_fill(~keep, torch.finfo(torch.float32).min)
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin(), mask)
        return F.linear(self.norm(x), self.embed_tokens.weight)


def rows(lengths, generator):
    """Padded tokens, attention mask and labels of [(prompt, response)] lengths."""
    longest = max(p + r for p, r in lengths)
    tokens = torch.zeros(len(lengths), longest, dtype=torch.long)
    labels = torch.full_like(tokens, IGNORE)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    for i, (prompt, response) in enumerate(lengths):
        n = prompt + response
        tokens[i, :n] = torch.randint(2, VOCAB, (n,), generator=generator)
        labels[i, prompt:n] = tokens[i, prompt:n]
        mask[i, :n] = True
    return tokens, mask, labels


def logps(logits, labels):
    """Log-probabilities summed over response tokens: [batch]."""
    logits, labels = logits[:, :-1], labels[:, 1:]
    keep = labels != IGNORE
    token_logps = logits.gather(2, labels.clamp(min=0)[..., None])[..., 0] - logits.logsumexp(-1)
    return (token_logps * keep).sum(-1)


def sft_loss(policy, batch):
    tokens, mask, labels = batch
    logits = policy(tokens, mask)
    return F.cross_entropy(logits[:, :-1].reshape(-1, VOCAB), labels[:, 1:].reshape(-1), ignore_index=IGNORE)


def dpo_loss(policy, reference, batch, beta=0.1):
    tokens, mask, labels = batch  # chosen rows, then rejected rows
    policy_logps = logps(policy(tokens, mask), labels)
    with torch.no_grad():
        reference_logps = logps(reference(tokens, mask), labels)
    rewards = beta * (policy_logps - reference_logps)
    chosen, rejected = rewards.chunk(2)
    return -F.logsigmoid(chosen - rejected).mean()


def read_batches(path, size, key):
    """Examples of about the same length together, as the trainer batches them."""
    with open(path) as f:
        lengths = [tuple(map(int, line.split())) for line in f if not line.startswith("#")]
    lengths.sort(key=key)
    return [lengths[i:i + size] for i in range(0, len(lengths), size)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=["sft", "dpo"], required=True)
    parser.add_argument("--lengths", default=os.path.join(os.path.dirname(__file__), "lengths.txt"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    policy, reference = Llama(), Llama()
    reference.load_state_dict(policy.state_dict())
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-4, weight_decay=0.1, foreach=True)

    batches, tokens = [], 0
    for lengths in read_batches(args.lengths, 64, (lambda l: l[0] + l[1]) if args.method == "sft" else sum):
        chosen, rejected = [(p, c) for p, c, _ in lengths], [(p, r) for p, _, r in lengths]
        batches.append(rows(chosen if args.method == "sft" else chosen + rejected, generator))
        tokens += int(batches[-1][1].sum())

    def step(batch):
        loss = sft_loss(policy, batch) if args.method == "sft" else dpo_loss(policy, reference, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    seconds, cpu = [], []
    for round_ in range(args.rounds + 1):  # the first is a warm-up
        start, cpu_start = time.perf_counter(), time.process_time()
        losses = [step(batch) for batch in batches]
        if round_ > 0:
            seconds.append((time.perf_counter() - start) / len(batches))
            cpu.append((time.process_time() - cpu_start) / len(batches))
    median = statistics.median(seconds)
    print(json.dumps({
        "engine": "PyTorch " + torch.__version__, "method": args.method, "threads": args.threads,
        "secondsPerStep": round(median, 5), "fastest": round(min(seconds), 5),
        "cpuSecondsPerStep": round(statistics.median(cpu), 5),
        "tokensPerSecond": round(tokens / len(batches) / median), "loss": round(losses[-1], 4),
    }))


if __name__ == "__main__":
    main()
