"""Times the training step of BenchmarkStep (runtime/model), written as PyTorch programs write it: see README.md."""
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

VOCAB, HIDDEN, INNER, LAYERS, HEADS, KV, ROWS, SEQ = 2048, 128, 352, 4, 4, 2, 64, 64
DIM = HIDDEN // HEADS


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = Norm(), Norm()
        self.q = nn.Linear(HIDDEN, HEADS * DIM, bias=False)
        self.k = nn.Linear(HIDDEN, KV * DIM, bias=False)
        self.v = nn.Linear(HIDDEN, KV * DIM, bias=False)
        self.o = nn.Linear(HEADS * DIM, HIDDEN, bias=False)
        self.gate = nn.Linear(HIDDEN, INNER, bias=False)
        self.up = nn.Linear(HIDDEN, INNER, bias=False)
        self.down = nn.Linear(INNER, HIDDEN, bias=False)

    def forward(self, x, cos, sin, mask):
        h = self.norm1(x)
        q = self.q(h).view(ROWS, SEQ, HEADS, DIM).transpose(1, 2)
        k = self.k(h).view(ROWS, SEQ, KV, DIM).transpose(1, 2)
        v = self.v(h).view(ROWS, SEQ, KV, DIM).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = k.repeat_interleave(HEADS // KV, 1), v.repeat_interleave(HEADS // KV, 1)
        scores = q @ k.transpose(2, 3) * DIM ** -0.5 + mask
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(ROWS, SEQ, HEADS * DIM)
        x = x + self.o(mixed)
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, HIDDEN)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = Norm()
        frequencies = 1 / 10000 ** (torch.arange(0, DIM, 2) / DIM)
        angles = torch.outer(torch.arange(SEQ), frequencies)
        self.cos, self.sin = torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin()

    def forward(self, tokens, mask, sources):
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin, mask)
        return F.linear(self.norm(x).flatten(0, 1)[sources], self.embed.weight)


def main():
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    model = Llama()
    for p in model.parameters():
        if p.dim() == 2:
            nn.init.normal_(p, std=0.02)
    decayed = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    adamw = torch.optim.AdamW([{"params": decayed}, {"params": others, "weight_decay": 0}], lr=1e-3, foreach=True)
    # The benchmark's batch: lengths 50 to 64, the first 20 tokens a prompt, padding at the end.
    lengths = torch.tensor([50 + r % 15 for r in range(ROWS)])
    column = torch.arange(SEQ)
    tokens = torch.randint(0, VOCAB, (ROWS, SEQ))
    causal = column[:, None] >= column[None, :]
    real = column < lengths[:, None]
    mask = torch.zeros(ROWS, 1, SEQ, SEQ).masked_fill(~(causal & real[:, None, None, :]), torch.finfo(torch.float32).min)
    flat = torch.arange(ROWS * SEQ).view(ROWS, SEQ)
    counts = (column[None] >= 19) & (column[None] < lengths[:, None] - 1)
    sources, targets = flat[counts], tokens.flatten()[flat[counts] + 1]
    times = []
    for _ in range(40):
        start = time.perf_counter()
        loss = F.cross_entropy(model(tokens, mask, sources), targets)
        adamw.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        loss.item()
        times.append(time.perf_counter() - start)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, loss {loss.item():.3f}: "
          f"median {1e3 * statistics.median(times[5:]):.1f} ms, best {1e3 * min(times):.1f} ms a step of {int(lengths.sum())} tokens, {len(targets)} targets")


main()
