"""Files and batches: their URLs, and the batches that this process runs."""
