"""The speed of the whole product with real processes on this machine: `scripts/bench`.

    load ⇄ entrance ⇄ … ⇄ target

An *entrance* is a TCP port that leads to one and the same target service. Ours are `direct` and `relayed` (each with
a server, a destination and a source of its own) and `plain`, a process that copies TCP to TCP with the product's copy
loop and nothing else; those of other programs are named on the command line. Every figure is taken at all entrances
one after the other, round after round, so that a busy neighbour of the machine troubles all of them alike, and a ratio
is the median of the ratios within each round.

Both ends of the load are our own processes and need the same CPUs: speeds are those of this machine with all of it
running, CPU seconds are those of the processes in between alone.
"""
