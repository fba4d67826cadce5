"""Lets ``python -m inkproof`` do what ``inkproof`` does."""

from inkproof.entry import main

if __name__ == "__main__":
    main()
