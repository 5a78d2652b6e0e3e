/* The tensors of a pipeline, by name. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

Tensor *find_tensor(const Tensors *tensors, const char *name) {
  for (size_t n = 0; n < tensors->count; n++)
    if (!strcmp(tensors->all[n].name, name)) return &tensors->all[n];
  return NULL;
}

Tensor *need_tensor(Tensors *tensors, const char *name, size_t bytes) {
  Tensor *known = find_tensor(tensors, name);
  if (known && known->bytes != bytes)
    die("tensor %s has %zu bytes in one model and %zu in another; export the bundle again", name, known->bytes, bytes);
  if (known) return known;
  /* There is room for all: see the caller of the first one. */
  tensors->all[tensors->count] = (Tensor){name, bytes, allocate(bytes)};
  memset(tensors->all[tensors->count].values, 0, bytes);
  return &tensors->all[tensors->count++];
}
