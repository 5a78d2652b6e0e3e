/* What benchmarks/phone/runner/quality.c makes of one case of quality_vectors.json, and of limits. Standard
 * input: see test_quality_c.py. Standard output: every measure, then the verdict of each limit. */
#include "quality.c"

#include <stdio.h>
#include <stdlib.h>

static void take(void *to, size_t bytes) {
  if (fread(to, 1, bytes, stdin) != bytes) exit(2);
}

int main(void) {
  int sizes[5], limits;
  double template_[POINTS][2], values[MEASURES];
  Region region;
  FoundFace face;
  take(sizes, sizeof sizes);
  face.width = sizes[0], face.height = sizes[1], face.size = sizes[2], face.faces = sizes[3], limits = sizes[4];
  take(&face.score, sizeof face.score);
  take(face.matrix, sizeof face.matrix);
  take(face.keypoints, sizeof face.keypoints);
  take(template_, sizeof template_);
  take(&region, sizeof region);
  size_t bytes = (size_t)face.size * face.size * 3;
  uint8_t *pixels = malloc(bytes);
  if (!pixels) return 2;
  take(pixels, bytes);
  face.pixels = pixels;
  measure_quality(&face, template_, &region, values);
  fwrite(values, sizeof *values, MEASURES, stdout);
  for (int n = 0; n < limits; n++) {
    double given[4]; /* value, above, note, refuse */
    take(given, sizeof given);
    Limit limit = {given[1] > 0, given[2], given[3]};
    fputc((int)judge_measure(given[0], &limit), stdout);
  }
  return 0;
}
