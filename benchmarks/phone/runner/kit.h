/* The runner for a phone's processor: what its files share.
 *
 * It does what an app does with a bundle, from the encoded photograph to the rating, by the rule of the
 * manifest (docs/manifest.md). Colours are RGB, 8 bits; coordinates are pixels, the first one's centre
 * at (0, 0). Whatever fails ends the program with one line on standard error: see die().
 */
#ifndef MIEN_KIT_H
#define MIEN_KIT_H

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
  double score, overlap, second_look, smallest;
  double template_[POINTS][2];
} Rule;

/* A compiled model with one input, of which one output is read. */
typedef struct Graph Graph;

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *allocate(size_t bytes);

/* decode.c: a JPEG or PNG file in memory to pixels; the caller frees them. */
Picture decode(const uint8_t *bytes, size_t count);

/* graph.c: LiteRT on the processor. */
Graph *open_graph(const char *model, const char *output, int threads);
void run_graph(Graph *graph, const void *input, size_t bytes);
/* Copy the output, which must have this size in bytes. */
void read_output(Graph *graph, void *values, size_t bytes);
/* The size in bytes of the output. */
size_t output_bytes(const Graph *graph);

/* align.c: cut the largest face, [rule.size, rule.size, 3], into ``face``. */
void align(const Picture *photograph, Graph *detector, const Rule *rule, uint8_t *face);

#endif
