"""Holds a run against slo.toml: one verdict a bound, in words.

Pure. Guarded here: a bound that could not be judged says so and why; it is never taken for kept.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from loadtests.cost import Cost
from loadtests.nouns import Allowed, Plan, Slo
from loadtests.seen import Seen, percentile

SHOWN: Final = "of the whole run it is shown here, and judged by `make load`"
AUTHORIZATIONS_MIN: Final = 300
"""Of fewer, the 99th percentile is the luck of three requests."""
COST: Final = "cost of a million transactions without storage"
COST_RATIO: Final = "cost against today's"


class Gate(Struct, frozen=True):
    """One bound, and what was measured."""

    run: str
    name: str
    measured: str
    bound: str
    kept: bool | None
    """None: it was not judged."""
    why: str = ""
    chance: bool = False
    """It may be the machine's doing: `--gate` measures such a run once more before it believes it."""

    def line(self) -> str:
        """The verdict in one line."""
        verdict = {True: "kept", False: "FAILED", None: "not judged"}[self.kept]
        text = f"{verdict}: {self.run}: {self.name}: {self.measured}, bound {self.bound}"
        return text + (f" ({self.why})" if self.why else "")


class Books(Struct, frozen=True):
    """What the proof after a run found; sentences of what is wrong."""

    ids: list[str]
    balances: list[str]
    acknowledged: int


def at_most(run: str, name: str, value: float | None, bound: float, unit: str = "", why: str = "", *,
            chance: bool = False) -> Gate:  # fmt: skip
    """A value that must not be above its bound."""
    kept = None if value is None else value <= bound
    shown = "nothing measured" if value is None else f"{value:.4g}{unit}"
    return Gate(run, name, shown, f"<= {bound:.4g}{unit}", kept, why, chance)


def latency(plan: Plan, seen: Seen, slo: Slo, allowed: Allowed | None) -> list[Gate]:
    """Percentiles of authorizations, from when they were due: in ms, or in commits (see `judge`)."""
    bound = slo.bound_for(plan.requests_per_s)
    counts = seen.judged_authorizations
    rate = f"at {plan.requests_per_s:,.0f} requests/s"
    if bound is None:
        shown = f"{percentile(counts, 99.0) or 0.0:.4g} ms {rate}"
        return [Gate(plan.profile, "authorization p99", shown, "none", None, "no bound for so high a rate")]
    if counts.total() < AUTHORIZATIONS_MIN:
        shown = f"{percentile(counts, 99.0) or 0.0:.4g} ms {rate}"
        why = f"only {counts.total()} authorizations, too few for a percentile"
        return [Gate(plan.profile, "authorization p99", shown, f"<= {bound.p99_ms:g} ms", None, why)]
    found = []
    for share, limit in bound.percentiles().items():
        name, whole = f"authorization p{share:g} {rate}", percentile(counts, share)
        if allowed is None:
            found.append(at_most(plan.profile, name, whole, limit, " ms", chance=True))
            continue
        found.append(in_commits(plan, seen, share, f"{name}, in commits", allowed.get((plan.profile, share))))
        found.append(Gate(plan.profile, name, f"{whole:.4g} ms", f"<= {limit:g} ms", None, SHOWN))
    return found


def in_commits(plan: Plan, seen: Seen, share: float, name: str, bound: float | None) -> Gate:
    """A typical percentile of authorizations over the time that a commit of next to nothing took beside them."""
    value = seen.in_commits(share)
    if value is None or bound is None:
        why = "no commits were made beside it" if value is None else "too few runs are kept"
        return Gate(plan.profile, name, "" if value is None else f"{value:.4g}", "none", None, why)
    return at_most(plan.profile, name, value, bound, chance=True)


