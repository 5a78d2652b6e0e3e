"""``python -m mien`` is ``mien``."""

from mien.mobile_reference.commands.start import main

if __name__ == "__main__":
    main()
