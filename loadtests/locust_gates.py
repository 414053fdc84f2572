"""The bounds that Locust's own statistics can be held against, for runs of the locustfile by itself.

Guarded here: nothing is judged that was not measured.
"""

from __future__ import annotations

from locust.stats import RequestStats

from loadtests.nouns import AUTHORIZE, Slo


def broken(stats: RequestStats, slo: Slo, requests_per_s: float) -> list[str]:
    """One line for each bound that was not kept."""
    found = []
    total = stats.total
    if total.num_requests and total.num_failures / total.num_requests > slo.rates.error_max:
        found.append(f"errors: {total.num_failures} of {total.num_requests} requests")
    bound = slo.bound_for(requests_per_s)
    entries = [entry for (name, _), entry in stats.entries.items() if name.startswith(AUTHORIZE)]
    for entry in entries if bound is not None else []:
        assert bound is not None
        for share, limit_ms in bound.percentiles().items():
            measured_ms = entry.get_response_time_percentile(share / 100.0)
            if measured_ms > limit_ms:
                found.append(f"authorization p{share:g}: {measured_ms} ms, at most {limit_ms:g} ms")
    return found
