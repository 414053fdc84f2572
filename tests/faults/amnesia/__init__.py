"""A file system that forgets what was not synced: `disk` remembers, `fuse` talks to the kernel, `mounted` drives it.

The whole disk is the memory of one process, which speaks the kernel's own FUSE protocol on /dev/fuse: no
library is needed, only root and a kernel with FUSE.
"""
