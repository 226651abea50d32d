"""How fast the product is on this machine: `scripts/bench`.

Five commands: `tunnels` (the whole product, TCP to TCP), `streams` (the Stream API alone), `wan` (simulated wide-area
links), `scale` (many connections and streams) and `goals` (all of it, beside what it has to reach).

    load ⇄ entrance ⇄ … ⇄ target

An *entrance* is a TCP port that leads to one and the same target service. Ours are `direct` and `relayed` (each with
a server, a destination and a source of its own, in every setup that was asked for) and `plain`, a process that copies
TCP to TCP with the product's copy loop and nothing else; those of other programs are named on the command line. Every
figure is taken at all entrances one after the other, round after round, so that a busy neighbour of the machine
troubles all of them alike, and a ratio is the median of the ratios within each round.

Both ends of the load are our own processes and need the same CPUs: speeds are those of this machine with all of it
running, CPU seconds are those of the processes in between alone.
"""
