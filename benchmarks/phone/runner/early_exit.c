/* Stages that need not run: what their outputs are is known where a tensor before them is all zero. */
#include "common.h"

#include <string.h>

static const struct {
  const char *name;
  Kind kind;
  size_t bytes;
} kinds[] = {{"uint8", UINT8, 1}, {"int32", INT32, 4}, {"float32", FLOAT32, 4}};

Kind kind_named(const char *name) {
  for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++)
    if (!strcmp(kinds[n].name, name)) return kinds[n].kind;
  die("%s is no type of a tensor; set the phone runner up again", name);
}

/* What is not a number is not zero; a zero of either sign is. */
int is_zero(const Tensor *tensor, Kind kind) {
  for (size_t at = 0; at < tensor->bytes; at += kinds[kind].bytes) {
    uint32_t bits = 0;
    memcpy(&bits, tensor->values + at, kinds[kind].bytes);
    if (kind == FLOAT32 ? bits << 1 : bits) return 0;
  }
  return 1;
}

void fill_with_number(Tensor *tensor, Kind kind, double number) {
  const uint8_t small = (uint8_t)number;
  const int32_t whole = kind == INT32 ? (int32_t)number : 0;
  const float real = (float)number;
  const void *value = kind == UINT8 ? (const void *)&small : kind == INT32 ? (const void *)&whole : (const void *)&real;
  for (size_t at = 0; at < tensor->bytes; at += kinds[kind].bytes) memcpy(tensor->values + at, value, kinds[kind].bytes);
}

void fill_with_tensor(Tensor *tensor, Kind kind, const Tensor *from) {
  if (from->bytes == tensor->bytes) {
    memcpy(tensor->values, from->values, tensor->bytes);
    return;
  }
  if (kind == UINT8 || from->bytes * kinds[kind].bytes != tensor->bytes)
    die("%s has %zu bytes, %s %zu; export the bundle again", from->name, from->bytes, tensor->name, tensor->bytes);
  for (size_t n = 0; n < from->bytes; n++) {
    const int32_t whole = from->values[n];
    const float real = from->values[n];
    memcpy(tensor->values + n * kinds[kind].bytes, kind == INT32 ? (const void *)&whole : (const void *)&real, kinds[kind].bytes);
  }
}
