"""Long runs as units of work: each leaves a part file, so that a run can be continued, shared and merged.

A run lists its items (files, or bands of a slide) and cuts them into units. Each unit is computed once, by this
process, by a worker process, by another run with `--shard`, or by a cluster, and leaves a part file. When all part
files are there, they are merged in the order of the items, so the result does not depend on who computed what.
"""
