/* One model in LiteRT, on the processor (XNNPACK). */
#include "kit.h"

#include <stdlib.h>
#include <string.h>

/* The few calls that are used, as LiteRT 2.1.2 has them; later releases changed some of them, so the
 * kit is built with this release alone (see kit.py). Every call answers 0 when it went well. */
typedef void *Handle;
int LiteRtCreateEnvironment(int, const void *, Handle *);
int LiteRtCreateModelFromFile(const char *, Handle *);
int LiteRtCreateOptions(Handle *);
int LiteRtSetOptionsHardwareAccelerators(Handle, int);
int LiteRtCreateCpuOptions(Handle *);
int LiteRtFindCpuOptions(Handle, Handle *);
int LiteRtSetCpuOptionsNumThread(Handle, int);
int LiteRtAddOpaqueOptions(Handle, Handle);
int LiteRtCreateCompiledModel(Handle, Handle, Handle, Handle *);
int LiteRtGetModelSignature(Handle, size_t, Handle *);
int LiteRtGetNumSignatureInputs(Handle, size_t *);
int LiteRtGetNumSignatureOutputs(Handle, size_t *);
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

enum { PROCESSOR = 1, TO_READ = 0, TO_WRITE = 1, MOST_OUTPUTS = 8 };

struct Graph {
  const char *model;
  Handle compiled, input, outputs[MOST_OUTPUTS];
  size_t input_bytes, outputs_count, read, read_bytes;
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
  Handle all, cpu, found;
  check(LiteRtCreateOptions(&all), "set options for", model);
  check(LiteRtSetOptionsHardwareAccelerators(all, PROCESSOR), "choose the processor for", model);
  check(LiteRtCreateCpuOptions(&cpu), "set options for", model);
  check(LiteRtFindCpuOptions(cpu, &found), "set options for", model);
  check(LiteRtSetCpuOptionsNumThread(found, threads), "set the threads of", model);
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

/* Find the output that is read, by its name in the signature. */
static size_t output_named(const char *output, Handle signature, size_t count, const char *model) {
  for (size_t n = 0; n < count; n++) {
    const char *name;
    check(LiteRtGetSignatureOutputName(signature, n, &name), "read", model);
    if (!strcmp(name, output)) return n;
  }
  die("%s has no output %s; export the bundle again", model, output);
}

Graph *open_graph(const char *model, const char *output, int threads) {
  Graph *graph = allocate(sizeof *graph);
  Handle file, signature, tensor, requirements;
  size_t inputs;
  graph->model = model;
  check(LiteRtCreateModelFromFile(model, &file), "read", model);
  check(LiteRtCreateCompiledModel(environment(), file, options(threads, model), &graph->compiled), "compile", model);
  check(LiteRtGetModelSignature(file, 0, &signature), "read", model);
  check(LiteRtGetNumSignatureInputs(signature, &inputs), "read", model);
  check(LiteRtGetNumSignatureOutputs(signature, &graph->outputs_count), "read", model);
  if (inputs != 1 || graph->outputs_count < 1 || graph->outputs_count > MOST_OUTPUTS)
    die("%s has %zu inputs and %zu outputs, expected 1 and 1 to %d", model, inputs, graph->outputs_count, MOST_OUTPUTS);
  check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), "read", model);
  check(LiteRtGetCompiledModelInputBufferRequirements(graph->compiled, 0, 0, &requirements), "read", model);
  graph->input = buffer(tensor, requirements, model, &graph->input_bytes);
  graph->read = output_named(output, signature, graph->outputs_count, model);
  for (size_t n = 0; n < graph->outputs_count; n++) {
    check(LiteRtGetSignatureOutputTensorByIndex(signature, n, &tensor), "read", model);
    check(LiteRtGetCompiledModelOutputBufferRequirements(graph->compiled, 0, n, &requirements), "read", model);
    size_t bytes;
    graph->outputs[n] = buffer(tensor, requirements, model, &bytes);
    if (n == graph->read) graph->read_bytes = bytes;
  }
  return graph;
}

void run_graph(Graph *graph, const void *input, size_t bytes) {
  void *memory;
  if (bytes != graph->input_bytes) die("%s takes %zu bytes, not %zu", graph->model, graph->input_bytes, bytes);
  check(LiteRtLockTensorBuffer(graph->input, &memory, TO_WRITE), "feed", graph->model);
  memcpy(memory, input, bytes);
  check(LiteRtUnlockTensorBuffer(graph->input), "feed", graph->model);
  check(LiteRtRunCompiledModel(graph->compiled, 0, 1, &graph->input, graph->outputs_count, graph->outputs), "run",
        graph->model);
}

void read_output(Graph *graph, void *values, size_t bytes) {
  void *memory;
  if (bytes != graph->read_bytes) die("%s gives %zu bytes, expected %zu", graph->model, graph->read_bytes, bytes);
  check(LiteRtLockTensorBuffer(graph->outputs[graph->read], &memory, TO_READ), "read the output of", graph->model);
  memcpy(values, memory, bytes);
  check(LiteRtUnlockTensorBuffer(graph->outputs[graph->read]), "read the output of", graph->model);
}

size_t output_bytes(const Graph *graph) { return graph->read_bytes; }
