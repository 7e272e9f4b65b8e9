"""What a job is asked to do, how far it is and how it ended: plain values and the files that hold them."""
