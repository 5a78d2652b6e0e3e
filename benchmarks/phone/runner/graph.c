/* One model in LiteRT, on the processor (XNNPACK). */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The few calls that are used, as LiteRT 2.3.0 has them; releases differ in some of them, so the
 * runner is built with this release alone (see phone_runner.py). Every call answers 0 when it went well. */
typedef void *Handle;
int LiteRtCreateEnvironment(int, const void *, Handle *);
int LiteRtCreateModelFromFile(Handle, const char *, Handle *);
int LiteRtCreateOptions(Handle *);
int LiteRtSetOptionsHardwareAccelerators(Handle, int);
int LiteRtCreateOpaqueOptions(const char *, void *, void (*)(void *), Handle *);
int LiteRtAddOpaqueOptions(Handle, Handle);
int LiteRtCreateCompiledModel(Handle, Handle, Handle, Handle *);
int LiteRtGetModelSignature(Handle, size_t, Handle *);
int LiteRtGetNumSignatureInputs(Handle, size_t *);
int LiteRtGetNumSignatureOutputs(Handle, size_t *);
int LiteRtGetSignatureInputName(Handle, size_t, const char **);
int LiteRtGetSignatureOutputName(Handle, size_t, const char **);
int LiteRtGetSignatureInputTensorByIndex(Handle, size_t, Handle *);
int LiteRtGetSignatureOutputTensorByIndex(Handle, size_t, Handle *);
int LiteRtGetRankedTensorType(Handle, void *);
int LiteRtGetCompiledModelInputBufferRequirements(Handle, size_t, size_t, Handle *);
int LiteRtGetCompiledModelOutputBufferRequirements(Handle, size_t, size_t, Handle *);
int LiteRtCreateManagedTensorBufferFromRequirements(Handle, const void *, Handle, Handle *);
int LiteRtGetTensorBufferPackedSize(Handle, size_t *);
int LiteRtLockTensorBuffer(Handle, void **, int);
int LiteRtUnlockTensorBuffer(Handle);
int LiteRtRunCompiledModel(Handle, size_t, size_t, Handle *, size_t, Handle *);

enum { PROCESSOR = 1, TO_READ = 0, TO_WRITE = 1, MOST = 64 };

/* One side of a model: a buffer for each tensor of its signature, and the tensor of ours that it is of. */
typedef struct {
  size_t count;
  Handle buffers[MOST];
  Tensor *tensors[MOST];
} Side;

struct Graph {
  const char *model;
  Handle compiled;
  Side inputs, outputs;
};

/* More than the struct that describes a tensor's type; only LiteRT looks inside. */
typedef struct {
  _Alignas(16) char bytes[256];
} TensorType;

static void check(int status, const char *what, const char *model) {
  if (status) die("LiteRT cannot %s %s (status %d)", what, model, status);
}

static Handle environment(void) {
  static Handle shared;
  if (!shared) check(LiteRtCreateEnvironment(0, NULL, &shared), "start for", "the models");
  return shared;
}

static Handle options(int threads, const char *model) {
  Handle all, cpu;
  /* What XNNPACK is told is TOML under its name. */
  char *toml = allocate(32);
  snprintf(toml, 32, "num_threads = %d\n", threads);
  check(LiteRtCreateOptions(&all), "set options for", model);
  check(LiteRtSetOptionsHardwareAccelerators(all, PROCESSOR), "choose the processor for", model);
  check(LiteRtCreateOpaqueOptions("xnnpack", toml, free, &cpu), "set the threads of", model);
  check(LiteRtAddOpaqueOptions(all, cpu), "set options for", model);
  return all;
}

static Handle buffer(Handle tensor, Handle requirements, const char *model, size_t *bytes) {
  TensorType type;
  Handle result;
  check(LiteRtGetRankedTensorType(tensor, &type), "read a tensor of", model);
  check(LiteRtCreateManagedTensorBufferFromRequirements(environment(), &type, requirements, &result),
        "allocate for", model);
  check(LiteRtGetTensorBufferPackedSize(result, bytes), "measure a tensor of", model);
  return result;
}

