"""One service of users in a database, behind REST, plain calls and compute calls, for `bench_remote`."""
