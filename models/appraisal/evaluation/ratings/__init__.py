"""People's ratings beside a checkpoint's scores, and the scale fitted to them."""
