"""Tests of ``mien appraise --ray`` on a cluster of this machine; see ``__main__``."""
