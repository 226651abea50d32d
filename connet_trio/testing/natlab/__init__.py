"""Who reaches whom through which NATs: grids of the whole product, in the kernel and simulated.

    kinds ──→ rules ──→ topology ─┐ wire           a network of namespaces, nftables and delayed cables
      │                           └→ services ──→ kernel_grid, punch_grid   real processes in it
      └──→ simulated_grid                                                   the same in virtual time
                     grid ──→ picture                                       what was found, as text, JSON, PNG

`scripts/natlab` prints the grids. `tests/netns/test_natlab.py` has what each cell must be.
"""
