"""Writes the reference vectors of runtime/objective: see README.md beside it."""
import gzip
import json
import random
import sys
from types import SimpleNamespace

import torch
import torch.nn.functional as F
import transformers
import trl
from torch.nn.utils.rnn import pad_sequence

import trl_losses

CASES = 24  # of each variant of an objective
PAIRS = ("chosen", "rejected")


# Inputs. Four decimals: both types read the same text, and the file stays small.

def token_logps(rng, n, scale):
    return [-round(max(0.05, rng.expovariate(1 / scale)), 4) for _ in range(n)]


def near(rng, tokens, spread):
    return [-round(max(0.0001, -x + rng.gauss(0, spread)), 4) for x in tokens]


def pairs(rng, reference):
    scale = rng.choice([0.5, 1, 2, 15])  # the last saturates sigmoids
    policy = {k: [token_logps(rng, rng.randint(1, 6), scale) for _ in range(n)]
              for n in [rng.randint(1, 3)] for k in PAIRS}
    if not reference:
        return {"policy": policy}
    return {"policy": policy, "reference": {k: [near(rng, x, scale / 2) for x in policy[k]] for k in PAIRS}}


def ranks(rng, k):
    """With ties, now and then of all but one."""
    while True:
        r = [rng.randint(1, rng.choice([2, k])) for _ in range(k)]
        if len(set(r)) > 1:
            return r


def ranked(rng, p):
    k = rng.randint(2, 6)
    return {"responses": [token_logps(rng, rng.randint(1, 6), 1) for _ in range(k)], "ranks": ranks(rng, k)}


def scored(rng, p):
    k = rng.randint(2, 9)
    return {"scores": [round(rng.gauss(0, rng.choice([1, 10])), 4) for _ in range(k)], "ranks": ranks(rng, k)}


def rollouts(rng, p):
    logps = [token_logps(rng, rng.randint(1, 6), 1) for _ in range(rng.randint(2, 4))]
    some = lambda spread, around=0: [[round(rng.gauss(around, spread), 4) for _ in x] for x in logps]
    old_values = some(1)
    return {
        "logps": logps, "oldLogps": [near(rng, x, 0.2) for x in logps], "refLogps": [near(rng, x, 0.5) for x in logps],
        "values": [[round(v + rng.gauss(0, 0.3), 4) for v in x] for x in old_values], "oldValues": old_values,
        "score": [round(rng.gauss(0, 2), 4) for _ in logps],
    }


# Losses. Each takes parameters and a case's leaves and returns the loss, and the rewards where it has them.

def leaf(values, dtype):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def total(responses):
    return torch.stack([x.sum() for x in responses])


def mean(responses):
    return torch.stack([x.mean() for x in responses])


def both(reduce, side):
    return [reduce(side[k]) for k in PAIRS]


def lengths(responses):
    return torch.tensor([len(x) for x in responses], dtype=responses[0].dtype)


def dpo(kind, strength="beta", smoothing=False, reduce=total):
    def loss(p, policy, reference):
        e = p["labelSmoothing"] if smoothing else 0.0
        losses, chosen, rejected = trl_losses.dpo(kind, p[strength], e, both(reduce, policy), both(reduce, reference))
        return losses.mean(), chosen, rejected
    return loss


def rdpo(p, policy, reference):
    """arXiv:2403.19159: DPO's margin with alpha |y_w| - alpha |y_l| added."""
    (lw, ll), (rw, rl) = both(total, policy), both(total, reference)
    chosen, rejected = p["beta"] * (lw - rw), p["beta"] * (ll - rl)
    longer = lengths(policy["chosen"]) - lengths(policy["rejected"])
    return -F.logsigmoid(chosen - rejected + p["alpha"] * longer).mean(), chosen, rejected


def kto(p, policy, reference, kl):
    losses, chosen, rejected = trl_losses.kto(p["beta"], p["desirableWeight"], p["undesirableWeight"], kl,
                                              both(total, policy), both(total, reference))
    return losses.nanmean(), chosen, rejected


def simpo(p, policy):
    reduce = mean if p["lengthNormalize"] else total
    losses, chosen, rejected = trl_losses.cpo("simpo", p["beta"], both(reduce, policy), p["gamma"])
    return losses.mean(), chosen, rejected


def nll(p, policy):
    """Of the chosen responses, [pairs]. TRL's mean is over the tokens of the batch; ours is each pair's own, which is
    TRL's when pairs come one by one."""
    return -(mean if p["nllReduction"] == "mean" else total)(policy["chosen"])


