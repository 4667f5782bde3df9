"""`python -m nas VERB`, for torchrun and for folders where the `nas` command is not on the path."""

from nas.cli import main

if __name__ == "__main__":
    main()
