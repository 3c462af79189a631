"""A simulated campus: seeded, physically sensible telemetry of every GPU, rack, feed and site.

The way of a second: `jobs` says who works where, `demand` and `load` how hard, `plant` moves on the
boards (`gpus`) and the power tree above them (`tree`), `readings` and `meters` make of that what
exporters and meters say, `progress` what jobs have produced. `incidents` plans what goes wrong,
`overload` brings it about, `truth` writes it down. `campus` puts the second together, `pace` sends it on time.
"""
