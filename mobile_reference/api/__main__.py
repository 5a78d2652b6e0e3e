"""``python -m mien`` is ``mien``."""

from mien.mobile_reference.commands.console import main

if __name__ == "__main__":
    main()
