"""What follows from a profile: rates of each user, the shape's stretches, the books to start from.

Pure. Guarded here: the rates of all users add up to what the profile offers, in transactions and in
requests, and today's books are to the projected ones as the volumes are.
"""

from __future__ import annotations

from typing import Final

from loadtests.nouns import Behaviour, Mix, Plan, Profile, Profiles, Stretch

SECONDS_A_DAY: Final = 86_400.0
CUSTOMERS_MIN: Final = 100
ROWS_PER_ACCOUNT_MIN: Final = 1
MERCHANTS_SHARE: Final = 0.01
MERCHANTS_MIN: Final = 10


def card_transactions(behaviour: Behaviour) -> float:
    """Commands that one card authorization leads to, itself included, in the mean."""
    captured = behaviour.capture_full + behaviour.capture_part
    # One that overdraws is declined, and nothing follows.
    return 1.0 + (1.0 - behaviour.overdraw) * (captured * (1.0 + behaviour.refund) + behaviour.void)


def arrivals(mix: Mix, behaviour: Behaviour) -> dict[str, float]:
    """Arrivals of each kind of user for each transaction that is offered in all."""
    card = mix.card / card_transactions(behaviour)
    bulk = mix.bulk / behaviour.batch_rows
    return {"card": card, "wallet": mix.wallet, "bulk": bulk, "reader": mix.reads * (mix.card + mix.wallet + bulk)}


def requests_per_transaction(mix: Mix, behaviour: Behaviour) -> float:
    """Requests, with reads and retries, for each transaction."""
    writes = mix.card + mix.wallet + mix.bulk / behaviour.batch_rows
    return writes * (1.0 + behaviour.retry + mix.reads)


def base_per_s(profile: Profile, profiles: Profiles) -> float:
    """The profile's own rate in transactions a second, before its shape."""
    if profile.transactions_per_s:
        return profile.transactions_per_s
    if profile.requests_per_s:
        return profile.requests_per_s / requests_per_transaction(profiles.mix[profile.mix], profiles.behaviour)
    return per_day(profile.volume, profiles) / SECONDS_A_DAY * profiles.volume.peak_factor


def per_day(volume: str, profiles: Profiles) -> float:
    """Transactions a day at a scale."""
    return profiles.volume.projected_per_day if volume == "projected" else profiles.volume.today_per_day


def stretches(profile: Profile, per_s: float, duration_s: float) -> list[Stretch]:
    """The shape."""
    if profile.shape == "spike":
        third = duration_s / 3
        return [Stretch(third, per_s), Stretch(third, per_s * profile.spike_factor), Stretch(third, per_s)]
    if profile.shape == "ramp":
        top = per_s * profile.requests_per_s_end / profile.requests_per_s
        step = (top - per_s) / max(1, profile.stairs - 1)
        return [Stretch(duration_s / profile.stairs, per_s + step * stair) for stair in range(profile.stairs)]
    return [Stretch(duration_s, per_s)]


def preload(volume: str, profiles: Profiles) -> tuple[int, int, float]:
    """Accounts and journal rows to start from, and their share of what the volume asks for."""
    asked = profiles.volume
    accounts = asked.projected_per_day / asked.transactions_per_account_day
    rows = asked.projected_per_day * asked.journal_days
    share = min(1.0, profiles.preload.accounts_max / accounts, profiles.preload.rows_max / rows)
    scale = share * per_day(volume, profiles) / asked.projected_per_day
    customers = max(CUSTOMERS_MIN, round(accounts * scale))
    return customers, max(customers * ROWS_PER_ACCOUNT_MIN, round(rows * scale)), share


def merchants(customers: int) -> int:
    """How many merchants so many customers have."""
    return max(MERCHANTS_MIN, round(customers * MERCHANTS_SHARE))


def sampled(profile: Profile, per_s: float, per_request: float, profiles: Profiles, cores: int) -> float:
    """Of a volume's rate, the share that generator and server can do on cores that they share; 0 cores: all of it."""
    most_per_s = cores * profiles.machine.requests_per_s_a_core_max
    return min(1.0, most_per_s / (per_s * per_request)) if profile.volume and cores else 1.0


def plan(
    name: str, profiles: Profiles, *, duration_s: float = 0.0, requests_per_s: float = 0.0, cores: int = 0
) -> Plan:
    """One run; a duration or a rate that is given wins over the profile's. `cores`: shared with the server."""
    profile = profiles.profile[name]
    mix, behaviour = profiles.mix[profile.mix], profiles.behaviour
    per_request = requests_per_transaction(mix, behaviour)
    whole_per_s, share_offered = base_per_s(profile, profiles), 1.0
    if not requests_per_s:
        share_offered = sampled(profile, whole_per_s, per_request, profiles, cores)
    per_s = requests_per_s / per_request if requests_per_s else whole_per_s * share_offered
    shape = stretches(profile, per_s, duration_s or profile.duration_s)
    top = max(stretch.per_s for stretch in shape)
    customers, rows, share = preload(profile.volume or "today", profiles)
    return Plan(
        profile=name,
        shape=profile.shape,
        volume=profile.volume,
        mix=mix,
        behaviour=behaviour,
        stretches=shape,
        requests_per_s=top * per_request,
        transactions_per_s=top,
        accounts=customers,
        rows=rows,
        preload_share=share,
        offered_share=share_offered,
    )
