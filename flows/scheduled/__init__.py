"""The Prefect flows. They submit and follow jobs through `flows.jobs`; the work is done by the job's driver.

    embed      one run, now
    nightly    new records of the scheduled day and the days before it
    backfill   many partitions, a few at a time
    compact    full files in place of the small ones of a dataset
    dedup      the duplicates of a dataset
    filter     the rows of a dataset that pass every rule
    sync       a vector database at the latest state of a dataset
    reap       starts flow runs again whose process is gone; stops jobs whose flow run has ended or is gone

Each is a function in the module of its name, and this package imports none of them: the process of a flow run needs
one, and Prefect takes 0.1 s of CPU to describe the parameters of each.

The command line imports none of this, so it starts without Prefect.
"""