def judge(plan: Plan, seen: Seen, books: Books, queue_rows: float | None, slo: Slo,
          allowed: Allowed | None = None) -> list[Gate]:  # fmt: skip
    """All bounds of one run except cost. On a ramp, which ends where the server does, only the books count.

    With `allowed` latency is that of the run's typical five seconds over that of a commit beside it, and may be as
    much as kept runs were seen to have: what a gate needs that must fall for a slower server, and not for a slower
    disk or because the machine was away for a moment. Without, it is ms of the whole run, as slo.toml has it."""
    run, found = plan.profile, []
    if not plan.past_the_knee:
        found += latency(plan, seen, slo, allowed)
        reasons = [f"{count} x {error}" for error, count in seen.errors.most_common(3)]
        reasons += [f"{seen.missed} were due and never answered"] if seen.missed else []
        errors = ", ".join(reasons)
        found.append(at_most(run, "errors, share of requests", seen.error_share, slo.rates.error_max, why=errors))
        found.append(at_most(run, "declined, share of commands", seen.declined_share, slo.rates.declined_max))
        achieved = seen.achieved_share
        kept = achieved >= slo.rates.achieved_min
        found.append(Gate(run, "answered within the run, share of what was due", f"{achieved:.4f}",
                          f">= {slo.rates.achieved_min:g}", kept, chance=True))  # fmt: skip
        found.append(at_most(run, "queue, rows", queue_rows, slo.books.queue_rows_max, chance=True))
        if seen.effort.gave_out:
            found = on_a_generator_that_gave_out(found, seen.effort.busiest)
    retries = seen.totals["wrong_retries"]
    found.append(at_most(run, f"wrong retries, of {seen.totals['retries']}", retries, slo.books.wrong_retries_max))
    shown = f"{books.acknowledged} acknowledged ids, {len(books.ids)} failures"
    kept = len(books.ids) <= slo.books.lost_max
    found.append(Gate(run, "durability", shown, f"<= {slo.books.lost_max}", kept, "; ".join(books.ids)))
    found.append(Gate(run, "trial balance", "does not balance" if books.balances else "balances", "balances",
                      not books.balances, "; ".join(books.balances)))  # fmt: skip
    return found


def on_a_generator_that_gave_out(found: list[Gate], busiest: float) -> list[Gate]:
    """What was broken and may be the generator's own lateness is not judged; it is said."""
    why = f"the load generator itself gave out: {busiest:.0%} of a core"
    return [replace(gate, kept=None, why=why) if gate.kept is False and gate.chance else gate for gate in found]


def on_a_busy_machine(found: list[Gate], others_cores: float) -> list[Gate]:
    """What was broken and may be chance is not judged where something else had the cores; it is said."""
    why = f"{others_cores:.1f} cores were busy with something else"
    return [replace(gate, kept=None, why=why) if gate.kept is False and gate.chance else gate for gate in found]


def judge_cost(today: Cost | None, projected: Cost | None, slo: Slo) -> list[Gate]:
    """The bounds on cost at each scale, and of one scale to the other."""
    found = []
    why = "the CPU of server and PostgreSQL cannot be seen, or the scale was not run"
    for run, cost in (("today", today), ("projected", projected)):
        value = None if cost is None else cost.running_usd
        found.append(at_most(run, COST, value, slo.cost.usd_per_million_max, " USD", "" if cost else why))
    both = today is not None and projected is not None
    ratio = projected.running_usd / today.running_usd if today is not None and projected is not None else None
    found.append(at_most("projected", COST_RATIO, ratio, slo.cost.ratio_max, why="" if both else why))
    return found


def knee(plan: Plan, seen: Seen, slo: Slo) -> dict[str, float] | None:
    """On a ramp, the last stair before authorizations took longer than the last bound of slo.toml."""
    best, began_s = None, 0.0
    for stretch in plan.stretches:
        ends_s = began_s + stretch.seconds
        p99_ms = percentile(seen.judged_authorizations_between(began_s, ends_s), 99.0)
        if p99_ms is None or p99_ms > slo.authorization[-1].p99_ms:
            break
        offered = stretch.per_s / plan.transactions_per_s * plan.requests_per_s
        best = {"requests_per_s": round(offered, 1), "p99_ms": round(p99_ms, 2)}
        began_s = ends_s
    return best
