/* What every part needs: an end with a reason, and memory or that end. */
#include "common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { FAILED = 3 };

_Noreturn void die(const char *format, ...) {
  va_list values;
  va_start(values, format);
  vfprintf(stderr, format, values);
  fputc('\n', stderr);
  exit(FAILED);
}

void *allocate(size_t bytes) {
  void *memory = malloc(bytes ? bytes : 1);
  if (!memory) die("out of memory, %zu bytes were wanted", bytes);
  return memory;
}
