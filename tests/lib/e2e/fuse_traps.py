#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One claim about the FUSE floor for each function of the fuse_*.py files; see docs/FUSE.md.

  fuse_traps.py CLAIM MNT [ARG...]     exit 0 when it holds

Run on a mounted filesystem; R5FS names the binary. What a claim makes, it takes away.
"""
import sys

import fuse_data
import fuse_kernel
import fuse_names
import fuse_privileges

if __name__ == "__main__":
    claim, *arguments = sys.argv[1:]
    for module in (fuse_data, fuse_kernel, fuse_names, fuse_privileges):
        if hasattr(module, claim):
            getattr(module, claim)(*arguments)
            sys.exit(0)
    sys.exit(f"no such claim: {claim}")
