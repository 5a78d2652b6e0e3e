"""A phone through adb."""
