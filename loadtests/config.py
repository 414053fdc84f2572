"""Reads profiles.toml, slo.toml and prices.toml.

Guarded here: a file that says something unknown, or shares that do not add up, is refused in one line before
anything is started.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

import msgspec

from loadtests.nouns import Prices, Profiles, Slo

HERE: Final = Path(__file__).parent
PROFILES: Final = HERE / "profiles.toml"
SLO: Final = HERE / "slo.toml"
PRICES: Final = HERE / "prices.toml"

T = TypeVar("T")


class BadConfig(ValueError):
    """A file cannot be used. `str()` is one clear line."""


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=kind, strict=False)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadConfig(f"{path.name}: {error}") from error


def profiles(path: Path = PROFILES) -> Profiles:
    """The profiles, checked. Raises `BadConfig`."""
    found = _read(path, Profiles)
    for name, mix in found.mix.items():
        if abs(mix.card + mix.wallet + mix.bulk - 1.0) > 1e-6 or min(mix.card, mix.wallet, mix.bulk, mix.reads) < 0:
            raise BadConfig(f"{path.name}: the shares of mix.{name} do not add up to 1")
    behaviour = found.behaviour
    if behaviour.capture_full + behaviour.capture_part + behaviour.void > 1.0:
        raise BadConfig(f"{path.name}: captures and voids are more than all authorizations")
    for name, profile in found.profile.items():
        said = [each for each in (profile.requests_per_s, profile.transactions_per_s, profile.volume) if each]
        if len(said) != 1:
            raise BadConfig(f"{path.name}: profile.{name} takes one of requests_per_s, transactions_per_s and volume")
        if profile.mix not in found.mix:
            raise BadConfig(f"{path.name}: profile.{name} names the mix {profile.mix!r}, which is not there")
    for name in {*found.suite.load, *found.suite.gate} - set(found.profile):
        raise BadConfig(f"{path.name}: suite names the profile {name!r}, which is not there")
    return found


def slo(path: Path = SLO) -> Slo:
    """The bounds. Raises `BadConfig`."""
    found = _read(path, Slo)
    rates = [bound.requests_per_s for bound in found.authorization]
    if rates != sorted(rates):
        raise BadConfig(f"{path.name}: the authorization bounds are not in order of their rates")
    return found


def prices(path: Path = PRICES) -> Prices:
    """The prices. Raises `BadConfig`."""
    found = _read(path, Prices)
    if not 0.0 < found.compute.used_share <= 1.0:
        raise BadConfig(f"{path.name}: compute.used_share is a share: above 0, at most 1")
    if found.storage.database_months > found.storage.retention_months:
        raise BadConfig(f"{path.name}: rows stay in the database for longer than they are kept at all")
    return found
