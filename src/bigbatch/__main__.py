"""`python -m bigbatch`, for torchrun and srun."""

import sys

from bigbatch.cli import main

if __name__ == "__main__":
    sys.exit(main())
