"""The benchmark of Penstock beside its peers. `make bench` runs it; docs/bench.md says how to read the table."""
