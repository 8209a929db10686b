"""How long it takes to criticise every network of the catalogue, rule by rule; the goal is two seconds for all.

python benchmarks/critique.py
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable

import cnnatomy as cn
from _machine import describe
from cnnatomy.analysis import Account
from cnnatomy.critique import RULES, Purpose, Study
from cnnatomy.design.graph import no_garbage_collection

REPETITIONS = 5


def seconds(call: Callable[[], object]) -> float:
    """The median of a few runs."""
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    print(describe())
    networks = [entry.network() for entry in cn.ENTRIES]
    with no_garbage_collection():
        accounts = [network.account() for network in networks]
        counting = seconds(lambda: [network.account() for network in networks])
        whole = seconds(lambda: [rule_by_rule(account) for account in accounts])
        by_rule: Counter[str] = Counter()
        for account in accounts:
            by_rule.update(rule_by_rule(account))
    print(f"{len(networks)} networks described and counted: {counting:.2f} s")
    print(f"criticised by {len(RULES)} rules: {whole:.2f} s; with that: {counting + whole:.2f} s")
    for name, took in by_rule.most_common():
        print(f"  {took:7.3f} s  {name}")


def rule_by_rule(account: Account) -> dict[str, float]:
    """Seconds of each rule; what several need counts for the first that asks."""
    study, took = Study(account, Purpose()), {}
    for rule in RULES:
        start = time.perf_counter()
        list(rule(study))
        took[rule.name] = time.perf_counter() - start
    return took


if __name__ == "__main__":
    main()
