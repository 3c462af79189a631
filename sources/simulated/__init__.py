"""A simulated campus: seeded, physically sensible telemetry of every GPU, rack, feed and site.

The way of a second: `jobs` decide who works where, `load` how hard, `gpus` what the boards draw,
`tree` what racks, feeds and utility meters then show, `incidents` what goes wrong, `truth` what is
written down about it. `campus` puts the second together; `pace` sends it on time.
"""
