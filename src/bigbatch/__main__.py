"""`python -m bigbatch`, for torchrun and srun."""

import sys

from bigbatch.cli import start

if __name__ == "__main__":
    sys.exit(start())
