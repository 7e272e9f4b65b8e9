"""Whether a fast device ever waits, shown without one: a real run with stand-ins for the device and the decoders.

    python -m benchmarks.stand_in

Real are the plan, the driver, the scheduler, Ray with its object store, the embedders with their engine, and the
writers with their files. Two things are stand-ins. A *device* takes a given time per batch, by sleeping until the batch
is due, so that it uses no CPU. A *decoder* sleeps as well, and then returns the same few pixels for every record.

A batch of 256 images is as many calls, objects and rows as from real images, but its pixels are tiny: two cores cannot
copy 8 x 4,000 x 150 kB each second. One row of the table has the real 224 x 224 pixels with one device.
"""
