/* The runner for a phone's processor: what its files share.
 *
 * It does what an app does with a bundle, from the encoded photograph or from tensors to the outputs, by
 * the manifest (docs/manifest.md). Tensors go from model to model by their names. Colours are RGB, 8 bits;
 * coordinates are pixels, the first one's centre at (0, 0). Whatever fails ends the program with one line
 * on standard error: see die().
 */
#ifndef MIEN_COMMON_H
#define MIEN_COMMON_H

#include <stddef.h>
#include <stdint.h>

enum { POINTS = 4, CANDIDATE = 17 };

/* Pixels [height, width, 3]. */
typedef struct {
  int width, height;
  uint8_t *pixels;
} Picture;

/* How a face is found and framed: the rule of the manifest's front. */
typedef struct {
  int size, detector_size;
  double score, overlap, second_look, smallest, sure;
  double template_[POINTS][2];
} Rule;

/* A tensor of the pipeline, shared by the model that makes it and those that read it. */
typedef struct {
  const char *name;
  size_t bytes;
  uint8_t *values;
} Tensor;

/* All tensors of the pipeline. */
typedef struct {
  Tensor *all;
  size_t count;
} Tensors;

/* Names in the order in which they were given. */
typedef struct {
  const char **all;
  size_t count;
} Names;

/* A compiled model, bound to the tensors that it reads and makes. */
typedef struct Graph Graph;

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *allocate(size_t bytes);

/* readable.c: why the decoders would read other pixels than the reference runner, or NULL. Little CMS is not here:
 * whoever has it says whether an embedded colour profile is that of sRGB. */
const char *unreadable(const uint8_t *bytes, size_t count, int profile_is_srgb);
/* decode.c: a readable JPEG or PNG file in memory to pixels; the caller frees them. */
Picture decode(const uint8_t *bytes, size_t count);

/* tensors.c: find a tensor, NULL where nobody gave it; make one, or check that a known one has this size. */
Tensor *find_tensor(const Tensors *tensors, const char *name);
Tensor *need_tensor(Tensors *tensors, const char *name, size_t bytes);

/* graph.c: LiteRT on the processor. A model's inputs and outputs are found by their names. */
Graph *open_graph(const char *model, const Names *reads, const Names *gives, Tensors *tensors, int threads);
/* Run on the values of the tensors that the model reads; fills those that it makes. */
void run_graph(Graph *graph);

/* early_exit.c: types of values, in the order of their table there; a tensor that is all zero, and one of known values. */
typedef enum { UINT8, INT32, FLOAT32 } Kind;
Kind kind_named(const char *name);
int is_zero(const Tensor *tensor, Kind kind);
void fill_with_number(Tensor *tensor, Kind kind, double number);
/* Take the values of a tensor of the same type, or of one of uint8. */
void fill_with_tensor(Tensor *tensor, Kind kind, const Tensor *from);

/* align.c: cut the largest face, [rule.size, rule.size, 3], into ``face``. */
typedef struct {
  Graph *detector;
  Tensor *picture, *found, *face;
} Front;
void check_front(const Front *front, const Rule *rule);
void align(const Picture *photograph, const Front *front, const Rule *rule);

#endif
