"""`python -m nas VERB`, for torchrun and for folders where the `nas` command is not on the path."""

import os
import sys

# Python has put the current folder first: a torch.py in it, say of a corpus that was unpacked there, would be run.
if sys.path and os.path.realpath(sys.path[0]) == os.getcwd() != os.path.dirname(os.path.dirname(__file__)):
    del sys.path[0]

from nas.cli import main

if __name__ == "__main__":
    main()