def cpo(p, policy):
    losses, chosen, rejected = trl_losses.cpo("sigmoid", p["beta"], both(total, policy))
    return (losses + p["lambda"] * nll(p, policy)).mean(), chosen, rejected


def slic(p, policy):
    """arXiv:2305.10425, its ranking loss with the chosen response as regularisation target. TRL's hinge is
    relu(1 - beta margin): its beta is 1 / delta."""
    losses, _, _ = trl_losses.cpo("hinge", 1 / p["delta"], both(total, policy))
    return (p["delta"] * losses + p["lambda"] * nll(p, policy)).mean(), None, None


def orpo(p, policy):
    """The likelihood is each pair's own mean, as in nll."""
    weighted, chosen, rejected = trl_losses.odds_ratio(p["lambda"], both(mean, policy))
    return (-mean(policy["chosen"]) - weighted).mean(), chosen, rejected


def rrhf(p, responses, ranks):
    """arXiv:2304.05302, section 3.1, with the likelihood term weighed."""
    scores = total(responses) / lengths(responses) ** p["lengthExponent"]
    hinges = [F.relu(scores[i] - scores[j]) for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] > ranks[j]]
    return sum(hinges) - p["lambda"] * responses[ranks.index(min(ranks))].sum(), None, None


def reward_model(p, scores, ranks):
    """arXiv:2203.02155, equation 1 of one prompt: TRL's loss on a batch of all its pairs."""
    ordered = [(i, j) for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] < ranks[j]]
    better, worse = zip(*ordered)
    return trl_losses.reward(scores[list(better)], scores[list(worse)]), None, None


# Cases.

def number(x, dtype):
    """The shortest decimal that reads back as x."""
    return x if dtype == torch.float64 else float(str(torch.tensor(x, dtype=dtype).numpy()))


def plain(x, dtype):
    if isinstance(x, dict):
        return {k: plain(v, dtype) for k, v in x.items()}
    if isinstance(x, list):
        return [plain(v, dtype) for v in x]
    return number(x, dtype) if isinstance(x, float) else plain(x.detach().tolist(), dtype)


def grad(x):
    if isinstance(x, dict):
        return {k: grad(v) for k, v in x.items()}
    return [grad(v) for v in x] if isinstance(x, list) else x.grad


def of_pairs(loss, case, dtype):
    sides = {s: {k: [leaf(x, dtype) for x in case[s][k]] for k in PAIRS} for s in ("policy", "reference") if s in case}
    extra = {k: case[k] for k in ("kl",) if k in case}
    value, chosen, rejected = loss(case["params"], **sides, **extra)
    value.backward()
    want = {"loss": value, "grad": grad(sides["policy"])}
    if chosen is not None:
        want["metrics"] = {
            "rewards/chosen": chosen.mean(), "rewards/rejected": rejected.mean(),
            "rewards/margins": (chosen - rejected).mean(), "rewards/accuracies": (chosen > rejected).to(dtype).mean(),
        }
    return want


def of_ranked(loss, case, dtype):
    leaves = [leaf(x, dtype) for x in case["responses"]]
    value, _, _ = loss(case["params"], leaves, case["ranks"])
    value.backward()
    return {"loss": value, "grad": grad(leaves)}


def of_scores(loss, case, dtype):
    leaves = leaf(case["scores"], dtype)
    value, _, _ = loss(case["params"], leaves, case["ranks"])
    value.backward()
    return {"loss": value, "grad": leaves.grad}


def of_rollouts(_, case, dtype):
    torch.set_default_dtype(dtype)  # masked_var divides two integers: else its n / (n - 1) is float32 in float64 too
    p = case["params"]
    logps, old_logps, ref_logps, values, old_values = (
        [leaf(x, dtype) for x in case[k]] for k in ("logps", "oldLogps", "refLogps", "values", "oldValues"))
    args = SimpleNamespace(cliprange=p["clipRange"], cliprange_value=p["valueClipRange"], gamma=p["gamma"],
                           lam=p["gaeLambda"], kl_coef=p["klCoef"], whiten_rewards=False)
    padded = [pad_sequence(x, batch_first=True) for x in (logps, old_logps, ref_logps, values, old_values)]
    n = [len(x) for x in logps]
    out = trl_losses.ppo(args, n, *padded, torch.tensor(case["score"], dtype=dtype), p["whiten"])
    out.pg_loss.backward()
    out.vf_loss.backward()
    unpadded = lambda t: [row[:k] for row, k in zip(t, n)]
    return {
        "policyLoss": out.pg_loss, "valueLoss": out.vf_loss, "rewards": unpadded(out.rewards),
        "advantages": unpadded(out.advantages), "returns": unpadded(out.returns),
        "grad": {"logps": grad(logps), "values": grad(values)},
    }


