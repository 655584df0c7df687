"""The LMDB engine of `standing`, shared by the workers of one machine; its rules live in `standing`."""
