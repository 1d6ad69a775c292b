"""A seed decides what goes wrong, and a storm has its share of everything."""

from collections import Counter

from mercato.storm.schedule import GROUPS, draw
from mercato.storm.smtp import STAGES


def test_the_same_seed_brings_the_same_faults() -> None:
    assert draw(7, 60) == draw(7, 60)
    assert draw(7, 60) != draw(8, 60)


def test_a_storm_of_a_minute_has_every_kind_of_fault() -> None:
    for seed in range(50):
        faults = draw(seed, 60)
        counts = Counter(fault.kind for fault in faults)
        kinds = {"kill", "stop", "wipe", "flush", "cut", "stall", "delay", "drop replies"}
        assert set(counts) == kinds | {f"cut {stage}" for stage in STAGES}
        assert counts["wipe"] == 4
        assert Counter(f.target for f in faults if f.kind == "kill")["mongo"] == 3
        assert sum(f.group == "services" and f.kind == "kill" for f in faults) == 72


def test_all_faults_are_over_when_the_storm_is() -> None:
    for seed in range(50):
        faults = draw(seed, 20)
        assert all(0 <= fault.at_s <= fault.at_s + fault.lasts_s <= 20 for fault in faults)
        assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)


def test_leaving_out_a_group_leaves_the_others_as_they_are() -> None:
    whole = draw(3, 60)
    for group in GROUPS:
        assert draw(3, 60, [group]) == [fault for fault in whole if fault.group == group]