def choose(**choices):
    return lambda rng: {k: rng.choice(v) for k, v in choices.items()}


def with_reference(rng, p):
    return pairs(rng, True)


def without_reference(rng, p):
    return pairs(rng, False)


def with_kl(rng, p):
    return pairs(rng, True) | {"kl": round(rng.gauss(1, 2), 4)}


BETA = [0.05, 0.1, 0.5, 2.0]
VARIANTS = [  # objective, its parameters, its inputs, its loss, how it is run
    ("DPO", choose(beta=BETA), with_reference, dpo("sigmoid"), of_pairs),
    ("CDPO", choose(beta=BETA, labelSmoothing=[0.0, 0.1, 0.3]), with_reference, dpo("sigmoid", smoothing=True), of_pairs),
    ("Robust", choose(beta=BETA, labelSmoothing=[0.0, 0.1, 0.4]), with_reference, dpo("robust", smoothing=True), of_pairs),
    ("IPO", choose(tau=BETA, ipoReduction=["sum"]), with_reference, dpo("ipo", "tau"), of_pairs),
    ("IPO", choose(tau=BETA, ipoReduction=["mean"]), with_reference, dpo("ipo", "tau", reduce=mean), of_pairs),
    ("RDPO", choose(beta=BETA, alpha=[0.0, 0.05, 0.5]), with_reference, rdpo, of_pairs),
    ("KTO", choose(beta=BETA, desirableWeight=[1.0, 1.33, 0.5], undesirableWeight=[1.0, 0.7]), with_kl, kto, of_pairs),
    ("SimPO", choose(beta=[1.0, 2.0, 2.5], gamma=[0.0, 0.3, 1.0, 1.6], lengthNormalize=[True]), without_reference, simpo, of_pairs),
    ("SimPO", choose(beta=[0.1, 1.0, 2.0], gamma=[0.0, 1.0], lengthNormalize=[False]), without_reference, simpo, of_pairs),
    ("CPO", choose(beta=BETA, **{"lambda": [0.0, 0.5, 1.0]}, nllReduction=["sum"]), without_reference, cpo, of_pairs),
    ("CPO", choose(beta=BETA, **{"lambda": [0.5, 1.0]}, nllReduction=["mean"]), without_reference, cpo, of_pairs),
    ("ORPO", choose(**{"lambda": [0.0, 0.1, 1.0]}), without_reference, orpo, of_pairs),
    ("SLiCHF", choose(delta=[0.5, 1.0, 10.0], **{"lambda": [0.0, 0.1, 1.0]}, nllReduction=["sum"]), without_reference, slic, of_pairs),
    ("SLiCHF", choose(delta=[0.5, 1.0, 10.0], **{"lambda": [0.1, 1.0]}, nllReduction=["mean"]), without_reference, slic, of_pairs),
    ("RRHF", choose(**{"lambda": [0.0, 0.5, 1.0]}, lengthExponent=[0.0, 0.5, 1.0]), ranked, rrhf, of_ranked),
    ("RewardModel", choose(), scored, reward_model, of_scores),
    ("PPO", choose(clipRange=[0.1, 0.2], valueClipRange=[0.1, 0.2, 1.0], gamma=[1.0, 0.9], gaeLambda=[0.95, 0.0, 1.0],
                   klCoef=[0.0, 0.02, 0.5], whiten=[True, False]), rollouts, None, of_rollouts),
]


def main(path):
    rng = random.Random(1)
    versions = {"torch": torch.__version__, "trl": trl.__version__, "transformers": transformers.__version__}
    with open(path, "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as out:
        def write(line):
            out.write((json.dumps(line, separators=(",", ":")) + "\n").encode())
        write({"versions": versions})
        for name, parameters, inputs, loss, run in VARIANTS:
            for _ in range(CASES):
                params = parameters(rng)
                case = {"objective": name, "params": params} | inputs(rng, params)
                write({"case": case} | {key: plain(run(loss, case, dtype), dtype)
                                        for key, dtype in (("want", torch.float64), ("want32", torch.float32))})


main(sys.argv[1])
