"""The blobs of the data files, and the processes that query them."""