typedef int NameOf(Handle, size_t, const char **);
typedef int TensorOf(Handle, size_t, Handle *);
typedef int RequirementsOf(Handle, size_t, size_t, Handle *);

/* Find a name of the contract among those that are wanted of the model; its place, or ``count``. */
static size_t place_of(const char *name, const Names *names) {
  size_t n = 0;
  while (n < names->count && strcmp(names->all[n], name)) n++;
  return n;
}

/* Make a buffer for every tensor of a side, and bind those that have a name in ``names``. */
static void bind_side(Graph *graph, Side *side, Handle signature, const Names *names, Tensors *tensors, NameOf *name_of,
                      TensorOf *tensor_of, RequirementsOf *requirements_of) {
  int seen[MOST] = {0};
  if (side->count > MOST || names->count > MOST) die("%s has more than %d tensors", graph->model, MOST);
  for (size_t n = 0; n < side->count; n++) {
    Handle tensor, requirements;
    const char *name;
    size_t bytes, place;
    check(name_of(signature, n, &name), "read", graph->model);
    check(tensor_of(signature, n, &tensor), "read", graph->model);
    check(requirements_of(graph->compiled, 0, n, &requirements), "read", graph->model);
    side->buffers[n] = buffer(tensor, requirements, graph->model, &bytes);
    side->tensors[n] = NULL;
    if ((place = place_of(name, names)) == names->count) continue;
    if (seen[place]++) die("%s has two tensors %s; export the bundle again", graph->model, name);
    side->tensors[n] = need_tensor(tensors, names->all[place], bytes);
  }
  for (size_t n = 0; n < names->count; n++)
    if (!seen[n]) die("%s has no tensor %s; export the bundle again", graph->model, names->all[n]);
}

Graph *open_graph(const char *model, const Names *reads, const Names *gives, Tensors *tensors, int threads) {
  Graph *graph = allocate(sizeof *graph);
  Handle file, signature;
  graph->model = model;
  check(LiteRtCreateModelFromFile(environment(), model, &file), "read", model);
  check(LiteRtCreateCompiledModel(environment(), file, options(threads, model), &graph->compiled), "compile", model);
  check(LiteRtGetModelSignature(file, 0, &signature), "read", model);
  check(LiteRtGetNumSignatureInputs(signature, &graph->inputs.count), "read", model);
  check(LiteRtGetNumSignatureOutputs(signature, &graph->outputs.count), "read", model);
  if (graph->inputs.count != reads->count)
    die("%s takes %zu tensors, the bundle gives it %zu; export the bundle again", model, graph->inputs.count, reads->count);
  bind_side(graph, &graph->inputs, signature, reads, tensors, LiteRtGetSignatureInputName,
            LiteRtGetSignatureInputTensorByIndex, LiteRtGetCompiledModelInputBufferRequirements);
  bind_side(graph, &graph->outputs, signature, gives, tensors, LiteRtGetSignatureOutputName,
            LiteRtGetSignatureOutputTensorByIndex, LiteRtGetCompiledModelOutputBufferRequirements);
  return graph;
}

void run_graph(Graph *graph) {
  void *memory;
  for (size_t n = 0; n < graph->inputs.count; n++) {
    const Tensor *tensor = graph->inputs.tensors[n];
    check(LiteRtLockTensorBuffer(graph->inputs.buffers[n], &memory, TO_WRITE), "feed", graph->model);
    memcpy(memory, tensor->values, tensor->bytes);
    check(LiteRtUnlockTensorBuffer(graph->inputs.buffers[n]), "feed", graph->model);
  }
  check(LiteRtRunCompiledModel(graph->compiled, 0, graph->inputs.count, graph->inputs.buffers, graph->outputs.count,
                               graph->outputs.buffers), "run", graph->model);
  for (size_t n = 0; n < graph->outputs.count; n++) {
    Tensor *tensor = graph->outputs.tensors[n];
    if (!tensor) continue;
    check(LiteRtLockTensorBuffer(graph->outputs.buffers[n], &memory, TO_READ), "read an output of", graph->model);
    memcpy(tensor->values, memory, tensor->bytes);
    check(LiteRtUnlockTensorBuffer(graph->outputs.buffers[n]), "read an output of", graph->model);
  }
}
