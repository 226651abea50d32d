"""Chaos runs: a seed draws a deployment, what it carries and what goes wrong; the real code lives through it in virtual
time, and has to be well again afterwards.

    drawing ── plan ── running ─┬─ world: machines, processes
                                ├─ faults
                                ├─ transfers
                                └─ invariants

`scripts/chaos` runs many.
"""
